/* What may be asked of the convolutions of a graph (sites.h). */
#include "codegen/conv/shared/sites.h"
#include "codegen/target/target.h"

const ConvSite *conv_sites_find(const ConvSites *sites, Val v) {
    for (uint32_t i = 0; i < sites->count; i++)
        if (sites->site[i].value == v) return &sites->site[i];
    return NULL;
}

uint32_t conv_site_best(const ConvSite *site, const double *seconds, bool pair) {
    uint32_t best = site->ncandidates;
    for (uint32_t i = 0; i < site->ncandidates; i++)
        if (site->candidate[i].pair == pair && (best == site->ncandidates || seconds[i] < seconds[best])) best = i;
    return best;
}

bool conv_site_own_sizes(const ConvSite *site, uint32_t candidate) {
    const ConvChoice *a = &site->candidate[candidate], *before = a - 1;
    return candidate == 0 || a->method != before->method || a->pair != before->pair;
}

char *choice_cpu(Arena *arena, const Target *t) {
    return arena_printf(arena, "%s/%d%s", t->cpu, t->lanes, t->map_bytes == 2 ? "/bf16" : "");
}

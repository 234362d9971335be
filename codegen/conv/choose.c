/* The choosing pass (choose.h). */
#include "codegen/conv/choose.h"
#include "codegen/program/key.h"
#include "codegen/program/lowering.h"
#include "codegen/conv/winograd/winograd.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const int64_t winograd_blocks[] = {16, 8, 32};
enum { BLOCKS = sizeof winograd_blocks / sizeof winograd_blocks[0], TILES = 3, MAX_BLOCK = 256 };

typedef struct Chooser {
    Arena *arena;
    const Target *t;
    const CodegenOptions *options;
    const Graph *g;
    Diag *diag;
    const char *cpu;
    const bool *read;
    ConvSite *site;
    uint32_t count;
} Chooser;

bool *graph_reads(Arena *arena, const Graph *g) {
    bool *read = ARENA_ARRAY(arena, bool, g->count);
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        for (uint32_t i = 0; i < value->nargs; i++)
            if (value->op != OP_RESULT) read[value->args[i]] = true;
    }
    for (uint32_t i = 0; i < g->noutputs; i++) read[g->output[i].value] = true;
    return read;
}

char *choice_cpu(Arena *arena, const Target *t) {
    return arena_printf(arena, "%s/%d%s", t->cpu, t->lanes, t->map_bytes == 2 ? "/bf16" : "");
}

const ConvSite *conv_sites_find(const ConvSites *sites, Val v) {
    for (uint32_t i = 0; i < sites->count; i++)
        if (sites->site[i].value == v) return &sites->site[i];
    return NULL;
}

static ConvSite *find(const Chooser *c, Val v) {
    for (uint32_t i = 0; i < c->count; i++)
        if (c->site[i].value == v) return &c->site[i];
    return NULL;
}

static bool is_conv(Op op) { return op == OP_CONV2D || op == OP_CONV2D_BWD_DATA || op == OP_CONV2D_BWD_WEIGHTS; }

/* ---- keys ---- */

/* The readable part says direction, input and filters; the hash the rest, such as fused regions, and for weights that a sweep
 * could compute, the backward data of that sweep: the same weights are decided anew beside other data. */
static char *site_key(const Chooser *c, const ConvSite *site) {
    const Value *v = &c->g->value[site->value];
    const char *direction = v->op == OP_CONV2D ? "forward" : v->op == OP_CONV2D_BWD_DATA ? "data" : "weights";
    ConvShape s = conv_shape(c->g, v, c->t->lanes);
    uint32_t n = value_results(c->g, site->value);
    bool *wanted = ARENA_ARRAY(c->arena, bool, n);
    wanted[0] = c->read[site->value];
    for (Val r = v->results; r; r = c->g->value[r].results) wanted[c->g->value[r].attrs.index] = c->read[r];
    char *structure = key_of_value(c->arena, c->g, site->value, wanted);
    if (v->op == OP_CONV2D_BWD_WEIGHTS && site->partner != NO_VAL)
        structure = arena_printf(c->arena, "%s beside %s", structure, find(c, site->partner)->key);
    return arena_printf(c->arena,
                        "%s,%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ",o%" PRId64 ",%" PRId64 "x%" PRId64 "s%" PRId64
                        "%s#%016" PRIx64,
                        direction, s.N, s.I, s.in[0], s.in[1], s.O, s.kernel[0], s.kernel[1], s.stride[0],
                        site->partner != NO_VAL ? "+sweep" : "", key_hash(structure));
}

/* ---- candidates ---- */

/* A tile that does not fit would be replaced by one that does. */
static bool tile_fits(const Chooser *c, const Value *v, const ConvChoice *choice) {
    if (!choice->tile[0]) return true;
    if (v->op == OP_CONV2D_BWD_WEIGHTS) return false; /* has none */
    TileShape tile = correlation_plan(c->t, choice, c->g, v).tile;
    return tile.rows == choice->tile[0] && tile.columns == choice->tile[1] && tile.blocks == choice->tile[2];
}

static bool applies(const Chooser *c, const ConvSite *site, const ConvChoice *choice) {
    const Value *v = &c->g->value[site->value];
    ConvShape s = conv_shape(c->g, v, c->t->lanes);
    if (choice->algorithm == CONV_GEMM) return true;
    bool alone = choice->algorithm == CONV_DIRECT ? conv_direct_applies(&s) && tile_fits(c, v, choice)
                 : v->op == OP_CONV2D_BWD_WEIGHTS ? wino_weights_applies(&s)
                                                  : wino_applies(&s, v->op);
    if (!alone || choice->block > MAX_BLOCK) return false;
    if (!choice->sweep) return true;
    Val data = v->op == OP_CONV2D_BWD_DATA ? site->value : site->partner;
    return data != NO_VAL && site->partner != NO_VAL && conv_backward_partner(c->t, choice, c->g, data) != NO_VAL;
}

static void add(const Chooser *c, ConvSite *site, ConvChoice choice) {
    if (site->ncandidates < CONV_CANDIDATES && applies(c, site, &choice)) site->candidate[site->ncandidates++] = choice;
}

/* The kernel's own block first. */
static void add_winograd(const Chooser *c, ConvSite *site, bool sweep) {
    const Value *v = &c->g->value[site->value];
    ConvChoice choice = {.algorithm = CONV_WINOGRAD, .sweep = sweep};
    if (!applies(c, site, &choice)) return;
    int64_t own = v->op == OP_CONV2D_BWD_WEIGHTS ? wino_weights_plan(c->t, &choice, c->g, v).tiles.block
                                                 : wino_plan(c->t, &choice, c->g, v).tiles.block;
    choice.block = own;
    add(c, site, choice);
    for (int i = 0; i < BLOCKS; i++) {
        choice.block = winograd_blocks[i];
        if (choice.block != own) add(c, site, choice);
    }
}

static void add_direct(const Chooser *c, ConvSite *site, bool sweep) {
    const Value *v = &c->g->value[site->value];
    ConvChoice choice = {.algorithm = CONV_DIRECT, .sweep = sweep};
    if (!applies(c, site, &choice)) return;
    if (v->op == OP_CONV2D_BWD_WEIGHTS) {
        add(c, site, choice);
        return;
    }
    CorrelationPlan p = correlation_plan(c->t, &choice, c->g, v);
    TileShape tile[TILES];
    int n = tile_shapes(c->t, &p.c, correlation_lines(&p.c, 1, 0), p.band_rows, tile, TILES);
    for (int i = 0; i < n; i++) {
        choice.tile[0] = tile[i].rows, choice.tile[1] = tile[i].columns, choice.tile[2] = tile[i].blocks;
        add(c, site, choice);
    }
}

static void list_candidates(const Chooser *c, ConvSite *site) {
    ConvAlgorithm only = c->options->conv;
    const ConvChoice by_winograd = {.algorithm = CONV_WINOGRAD};
    bool winograd = (only == CONV_AUTO || only == CONV_WINOGRAD) && applies(c, site, &by_winograd);
    bool direct = only != CONV_GEMM && !(only == CONV_WINOGRAD && winograd);
    for (int sweep = c->g->value[site->value].op == OP_CONV2D_BWD_DATA; sweep >= 0; sweep--) {
        if (winograd) add_winograd(c, site, sweep);
        if (direct) add_direct(c, site, sweep);
    }
    if (only == CONV_AUTO || site->ncandidates == 0) add(c, site, (ConvChoice){.algorithm = CONV_GEMM});
}

/* ---- the pass ---- */

static void find_partners(const Chooser *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        ConvSite *data = &c->site[i], *weights = NULL;
        static const ConvChoice sweeps[] = {{.algorithm = CONV_WINOGRAD, .sweep = true},
                                            {.algorithm = CONV_DIRECT, .sweep = true}};
        if (c->g->value[data->value].op != OP_CONV2D_BWD_DATA) continue;
        Val w = NO_VAL;
        for (int s = 0; s < 2 && w == NO_VAL; s++) w = conv_backward_partner(c->t, &sweeps[s], c->g, data->value);
        if (w != NO_VAL) weights = find(c, w);
        if (!weights || !c->read[data->value] || !c->read[w]) continue;
        data->partner = w;
        weights->partner = data->value;
    }
}

static void predict(const Chooser *c, ConvSite *site) {
    for (uint32_t i = 0; i < site->ncandidates; i++) {
        const ConvChoice *choice = &site->candidate[i];
        site->predicted[i] = choice->sweep ? conv_sweep_cost(c->t, choice, c->g, c->read, site->value, site->partner)
                                           : conv_cost(c->t, choice, c->g, c->read, site->value);
    }
}

uint32_t conv_site_best(const ConvSite *site, const double *seconds, bool sweep) {
    uint32_t best = site->ncandidates;
    for (uint32_t i = 0; i < site->ncandidates; i++)
        if (site->candidate[i].sweep == sweep && (best == site->ncandidates || seconds[i] < seconds[best])) best = i;
    return best;
}

bool conv_site_own_sizes(const ConvSite *site, uint32_t candidate) {
    const ConvChoice *a = &site->candidate[candidate], *before = a - 1;
    return candidate == 0 || a->algorithm != before->algorithm || a->sweep != before->sweep;
}

/* The same by the cost model, which ranks algorithms only: their sizes are the kernels' own, or measured. Matrix products are
 * left to convolutions that nothing else computes, and to who asks or measures: they need OpenBLAS, which executables should
 * not, and which cannot be linked for another machine. */
static uint32_t predicted_best(const ConvSite *site, bool sweep) {
    double seconds[CONV_CANDIDATES];
    for (uint32_t i = 0; i < site->ncandidates; i++) {
        bool passed_over = site->candidate[i].algorithm == CONV_GEMM && site->ncandidates > 1;
        seconds[i] = conv_site_own_sizes(site, i) && !passed_over ? site->predicted[i] : HUGE_VAL;
    }
    return conv_site_best(site, seconds, sweep);
}

static bool is_swept_weights(const Chooser *c, const ConvSite *site) {
    return c->g->value[site->value].op == OP_CONV2D_BWD_WEIGHTS && site->partner != NO_VAL;
}

static ConvChoice cheapest(const Chooser *c, const ConvSite *site) {
    const ConvSite *partner = site->partner == NO_VAL ? NULL : find(c, site->partner);
    uint32_t alone = predicted_best(site, false), swept = predicted_best(site, true);
    if (swept == site->ncandidates || !partner) return site->candidate[alone];
    double weights = partner->predicted[predicted_best(partner, false)];
    return site->candidate[site->predicted[swept] < site->predicted[alone] + weights ? swept : alone];
}

/* What a table says, if it can be done. Of a pair, data's entry decides whether it is swept. */
static bool look_up(const Chooser *c, const ConvSite *site, const ChoiceTable *table, ConvChoice *choice) {
    const ChoiceEntry *entry = choices_find(table, c->cpu, site->key);
    if (!entry || !applies(c, site, &entry->choice)) return false;
    *choice = entry->choice;
    return true;
}

static void refuse(const Chooser *c, const ConvSite *site) {
    const ChoiceEntry *entry = choices_find(c->options->pinned, c->cpu, site->key);
    const Value *v = &c->g->value[site->value];
    if (entry)
        diag_error(c->diag, v->span, "'%s' cannot be computed by '%s', as the given choices say: %s",
                   v->name ? v->name : op_text(v->op), choice_text(c->arena, &entry->choice), site->key);
    else
        diag_error(c->diag, v->span,
                   "the given choices have none for '%s' on %s: %s; they were made for another model, batch size, CPU or version "
                   "of netc",
                   v->name ? v->name : op_text(v->op), c->cpu, site->key);
}

static bool choose(const Chooser *c, ConvSite *site) {
    const ConvSite *partner = is_swept_weights(c, site) ? find(c, site->partner) : NULL;
    if (partner && partner->choice.sweep) {
        site->choice = partner->choice;
        return true;
    }
    if (c->options->pinned) {
        bool found = look_up(c, site, c->options->pinned, &site->choice) && !(partner && site->choice.sweep);
        if (!found) refuse(c, site);
        return found;
    }
    const ChoiceTable *table = c->options->measured;
    bool measured = table && look_up(c, site, table, &site->choice) && !(partner && site->choice.sweep);
    if (!measured) site->choice = cheapest(c, site);
    site->passed_over = !measured && table && choices_find(table, c->cpu, site->key);
    return true;
}

/* "forward winograd block 16, predicted 0.41 ms; direct tile 1x8x2 0.93, gemm 2.10" */
static void remark(const Chooser *c, const ConvSite *site) {
    if (!c->options->remark) return;
    const Value *v = &c->g->value[site->value];
    char *text = arena_printf(c->arena, "%s %.*s: %s", v->name ? v->name : "convolution", (int)strcspn(site->key, ","), site->key,
                              choice_text(c->arena, &site->choice));
    if (is_swept_weights(c, site) && site->choice.sweep) text = arena_printf(c->arena, "%s, with data", text);
    const char *separator = "; instead of";
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < site->ncandidates; i++) {
            bool chosen = choice_equal(&site->candidate[i], &site->choice);
            if (pass == 0 && chosen) text = arena_printf(c->arena, "%s, predicted %.3f ms", text, 1e3 * site->predicted[i]);
            if (pass == 0 || chosen || !conv_site_own_sizes(site, i)) continue;
            text = arena_printf(c->arena, "%s%s %s %.3f", text, separator, choice_text(c->arena, &site->candidate[i]),
                                1e3 * site->predicted[i]);
            separator = ",";
        }
    c->options->remark(c->options->remark_context, v->span, text);
}

bool choose_convolutions(Arena *arena, const Target *t, const CodegenOptions *options, const Graph *g, Diag *diag,
                         ConvSites *out) {
    Chooser c = {.arena = arena, .t = t, .options = options, .g = g, .diag = diag};
    c.cpu = choice_cpu(arena, t);
    c.read = graph_reads(arena, g);
    c.site = ARENA_ARRAY(arena, ConvSite, g->count);
    for (Val v = 0; v < g->count; v++)
        if (is_conv(g->value[v].op)) c.site[c.count++] = (ConvSite){.value = v, .partner = NO_VAL};
    find_partners(&c);
    for (uint32_t i = 0; i < c.count; i++) {
        c.site[i].key = site_key(&c, &c.site[i]);
        list_candidates(&c, &c.site[i]);
    }
    for (uint32_t i = 0; i < c.count; i++) predict(&c, &c.site[i]);
    bool chosen = true;
    for (uint32_t i = 0; i < c.count; i++) chosen &= choose(&c, &c.site[i]); /* data before its weights */
    for (uint32_t i = 0; i < c.count && chosen; i++) remark(&c, &c.site[i]);
    *out = (ConvSites){c.site, c.count};
    return chosen;
}

bool codegen_convolutions(const CodegenInput *input, const CodegenOptions *options, Arena *arena, ConvSites out[2],
                          const char **cpu, Diag *diag) {
    Target t;
    char why[512];
    const Graph *graphs[2] = {input->train, input->infer};
    if (!target_open(&t, options->target, options->cpu, why, sizeof why)) {
        diag_error(diag, (Span){0}, "%s", why);
        return false;
    }
    bool chosen = true;
    target_set_precision(&t, options);
    out[0] = out[1] = (ConvSites){0};
    *cpu = choice_cpu(arena, &t);
    for (int i = 0; i < 2 && chosen; i++)
        if (graphs[i]) chosen = choose_convolutions(arena, &t, options, graphs[i], diag, &out[i]);
    target_close(&t);
    return chosen;
}

/* The choosing pass (choose.h). */
#include "codegen/choose.h"
#include "codegen/key.h"
#include "codegen/winograd.h"
#include <inttypes.h>

static const int64_t winograd_blocks[] = {16, 8, 32};
enum { BLOCKS = sizeof winograd_blocks / sizeof winograd_blocks[0], TILES = 3, MAX_BLOCK = 256 };

typedef struct Chooser {
    Arena *arena;
    const Target *t;
    const CodegenOptions *options;
    const Graph *g;
    Diag *diag;
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

/* The readable part says direction, input and filters; the hash the rest, such as fused regions. */
static char *site_key(const Chooser *c, const ConvSite *site) {
    const Value *v = &c->g->value[site->value];
    const char *direction = v->op == OP_CONV2D ? "forward" : v->op == OP_CONV2D_BWD_DATA ? "data" : "weights";
    ConvShape s = conv_shape(c->g, v, c->t->lanes);
    uint32_t n = value_results(c->g, site->value);
    bool *wanted = ARENA_ARRAY(c->arena, bool, n);
    wanted[0] = c->read[site->value];
    for (Val r = v->results; r; r = c->g->value[r].results) wanted[c->g->value[r].attrs.index] = c->read[r];
    uint64_t hash = key_hash(key_of_value(c->arena, c->g, site->value, wanted));
    return arena_printf(c->arena,
                        "%s,%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ",o%" PRId64 ",%" PRId64 "x%" PRId64 "s%" PRId64
                        "%s#%016" PRIx64,
                        direction, s.N, s.I, s.in[0], s.in[1], s.O, s.kernel[0], s.kernel[1], s.stride[0],
                        site->partner != NO_VAL ? "+sweep" : "", hash);
}

/* ---- candidates ---- */

static bool applies(const Chooser *c, const ConvSite *site, const ConvChoice *choice) {
    const Value *v = &c->g->value[site->value];
    ConvShape s = conv_shape(c->g, v, c->t->lanes);
    if (choice->algorithm == CONV_GEMM) return true;
    if (choice->algorithm == CONV_DIRECT) return conv_direct_applies(&s);
    bool winograd = v->op == OP_CONV2D_BWD_WEIGHTS ? wino_weights_applies(&s) : wino_applies(&s);
    if (!winograd || choice->block > MAX_BLOCK) return false;
    if (!choice->sweep) return true;
    Val data = v->op == OP_CONV2D_BWD_DATA ? site->value : site->partner;
    return data != NO_VAL && site->partner != NO_VAL && wino_backward_partner(c->t, choice, c->g, data) != NO_VAL;
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

static void add_direct(const Chooser *c, ConvSite *site) {
    const Value *v = &c->g->value[site->value];
    ConvChoice choice = {.algorithm = CONV_DIRECT};
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
    bool data = c->g->value[site->value].op == OP_CONV2D_BWD_DATA, winograd = only == CONV_AUTO || only == CONV_WINOGRAD;
    if (winograd && data) add_winograd(c, site, true);
    if (winograd) add_winograd(c, site, false);
    if (only != CONV_GEMM && (only != CONV_WINOGRAD || site->ncandidates == 0)) add_direct(c, site);
    if (only == CONV_AUTO || site->ncandidates == 0) add(c, site, (ConvChoice){.algorithm = CONV_GEMM});
}

/* ---- the pass ---- */

static void find_partners(const Chooser *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        ConvSite *data = &c->site[i], *weights = NULL;
        const ConvChoice sweep = {.algorithm = CONV_WINOGRAD, .sweep = true};
        if (c->g->value[data->value].op != OP_CONV2D_BWD_DATA) continue;
        Val w = wino_backward_partner(c->t, &sweep, c->g, data->value);
        if (w != NO_VAL) weights = find(c, w);
        if (!weights || !c->read[data->value] || !c->read[w]) continue;
        data->partner = w;
        weights->partner = data->value;
    }
}

static void choose(const Chooser *c, ConvSite *site) {
    const ConvSite *partner = site->partner == NO_VAL ? NULL : find(c, site->partner);
    bool swept = partner && c->g->value[site->value].op == OP_CONV2D_BWD_WEIGHTS && partner->choice.sweep;
    site->choice = swept ? partner->choice : site->candidate[0];
}

bool choose_convolutions(Arena *arena, const Target *t, const CodegenOptions *options, const Graph *g, Diag *diag,
                         ConvSites *out) {
    Chooser c = {arena, t, options, g, diag, graph_reads(arena, g), ARENA_ARRAY(arena, ConvSite, g->count), 0};
    for (Val v = 0; v < g->count; v++)
        if (is_conv(g->value[v].op)) c.site[c.count++] = (ConvSite){.value = v, .partner = NO_VAL};
    find_partners(&c);
    for (uint32_t i = 0; i < c.count; i++) {
        c.site[i].key = site_key(&c, &c.site[i]);
        list_candidates(&c, &c.site[i]);
    }
    for (uint32_t i = 0; i < c.count; i++) choose(&c, &c.site[i]); /* data before its weights */
    *out = (ConvSites){c.site, c.count};
    return true;
}

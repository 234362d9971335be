/* The cost model of convolutions: how long one will take by a given choice, on one core. It ranks choices; absolute times are
 * good to some tens of per cent (netc bench --convolutions prints it beside measurement, docs/performance.md has the table).
 *
 *     cycles = multiply-adds / rate + transforms / 2 + bytes copied within caches / 40 + bytes of feature maps / 10
 *
 * Multiply-adds and transforms count vector instructions. The rates are what the kernels reach of the two multiply-adds a cycle;
 * a register tile that is too small for the latency, or that loads more than it multiplies, has less (tile_cycles). The constants
 * are fixed, not measured at run time: the same graph and CPU always give the same choice, hence the same bits.
 */
#include "codegen/conv/choose.h"
#include "codegen/conv/winograd/winograd.h"

static const double clock_rate = 4e9; /* nominal: it scales all alike */

/* Multiply-adds a cycle, of two. */
static const double winograd_rate = 1.7, weights_rate = 1.75, gemm_rate = 0.88;
/* What pairs of bf16 gain over f32: not quite two, for their staging rounds. */
static double pair_rate(int64_t pair) { return pair == 2 ? 1.8 : 1; }
/* Bytes a cycle. */
static const double copy_rate = 40, memory_rate = 10;
/* Vector instructions to transform a tile of one channel block of dY for the weights' gradient; one filter. */
enum { GRADIENT_TRANSFORM = 150, FILTER_TRANSFORM = 120 };

typedef struct Work {
    double fma_cycles, transforms, copied, memory;
} Work;

static double seconds(const Work *w) {
    return (w->fma_cycles + w->transforms / 2 + w->copied / copy_rate + w->memory / memory_rate) / clock_rate;
}

/* ---- bytes ---- */

static double map_bytes(const Target *t, Type type) {
    return type.rank == 4 && type.dtype == DT_F32 ? (double)layout_bytes(t, LAYOUT_FEATURE, type) : 0;
}

/* Feature maps that the value reads and writes, each once. */
static double value_traffic(const Target *t, const Graph *g, const bool *read, Val v) {
    const Value *value = &g->value[v];
    double total = 0;
    for (uint32_t i = 0; i < value->nargs; i++) {
        LayoutKind kind = layout_of(g, value->args[i]);
        if (kind == LAYOUT_FEATURE) total += map_bytes(t, g->value[value->args[i]].type);
        if (kind == LAYOUT_IMAGES) total += (double)layout_bytes(t, kind, g->value[value->args[i]].type);
    }
    if (read[v] && layout_of(g, v) == LAYOUT_FEATURE) total += map_bytes(t, value->type);
    for (Val r = value->results; r; r = g->value[r].results)
        if (read[r] && layout_of(g, r) == LAYOUT_FEATURE) total += map_bytes(t, g->value[r].type);
    return total;
}

static bool has_argument(const Value *v, Val argument) {
    for (uint32_t i = 0; i < v->nargs; i++)
        if (v->args[i] == argument) return true;
    return false;
}

/* ---- direct ---- */

/* Cycles of one input channel and tap row for a tile: two multiply-adds and two loads a cycle, four cycles of latency, and the
 * step's own overhead. */
static double tile_cycles(const Target *t, const Correlation *c, const TileShape *s, double taps) {
    double acc = (double)(s->rows * s->columns * s->blocks);
    bool shared = s->hold >= c->kernel[1] && c->in_stride[1] == 1 && c->dilation[1] == 1;
    double splats = (double)s->rows * (shared ? (double)s->columns + taps - 1 : (double)s->columns * taps);
    double fma = acc * taps, loads = splats + taps * (double)s->blocks, latency = taps * (t->fma ? 8 : 16);
    double most = fma > loads ? fma : loads;
    return 0.5 * (most > latency ? most : latency) * 1.05 + 1;
}

static double direct_cycles(const Target *t, const CorrelationPlan *p) {
    const Correlation *c = &p->c;
    double channels = (double)(c->channels_in / c->groups), total = 0;
    for (int64_t y = 0; y < c->phases[0]; y++)
        for (int64_t x = 0; x < c->phases[1]; x++) {
            Taps rows = correlation_taps(c, 0, y), columns = correlation_taps(c, 1, x);
            double tiles = (double)(divide_up(correlation_lines(c, 0, y), p->tile.rows) *
                                    divide_up(correlation_lines(c, 1, x), p->tile.columns));
            if (rows.count && columns.count)
                total += tiles * (double)rows.count * tile_cycles(t, c, &p->tile, (double)columns.count);
        }
    return total * channels * (double)(c->N * c->out_blocks) / (double)p->tile.blocks;
}

/* ---- the algorithms ---- */

static double vector_fmas(const ConvShape *s) {
    return (double)(s->N * s->out[0] * s->out[1] * s->kernel[0] * s->kernel[1]) * (double)(s->I / s->groups) *
           (double)s->out_blocks;
}

static double filters(const ConvShape *s) { return (double)(s->in_blocks * s->out_blocks * s->V); }

static Work correlation_work(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v) {
    CorrelationPlan p = correlation_plan(t, choice, g, v);
    const Correlation *c = &p.c;
    double vector = (double)(c->V * (int64_t)sizeof(float)), pieces = (double)(c->N * p.bands);
    Work w = {.copied = (p.stage.copied ? 2 * pieces * (double)p.stage.bytes : 0) + 2 * (double)p.packed_bytes};
    if (p.gemm) { /* narrow products leave most of the library's tile empty; columns and the matrix are written and read */
        double outs = (double)(c->channels_out / c->groups), narrow = outs < 16 ? 16 / outs : 1;
        double taps = (double)(c->kernel[0] * c->kernel[1]), pixels = (double)(c->N * c->out[0] * c->out[1]);
        w.fma_cycles = vector_fmas(&p.s) * narrow / gemm_rate;
        w.copied += vector * pixels *
                    (2 * taps / (double)(c->phases[0] * c->phases[1]) * (double)c->in_blocks + 4 * (double)c->out_blocks);
    } else {
        w.fma_cycles = direct_cycles(t, &p) / pair_rate(p.pair);
    }
    return w;
}

static Work winograd_work(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v) {
    WinoPlan p = wino_plan(t, choice, g, v);
    const Correlation *c = &p.direct.c;
    const WinoForm *form = p.tiles.form;
    double tiles = (double)(c->N * divide_up(c->out[0], WINO_OUT) * divide_up(c->out[1], WINO_OUT));
    Work w = {.copied = p.in_place ? 0 : 2 * (double)(c->N * p.bands) * (double)p.stage.bytes};
    double filter_bytes = (double)p.filter_bytes, blocks = tiles / (double)p.tiles.block;
    w.fma_cycles = (double)wino_points(form) * tiles * (double)c->channels_in * (double)c->out_blocks / winograd_rate;
    w.transforms = tiles * (double)(form->input_cost * c->in_blocks + form->output_cost * c->out_blocks) +
                   FILTER_TRANSFORM * filters(&p.direct.s);
    w.copied += 0.5 * filter_bytes * blocks; /* read anew for each block of tiles */
    return w;
}

static Work weights_work(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v) {
    WeightsPlan p = weights_plan(t, choice, g, v);
    const ConvShape *s = &p.s;
    double vector = (double)(s->V * (int64_t)sizeof(float)), pixels = (double)(s->N * s->out[0] * s->out[1]);
    Work w = {.copied = 2 * (double)(s->N * p.bands) * (double)(p.x.bytes + p.dy.bytes) + 2 * (double)p.partial_bytes};
    if (choice->algorithm == CONV_WINOGRAD) {
        double tiles = (double)(s->N * divide_up(s->out[0], WINO_OUT) * divide_up(s->out[1], WINO_OUT));
        WinoWeightsPlan wp = wino_weights_plan(t, choice, g, v);
        w.fma_cycles = WINO_POINTS * tiles * (double)s->I * (double)s->out_blocks / winograd_rate;
        w.transforms = tiles * (double)(wino_plain.input_cost * s->in_blocks + GRADIENT_TRANSFORM * s->out_blocks) +
                       FILTER_TRANSFORM * filters(s) * (double)p.image_groups;
        w.copied += (double)wino_sum_bytes(s) * tiles / (double)wp.tiles.block; /* read and written for each block of tiles */
    } else if (choice->algorithm == CONV_GEMM) {
        w.fma_cycles = vector_fmas(s) / gemm_rate;
        w.copied +=
            vector * pixels * (2 * (double)(s->kernel[0] * s->kernel[1]) * (double)s->in_blocks + 2 * (double)s->out_blocks);
    } else {
        w.fma_cycles = vector_fmas(s) / (weights_rate * pair_rate(p.pair));
    }
    return w;
}

double conv_cost(const Target *t, const ConvChoice *choice, const Graph *g, const bool *read, Val v) {
    const Value *value = &g->value[v];
    Work w = value->op == OP_CONV2D_BWD_WEIGHTS   ? weights_work(t, choice, g, value)
             : choice->algorithm == CONV_WINOGRAD ? winograd_work(t, choice, g, value)
                                                  : correlation_work(t, choice, g, value);
    w.memory = value_traffic(t, g, read, v);
    return seconds(&w);
}

/* Both, but dY is staged once and stored only for others, and the forward input is read once. */
double conv_sweep_cost(const Target *t, const ConvChoice *choice, const Graph *g, const bool *read, Val data, Val weights) {
    const Value *d = &g->value[data], *v = &g->value[weights];
    Work both = choice->algorithm == CONV_WINOGRAD ? winograd_work(t, choice, g, d) : correlation_work(t, choice, g, d);
    Work w = weights_work(t, choice, g, v);
    WeightsPlan p = weights_plan(t, choice, g, v);
    both.fma_cycles += w.fma_cycles;
    both.transforms += w.transforms;
    both.copied += w.copied - 2 * (double)(p.s.N * p.bands) * (double)p.dy.bytes;
    double dy = map_bytes(t, g->value[v->args[1]].type) * (conv_backward_keeps_dy(g, weights) ? 1 : 2);
    both.memory = value_traffic(t, g, read, data) + value_traffic(t, g, read, weights) - dy;
    for (uint32_t i = 0; i < v->nargs; i++)
        if (i != 1 && has_argument(d, v->args[i]) && layout_of(g, v->args[i]) == LAYOUT_FEATURE)
            both.memory -= map_bytes(t, g->value[v->args[i]].type);
    return seconds(&both);
}

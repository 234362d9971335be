/* check_net FILE.net [--batch N] [--mode train|infer] [--seed S] [--write FILE] [--run SPEC]...
 *
 * Does compiled code compute what the reference evaluator does? The net's graph, through the required passes only, is evaluated
 * in double; then each --run compiles it its own way and every output, gradients included, is held against that. A SPEC is words
 * separated by commas, any of
 *
 *     cpu=x86-64   conv=direct|gemm   precision=bf16   no-openblas   recompute=N   disable=PASS+PASS... (or disable=all)
 *     threads=N    the bits must be those of one thread
 *
 * Leaves are random numbers of --seed. --write leaves a file of leaves and evaluated outputs for others to compare with: for each
 * a line "KIND NAME ELEMENTS", and the elements as doubles; what the first --run computes has "run " before its kinds. Exit
 * status: 0 all agree, 1 some run does not, 2 the net or a SPEC is no good.
 *
 * The tolerance is measured, not chosen. The evaluator runs again with every value rounded to float, every leaf moved by some
 * units of rounding, and every elementwise sum by a unit of its operands, which stands for the rounding of compiled code; a few
 * such runs say how far rounding alone can move an output, and compiled code may be FACTOR times as far off. (Of the operands,
 * not of the result: a*x + (b - a*mean), as batch norm is computed here and in PyTorch, is off by that where a channel is
 * constant and x - mean is zero.) An ill-conditioned net (batch norm over two values, a ReLU at zero) so has a wide tolerance of
 * its own and a smooth one a narrow one. Where a ReLU or a maximum falls on the other side in compiled code only, an output may
 * be off by more for one set of inputs: a run fails if it does for two of three. */
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "ir/eval.h"
#include "passes/passes.h"
#include "runtime/cpu.h"
#include "runtime/rt.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_RUNS = 64,
    MAX_LEAVES = 512,
    MAX_OUTPUTS = 512,
    MAX_PASSES = 64,
    PERTURBED = 3,
    DRAWS = 3,
    DROPOUT_SEED = 11,
    DROPOUT_STEP = 3
};
enum { AGREES = 0, DIFFERS = 1, NO_GOOD = 2 };
/* FACTOR: sums in f32 and Winograd's transforms, which the perturbed evaluator does not have, against rounding at every value,
 * which it has. FLOOR: of an output's norm, for those that perturbation happens to leave alone. A unit of rounding of the largest
 * gradient is allowed everywhere: where terms of that size cancel, as in the gradient of a bias before a batch norm, which is
 * zero, this is what they leave. */
static const double FACTOR = 16, FLOOR = 1e-6, move_f32 = 0x1p-21, move_bf16 = 0x1p-7, unit_f32 = 0x1p-24, unit_bf16 = 0x1p-9;

typedef struct Run {
    const char *spec;
    char *words;
    const char *disable[MAX_PASSES];
    uint32_t ndisable, recompute;
    int threads;
    CodegenOptions code;
} Run;

typedef struct Check {
    const char *path, *write;
    Mode mode;
    int64_t batch;
    uint64_t seed;
    Diag *diag;
    Model model;
    PassResult reference;
    Run run[MAX_RUNS];
    int nruns;
} Check;

static const char *kind_text(OutputKind kind) {
    switch (kind) {
    case OUT_LOGITS: return "logits";
    case OUT_LOSS: return "loss";
    case OUT_CORRECT: return "correct";
    case OUT_STATE: return "state";
    case OUT_GRAD: return "gradient";
    }
    return "?";
}

/* ---- leaves ---- */

typedef struct Leaves {
    uint64_t seed;
    bool bf16;   /* rounded to it */
    double move; /* relative, of every element at random */
    int draw;
    int64_t classes;
    Tensor tensor[MAX_LEAVES];
    float *f32[MAX_LEAVES];
    const char *name[MAX_LEAVES];
    int count;
} Leaves;

static double near_bf16(double x) {
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof bits);
    return (double)f;
}

/* Numbers of the size that a trained net has: images within 2, weights that keep it, vectors around where they start. */
static double element(const Leaves *l, const Value *leaf, int64_t i) {
    uint32_t hash = 2166136261u;
    for (const char *c = leaf->attrs.param.name; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    double u = 2 * rt_uniform(l->seed, hash, (uint64_t)i, 0) - 1;
    Type t = leaf->type;
    if (t.dtype == DT_I32) return floor(0.5 * (u + 1) * (double)l->classes);
    if (leaf->op == OP_INPUT) return 2 * u;
    if (t.rank >= 2) return u * sqrt(3 / ((double)type_elements(t) / (double)t.dim[0]));
    double start = leaf->attrs.param.init.kind == INIT_CONSTANT ? leaf->attrs.param.init.value : 0;
    return start + 0.5 * u;
}

static const Tensor *look_up(void *context, const Value *leaf) {
    Leaves *l = context;
    const char *name = leaf->attrs.param.name;
    for (int i = 0; i < l->count; i++)
        if (!strcmp(l->name[i], name)) return &l->tensor[i];
    if (l->count == MAX_LEAVES) abort();
    Tensor t = tensor_new(leaf->type);
    for (int64_t i = 0, n = type_elements(leaf->type); i < n; i++) {
        double x = element(l, leaf, i);
        x = l->bf16 && leaf->type.dtype != DT_I32 ? near_bf16(x) : (double)(float)x;
        if (leaf->type.dtype != DT_I32 && l->move > 0)
            x *= 1 + l->move * (2 * rt_uniform(l->seed + 77, (uint32_t)(100 * l->count + l->draw), (uint64_t)i, 1) - 1);
        t.data[i] = x;
    }
    l->name[l->count] = name;
    l->tensor[l->count] = t;
    return &l->tensor[l->count++];
}

static const float *look_up_f32(void *context, const Value *leaf) {
    Leaves *l = context;
    const Tensor *t = look_up(l, leaf);
    ptrdiff_t at = t - l->tensor;
    size_t n = (size_t)type_elements(t->type);
    if (!l->f32[at]) l->f32[at] = malloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++) l->f32[at][i] = (float)t->data[i];
    return l->f32[at];
}

static void leaves_free(Leaves *l) {
    for (int i = 0; i < l->count; i++) {
        tensor_free(&l->tensor[i]);
        free(l->f32[i]);
    }
    l->count = 0;
}

/* ---- the reference ---- */

/* What a run is held against, for one set of inputs. */
typedef struct Wanted {
    Leaves leaves;
    Tensor out[MAX_OUTPUTS];
    double tolerance[MAX_OUTPUTS]; /* of the norm of the difference */
} Wanted;

static bool evaluate(const Graph *g, Leaves *leaves, const ExprNoise *noise, Tensor *out) {
    char why[400] = "";
    EvalOptions options = {.seed = DROPOUT_SEED, .step = DROPOUT_STEP, .round_f32 = noise != NULL, .noise = noise};
    if (graph_eval(g, look_up, leaves, &options, out, NULL, why, sizeof why)) return true;
    fprintf(stderr, "check_net: %s\n", why);
    return false;
}

static double norm(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = a[i] - (b ? b[i] : 0);
        sum += d * d;
    }
    return sqrt(sum);
}

static int64_t classes_of(const Graph *g) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].kind == OUT_LOGITS) return g->value[g->output[i].value].type.dim[1];
    return 1;
}

static bool wanted_new(const Graph *g, uint64_t seed, bool bf16, Wanted *w) {
    *w = (Wanted){.leaves = {.seed = seed, .bf16 = bf16, .classes = classes_of(g)}};
    if (g->noutputs > MAX_OUTPUTS || !evaluate(g, &w->leaves, NULL, w->out)) return false;
    double largest = 0; /* norm of a gradient */
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].kind == OUT_GRAD) largest = fmax(largest, norm(w->out[i].data, NULL, type_elements(w->out[i].type)));
    for (uint32_t i = 0; i < g->noutputs; i++)
        w->tolerance[i] = g->output[i].kind == OUT_GRAD ? (bf16 ? unit_bf16 : unit_f32) * largest : 0;
    for (int draw = 0; draw < PERTURBED; draw++) {
        Leaves moved = {
            .seed = seed, .bf16 = bf16, .classes = w->leaves.classes, .move = bf16 ? move_bf16 : move_f32, .draw = draw};
        Tensor out[MAX_OUTPUTS];
        ExprNoise noise = {.unit = bf16 ? unit_bf16 : unit_f32, .seed = (uint64_t)draw};
        if (!evaluate(g, &moved, &noise, out)) return false;
        for (uint32_t i = 0; i < g->noutputs; i++) {
            int64_t n = type_elements(out[i].type);
            w->tolerance[i] =
                fmax(w->tolerance[i], FACTOR * norm(out[i].data, w->out[i].data, n) + FLOOR * norm(w->out[i].data, NULL, n));
            tensor_free(&out[i]);
        }
        leaves_free(&moved);
    }
    return true;
}

static void wanted_free(const Graph *g, Wanted *w) {
    for (uint32_t i = 0; i < g->noutputs; i++) tensor_free(&w->out[i]);
    leaves_free(&w->leaves);
}

/* ---- a run ---- */

static bool parse_run(Run *r, const char *spec) {
    *r = (Run){.spec = spec, .words = strdup(spec), .threads = 1};
    char *state = NULL, *inner = NULL;
    for (char *word = strtok_r(r->words, ",", &state); word; word = strtok_r(NULL, ",", &state)) {
        char *value = strchr(word, '=');
        if (value) *value++ = 0;
        if (!strcmp(word, "cpu") && value)
            r->code.cpu = value;
        else if (!strcmp(word, "conv") && value && conv_method(value))
            r->code.conv = conv_method(value);
        else if (!strcmp(word, "precision") && value && !strcmp(value, "bf16"))
            r->code.precision = PRECISION_BF16;
        else if (!strcmp(word, "no-openblas"))
            r->code.no_openblas = true;
        else if (!strcmp(word, "recompute") && value)
            r->recompute = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(word, "threads") && value)
            r->threads = atoi(value);
        else if (!strcmp(word, "disable") && value && !strcmp(value, "all")) {
            for (uint32_t i = 0; i < pass_count(); i++)
                if (!pass_at(i)->required) r->disable[r->ndisable++] = pass_at(i)->name;
        } else if (!strcmp(word, "disable") && value) {
            for (char *name = strtok_r(value, "+", &inner); name; name = strtok_r(NULL, "+", &inner))
                r->disable[r->ndisable++] = name;
        } else if (strcmp(word, "default") != 0) {
            fprintf(stderr, "check_net: a run has no '%s'\n", word);
            return false;
        }
    }
    return true;
}

/* This machine may lack what the run's CPU has. */
static bool can_run(Check *c, const Run *r) {
    char missing[100];
    char *features = r->code.cpu ? codegen_features(NULL, r->code.cpu, c->diag) : strdup("");
    bool can = features && !rt_cpu_lacks(features, missing, sizeof missing);
    free(features);
    return can;
}

static bool passes(Check *c, const Run *r, PassResult *result) {
    PassOptions options = {.disable = r->disable, .ndisable = r->ndisable, .bisect_limit = -1, .recompute = r->recompute};
    if (passes_run(c->model.graph, &options, c->diag, result)) return true;
    diag_print(c->diag, stderr, false);
    return false;
}

/* Output i of the reference among those of a graph with other passes; UINT32_MAX: it is not there. */
static uint32_t find_output(const Graph *g, const Output *wanted) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].kind == wanted->kind && (!wanted->name || !strcmp(g->output[i].name, wanted->name))) return i;
    return UINT32_MAX;
}

static void outputs_free(const Graph *g, float **out) {
    for (uint32_t i = 0; i < g->noutputs; i++) free(out[i]);
}

/* Compiles and runs; what is not written shows as NaN. */
static bool compute(const Graph *g, const Run *r, int threads, Leaves *leaves, float **out) {
    char why[2000] = "";
    for (uint32_t i = 0; i < g->noutputs; i++) {
        size_t bytes = (size_t)type_elements(g->value[g->output[i].value].type) * sizeof(float);
        out[i] = malloc(bytes);
        memset(out[i], 0xff, bytes);
    }
    if (codegen_run_graph(g, &r->code, &(GraphRun){look_up_f32, leaves, DROPOUT_SEED, DROPOUT_STEP, threads}, out, why,
                          sizeof why))
        return true;
    printf("FAILED  %s: does not compile: %s\n", r->spec, why);
    outputs_free(g, out);
    return false;
}

typedef struct Worst {
    double of_tolerance, error, size;
    const char *kind, *name;
} Worst;

static Worst compare(const Graph *want_graph, const Wanted *w, const Graph *got_graph, float *const *got) {
    Worst worst = {0};
    for (uint32_t i = 0; i < want_graph->noutputs; i++) {
        const Output *o = &want_graph->output[i];
        uint32_t at = find_output(got_graph, o);
        if (o->kind == OUT_CORRECT) continue; /* ties and near ties count either way */
        Worst this = {.of_tolerance = INFINITY, .kind = kind_text(o->kind), .name = o->name ? o->name : ""};
        if (at != UINT32_MAX) {
            int64_t n = type_elements(w->out[i].type);
            double error = 0;
            for (int64_t k = 0; k < n; k++) error += pow((double)got[at][k] - w->out[i].data[k], 2);
            this.error = sqrt(error);
            this.size = norm(w->out[i].data, NULL, n);
            if (isfinite(this.size)) this.of_tolerance = this.error <= 1e-30 ? 0 : this.error / fmax(w->tolerance[i], 1e-30);
            if (isnan(this.of_tolerance)) this.of_tolerance = INFINITY;
            if (!isfinite(this.size)) this.of_tolerance = 0; /* the net itself overflows */
        }
        if (this.of_tolerance > worst.of_tolerance) worst = this;
    }
    return worst;
}

static bool same_bits(const Graph *g, float *const *a, float *const *b) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (memcmp(a[i], b[i], (size_t)type_elements(g->value[g->output[i].value].type) * sizeof(float)) != 0) return false;
    return true;
}

static int check_threads(const Graph *g, const Run *r, Wanted *w, float *const *one) {
    float *many[MAX_OUTPUTS];
    if (!compute(g, r, r->threads, &w->leaves, many)) return DIFFERS;
    bool same = same_bits(g, one, many);
    outputs_free(g, many);
    if (!same) printf("FAILED  %s: %d threads compute other bits than one\n", r->spec, r->threads);
    return same ? AGREES : DIFFERS;
}

static void write_tensor(FILE *file, const char *kind, const char *name, const Tensor *t) {
    int64_t n = type_elements(t->type);
    fprintf(file, "%s %s %" PRId64 "\n", kind, name && *name ? name : "-", n);
    fwrite(t->data, sizeof(double), (size_t)n, file);
}

static int write_run(const Check *c, const Graph *got_graph, float *const *got) {
    FILE *file = fopen(c->write, "ab");
    if (!file) return NO_GOOD;
    const Graph *g = c->reference.graph;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        uint32_t at = find_output(got_graph, &g->output[i]);
        if (at == UINT32_MAX) continue;
        Tensor t = tensor_new(g->value[g->output[i].value].type);
        for (int64_t k = 0, n = type_elements(t.type); k < n; k++) t.data[k] = (double)got[at][k];
        fprintf(file, "run ");
        write_tensor(file, kind_text(g->output[i].kind), g->output[i].name, &t);
        tensor_free(&t);
    }
    return fclose(file) ? NO_GOOD : AGREES;
}

/* With the inputs of one draw. */
static int check_draw(Check *c, const Run *r, const Graph *fused, int draw, Wanted *w, Worst *worst) {
    const Graph *g = c->reference.graph;
    float *got[MAX_OUTPUTS];
    if (!compute(fused, r, 1, &w->leaves, got)) {
        worst->of_tolerance = INFINITY;
        return NO_GOOD;
    }
    *worst = compare(g, w, fused, got);
    int status = c->write && r == c->run && draw == 0 ? write_run(c, fused, got) : AGREES;
    if (!status) status = draw == 0 && r->threads > 1 ? check_threads(fused, r, w, got) : AGREES;
    outputs_free(fused, got);
    return status;
}

/* wanted[draw] is made when it is needed; `made` counts them. */
static int check_run(Check *c, const Run *r, Wanted *wanted, int *made) {
    PassResult fused = {0};
    Worst worst[DRAWS] = {{0}};
    int failed = 0, status = AGREES, ran = 0;
    bool bf16 = r->code.precision == PRECISION_BF16;
    if (!can_run(c, r)) {
        printf("skipped %s: not on this machine\n", r->spec);
        return AGREES;
    }
    if (!passes(c, r, &fused)) return NO_GOOD;
    for (int draw = 0; draw < DRAWS && (draw == 0 || failed); draw++) {
        if (*made == draw) {
            if (!wanted_new(c->reference.graph, c->seed + 1000u * (uint64_t)draw, bf16, &wanted[draw])) return NO_GOOD;
            (*made)++;
        }
        int drawn = check_draw(c, r, fused.graph, draw, &wanted[draw], &worst[draw]);
        ran++;
        if (drawn) status = DIFFERS;
        if (drawn == NO_GOOD) break;
        failed += !(worst[draw].of_tolerance <= 1);
    }
    const Worst *first = &worst[0];
    if (failed >= 2) status = DIFFERS;
    if (failed >= 2)
        printf("FAILED  %s: %s %s is off by %.3g, of norm %.3g; that is %.3g times the tolerance\n", r->spec, first->kind,
               first->name, first->error, first->size, first->of_tolerance);
    else if (!status)
        printf("ok      %s: %.2g of the tolerance%s%s\n", r->spec, worst[ran - 1].of_tolerance,
               failed ? ", not with other inputs: " : "", failed ? first->name : "");
    fflush(stdout);
    passes_result_free(&fused);
    return status;
}

/* ---- the evaluator itself, and what it says ---- */

/* The required passes leave the values of the graph that the frontend made. */
static int check_passes(Check *c, const Wanted *w) {
    Tensor out[MAX_OUTPUTS];
    const Graph *source = c->model.graph, *g = c->reference.graph;
    int status = AGREES;
    if (!evaluate(source, (Leaves *)&w->leaves, NULL, out)) return NO_GOOD;
    for (uint32_t i = 0; i < source->noutputs; i++) {
        uint32_t at = find_output(g, &source->output[i]);
        int64_t n = type_elements(out[i].type);
        double size = norm(out[i].data, NULL, n);
        if (isfinite(size) &&
            (at == UINT32_MAX || !(norm(out[i].data, w->out[at].data, n) <= 1e-9 * size + w->tolerance[at] * 1e-3))) {
            printf("FAILED  the required passes change output %u\n", i);
            status = DIFFERS;
        }
        tensor_free(&out[i]);
    }
    return status;
}

static int write_all(const Check *c, const Wanted *w) {
    FILE *file = fopen(c->write, "wb");
    if (!file) return NO_GOOD;
    const Graph *g = c->reference.graph;
    for (int i = 0; i < w->leaves.count; i++) write_tensor(file, "leaf", w->leaves.name[i], &w->leaves.tensor[i]);
    for (uint32_t i = 0; i < g->noutputs; i++) write_tensor(file, kind_text(g->output[i].kind), g->output[i].name, &w->out[i]);
    return fclose(file) ? NO_GOOD : AGREES;
}

/* ---- all of it ---- */

static int check(Check *c) {
    Run plain;
    parse_run(&plain, "disable=all");
    FrontendOptions front = {.mode = c->mode, .batch = c->batch};
    if (!frontend_compile(c->path, &front, c->diag, &c->model)) {
        diag_print(c->diag, stderr, false);
        return NO_GOOD;
    }
    if (!passes(c, &plain, &c->reference)) return NO_GOOD;
    static Wanted wanted[2][DRAWS]; /* f32, bf16 */
    int made[2] = {0}, status = AGREES;
    if (!wanted_new(c->reference.graph, c->seed, false, &wanted[0][0])) return NO_GOOD;
    made[0] = 1;
    status = check_passes(c, &wanted[0][0]);
    if (c->write && write_all(c, &wanted[0][0])) return NO_GOOD;
    for (int i = 0; i < c->nruns && status != NO_GOOD; i++) {
        int which = c->run[i].code.precision == PRECISION_BF16;
        int ran = check_run(c, &c->run[i], wanted[which], &made[which]);
        if (ran) status = ran;
    }
    for (int which = 0; which < 2; which++)
        for (int draw = 0; draw < made[which]; draw++) wanted_free(c->reference.graph, &wanted[which][draw]);
    passes_result_free(&c->reference);
    graph_free(c->model.graph);
    free(plain.words);
    return status;
}

int main(int argc, char **argv) {
    static Check c = {.mode = MODE_TRAIN, .seed = 1};
    bool good = true;
    for (int i = 1; i < argc && good; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (argv[i][0] != '-') {
            c.path = argv[i];
            continue;
        }
        if (!value) good = false;
        if (!strcmp(argv[i], "--batch") && value)
            c.batch = atoll(value);
        else if (!strcmp(argv[i], "--mode") && value)
            c.mode = !strcmp(value, "infer") ? MODE_INFER : MODE_TRAIN;
        else if (!strcmp(argv[i], "--seed") && value)
            c.seed = strtoull(value, NULL, 10);
        else if (!strcmp(argv[i], "--write") && value)
            c.write = value;
        else if (!strcmp(argv[i], "--run") && value && c.nruns < MAX_RUNS)
            good = parse_run(&c.run[c.nruns++], value);
        else
            good = false;
        i++;
    }
    if (!good || !c.path) {
        fprintf(stderr, "usage: check_net FILE.net [--batch N] [--mode train|infer] [--seed S] [--write FILE] [--run SPEC]...\n");
        return NO_GOOD;
    }
    c.diag = diag_new();
    int status = check(&c);
    for (int i = 0; i < c.nruns; i++) free(c.run[i].words);
    diag_free(c.diag);
    return status;
}

/* check_net FILE.net [--batch N] [--mode train|infer] [--seed S] [--write FILE] [--run SPEC]...
 *
 * Does compiled code compute what the reference evaluator does? The net's graph, through the required passes only, is evaluated
 * in double; then each --run compiles it its own way and every output, gradients included, is held against that. A SPEC is words
 * separated by commas, any of
 *
 *     cpu=x86-64   conv=direct|gemm   precision=bf16   openblas   recompute=N   disable=PASS+PASS... (or disable=all)
 *     threads=N    the bits must be those of one thread
 *
 * Leaves are random numbers of --seed. --write leaves a file of leaves and evaluated outputs for others to compare with: for each
 * a line "KIND NAME ELEMENTS", and the elements as doubles; what the first --run computes has "run " before its kinds. Exit
 * status: 0 all agree, 1 some run does not, 2 the net or a SPEC is no good.
 *
 * What an output is held to, and how far it may be off, is verify/wanted.h's. */
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/cpu.h"
#include "verify/compiled.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 64, MAX_PASSES = 64, DRAW_STEP = 1000 };
enum { AGREES = 0, DIFFERS = 1, NO_GOOD = 2 };
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

static const char *kind_text(OutputKind kind) { return kind == OUT_GRAD ? "gradient" : output_kind_text(kind); }

static bool say(const char *why) {
    fprintf(stderr, "check_net: %s\n", why);
    return false;
}

static bool want(const Graph *g, Arithmetic in, uint64_t seed, Wanted *w) {
    char why[400] = "";
    return wanted_new(g, in, seed, NULL, w, why, sizeof why) || say(why);
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
        else if (!strcmp(word, "openblas"))
            r->code.openblas = true;
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
    char *features = r->code.cpu ? codegen_features(NULL, r->code.cpu, r->code.precision, c->diag) : strdup("");
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

/* Compiles and runs; what is not written shows as NaN. */
static Tensor *compute(const Graph *g, const Run *r, int threads, Leaves *leaves) {
    char why[2000] = "";
    Tensor *out = outputs_compiled(g, leaves, &r->code, threads, why, sizeof why);
    if (!out) printf("FAILED  %s: does not compile: %s\n", r->spec, why);
    return out;
}

static bool same_bits(const Graph *g, const Tensor *a, const Tensor *b) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (memcmp(a[i].data, b[i].data, (size_t)type_elements(a[i].type) * sizeof *a[i].data) != 0) return false;
    return true;
}

static int check_threads(const Graph *g, const Run *r, Wanted *w, const Tensor *one) {
    Tensor *many = compute(g, r, r->threads, &w->leaves);
    if (!many) return DIFFERS;
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

static int write_run(const Check *c, const Graph *got_graph, const Tensor *got) {
    FILE *file = fopen(c->write, "ab");
    if (!file) return NO_GOOD;
    const Graph *g = c->reference.graph;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        uint32_t at = output_find(got_graph, &g->output[i]);
        if (at == UINT32_MAX) continue;
        fprintf(file, "run ");
        write_tensor(file, kind_text(g->output[i].kind), g->output[i].name, &got[at]);
    }
    return fclose(file) ? NO_GOOD : AGREES;
}

/* With the inputs of one draw. */
static int check_draw(Check *c, const Run *r, const Graph *fused, int draw, Wanted *w, Worst *worst) {
    Tensor *got = compute(fused, r, 1, &w->leaves);
    if (!got) {
        worst->of_tolerance = INFINITY;
        return NO_GOOD;
    }
    *worst = wanted_compare(w, fused, got, false);
    int status = c->write && r == c->run && draw == 0 ? write_run(c, fused, got) : AGREES;
    if (!status) status = draw == 0 && r->threads > 1 ? check_threads(fused, r, w, got) : AGREES;
    outputs_free(fused, got);
    return status;
}

/* wanted[draw] is made when it is needed; `made` counts them. */
static int check_run(Check *c, const Run *r, Wanted *wanted, int *made) {
    PassResult fused = {0};
    Worst worst[HELD_DRAWS] = {{0}};
    int failed = 0, status = AGREES, ran = 0;
    bool bf16 = r->code.precision == PRECISION_BF16;
    if (!can_run(c, r)) {
        printf("skipped %s: not on this machine\n", r->spec);
        return AGREES;
    }
    if (!passes(c, r, &fused)) return NO_GOOD;
    for (int draw = 0; draw < HELD_DRAWS && (draw == 0 || failed); draw++) {
        if (*made == draw) {
            uint64_t seed = c->seed + DRAW_STEP * (uint64_t)draw;
            if (!want(c->reference.graph, bf16 ? IN_BF16 : IN_F32, seed, &wanted[draw])) return NO_GOOD;
            (*made)++;
        }
        int drawn = check_draw(c, r, fused.graph, draw, &wanted[draw], &worst[draw]);
        ran++;
        if (drawn) status = DIFFERS;
        if (drawn == NO_GOOD) break;
        failed += !(worst[draw].of_tolerance <= 1);
    }
    const Worst *first = &worst[0];
    char text[WORST_TEXT];
    if (failed >= HELD_FAULTS) status = DIFFERS;
    if (failed >= HELD_FAULTS)
        printf("FAILED  %s: %s; that is %.3g times the tolerance\n", r->spec, worst_text(first, text), first->of_tolerance);
    else if (!status)
        printf("ok      %s: %.2g of the tolerance%s%s\n", r->spec, worst[ran - 1].of_tolerance,
               failed ? ", not with other inputs: " : "", failed && first->name ? first->name : "");
    fflush(stdout);
    passes_result_free(&fused);
    return status;
}

/* ---- the evaluator itself, and what it says ---- */

/* The required passes leave the values of the graph that the frontend made: to a thousandth of what f32 may be off. */
static int check_passes(Check *c, const Wanted *w) {
    Wanted source;
    char text[WORST_TEXT];
    if (!want(c->model.graph, IN_F64, c->seed, &source)) return NO_GOOD;
    for (uint32_t i = 0; i < source.g->noutputs; i++) {
        uint32_t at = output_find(w->g, &source.g->output[i]);
        if (at != UINT32_MAX) source.tolerance[i] += w->tolerance[at] * 1e-3;
    }
    Worst worst = wanted_compare(&source, w->g, w->out, true);
    if (!(worst.of_tolerance <= 1)) printf("FAILED  the required passes: %s\n", worst_text(&worst, text));
    wanted_free(&source);
    return worst.of_tolerance <= 1 ? AGREES : DIFFERS;
}

static int write_all(const Check *c, const Wanted *w) {
    FILE *file = fopen(c->write, "wb");
    if (!file) return NO_GOOD;
    const Graph *g = c->reference.graph;
    for (uint32_t i = 0; i < w->leaves.count; i++) write_tensor(file, "leaf", w->leaves.leaf[i].name, &w->leaves.leaf[i].tensor);
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
    static Wanted wanted[2][HELD_DRAWS]; /* f32, bf16 */
    int made[2] = {0}, status = AGREES;
    if (!want(c->reference.graph, IN_F32, c->seed, &wanted[0][0])) return NO_GOOD;
    made[0] = 1;
    status = check_passes(c, &wanted[0][0]);
    if (c->write && write_all(c, &wanted[0][0])) return NO_GOOD;
    for (int i = 0; i < c->nruns && status != NO_GOOD; i++) {
        int which = c->run[i].code.precision == PRECISION_BF16;
        int ran = check_run(c, &c->run[i], wanted[which], &made[which]);
        if (ran) status = ran;
    }
    for (int which = 0; which < 2; which++)
        for (int draw = 0; draw < made[which]; draw++) wanted_free(&wanted[which][draw]);
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

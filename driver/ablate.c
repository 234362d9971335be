/* netc ablate: what each pass, or each rewrite of one, is worth. The model is compiled once for each, with it left out; what
 * follows from graph and code is counted, and steps of all of them are timed in turn. A round visits every variant, forwards and
 * backwards by turns, so that a machine that grows slower meanwhile is slower for all. Times are compared within a round; of the
 * ratios the median is printed, and an interval between two of them in which the median lies with a probability that no
 * assumption about their distribution is needed for (the binomial one of how many fall below it). */
#include "driver/ablate.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/probe.h"
#include "driver/sample.h"
#include "driver/textual.h"
#include "verify/small.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS = 2,
    MAX_STEPS = 16,
    WHY = 600,
    MAX_ROUNDS = 1000
}; /* steps: timed ones of a visit, after one that brings in memory */
static const double VISIT = 0.05; /* seconds of a visit, if MAX_STEPS take that long */
static const double COVERAGE = 0.95;

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) out_of_memory("no room for variants of a model");
    return memory;
}

/* ---- which ---- */

static int add(Ablation *a, const char *label, const char *const *disabled, uint32_t ndisabled, const char *forbidden) {
    Variant **variants = realloc(a->variant, (a->count + 1) * sizeof(Variant *));
    AblationRow *rows = realloc(a->row, (a->count + 1) * sizeof *rows);
    if (!variants || !rows) out_of_memory("no room for variants of a model");
    a->variant = variants;
    a->row = rows;
    a->row[a->count] =
        (AblationRow){.first = UINT32_MAX, .second = UINT32_MAX, .seconds = zeroed((size_t)a->rounds, sizeof(double))};
    Variant **v = &a->variant[a->count];
    int status = variant_new(a->options, a->mode, label, disabled, ndisabled, forbidden, a->pool, v);
    a->count++;
    if (status && a->count > 1) (*v)->refused = true, status = EXIT_OK; /* it says why, and the others are there all the same */
    return status;
}

/* The optional passes that run, by name. */
static void list_passes(Ablation *a, const PassResult *all) {
    a->pass = zeroed(all->nruns, sizeof *a->pass);
    for (uint32_t i = 0; i < all->nruns; i++) {
        bool listed = all->runs[i].required;
        for (uint32_t k = 0; k < a->npasses; k++) listed |= !strcmp(a->pass[k], all->runs[i].pass);
        if (!listed) a->pass[a->npasses++] = all->runs[i].pass;
    }
}

/* The others are left out too, but for pass `i`. */
static int add_alone(Ablation *a, uint32_t i) {
    const char **others = zeroed(a->npasses, sizeof *others);
    uint32_t n = 0;
    for (uint32_t k = 0; k < a->npasses; k++)
        if (k != i) others[n++] = a->pass[k];
    int status = add(a, i < a->npasses ? a->pass[i] : "none of them", others, n, NULL);
    free(others);
    return status;
}

static int add_pair(Ablation *a, uint32_t i, uint32_t k) {
    const char *both[] = {a->pass[i], a->pass[k]};
    char *label = join("%s, %s", both[0], both[1]);
    int status = add(a, label, both, 2, NULL);
    a->row[a->count - 1].first = 1 + i; /* behind the variant of all passes */
    a->row[a->count - 1].second = 1 + k;
    free(label);
    return status;
}

static int add_rewrites(Ablation *a, const PassResult *all) {
    int status = EXIT_OK;
    for (uint32_t i = 0; i < all->nevents && !status; i++) {
        const Event *e = &all->events[i];
        bool asked = e->number && e->kind == EVENT_DONE && e->name;
        if (asked && (!strcmp(a->options->rewrites, e->pass) || !strcmp(a->options->rewrites, e->run)))
            status = add(a, e->name, NULL, 0, e->name);
    }
    return status;
}

/* The first variant has everything; a->base is the one that the others are compared with. */
static int add_all(Ablation *a) {
    int status = add(a, "all passes", NULL, 0, NULL);
    if (status) return status;
    const PassResult *all = variant_passes(a->variant[0]);
    list_passes(a, all);
    if (a->options->rewrites) return add_rewrites(a, all);
    for (uint32_t i = 0; i < a->npasses && !status; i++)
        status = a->options->alone ? add_alone(a, i) : add(a, a->pass[i], &a->pass[i], 1, NULL);
    if (!status && a->npasses) status = add_alone(a, a->npasses);
    if (a->options->alone) a->base = a->count - 1;
    for (uint32_t i = 0; i < a->npasses && a->options->pairs; i++)
        for (uint32_t k = i + 1; k < a->npasses && !status; k++) status = add_pair(a, i, k);
    return status;
}

static int compile_all(Ablation *a) {
    int status = EXIT_OK;
    for (uint32_t i = 0; i < a->count && !status; i++) {
        Variant *v = a->variant[i];
        if (v->refused) continue;
        status = variant_compile(v, a->variant, i);
        if (status && i > 0 && i != a->base) v->refused = true, status = EXIT_OK;
    }
    return status;
}

/* ---- the evaluator ---- */

/* On small images, as netc verify does; a graph as text that cannot be made smaller is left to it. */
static int hold_all(Ablation *a) {
    Session *s = &a->variant[0]->session;
    Model model = {0};
    char why[WHY];
    Graph *small;
    int status = compile_small(s, a->mode, 0, &model, &small);
    if (status) return status;
    const Graph *source = small ? small : model.graph;
    Stages *stages =
        textual_is(s) && !small_enough(source) ? NULL : stages_new(source, (uint64_t)a->options->seed, NULL, why, sizeof why);
    for (uint32_t i = 0; i < a->count && stages; i++) {
        Variant *v = a->variant[i];
        if (v->same)
            v->of_tolerance = v->same->of_tolerance;
        else if (!v->refused)
            variant_hold(v, stages, source);
    }
    stages_free(stages);
    graph_free(small);
    graph_free(model.graph);
    return EXIT_OK;
}

/* ---- times ---- */

static void step(RtMachine *machine, Mode mode) {
    const RtProgram *p = rt_machine_program(machine);
    if (mode == MODE_INFER) {
        rt_machine_infer(machine, p->batch);
        return;
    }
    rt_machine_run(machine, &p->train_step);
    rt_machine_run(machine, &p->apply_update);
}

/* The faster of its steps, as whatever else the machine does makes one slower. All variants begin at the same weights and images.
 */
static int visit(const Ablation *a, const Variant *v, double *seconds) {
    RtError error = {{0}};
    RtMachine *machine = rt_machine_new(jit_program(v->session.jit), a->pool, &error);
    if (!machine) return fail(EXIT_IO, "%s", error.text);
    sample_inputs(machine, (uint64_t)a->options->seed);
    *seconds = INFINITY;
    double all = 0;
    for (int i = -1; i < STEPS || (i < MAX_STEPS && all < VISIT); i++) {
        double start = probe_seconds();
        step(machine, a->mode);
        double took = probe_seconds() - start;
        if (i < 0) continue;
        all += took;
        if (took < *seconds) *seconds = took;
    }
    rt_machine_free(machine);
    return EXIT_OK;
}

static int measure(Ablation *a) {
    int status = EXIT_OK;
    for (int64_t r = 0; r < a->rounds; r++)
        for (uint32_t k = 0; k < a->count && !status; k++) {
            uint32_t i = r % 2 ? a->count - 1 - k : k;
            const Variant *v = a->variant[i];
            if (!v->refused && !v->same) status = visit(a, v, &a->row[i].seconds[r]);
        }
    return status;
}

/* Of n independent numbers, in ascending order, the median of what they are drawn from lies between number k and number n - 1 - k
 * with probability *coverage: the largest k of which that is COVERAGE, or 0. */
static int64_t interval(int64_t n, double *coverage) {
    double below = 0, term = pow(0.5, (double)n);
    int64_t k = 0;
    *coverage = 1 - 2 * term;
    for (int64_t i = 0; i < n / 2; i++) {
        below += term; /* at most i of them lie below the median */
        term *= (double)(n - i) / (double)(i + 1);
        if (1 - 2 * below < COVERAGE) break;
        k = i;
        *coverage = 1 - 2 * below;
    }
    return k;
}

static uint32_t timed(const Ablation *a, uint32_t i) {
    while (a->variant[i]->same)
        for (uint32_t k = 0; k < a->count; k++)
            if (a->variant[k] == a->variant[i]->same) {
                i = k;
                break;
            }
    return i;
}

static double change(const Ablation *a, uint32_t i, int64_t r) {
    uint32_t at = timed(a, i), base = timed(a, a->base);
    return at == base ? 0 : a->row[at].seconds[r] / a->row[base].seconds[r] - 1;
}

/* Sorts the values. */
static Estimate estimate(const Ablation *a, double *values) {
    double coverage;
    int64_t n = a->rounds, k = interval(n, &coverage);
    Estimate e = {.median = sample_median(values, (size_t)n)};
    e.low = values[k], e.high = values[n - 1 - k];
    return e;
}

static void evaluate(Ablation *a) {
    double *values = zeroed((size_t)a->rounds, sizeof *values);
    interval(a->rounds, &a->coverage);
    for (uint32_t i = 0; i < a->count; i++) {
        AblationRow *row = &a->row[i];
        if (a->variant[i]->refused) continue;
        memcpy(values, a->row[timed(a, i)].seconds, (size_t)a->rounds * sizeof *values);
        row->median_seconds = sample_median(values, (size_t)a->rounds);
        for (int64_t r = 0; r < a->rounds; r++) values[r] = change(a, i, r);
        row->change = estimate(a, values);
        if (row->first == UINT32_MAX || a->variant[row->first]->refused || a->variant[row->second]->refused) continue;
        for (int64_t r = 0; r < a->rounds; r++)
            values[r] = change(a, i, r) - change(a, row->first, r) - change(a, row->second, r);
        row->beyond = estimate(a, values);
    }
    free(values);
}

/* ---- all of it ---- */

static void ablation_free(Ablation *a) {
    for (uint32_t i = 0; i < a->count; i++) free(a->row[i].seconds);
    for (uint32_t i = 0; i < a->count; i++) variant_free(a->variant[i]);
    free(a->variant);
    free(a->row);
    free(a->pass);
}

/* *rows: how many variants there are besides the one with all passes. */
static int ablate_mode(const Options *o, Mode mode, RtPool *pool, uint32_t *rows) {
    Ablation a = {.options = o, .mode = mode, .pool = pool, .rounds = o->repeats};
    int status = add_all(&a);
    *rows += a.count > 0 ? a.count - 1 : 0;
    if (!status && a.count > 1) {
        status = compile_all(&a);
        if (!status) status = hold_all(&a);
        if (!status) status = measure(&a);
        if (!status) {
            evaluate(&a);
            ablation_print(&a);
        }
    }
    ablation_free(&a);
    return status;
}

static int check_options(const Options *o) {
    if (o->noperands > 1) return usage_error("ablate", "one model at a time, found '%s' too", o->operand[1]);
    if (o->repeats < 1 || o->repeats > MAX_ROUNDS) return usage_error("ablate", "'--repeats' is from 1 to %d", MAX_ROUNDS);
    if (o->without + o->alone + o->pairs + (o->rewrites != NULL) > 1)
        return usage_error("ablate", "one of '--without', '--alone', '--pairs' and '--rewrites' at a time");
    if (o->json && o->html) return usage_error("ablate", "'--json' or '--html', not both");
    return EXIT_OK;
}

int command_ablate(const Options *options) {
    Session session = {0}; /* finds the model, and owns the threads */
    unsigned asked = 0;
    uint32_t rows = 0;
    int status = check_options(options);
    if (!status) status = compile_asked_modes(&session, options, "ablate", &asked);
    if (!status) status = session_pool(&session);
    if (!status && options->html) ablation_print_head(session.path);
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !status; mode++)
        if (asked & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER)) status = ablate_mode(options, mode, session.pool, &rows);
    if (!status && options->html) ablation_print_tail();
    if (!status && !rows && options->rewrites)
        status = fail(EXIT_USAGE, "the pass '%s' rewrites nothing here; 'netc passes %s' lists the passes", options->rewrites,
                      options->operand[0]);
    if (!status && !rows) status = fail(EXIT_INPUT, "no pass runs here that could be left out");
    session_close(&session);
    return status;
}

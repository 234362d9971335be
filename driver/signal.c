#include "driver/signal.h"
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/sample.h"
#include "driver/shape.h"
#include "runtime/loader.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What one added output sums up. Sums come out of the program as gradients of parameters that nothing reads, named lint/0,
 * lint/1, ...; no name of the language has a stroke. */
typedef enum ProbeKind { PROBE_FORWARD, PROBE_BACKWARD, PROBE_UNIT } ProbeKind;
typedef struct Probe {
    ProbeKind kind;
    uint32_t index;   /* of a layer or unit */
    int64_t elements; /* whose squares, or of a unit magnitudes, are added */
} Probe;

typedef struct Measuring {
    Session *session;
    Signal *signal;
    Graph *g; /* with the sums */
    Probe *probe;
    uint32_t nprobes;
} Measuring;

static const char PREFIX[] = "lint/";
enum { NAME = 32 };

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for a net's signals");
}

void signal_free(Signal *signal) {
    free(signal->layer);
    free(signal->unit);
    free(signal->unreached);
    passes_result_free(&signal->half);
    *signal = (Signal){0};
}

/* ---- sums ---- */

/* Of a feature map f32[N,C], over its pixels; of f32[N,C] the terms themselves: squares, or of units magnitudes, since the square
 * of a small number is zero. */
static Val add_terms(Graph *g, ProbeKind kind, Val v) {
    Type type = g->value[v].type;
    ExprBuilder b = expr_builder(g->arena);
    uint16_t x = expr_arg(&b, 0),
             term = kind == PROBE_UNIT ? expr_binary(&b, X_MAX, x, expr_unary(&b, X_NEG, x)) : expr_binary(&b, X_MUL, x, x);
    Region region = {.role = type.rank == 4 ? REGION_REDUCE : REGION_OUTPUT, .expr = expr_finish(&b, term)};
    return graph_add(
        g,
        &(ValueSpec){
            .op = OP_MAP, .args = &v, .nargs = 1, .declared = type, .span = g->value[v].span, .regions = &region, .nregions = 1});
}

static void add_probe(Measuring *m, ProbeKind kind, uint32_t index, Val v) {
    Graph *g = m->g;
    Type type = g->value[v].type;
    char name[NAME];
    snprintf(name, sizeof name, "%s%u", PREFIX, m->nprobes);
    ValueSpec leaf = {.op = OP_PARAM, .declared = type_matrix(type.dim[0], type.dim[1])};
    leaf.attrs.param.name = name;
    Val sums = add_terms(g, kind, v), target = graph_add(g, &leaf);
    graph_output(g, OUT_GRAD, sums, g->value[target].attrs.param.name);
    m->probe[m->nprobes++] = (Probe){kind, index, type_elements(type)};
}

/* ---- what is looked at ---- */

/* Which values the loss depends on: the others are of the backward pass. */
static bool *forward_values(const Graph *g) {
    bool *forward = checked(calloc(g->count + 1, sizeof *forward));
    Val loss = graph_find_output(g, OUT_LOSS, NULL);
    if (loss != NO_VAL) forward[loss] = true;
    for (Val v = g->count; v-- > 0;)
        for (uint32_t i = 0; forward[v] && i < g->value[v].nargs; i++) forward[g->value[v].args[i]] = true;
    return forward;
}

static bool is_layer(const Graph *g, Val v) {
    const Value *value = &g->value[v];
    return (value->op == OP_CONV2D || value->op == OP_DENSE) && g->value[value->args[1]].op == OP_PARAM;
}

static bool has_threshold(const Value *v) {
    if (v->op != OP_MAP || v->nregions != 1 || v->regions[0].role != REGION_OUTPUT) return false;
    const Expr *e = v->regions[0].expr;
    return expr_uses_op(e, X_MAX) || expr_uses_op(e, X_MIN) || expr_uses_op(e, X_SELECT);
}

static void add_layer(Measuring *m, Val v) {
    Signal *s = m->signal;
    const Graph *g = s->half.graph;
    const Value *value = &g->value[v];
    const char *name = g->value[value->args[1]].attrs.param.name;
    s->layer[s->nlayers] = (LayerSignal){.name = name, .span = value->span, .filters = value->op == OP_CONV2D, .backward = NAN};
    add_probe(m, PROBE_FORWARD, s->nlayers, v);
    Val gradient = graph_find_output(g, OUT_GRAD, name);
    Op op = gradient == NO_VAL ? OP_COUNT : g->value[gradient].op;
    if (op == OP_CONV2D_BWD_WEIGHTS || op == OP_DENSE_BWD_WEIGHTS)
        add_probe(m, PROBE_BACKWARD, s->nlayers, g->value[gradient].args[1]);
    s->nlayers++;
}

static void add_unit(Measuring *m, Val v) {
    Signal *s = m->signal;
    const Value *value = &s->half.graph->value[v];
    s->unit[s->nunits] =
        (UnitSignal){.name = value->name, .span = value->span, .map = value->type.rank == 4, .channels = value->type.dim[1]};
    add_probe(m, PROBE_UNIT, s->nunits++, v);
}

static void add_sums(Measuring *m) {
    Signal *s = m->signal;
    const Graph *g = s->half.graph;
    bool *forward = forward_values(g);
    m->g = graph_copy(g);
    m->probe = checked(calloc(3 * (size_t)g->count + 1, sizeof *m->probe));
    s->layer = checked(calloc(g->count + 1, sizeof *s->layer));
    s->unit = checked(calloc(g->count + 1, sizeof *s->unit));
    for (Val v = 0; v < g->count; v++) {
        int rank = g->value[v].type.rank;
        if (!forward[v] || (rank != 4 && rank != 2)) continue;
        if (is_layer(g, v)) add_layer(m, v);
        if (has_threshold(&g->value[v])) add_unit(m, v);
    }
    free(forward);
}

/* ---- the machine ---- */

/* Only a graph as text can have such a name. */
static int check_names(const Graph *g) {
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_attr_kind(value->op) == ATTR_PARAM && !strncmp(value->attrs.param.name, PREFIX, sizeof PREFIX - 1))
            return fail(EXIT_INPUT, "a parameter is named '%s': netc lint keeps names that begin with '%s' for its sums",
                        value->attrs.param.name, PREFIX);
    }
    return EXIT_OK;
}

/* Passes up to the gradients, the sums, the other passes, and what the data are held against. */
static int make_machine(Measuring *m, const char *command_name, RtData *data) {
    Session *s = m->session;
    PassOptions before = compile_pass_options(s, s->train.graph), after = before;
    before.stop_after = after.start_after = "autodiff";
    int status = check_names(s->train.graph);
    if (!status) status = session_passes(s, s->train.graph, &before, &m->signal->half);
    if (status) return status;
    add_sums(m);
    status = session_passes(s, m->g, &after, &s->train_passes);
    if (!status) status = session_check_graph(s->train_passes.graph);
    Shape shape = {0};
    if (!status) status = shape_of(s, &shape);
    if (!status) status = open_data(&shape.program, s->options, data);
    shape_free(&shape);
    return status ? status : compile_machine(s, true, false, command_name);
}

static int load_batch(Measuring *m, const RtData *data) {
    RtMachine *machine = m->session->machine;
    const RtProgram *p = rt_machine_program(machine);
    uint64_t seed = (uint64_t)m->session->options->seed;
    RtError error = {{0}};
    if (data->ntrain < p->batch)
        return fail(EXIT_INPUT, "the training data have %lld images, a batch %lld", (long long)data->ntrain, (long long)p->batch);
    RtLoader *loader = rt_loader_new(data, &p->recipe, &(RtLoaderStart){p->batch, 0, p->batch, seed, 0, 0}, &error);
    if (!loader) return fail(EXIT_IO, "%s", error.text);
    rt_loader_next(loader, rt_machine_space(machine, RT_IMAGES), rt_machine_space(machine, RT_LABELS),
                   rt_machine_space(machine, RT_MIX));
    rt_loader_free(loader);
    rt_machine_init_params(machine, seed);
    sample_set_step(machine, seed, 0, 0);
    return EXIT_OK;
}

/* ---- reading ---- */

static bool is_probe(const RtTensor *t) { return !strncmp(t->name, PREFIX, sizeof PREFIX - 1); }

/* A NaN without a sign, which it has by the machine's whim and would be printed with. */
static double plain(double x) { return isnan(x) ? (double)NAN : x; }

/* Physical elements; padding is zero. */
static double dot(const RtTensor *t, const char *a, const char *b) {
    const float *x = (const float *)(const void *)(a + t->offset), *y = (const float *)(const void *)(b + t->offset);
    double sum = 0;
    for (uint64_t i = 0; i < t->bytes / sizeof(float); i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

static void read_probe(Measuring *m, const RtTensor *t, float *sums) {
    RtMachine *machine = m->session->machine;
    Signal *s = m->signal;
    const Probe *probe = &m->probe[strtoul(t->name + sizeof PREFIX - 1, NULL, 10)];
    rt_tensor_unpack(rt_machine_program(machine), t, rt_machine_space(machine, RT_GRADS), sums);
    double sum = 0;
    int64_t silent = 0;
    for (int64_t c = 0; c < t->dim[1]; c++) {
        double channel = 0;
        for (int64_t n = 0; n < t->dim[0]; n++) channel += (double)sums[n * t->dim[1] + c];
        sum += channel;
        silent += channel == 0;
    }
    double rms = plain(sqrt(sum / (double)probe->elements));
    if (probe->kind == PROBE_FORWARD) s->layer[probe->index].forward = rms;
    if (probe->kind == PROBE_BACKWARD) s->layer[probe->index].backward = rms;
    if (probe->kind == PROBE_UNIT) s->unit[probe->index].silent = silent;
}

static void read_tensors(Measuring *m) {
    RtMachine *machine = m->session->machine;
    const RtProgram *p = rt_machine_program(machine);
    const char *params = rt_machine_space(machine, RT_PARAMS), *grads = rt_machine_space(machine, RT_GRADS);
    for (uint32_t i = 0; i < p->nparams; i++) {
        const RtTensor *t = &p->params[i];
        if (is_probe(t)) {
            float *sums = checked(malloc((size_t)(t->dim[0] * t->dim[1]) * sizeof *sums));
            read_probe(m, t, sums);
            free(sums);
            continue;
        }
        for (uint32_t l = 0; l < m->signal->nlayers; l++) {
            LayerSignal *layer = &m->signal->layer[l];
            if (strcmp(layer->name, t->name) != 0) continue;
            layer->weight = plain(sqrt(dot(t, params, params)));
            layer->gradient = plain(sqrt(dot(t, grads, grads)));
        }
    }
}

static void read_scores(Measuring *m) {
    RtMachine *machine = m->session->machine;
    const RtProgram *p = rt_machine_program(machine);
    const float *logits = rt_machine_space(machine, RT_LOGITS), *metrics = rt_machine_space(machine, RT_METRICS);
    float *share = checked(malloc((size_t)p->classes * sizeof *share));
    double sum = 0;
    for (int64_t n = 0; n < p->batch; n++) {
        float most = 0;
        rt_softmax(logits + n * p->classes, p->classes, share);
        for (int64_t k = 0; k < p->classes; k++) most = share[k] > most || isnan(share[k]) ? share[k] : most;
        sum += (double)most;
    }
    free(share);
    m->signal->images = p->batch;
    m->signal->loss = plain((double)metrics[0]);
    m->signal->confidence = plain(sum / (double)p->batch);
}

/* ---- a second look, a small step down the gradient ---- */

/* Small beside the weights, and large beside the rounding of f32 gradients. */
static const double STEP = 1e-3;

static double dot_all(const RtProgram *p, const char *a, const char *b) {
    double sum = 0;
    for (uint32_t i = 0; i < p->nparams; i++) sum += is_probe(&p->params[i]) ? 0 : dot(&p->params[i], a, b);
    return sum;
}

/* params -= by * grads, of the net's own parameters. */
static void move(const RtProgram *p, char *params, const char *grads, double by) {
    for (uint32_t i = 0; i < p->nparams; i++) {
        const RtTensor *t = &p->params[i];
        float *w = (float *)(void *)(params + t->offset);
        const float *g = (const float *)(const void *)(grads + t->offset);
        for (uint64_t k = 0; !is_probe(t) && k < t->bytes / sizeof *w; k++) w[k] -= (float)(by * (double)g[k]);
    }
}

/* What a gate or a gamma of zero holds back has its gradient after the step: what has none then is not reached. */
static void find_unreached(Measuring *m, const char *first, const char *second) {
    const RtProgram *p = rt_machine_program(m->session->machine);
    for (uint32_t i = 0; i < p->nparams && !m->signal->unreached; i++) {
        const RtTensor *t = &p->params[i];
        if (!is_probe(t) && t->until >= 0 && dot(t, first, first) == 0 && dot(t, second, second) == 0)
            m->signal->unreached = join("%s", t->name);
    }
}

static void look_again(Measuring *m) {
    RtMachine *machine = m->session->machine;
    const RtProgram *p = rt_machine_program(machine);
    char *params = rt_machine_space(machine, RT_PARAMS), *grads = rt_machine_space(machine, RT_GRADS);
    char *first = checked(malloc(p->params_bytes));
    memcpy(first, grads, p->params_bytes);
    double square = dot_all(p, first, first), by = STEP * sqrt(dot_all(p, params, params) / square);
    m->signal->gradient = plain(sqrt(square));
    m->signal->curvature = NAN;
    if (isfinite(by)) {
        move(p, params, first, by);
        rt_machine_run(machine, &p->train_step);
        m->signal->curvature = plain((square - dot_all(p, first, grads)) / (by * square));
    }
    find_unreached(m, first, grads);
    free(first);
}

int signal_measure(Session *session, const char *command_name, Signal *signal) {
    Measuring m = {.session = session, .signal = signal};
    RtData data = {0};
    *signal = (Signal){0};
    int status = make_machine(&m, command_name, &data);
    if (!status) status = load_batch(&m, &data);
    if (!status) {
        rt_machine_run(session->machine, &rt_machine_program(session->machine)->train_step);
        read_tensors(&m);
        read_scores(&m);
        look_again(&m);
    }
    rt_data_free(&data);
    graph_free(m.g);
    free(m.probe);
    return status;
}

/* Three small nets from .net text, trained by the reference evaluator on their unoptimised graphs with SGD in double: what
 * compiled training is held against. */
#ifndef NETC_TESTS_TRAIN_REFERENCE_H
#define NETC_TESTS_TRAIN_REFERENCE_H
#include "codegen_helpers.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "train_inputs.h"
#include <unistd.h>

enum { MAX_TENSORS = 64 };

static const char recipe_text[] = "train {\n    data = synthetic\n    augment = []\n    batch = 4\n"
                                  "    optimizer = sgd(lr = 0.05, momentum = 0.9, weight_decay = 1e-3)\n}\n";

static const char *const nets[] = {
    /* a small ResNet */
    "block conv_bn(x, f, k = 3, stride = 1) { return batch_norm(conv2d(x, f, k, stride = stride, bias = false)) }\n"
    "block basic(x, f, stride = 1) {\n    y = conv_bn(relu(conv_bn(x, f, stride = stride)), f)\n"
    "    if stride != 1 or channels(x) != f { x = conv2d(x, f, 1, stride = stride, bias = false) }\n    return relu(x + y)\n}\n"
    "net small(classes = 10) {\n    input image: f32[3, 8, 8]\n    x = relu(conv_bn(image, 8))\n"
    "    x = basic(basic(x, 8), 16, stride = 2)\n    output dense(global_avg_pool(x), classes)\n}\n",
    /* a small SE-ResNet */
    "block conv_bn(x, f, stride = 1) { return batch_norm(conv2d(x, f, 3, stride = stride, bias = false)) }\n"
    "block se(x) { return x * sigmoid(dense(relu(dense(global_avg_pool(x), max(1, channels(x) // 4))), channels(x))) }\n"
    "block basic(x, f, stride = 1) {\n    y = se(conv_bn(relu(conv_bn(x, f, stride = stride)), f))\n"
    "    if stride != 1 or channels(x) != f { x = conv2d(x, f, 1, stride = stride, bias = false) }\n    return relu(x + y)\n}\n"
    "net small(classes = 10) {\n    input image: f32[3, 16, 16]\n    x = relu(conv_bn(image, 16))\n"
    "    x = basic(basic(x, 16), 16, stride = 2)\n    output dense(global_avg_pool(x), classes)\n}\n",
    /* the rest of the language: groups, biases, pools, concat, dropout, smooth activations, ragged channels */
    "net small(classes = 10) {\n    input image: f32[3, 9, 7]\n    x = silu(conv2d(image, 6, 3))\n"
    "    a = max_pool(hard_swish(batch_norm(conv2d(x, 10, [1, 3], groups = 2))), 3, stride = 2, pad = 1)\n"
    "    b = avg_pool(tanh(conv2d(x, 9, 3, stride = 1, dilation = 2, pad = 2)), 3, stride = 2, pad = 1)\n"
    "    y = dropout(concat(a, b), 0.25) + pad_channels(x, 19, stride = 2)\n"
    "    y = y * hard_sigmoid(dense(global_avg_pool(y), 19))\n    output dense(relu(dense(flatten(y), 21)), classes)\n}\n",
};

/* ---- one net: source graph, reference graph, data ---- */

typedef struct Net {
    Model model;
    PassResult reference; /* required passes only */
} Net;

static inline void must(bool ok, Diag *diag) {
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
}

static inline PassResult optimise_recomputed(const Graph *g, const char *const *disable, uint32_t ndisable, uint32_t recompute) {
    Diag *diag = diag_new();
    PassResult result;
    PassOptions options = {.disable = disable, .ndisable = ndisable, .bisect_limit = -1, .recompute = recompute};
    must(passes_run(g, &options, diag, &result), diag);
    diag_free(diag);
    return result;
}

static inline PassResult optimise(const Graph *g, const char *const *disable, uint32_t ndisable) {
    return optimise_recomputed(g, disable, ndisable, 0);
}

static inline uint32_t optional_passes(Mode mode, const char *names[]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < pass_count(); i++) {
        const Pass *pass = pass_at(i);
        if (!pass->required && pass_runs_in(pass, mode)) names[n++] = pass->name;
    }
    return n;
}

static inline Net net_open(int which, Mode mode) {
    char path[] = "/tmp/netc-train-XXXXXX.net";
    FILE *out = fdopen(mkstemps(path, 4), "w");
    fprintf(out, "%s%s", nets[which], recipe_text);
    fclose(out);
    Net net;
    Diag *diag = diag_new();
    FrontendOptions options = {.mode = mode, .batch = BATCH};
    bool compiled = frontend_compile(path, &options, diag, &net.model);
    remove(path);
    must(compiled, diag);
    diag_free(diag);
    const char *names[32];
    net.reference = optimise(net.model.graph, names, optional_passes(mode, names));
    return net;
}

static inline void net_close(Net *net) {
    passes_result_free(&net->reference);
    graph_free(net->model.graph);
}

/* ---- the reference: evaluator and SGD in double ---- */

typedef struct Trajectory {
    double loss[STEPS], correct[STEPS];
    Tensor gradient[MAX_TENSORS]; /* of the first step, by output; data NULL if output i is no gradient */
    Leaves leaves;                /* at the end */
} Trajectory;

static inline Tensor *leaf_named(Leaves *leaves, const char *name) {
    for (int i = 0; i < leaves->count; i++)
        if (!strcmp(leaves->name[i], name)) return &leaves->tensor[i];
    ck_abort_msg("no leaf '%s'", name);
}

static inline const Tensor *find_leaf(void *context, const Value *leaf) { return leaf_named(context, leaf->attrs.param.name); }

static inline void set_inputs(const Graph *g, Leaves *leaves, int step) {
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_INPUT) continue;
        Tensor *t = leaf_named(leaves, g->value[v].attrs.param.name);
        for (int64_t i = 0, n = type_elements(t->type); i < n; i++)
            t->data[i] = t->type.dtype == DT_I32 ? label(step, i) : pixel(step, i);
    }
}

static inline void sgd(const RtOptimizer *o, Tensor *p, const Tensor *g, double *momentum, bool decays) {
    for (int64_t i = 0, n = type_elements(p->type); i < n; i++) {
        double d = g->data[i] + (decays ? o->weight_decay : 0) * p->data[i];
        momentum[i] = o->momentum * momentum[i] + d;
        p->data[i] -= o->lr * momentum[i];
    }
}

static inline bool decays(const Graph *g, const char *name, const RtOptimizer *o) {
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_PARAM && !strcmp(g->value[v].attrs.param.name, name))
            return g->value[v].attrs.param.decay || o->decay_bn;
    return false;
}

/* Consumes the outputs of one step: loss, gradients (applied), next statistics. */
static inline void absorb(const Net *net, Trajectory *t, int step, Tensor *out, double **momentum) {
    const Graph *g = net->reference.graph;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->output[i];
        if (o->kind == OUT_LOSS) t->loss[step] = out[i].data[0];
        if (o->kind == OUT_CORRECT) t->correct[step] = out[i].data[0];
        if (o->kind == OUT_GRAD) {
            size_t n = (size_t)type_elements(out[i].type);
            if (!momentum[i]) momentum[i] = calloc(n, sizeof(double));
            const RtOptimizer *optimizer = &net->model.recipe.optimizer;
            sgd(optimizer, leaf_named(&t->leaves, o->name), &out[i], momentum[i], decays(g, o->name, optimizer));
        }
        if (o->kind == OUT_STATE)
            memcpy(leaf_named(&t->leaves, o->name)->data, out[i].data, (size_t)type_elements(out[i].type) * sizeof(double));
        if (o->kind == OUT_GRAD && step == 0)
            t->gradient[i] = out[i];
        else
            tensor_free(&out[i]);
    }
}

/* From the leaves as they are. */
static inline void run_reference(const Net *net, Trajectory *t) {
    double *momentum[MAX_TENSORS] = {0};
    ck_assert_uint_le(net->reference.graph->noutputs, MAX_TENSORS);
    for (int step = 0; step < STEPS; step++) {
        Tensor out[MAX_TENSORS] = {0};
        char why[400];
        EvalOptions options = {.seed = 3, .step = (uint64_t)step};
        set_inputs(net->reference.graph, &t->leaves, step);
        ck_assert_msg(graph_eval(net->reference.graph, find_leaf, &t->leaves, &options, out, NULL, why, sizeof why), "%s", why);
        absorb(net, t, step, out, momentum);
    }
    for (int i = 0; i < MAX_TENSORS; i++) free(momentum[i]);
}

static inline void trajectory_free(Trajectory *t) {
    for (int i = 0; i < MAX_TENSORS; i++) tensor_free(&t->gradient[i]);
    leaves_free(&t->leaves);
}

/* ||got - want|| <= tolerance * (||want|| + floor)
 *
 * Over twenty steps that holds only while no activation of these data comes within rounding of zero: there a ReLU would let its
 * gradient through on one side and not on the other, and biases end a per cent apart. Such a difference comes and goes with the
 * order of additions; one that stays is a defect. */
static inline void check_norm(const char *name, const float *got, const Tensor *want, double tolerance, const char *what) {
    double error = 0, norm = 0;
    for (int64_t i = 0, n = type_elements(want->type); i < n; i++) {
        error += pow(got[i] - want->data[i], 2);
        norm += pow(want->data[i], 2);
    }
    ck_assert_msg(sqrt(error) <= tolerance * (sqrt(norm) + 1e-4), "%s, %s: differs by %g of norm %g", what, name, sqrt(error),
                  sqrt(norm));
}
#endif

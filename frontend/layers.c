/* Operations with parameters: conv2d, dense, batch_norm, param. Parameters are created in the order weight, bias, running
 * statistics, which is their order in checkpoints.
 *
 * Defaults of initialisation: conv2d weights he_normal over fan-in (He et al. 2015), its bias zeros; dense weight and bias
 * U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what PyTorch's kaiming_uniform(a = sqrt(5)) comes to. */
#include "frontend/builtin.h"
#include <math.h>

enum { LARGEST_COUNT = 1 << 20, LARGEST_SIDE = 65536 };

typedef struct Leaf {
    Op op; /* PARAM or STATE */
    const char *suffix;
    Type type;
    Init init;
    bool decay;
} Leaf;

/* The parameter that a call shares with one before it. */
static Val shared_leaf(Eval *ev, const BuiltinCall *c, Leaf leaf, const Name *name, Datum there) {
    Span span = c->expr->span;
    if (!c->shared || there.kind != DATUM_TENSOR) {
        eval_error(ev, span,
                   "a second parameter is named '%s'; 'as' gives a call another name, 'as shared' in both calls makes them one",
                   name->text);
        return NO_VAL;
    }
    if (there.tensor == NO_VAL) return NO_VAL;
    Type type = ev->graph->value[there.tensor].type;
    Init init = ev->graph->value[there.tensor].attrs.param.init;
    bool same_start = init.kind == leaf.init.kind && init.value == leaf.init.value;
    if (leaf.op == OP_PARAM && type_equal(type, leaf.type) && same_start) return there.tensor;
    if (leaf.op == OP_STATE)
        eval_error(ev, span,
                   "calls cannot share a batch_norm: '%s' would have two values after a step; group_norm has no statistics",
                   name->text);
    else if (type_equal(type, leaf.type))
        eval_error(ev, span, "the shared parameter '%s' is initialised otherwise here than where it was named first", name->text);
    else
        eval_error(ev, span, "the shared parameter '%s' is %s here and %s where it was named first", name->text,
                   type_text(ev->arena, leaf.type), type_text(ev->arena, type));
    return NO_VAL;
}

static Val add_leaf(Eval *ev, const BuiltinCall *c, Leaf leaf) {
    const char *dot = *c->path && *leaf.suffix ? "." : "";
    Name *name = name_intern(ev->names, arena_printf(ev->arena, "%s%s%s", c->path, dot, leaf.suffix));
    const Datum *there = variable_find(&ev->parameter_names, name);
    if (there) return shared_leaf(ev, c, leaf, name, *there);
    ValueSpec spec = {.op = leaf.op, .declared = leaf.type, .name = name->text};
    spec.attrs.param.name = name->text;
    spec.attrs.param.init = leaf.init;
    spec.attrs.param.decay = leaf.decay;
    Val v = eval_add(ev, c->expr->span, &spec);
    Datum known = c->shared ? (Datum){DATUM_TENSOR, .tensor = v} : (Datum){DATUM_BOOL, .boolean = true};
    scope_set(ev->arena, &ev->parameter_names, name, known);
    return v;
}

/* Fan counts follow PyTorch: fan_in of f32[O,I,kh,kw] is I*kh*kw. */
static double fan_in(Type weight) {
    double fan = 1;
    for (int i = 1; i < weight.rank; i++) fan *= (double)weight.dim[i];
    return fan;
}

static Init resolve_init(InitRule rule, Type weight) {
    switch (rule.kind) {
    case RULE_HE_FAN_IN: return (Init){INIT_HE_NORMAL, 0};
    case RULE_HE_FAN_OUT: return (Init){INIT_HE_NORMAL, 1};
    case RULE_DIRAC: return (Init){INIT_DIRAC, 0};
    case RULE_WHITEN: return (Init){INIT_WHITEN, rule.value};
    case RULE_XAVIER: return (Init){INIT_XAVIER_UNIFORM, 0};
    case RULE_UNIFORM_FAN_IN: return (Init){INIT_UNIFORM, 1 / sqrt(fan_in(weight))};
    case RULE_UNIFORM: return (Init){INIT_UNIFORM, rule.value};
    case RULE_CONSTANT: return (Init){INIT_CONSTANT, rule.value};
    }
    return (Init){0};
}

/* Arguments bias, init and bias_init of conv2d and dense, which stand in this order from `first` on. */
typedef struct Initial {
    bool bias;
    InitRule weight, bias_rule;
} Initial;

static bool read_initial(Eval *ev, const BuiltinCall *c, uint32_t first, Initial *in) {
    if (!arg_boolean(ev, c, first, &in->bias) || !arg_init(ev, c, first + 1, &in->weight)) return false;
    if (!arg_init(ev, c, first + 2, &in->bias_rule)) return false;
    bool fans = in->bias_rule.kind <= RULE_XAVIER;
    if (c->given[first + 2] && fans) arg_error(ev, c, first + 2, "zeros, ones, constant(v) or uniform, as a bias has no fan");
    return !(c->given[first + 2] && fans);
}

/* dirac and whiten say what a convolution of all channels passes on, whiten of the input. */
static bool check_filters(Eval *ev, const BuiltinCall *c, uint32_t init, InitRule rule, Val x, Type weight) {
    if (rule.kind != RULE_DIRAC && rule.kind != RULE_WHITEN) return true;
    const char *name = rule.kind == RULE_DIRAC ? "dirac" : "whiten";
    Span span = c->given[init]->span;
    long long axes = weight.rank == 4 ? weight.dim[1] * weight.dim[2] * weight.dim[3] : 0;
    if (weight.rank != 4 || weight.dim[1] != ev->graph->value[x].type.dim[1]) {
        eval_error(ev, span, "'%s' is for a conv2d without groups", name);
    } else if (rule.kind == RULE_DIRAC) {
        return true;
    } else if (x != ev->image) {
        eval_error(ev, span, "'whiten' is for a conv2d of the net's input: it comes from the training images");
    } else if (axes > MAX_WHITENED) {
        eval_error(ev, span, "'whiten' is for filters of at most %d weights, these have %lld", MAX_WHITENED, axes);
    } else if (weight.dim[0] != axes && weight.dim[0] != 2 * axes) {
        eval_error(ev, span, "'whiten' makes %lld filters, one for each weight of %s, or %lld with their negatives, found %lld",
                   axes, type_text(ev->arena, weight), 2 * axes, (long long)weight.dim[0]);
    } else {
        return true;
    }
    return false;
}

static Val add_weight(Eval *ev, const BuiltinCall *c, const Initial *in, Type type) {
    return add_leaf(ev, c, (Leaf){OP_PARAM, "weight", type, resolve_init(in->weight, type), true});
}

/* y + bias, if the layer has one. */
static Datum add_bias(Eval *ev, const BuiltinCall *c, const Initial *in, Val y, Val bias) {
    if (!in->bias || y == NO_VAL) return tensor_datum(y);
    if (bias == NO_VAL) return tensor_datum(NO_VAL);
    return tensor_datum(
        eval_add(ev, c->expr->span, &(ValueSpec){.op = OP_ADD, .args = (Val[]){y, bias}, .nargs = 2, .name = c->path}));
}

static Val add_bias_param(Eval *ev, const BuiltinCall *c, const Initial *in, Type weight) {
    if (!in->bias) return NO_VAL;
    return add_leaf(ev, c, (Leaf){OP_PARAM, "bias", type_vector(weight.dim[0]), resolve_init(in->bias_rule, weight), false});
}

/* The filters that a convolution applies: those that are trained, or made of them (Qiao et al. 2019, "Weight Standardization").
 */
static bool standardize_weight(Eval *ev, const BuiltinCall *c, uint32_t first, Val *weight) {
    bool standardize = false;
    double eps = 1e-6;
    if (!arg_boolean(ev, c, first, &standardize) || !arg_real(ev, c, first + 1, &eps)) return false;
    if (c->given[first + 1] && !standardize) {
        eval_error(ev, c->given[first + 1]->span, "'eps' is of weights that are standardised, and standardize is false");
        return false;
    }
    if (!(eps > 0 && eps <= 1)) {
        arg_error(ev, c, first + 1, "a number above 0, at most 1");
        return false;
    }
    ValueSpec spec = {.op = OP_STANDARDIZE, .args = weight, .nargs = 1, .attrs.constant = eps, .name = c->path};
    if (standardize && *weight != NO_VAL) *weight = eval_add(ev, c->expr->span, &spec);
    return *weight != NO_VAL;
}

/* conv2d(x, filters, kernel, stride, pad, dilation, groups, bias, init, bias_init, standardize, eps) */
Datum apply_conv2d(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t filters = 1, kernel[2], groups = 1;
    Attrs attrs = {.window = {.stride = {1, 1}, .dilation = {1, 1}}};
    Initial in = {true, {RULE_HE_FAN_IN, 0}, {RULE_CONSTANT, 0}};
    if (!arg_tensor(ev, c, 0, 4, &x) || !arg_integer(ev, c, 1, 1, LARGEST_COUNT, &filters)) return tensor_datum(NO_VAL);
    if (!arg_pair(ev, c, 2, 1, LARGEST_SIDE, kernel) || !arg_pair(ev, c, 3, 1, LARGEST_SIDE, attrs.window.stride)) {
        return tensor_datum(NO_VAL);
    }
    if (!arg_pair(ev, c, 5, 1, LARGEST_SIDE, attrs.window.dilation)) return tensor_datum(NO_VAL);
    for (int k = 0; k < 2; k++) { /* pad = same */
        int64_t total = attrs.window.dilation[k] * (kernel[k] - 1);
        attrs.window.pad[k] = total / 2;
        attrs.window.pad[k + 2] = total - total / 2;
        attrs.window.kernel[k] = kernel[k];
    }
    if (!arg_pad(ev, c, 4, kernel, attrs.window.dilation, attrs.window.pad)) return tensor_datum(NO_VAL);
    if (!arg_integer(ev, c, 6, 1, LARGEST_COUNT, &groups) || !read_initial(ev, c, 7, &in)) return tensor_datum(NO_VAL);
    attrs.window.groups = groups;
    int64_t channels = ev->graph->value[x].type.dim[1];
    if (channels % groups || filters % groups) {
        return eval_error(ev, c->given[6]->span,
                          "conv2d: %lld groups do not divide both the %lld channels of the input %s and the %lld filters",
                          (long long)groups, (long long)channels, type_text(ev->arena, ev->graph->value[x].type),
                          (long long)filters);
    }
    Type type = type_feature(filters, channels / groups, kernel[0], kernel[1]);
    if (!check_filters(ev, c, 8, in.weight, x, type)) return tensor_datum(NO_VAL);
    Val weight = add_weight(ev, c, &in, type);
    if (!standardize_weight(ev, c, 10, &weight)) return tensor_datum(NO_VAL);
    Val bias = add_bias_param(ev, c, &in, type);
    ValueSpec spec = {.op = OP_CONV2D, .args = (Val[]){x, weight}, .nargs = 2, .attrs = attrs, .name = c->path};
    return add_bias(ev, c, &in, eval_add(ev, c->expr->span, &spec), bias);
}

/* dense(x, units, bias, init, bias_init) */
Datum apply_dense(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t units = 1;
    Initial in = {true, {RULE_UNIFORM_FAN_IN, 0}, {RULE_UNIFORM_FAN_IN, 0}};
    if (!arg_tensor(ev, c, 0, 2, &x) || !arg_integer(ev, c, 1, 1, LARGEST_COUNT, &units)) return tensor_datum(NO_VAL);
    if (!read_initial(ev, c, 2, &in)) return tensor_datum(NO_VAL);
    Type type = type_matrix(units, ev->graph->value[x].type.dim[1]);
    if (!check_filters(ev, c, 3, in.weight, x, type)) return tensor_datum(NO_VAL);
    Val weight = add_weight(ev, c, &in, type);
    if (weight == NO_VAL) return tensor_datum(NO_VAL);
    Val bias = add_bias_param(ev, c, &in, type);
    ValueSpec spec = {.op = OP_DENSE, .args = (Val[]){x, weight}, .nargs = 2, .name = c->path};
    return add_bias(ev, c, &in, eval_add(ev, c->expr->span, &spec), bias);
}

static void remember_batch_norm(Eval *ev, Val v) {
    ARENA_GROW(ev->arena, ev->batch_norm, ev->nbatch_norms, &ev->batch_norm_capacity);
    ev->batch_norm[ev->nbatch_norms++] = v;
}

/* batch_norm(x, momentum, eps, gamma, scale, shift) */
Datum apply_batch_norm(Eval *ev, const BuiltinCall *c) {
    double momentum = 0.1, eps = 1e-5, gamma = 1;
    Val arg[5];
    if (!arg_tensor(ev, c, 0, 4, &arg[0]) || !arg_real(ev, c, 1, &momentum) || !arg_real(ev, c, 2, &eps) ||
        !arg_real(ev, c, 3, &gamma)) {
        return tensor_datum(NO_VAL);
    }
    if (!(momentum >= 0 && momentum <= 1)) return arg_error(ev, c, 1, "a number from 0 to 1");
    if (!(eps > 0 && eps <= 1)) return arg_error(ev, c, 2, "a number above 0, at most 1");
    Type type = type_vector(ev->graph->value[arg[0]].type.dim[1]);
    Leaf leaf[4] = {{OP_PARAM, "weight", type, {INIT_CONSTANT, gamma}, false},
                    {OP_PARAM, "bias", type, {INIT_CONSTANT, 0}, false},
                    {OP_STATE, "running_mean", type, {INIT_CONSTANT, 0}, false},
                    {OP_STATE, "running_var", type, {INIT_CONSTANT, 1}, false}};
    bool stands[4] = {true, true, true, true};
    if (!arg_boolean(ev, c, 4, &stands[0]) || !arg_boolean(ev, c, 5, &stands[1])) return tensor_datum(NO_VAL);
    if (c->given[3] && !stands[0])
        return eval_error(ev, c->given[3]->span, "'gamma' is what the scale starts from, and scale = false leaves it away");
    for (int i = 0; i < 4; i++) { /* a scale that is not there is 1, a shift 0 */
        ValueSpec constant = {.op = OP_CONSTANT, .attrs.constant = leaf[i].init.value};
        arg[i + 1] = stands[i] ? add_leaf(ev, c, leaf[i]) : eval_add(ev, c->expr->span, &constant);
        if (arg[i + 1] == NO_VAL) return tensor_datum(NO_VAL);
    }
    ValueSpec spec = {.op = OP_BATCH_NORM, .args = arg, .nargs = 5, .attrs = {.norm = {eps, momentum}}, .name = c->path};
    Val y = eval_add(ev, c->expr->span, &spec);
    if (y != NO_VAL) remember_batch_norm(ev, y);
    return tensor_datum(y);
}

/* A number, or an initialiser that needs no fan, as a bias has none. */
static bool read_param_init(Eval *ev, const BuiltinCall *c, Init *init) {
    InitRule rule = {RULE_CONSTANT, 0};
    if (c->given[1] && datum_is_number(c->value[1]))
        rule.value = datum_number(c->value[1]);
    else if (!arg_init(ev, c, 1, &rule))
        return false;
    if (rule.kind != RULE_UNIFORM && rule.kind != RULE_CONSTANT) {
        arg_error(ev, c, 1, "a number, zeros, ones, constant(v) or uniform(bound), as a lone parameter has no fan");
        return false;
    }
    *init = resolve_init(rule, type_scalar());
    return true;
}

/* param(shape, init): of the call's own name. */
Datum apply_param(Eval *ev, const BuiltinCall *c) {
    Leaf leaf = {OP_PARAM, "", type_scalar(), {INIT_CONSTANT, 0}, false};
    const DatumList *shape = c->value[0].kind == DATUM_LIST ? c->value[0].list : NULL;
    bool good = shape && shape->count <= 1;
    if (good && shape->count == 1) {
        Datum size = shape->item[0];
        good = size.kind == DATUM_INTEGER && size.integer >= 1 && size.integer <= LARGEST_COUNT;
        leaf.type = type_vector(size.integer);
    }
    if (!good) return arg_error(ev, c, 0, "[channels], or [] for a single number");
    if (!read_param_init(ev, c, &leaf.init)) return tensor_datum(NO_VAL);
    if (!*c->path) return eval_error(ev, c->expr->span, "a parameter needs a name; 'as' must not take it away");
    return tensor_datum(add_leaf(ev, c, leaf));
}

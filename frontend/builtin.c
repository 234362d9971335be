/* The table of operations, and those without parameters of their own. */
#include "frontend/builtin.h"
#include "frontend/elementwise.h"
#include <string.h>

enum { LARGEST_COUNT = 1 << 20, LARGEST_SIDE = 65536 };

static Datum add_op(Eval *ev, const BuiltinCall *c, ValueSpec spec) {
    spec.name = c->path;
    return tensor_datum(eval_add(ev, c->expr->span, &spec));
}

/* ---- operations on one tensor ---- */

static Datum apply_unary(Eval *ev, const BuiltinCall *c) {
    Val x;
    Op op;
    if (!arg_tensor(ev, c, 0, 0, &x) || !op_from_text(c->builtin->name, &op)) return tensor_datum(NO_VAL);
    return add_op(ev, c, (ValueSpec){.op = op, .args = &x, .nargs = 1});
}

/* max_pool and avg_pool(x, kernel, stride = kernel, pad = 0) */
static Datum apply_pool(Eval *ev, const BuiltinCall *c) {
    static const int64_t one[2] = {1, 1};
    Val x;
    Op op;
    Attrs attrs = {.window = {.dilation = {1, 1}, .groups = 1}};
    if (!arg_tensor(ev, c, 0, 4, &x) || !op_from_text(c->builtin->name, &op)) return tensor_datum(NO_VAL);
    if (!arg_pair(ev, c, 1, 1, LARGEST_SIDE, attrs.window.kernel)) return tensor_datum(NO_VAL);
    for (int k = 0; k < 2; k++) attrs.window.stride[k] = attrs.window.kernel[k];
    if (!arg_pair(ev, c, 2, 1, LARGEST_SIDE, attrs.window.stride)) return tensor_datum(NO_VAL);
    if (!arg_pad(ev, c, 3, attrs.window.kernel, one, attrs.window.pad)) return tensor_datum(NO_VAL);
    for (int k = 0; k < 2; k++) { /* a window wholly in the padding would have no maximum */
        if (attrs.window.pad[k] >= attrs.window.kernel[k] || attrs.window.pad[k + 2] >= attrs.window.kernel[k]) {
            return arg_error(ev, c, 3, "smaller than the kernel");
        }
    }
    return add_op(ev, c, (ValueSpec){.op = op, .args = &x, .nargs = 1, .attrs = attrs});
}

/* concat(a, b, ...) or concat([a, b, ...]) */
static Datum apply_concat(Eval *ev, const BuiltinCall *c) {
    const Datum *part = c->value;
    uint32_t count = c->count;
    if (count == 1 && part->kind == DATUM_LIST) {
        count = part->list->count;
        part = part->list->item;
    }
    if (count < 1 || count > MAX_ARGS)
        return eval_error(ev, c->expr->span, "concat takes 1 to %d tensors, found %u", MAX_ARGS, count);
    Val *x = ARENA_ARRAY(ev->arena, Val, count);
    for (uint32_t i = 0; i < count; i++) {
        if (part[i].kind != DATUM_TENSOR)
            return eval_error(ev, c->given[part == c->value ? i : 0]->span,
                              "concat takes tensors, or one list of tensors, found %s", eval_describe(ev, part[i]));
        x[i] = part[i].tensor;
    }
    return add_op(ev, c, (ValueSpec){.op = OP_CONCAT, .args = x, .nargs = count});
}

static Datum slice(Eval *ev, const BuiltinCall *c, Val x, int64_t from, int64_t count) {
    Type part = ev->graph->value[x].type;
    part.dim[1] = count;
    return add_op(ev, c, (ValueSpec){.op = OP_SLICE_CHANNELS, .args = &x, .nargs = 1, .attrs.index = from, .declared = part});
}

/* A feature map or a matrix, which has channels. */
static bool arg_channels(Eval *ev, const BuiltinCall *c, Val *x, int64_t *channels) {
    if (!arg_tensor(ev, c, 0, 0, x)) return false;
    Type type = ev->graph->value[*x].type;
    if (type.rank == 2 || type.rank == 4) return *channels = type.dim[1], true;
    arg_error(ev, c, 0, "a feature map f32[N,C,H,W] or a matrix f32[N,C]");
    return false;
}

/* slice(x, from, to): channels from, from + 1, ..., to - 1 */
static Datum apply_slice(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t from = 0, to = 0, channels;
    if (!arg_channels(ev, c, &x, &channels)) return tensor_datum(NO_VAL);
    if (!arg_integer(ev, c, 1, 0, channels - 1, &from) || !arg_integer(ev, c, 2, from + 1, channels, &to))
        return tensor_datum(NO_VAL);
    return slice(ev, c, x, from, to - from);
}

/* split(x, parts): into that many equal parts, or into parts of the channels that a list says */
static Datum apply_split(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t channels, parts = 0, total = 0;
    DatumList *list = ARENA_NEW(ev->arena, DatumList);
    if (!arg_channels(ev, c, &x, &channels)) return tensor_datum(NO_VAL);
    const DatumList *sizes = c->value[1].kind == DATUM_LIST ? c->value[1].list : NULL;
    if (!sizes && !arg_integer(ev, c, 1, 1, channels, &parts)) return tensor_datum(NO_VAL);
    if (!sizes && channels % parts)
        return eval_error(ev, c->given[1]->span, "split: the %lld channels of the input %s are not %lld equal parts",
                          (long long)channels, type_text(ev->arena, ev->graph->value[x].type), (long long)parts);
    if (parts > MAX_LIST_ITEMS) return eval_error(ev, c->given[1]->span, "a list has at most %d items", MAX_LIST_ITEMS);
    list->count = sizes ? sizes->count : (uint32_t)parts;
    list->depth = 1;
    list->item = ARENA_ARRAY(ev->arena, Datum, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        Datum size = sizes ? sizes->item[i] : (Datum){DATUM_INTEGER, .integer = channels / parts};
        bool fits = size.kind == DATUM_INTEGER && size.integer >= 1 && size.integer <= channels - total;
        if (!fits || !eval_charge(ev, c->expr->span, 1))
            return arg_error(ev, c, 1, "a number of parts, or a list of their channels");
        list->item[i] = slice(ev, c, x, total, size.integer);
        if (list->item[i].kind == DATUM_POISON) return list->item[i];
        total += size.integer;
    }
    if (total != channels)
        return eval_error(ev, c->given[1]->span, "split: the parts have %lld channels, the input %s has %lld", (long long)total,
                          type_text(ev->arena, ev->graph->value[x].type), (long long)channels);
    return (Datum){DATUM_LIST, .list = list};
}

/* unflatten(x, channels, height, width) */
static Datum apply_unflatten(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t size[3] = {1, 1, 1};
    if (!arg_tensor(ev, c, 0, 2, &x)) return tensor_datum(NO_VAL);
    for (uint32_t i = 0; i < 3; i++)
        if (!arg_integer(ev, c, i + 1, 1, LARGEST_COUNT, &size[i])) return tensor_datum(NO_VAL);
    Type to = type_feature(ev->graph->value[x].type.dim[0], size[0], size[1], size[2]);
    return add_op(ev, c, (ValueSpec){.op = OP_UNFLATTEN, .args = &x, .nargs = 1, .declared = to});
}

/* drop_path(x, rate, per = "image"): x with all of an image's elements zero, or those of all images together; in training. */
static Datum apply_drop_path(Eval *ev, const BuiltinCall *c) {
    Val x;
    Attrs attrs = {.dropout = {0, ev->streams}};
    const char *per = c->given[2] && c->value[2].kind == DATUM_STRING ? c->value[2].text : "image";
    bool image = !strcmp(per, "image");
    if (!arg_tensor(ev, c, 0, 4, &x) || !arg_real(ev, c, 1, &attrs.dropout.rate)) return tensor_datum(NO_VAL);
    if (!(attrs.dropout.rate >= 0 && attrs.dropout.rate < 1)) return arg_error(ev, c, 1, "a number from 0 up, below 1");
    if ((c->given[2] && c->value[2].kind != DATUM_STRING) || (!image && strcmp(per, "batch") != 0))
        return arg_error(ev, c, 2, "\"image\" or \"batch\"");
    ev->streams++;
    if (ev->graph->mode == MODE_INFER || attrs.dropout.rate == 0) return tensor_datum(x);
    Type type = image ? type_feature(ev->graph->value[x].type.dim[0], 1, 1, 1) : type_scalar();
    Val mask =
        eval_add(ev, c->expr->span, &(ValueSpec){.op = OP_DROPOUT_MASK, .attrs = attrs, .declared = type, .name = c->path});
    if (mask == NO_VAL) return tensor_datum(NO_VAL);
    return add_op(ev, c, (ValueSpec){.op = OP_MUL, .args = (Val[]){x, mask}, .nargs = 2});
}

/* channel_shuffle(x, groups) */
static Datum apply_channel_shuffle(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t channels, groups = 1;
    if (!arg_channels(ev, c, &x, &channels) || !arg_integer(ev, c, 1, 1, LARGEST_COUNT, &groups)) return tensor_datum(NO_VAL);
    return add_op(ev, c, (ValueSpec){.op = OP_CHANNEL_SHUFFLE, .args = &x, .nargs = 1, .attrs.index = groups});
}

/* upsample(x, times) */
static Datum apply_upsample(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t times = 1;
    if (!arg_tensor(ev, c, 0, 4, &x) || !arg_integer(ev, c, 1, 1, LARGEST_SIDE, &times)) return tensor_datum(NO_VAL);
    return add_op(ev, c, (ValueSpec){.op = OP_UPSAMPLE, .args = &x, .nargs = 1, .attrs.index = times});
}

static Datum add_pad(Eval *ev, const BuiltinCall *c, Val x, const int64_t pad[4]) {
    Attrs attrs = {.window = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}}};
    for (int i = 0; i < 4; i++) attrs.window.pad[i] = pad[i];
    return add_op(ev, c, (ValueSpec){.op = OP_PAD, .args = &x, .nargs = 1, .attrs = attrs});
}

/* pad(x, pixels): on each side, [height, width], or [top, left, bottom, right] */
static Datum apply_pad(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t pad[4] = {0};
    if (!arg_tensor(ev, c, 0, 4, &x)) return tensor_datum(NO_VAL);
    Datum d = c->value[1];
    uint32_t count = d.kind == DATUM_LIST ? d.list->count : 1;
    bool good = count == 1 || count == 2 || count == 4;
    for (uint32_t i = 0; i < 4 && good; i++) {
        Datum side = d.kind == DATUM_LIST ? d.list->item[i % count] : d;
        good = side.kind == DATUM_INTEGER && side.integer >= 0 && side.integer <= LARGEST_SIDE;
        pad[i] = side.integer;
    }
    if (!good) return arg_error(ev, c, 1, "an integer from 0 to 65536, [height, width] or [top, left, bottom, right]");
    return add_pad(ev, c, x, pad);
}

/* crop(x, height, width, top = 0, left = 0) */
static Datum apply_crop(Eval *ev, const BuiltinCall *c) {
    Val x;
    int64_t size[2] = {1, 1}, from[2] = {0, 0}, pad[4];
    if (!arg_tensor(ev, c, 0, 4, &x)) return tensor_datum(NO_VAL);
    Type type = ev->graph->value[x].type;
    for (uint32_t i = 0; i < 2; i++) {
        int64_t side = type.dim[2 + i];
        if (!arg_integer(ev, c, i + 1, 1, side, &size[i]) || !arg_integer(ev, c, i + 3, 0, side - size[i], &from[i]))
            return tensor_datum(NO_VAL);
        pad[i] = -from[i];
        pad[i + 2] = from[i] + size[i] - side;
    }
    return add_pad(ev, c, x, pad);
}

/* pad_channels(x, count, stride = 1) */
static Datum apply_pad_channels(Eval *ev, const BuiltinCall *c) {
    Val x;
    Attrs attrs = {.channels = {1, 1}};
    if (!arg_tensor(ev, c, 0, 4, &x) || !arg_integer(ev, c, 1, 1, LARGEST_COUNT, &attrs.channels.count))
        return tensor_datum(NO_VAL);
    if (!arg_integer(ev, c, 2, 1, LARGEST_SIDE, &attrs.channels.stride)) return tensor_datum(NO_VAL);
    return add_op(ev, c, (ValueSpec){.op = OP_PAD_CHANNELS, .args = &x, .nargs = 1, .attrs = attrs});
}

/* dropout(x, rate = 0.5) */
static Datum apply_dropout(Eval *ev, const BuiltinCall *c) {
    Val x;
    Attrs attrs = {.dropout = {0.5, ev->streams}};
    if (!arg_tensor(ev, c, 0, 0, &x) || !arg_real(ev, c, 1, &attrs.dropout.rate)) return tensor_datum(NO_VAL);
    if (!(attrs.dropout.rate >= 0 && attrs.dropout.rate < 1)) return arg_error(ev, c, 1, "a number from 0 up, below 1");
    ev->streams++;
    return add_op(ev, c, (ValueSpec){.op = OP_DROPOUT, .args = &x, .nargs = 1, .attrs = attrs});
}

/* ---- sums over channels, height, width ---- */

static bool clear_axis(Eval *ev, const BuiltinCall *c, Datum name, Type *to) {
    static const char *const axis[] = {"channels", "height", "width"};
    for (int i = 0; i < 3; i++) {
        if (name.kind != DATUM_STRING || strcmp(name.text, axis[i])) continue;
        to->dim[i + 1] = 1;
        return true;
    }
    arg_error(ev, c, 1, "\"channels\", \"height\" or \"width\", or a list of them");
    return false;
}

/* sum_over, mean_over and max_over(x, axes) */
static Datum apply_over(Eval *ev, const BuiltinCall *c) {
    Val x;
    if (!arg_tensor(ev, c, 0, 4, &x)) return tensor_datum(NO_VAL);
    Type type = ev->graph->value[x].type, to = type;
    const DatumList *list = c->value[1].kind == DATUM_LIST ? c->value[1].list : NULL;
    for (uint32_t i = 0; i < (list ? list->count : 1); i++) {
        if (!clear_axis(ev, c, list ? list->item[i] : c->value[1], &to)) return tensor_datum(NO_VAL);
    }
    Op op = strcmp(c->builtin->name, "max_over") ? OP_SUM_TO : OP_MAX_TO;
    Datum y = add_op(ev, c, (ValueSpec){.op = op, .args = &x, .nargs = 1, .declared = to});
    if (y.kind == DATUM_POISON || strcmp(c->builtin->name, "mean_over")) return y;
    double share = (double)type_elements(to) / (double)type_elements(type);
    return eval_binary(ev, c->expr->span, TOKEN_STAR, y, (Datum){DATUM_REAL, .real = share});
}

/* ---- queries ---- */

static Datum dimension(Eval *ev, const BuiltinCall *c, int axis) {
    Val x;
    if (!arg_tensor(ev, c, 0, 0, &x)) return tensor_datum(NO_VAL);
    Type type = ev->graph->value[x].type;
    if (axis >= type.rank) return arg_error(ev, c, 0, axis == 1 ? "a feature map or a matrix" : "a feature map f32[N,C,H,W]");
    return (Datum){DATUM_INTEGER, .integer = type.dim[axis]};
}

static Datum apply_channels(Eval *ev, const BuiltinCall *c) { return dimension(ev, c, 1); }
static Datum apply_height(Eval *ev, const BuiltinCall *c) { return dimension(ev, c, 2); }
static Datum apply_width(Eval *ev, const BuiltinCall *c) { return dimension(ev, c, 3); }

static Datum apply_len(Eval *ev, const BuiltinCall *c) {
    if (c->value[0].kind != DATUM_LIST) return arg_error(ev, c, 0, "a list");
    return (Datum){DATUM_INTEGER, .integer = c->value[0].list->count};
}

/* append(list, item): a list that is one longer */
static Datum apply_append(Eval *ev, const BuiltinCall *c) {
    if (c->value[0].kind != DATUM_LIST) return arg_error(ev, c, 0, "a list");
    const DatumList *old = c->value[0].list;
    DatumList *list = ARENA_NEW(ev->arena, DatumList);
    Datum item = c->value[1];
    if (old->count == MAX_LIST_ITEMS) return eval_error(ev, c->expr->span, "a list has at most %d items", MAX_LIST_ITEMS);
    if (!eval_charge(ev, c->expr->span, 1 + old->count / 8)) return tensor_datum(NO_VAL);
    *list = (DatumList){.item = ARENA_ARRAY(ev->arena, Datum, old->count + 1), .count = old->count + 1, .depth = old->depth};
    if (item.kind == DATUM_LIST && item.list->depth + 1 > list->depth) list->depth = item.list->depth + 1;
    if (list->depth > MAX_LIST_DEPTH) return eval_error(ev, c->expr->span, "lists nest at most %d deep", MAX_LIST_DEPTH);
    memcpy(list->item, old->item, old->count * sizeof *list->item);
    list->item[old->count] = item;
    return (Datum){DATUM_LIST, .list = list};
}

/* ---- initialisers ---- */

static Datum init_datum(InitRule rule) { return (Datum){DATUM_INIT, .init = rule}; }

static Datum apply_he_normal(Eval *ev, const BuiltinCall *c) {
    Datum mode = c->value[0];
    bool out = c->given[0] && mode.kind == DATUM_STRING && !strcmp(mode.text, "fan_out");
    bool in = !c->given[0] || (mode.kind == DATUM_STRING && !strcmp(mode.text, "fan_in"));
    if (!out && !in) return arg_error(ev, c, 0, "\"fan_in\" or \"fan_out\"");
    return init_datum((InitRule){out ? RULE_HE_FAN_OUT : RULE_HE_FAN_IN, 0});
}

static Datum apply_dirac(Eval *ev, const BuiltinCall *c) {
    (void)ev, (void)c;
    return init_datum((InitRule){RULE_DIRAC, 0});
}

#define STANDARD_EPS 5e-4 /* of cifar10-airbench */

/* whiten(eps = 5e-4) */
static Datum apply_whiten(Eval *ev, const BuiltinCall *c) {
    InitRule rule = {RULE_WHITEN, STANDARD_EPS};
    if (!arg_real(ev, c, 0, &rule.value)) return tensor_datum(NO_VAL);
    if (!(rule.value > 0)) return arg_error(ev, c, 0, "above 0");
    return init_datum(rule);
}

static Datum apply_xavier_uniform(Eval *ev, const BuiltinCall *c) {
    (void)ev, (void)c;
    return init_datum((InitRule){RULE_XAVIER, 0});
}

static Datum apply_uniform(Eval *ev, const BuiltinCall *c) {
    InitRule rule = {c->given[0] ? RULE_UNIFORM : RULE_UNIFORM_FAN_IN, 0};
    if (!arg_real(ev, c, 0, &rule.value)) return tensor_datum(NO_VAL);
    if (!(rule.value >= 0)) return arg_error(ev, c, 0, "at least 0");
    return init_datum(rule);
}

static Datum apply_constant(Eval *ev, const BuiltinCall *c) {
    InitRule rule = {RULE_CONSTANT, 0};
    return arg_real(ev, c, 0, &rule.value) ? init_datum(rule) : tensor_datum(NO_VAL);
}

/* ---- the table ---- */

static const Builtin builtins[] = {
    {"conv2d",
     apply_conv2d,
     true,
     false,
     3,
     {"x", "filters", "kernel", "stride", "pad", "dilation", "groups", "bias", "init", "bias_init", "standardize", "eps"}},
    {"dense", apply_dense, true, false, 2, {"x", "units", "bias", "init", "bias_init"}},
    {"batch_norm", apply_batch_norm, true, false, 1, {"x", "momentum", "eps", "gamma", "scale", "shift"}},
    {"relu", apply_unary, true, false, 1, {"x"}},
    {"sigmoid", apply_unary, true, false, 1, {"x"}},
    {"tanh", apply_unary, true, false, 1, {"x"}},
    {"hard_sigmoid", apply_unary, true, false, 1, {"x"}},
    {"hard_swish", apply_unary, true, false, 1, {"x"}},
    {"silu", apply_unary, true, false, 1, {"x"}},
    {"softmax", apply_unary, true, false, 1, {"x"}},
    {"identity", apply_unary, true, false, 1, {"x"}},
    {"flatten", apply_unary, true, false, 1, {"x"}},
    {"global_avg_pool", apply_unary, true, false, 1, {"x"}},
    {"max_pool", apply_pool, true, false, 2, {"x", "kernel", "stride", "pad"}},
    {"avg_pool", apply_pool, true, false, 2, {"x", "kernel", "stride", "pad"}},
    {"concat", apply_concat, true, true, 1, {0}},
    {"slice", apply_slice, true, false, 3, {"x", "from", "to"}},
    {"split", apply_split, true, false, 2, {"x", "parts"}},
    {"channel_shuffle", apply_channel_shuffle, true, false, 2, {"x", "groups"}},
    {"upsample", apply_upsample, true, false, 2, {"x", "times"}},
    {"pad", apply_pad, true, false, 2, {"x", "pixels"}},
    {"crop", apply_crop, true, false, 3, {"x", "height", "width", "top", "left"}},
    {"sum_over", apply_over, true, false, 2, {"x", "axes"}},
    {"mean_over", apply_over, true, false, 2, {"x", "axes"}},
    {"max_over", apply_over, true, false, 2, {"x", "axes"}},
    {"pad_channels", apply_pad_channels, true, false, 2, {"x", "count", "stride"}},
    {"dropout", apply_dropout, true, false, 1, {"x", "rate"}},
    {"drop_path", apply_drop_path, true, false, 2, {"x", "rate", "per"}},
    {"unflatten", apply_unflatten, true, false, 2, {"x", "channels", "height", "width"}},
    {"channels", apply_channels, false, false, 1, {"x"}},
    {"height", apply_height, false, false, 1, {"x"}},
    {"width", apply_width, false, false, 1, {"x"}},
    {"exp", apply_function, false, false, 1, {"x"}},
    {"log", apply_function, false, false, 1, {"x"}},
    {"sqrt", apply_function, false, false, 1, {"x"}},
    {"abs", apply_function, false, false, 1, {"x"}},
    {"expm1", apply_function, false, false, 1, {"x"}},
    {"log1p", apply_function, false, false, 1, {"x"}},
    {"erf", apply_function, false, false, 1, {"x"}},
    {"pow", apply_pow, false, false, 2, {"x", "exponent"}},
    {"select", apply_select, false, false, 3, {"condition", "a", "b"}},
    {"min", apply_extreme, false, true, 1, {0}},
    {"max", apply_extreme, false, true, 1, {0}},
    {"param", apply_param, true, false, 1, {"shape", "init"}},
    {"append", apply_append, false, false, 2, {"list", "item"}},
    {"len", apply_len, false, false, 1, {"list"}},
    {"he_normal", apply_he_normal, false, false, 0, {"mode"}},
    {"xavier_uniform", apply_xavier_uniform, false, false, 0, {0}},
    {"dirac", apply_dirac, false, false, 0, {0}},
    {"whiten", apply_whiten, false, false, 0, {"eps"}},
    {"uniform", apply_uniform, false, false, 0, {"bound"}},
    {"constant", apply_constant, false, false, 1, {"value"}},
};

void builtins_enter(Names *names) {
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
        name_intern(names, builtins[i].name)->builtin = &builtins[i];
    }
}

bool builtin_word(const Name *name, Datum *word) {
    static const struct {
        const char *text;
        Datum value;
    } words[] = {
        {"same", {DATUM_WORD, .word = WORD_SAME}},
        {"valid", {DATUM_WORD, .word = WORD_VALID}},
        {"he_normal", {DATUM_INIT, .init = {RULE_HE_FAN_IN, 0}}},
        {"xavier_uniform", {DATUM_INIT, .init = {RULE_XAVIER, 0}}},
        {"dirac", {DATUM_INIT, .init = {RULE_DIRAC, 0}}},
        {"whiten", {DATUM_INIT, .init = {RULE_WHITEN, STANDARD_EPS}}},
        {"uniform", {DATUM_INIT, .init = {RULE_UNIFORM_FAN_IN, 0}}},
        {"zeros", {DATUM_INIT, .init = {RULE_CONSTANT, 0}}},
        {"ones", {DATUM_INIT, .init = {RULE_CONSTANT, 1}}},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].text, name->text)) continue;
        *word = words[i].value;
        return true;
    }
    return false;
}

/* The table of attribute fields, and the small vocabularies of the text forms. */
#include "ir/attrs.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FIELD(member, name, kind, count) {name, kind, offsetof(Attrs, member), count}

static const AttrField param_fields[] = {
    FIELD(param.name, "name", FIELD_STRING, 1),           FIELD(param.init, "init", FIELD_INIT, 1),
    FIELD(param.decay, "decay", FIELD_BOOL, 1),           FIELD(param.frozen, "frozen", FIELD_MARK, 1),
    FIELD(param.position, "position", FIELD_POSITION, 1),
};
static const AttrField state_fields[] = {
    FIELD(param.name, "name", FIELD_STRING, 1),
    FIELD(param.init, "init", FIELD_INIT, 1),
    FIELD(param.position, "position", FIELD_POSITION, 1),
};
static const AttrField window_fields[] = {
    FIELD(window.kernel, "kernel", FIELD_INTEGER, 2), FIELD(window.stride, "stride", FIELD_INTEGER, 2),
    FIELD(window.pad, "pad", FIELD_INTEGER, 4),       FIELD(window.dilation, "dilation", FIELD_INTEGER, 2),
    FIELD(window.groups, "groups", FIELD_INTEGER, 1),
};
static const AttrField pad_fields[] = {FIELD(window.pad, "pad", FIELD_INTEGER, 4)};
static const AttrField constant_fields[] = {FIELD(constant, "value", FIELD_REAL, 1)};
static const AttrField moments_fields[] = {FIELD(constant, "count", FIELD_REAL, 1)};
static const AttrField eps_fields[] = {FIELD(constant, "eps", FIELD_REAL, 1)};
static const AttrField norm_fields[] = {FIELD(norm.eps, "eps", FIELD_REAL, 1), FIELD(norm.momentum, "momentum", FIELD_REAL, 1)};
static const AttrField channels_fields[] = {FIELD(channels.count, "count", FIELD_INTEGER, 1),
                                            FIELD(channels.stride, "stride", FIELD_INTEGER, 1)};
static const AttrField dropout_fields[] = {FIELD(dropout.rate, "rate", FIELD_REAL, 1),
                                           FIELD(dropout.stream, "stream", FIELD_INTEGER, 1)};
static const AttrField loss_fields[] = {FIELD(loss.smoothing, "smoothing", FIELD_REAL, 1)};
static const AttrField index_fields[] = {FIELD(index, "index", FIELD_INTEGER, 1)};

bool attr_is_left_out(const AttrField *field, const Attrs *attrs) {
    return field->kind == FIELD_MARK && !*(const bool *)((const char *)attrs + field->offset);
}

static const AttrField *constant_of(Op op) {
    if (op == OP_STANDARDIZE || op == OP_STANDARDIZE_BWD) return eps_fields;
    return op == OP_MOMENTS || op == OP_IMAGE_MOMENTS ? moments_fields : constant_fields;
}

static bool is_pool(Op op) { return op == OP_MAX_POOL || op == OP_AVG_POOL || op == OP_MAX_POOL_BWD || op == OP_AVG_POOL_BWD; }

const AttrField *op_attr_fields(Op op, int *count) {
    switch (op_attr_kind(op)) {
    case ATTR_NONE: *count = 0; return NULL;
    case ATTR_PARAM: *count = op == OP_INPUT ? 1 : op == OP_STATE ? 3 : 5; return op == OP_STATE ? state_fields : param_fields;
    case ATTR_CONSTANT: *count = 1; return constant_of(op);
    case ATTR_WINDOW: *count = op == OP_PAD ? 1 : is_pool(op) ? 4 : 5; return op == OP_PAD ? pad_fields : window_fields;
    case ATTR_NORM: *count = 2; return norm_fields;
    case ATTR_CHANNELS: *count = 2; return channels_fields;
    case ATTR_DROPOUT: *count = 2; return dropout_fields;
    case ATTR_LOSS: *count = 1; return loss_fields;
    case ATTR_INDEX: break;
    }
    *count = 1;
    return index_fields;
}

const char *init_text(InitKind kind) {
    static const char *const text[INIT_KINDS] = {"constant", "he_normal", "xavier_uniform", "uniform", "dirac", "whiten"};
    return text[kind];
}

const char *region_role_text(RegionRole role) {
    static const char *const text[REGION_ROLES] = {"prologue", "store",  "epilogue", "output",  "reduce",
                                                   "moments",  "sum_to", "max_to",   "index_to"};
    return text[role];
}

const char *mode_text(Mode mode) { return mode == MODE_TRAIN ? "train" : "infer"; }

const char *output_kind_text(OutputKind kind) {
    static const char *const text[OUTPUT_KINDS] = {"logits", "loss", "correct", "state", "grad"};
    return text[kind];
}

bool output_kind_named(OutputKind kind) { return kind == OUT_STATE || kind == OUT_GRAD; }

const char *real_format(double value, char buffer[REAL_TEXT]) {
    if (isnan(value)) return "nan"; /* sign and payload of a NaN mean nothing to the graph */
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buffer, REAL_TEXT, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value) break;
    }
    return buffer;
}

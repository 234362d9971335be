/* The op table: ops.def as data. */
#include "ir/ir.h"
#include <string.h>

enum { INFERRED, DECLARED };

typedef struct OpInfo {
    const char *text;
    uint32_t min_args, max_args;
    AttrKind attr;
    Tier tier;
    uint8_t results;
    bool declared;
} OpInfo;

static const OpInfo op_table[OP_COUNT] = {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) {text, lo, hi, attr, TIER_##tier, results, type},
#include "ir/ops.def"
#undef OP
};

const char *op_text(Op op) { return op_table[op].text; }

bool op_from_text(const char *text, Op *op) {
    for (int i = 0; i < OP_COUNT; i++) {
        if (strcmp(op_table[i].text, text) == 0) {
            *op = (Op)i;
            return true;
        }
    }
    return false;
}

AttrKind op_attr_kind(Op op) { return op_table[op].attr; }

Tier op_tier(Op op) { return op_table[op].tier; }

uint32_t op_operands(Op op) { return op_table[op].min_args; }

uint32_t op_max_args(Op op) { return op_table[op].max_args; }

uint32_t op_results(Op op) { return op_table[op].results; }

bool op_has_declared_type(Op op) { return op_table[op].declared; }

bool op_is_convolution(Op op) { return op == OP_CONV2D || op == OP_CONV2D_BWD_DATA || op == OP_CONV2D_BWD_WEIGHTS; }

bool op_makes_filters(Op op) {
    return op == OP_CONV2D_BWD_WEIGHTS || op == OP_SCALE_FILTERS || op == OP_STANDARDIZE || op == OP_STANDARDIZE_BWD;
}

bool op_loads(Op op, uint32_t arg) { return op_is_convolution(op) && (arg == 0 || (arg == 1 && op == OP_CONV2D_BWD_WEIGHTS)); }

bool op_takes_regions(Op op) { return op == OP_MAP || op_is_convolution(op); }

/* Regions: which op may carry which, over which iteration space, and what results they add (see the head of ir/ir.h). */
#include "ir/attrs.h"
#include "ir/shape.h"

static bool role_allowed(const Infer *in, const Region *r) {
    Op op = in->spec->op;
    if ((unsigned)r->role >= REGION_ROLES) return infer_refuse(in, "unknown kind of region");
    bool loads = r->role == REGION_PROLOGUE || r->role == REGION_STORE, ok;
    if (op == OP_MAP)
        ok = r->role == REGION_OUTPUT || region_sums(r->role) || region_reduces(r->role);
    else if (op == OP_CONV2D_BWD_WEIGHTS)
        ok = loads;
    else
        ok = op_takes_regions(op) && !region_reduces(r->role);
    if (!ok) return infer_refuse(in, "cannot carry the region '%s'", region_role_text(r->role));
    if (region_reduces(r->role)) {
        int mask = r->operand;
        if (mask != OVER_CHANNELS && (mask <= 0 || mask & ~(OVER_HEIGHT | OVER_WIDTH)))
            return infer_refuse(in, "the region '%s' is over 1 (channels), 2 (height), 4 (width) or 6 (both), found %d",
                                region_role_text(r->role), mask);
    } else if (loads ? r->operand < 0 || !op_loads(op, (uint32_t)r->operand) : r->operand != 0)
        return infer_refuse(in, "the region '%s' cannot stand on operand %d", region_role_text(r->role), r->operand);
    return true;
}

static const Region *find_before(const Infer *in, uint32_t end, RegionRole role, int operand) {
    for (uint32_t i = 0; i < end; i++) {
        const Region *r = &in->spec->regions[i];
        if (r->role == role && r->operand == operand) return r;
    }
    return NULL;
}

static bool leaf_allowed(const Infer *in, const Region *r, const ExprNode *node, Type space) {
    bool after = r->role == REGION_OUTPUT || region_sums(r->role), kernel = in->spec->op != OP_MAP;
    if (node->op == X_ACC && !(kernel && (after || r->role == REGION_EPILOGUE)))
        return infer_refuse(in, "the region '%s' cannot read the accumulator", region_role_text(r->role));
    if (node->op == X_OUT && !(kernel && after))
        return infer_refuse(in, "the region '%s' cannot read the op's output", region_role_text(r->role));
    if (node->op != X_ARG) return true;
    if (node->arg[0] >= in->spec->nargs)
        return infer_refuse(in, "the region '%s' reads argument %d of %u", region_role_text(r->role), node->arg[0],
                            in->spec->nargs);
    Type t = infer_arg(in, node->arg[0]);
    if (t.dtype != DT_F32 || !type_broadcasts(t, space))
        return infer_refuse(in, "argument %d is %s, which cannot be read at each element of %s", node->arg[0], TEXT(t),
                            TEXT(space));
    return true;
}

static bool expr_valid(const Infer *in, const Region *r, Type space) {
    const Expr *e = r->expr;
    if (!e || e->count < 1 || e->count > EXPR_MAX_NODES)
        return infer_refuse(in, "the region '%s' must have 1 to %d operations, found %u", region_role_text(r->role),
                            EXPR_MAX_NODES, e ? e->count : 0);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *node = &e->node[i];
        if (node->op >= EXPR_OP_COUNT)
            return infer_refuse(in, "the region '%s' has an unknown operation", region_role_text(r->role));
        for (int k = 0; k < expr_op_operands((ExprOp)node->op); k++) {
            if (node->arg[k] >= i)
                return infer_refuse(in, "the region '%s' uses a value before it is computed", region_role_text(r->role));
        }
        if (!leaf_allowed(in, r, node, space)) return false;
    }
    return true;
}

static bool region_valid(const Infer *in, uint32_t i, Type space) {
    const Region *r = &in->spec->regions[i];
    if (!role_allowed(in, r)) return false;
    bool sums = region_sums(r->role) || region_reduces(r->role), single = r->role != REGION_OUTPUT && !sums;
    if (single && find_before(in, i, r->role, r->operand))
        return infer_refuse(in, "carries the region '%s' twice", region_role_text(r->role));
    if (sums && space.rank != 4)
        return infer_refuse(in, "a sum or a maximum of elements needs an iteration space of rank 4, found %s", TEXT(space));
    if (r->role == REGION_STORE) {
        if (r->expr) return infer_refuse(in, "the region 'store' has no expression of its own");
        return find_before(in, in->spec->nregions, REGION_PROLOGUE, r->operand) ||
               infer_refuse(in, "operand %d is stored but has no prologue", r->operand);
    }
    return expr_valid(in, r, r->role == REGION_PROLOGUE ? infer_arg(in, (uint32_t)r->operand) : space);
}

bool infer_regions(const Infer *in, Type space) {
    if (in->spec->nregions == 0) return true;
    if (!op_takes_regions(in->spec->op)) return infer_refuse(in, "cannot carry regions");
    if (in->spec->nregions > MAX_REGIONS)
        return infer_refuse(in, "carries %u regions, at most %d are allowed", in->spec->nregions, MAX_REGIONS);
    unsigned loops = 0;
    for (uint32_t i = 0; i < in->spec->nregions; i++) {
        const Region *r = &in->spec->regions[i];
        if (!region_valid(in, i, space)) return false;
        if (!region_shares_loop(r->role, r->operand, &loops))
            return infer_refuse(in, "the region '%s' cannot share a loop with those before it", region_role_text(r->role));
    }
    return true;
}

/* ---- results ---- */

Type type_of_region(RegionRole role, int operand, Type space) {
    if (role == REGION_MOMENTS) return (Type){DT_F64, 2, {2 * space.dim[0], space.dim[1]}};
    if (role == REGION_REDUCE) return type_matrix(space.dim[0], space.dim[1]);
    for (int i = 0; region_reduces(role) && i < 3; i++) space.dim[i + 1] = operand >> i & 1 ? 1 : space.dim[i + 1];
    return space;
}

Type region_type(const Region *r, Type space) { return type_of_region(r->role, r->operand, space); }

bool region_sums(RegionRole role) { return role == REGION_REDUCE || role == REGION_MOMENTS; }

bool region_greatest(RegionRole role) { return role == REGION_MAX_TO || role == REGION_INDEX_TO; }

bool region_reduces(RegionRole role) { return role == REGION_SUM_TO || region_greatest(role); }

bool region_has_operand(RegionRole role) { return role == REGION_PROLOGUE || role == REGION_STORE || region_reduces(role); }

/* Over channels a loop goes over the blocks of a line of pixels, over pixels over those of a block; sums in double have a loop of
 * their own kind. */
bool region_shares_loop(RegionRole role, int operand, unsigned *loops) {
    enum { LINES = 1, BLOCKS = 2, SUMS = 4, DOUBLES = 8 };
    if (region_reduces(role)) *loops |= operand == OVER_CHANNELS ? LINES : BLOCKS;
    if (role == REGION_REDUCE) *loops |= SUMS;
    if (role == REGION_MOMENTS) *loops |= DOUBLES;
    return *loops & LINES ? *loops == LINES : !(*loops & BLOCKS) || !(*loops & DOUBLES);
}

bool region_makes_result(RegionRole role) {
    return role == REGION_STORE || role == REGION_OUTPUT || region_sums(role) || region_reduces(role);
}

/* Results that stand before those of regions: a map has none of its own. */
static uint32_t own_results(Op op) { return op == OP_MAP ? 0 : 1; }

uint32_t region_results(Op op, const Region *regions, uint32_t n) {
    uint32_t count = own_results(op);
    for (uint32_t i = 0; i < n; i++) count += region_makes_result(regions[i].role);
    return count;
}

uint32_t region_result(const Value *v, uint32_t region) { return region_results(v->op, v->regions, region); }

Type region_result_type(const Graph *g, const Value *v, uint32_t result) {
    uint32_t next = own_results(v->op);
    Type space = v->op == OP_MAP ? v->space : v->type;
    for (uint32_t i = 0; i < v->nregions; i++) {
        const Region *r = &v->regions[i];
        if (!region_makes_result(r->role) || next++ != result) continue;
        return r->role == REGION_STORE ? g->value[v->args[r->operand]].type : region_type(r, space);
    }
    return v->type;
}

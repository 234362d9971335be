/* fold_batch_norm (inference): the per-channel factor behind a convolution moves into its filters, exactly.
 *
 *     conv2d(x, w) * a + b  =  conv2d(x, scale_filters(w, a)) + b          a, b per channel
 *
 * The map that reads the convolution is taken apart: where its Expr is affine in the convolution's result (a*c + b, a and b
 * from values per channel and scalars), the Expr reads scale_filters' convolution + b instead; whatever follows stays. Maps with
 * a single reader between the two, such as a bias, are spliced in first, so it does not matter how far maps were merged before.
 *
 * It must not fire if the raw result has another user, or if the map needs it in two different scales. One walk in value
 * order, which visits each convolution once. */
#include "passes/build.h"
#include <stdlib.h>

typedef struct Fold {
    const Graph *in;
    Graph *out;
    PassContext *context;
    uint32_t *uses; /* of in */
    bool *folded;   /* convolutions of in */
    Val *map;
    Val conv; /* of in: what the map at hand is folded into */
} Fold;

/* ---- which convolution ---- */

static bool spliceable(const Fold *f, Val id) {
    const Value *v = &f->in->value[id];
    return is_plain_map(v) && v->type.rank == 4 && f->uses[id] == 1;
}

/* The first convolution that map id reads, perhaps through maps with a single reader. */
static Val find_convolution(const Fold *f, Val id, int depth) {
    const Value *v = &f->in->value[id];
    for (uint32_t i = 0; i < v->nargs; i++) {
        Val arg = v->args[i];
        if (f->in->value[arg].op == OP_CONV2D && f->in->value[arg].nregions == 0 && !f->folded[arg]) return arg;
        Val found = depth > 0 && spliceable(f, arg) ? find_convolution(f, arg, depth - 1) : NO_VAL;
        if (found != NO_VAL) return found;
    }
    return NO_VAL;
}

static bool leads_to(const Fold *f, Val id, int depth) {
    const Value *v = &f->in->value[id];
    for (uint32_t i = 0; i < v->nargs; i++) {
        if (v->args[i] == f->conv) return true;
        if (depth > 0 && spliceable(f, v->args[i]) && leads_to(f, v->args[i], depth - 1)) return true;
    }
    return false;
}

/* The body of map id with the maps between it and the convolution spliced in. */
static uint16_t splice(const Fold *f, MapBuilder *m, Val id, int depth) {
    const Value *v = &f->in->value[id];
    uint16_t leaf[MAX_ARGS];
    for (uint32_t i = 0; i < v->nargs; i++) {
        bool between = depth > 0 && spliceable(f, v->args[i]) && leads_to(f, v->args[i], depth - 1);
        leaf[i] = between ? splice(f, m, v->args[i], depth - 1) : map_read(m, f->map[v->args[i]]);
    }
    return expr_inline(&m->expr, v->regions[0].expr, leaf, 0, 0);
}

/* ---- affine parts ---- */

enum { NONE = UINT16_MAX };

/* A node as a*c + b; without c (a == NONE) it is b. `is` is false if it is neither, or varies otherwise from pixel to pixel. */
typedef struct Affine {
    uint16_t a, b;
    bool is;
} Affine;

static uint16_t add(ExprBuilder *e, uint16_t x, uint16_t y) {
    if (x == NONE) return y;
    return y == NONE ? x : expr_binary(e, X_ADD, x, y);
}

static uint16_t negate(ExprBuilder *e, uint16_t x) { return x == NONE ? NONE : expr_unary(e, X_NEG, x); }

static uint16_t times(ExprBuilder *e, uint16_t x, uint16_t k) { return x == NONE ? NONE : expr_binary(e, X_MUL, x, k); }

static Affine affine_leaf(MapBuilder *m, const ExprNode *n, uint16_t self, Val conv) {
    if (n->op != X_ARG) return (Affine){NONE, self, n->op == X_CONST};
    Val v = m->args[n->arg[0]];
    if (v == conv) return (Affine){expr_const(&m->expr, 1), NONE, true};
    return (Affine){NONE, self, m->g->value[v].type.rank <= 1};
}

static bool reads_none(const ExprNode *n, const Affine *of) {
    for (int k = 0; k < expr_op_operands((ExprOp)n->op); k++) {
        if (!of[n->arg[k]].is || of[n->arg[k]].a != NONE) return false;
    }
    return true;
}

/* Node `self` of the body, given its operands. */
static Affine affine_node(ExprBuilder *e, const ExprNode *n, uint16_t self, const Affine *of) {
    Affine none = {NONE, self, false};
    if (reads_none(n, of)) return (Affine){NONE, self, true};
    Affine l = of[n->arg[0]], r = expr_op_operands((ExprOp)n->op) == 2 ? of[n->arg[1]] : l;
    if (!l.is || !r.is) return none;
    switch (n->op) {
    case X_ADD: return (Affine){add(e, l.a, r.a), add(e, l.b, r.b), true};
    case X_SUB: return (Affine){add(e, l.a, negate(e, r.a)), add(e, l.b, negate(e, r.b)), true};
    case X_NEG: return (Affine){negate(e, l.a), negate(e, l.b), true};
    case X_MUL: {
        Affine c = l.a != NONE ? l : r, k = l.a != NONE ? r : l;
        return k.a != NONE ? none : (Affine){times(e, c.a, k.b), times(e, c.b, k.b), true};
    }
    case X_DIV:
        if (r.a != NONE) return none;
        return (Affine){expr_binary(e, X_DIV, l.a, r.b), l.b == NONE ? NONE : expr_binary(e, X_DIV, l.b, r.b), true};
    default: return none;
    }
}

typedef struct Parts {
    Affine *of;     /* per node of the body */
    uint16_t scale; /* the one factor of all largest affine parts; NONE: there is none */
    bool several;   /* there are more */
} Parts;

/* A part is largest if it is the whole body or somebody who is not affine reads it. */
static void note_scale(Parts *p, Affine part) {
    if (!part.is || part.a == NONE) return;
    p->several |= p->scale != NONE && p->scale != part.a;
    p->scale = part.a;
}

/* Node i of a body again, from its operands. */
static uint16_t again(ExprBuilder *e, const ExprNode *n, const uint16_t *of) {
    switch (expr_op_operands((ExprOp)n->op)) {
    case 0: return n->op == X_ARG ? expr_arg(e, n->arg[0]) : expr_const(e, n->value);
    case 1: return expr_unary(e, (ExprOp)n->op, of[n->arg[0]]);
    case 2: return expr_binary(e, (ExprOp)n->op, of[n->arg[0]], of[n->arg[1]]);
    default: return expr_select(e, of[n->arg[0]], of[n->arg[1]], of[n->arg[2]]);
    }
}

static Parts take_apart(MapBuilder *m, const Expr *body, Val conv) {
    Parts p = {ARENA_ARRAY(m->g->arena, Affine, body->count), NONE, false};
    uint16_t *self = ARENA_ARRAY(m->g->arena, uint16_t, body->count);
    for (uint32_t i = 0; i < body->count; i++) {
        const ExprNode *n = &body->node[i];
        int operands = expr_op_operands((ExprOp)n->op);
        self[i] = again(&m->expr, n, self);
        p.of[i] = operands ? affine_node(&m->expr, n, self[i], p.of) : affine_leaf(m, n, self[i], conv);
        for (int k = 0; k < operands && !p.of[i].is; k++) note_scale(&p, p.of[n->arg[k]]);
    }
    note_scale(&p, p.of[body->count - 1]);
    return p;
}

/* The body with c + b for each affine part a*c + b; `scaled` reads a*c. */
static uint16_t put_together(MapBuilder *m, const Expr *body, const Parts *p, uint16_t scaled) {
    uint16_t *of = ARENA_ARRAY(m->g->arena, uint16_t, body->count);
    for (uint32_t i = 0; i < body->count; i++) {
        bool part = p->of[i].is && p->of[i].a != NONE;
        of[i] = part ? add(&m->expr, scaled, p->of[i].b) : again(&m->expr, &body->node[i], of);
    }
    return of[body->count - 1];
}

/* ---- folding ---- */

/* The convolution with its filters times `scale`, a node of m that reads values per channel. */
static Val scaled_convolution(const Fold *f, MapBuilder *m, uint16_t scale) {
    const Value *conv = &f->in->value[f->conv];
    Val factor = map_finish(m, scale, type_vector(conv->type.dim[1]), conv->span, conv->name);
    Val w = graph_binary(f->out, OP_SCALE_FILTERS, f->map[conv->args[1]], factor, conv->span);
    return graph_add(f->out, &(ValueSpec){.op = OP_CONV2D,
                                          .args = (Val[]){f->map[conv->args[0]], w},
                                          .nargs = 2,
                                          .attrs = conv->attrs,
                                          .span = conv->span,
                                          .name = conv->name});
}

/* Why the parts cannot be folded, NULL if they can. */
static const char *obstacle(const Fold *f, const Parts *p) {
    if (f->uses[f->conv] > 1) return "another value reads the raw convolution";
    return p->several ? "the map needs the convolution in two different scales" : NULL;
}

static Val fold_map(Fold *f, Val id) {
    const Value *v = &f->in->value[id];
    int depth = (int)pass_parameter(f->context, "depth");
    f->conv = is_plain_map(v) && v->type.rank == 4 ? find_convolution(f, id, depth) : NO_VAL;
    if (f->conv == NO_VAL) return graph_copy_value(f->out, f->in, id, f->map);
    MapBuilder m = map_begin(f->out);
    const Expr *body = expr_finish(&m.expr, splice(f, &m, id, depth));
    if (body->count > pass_parameter(f->context, "max_nodes") || m.nargs >= MAX_ARGS)
        return graph_copy_value(f->out, f->in, id, f->map);
    Parts p = take_apart(&m, body, f->map[f->conv]);
    bool nothing = p.scale == NONE || (m.expr.node[p.scale].op == X_CONST && m.expr.node[p.scale].value == 1);
    const char *why = nothing && !p.several ? NULL : obstacle(f, &p);
    const char *conv = f->in->value[f->conv].name ? f->in->value[f->conv].name : "a convolution";
    if (why) pass_remark(f->context, false, v->span, "%s: its factor per channel is not folded: %s", conv, why);
    if (nothing || why || !pass_allowed_for(f->context, conv, f->conv)) return graph_copy_value(f->out, f->in, id, f->map);
    pass_remark(f->context, true, v->span, "%s: the factor per channel behind it moved into the filters", conv);
    f->folded[f->conv] = true;
    uint16_t scaled = map_read(&m, scaled_convolution(f, &m, p.scale));
    return map_finish(&m, put_together(&m, body, &p, scaled), v->type, v->span, v->name);
}

Graph *pass_fold_batch_norm(const Graph *in, PassContext *context) {
    Fold f = {.in = in, .out = rebuild_begin(in), .context = context, .uses = graph_use_counts(in)};
    f.map = ARENA_ARRAY(f.out->arena, Val, in->count);
    f.folded = ARENA_ARRAY(f.out->arena, bool, in->count);
    for (Val v = 0; v < in->count; v++) {
        uint32_t count = f.out->count, events = context->nevents;
        f.map[v] = in->value[v].op == OP_MAP ? fold_map(&f, v) : graph_copy_value(f.out, in, v, f.map);
        if (context->nevents > events) pass_replaced(context, v, f.map[v], f.out, count);
    }
    rebuild_outputs(in, f.out, f.map);
    free(f.uses);
    return f.out;
}

/* canonicalise: every value in its simplest form, so that equal computations look equal and trivial ones are gone.
 *
 *   maps        constants into the Expr; each value read once, arguments in the order of ids; unused arguments dropped; a
 *               map that reads a mere broadcast reads what was broadcast; identities vanish; a map that is constant over
 *               pixels (or images) is computed once per (image, channel) (or channel) and then broadcast
 *   sums        image_sum, batch_sum and channel_sum of a map that is constant over what they sum: a multiplication
 *   gates       a map over pixels reads [N,C,1,1] as the [N,C] that it is, and the sum over all pixels is image_sum: what is
 *               known of gates holds of them. A max_pool over the whole map is max_to
 *   the rest    concat of one operand, pad_channels, slice_channels, shuffles and 1x1 pools that change nothing, flatten of
 *               unflatten and back, filters scaled by one, dropout masks of rate 0
 *
 * One sweep in value order, each value rebuilt from arguments that are canonical already. It ends because a rule either
 * replaces a value by earlier ones or adds maps over an iteration space of lower rank. */
#include "passes/build.h"

typedef struct Canon {
    const Graph *in;
    Graph *out;
    PassContext *context;
} Canon;

/* Does v only spread what it reads? */
static bool is_broadcast(const Value *v) {
    return is_plain_map(v) && v->regions[0].expr->count == 1 && v->regions[0].expr->node[0].op == X_ARG;
}

/* The value that v spreads over its type, v itself if it is no broadcast. */
static Val broadcast_source(const Graph *g, Val v) {
    while (is_broadcast(&g->value[v])) v = g->value[v].args[g->value[v].regions[0].expr->node[0].arg[0]];
    return v;
}

static bool is_constant(const Graph *g, Val v, double value) {
    v = broadcast_source(g, v);
    return g->value[v].op == OP_CONSTANT && g->value[v].attrs.constant == value;
}

static bool rewrite(Canon *c, const Value *v, const char *what) {
    Val id = (Val)(v - c->in->value);
    if (!pass_allowed_for(c->context, value_site(c->context, c->in, id), id)) return false;
    pass_remark(c->context, true, v->span, "%s: %s", op_text(v->op), what);
    return true;
}

/* ---- maps ---- */

static bool same_as_copy(const Value *v, const Val *args, const MapDraft *draft) {
    if (draft->nargs != v->nargs) return false;
    for (uint32_t i = 0; i < v->nargs; i++) {
        if (draft->args[i] != args[i]) return false;
    }
    for (uint32_t r = 0; r < v->nregions; r++) {
        if (!expr_equal(draft->regions[r].expr, v->regions[r].expr)) return false;
    }
    return true;
}

/* Reads the arguments of map v through broadcasts; root[r] is the node of region r. */
static MapBuilder read_map(Canon *c, const Value *v, const Val *args, uint16_t *root) {
    MapBuilder m = map_begin(c->out);
    uint16_t leaf[MAX_ARGS];
    for (uint32_t i = 0; i < v->nargs; i++) leaf[i] = map_read(&m, broadcast_source(c->out, args[i]));
    for (uint32_t r = 0; r < v->nregions; r++) root[r] = expr_inline(&m.expr, v->regions[r].expr, leaf, 0, 0);
    return m;
}

/* A map over `space` in its best form: computed at the rank of what it reads, then broadcast. */
static Val finish_hoisted(MapBuilder *m, uint16_t root, Type space, const Value *v) {
    Type computed = type_summed(space, map_rank(m, root));
    Val core = map_finish(m, root, computed, v->span, v->name);
    if (computed.rank == space.rank) return core;
    MapBuilder spread = map_begin(m->g);
    return map_finish(&spread, map_read(&spread, core), space, v->span, v->name);
}

/* A map with one OUTPUT; NO_VAL if it is canonical already. */
static Val canonical_plain(Canon *c, const Value *v, const Val *args, MapBuilder *m, uint16_t root, const MapDraft *draft) {
    const ExprNode *node = &m->expr.node[root];
    bool identity = node->op == X_ARG && type_equal(c->out->value[m->args[node->arg[0]]].type, v->space);
    bool spread = is_broadcast(v) && v->nargs == 1 && broadcast_source(c->out, args[0]) == args[0];
    bool hoisted = node->op != X_ARG && map_rank(m, root) < v->space.rank;
    if (!identity && (spread || (!hoisted && same_as_copy(v, args, draft)))) return NO_VAL;
    const char *what = identity ? "an identity vanished" : hoisted ? "computed before it is broadcast" : "simplified";
    return rewrite(c, v, what) ? finish_hoisted(m, root, v->space, v) : NO_VAL;
}

/* One with several results keeps them all, so its readers need no change. */
static Val canonical_regions(Canon *c, const Value *v, const Val *args, const MapDraft *draft) {
    if (draft->nargs == 0 || same_as_copy(v, args, draft) || !rewrite(c, v, "simplified")) return NO_VAL;
    return graph_add(c->out, &(ValueSpec){.op = OP_MAP,
                                          .args = draft->args,
                                          .nargs = draft->nargs,
                                          .declared = v->space,
                                          .span = v->span,
                                          .name = v->name,
                                          .regions = draft->regions,
                                          .nregions = draft->nregions});
}

static Val canonical_map(Canon *c, const Value *v, const Val *map) {
    Val args[MAX_ARGS];
    uint16_t root[MAX_REGIONS];
    for (uint32_t i = 0; i < v->nargs; i++) args[i] = map[v->args[i]];
    MapBuilder m = read_map(c, v, args, root);
    MapDraft draft;
    map_draft(&m, v->regions, root, v->nregions, &draft);
    return is_plain_map(v) ? canonical_plain(c, v, args, &m, root[0], &draft) : canonical_regions(c, v, args, &draft);
}

/* ---- windows ---- */

static bool window_trivial(const Attrs *a) {
    for (int i = 0; i < 2; i++) {
        if (a->window.kernel[i] != 1 || a->window.stride[i] != 1) return false;
    }
    for (int i = 0; i < 4; i++) {
        if (a->window.pad[i] != 0) return false;
    }
    return true;
}

static bool window_whole(const Attrs *a, Type x) {
    bool whole = a->window.kernel[0] == x.dim[2] && a->window.kernel[1] == x.dim[3];
    for (int i = 0; i < 4; i++) whole &= a->window.pad[i] == 0;
    return whole && a->window.dilation[0] == 1 && a->window.dilation[1] == 1;
}

/* ---- gates ---- */

static bool is_plane(Type t) { return t.rank == 4 && t.dim[2] > 1 && t.dim[3] > 1; }

static bool is_gate(Type t, Type space) {
    return is_plane(space) && t.rank == 4 && t.dim[1] == space.dim[1] && t.dim[2] == 1 && t.dim[3] == 1;
}

/* A map that reads values per image and channel as feature maps of one pixel reads them as [N,C]. */
static Val canonical_gates(Canon *c, const Value *v, const Val *map) {
    Val args[MAX_ARGS];
    bool any = false;
    for (uint32_t i = 0; i < v->nargs; i++) any |= is_gate(c->out->value[map[v->args[i]]].type, v->space);
    if (!any || !rewrite(c, v, "one pixel an image is a gate")) return NO_VAL;
    for (uint32_t i = 0; i < v->nargs; i++) {
        args[i] = map[v->args[i]];
        if (!is_gate(c->out->value[args[i]].type, v->space)) continue;
        bool inverse = c->out->value[args[i]].op == OP_UNFLATTEN;
        args[i] = inverse ? c->out->value[args[i]].args[0] : graph_unary(c->out, OP_FLATTEN, args[i], v->span);
    }
    ValueSpec spec = value_spec(v, args);
    return graph_add(c->out, &spec);
}

/* Sums over all pixels as an image_sum, maxima of a pool as max_to. */
static Val canonical_pixels(Canon *c, const Value *v, const Val *map) {
    Val x = map[v->args[0]];
    Type type = c->out->value[x].type;
    if (!is_gate(v->type, type) || (v->op == OP_MAX_POOL && !window_whole(&v->attrs, type))) return NO_VAL;
    if (!rewrite(c, v, v->op == OP_MAX_POOL ? "of the whole map is a maximum" : "over all pixels is a sum of the image"))
        return NO_VAL;
    if (v->op == OP_SUM_TO) x = graph_unary(c->out, OP_IMAGE_SUM, x, v->span);
    Op op = v->op == OP_SUM_TO ? OP_UNFLATTEN : OP_MAX_TO;
    return graph_add(c->out,
                     &(ValueSpec){.op = op, .args = &x, .nargs = 1, .declared = v->type, .span = v->span, .name = v->name});
}

/* ---- sums ---- */

/* A sum over dimensions in which its operand, a map, does not change; NO_VAL if it does. */
static Val canonical_sum(Canon *c, const Value *v, const Val *map) {
    const Value x = c->out->value[map[v->args[0]]];
    if (!is_plain_map(&x)) return NO_VAL;
    MapBuilder m = map_begin(c->out);
    uint16_t leaf[MAX_ARGS];
    for (uint32_t i = 0; i < x.nargs; i++) leaf[i] = map_read(&m, x.args[i]);
    uint16_t root = expr_inline(&m.expr, x.regions[0].expr, leaf, 0, 0);
    if (map_rank(&m, root) > v->type.rank || !rewrite(c, v, "of equal terms became a multiplication")) return NO_VAL;
    double terms = (double)(type_elements(x.space) / type_elements(v->type));
    root = expr_binary(&m.expr, X_MUL, root, expr_const(&m.expr, terms));
    return finish_hoisted(&m, root, v->type, v);
}

/* ---- the rest ---- */

/* The earlier value that v equals, NO_VAL if there is none. */
static Val equal_value(const Graph *g, const Value *v, const Val *map) {
    if (v->nargs == 0) return NO_VAL;
    Val x = map[v->args[0]];
    const Value *operand = &g->value[x];
    switch (v->op) {
    case OP_CONCAT: return v->nargs == 1 ? x : NO_VAL;
    case OP_PAD_CHANNELS:
    case OP_SUM_TO:
    case OP_MAX_TO:
    case OP_PAD_CHANNELS_BWD:
    case OP_SLICE_CHANNELS:
    case OP_PLACE_CHANNELS: return type_equal(operand->type, v->type) ? x : NO_VAL;
    case OP_CHANNEL_SHUFFLE: return v->attrs.index == 1 || v->attrs.index == v->type.dim[1] ? x : NO_VAL;
    case OP_MAX_POOL:
    case OP_AVG_POOL: return window_trivial(&v->attrs) ? x : NO_VAL;
    case OP_MAX_POOL_BWD: return window_trivial(&v->attrs) ? map[v->args[1]] : NO_VAL;
    case OP_AVG_POOL_BWD: return window_trivial(&v->attrs) ? x : NO_VAL;
    case OP_FLATTEN:
    case OP_UNFLATTEN: {
        bool inverse = operand->op == (v->op == OP_FLATTEN ? OP_UNFLATTEN : OP_FLATTEN);
        return inverse && type_equal(g->value[operand->args[0]].type, v->type) ? operand->args[0] : NO_VAL;
    }
    case OP_SCALE_FILTERS: return is_constant(g, map[v->args[1]], 1) ? x : NO_VAL;
    default: return NO_VAL;
    }
}

static Val canonical_mask(Canon *c, const Value *v) {
    if (v->attrs.dropout.rate != 0 || !rewrite(c, v, "of rate 0 is one everywhere")) return NO_VAL;
    MapBuilder m = map_begin(c->out);
    return map_finish(&m, expr_const(&m.expr, 1), v->type, v->span, v->name);
}

static Val canonical(Canon *c, Val id, const Val *map) {
    const Value *v = &c->in->value[id];
    Val same = equal_value(c->out, v, map), better = NO_VAL;
    if (same != NO_VAL && rewrite(c, v, "changes nothing and vanished")) return same;
    switch (v->op) {
    case OP_MAP:
        better = canonical_gates(c, v, map);
        if (better == NO_VAL) better = canonical_map(c, v, map);
        break;
    case OP_SUM_TO:
    case OP_MAX_POOL: better = canonical_pixels(c, v, map); break;
    case OP_IMAGE_SUM:
    case OP_BATCH_SUM:
    case OP_CHANNEL_SUM: better = canonical_sum(c, v, map); break;
    case OP_DROPOUT_MASK: better = canonical_mask(c, v); break;
    default: break;
    }
    return better != NO_VAL ? better : graph_copy_value(c->out, c->in, id, map);
}

Graph *pass_canonicalise(const Graph *in, PassContext *context) {
    Canon c = {in, rebuild_begin(in), context};
    Val *map = ARENA_ARRAY(c.out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) {
        uint32_t count = c.out->count, events = context->nevents;
        map[v] = canonical(&c, v, map);
        if (context->nevents > events) pass_replaced(context, v, map[v], c.out, count);
    }
    rebuild_outputs(in, c.out, map);
    return c.out;
}

/* Drafts: opening a graph, editing it, and the analyses that editing asks for. See draft.h. Finishing is draft_finish.c,
 * Exprs in scope are draft_scope.c.
 *
 * User lists are kept exact by draft_set_args, the only writer of arguments. The order is recomputed when asked for after an
 * edit that can invalidate it: a stable topological sort by `key`. */
#include "passes/draft.h"
#include "ir/attrs.h"
#include "passes/events.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t new_node(Draft *d, Node node) {
    ARENA_GROW(d->arena, d->node, d->count, &d->capacity);
    d->node[d->count] = node;
    draft_order_add(d, d->count);
    event_value(d->context, EVENT_MADE, d->count);
    return d->count++;
}

/* ---- opening ---- */

static uint32_t slot_of_result(const Value *v, uint32_t result) {
    if (v->op == OP_MAP || result == 0 || !op_is_convolution(v->op)) return result;
    for (uint32_t i = 0, next = 1; i < v->nregions; i++) {
        if (region_makes_result(v->regions[i].role) && next++ == result) return 1 + i;
    }
    fprintf(stderr, "netc: internal error: %s has no result %u\n", op_text(v->op), result);
    abort();
}

static bool *live_values(const Graph *in, Arena *arena) {
    bool *live = ARENA_ARRAY(arena, bool, in->count);
    for (uint32_t i = 0; i < in->noutputs; i++) live[in->output[i].value] = true;
    for (Val v = in->count; v-- > 0;) {
        if (in->value[v].op == OP_INPUT || in->value[v].op == OP_PARAM || in->value[v].op == OP_STATE) live[v] = true;
        if (!live[v]) continue;
        for (uint32_t i = 0; i < in->value[v].nargs; i++) live[in->value[v].args[i]] = true;
    }
    return live;
}

/* The region of a map that an op which reduces is; false: it is none. */
static bool reduction_of(const Value *v, Type x, DraftRegion *region) {
    int mask = v->op == OP_SUM_TO || v->op == OP_MAX_TO ? type_mask(x, v->type) : 0;
    *region = (DraftRegion){.role = v->op == OP_SUM_TO ? REGION_SUM_TO : REGION_MAX_TO, .operand = mask};
    if (v->op == OP_IMAGE_SUM) *region = (DraftRegion){.role = REGION_REDUCE};
    return v->op == OP_IMAGE_SUM || mask == OVER_CHANNELS || (mask && !(mask & OVER_CHANNELS));
}

static void open_regions(Draft *d, Node *n, const Value *v) {
    DraftRegion reduction;
    if (v->nargs && reduction_of(v, d->in->value[v->args[0]].type, &reduction)) {
        ExprBuilder b = expr_builder(d->arena);
        reduction.expr = expr_finish(&b, expr_arg(&b, 0));
        n->op = OP_MAP;
        n->space = d->in->value[v->args[0]].type;
        n->nregions = 1;
        n->regions = ARENA_NEW(d->arena, DraftRegion);
        n->regions[0] = reduction;
        return;
    }
    n->nregions = v->nregions;
    n->regions = ARENA_ARRAY(d->arena, DraftRegion, v->nregions);
    for (uint32_t i = 0; i < v->nregions; i++) {
        n->regions[i] = (DraftRegion){.role = v->regions[i].role, .operand = v->regions[i].operand, .expr = v->regions[i].expr};
    }
}

Draft *draft_open(const Graph *in, PassContext *context) {
    Arena *arena = arena_new();
    Draft *d = ARENA_NEW(arena, Draft);
    event_close(context);
    *d = (Draft){.arena = arena, .in = in, .context = context, .first = NO_VAL, .last = NO_VAL, .first_event = context->nevents};
    d->newest = ARENA_ARRAY(arena, uint32_t, in->count + 1);
    memset(d->newest, 0xff, (in->count + 1) * sizeof *d->newest); /* NO_VAL */
    bool *live = live_values(in, arena);
    Ref *ref = ARENA_ARRAY(arena, Ref, in->count);
    Ref args[MAX_ARGS];
    for (Val v = 0; v < in->count; v++) {
        const Value *value = &in->value[v];
        if (!live[v]) continue;
        if (value->op == OP_RESULT) {
            ref[v] = (Ref){ref[value->args[0]].node, slot_of_result(&in->value[value->args[0]], (uint32_t)value->attrs.index)};
            continue;
        }
        Node n = {.op = value->op,
                  .type = value->type,
                  .space = value->space,
                  .span = value->span,
                  .attrs = value->attrs,
                  .name = value->name,
                  .key = v};
        open_regions(d, &n, value);
        ref[v] = (Ref){new_node(d, n), 0};
        for (uint32_t i = 0; i < value->nargs; i++) args[i] = ref[value->args[i]];
        draft_set_args(d, ref[v].node, args, value->nargs);
    }
    d->sink = d->count;
    for (uint32_t i = 0; i < in->noutputs; i++) {
        uint32_t sink = new_node(d, (Node){.op = OP_COUNT, .key = in->count});
        draft_set_args(d, sink, &ref[in->output[i].value], 1);
    }
    return d;
}

/* ---- reading ---- */

const DraftRegion *draft_region(const Draft *d, Ref ref) {
    const Node *n = &d->node[ref.node];
    if (n->op == OP_MAP) return &n->regions[ref.slot];
    return op_is_convolution(n->op) && ref.slot > 0 ? &n->regions[ref.slot - 1] : NULL;
}

Ref draft_region_ref(const Draft *d, uint32_t node, uint32_t region) {
    return (Ref){node, d->node[node].op == OP_MAP ? region : region + 1};
}

Type draft_type(const Draft *d, Ref ref) {
    const Node *n = &d->node[ref.node];
    const DraftRegion *r = draft_region(d, ref);
    if (!r && n->op == OP_MOMENTS && ref.slot == 2) { /* the images' deviations */
        Type sums = draft_type(d, n->args[0]);
        return type_matrix(sums.dim[0] / 2, sums.dim[1]);
    }
    if (!r) return n->type; /* mean and variance are alike; batch_norm is gone by now */
    Type space = n->op == OP_MAP ? n->space : n->type;
    if (r->role == REGION_STORE) return draft_type(d, n->args[r->operand]);
    return type_of_region(r->role, r->operand, space);
}

uint32_t draft_uses(const Draft *d, Ref ref) {
    const Node *n = &d->node[ref.node];
    uint32_t uses = 0;
    d->context->steps += n->nusers;
    for (uint32_t i = 0; i < n->nusers; i++) {
        bool seen = false; /* a user of several places stands there several times */
        for (uint32_t j = 0; j < i && !seen; j++) seen = n->users[j] == n->users[i];
        const Node *u = &d->node[n->users[i]];
        for (uint32_t k = 0; !seen && k < u->nargs; k++) uses += ref_equal(u->args[k], ref);
    }
    return uses;
}

uint32_t draft_element_args(const Draft *d, uint32_t node, const Expr *e) {
    const Node *n = &d->node[node];
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->nargs; i++) count += draft_is_whole(d, node, n->args[i]) && expr_uses_arg(e, i);
    return count;
}

const char *draft_label(const Draft *d, uint32_t node) {
    const Node *n = &d->node[node];
    switch (n->op) {
    case OP_COUNT: return "an output of the graph";
    case OP_CONV2D_BWD_DATA: return arena_printf(d->arena, "%s (backward data)", n->name ? n->name : "conv2d");
    case OP_CONV2D_BWD_WEIGHTS: return arena_printf(d->arena, "%s (backward weights)", n->name ? n->name : "conv2d");
    case OP_MAP:
        for (uint32_t r = 0; r < n->nregions && !n->name; r++) {
            RegionRole role = n->regions[r].role;
            if (n->regions[r].gone || (!region_sums(role) && !region_reduces(role)) || n->nargs == 0) continue;
            return arena_printf(d->arena, "a %s over %s", region_greatest(role) ? "maximum" : "sum",
                                draft_label(d, n->args[0].node));
        }
        break;
    default: break;
    }
    return n->name ? n->name : n->op == OP_PARAM ? n->attrs.param.name : op_text(n->op);
}

static const char *site(const Draft *d, uint32_t node, int depth) {
    const Node *n = &d->node[node];
    if (n->op == OP_COUNT) return "output";
    if (n->name || n->op == OP_PARAM) return n->name ? n->name : n->attrs.param.name;
    if (n->nargs == 0 || depth == 0) return op_text(n->op);
    const char *what = op_text(n->op);
    if (n->op == OP_MAP && n->nregions && region_sums(n->regions[0].role)) what = "sum";
    if (n->op == OP_MAP && n->nregions && region_reduces(n->regions[0].role)) what = region_role_text(n->regions[0].role);
    return arena_printf(d->arena, "%s/%s", site(d, n->args[0].node, depth - 1), what);
}

const char *draft_site(const Draft *d, uint32_t node) { return site(d, node, 3); }

bool draft_allowed(Draft *d, uint32_t node, const char *what, uint32_t other) {
    const char *site = draft_site(d, node), *subject = site;
    if (what) subject = arena_printf(d->arena, "%s/%s", site, what);
    if (!what && other != NO_VAL) subject = arena_printf(d->arena, "%s/%s", site, draft_site(d, other));
    return pass_allowed_for(d->context, subject, ((uint64_t)node + 1) << 32 | other);
}

void draft_refuse(Draft *d, uint32_t node, uint32_t other, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    event_refuse(d->context, draft_site(d, node), (const uint32_t[]){node, other}, span, format, args);
    va_end(args);
}

/* ---- editing ---- */

static void add_user(Draft *d, uint32_t node, uint32_t user) {
    Node *n = &d->node[node];
    ARENA_GROW(d->arena, n->users, n->nusers, &n->user_capacity);
    n->users[n->nusers++] = user;
}

static void remove_user(Draft *d, uint32_t node, uint32_t user) {
    Node *n = &d->node[node];
    for (uint32_t i = n->nusers; i-- > 0;) {
        d->context->steps++;
        if (n->users[i] != user) continue;
        memmove(&n->users[i], &n->users[i + 1], (n->nusers - i - 1) * sizeof *n->users);
        n->nusers--;
        return;
    }
}

void draft_set_args(Draft *d, uint32_t node, const Ref *args, uint32_t nargs) {
    Ref *copy = arena_copy(d->arena, args, nargs * sizeof *args);
    if (nargs) event_value(d->context, EVENT_CHANGED, node);
    for (uint32_t i = 0; i < d->node[node].nargs; i++) remove_user(d, d->node[node].args[i].node, node);
    for (uint32_t i = 0; i < nargs; i++) add_user(d, copy[i].node, node);
    d->node[node].args = copy;
    d->node[node].nargs = nargs;
    draft_order_check(d, node);
}

uint32_t draft_add_region(Draft *d, uint32_t node, DraftRegion region) {
    Node *n = &d->node[node];
    DraftRegion *regions = ARENA_ARRAY(d->arena, DraftRegion, n->nregions + 1);
    if (n->nregions) memcpy(regions, n->regions, n->nregions * sizeof *regions);
    regions[n->nregions] = region;
    n->regions = regions;
    event_value(d->context, EVENT_CHANGED, node);
    return n->nregions++;
}

Ref draft_map(Draft *d, Type space, const Ref *args, uint32_t nargs, DraftRegion region, uint32_t like) {
    Node n = {.op = OP_MAP, .space = space, .type = space};
    n.span = d->node[like].span;
    n.name = d->node[like].name;
    n.key = d->node[like].key;
    uint32_t node = new_node(d, n);
    draft_set_args(d, node, args, nargs);
    draft_add_region(d, node, region);
    return (Ref){node, 0};
}

Ref draft_op(Draft *d, Op op, Type type, Attrs attrs, const Ref *args, uint32_t nargs, uint32_t like) {
    Node n = {.op = op, .space = type, .type = type, .attrs = attrs};
    n.span = d->node[like].span;
    n.name = d->node[like].name;
    n.key = d->node[like].key;
    uint32_t node = new_node(d, n);
    draft_set_args(d, node, args, nargs);
    return (Ref){node, 0};
}

uint32_t draft_clone(Draft *d, uint32_t node, const Ref *args, uint32_t nargs, uint32_t before) {
    Node copy = d->node[node];
    copy.regions = copy.nregions ? arena_copy(d->arena, copy.regions, copy.nregions * sizeof *copy.regions) : NULL;
    copy.args = NULL;
    copy.users = NULL;
    copy.nargs = copy.nusers = copy.user_capacity = 0;
    copy.key = d->node[before].key; /* nodes of one key keep their order, but what a node reads is put in front of it */
    uint32_t clone = new_node(d, copy);
    draft_set_args(d, clone, args, nargs);
    return clone;
}

void draft_redirect(Draft *d, Ref from, Ref to) {
    event_redirect(d->context, from.node, to.node);
    Node *source = &d->node[from.node];
    uint32_t *users = arena_copy(d->arena, source->users, source->nusers * sizeof *users), n = source->nusers;
    for (uint32_t i = 0; i < n; i++) {
        Node *u = &d->node[users[i]];
        for (uint32_t k = 0; k < u->nargs; k++) {
            if (!ref_equal(u->args[k], from)) continue;
            u->args[k] = to;
            remove_user(d, from.node, users[i]);
            add_user(d, to.node, users[i]);
        }
        draft_order_check(d, users[i]);
    }
}

static bool region_wanted(const Draft *d, uint32_t node, uint32_t region) {
    RegionRole role = d->node[node].regions[region].role;
    return !region_makes_result(role) || draft_uses(d, draft_region_ref(d, node, region)) > 0;
}

static const Expr *renumber(Draft *d, const Expr *e, const uint16_t *index) {
    Expr *copy = ARENA_NEW(d->arena, Expr);
    copy->count = e->count;
    copy->node = arena_copy(d->arena, e->node, e->count * sizeof *e->node);
    for (uint32_t i = 0; i < copy->count; i++) {
        if (copy->node[i].op == X_ARG) copy->node[i].arg[0] = index[copy->node[i].arg[0]];
    }
    return copy;
}

/* Drops the arguments that no region reads; an op's own operands stay. */
static void compact_args(Draft *d, uint32_t node) {
    Node *n = &d->node[node];
    uint32_t own = n->op == OP_MAP ? 0 : op_operands(n->op), kept = 0;
    uint16_t *index = ARENA_ARRAY(d->arena, uint16_t, n->nargs);
    Ref *args = ARENA_ARRAY(d->arena, Ref, n->nargs);
    for (uint32_t i = 0; i < n->nargs; i++) {
        bool wanted = i < own;
        for (uint32_t r = 0; r < n->nregions && !wanted; r++) {
            wanted = !n->regions[r].gone && n->regions[r].expr && expr_uses_arg(n->regions[r].expr, i);
        }
        uint32_t same = 0;
        while (same < kept && (i < own || !ref_equal(args[same], n->args[i]))) same++;
        index[i] = (uint16_t)same;
        if (wanted && same == kept) args[kept++] = n->args[i];
    }
    if (kept == n->nargs) return;
    for (uint32_t r = 0; r < n->nregions; r++) {
        if (!n->regions[r].gone && n->regions[r].expr) n->regions[r].expr = renumber(d, n->regions[r].expr, index);
    }
    draft_set_args(d, node, args, kept);
}

void draft_prune(Draft *d, uint32_t node) {
    Node *n = &d->node[node];
    if (n->dead || n->op == OP_COUNT) return;
    const Ref *before = n->args; /* draft_set_args does not write into it */
    uint32_t nbefore = n->nargs;
    if (n->nusers == 0 && op_attr_kind(n->op) != ATTR_PARAM) {
        draft_set_args(d, node, NULL, 0);
        event_value(d->context, EVENT_REMOVED, node);
        n->dead = true;
    } else if (op_takes_regions(n->op)) {
        for (uint32_t r = 0; r < n->nregions; r++) n->regions[r].gone |= !region_wanted(d, node, r);
        compact_args(d, node);
    }
    n = &d->node[node];
    if (n->args == before) return;
    for (uint32_t i = 0; i < nbefore; i++) {
        bool kept = false;
        for (uint32_t k = 0; k < n->nargs && !kept; k++) kept = ref_equal(before[i], n->args[k]);
        if (!kept) draft_prune(d, before[i].node);
    }
}

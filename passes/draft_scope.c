/* Exprs in scope of a draft's node: splicing, taking apart, inlining. See draft.h. */
#include "passes/draft.h"
#include <stdlib.h>
#include <string.h>

Scope scope_open(Draft *d) { return (Scope){.d = d, .b = expr_builder(d->arena)}; }

Scope scope_of(Draft *d, uint32_t node) {
    Scope s = scope_open(d);
    const Node *n = &d->node[node];
    s.nleaves = s.leaf_capacity = n->nargs;
    s.leaf = arena_copy(d->arena, n->args, n->nargs * sizeof *n->args);
    return s;
}

uint16_t scope_leaf(Scope *s, Ref ref) {
    uint32_t i = 0;
    while (i < s->nleaves && !ref_equal(s->leaf[i], ref)) i++;
    if (i == s->nleaves) ARENA_GROW(s->d->arena, s->leaf, s->nleaves, &s->leaf_capacity);
    if (i == s->nleaves) s->leaf[s->nleaves++] = ref;
    return expr_arg(&s->b, i);
}

uint16_t scope_splice(Scope *s, uint32_t node, const Expr *e, const uint16_t *replace, uint16_t acc, uint16_t out) {
    const Node *n = &s->d->node[node];
    uint16_t map[MAX_ARGS] = {0};
    for (uint32_t i = 0; i < n->nargs; i++) {
        if (!expr_uses_arg(e, i)) continue;
        map[i] = replace && replace[i] != SCOPE_KEEP ? replace[i] : scope_leaf(s, n->args[i]);
    }
    return expr_inline(&s->b, e, map, acc, out);
}

static int node_rank(const Scope *s, const ExprNode *n) {
    switch (n->op) {
    case X_ARG: return draft_type(s->d, s->leaf[n->arg[0]]).rank;
    case X_CONST: return 0;
    case X_ACC:
    case X_OUT: return 4;
    default: break;
    }
    int rank = 0;
    for (int k = 0; k < expr_op_operands((ExprOp)n->op); k++) {
        int operand = (int)s->rank[n->arg[k]];
        if (operand > rank) rank = operand;
    }
    return rank;
}

int scope_rank(Scope *s, uint16_t node) {
    if (node >= s->rank_capacity) {
        uint32_t capacity = 2 * (uint32_t)node + 64;
        int8_t *rank = ARENA_ARRAY(s->d->arena, int8_t, capacity);
        if (s->ranked) memcpy(rank, s->rank, s->ranked);
        s->rank = rank;
        s->rank_capacity = capacity;
    }
    for (; s->ranked <= node; s->ranked++) s->rank[s->ranked] = (int8_t)node_rank(s, &s->b.node[s->ranked]);
    return s->rank[node];
}

bool scope_fits(const Scope *s) { return s->nleaves <= MAX_ARGS; }

/* An equal single-region map among the users of its first argument. */
static bool find_map(const Draft *d, Type space, const Ref *args, uint32_t nargs, DraftRegion region, Ref *found) {
    const Node *first = &d->node[args[0].node];
    for (uint32_t i = 0; i < first->nusers; i++) {
        const Node *m = &d->node[first->users[i]];
        if (m->op != OP_MAP || m->nargs != nargs || m->nregions != 1) continue;
        const DraftRegion *r = &m->regions[0];
        if (r->gone || r->role != region.role || r->operand != region.operand) continue;
        if (!type_equal(m->space, space) || memcmp(m->args, args, nargs * sizeof *args) != 0) continue;
        if (!expr_equal(r->expr, region.expr)) continue;
        *found = (Ref){first->users[i], 0};
        return true;
    }
    return false;
}

static int by_ref(const void *a, const void *b) {
    const Ref *p = a, *q = b;
    if (p->node != q->node) return p->node < q->node ? -1 : 1;
    return p->slot < q->slot ? -1 : p->slot > q->slot;
}

/* A scope whose leaves are those that e reads, in one order whatever the order in s, so that equal computations look equal. */
static Scope leaves_of(const Scope *s, const Expr *e) {
    Scope own = scope_open(s->d);
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op == X_ARG) scope_leaf(&own, s->leaf[e->node[i].arg[0]]);
    }
    if (own.nleaves) qsort(own.leaf, own.nleaves, sizeof *own.leaf, by_ref);
    own.b = expr_builder(s->d->arena);
    for (uint32_t i = 0; i < own.nleaves; i++) expr_arg(&own.b, i);
    return own;
}

static bool extract(Scope *s, uint16_t root, Type space, DraftRegion region, const uint32_t *like, Ref *out) {
    const Expr *e = expr_finish(&s->b, root);
    Scope own = leaves_of(s, e);
    uint16_t *map = ARENA_ARRAY(s->d->arena, uint16_t, s->nleaves);
    for (uint32_t i = 0; i < e->count; i++) {
        uint16_t index = e->node[i].arg[0];
        if (e->node[i].op == X_ARG) map[index] = scope_leaf(&own, s->leaf[index]);
    }
    if (!scope_fits(&own) || e->count > EXPR_MAX_NODES) return false;
    region.expr = expr_finish(&own.b, expr_inline(&own.b, e, map, 0, 0));
    if (own.nleaves && find_map(s->d, space, own.leaf, own.nleaves, region, out)) return true;
    if (!own.nleaves || !like) return false;
    *out = draft_map(s->d, space, own.leaf, own.nleaves, region, *like);
    return true;
}

bool scope_find(Scope *s, uint16_t root, Type space, DraftRegion kind, Ref *out) {
    return extract(s, root, space, kind, NULL, out);
}

bool scope_extract(Scope *s, uint16_t root, Type space, DraftRegion kind, uint32_t like, Ref *out) {
    return extract(s, root, space, kind, &like, out);
}

bool draft_inlining(Draft *d, uint32_t consumer, Ref producer, uint32_t max_nodes, Inlining *inlining) {
    *inlining = (Inlining){.consumer = consumer, .producer = producer, .scope = scope_of(d, consumer)};
    Scope *s = &inlining->scope;
    const Node *c = &d->node[consumer];
    if (c->space.rank == 4 && d->node[producer.node].space.rank == 4 && !type_equal(c->space, d->node[producer.node].space))
        return false; /* read along a dimension that it lacks: computed once */
    uint16_t body = scope_splice(s, producer.node, draft_region(d, producer)->expr, NULL, 0, 0);
    uint16_t replace[MAX_ARGS];
    for (uint32_t i = 0; i < c->nargs; i++) replace[i] = ref_equal(c->args[i], producer) ? body : SCOPE_KEEP;
    for (uint32_t r = 0; r < c->nregions; r++) {
        if (c->regions[r].gone) continue;
        inlining->changed[r] = expr_finish(&s->b, scope_splice(s, consumer, c->regions[r].expr, replace, 0, 0));
        if (inlining->changed[r]->count > max_nodes) return false;
    }
    return scope_fits(s);
}

void draft_inline(Draft *d, const Inlining *inlining) {
    Node *c = &d->node[inlining->consumer];
    for (uint32_t r = 0; r < c->nregions; r++) {
        if (!c->regions[r].gone) c->regions[r].expr = inlining->changed[r];
    }
    draft_set_args(d, inlining->consumer, inlining->scope.leaf, inlining->scope.nleaves);
    draft_prune(d, inlining->consumer);
    draft_prune(d, inlining->producer.node);
}

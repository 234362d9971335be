/* rules: the algebraic rewrites of --rules (rules.h), wherever their left sides are found in Exprs.
 *
 * A value is rebuilt node by node; at each node, the operands being rewritten already, the rules are tried in their order, and
 * what one makes is looked at again. Where a left side wants an operation and the node reads a map, that map's Expr is spliced
 * in: so a rule is found across maps, of which each holds one operation after `lower`. Only maps that nobody else reads are
 * looked through, since their work would be done twice; what is left of them goes with dce. Matching backtracks over the order of
 * the operands of add and mul: of mul(x, a) + mul(y, a) either factor may be `a`. */
#include "passes/rules.h"
#include "passes/build.h"
#include "passes/events.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 10000, MAX_AGAIN = 16, MAX_GROWN = 16384 }; /* steps of a match; rewrites of a node; nodes of a builder */
static const uint32_t UNBOUND = UINT32_MAX;

/* A rewrite of one value: its event, and which rule's it is. */
typedef struct Applied {
    uint32_t event, rule;
} Applied;

typedef struct Rewriter {
    const Graph *in;
    Graph *out;
    PassContext *context;
    const uint32_t *uses; /* of in's values */
    uint32_t *readers;    /* of out's values: uses of the values that they stand for */
    uint32_t capacity;    /* of readers */
    Val v;                /* of in, being rebuilt */
    MapBuilder m;         /* of a map */
    ExprBuilder *b;       /* the builder at work: m's, or that of a convolution's region */
    bool map;             /* v is one: its arguments may be looked through */
    Applied *event;       /* the rewrites of v so far */
    uint32_t nevents, event_capacity;
    uint32_t *applied; /* of each rule, in this run */
} Rewriter;

/* ---- matching ---- */

typedef struct Goal {
    uint16_t pattern, node;
} Goal;

typedef struct Match {
    Rewriter *w;
    const Rule *rule;
    uint32_t bound[RULE_VARIABLES]; /* nodes; UNBOUND */
    Goal goal[2 * RULE_NODES];
    uint32_t goals, steps;
} Match;

/* Can an Expr over `from` be read as one over `space`? */
static bool reads_alike(const Graph *g, const Value *from, Type space) {
    if (from->type.rank == 4 && !type_equal(from->type, space)) return false;
    for (uint32_t i = 0; i < from->nargs; i++)
        if (!type_broadcasts(g->value[from->args[i]].type, space)) return false;
    return true;
}

/* The node that argument `node` is in terms of what its map reads; itself if it is not to be looked through. */
static uint16_t look_through(Rewriter *w, uint16_t node) {
    if (!w->map || w->b->node[node].op != X_ARG || w->b->count > MAX_GROWN) return node;
    Val arg = w->m.args[w->b->node[node].arg[0]];
    const Value *from = &w->out->value[arg];
    if (!is_plain_map(from) || arg >= w->capacity || w->readers[arg] != 1) return node;
    if (w->m.nargs + from->nargs > MAX_ARGS || !reads_alike(w->out, from, w->in->value[w->v].space)) return node;
    uint16_t leaf[MAX_ARGS];
    for (uint32_t i = 0; i < from->nargs; i++) leaf[i] = map_read(&w->m, from->args[i]);
    return expr_inline(w->b, from->regions[0].expr, leaf, 0, 0);
}

static int rank_of(const Rewriter *w, uint16_t node) {
    if (w->map) return map_rank(&w->m, node);
    ExprBuilder copy = *w->b;
    const Expr *e = expr_finish(&copy, node);
    int rank = expr_uses_op(e, X_ACC) || expr_uses_op(e, X_OUT) ? MAX_RANK : 0;
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op != X_ARG) continue;
        int r = w->in->value[w->in->value[w->v].args[e->node[i].arg[0]]].type.rank;
        if (r > rank) rank = r;
    }
    return rank;
}

static bool meet(Match *m);

/* The goal is met, if the rest is; otherwise nothing has changed. */
static bool bind(Match *m, uint32_t variable, uint16_t node) {
    if (m->bound[variable] != UNBOUND) return m->bound[variable] == node && meet(m);
    if (m->rule->rank[variable] < MAX_RANK && rank_of(m->w, node) > m->rule->rank[variable]) return false;
    m->bound[variable] = node;
    if (meet(m)) return true;
    m->bound[variable] = UNBOUND;
    return false;
}

static bool descend(Match *m, const ExprNode *pattern, const ExprNode *node) {
    int operands = expr_op_operands((ExprOp)pattern->op);
    bool commutes = pattern->op == X_ADD || pattern->op == X_MUL;
    uint32_t goals = m->goals;
    Goal saved[2 * RULE_NODES];
    memcpy(saved, m->goal, goals * sizeof *saved);
    for (int order = 0; order < (commutes ? 2 : 1); order++) {
        for (int k = operands; k-- > 0;) m->goal[m->goals++] = (Goal){pattern->arg[k], node->arg[order ? 1 - k : k]};
        if (meet(m)) return true;
        m->goals = goals;
        memcpy(m->goal, saved, goals * sizeof *saved);
    }
    return false;
}

/* All goals that are left. */
static bool meet(Match *m) {
    if (m->goals == 0) return true;
    if (++m->steps > MAX_STEPS) return false;
    Goal goal = m->goal[--m->goals];
    const ExprNode pattern = m->rule->left->node[goal.pattern];
    bool met = false;
    if (pattern.op == X_ARG) {
        met = bind(m, pattern.arg[0], goal.node);
    } else if (pattern.op == X_CONST) {
        const ExprNode *node = &m->w->b->node[goal.node];
        met = node->op == X_CONST && !memcmp(&node->value, &pattern.value, sizeof node->value) && meet(m);
    } else {
        uint16_t looked = look_through(m->w, goal.node);
        const ExprNode node = m->w->b->node[looked]; /* a copy: the builder may grow */
        met = node.op == pattern.op && descend(m, &pattern, &node);
    }
    if (!met) m->goal[m->goals++] = goal;
    return met;
}

static bool match(Match *m, Rewriter *w, const Rule *rule, uint16_t node) {
    *m = (Match){.w = w, .rule = rule, .goals = 1, .goal = {{(uint16_t)(rule->left->count - 1), node}}};
    for (uint32_t i = 0; i < RULE_VARIABLES; i++) m->bound[i] = UNBOUND;
    return meet(m);
}

/* ---- rewriting ---- */

static bool allowed(Rewriter *w, Rule *rule, uint16_t node) {
    const char *subject = arena_printf(w->context->arena, "%s/%s", value_site(w->context, w->in, w->v), rule->name);
    if (!pass_allowed_for(w->context, subject, (uint64_t)w->v << 16 | node)) return false;
    pass_remark(w->context, true, w->in->value[w->v].span, "%s: %s", rule->name, rule->text);
    ARENA_GROW(w->context->arena, w->event, w->nevents, &w->event_capacity);
    w->event[w->nevents++] = (Applied){event_open(w->context), (uint32_t)(rule - w->context->rules->rule)};
    return true;
}

static bool is_among(uint16_t node, const uint16_t *seen, int count) {
    for (int i = 0; i < count; i++)
        if (seen[i] == node) return true;
    return false;
}

/* What stands for seen[count - 1] when the first rule that applies has been applied; itself if none does. Where a rule leads back
 * to what was seen before, as x + y => y + x does, it has been there. */
static uint16_t apply_one(Rewriter *w, const uint16_t *seen, int count) {
    uint16_t node = seen[count - 1];
    Rules *rules = w->context->rules;
    for (uint32_t i = 0; i < rules->count; i++) {
        Rule *rule = &rules->rule[i];
        Match m;
        if (rule->left->node[rule->left->count - 1].op != w->b->node[node].op || !match(&m, w, rule, node)) continue;
        uint16_t leaf[RULE_VARIABLES];
        for (uint32_t k = 0; k < RULE_VARIABLES; k++) leaf[k] = m.bound[k] == UNBOUND ? 0 : (uint16_t)m.bound[k];
        uint16_t right = expr_inline(w->b, rule->right, leaf, 0, 0);
        if (is_among(right, seen, count)) continue;
        rule->matched++;
        if (!allowed(w, rule, node)) continue;
        return right;
    }
    return node;
}

static uint16_t apply(Rewriter *w, uint16_t node) {
    uint16_t seen[MAX_AGAIN + 1] = {node};
    for (int i = 1; i <= MAX_AGAIN && w->b->count <= MAX_GROWN; i++) {
        seen[i] = apply_one(w, seen, i);
        if (seen[i] == seen[i - 1]) break;
        node = seen[i];
    }
    return node;
}

/* The Expr in the builder, rewritten; leaf[i] is the node of argument i. */
static uint16_t rebuild(Rewriter *w, const Expr *e, const uint16_t *leaf) {
    uint16_t *node = ARENA_ARRAY(w->context->arena, uint16_t, e->count);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *n = &e->node[i];
        int operands = expr_op_operands((ExprOp)n->op);
        uint16_t a = operands > 0 ? node[n->arg[0]] : 0, c = operands > 1 ? node[n->arg[1]] : 0;
        switch (operands) {
        case 0:
            node[i] = n->op == X_ARG     ? leaf[n->arg[0]]
                      : n->op == X_CONST ? expr_const(w->b, n->value)
                                         : expr_leaf(w->b, (ExprOp)n->op);
            continue;
        case 1: node[i] = expr_unary(w->b, (ExprOp)n->op, a); break;
        case 2: node[i] = expr_binary(w->b, (ExprOp)n->op, a, c); break;
        default: node[i] = expr_select(w->b, a, c, node[n->arg[2]]); break;
        }
        node[i] = apply(w, node[i]);
    }
    return node[e->count - 1];
}

/* What the rules have made of v does not fit a graph: nothing has been done. */
static Val give_up(Rewriter *w, const char *why) {
    for (uint32_t i = 0; i < w->nevents; i++) {
        Event *e = &w->context->events[w->event[i].event];
        e->kind = EVENT_REFUSED;
        e->text = arena_printf(w->context->arena, "%s: %s", e->text, why);
    }
    event_close(w->context);
    return NO_VAL;
}

static bool too_long(const Expr *e) { return e->count > EXPR_MAX_NODES; }

static const char *const LONG = "the expression would have too many operations";

/* A map, as a canonical one where a rule has applied; NO_VAL where none has. */
static Val rewrite_map(Rewriter *w, const Value *v, const Val *map) {
    uint16_t leaf[MAX_ARGS], root[MAX_REGIONS];
    w->m = map_begin(w->out);
    w->b = &w->m.expr;
    for (uint32_t i = 0; i < v->nargs; i++) leaf[i] = map_read(&w->m, map[v->args[i]]);
    for (uint32_t r = 0; r < v->nregions; r++) root[r] = rebuild(w, v->regions[r].expr, leaf);
    if (w->nevents == 0) return NO_VAL;
    for (uint32_t r = 0; r < v->nregions; r++) {
        ExprBuilder copy = w->m.expr;
        if (too_long(expr_finish(&copy, root[r]))) return give_up(w, LONG);
    }
    if (is_plain_map(v)) return map_finish(&w->m, root[0], v->space, v->span, v->name);
    MapDraft draft;
    map_draft(&w->m, v->regions, root, v->nregions, &draft);
    if (draft.nargs == 0) draft.args[draft.nargs++] = graph_constant(w->out, 0, v->span); /* a map reads something */
    return graph_add(w->out, &(ValueSpec){.op = OP_MAP,
                                          .args = draft.args,
                                          .nargs = draft.nargs,
                                          .declared = v->space,
                                          .span = v->span,
                                          .name = v->name,
                                          .regions = draft.regions,
                                          .nregions = draft.nregions});
}

/* The regions of a convolution, over the same arguments. */
static Val rewrite_regions(Rewriter *w, const Value *v, const Val *map) {
    Region regions[MAX_REGIONS];
    Val args[MAX_ARGS];
    for (uint32_t i = 0; i < v->nargs; i++) args[i] = map[v->args[i]];
    for (uint32_t r = 0; r < v->nregions; r++) {
        uint16_t leaf[MAX_ARGS];
        ExprBuilder b = expr_builder(w->out->arena);
        regions[r] = v->regions[r];
        if (!regions[r].expr) continue;
        w->b = &b;
        for (uint32_t i = 0; i < v->nargs; i++) leaf[i] = expr_arg(&b, i);
        regions[r].expr = expr_finish(&b, rebuild(w, regions[r].expr, leaf));
        if (too_long(regions[r].expr)) return give_up(w, LONG);
    }
    ValueSpec spec = value_spec(v, args);
    spec.regions = regions;
    Type type;
    char why[200];
    if (w->nevents == 0) return NO_VAL;
    if (graph_infer(w->out, &spec, &type, why, sizeof why)) return graph_add(w->out, &spec);
    return give_up(w, arena_strdup(w->context->arena, why)); /* a prologue that no longer reads what it is the prologue of */
}

static Val rewrite(Rewriter *w, Val id, const Val *map) {
    const Value *v = &w->in->value[id];
    uint32_t before = w->out->count;
    w->v = id;
    w->map = v->op == OP_MAP;
    w->nevents = 0;
    Val new = v->nregions == 0 ? NO_VAL : w->map ? rewrite_map(w, v, map) : rewrite_regions(w, v, map);
    if (new == NO_VAL) return graph_copy_value(w->out, w->in, id, map);
    for (uint32_t i = 0; i < w->nevents; i++) {
        event_reopen(w->context, w->event[i].event);
        w->applied[w->event[i].rule]++;
        pass_replaced(w->context, id, new, w->out, before);
    }
    event_close(w->context);
    return new;
}

static void count_readers(Rewriter *w, Val new, uint32_t uses) {
    uint32_t had = w->capacity;
    while (new >= w->capacity)
        w->readers = arena_grow(w->context->arena, w->readers, w->capacity, &w->capacity, sizeof *w->readers);
    for (uint32_t i = had; i < w->capacity; i++) w->readers[i] = 0;
    w->readers[new] += uses;
}

static void say_counts(const Rewriter *w) {
    Rules *rules = w->context->rules;
    for (uint32_t i = 0; i < rules->count; i++) {
        const Rule *rule = &rules->rule[i];
        pass_remark(w->context, w->applied[i] > 0, (Span){0}, "the rule %s (%s:%d) was applied %u time%s", rule->name,
                    rules->path, rule->line, w->applied[i], w->applied[i] == 1 ? "" : "s");
    }
    rules->ran = true;
}

Graph *pass_rules(const Graph *in, PassContext *context) {
    if (!context->rules) return graph_copy(in);
    uint32_t *uses = graph_use_counts(in);
    Rewriter w = {.in = in, .out = rebuild_begin(in), .context = context, .uses = uses};
    w.applied = ARENA_ARRAY(context->arena, uint32_t, context->rules->count);
    Val *map = ARENA_ARRAY(w.out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) {
        map[v] = rewrite(&w, v, map);
        count_readers(&w, map[v], uses[v]);
    }
    free(uses);
    rebuild_outputs(in, w.out, map);
    say_counts(&w);
    return w.out;
}

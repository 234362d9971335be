#include "verify/reduce.h"
#include "ir/text.h"
#include "verify/small.h"
#include <stdlib.h>
#include <string.h>

/* What is different in the graph that is made; NO_VAL, 0 and so on: nothing. */
typedef struct Edit {
    Val bypassed, by; /* whoever reads the one reads the other */
    Val leaf;         /* becomes a leaf of this op */
    Op leaf_op;
    uint32_t first, count; /* outputs that go */
    int64_t extent, to;    /* of leaves and declared types */
    Val filter;            /* whose filter becomes 1x1 */
    Val value;             /* a region of which goes, or the node of its Expr becomes its operand */
    uint32_t region, node, operand;
    bool drops_region;
} Edit;

static const Edit no_edit = {.bypassed = NO_VAL, .by = NO_VAL, .leaf = NO_VAL, .filter = NO_VAL, .value = NO_VAL};

/* ---- one value more ---- */

typedef struct Making {
    const Graph *from;
    const Edit *edit;
    Graph *g;
    Val *map;
    bool *live;
} Making;

static Type cut_extent(Type t, const Edit *e, int first) {
    for (int i = first; e->extent && i < t.rank; i++)
        if (t.dim[i] == e->extent) t.dim[i] = e->to;
    return t;
}

/* Images and kernels keep their sides, and what is made of images their number: only channels and units change. */
static void declare(const Making *m, const Value *v, ValueSpec *spec) {
    const Edit *e = m->edit;
    Type *t = &spec->declared;
    Type sides = *t;
    bool weight = v->op == OP_PARAM || v->op == OP_STATE || v->op == OP_CONV2D_BWD_WEIGHTS;
    *t = cut_extent(*t, e, t->rank == 1 || weight ? 0 : 1);
    if (t->rank == 4) t->dim[2] = sides.dim[2], t->dim[3] = sides.dim[3];
    if (e->extent && v->op == OP_PAD_CHANNELS && spec->attrs.channels.count == e->extent) spec->attrs.channels.count = e->to;
    if (e->extent && op_is_convolution(v->op) && spec->attrs.window.groups == e->extent) spec->attrs.window.groups = e->to;
}

static void make_pointwise(ValueSpec *spec) {
    for (int i = 0; i < 4; i++) spec->attrs.window.pad[i] = 0;
    for (int i = 0; i < 2; i++) spec->attrs.window.kernel[i] = spec->attrs.window.dilation[i] = 1;
}

/* Node `edit->node` becomes its operand; nodes that are not needed then go. */
static const Expr *edit_expr(Graph *g, const Expr *e, const Edit *edit) {
    ExprBuilder b = expr_builder(g->arena);
    uint16_t *map = ARENA_ARRAY(g->arena, uint16_t, e->count);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *n = &e->node[i];
        uint16_t a[3] = {0};
        int operands = expr_op_operands((ExprOp)n->op);
        for (int k = 0; k < operands; k++) a[k] = map[n->arg[k]];
        if (i == edit->node)
            map[i] = a[edit->operand];
        else if (operands == 3)
            map[i] = expr_select(&b, a[0], a[1], a[2]);
        else if (operands == 2)
            map[i] = expr_binary(&b, (ExprOp)n->op, a[0], a[1]);
        else if (operands == 1)
            map[i] = expr_unary(&b, (ExprOp)n->op, a[0]);
        else if (n->op == X_ARG)
            map[i] = expr_arg(&b, n->arg[0]);
        else if (n->op == X_CONST)
            map[i] = expr_const(&b, n->value);
        else
            map[i] = expr_leaf(&b, (ExprOp)n->op);
    }
    return expr_finish(&b, map[e->count - 1]);
}

/* Arguments behind the operands that no Expr reads any more go; those left move up. */
static void drop_arguments(Graph *g, ValueSpec *spec, Val *args, Region *regions) {
    uint32_t operands = spec->op == OP_MAP ? 0 : op_operands(spec->op), kept = operands;
    uint16_t to[MAX_ARGS];
    for (uint32_t i = operands; i < spec->nargs; i++) {
        bool used = false;
        for (uint32_t r = 0; r < spec->nregions; r++) used |= regions[r].expr && expr_uses_arg(regions[r].expr, i);
        if (used || (spec->op == OP_MAP && i + 1 == spec->nargs && !kept)) to[i] = (uint16_t)kept, args[kept++] = args[i];
    }
    if (kept == spec->nargs) return;
    for (uint32_t r = 0; r < spec->nregions; r++) {
        if (!regions[r].expr) continue;
        ExprBuilder b = expr_builder(g->arena);
        uint16_t nodes[MAX_ARGS] = {0};
        for (uint32_t i = 0; i < spec->nargs; i++)
            if (expr_uses_arg(regions[r].expr, i)) nodes[i] = expr_arg(&b, i < operands ? i : to[i]);
        uint16_t acc = expr_uses_op(regions[r].expr, X_ACC) ? expr_leaf(&b, X_ACC) : 0;
        uint16_t out = expr_uses_op(regions[r].expr, X_OUT) ? expr_leaf(&b, X_OUT) : 0;
        regions[r].expr = expr_finish(&b, expr_inline(&b, regions[r].expr, nodes, acc, out));
    }
    spec->nargs = kept;
}

static void edit_regions(Making *m, ValueSpec *spec, Val *args, Region *regions) {
    const Edit *e = m->edit;
    memcpy(regions, spec->regions, spec->nregions * sizeof *regions);
    spec->regions = regions;
    if (e->drops_region) {
        memmove(regions + e->region, regions + e->region + 1, (spec->nregions - e->region - 1) * sizeof *regions);
        spec->nregions--;
    } else {
        regions[e->region].expr = edit_expr(m->g, regions[e->region].expr, e);
    }
    drop_arguments(m->g, spec, args, regions);
}

/* Of the value that a region goes from: the results behind its own count one less. */
static int64_t result_index(const Making *m, const Value *v) {
    const Edit *e = m->edit;
    int64_t index = v->attrs.index;
    if (!e->drops_region || v->args[0] != e->value) return index;
    const Value *source = &m->from->value[e->value];
    bool makes = region_makes_result(source->regions[e->region].role);
    return makes && index > region_result(source, e->region) ? index - 1 : index;
}

static bool make_value(Making *m, Val v) {
    const Value *value = &m->from->value[v];
    const Edit *e = m->edit;
    Val args[MAX_ARGS];
    Region regions[MAX_REGIONS];
    char why[300], name[40];
    for (uint32_t i = 0; i < value->nargs; i++)
        args[i] = m->map[value->args[i] == e->bypassed && value->op != OP_RESULT ? e->by : value->args[i]];
    if (v == e->leaf) {
        snprintf(name, sizeof name, "cut%u_%u", m->from->count, v); /* counts fall, so no other has the name */
        m->map[v] = graph_add(m->g, &(ValueSpec){.op = e->leaf_op,
                                                 .declared = value->type,
                                                 .span = value->span,
                                                 .attrs.param.name = arena_strdup(m->g->arena, name)});
        return true;
    }
    ValueSpec spec = value_spec(value, args);
    if (op_attr_kind(value->op) == ATTR_PARAM) spec.attrs.param.position = 0;
    if (value->op == OP_RESULT) {
        spec.attrs.index = result_index(m, value);
        if (spec.attrs.index == 0 || spec.attrs.index >= (int64_t)value_results(m->g, args[0])) return false;
        m->map[v] = graph_result(m->g, args[0], (uint32_t)spec.attrs.index);
        return true;
    }
    declare(m, value, &spec);
    if (e->filter != NO_VAL && v == m->from->value[e->filter].args[1]) spec.declared.dim[2] = spec.declared.dim[3] = 1;
    if (v == e->filter) make_pointwise(&spec);
    if (v == e->value) edit_regions(m, &spec, args, regions);
    Type type;
    if (!graph_infer(m->g, &spec, &type, why, sizeof why)) return false;
    m->map[v] = graph_add(m->g, &spec);
    return true;
}

/* ---- all of them ---- */

static bool keeps_output(const Edit *e, uint32_t i) { return i < e->first || i >= e->first + e->count; }

static void mark_live(Making *m) {
    const Edit *e = m->edit;
    for (uint32_t i = 0; i < m->from->noutputs; i++) {
        Val v = m->from->output[i].value;
        if (keeps_output(e, i)) m->live[v == e->bypassed ? e->by : v] = true;
    }
    for (Val v = m->from->count; v-- > 0;) {
        const Value *value = &m->from->value[v];
        for (uint32_t i = 0; m->live[v] && v != e->leaf && i < value->nargs; i++)
            m->live[value->args[i] == e->bypassed && value->op != OP_RESULT ? e->by : value->args[i]] = true;
    }
}

static bool make_values(Making *m) {
    for (Val v = 0; v < m->from->count; v++)
        if (m->live[v] && !make_value(m, v)) return false;
    return true;
}

/* A gradient is asked for whose leaf is gone, or the new value of a state. */
static bool names_leaf(const Making *m, const Output *o) {
    if (o->kind != OUT_GRAD && o->kind != OUT_STATE) return true;
    for (Val v = 0; v < m->g->count; v++)
        if (op_attr_kind(m->g->value[v].op) == ATTR_PARAM && m->g->value[v].attrs.param.name &&
            !strcmp(m->g->value[v].attrs.param.name, o->name))
            return true;
    return false;
}

static Graph *rebuild(const Graph *from, const Edit *edit) {
    Graph *g = graph_new(from->name, from->mode);
    Making m = {from, edit, g, ARENA_ARRAY(g->arena, Val, from->count), ARENA_ARRAY(g->arena, bool, from->count)};
    memset(m.live, 0, from->count * sizeof *m.live);
    mark_live(&m);
    bool made = make_values(&m);
    for (uint32_t i = 0; made && i < from->noutputs; i++) {
        const Output *o = &from->output[i];
        if (keeps_output(edit, i) && names_leaf(&m, o))
            graph_output(g, o->kind, m.map[o->value == edit->bypassed ? edit->by : o->value], o->name);
    }
    char *why = made ? graph_verify(g, 0) : NULL;
    if (made && !why && g->noutputs) return g;
    free(why);
    graph_free(g);
    return NULL;
}

/* ---- moves ---- */

/* Halves, quarters, … single ones of `count` things: piece `index` of those. False: no more. */
static bool piece_of(uint32_t count, uint32_t index, uint32_t *first, uint32_t *size) {
    for (*size = count; *size; *size /= 2) {
        uint32_t pieces = (count + *size - 1) / *size;
        if (index < pieces) return *first = index * *size, true;
        index -= pieces;
    }
    return false;
}

static uint32_t count_pieces(uint32_t count) {
    uint32_t pieces = 0;
    for (uint32_t size = count; size; size /= 2) pieces += (count + size - 1) / size;
    return pieces;
}

static bool may_go(const Graph *g, Val v) { return op_attr_kind(g->value[v].op) != ATTR_PARAM && g->value[v].op != OP_CONSTANT; }

static int64_t labels_batch(const Graph *g) {
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_INPUT && g->value[v].type.rank) return g->value[v].type.dim[0];
    return 1;
}

static Graph *fewer_images(const Graph *g, int64_t batch) {
    char *why = NULL;
    Graph *smaller = batch < labels_batch(g) ? graph_with_batch(g, batch, &why) : NULL;
    free(why);
    return smaller;
}

static Graph *smaller_images(const Graph *g, uint32_t index) {
    Type images = images_type(g);
    char *why = NULL;
    if (images.rank != 4 || (images.dim[2] == 1 && images.dim[3] == 1)) return NULL;
    int64_t h = images.dim[2], w = images.dim[3];
    switch (index) {
    case 0: h = w = 1; break;
    case 1: h = w = 2; break;
    case 2: h = (h + 1) / 2, w = (w + 1) / 2; break;
    default: h -= h > 1, w -= w > 1; break;
    }
    if (h > images.dim[2] || w > images.dim[3] || (h == images.dim[2] && w == images.dim[3])) return NULL;
    Graph *smaller = graph_with_size(g, h, w, &why);
    free(why);
    return smaller;
}

/* Which values have each type: value k of one may be bypassed by those of the same type before it. Far ones first, so that a
 * block, or half of the net, goes at once: pair `index` by distance among values of the type, n/2, n/4, … 1. */
static bool bypass_of(const Graph *g, uint32_t index, Edit *e) {
    uint32_t distance = 1;
    while (distance < g->count) distance *= 2;
    for (; distance; distance /= 2) {
        for (Val v = g->count; v-- > 0;) {
            if (!may_go(g, v)) continue;
            uint32_t found = 0;
            for (Val u = v; u-- > 0 && found < distance;) {
                if (!type_equal(g->value[u].type, g->value[v].type) || ++found < distance) continue;
                if (index-- == 0) return *e = no_edit, e->bypassed = v, e->by = u, true;
            }
        }
    }
    return false;
}

enum { EXTENTS = 64, TARGETS = 3 };

/* The extents of leaves, largest first. */
static uint32_t extents_of(const Graph *g, int64_t extent[EXTENTS]) {
    uint32_t n = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        bool weight = value->op == OP_PARAM || value->op == OP_STATE;
        if (!weight && value->op != OP_INPUT) continue;
        for (int i = weight ? 0 : 1; i < value->type.rank && i < 2; i++) {
            int64_t d = value->type.dim[i];
            uint32_t at = 0;
            while (at < n && extent[at] > d) at++;
            if (d < 2 || (at < n && extent[at] == d) || n == EXTENTS) continue;
            memmove(extent + at + 1, extent + at, (n - at) * sizeof *extent);
            extent[at] = d;
            n++;
        }
    }
    return n;
}

static int64_t target_of(int64_t extent, uint32_t k) { return k == 0 ? 1 : k == 1 ? 2 : extent / 2; }

bool reduce_halves(const Graph *g, uint32_t index) {
    int64_t extent[EXTENTS];
    uint32_t count = extents_of(g, extent);
    return index % TARGETS == 2 && index / TARGETS < count && extent[index / TARGETS] >= 64;
}

static bool extent_of(const Graph *g, uint32_t index, Edit *e) {
    int64_t extent[EXTENTS];
    extents_of(g, extent);
    *e = no_edit;
    e->extent = extent[index / TARGETS];
    e->to = target_of(e->extent, index % TARGETS);
    return e->to < e->extent && (index % TARGETS != 2 || e->to > 2);
}

/* Region `index` over all values. */
static bool region_of(const Graph *g, uint32_t index, Edit *e) {
    *e = no_edit;
    for (Val v = 0; v < g->count; v++) {
        if (index < g->value[v].nregions) return e->value = v, e->region = index, e->drops_region = true;
        index -= g->value[v].nregions;
    }
    return false;
}

/* Whoever reads its result would lose it. */
static bool result_is_read(const Graph *g, const Edit *e) {
    const Value *value = &g->value[e->value];
    if (value->op == OP_MAP && value->nregions == 1) return true;
    if (!region_makes_result(value->regions[e->region].role)) return false;
    uint32_t result = region_result(value, e->region);
    if (!result) return true;
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_RESULT && g->value[v].args[0] == e->value && g->value[v].attrs.index == (int64_t)result)
            return true;
    return false;
}

/* Operand `index` of all nodes of all Exprs, those near the results first. */
static bool node_of(const Graph *g, uint32_t index, Edit *e) {
    *e = no_edit;
    for (Val v = 0; v < g->count; v++)
        for (uint32_t r = 0; r < g->value[v].nregions; r++) {
            const Expr *expr = g->value[v].regions[r].expr;
            for (uint32_t i = expr ? expr->count : 0; i-- > 0;) {
                uint32_t operands = (uint32_t)expr_op_operands((ExprOp)expr->node[i].op);
                if (index < operands) return e->value = v, e->region = r, e->node = i, e->operand = index, true;
                index -= operands;
            }
        }
    return false;
}

static uint32_t count_nodes(const Graph *g) {
    uint32_t n = 0;
    for (Val v = 0; v < g->count; v++)
        for (uint32_t r = 0; r < g->value[v].nregions; r++) {
            const Expr *e = g->value[v].regions[r].expr;
            for (uint32_t i = 0; e && i < e->count; i++) n += (uint32_t)expr_op_operands((ExprOp)e->node[i].op);
        }
    return n;
}

static uint32_t count_bypasses(const Graph *g) {
    Edit e;
    uint32_t low = 0, high = 1;
    while (bypass_of(g, high, &e)) low = high, high *= 2;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (bypass_of(g, middle, &e))
            low = middle;
        else
            high = middle;
    }
    return bypass_of(g, low, &e) ? low + 1 : 0;
}

uint32_t reduce_count(const Graph *g, ReduceMove move) {
    int64_t extent[EXTENTS];
    uint32_t n = 0;
    switch (move) {
    case REDUCE_BATCH: return 2;
    case REDUCE_IMAGES: return 4;
    case REDUCE_OUTPUTS: return count_pieces(g->noutputs);
    case REDUCE_BYPASS: return count_bypasses(g);
    case REDUCE_LEAF: return 2 * g->count;
    case REDUCE_EXTENT: return TARGETS * extents_of(g, extent);
    case REDUCE_KERNEL: return g->count;
    case REDUCE_REGION:
        for (Val v = 0; v < g->count; v++) n += g->value[v].nregions;
        return n;
    case REDUCE_EXPR: return count_nodes(g);
    case REDUCE_MOVES: break;
    }
    return 0;
}

static Graph *leaf_at(const Graph *g, uint32_t index) {
    Edit e = no_edit;
    e.leaf = g->count - 1 - index / 2;
    e.leaf_op = index % 2 ? OP_PARAM : OP_INPUT;
    bool goes = may_go(g, e.leaf) && g->value[e.leaf].op != OP_RESULT && g->value[e.leaf].type.dtype == DT_F32;
    return goes ? rebuild(g, &e) : NULL;
}

static Graph *pointwise_at(const Graph *g, Val v) {
    Edit e = no_edit;
    const Value *value = &g->value[v];
    e.filter = v;
    bool larger = value->op == OP_CONV2D && (value->attrs.window.kernel[0] > 1 || value->attrs.window.kernel[1] > 1);
    return larger && g->value[value->args[1]].op == OP_PARAM ? rebuild(g, &e) : NULL;
}

Graph *reduce_apply(const Graph *g, ReduceMove move, uint32_t index) {
    Edit e = no_edit;
    switch (move) {
    case REDUCE_BATCH: return fewer_images(g, index + 1);
    case REDUCE_IMAGES: return smaller_images(g, index);
    case REDUCE_OUTPUTS: /* the last first: logits need less of a graph than the statistics of its last layers */
        if (!piece_of(g->noutputs, index, &e.first, &e.count)) return NULL;
        e.first = g->noutputs - e.first - e.count;
        return rebuild(g, &e);
    case REDUCE_BYPASS: return bypass_of(g, index, &e) ? rebuild(g, &e) : NULL;
    case REDUCE_LEAF: return leaf_at(g, index);
    case REDUCE_EXTENT: return extent_of(g, index, &e) ? rebuild(g, &e) : NULL;
    case REDUCE_KERNEL: return pointwise_at(g, index);
    case REDUCE_REGION: return region_of(g, index, &e) && !result_is_read(g, &e) ? rebuild(g, &e) : NULL;
    case REDUCE_EXPR: return node_of(g, index, &e) ? rebuild(g, &e) : NULL;
    case REDUCE_MOVES: break;
    }
    return NULL;
}

typedef struct Size {
    uint64_t words, elements; /* of its text, about; of its values */
} Size;

static Size size_of(const Graph *g) {
    Size s = {g->noutputs, 0};
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        s.words += 1 + value->nargs + value->nregions;
        for (uint32_t r = 0; r < value->nregions; r++) s.words += value->regions[r].expr ? value->regions[r].expr->count : 0;
        s.elements += (uint64_t)type_elements(value->type);
        if (value->op == OP_CONV2D) s.elements += (uint64_t)(value->attrs.window.pad[0] + value->attrs.window.groups);
    }
    return s;
}

bool reduce_smaller(const Graph *a, const Graph *b) {
    Size l = size_of(a), r = size_of(b);
    return l.words < r.words || (l.words == r.words && l.elements < r.elements);
}

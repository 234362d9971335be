/* The reader of the textual graph (grammar in text.c). It stops at the first mistake. Every value goes through graph_infer
 * before it is added and the whole graph through the verifier, so any byte sequence ends in a sound graph or a message. */
#include "ir/attrs.h"
#include "ir/scan.h"
#include "ir/text.h"
#include "ir/texts.h"
#include <stdlib.h>
#include <string.h>

typedef struct Reader {
    Scanner s;
    Graph *g;
    ExprNode node[EXPR_MAX_NODES]; /* the expression being read */
    uint32_t count;
    uint16_t let[EXPR_MAX_NODES]; /* node of let t<i> */
    uint32_t lets;
    uint32_t *source; /* files of places, by their order */
    uint32_t nsources, source_capacity;
    Texts ids; /* of the values, in their order: whatever word stands behind '%' */
} Reader;

static bool read_id(Reader *r, Val *value) {
    char id[SCAN_WORD];
    scan_space(&r->s);
    size_t begin = r->s.at;
    if (!scan_id(&r->s, id)) return false;
    *value = texts_find(&r->ids, id);
    if (*value == NO_TEXT) return scan_refuse_from(&r->s, begin, "%%%s is not defined here", id);
    return true;
}

/* ---- expressions ---- */

static bool add_node(Reader *r, ExprNode node) {
    if (r->count == EXPR_MAX_NODES) return scan_refuse(&r->s, "an expression has at most %d operations", EXPR_MAX_NODES);
    r->node[r->count++] = node;
    return true;
}

/* Leaves of one text are one node. */
static bool add_leaf(Reader *r, ExprNode leaf, uint16_t *node) {
    for (uint32_t i = 0; i < r->count; i++) {
        const ExprNode *n = &r->node[i];
        if (n->op == leaf.op && n->arg[0] == leaf.arg[0] && memcmp(&n->value, &leaf.value, sizeof leaf.value) == 0) {
            *node = (uint16_t)i;
            return true;
        }
    }
    *node = (uint16_t)r->count;
    return add_node(r, leaf);
}

/* "a3" and "t3": a letter and a number in one word. */
static bool numbered(const char *word, char letter, uint32_t *number) {
    char *end;
    if (word[0] != letter || word[1] < '0' || word[1] > '9') return false;
    unsigned long value = strtoul(word + 1, &end, 10);
    *number = value > UINT16_MAX ? UINT16_MAX : (uint32_t)value;
    return *end == 0;
}

static bool starts_real(Scanner *s) {
    scan_space(s);
    char c = s->at < s->end ? s->text[s->at] : 0;
    return c == '-' || c == '.' || (c >= '0' && c <= '9') || scan_sees(s, "inf") || scan_sees(s, "nan");
}

static bool read_operand(Reader *r, uint16_t *node) {
    Scanner *s = &r->s;
    ExprNode leaf = {0};
    if (starts_real(s)) {
        leaf.op = X_CONST;
        return scan_real(s, &leaf.value) && add_leaf(r, leaf, node);
    }
    size_t begin = s->at;
    char word[SCAN_WORD];
    uint32_t number;
    if (!scan_word(s, word, "an operand")) return false;
    if (numbered(word, 't', &number)) {
        if (number >= r->lets) return scan_refuse_from(s, begin, "%s is not defined here", word);
        *node = r->let[number];
        return true;
    }
    if (numbered(word, 'a', &number)) {
        leaf.op = X_ARG;
        leaf.arg[0] = (uint16_t)number;
    } else if (strcmp(word, "acc") == 0) {
        leaf.op = X_ACC;
    } else if (strcmp(word, "out") == 0) {
        leaf.op = X_OUT;
    } else {
        return scan_refuse_from(s, begin, "expected an operand (a0, acc, out, a number or t0), found '%s'", word);
    }
    return add_leaf(r, leaf, node);
}

static bool read_expr_op(Reader *r, ExprOp *op) {
    scan_space(&r->s);
    size_t begin = r->s.at;
    char word[SCAN_WORD];
    if (!scan_word(&r->s, word, "an operation")) return false;
    for (int i = 0; i < EXPR_OP_COUNT; i++) {
        if (expr_op_operands((ExprOp)i) == 0 || strcmp(expr_op_text((ExprOp)i), word) != 0) continue;
        *op = (ExprOp)i;
        return true;
    }
    return scan_refuse_from(&r->s, begin, "there is no operation '%s'", word);
}

static bool read_let(Reader *r) {
    Scanner *s = &r->s;
    scan_space(s);
    size_t begin = s->at;
    char word[SCAN_WORD];
    uint32_t number;
    ExprOp op = X_ARG;
    if (!scan_word(s, word, "t and a number")) return false;
    if (!numbered(word, 't', &number) || number != r->lets)
        return scan_refuse_from(s, begin, "expected t%u, found '%s'", r->lets, word);
    if (!scan_expect(s, "=") || !read_expr_op(r, &op)) return false;
    ExprNode node = {.op = (uint8_t)op};
    for (int k = 0; k < expr_op_operands(op); k++) {
        if ((k && !scan_expect(s, ",")) || !read_operand(r, &node.arg[k])) return false;
    }
    if (!scan_expect(s, ";") || !add_node(r, node)) return false;
    r->let[r->lets++] = (uint16_t)(r->count - 1);
    return true;
}

/* Is the next token the name of the next let (and not a use of it as the value)? */
static bool sees_let(Reader *r) {
    char name[16];
    snprintf(name, sizeof name, "t%u", r->lets);
    return scan_sees(&r->s, name);
}

static bool read_expr(Reader *r, const Expr **expr) {
    r->count = r->lets = 0;
    if (!scan_expect(&r->s, "{")) return false;
    while (sees_let(r)) {
        if (!read_let(r)) return false;
    }
    uint16_t value;
    if (!read_operand(r, &value) || !scan_expect(&r->s, "}")) return false;
    if (value != r->count - 1 && !add_node(r, r->node[value])) return false; /* the last node is the value */
    Expr *e = ARENA_NEW(r->s.arena, Expr);
    e->count = r->count;
    e->node = arena_copy(r->s.arena, r->node, r->count * sizeof *r->node);
    *expr = e;
    return true;
}

static bool sees_region(Reader *r, RegionRole *role) {
    for (int i = 0; i < REGION_ROLES; i++) {
        *role = (RegionRole)i;
        if (scan_accept(&r->s, region_role_text(*role))) return true;
    }
    return false;
}

static bool read_region(Reader *r, Region *region) {
    int64_t operand = 0;
    if (region_has_operand(region->role) && !scan_integer(&r->s, &operand)) return false;
    if (operand < 0 || operand > MAX_ARGS)
        return scan_refuse(&r->s, "the region's operand %lld is out of range", (long long)operand);
    region->operand = (int)operand;
    return region->role == REGION_STORE || read_expr(r, &region->expr);
}

/* ---- attributes ---- */

static bool read_integers(Reader *r, int64_t *value, int count) {
    if (count == 1) return scan_integer(&r->s, value);
    for (int i = 0; i < count; i++) {
        if (!scan_expect(&r->s, i ? "," : "[") || !scan_integer(&r->s, &value[i])) return false;
    }
    return scan_expect(&r->s, "]");
}

static bool read_init(Reader *r, Init *init) {
    for (int i = 0; i < INIT_KINDS; i++) {
        if (!scan_accept(&r->s, init_text((InitKind)i))) continue;
        init->kind = (InitKind)i;
        return scan_expect(&r->s, "(") && scan_real(&r->s, &init->value) && scan_expect(&r->s, ")");
    }
    return scan_refuse(&r->s, "expected an initialiser (constant, he_normal, xavier_uniform, uniform, dirac or whiten)");
}

static bool read_position(Reader *r, int64_t *position) {
    scan_space(&r->s);
    size_t begin = r->s.at;
    if (!scan_integer(&r->s, position)) return false;
    return *position > 0 || scan_refuse_from(&r->s, begin, "a position counts from 1");
}

static bool read_field(Reader *r, const AttrField *field, Attrs *attrs) {
    void *at = (char *)attrs + field->offset;
    if (!scan_expect(&r->s, field->name) || !scan_expect(&r->s, "=")) return false;
    switch (field->kind) {
    case FIELD_INTEGER: return read_integers(r, at, field->count);
    case FIELD_POSITION: return read_position(r, at);
    case FIELD_REAL: return scan_real(&r->s, at);
    case FIELD_STRING: return scan_string(&r->s, at);
    case FIELD_INIT: return read_init(r, at);
    case FIELD_MARK:
    case FIELD_BOOL: break;
    }
    *(bool *)at = scan_accept(&r->s, "true");
    return *(bool *)at || scan_expect(&r->s, "false");
}

/* Is it there, behind a comma? */
static bool sees_mark(Reader *r, const char *name) {
    size_t at = r->s.at;
    bool there = scan_accept(&r->s, ",") && scan_sees(&r->s, name);
    r->s.at = at;
    return there;
}

static bool read_attrs(Reader *r, Op op, Attrs *attrs) {
    int count;
    const AttrField *field = op_attr_fields(op, &count);
    for (int i = 0; i < count; i++) {
        if (field[i].kind == FIELD_POSITION && scan_sees(&r->s, "}")) break; /* then it is this graph's next one */
        if (field[i].kind == FIELD_MARK && !sees_mark(r, field[i].name)) continue;
        if (!scan_expect(&r->s, i ? "," : "{") || !read_field(r, &field[i], attrs)) return false;
    }
    return count == 0 || scan_expect(&r->s, "}");
}

/* ---- values and outputs ---- */

static bool read_op(Reader *r, Op *op) {
    scan_space(&r->s);
    size_t begin = r->s.at;
    char word[SCAN_WORD];
    if (!scan_word(&r->s, word, "an op")) return false;
    return op_from_text(word, op) || scan_refuse_from(&r->s, begin, "there is no op '%s'", word);
}

static bool read_args(Reader *r, Val *args, uint32_t *nargs) {
    *nargs = 0;
    if (!scan_sees(&r->s, "%")) return true;
    do {
        if (*nargs == MAX_ARGS) return scan_refuse(&r->s, "a value has at most %d arguments", MAX_ARGS);
        if (!read_id(r, &args[*nargs])) return false;
        ++*nargs;
    } while (scan_accept(&r->s, ","));
    return true;
}

static bool read_regions(Reader *r, Region *regions, uint32_t *nregions) {
    RegionRole role;
    *nregions = 0;
    while (sees_region(r, &role)) {
        if (*nregions == MAX_REGIONS) return scan_refuse(&r->s, "a value has at most %d regions", MAX_REGIONS);
        Region *region = &regions[*nregions];
        *region = (Region){.role = role};
        if (!read_region(r, region)) return false;
        ++*nregions;
    }
    return true;
}

/* "at 1:12:9", if it stands there: a line and a column of a file that is named at the head. */
static bool read_place(Reader *r, Span *span) {
    Scanner *s = &r->s;
    int64_t part[3];
    if (!scan_accept(s, "at")) return true;
    scan_space(s);
    size_t begin = s->at;
    for (int i = 0; i < 3; i++)
        if ((i && !scan_expect(s, ":")) || !scan_integer(s, &part[i])) return false;
    if (part[0] < 1 || part[0] > r->nsources)
        return scan_refuse_from(s, begin, "there is no source %lld, of %u", (long long)part[0], r->nsources);
    if (part[1] < 1 || part[1] > INT32_MAX || part[2] < 1 || part[2] > INT32_MAX)
        return scan_refuse_from(s, begin, "lines and columns count from 1");
    *span = (Span){r->source[part[0] - 1], (uint32_t)part[1], (uint32_t)part[2]};
    return true;
}

static bool read_sources(Reader *r) {
    while (scan_accept(&r->s, "source")) {
        const char *path;
        if (!scan_string(&r->s, &path)) return false;
        ARENA_GROW(r->s.arena, r->source, r->nsources, &r->source_capacity);
        r->source[r->nsources++] = diag_add_places(r->s.diag, path);
    }
    return true;
}

static bool read_value(Reader *r) {
    Scanner *s = &r->s;
    Val args[MAX_ARGS];
    Region regions[MAX_REGIONS];
    ValueSpec spec = {.args = args, .regions = regions};
    Type written, type;
    char id[SCAN_WORD];
    size_t begin = s->at;
    if (!scan_id(s, id)) return false;
    if (texts_find(&r->ids, id) != NO_TEXT) return scan_refuse_from(s, begin, "%%%s is defined already", id);
    if (!scan_expect(s, "=") || !read_op(r, &spec.op) || !read_args(r, args, &spec.nargs)) return false;
    if (!read_attrs(r, spec.op, &spec.attrs)) return false;
    bool over = spec.op == OP_MAP && scan_accept(s, "over");
    if ((over && !scan_type(s, &spec.declared)) || !scan_expect(s, ":") || !scan_type(s, &written)) return false;
    if (!over) spec.declared = written;
    if (scan_accept(s, "@") && !scan_string(s, &spec.name)) return false;
    spec.span = (Span){s->file, (uint32_t)begin, (uint32_t)s->at};
    if (!read_place(r, &spec.span)) return false;
    if (!read_regions(r, regions, &spec.nregions)) return false;
    char why[512];
    if (s->failed) return false;
    if (!graph_infer(r->g, &spec, &type, why, sizeof why)) return scan_refuse_from(s, begin, "%s", why);
    if (!type_equal(type, written))
        return scan_refuse_from(s, begin, "%s: the type is written %s, its shape rule gives %s", op_text(spec.op),
                                type_format(written, (char[TYPE_TEXT]){0}), type_format(type, (char[TYPE_TEXT]){0}));
    texts_add(&r->ids, id);
    graph_add(r->g, &spec);
    return true;
}

static bool read_return(Reader *r) {
    for (int i = 0; i < OUTPUT_KINDS; i++) {
        OutputKind kind = (OutputKind)i;
        if (!scan_accept(&r->s, output_kind_text(kind))) continue;
        const char *name = NULL;
        Val value = NO_VAL; /* gcc at -O3 does not see that read_id sets it */
        if ((output_kind_named(kind) && !scan_string(&r->s, &name)) || !read_id(r, &value)) return false;
        graph_output(r->g, kind, value, name);
        return true;
    }
    return scan_refuse(&r->s, "expected an output (logits, loss, correct, state or grad)");
}

static bool read_graph(Reader *r, Arena *arena) {
    Scanner *s = &r->s;
    const char *name;
    s->arena = r->ids.arena = arena;
    if (!scan_expect(s, "graph") || !scan_string(s, &name)) return false;
    Mode mode = scan_accept(s, "train") ? MODE_TRAIN : MODE_INFER;
    if (mode == MODE_INFER && !scan_expect(s, "infer")) return false;
    r->g = graph_new(name, mode);
    if (!read_sources(r)) return false;
    while (!scan_done(s)) {
        bool ok = scan_sees(s, "%") ? read_value(r) : scan_accept(s, "return") ? read_return(r) : false;
        if (!ok) return scan_refuse(s, "expected a value (%%%u = ...) or return", r->g->count);
    }
    char *why = graph_verify(r->g, 0);
    if (why) scan_refuse_from(s, s->at, "%s", why);
    free(why);
    return !s->failed;
}

Graph *graph_read(const char *text, size_t length, uint32_t file, Diag *diag) {
    Arena *arena = arena_new();
    Reader *r = ARENA_NEW(arena, Reader);
    r->s = (Scanner){.text = arena_strndup(arena, text, length), .end = length, .file = file, .diag = diag};
    Graph *g = NULL;
    diag_hide_places(diag, file);
    if (length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) r->s.at = 3; /* a UTF-8 byte order mark */
    if (length >= UINT32_MAX)
        diag_error(diag, ((Span){.file = file}), "the text of a graph must be below 4 GiB");
    else if (read_graph(r, arena))
        g = r->g;
    if (!g) graph_free(r->g);
    arena_free(arena);
    return g;
}

/* The reader of rules (grammar in rules.h). It stops at the first mistake. */
#include "ir/attrs.h"
#include "ir/nearest.h"
#include "ir/scan.h"
#include "ir/stream.h"
#include "passes/rules.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

typedef struct Reader {
    Scanner s;
    Rules *rules;
    Rule *rule; /* the one being read */
    ExprBuilder b;
    uint32_t nodes; /* of the side as it is written */
    bool left;
} Reader;

/* ---- terms ---- */

static bool read_term(Reader *r, int depth, uint16_t *node);

static bool find_op(const char *word, ExprOp *op) {
    for (int i = 0; i < EXPR_OP_COUNT; i++) {
        if (expr_op_operands((ExprOp)i) == 0 || strcmp(expr_op_text((ExprOp)i), word) != 0) continue;
        *op = (ExprOp)i;
        return true;
    }
    return false;
}

static bool unknown_op(Reader *r, size_t begin, const char *word) {
    const char *names[EXPR_OP_COUNT];
    uint32_t count = 0;
    for (int i = 0; i < EXPR_OP_COUNT; i++)
        if (expr_op_operands((ExprOp)i)) names[count++] = expr_op_text((ExprOp)i);
    const char *near = nearest_name(word, names, count);
    return scan_refuse_from(&r->s, begin, "there is no operation '%s'%s%s%s", word, near ? "; did you mean '" : "",
                            near ? near : "", near ? "'?" : "");
}

static bool read_operation(Reader *r, int depth, size_t begin, const char *word, uint16_t *node) {
    Scanner *s = &r->s;
    ExprOp op = X_ARG;
    uint16_t operand[3] = {0, 0, 0};
    if (!find_op(word, &op)) return unknown_op(r, begin, word);
    int operands = expr_op_operands(op);
    if (!scan_expect(s, "(")) return false;
    for (int k = 0; k < operands; k++) {
        if (k && !scan_sees(s, ",")) return scan_refuse(s, "'%s' needs %d operands, found %d", word, operands, k);
        if (k) scan_accept(s, ",");
        if (!read_term(r, depth + 1, &operand[k])) return false;
    }
    if (scan_sees(s, ",")) return scan_refuse(s, "'%s' has %d operand%s", word, operands, operands == 1 ? "" : "s");
    if (!scan_expect(s, ")")) return false;
    *node = operands == 1   ? expr_unary(&r->b, op, operand[0])
            : operands == 2 ? expr_binary(&r->b, op, operand[0], operand[1])
                            : expr_select(&r->b, operand[0], operand[1], operand[2]);
    return true;
}

/* "[C]" behind a variable; *rank stays MAX_RANK if nothing stands there. */
static bool read_rank(Reader *r, int *rank) {
    Scanner *s = &r->s;
    *rank = MAX_RANK;
    if (!scan_accept(s, "[")) return true;
    *rank = 0;
    if (scan_accept(s, "]")) return true;
    *rank = scan_accept(s, "N") ? 2 : 1;
    if (*rank == 2 && !scan_expect(s, ",")) return false;
    if (!scan_accept(s, "C")) return scan_refuse(s, "expected [], [C] or [N,C] behind a variable");
    return scan_expect(s, "]");
}

static bool read_variable(Reader *r, size_t begin, const char *word, uint16_t *node) {
    Scanner *s = &r->s;
    Rule *rule = r->rule;
    ExprOp op;
    uint32_t i = 0;
    int rank;
    if (find_op(word, &op)) return scan_refuse_from(s, begin, "'%s' is an operation, which needs operands in brackets", word);
    while (i < rule->variables && strcmp(rule->variable[i], word) != 0) i++;
    if (i == rule->variables && !r->left) return scan_refuse_from(s, begin, "the left side has no '%s'", word);
    if (i == RULE_VARIABLES) return scan_refuse_from(s, begin, "a rule has at most %d variables", RULE_VARIABLES);
    if (!r->left && scan_sees(s, "[")) return scan_refuse(s, "what a variable stands for is said on the left side");
    if (!read_rank(r, &rank)) return false;
    if (i == rule->variables) {
        rule->variable[rule->variables++] = arena_strdup(r->rules->arena, word);
        rule->rank[i] = MAX_RANK;
    }
    if (rank < rule->rank[i]) rule->rank[i] = rank;
    *node = expr_arg(&r->b, i);
    return true;
}

static bool starts_number(Scanner *s) {
    scan_space(s);
    char c = s->at < s->end ? s->text[s->at] : 0;
    return c == '-' || c == '.' || (c >= '0' && c <= '9') || scan_sees(s, "inf") || scan_sees(s, "nan");
}

static bool read_term(Reader *r, int depth, uint16_t *node) {
    Scanner *s = &r->s;
    char word[SCAN_WORD];
    if (depth == MAX_DEPTH) return scan_refuse(s, "a rule has at most %d operations within one another", MAX_DEPTH);
    if (++r->nodes > RULE_NODES) return scan_refuse(s, "a side of a rule has at most %d operations and operands", RULE_NODES);
    if (starts_number(s)) {
        double value;
        if (!scan_real(s, &value)) return false;
        *node = expr_const(&r->b, value);
        return true;
    }
    size_t begin = s->at;
    if (!scan_word(s, word, "an operation, a variable or a number")) return false;
    return scan_sees(s, "(") ? read_operation(r, depth, begin, word, node) : read_variable(r, begin, word, node);
}

/* ---- rules ---- */

static void print_term(const Rule *rule, const Expr *e, uint32_t node, bool left, FILE *out) {
    static const char *const ranks[] = {"[]", "[C]", "[N,C]"};
    const ExprNode *n = &e->node[node];
    char number[REAL_TEXT];
    if (n->op == X_CONST) {
        fputs(real_format(n->value, number), out);
        return;
    }
    if (n->op == X_ARG) {
        int rank = rule->rank[n->arg[0]];
        fprintf(out, "%s%s", rule->variable[n->arg[0]], left && rank < MAX_RANK ? ranks[rank] : "");
        return;
    }
    fprintf(out, "%s(", expr_op_text((ExprOp)n->op));
    for (int k = 0; k < expr_op_operands((ExprOp)n->op); k++) {
        if (k) fputs(", ", out);
        print_term(rule, e, n->arg[k], left, out);
    }
    fputc(')', out);
}

static const char *own_form(Arena *arena, const Rule *rule) {
    TextStream text;
    text_open(&text);
    print_term(rule, rule->left, rule->left->count - 1, true, text.file);
    fputs(" => ", text.file);
    print_term(rule, rule->right, rule->right->count - 1, false, text.file);
    text_close(&text);
    const char *copy = arena_strdup(arena, text.text);
    free(text.text);
    return copy;
}

/* What stands in the text from `begin` on, blanks and comments being one blank. */
static const char *as_written(Reader *r, size_t begin) {
    Scanner at = r->s;
    char *text = arena_alloc(r->rules->arena, r->s.at - begin + 1), *to = text;
    for (at.at = begin, at.end = r->s.at; at.at < at.end;) {
        size_t from = at.at;
        scan_space(&at);
        if (at.at > from && at.at < at.end) *to++ = ' ';
        if (at.at < at.end) *to++ = at.text[at.at++];
    }
    return text;
}

/* Both sides grow in one builder, in which equal terms are one node. */
static bool read_side(Reader *r, const Expr **side, uint16_t *root) {
    r->nodes = 0;
    if (!read_term(r, 0, root)) return false;
    *side = expr_finish(&r->b, *root);
    return true;
}

/* Each of these would never be found, or never change anything. */
static bool check_sides(Reader *r, size_t begin, bool same) {
    const Rule *rule = r->rule;
    const ExprNode *root = &rule->left->node[rule->left->count - 1];
    if (root->op == X_CONST || root->op == X_ARG)
        return scan_refuse_from(&r->s, begin, "the left side is %s in netc's own form, which no rule replaces",
                                root->op == X_CONST ? "a number" : "a variable");
    for (uint32_t i = 0; i < rule->variables; i++)
        if (!expr_uses_arg(rule->left, i) && expr_uses_arg(rule->right, i))
            return scan_refuse_from(&r->s, begin, "the left side does not depend on '%s'", rule->variable[i]);
    if (same)
        return scan_refuse_from(&r->s, begin, "both sides are %s in netc's own form",
                                arena_strndup(r->rules->arena, rule->form, (size_t)(strstr(rule->form, " => ") - rule->form)));
    return true;
}

/* "factor:", if it stands there. */
static bool read_name(Reader *r) {
    Scanner *s = &r->s;
    char word[SCAN_WORD];
    size_t begin = s->at;
    if (starts_number(s)) return true;
    if (!scan_word(s, word, "a rule")) return false;
    if (!scan_accept(s, ":")) {
        s->at = begin;
        return true;
    }
    r->rule->name = arena_strdup(r->rules->arena, word);
    return true;
}

static bool read_rule(Reader *r) {
    Scanner *s = &r->s;
    Rules *rules = r->rules;
    Rule rule = {0};
    int column;
    size_t begin = s->at;
    r->rule = &rule;
    diag_line_column(s->diag, (Span){s->file, (uint32_t)begin, (uint32_t)begin}, &rule.line, &column);
    if (!read_name(r)) return false;
    uint16_t left, right;
    scan_space(s);
    size_t sides = s->at;
    r->left = true;
    r->b = expr_builder(rules->arena);
    if (!read_side(r, &rule.left, &left) || !scan_expect(s, "=>")) return false;
    r->left = false;
    if (!read_side(r, &rule.right, &right)) return false;
    if (!rule.name) rule.name = arena_printf(rules->arena, "line%d", rule.line);
    rule.text = as_written(r, sides);
    rule.form = own_form(rules->arena, &rule);
    rule.span = (Span){s->file, (uint32_t)begin, (uint32_t)s->at};
    for (uint32_t i = 0; i < rules->count; i++)
        if (!strcmp(rules->rule[i].name, rule.name))
            return scan_refuse_from(s, begin, "there are two rules named '%s'", rule.name);
    if (!check_sides(r, begin, left == right)) return false;
    ARENA_GROW(rules->arena, rules->rule, rules->count, &rules->capacity);
    rules->rule[rules->count++] = rule;
    return true;
}

Rules *rules_read(const char *path, const char *text, size_t length, uint32_t file, Diag *diag) {
    Arena *arena = arena_new();
    Rules *rules = ARENA_NEW(arena, Rules);
    *rules = (Rules){.arena = arena, .path = arena_strdup(arena, path)};
    Reader r = {.rules = rules};
    if (length >= UINT32_MAX) length = UINT32_MAX - 1; /* a Diag holds no more either */
    r.s = (Scanner){.text = arena_strndup(arena, text, length), .end = length, .file = file, .diag = diag, .arena = arena};
    if (length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) r.s.at = 3; /* a UTF-8 byte order mark */
    while (!scan_done(&r.s))
        if (!read_rule(&r)) break;
    if (!r.s.failed && rules->count == 0) scan_refuse(&r.s, "there is no rule in this file");
    if (!r.s.failed) return rules;
    arena_free(arena);
    return NULL;
}

const char *rules_path(const Rules *rules) { return rules->path; }

void rules_free(Rules *rules) {
    if (rules) arena_free(rules->arena);
}

char *rules_text(const Rules *rules) {
    TextStream text;
    text_open(&text);
    for (uint32_t i = 0; i < rules->count; i++)
        fprintf(text.file, "%s%s: %s", i ? "; " : "", rules->rule[i].name, rules->rule[i].form);
    return text_close(&text);
}

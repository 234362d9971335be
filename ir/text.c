// clang-format off
/* The textual form of a graph. Grammar (spaces and newlines separate; # starts a comment to the end of the line):
 *
 *     graph   = "graph" string ("train" | "infer") { "source" string } { value | return }
 *     value   = "%" id "=" op [ "%" id { "," "%" id } ] [ "{" field "=" ... "}" ] [ "over" type ] ":" type [ "@" string ] [ place ] { region }
 *     place   = "at" source ":" line ":" column                     source: of the files named at the head, from 1
 *     region  = ("prologue" | "store" | "epilogue" | "output" | "reduce" | "moments" | "sum_to" | "max_to" | "index_to") [ operand ] [ "{" { let ";" } operand "}" ]
 *     let     = "t" id "=" op operand { "," operand }
 *     operand = "a" index | "acc" | "out" | number | "t" id
 *     return  = "return" kind [ string ] "%" id
 *
 * Ids count up from 0 where they are printed; read are any words, [A-Za-z0-9_.], each once and before it is used. A parameter's or state's position is left out where it is its place in the text. `over` is a map's iteration
 * type, left out where it is the type of result 0. */
// clang-format on
#include "ir/text.h"
#include "ir/attrs.h"
#include "ir/stream.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_string(const char *text, FILE *out) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)(text ? text : ""); *c; c++) { /* NULL: of an unsound graph */
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c >= 0x7F)
            fprintf(out, "\\x%02x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void print_type(Type t, FILE *out) { fputs(type_format(t, (char[TYPE_TEXT]){0}), out); }

static void print_real(double value, FILE *out) { fputs(real_format(value, (char[REAL_TEXT]){0}), out); }

static void print_integers(const int64_t *value, int count, FILE *out) {
    if (count > 1) fputc('[', out);
    for (int i = 0; i < count; i++) fprintf(out, "%s%" PRId64, i ? "," : "", value[i]);
    if (count > 1) fputc(']', out);
}

static void print_field(const AttrField *field, const Attrs *attrs, FILE *out) {
    const void *at = (const char *)attrs + field->offset;
    fprintf(out, "%s=", field->name);
    switch (field->kind) {
    case FIELD_INTEGER:
    case FIELD_POSITION: print_integers(at, field->count, out); break;
    case FIELD_REAL: print_real(*(const double *)at, out); break;
    case FIELD_MARK:
    case FIELD_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
    case FIELD_STRING: print_string(*(const char *const *)at, out); break;
    case FIELD_INIT: {
        const Init *init = at;
        fprintf(out, "%s(", init_text(init->kind));
        print_real(init->value, out);
        fputc(')', out);
        break;
    }
    }
}

/* place: which PARAM or STATE of the text it is, from 1. */
static void print_attrs(const Value *v, int64_t place, FILE *out) {
    int count;
    const AttrField *field = op_attr_fields(v->op, &count);
    if (count && field[count - 1].kind == FIELD_POSITION && v->attrs.param.position == place) count--;
    for (int i = 0; i < count; i++) {
        if (attr_is_left_out(&field[i], &v->attrs)) continue;
        fputs(i ? ", " : " {", out);
        print_field(&field[i], &v->attrs, out);
    }
    if (count) fputc('}', out);
}

/* Leaves are written where they are used; only computed nodes get a number, which `let` holds. */
static void print_operand(const Expr *e, const uint32_t *let, uint32_t node, FILE *out) {
    const ExprNode *n = &e->node[node];
    switch (n->op) {
    case X_ARG: fprintf(out, "a%u", n->arg[0]); break;
    case X_CONST: print_real(n->value, out); break;
    case X_ACC:
    case X_OUT: fputs(expr_op_text((ExprOp)n->op), out); break;
    default: fprintf(out, "t%u", let[node]); break;
    }
}

static void print_expr(const Expr *e, FILE *out) {
    uint32_t let[EXPR_MAX_NODES], lets = 0;
    fputs(" { ", out);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *n = &e->node[i];
        int operands = expr_op_operands((ExprOp)n->op);
        if (operands == 0) continue;
        let[i] = lets++;
        fprintf(out, "t%u = %s", let[i], expr_op_text((ExprOp)n->op));
        for (int k = 0; k < operands; k++) {
            fputs(k ? ", " : " ", out);
            print_operand(e, let, n->arg[k], out);
        }
        fputs("; ", out);
    }
    print_operand(e, let, e->count - 1, out);
    fputs(" }", out);
}

static void print_region(const Region *r, FILE *out) {
    fprintf(out, "  %s", region_role_text(r->role));
    if (region_has_operand(r->role)) fprintf(out, " %d", r->operand);
    if (r->expr) print_expr(r->expr, out);
    fputc('\n', out);
}

static void print_id(Val v, const char *const *name, FILE *out) {
    if (name)
        fputs(name[v], out);
    else
        fprintf(out, "%%%u", v);
}

/* ---- places ---- */

/* The files that values of a graph came from, in the order in which they meet them. */
typedef struct Places {
    const Diag *sources; /* NULL: none is printed */
    uint32_t *file;
    uint32_t count, capacity;
} Places;

/* From 1; 0 where the value's place is not to be printed. */
static uint32_t find_place(const Places *p, Span span) {
    const char *path = p->sources && !diag_hides_places(p->sources, span.file) ? diag_file_path(p->sources, span.file) : NULL;
    for (uint32_t i = 0; i < p->count && path; i++)
        if (p->file[i] == span.file || !strcmp(diag_file_path(p->sources, p->file[i]), path)) return i + 1;
    return path ? p->count + 1 : 0;
}

static Places collect_places(const Graph *g, const Diag *sources, bool whole, Arena *arena, FILE *out) {
    Places p = {.sources = sources};
    for (Val v = 0; v < g->count && sources; v++) {
        Span span = g->value[v].span;
        if (find_place(&p, span) != p.count + 1) continue;
        ARENA_GROW(arena, p.file, p.count, &p.capacity);
        p.file[p.count++] = span.file;
        const char *path = diag_file_path(sources, span.file), *slash = whole ? NULL : strrchr(path, '/');
        fputs("source ", out);
        print_string(slash ? slash + 1 : path, out);
        fputc('\n', out);
    }
    return p;
}

static void print_place(const Places *p, Span span, FILE *out) {
    uint32_t file = p ? find_place(p, span) : 0;
    int line, column;
    if (!file) return;
    diag_line_column(p->sources, span, &line, &column);
    fprintf(out, " at %u:%d:%d", file, line, column);
}

/* ---- values ---- */

/* The line without id and arguments, or the part of it behind them. */
static void print_rest(const Graph *g, Val id, int64_t place, const Places *places, FILE *out) {
    const Value *v = &g->value[id];
    print_attrs(v, place, out);
    if (v->op == OP_MAP && !type_equal(v->space, v->type)) {
        fputs(" over ", out);
        print_type(v->space, out);
    }
    fputs(" : ", out);
    print_type(v->type, out);
    if (v->name) {
        fputs(" @", out);
        print_string(v->name, out);
    }
    print_place(places, v->span, out);
    fputc('\n', out);
}

static void print_value(const Graph *g, Val id, int64_t place, const char *const *name, const Places *places, FILE *out) {
    const Value *v = &g->value[id];
    print_id(id, name, out);
    fprintf(out, " = %s", op_text(v->op));
    for (uint32_t i = 0; i < v->nargs; i++) {
        fputs(i ? ", " : " ", out);
        print_id(v->args[i], name, out);
    }
    print_rest(g, id, place, places, out);
    for (uint32_t i = 0; i < v->nregions; i++) print_region(&v->regions[i], out);
}

void graph_print_look(const Graph *g, Val v, FILE *out) {
    fputs(op_text(g->value[v].op), out);
    print_rest(g, v, 0, NULL, out);
}

void graph_print_value(const Graph *g, Val v, const char *const *name, FILE *out) { print_value(g, v, 0, name, NULL, out); }

void graph_print_output(const Output *o, const char *const *name, FILE *out) {
    fprintf(out, "return %s ", output_kind_text(o->kind));
    if (output_kind_named(o->kind)) {
        print_string(o->name, out);
        fputc(' ', out);
    }
    print_id(o->value, name, out);
    fputc('\n', out);
}

static void print_graph(const Graph *g, const Diag *sources, bool whole, FILE *out) {
    fputs("graph ", out);
    print_string(g->name, out);
    fprintf(out, " %s\n", mode_text(g->mode));
    Arena *arena = arena_new();
    Places places = collect_places(g, sources, whole, arena, out);
    int64_t params = 0, states = 0;
    for (Val v = 0; v < g->count; v++) {
        params += g->value[v].op == OP_PARAM;
        states += g->value[v].op == OP_STATE;
        print_value(g, v, g->value[v].op == OP_STATE ? states : params, NULL, &places, out);
    }
    for (uint32_t i = 0; i < g->noutputs; i++) graph_print_output(&g->output[i], NULL, out);
    arena_free(arena);
}

void graph_print(const Graph *g, const Diag *sources, FILE *out) { print_graph(g, sources, true, out); }

void graph_print_portable(const Graph *g, const Diag *sources, FILE *out) { print_graph(g, sources, false, out); }

char *graph_to_string(const Graph *g) {
    TextStream out;
    text_open(&out);
    graph_print(g, NULL, out.file);
    return text_close(&out);
}

/* The graph as JSON, for scripts: one object with "name", "mode", "values" and "outputs". A number that JSON cannot say is
 * a string ("nan", "inf"). Operands of an expression are indices of its earlier nodes. */
#include "ir/attrs.h"
#include "ir/json_string.h"
#include "ir/text.h"
#include <inttypes.h>
#include <math.h>

static void json_string(const char *text, FILE *out) {
    if (!text) {
        fputs("null", out);
        return;
    }
    json_write_string(out, text);
}

static void json_real(double value, FILE *out) {
    char buffer[REAL_TEXT];
    fprintf(out, isfinite(value) ? "%s" : "\"%s\"", real_format(value, buffer));
}

static void json_type(Type t, FILE *out) {
    char text[TYPE_TEXT];
    type_format(t, text);
    int length = 0;
    while (text[length] != '[') length++;
    fprintf(out, "{\"dtype\":\"%.*s\",\"shape\":%s}", length, text, text + length);
}

static void json_field(const AttrField *field, const Attrs *attrs, FILE *out) {
    const void *at = (const char *)attrs + field->offset;
    fprintf(out, "\"%s\":", field->name);
    switch (field->kind) {
    case FIELD_INTEGER:
    case FIELD_POSITION:
        if (field->count > 1) fputc('[', out);
        for (int i = 0; i < field->count; i++) fprintf(out, "%s%" PRId64, i ? "," : "", ((const int64_t *)at)[i]);
        if (field->count > 1) fputc(']', out);
        break;
    case FIELD_REAL: json_real(*(const double *)at, out); break;
    case FIELD_MARK:
    case FIELD_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
    case FIELD_STRING: json_string(*(const char *const *)at, out); break;
    case FIELD_INIT:
        fprintf(out, "{\"kind\":\"%s\",\"value\":", init_text(((const Init *)at)->kind));
        json_real(((const Init *)at)->value, out);
        fputc('}', out);
        break;
    }
}

static void json_expr(const Expr *e, FILE *out) {
    fputc('[', out);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *n = &e->node[i];
        fprintf(out, "%s{\"op\":\"%s\"", i ? "," : "", expr_op_text((ExprOp)n->op));
        if (n->op == X_ARG) fprintf(out, ",\"arg\":%u", n->arg[0]);
        if (n->op == X_CONST) {
            fputs(",\"value\":", out);
            json_real(n->value, out);
        }
        int operands = expr_op_operands((ExprOp)n->op);
        for (int k = 0; k < operands; k++) fprintf(out, "%s%u", k ? "," : ",\"operands\":[", n->arg[k]);
        fputs(operands ? "]}" : "}", out);
    }
    fputc(']', out);
}

static void json_region(const Region *r, FILE *out) {
    fprintf(out, "{\"role\":\"%s\"", region_role_text(r->role));
    if (region_has_operand(r->role)) fprintf(out, ",\"operand\":%d", r->operand);
    if (r->expr) {
        fputs(",\"expr\":", out);
        json_expr(r->expr, out);
    }
    fputc('}', out);
}

static void json_place(const Diag *sources, Span span, FILE *out) {
    const char *path = sources ? diag_file_path(sources, span.file) : NULL;
    if (!path) return;
    int line, column;
    diag_line_column(sources, span, &line, &column);
    fputs(",\"file\":", out);
    json_string(path, out);
    fprintf(out, ",\"line\":%d,\"column\":%d", line, column);
}

static void json_value(const Graph *g, Val id, const Diag *sources, FILE *out) {
    const Value *v = &g->value[id];
    fprintf(out, "{\"id\":%u,\"op\":\"%s\",\"args\":[", id, op_text(v->op));
    for (uint32_t i = 0; i < v->nargs; i++) fprintf(out, "%s%u", i ? "," : "", v->args[i]);
    fputs("],\"type\":", out);
    json_type(v->type, out);
    if (v->op == OP_MAP) {
        fputs(",\"space\":", out);
        json_type(v->space, out);
    }
    int count;
    const AttrField *field = op_attr_fields(v->op, &count);
    for (int i = 0; i < count; i++) {
        if (attr_is_left_out(&field[i], &v->attrs)) continue;
        fputs(i ? "," : ",\"attrs\":{", out);
        json_field(&field[i], &v->attrs, out);
    }
    if (count) fputc('}', out);
    for (uint32_t i = 0; i < v->nregions; i++) {
        fputs(i ? "," : ",\"regions\":[", out);
        json_region(&v->regions[i], out);
    }
    if (v->nregions) fputc(']', out);
    if (v->name) {
        fputs(",\"name\":", out);
        json_string(v->name, out);
    }
    json_place(sources, v->span, out);
    fputc('}', out);
}

void graph_print_json(const Graph *g, const Diag *sources, FILE *out) {
    fputs("{\"name\":", out);
    json_string(g->name, out);
    fprintf(out, ",\"mode\":\"%s\",\"values\":[", mode_text(g->mode));
    for (Val v = 0; v < g->count; v++) {
        fputs(v ? ",\n" : "\n", out);
        json_value(g, v, sources, out);
    }
    fputs("\n],\"outputs\":[", out);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->output[i];
        fprintf(out, "%s\n{\"kind\":\"%s\",\"value\":%u", i ? "," : "", output_kind_text(o->kind), o->value);
        if (output_kind_named(o->kind)) {
            fputs(",\"name\":", out);
            json_string(o->name, out);
        }
        fputc('}', out);
    }
    fputs("\n]}\n", out);
}

/* Structural keys of values (key.h). */
#include "codegen/program/key.h"
#include "ir/ir.h"
#include "ir/stream.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t key_hash(const char *text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

static void print_attrs(FILE *out, const Value *value) {
    const Attrs *a = &value->attrs;
    switch (op_attr_kind(value->op)) {
    case ATTR_WINDOW:
        fprintf(out, " k%" PRId64 "x%" PRId64 "s%" PRId64 "x%" PRId64, a->window.kernel[0], a->window.kernel[1],
                a->window.stride[0], a->window.stride[1]);
        for (int i = 0; i < 4; i++) fprintf(out, "p%" PRId64, a->window.pad[i]);
        fprintf(out, "d%" PRId64 "x%" PRId64 "g%" PRId64, a->window.dilation[0], a->window.dilation[1], a->window.groups);
        break;
    case ATTR_CONSTANT: fprintf(out, " %a", a->constant); break;
    case ATTR_NORM: fprintf(out, " %a,%a", a->norm.eps, a->norm.momentum); break;
    case ATTR_CHANNELS: fprintf(out, " %" PRId64 ",%" PRId64, a->channels.count, a->channels.stride); break;
    case ATTR_DROPOUT: fprintf(out, " %a,%" PRId64, a->dropout.rate, a->dropout.stream); break;
    case ATTR_LOSS: fprintf(out, " %a", a->loss.smoothing); break;
    case ATTR_INDEX: fprintf(out, " %" PRId64, a->index); break;
    case ATTR_NONE:
    case ATTR_PARAM: break; /* a name shapes no code */
    }
}

static void print_type(FILE *out, Type type) {
    fprintf(out, " %d[", (int)type.dtype);
    for (int i = 0; i < type.rank; i++) fprintf(out, "%" PRId64 ",", type.dim[i]);
    fputc(']', out);
}

static void print_region(FILE *out, const Region *region) {
    fprintf(out, " r%d.%d{", (int)region->role, region->operand);
    for (uint32_t i = 0; region->expr && i < region->expr->count; i++) {
        const ExprNode *node = &region->expr->node[i];
        fprintf(out, "%d", node->op);
        int operands = node->op == X_ARG ? 1 : expr_op_operands(node->op);
        for (int k = 0; k < operands; k++) fprintf(out, ".%d", node->arg[k]);
        if (node->op == X_CONST) fprintf(out, "=%a", node->value);
        fputc(';', out);
    }
    fputc('}', out);
}

char *key_of_value(Arena *arena, const Graph *g, Val v, const bool *wanted) {
    const Value *value = &g->value[v];
    TextStream stream;
    text_open(&stream);
    FILE *out = stream.file;
    fputs(op_text(value->op), out);
    print_attrs(out, value);
    print_type(out, value->op == OP_MAP ? value->space : value->type);
    fprintf(out, "l%d", (int)layout_of(g, v));
    for (uint32_t i = 0; i < value->nargs; i++) {
        print_type(out, g->value[value->args[i]].type);
        fprintf(out, "l%d%s", (int)layout_of(g, value->args[i]), value_is_index(g, value->args[i]) ? "x" : "");
    }
    for (uint32_t i = 0; i < value->nregions; i++) print_region(out, &value->regions[i]);
    fputs(" w", out);
    for (uint32_t i = 0; i < value_results(g, v); i++) fputc(wanted[i] ? '1' : '0', out);
    char *key = arena_strdup(arena, text_close(&stream));
    free(stream.text);
    return key;
}

/* Fetching ahead (prefetch.h). */
#include "codegen/conv/shared/prefetch.h"

enum { MAX_BURST = 16 };

/* Feature maps that the value's loops read: an operand that is not the filters, or an argument of a region. */
static bool streamed(const ConvKernel *k, uint32_t arg) {
    if (k->arg_type[arg].rank != 4 || layout_of(lowering_graph(k->l), k->v->args[arg]) == LAYOUT_IMAGES) return false;
    Type t = k->arg_type[arg];
    bool whole = type_equal(t, k->v->type) || type_equal(t, k->arg_type[0]) || type_equal(t, k->arg_type[1]);
    if (!whole) return false; /* 1 in place of C, H or W: little, and read again and again */
    if (arg == 1) return k->v->op == OP_CONV2D_BWD_WEIGHTS && !k->first_buffer; /* behind others: a pair's, whose dY is staged */
    return true;
}

static int64_t image_lines(const ConvKernel *k, Type t) {
    return divide_up(t.dim[1], k->e->V) * t.dim[2] * t.dim[3] * k->e->V * k->e->target->map_bytes / CACHE_LINE;
}

static int64_t prefetch_lines(const ConvKernel *k) {
    int64_t lines = 0;
    for (uint32_t i = 0; i < k->v->nargs; i++)
        if (streamed(k, i)) lines += image_lines(k, k->arg_type[i]);
    return lines;
}

bool prefetch_bursts(const ConvKernel *k, int64_t steps) { return prefetch_lines(k) > MAX_BURST * steps; }

void prefetch_part(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps, LLVMValueRef part, int64_t parts) {
    Emitter *e = k->e;
    const int64_t line = CACHE_LINE / e->target->map_bytes;
    for (uint32_t i = 0; i < k->v->nargs; i++) {
        if (!streamed(k, i)) continue;
        int64_t lines = image_lines(k, k->arg_type[i]), share = divide_up(lines, steps), some = divide_up(share, parts);
        LLVMValueRef next = emit_mul_int(e, emit_add_int(e, n, emit_int(e, 1)), lines * line);
        LLVMValueRef first = emit_mul_int(e, part, some);
        if (some * parts > share) first = emit_min_int(e, first, emit_int(e, share - some)); /* again is better than too far */
        LLVMValueRef start = emit_offset(e, step, share * line, next);
        LLVMValueRef from = emit_address(e, k->arg_base[i], emit_offset(e, first, line, start));
        for (int64_t j = 0; j < some; j++) emit_prefetch(e, from, emit_int(e, j * line), 2);
    }
}

void prefetch_step(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps) {
    prefetch_part(k, n, step, steps, emit_int(k->e, 0), 1);
}

void prefetch_rows(ConvKernel *k, LLVMValueRef n, LLVMValueRef row, int64_t rows, LLVMValueRef step, int64_t steps) {
    Emitter *e = k->e;
    const int64_t line = CACHE_LINE / e->target->map_bytes;
    for (uint32_t i = 0; i < k->v->nargs; i++) {
        if (!streamed(k, i)) continue;
        Type t = k->arg_type[i];
        int64_t blocks = divide_up(t.dim[1], e->V), row_floats = t.dim[3] * e->V;
        int64_t part = t.dim[2] <= divide_up(k->arg_type[0].dim[2], 2) ? 2 : 1;
        int64_t share = divide_up(divide_up(rows / part * row_floats, line), steps);
        LLVMValueRef first = part == 1 ? row : LLVMBuildUDiv(e->b, row, emit_int(e, part), "");
        LLVMValueRef start = emit_offset(e, first, row_floats, emit_mul_int(e, n, blocks * t.dim[2] * row_floats));
        LLVMValueRef from = emit_address(e, k->arg_base[i], emit_offset(e, step, share * line, start));
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t j = 0; j < share; j++) emit_prefetch(e, from, emit_int(e, b * t.dim[2] * row_floats + j * line), 2);
    }
}

/* A share divides what lies together, so that it is a number of lines behind each other. */
void prefetch_staged(ConvKernel *k, uint32_t operand, const PixelRun *run, LLVMValueRef step, int64_t steps) {
    Emitter *e = k->e;
    const int64_t line = CACHE_LINE / e->target->map_bytes;
    const Region *prologue = value_region(k->v, REGION_PROLOGUE, (int)operand);
    for (uint32_t i = 0; i < k->v->nargs; i++) {
        if (!streamed(k, i) || (i != operand && !(prologue && expr_uses_arg(prologue->expr, i)))) continue;
        Type t = k->arg_type[i];
        int64_t all = divide_up(t.dim[1], e->V), blocks = run->blocks ? run->blocks : all, plane = t.dim[2] * t.dim[3];
        int64_t lines = divide_up(run->pixels * e->V, line), share = divide_up(run->images * blocks * lines, steps);
        while (lines % share && share < lines) share++;
        LLVMValueRef at = emit_mul_int(e, step, share), block = LLVMBuildUDiv(e->b, at, emit_int(e, lines), "");
        LLVMValueRef image = LLVMBuildUDiv(e->b, block, emit_int(e, blocks), "");
        block = LLVMBuildURem(e->b, block, emit_int(e, blocks), "");
        if (run->block) block = emit_add_int(e, block, run->block);
        LLVMValueRef pixel = emit_offset(e, emit_offset(e, emit_add_int(e, run->n, image), all, block), plane, run->first);
        LLVMValueRef within = LLVMBuildURem(e->b, at, emit_int(e, lines), "");
        LLVMValueRef from = emit_address(e, k->arg_base[i], emit_offset(e, pixel, e->V, emit_mul_int(e, within, line)));
        for (int64_t j = 0; j < min_i64(share, MAX_BURST); j++) emit_prefetch(e, from, emit_int(e, j * line), 2);
    }
}

/* Types: making, comparing, printing them, and the one broadcasting rule (by rank; see ir/expr.h). */
#include "ir/ir.h"
#include <stdio.h>
#include <string.h>

Type type_make(DType dtype, int rank, const int64_t *dim) {
    Type t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank && i < MAX_RANK; i++) t.dim[i] = dim[i];
    return t;
}

Type type_scalar(void) { return (Type){.dtype = DT_F32}; }

Type type_vector(int64_t c) { return (Type){DT_F32, 1, {c}}; }

Type type_matrix(int64_t n, int64_t c) { return (Type){DT_F32, 2, {n, c}}; }

int type_mask(Type from, Type to) {
    int mask = 0;
    for (int i = 0; i < 3; i++) mask |= (from.dim[i + 1] != 1 && to.dim[i + 1] == 1) << i;
    return mask;
}

bool type_is_one(Type t, int mask) {
    bool one = true;
    for (int i = 0; i < 3; i++) one &= !(mask >> i & 1) || t.dim[i + 1] == 1;
    return one;
}

Type type_feature(int64_t n, int64_t c, int64_t h, int64_t w) { return (Type){DT_F32, 4, {n, c, h, w}}; }

bool type_equal(Type a, Type b) {
    if (a.dtype != b.dtype || a.rank != b.rank) return false;
    for (int i = 0; i < a.rank && i < MAX_RANK; i++) {
        if (a.dim[i] != b.dim[i]) return false;
    }
    return true;
}

/* Saturates, so that a comparison with MAX_ELEMENTS is right for every type. */
int64_t type_elements(Type t) {
    int64_t n = 1;
    for (int i = 0; i < t.rank && i < MAX_RANK; i++) {
        if (__builtin_mul_overflow(n, t.dim[i], &n)) return INT64_MAX;
    }
    return n;
}

bool type_valid(Type t) {
    if (t.rank < 0 || t.rank > MAX_RANK || (unsigned)t.dtype >= DTYPES) return false;
    for (int i = 0; i < t.rank; i++) {
        if (t.dim[i] < 1 || t.dim[i] > MAX_ELEMENTS) return false;
    }
    return type_elements(t) <= MAX_ELEMENTS;
}

const char *type_format(Type t, char buffer[TYPE_TEXT]) {
    static const char *const dtype_text[DTYPES] = {"f32", "bf16", "i32", "u8", "f64"};
    int at = snprintf(buffer, TYPE_TEXT, "%s[", (unsigned)t.dtype < DTYPES ? dtype_text[t.dtype] : "?");
    for (int i = 0; i < t.rank && i < MAX_RANK; i++) {
        at += snprintf(buffer + at, (size_t)(TYPE_TEXT - at), "%s%lld", i ? "," : "", (long long)t.dim[i]);
    }
    snprintf(buffer + at, (size_t)(TYPE_TEXT - at), "]");
    return buffer;
}

char *type_text(Arena *arena, Type t) {
    char buffer[TYPE_TEXT];
    return arena_strdup(arena, type_format(t, buffer));
}

bool type_broadcasts(Type arg, Type space) {
    if (arg.rank == 0) return true;
    if (arg.rank == space.rank) {
        Type same = arg;
        same.dtype = space.dtype;
        for (int i = 1; arg.rank == 4 && i < 4; i++) same.dim[i] = arg.dim[i] == 1 ? space.dim[i] : arg.dim[i];
        return type_equal(same, space);
    }
    if (space.rank == 4 && arg.rank == 2) return arg.dim[0] == space.dim[0] && arg.dim[1] == space.dim[1];
    if (space.rank == 4 || space.rank == 2) return arg.rank == 1 && arg.dim[0] == space.dim[1];
    return false;
}

/* A leaf's numbers follow from the seed, its name and their place, never from what was asked for before. */
#include "verify/leaves.h"
#include "runtime/rt.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t MOVED = 77; /* added to the seed: how numbers move is not what they are */

static double nearest_bf16(double x) {
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof bits);
    return (double)f;
}

static double rounded(const Leaves *l, Type t, double x) {
    if (t.dtype == DT_I32) return x;
    return l->arithmetic == IN_BF16 ? nearest_bf16(x) : (double)(float)x;
}

static uint32_t hash_name(const char *name) {
    uint32_t hash = 2166136261u;
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static double draw_element(const Leaves *l, const Value *leaf, uint32_t stream, int64_t i) {
    double u = 2 * rt_uniform(l->seed, stream, (uint64_t)i, 0) - 1;
    Type t = leaf->type;
    if (t.dtype == DT_I32) return floor(0.5 * (u + 1) * (double)l->classes);
    if (leaf->op == OP_INPUT) return 2 * u;
    if (t.rank >= 2) return u * sqrt(3 / ((double)type_elements(t) / (double)t.dim[0]));
    double start = leaf->attrs.param.init.kind == INIT_CONSTANT ? leaf->attrs.param.init.value : 0;
    return start + 0.5 * u;
}

static Tensor draw_leaf(Leaves *l, const Value *leaf) {
    Tensor t = tensor_new(leaf->type);
    uint32_t stream = hash_name(leaf->attrs.param.name);
    int64_t n = type_elements(leaf->type);
    if (!l->near) {
        for (int64_t i = 0; i < n; i++) t.data[i] = rounded(l, t.type, draw_element(l, leaf, stream, i));
        return t;
    }
    memcpy(t.data, leaves_tensor(l->near, leaf)->data, (size_t)n * sizeof *t.data);
    for (int64_t i = 0; i < n && t.type.dtype != DT_I32; i++)
        t.data[i] *= 1 + l->move * (2 * rt_uniform(l->seed + MOVED, stream + l->draw, (uint64_t)i, 1) - 1);
    return t;
}

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for the numbers of a net's leaves");
}

static Leaf *find_leaf(const Leaves *l, const char *name) {
    for (uint32_t i = 0; i < l->count; i++)
        if (!strcmp(l->leaf[i].name, name)) return &l->leaf[i];
    return NULL;
}

static Leaf *add_leaf(Leaves *l, const char *name, Tensor tensor) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 32;
        l->leaf = checked(realloc(l->leaf, l->capacity * sizeof *l->leaf));
    }
    Leaf *leaf = &l->leaf[l->count++];
    *leaf = (Leaf){checked(strdup(name)), tensor, NULL};
    return leaf;
}

static Leaf *take_leaf(Leaves *l, const Value *leaf) {
    Leaf *found = find_leaf(l, leaf->attrs.param.name);
    return found ? found : add_leaf(l, leaf->attrs.param.name, draw_leaf(l, leaf));
}

const Tensor *leaves_tensor(void *leaves, const Value *leaf) { return &take_leaf(leaves, leaf)->tensor; }

const Tensor *leaves_find(const Leaves *leaves, const char *name) {
    const Leaf *leaf = find_leaf(leaves, name);
    return leaf ? &leaf->tensor : NULL;
}

const float *leaves_floats(void *leaves, const Value *leaf) {
    Leaf *found = take_leaf(leaves, leaf);
    if (found->f32) return found->f32;
    int64_t n = type_elements(found->tensor.type);
    found->f32 = checked(malloc((size_t)n * sizeof *found->f32));
    for (int64_t i = 0; i < n; i++) found->f32[i] = (float)found->tensor.data[i];
    return found->f32;
}

void leaves_give(Leaves *l, const char *name, Tensor tensor) {
    for (int64_t i = 0, n = type_elements(tensor.type); i < n; i++) tensor.data[i] = rounded(l, tensor.type, tensor.data[i]);
    add_leaf(l, name, tensor);
}

Leaves leaves_copy(const Leaves *l) {
    Leaves copy = *l;
    copy.leaf = NULL;
    copy.count = copy.capacity = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        Tensor t = tensor_new(l->leaf[i].tensor.type);
        memcpy(t.data, l->leaf[i].tensor.data, (size_t)type_elements(t.type) * sizeof *t.data);
        add_leaf(&copy, l->leaf[i].name, t);
    }
    return copy;
}

void leaves_free(Leaves *l) {
    for (uint32_t i = 0; i < l->count; i++) {
        free(l->leaf[i].name);
        tensor_free(&l->leaf[i].tensor);
        free(l->leaf[i].f32);
    }
    free(l->leaf);
    l->leaf = NULL;
    l->count = l->capacity = 0;
}

int64_t classes_of(const Graph *g) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].kind == OUT_LOGITS) return g->value[g->output[i].value].type.dim[1];
    return 1;
}

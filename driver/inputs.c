#include "driver/inputs.h"
#include "cli/report.h"
#include "ir/text.h"
#include "runtime/safetensors.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool fits(const StTensor *t, const Value *leaf) {
    if (t->rank != (uint32_t)leaf->type.rank) return false;
    for (uint32_t d = 0; d < t->rank; d++)
        if (t->dim[d] != leaf->type.dim[d]) return false;
    return true;
}

static int read_leaf(const StFile *file, const Value *leaf, Leaves *leaves) {
    const char *name = leaf->attrs.param.name;
    const StTensor *t = st_find(file, name);
    if (!t) return EXIT_OK;
    if (!fits(t, leaf))
        return fail(EXIT_INPUT, "'%s': the tensor '%s' has another shape than the %s of the graph", file->path, name,
                    op_text(leaf->op));
    int64_t n = type_elements(leaf->type);
    float *floats = malloc((size_t)n * sizeof *floats);
    if (!floats) return fail(EXIT_IO, "out of memory");
    int status = EXIT_OK;
    if (st_read(file, t, floats)) {
        Tensor tensor = tensor_new(leaf->type);
        for (int64_t i = 0; i < n; i++) tensor.data[i] = (double)floats[i];
        leaves_give(leaves, name, tensor);
    } else
        status = fail(EXIT_INPUT, "'%s': the tensor '%s' is %s, which netc does not read", file->path, name, t->dtype);
    free(floats);
    return status;
}

int inputs_read(const char *path, const Graph *g, Leaves *leaves) {
    StFile file = {0};
    RtError error;
    RtStatus opened = st_open(path, &file, &error);
    int status = opened ? fail_rt(opened, &error) : EXIT_OK;
    for (Val v = 0; v < g->count && !status; v++)
        if (op_attr_kind(g->value[v].op) == ATTR_PARAM) status = read_leaf(&file, &g->value[v], leaves);
    if (!status && leaves->count == 0) status = fail(EXIT_INPUT, "'%s' has no tensor that the graph asks for", path);
    st_close(&file);
    return status;
}

static int write_graph(const char *path, const char *remark, const Graph *g, const Diag *sources) {
    FILE *file = fopen(path, "w");
    if (!file) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    fprintf(file, "# %s\n", remark);
    graph_print(g, sources, file);
    bool failed = ferror(file);
    if (fclose(file) || failed) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    return EXIT_OK;
}

int inputs_write(const char *path, const char *remark, const Graph *g, const Diag *sources, const Leaves *leaves) {
    int status = write_graph(path, remark, g, sources);
    if (status) return status;
    StOut out = {0};
    for (uint32_t i = 0; i < leaves->count; i++) {
        const Tensor *t = &leaves->leaf[i].tensor;
        float *to = st_add(&out, leaves->leaf[i].name, (uint32_t)t->type.rank, t->type.dim);
        for (int64_t k = 0, n = type_elements(t->type); to && k < n; k++) to[k] = (float)t->data[k];
    }
    char *beside = join("%.*s.safetensors", (int)(strlen(path) - strlen(".ir")), path);
    RtError error;
    RtStatus written = st_write(&out, beside, &error);
    status = written ? fail_rt(written, &error) : EXIT_OK;
    st_free(&out);
    free(beside);
    return status;
}

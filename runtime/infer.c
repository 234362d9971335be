/* An inference context: one or two machines in one block of memory, the caller's or our own.
 *
 * A Program has a fixed batch, which it computes in groups of images. The library holds one for batches and one for a single
 * image; what is less than half a group goes image by image. Once a context is made, running it allocates nothing and touches
 * nothing outside it. */
#include "runtime/infer.h"
#include "runtime/cpu.h"
#include "runtime/machine.h"
#include "runtime/weights.h"
#include <stdlib.h>
#include <string.h>

extern const RtInferLibrary netc_infer_library;

enum { LINE = 64 };

struct InferContext {
    RtMachine *batch, *single; /* single may be NULL */
    RtPool *pool;              /* NULL: the caller's thread alone */
    void *owned;               /* memory to free; NULL: the caller's */
    RtViews views;
    RtNormalizer normalizer; /* of the weights */
};

static const RtInferLibrary *library(void) { return &netc_infer_library; }
static const char *text_at(uint64_t offset) { return (const char *)library() + offset; }
static uint64_t rounded(uint64_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }
static int thread_count(int threads) { return threads < 1 ? 1 : threads; }

/* The most demanding level that this machine can run, or -1. */
static int choose_level(void) {
    char missing[1];
    int chosen = -1;
    for (uint32_t i = 0; i < library()->nlevels; i++) {
        const RtProgram *single = library()->single[i];
        bool runs = !rt_cpu_lacks(library()->batch[i]->features, missing, sizeof missing);
        if (runs && !(single && rt_cpu_lacks(single->features, missing, sizeof missing))) chosen = (int)i;
    }
    return chosen;
}

size_t netc_infer_bytes(int threads) {
    int level = choose_level();
    if (level < 0 || threads > RT_INFER_THREADS) return 0;
    const RtProgram *single = library()->single[level];
    uint64_t bytes = rt_machine_bytes(library()->batch[level], thread_count(threads));
    if (single) bytes += rt_machine_bytes(single, thread_count(threads));
    return (size_t)(LINE + rounded(sizeof(InferContext)) + bytes); /* a line, since the caller's memory may start anywhere */
}

/* ---- weights ---- */

static RtStatus read_embedded(RtMachine *m, RtError *error) {
    RtPart parts[RT_MAX_PARTS];
    const float *from = (const float *)(const void *)text_at(library()->weights), *end = from + library()->nweights;
    int nparts = rt_weights_parts(rt_machine_program(m), m, parts);
    for (int i = 0; i < nparts; i++)
        for (uint32_t k = 0; k < parts[i].count; k++) {
            const RtTensor *t = &parts[i].tensors[k];
            if (end - from < rt_tensor_elements(t)) return rt_fail(error, RT_INTERNAL, "the embedded weights are incomplete");
            rt_tensor_pack(rt_machine_program(m), t, from, parts[i].block);
            from += rt_tensor_elements(t);
        }
    return RT_OK;
}

/* Images are normalised as they were for the weights, if these say. Names of classes stay the library's, which is said. */
static void heed_training(InferContext *c, const StFile *file, RtError *note) {
    const RtProgram *p = library()->batch[0];
    RtData set = {.channels = p->channels, .height = p->height, .width = p->width, .classes = p->classes};
    if (!rt_weights_trained_on(file, &set, note)) return;
    c->normalizer = rt_normalizer(&set, p->recipe.normalize);
    for (int k = 0; set.class_names && library()->names && k < p->classes; k++) {
        if (!strcmp(set.class_names[k], netc_infer_class_name(k))) continue;
        rt_fail(note, RT_OK, "class %d of the library is '%s', but '%s' is what the weights were trained on", k,
                netc_infer_class_name(k), set.class_names[k]);
        break;
    }
    rt_data_free(&set);
}

static RtStatus read_file(InferContext *c, const InferOptions *o, RtError *error) {
    StFile file;
    RtStatus status =
        o->weights_path ? st_open(o->weights_path, &file, error) : st_open_bytes(o->weights, o->weights_bytes, &file, error);
    if (status == RT_OK) status = rt_weights_read(&file, c->batch, error);
    if (status == RT_OK && c->single) status = rt_weights_read(&file, c->single, error);
    if (status == RT_OK) heed_training(c, &file, error);
    st_close(&file);
    return status;
}

/* What the caller gives goes before what is embedded. */
static int load_weights(InferContext *c, const InferOptions *o, RtError *error) {
    RtStatus status;
    if (o->weights_path || o->weights) {
        status = read_file(c, o, error);
    } else if (library()->weights) {
        status = read_embedded(c->batch, error);
        if (status == RT_OK && c->single) status = read_embedded(c->single, error);
    } else {
        status = rt_fail(error, RT_INPUT, "this library holds no weights: give weights_path or weights");
    }
    switch (status) {
    case RT_OK: return INFER_OK;
    case RT_IO: return INFER_IO;
    case RT_MEMORY: return INFER_MEMORY;
    default: return INFER_WEIGHTS;
    }
}

/* ---- contexts ---- */

static InferContext *place(void *memory, void *owned, RtPool *pool, int level, RtError *error) {
    const RtProgram *batch = library()->batch[level], *single = library()->single[level];
    char *at = (char *)(uintptr_t)rounded((uintptr_t)memory);
    InferContext *c = (InferContext *)(void *)at;
    at += rounded(sizeof *c);
    *c = (InferContext){.batch = rt_machine_place(batch, pool, at, error), .pool = pool, .owned = owned};
    c->normalizer = library()->normalizer;
    at += rt_machine_bytes(batch, rt_pool_threads(pool));
    if (c->batch && single) c->single = rt_machine_place(single, pool, at, error);
    return c;
}

static int check_options(const InferOptions *o, size_t bytes, RtError *error) {
    if (o->threads > RT_INFER_THREADS) return rt_fail(error, RT_USAGE, "a context has at most %d threads", RT_INFER_THREADS);
    if (!bytes) {
        const RtProgram *least = library()->batch[0];
        char missing[256];
        const RtProgram *single = library()->single[0];
        if (!rt_cpu_lacks(least->features, missing, sizeof missing) && single)
            rt_cpu_lacks(single->features, missing, sizeof missing);
        return rt_fail(error, (RtStatus)INFER_CPU,
                       "this machine is below the least that this library was built for, %s: its CPU lacks %s", least->target,
                       missing);
    }
    if (o->memory && o->memory_bytes < bytes)
        return rt_fail(error, RT_USAGE, "a context of %d threads needs %zu bytes, %zu were given", thread_count(o->threads),
                       bytes, o->memory_bytes);
    if (o->weights_path && o->weights) return rt_fail(error, RT_USAGE, "weights are given by path or in memory, not both");
    if (o->views && o->views != 1 && o->views != 2 && o->views != 6)
        return rt_fail(error, RT_USAGE, "scores are of 1, 2 or 6 views of an image, not of %d", o->views);
    return INFER_OK;
}

static RtViews views_of(const InferOptions *o) {
    if (!o->views) return (RtViews)library()->views;
    return o->views == 1 ? RT_VIEWS_ONE : o->views == 2 ? RT_VIEWS_MIRROR : RT_VIEWS_MIRROR_SHIFT;
}

static int open_context(InferContext **context, const InferOptions *o, RtError *error) {
    size_t bytes = netc_infer_bytes(o->threads);
    int status = check_options(o, bytes, error);
    if (status) return status;
    void *owned = o->memory ? NULL : rt_block(bytes);
    if (!owned && !o->memory) return rt_fail(error, (RtStatus)INFER_MEMORY, "no memory for a context of %zu bytes", bytes);
    RtPool *pool = o->threads > 1 ? rt_pool_new(o->threads) : NULL;
    if (o->threads > 1 && !pool) {
        free(owned);
        return rt_fail(error, (RtStatus)INFER_MEMORY, "cannot start %d threads", o->threads);
    }
    InferContext *c = place(owned ? owned : o->memory, owned, pool, choose_level(), error);
    c->views = views_of(o);
    status = load_weights(c, o, error);
    if (status) {
        netc_infer_free(c);
        return status;
    }
    rt_machine_run(c->batch, &rt_machine_program(c->batch)->prepare_eval);
    if (c->single) rt_machine_run(c->single, &rt_machine_program(c->single)->prepare_eval);
    *context = c;
    return INFER_OK;
}

int netc_infer_init(InferContext **context, const InferOptions *options, char *message) {
    RtError error = {{0}};
    if (!context) return INFER_ARGUMENT;
    *context = NULL;
    int status = open_context(context, options ? options : &(InferOptions){0}, &error);
    if (message) memcpy(message, error.text, RT_INFER_MESSAGE);
    return status;
}

void netc_infer_free(InferContext *c) {
    if (!c) return;
    void *owned = c->owned;
    rt_pool_free(c->pool);
    free(owned);
}

/* ---- running ---- */

/* The first n images of a machine's batch, in each view; scores are the views' weighted mean. */
static void run_machine(RtMachine *m, RtViews views, const float *images, int64_t n, float *scores) {
    const RtProgram *p = rt_machine_program(m);
    const RtView *view;
    int nviews = rt_views(views, &view);
    int64_t image = p->channels * p->height * p->width;
    float *input = rt_machine_space(m, RT_IMAGES);
    const float *logits = rt_machine_space(m, RT_LOGITS);
    for (int k = 0; k < nviews; k++) {
        for (int64_t i = 0; i < n; i++)
            rt_view_floats(&view[k], p->channels, p->height, p->width, images + i * image, input + i * image);
        rt_machine_infer(m, n);
        for (int64_t i = 0; i < n * p->classes; i++)
            scores[i] = k ? scores[i] + view[k].weight * logits[i] : view[k].weight * logits[i];
    }
}

int netc_infer_run(InferContext *c, const float *images, int n, float *scores) {
    if (!c || n < 0 || (n && (!images || !scores))) return INFER_ARGUMENT;
    const RtProgram *p = rt_machine_program(c->batch);
    int64_t image = p->channels * p->height * p->width;
    for (int64_t at = 0, count; at < n; at += count) {
        count = n - at < p->batch ? n - at : p->batch;
        bool alone = c->single && 2 * count <= rt_machine_group(c->batch);
        if (alone) count = 1;
        run_machine(alone ? c->single : c->batch, c->views, images + at * image, count, scores + at * p->classes);
    }
    return INFER_OK;
}

/* ---- pictures and classes ---- */

void netc_infer_normalize(const InferContext *c, const unsigned char *pixels, int n, float *images) {
    const RtNormalizer *normalizer = c ? &c->normalizer : &library()->normalizer;
    const RtProgram *p = library()->batch[0];
    int64_t plane = p->height * p->width;
    for (int64_t i = 0; i < n; i++)
        for (int64_t channel = 0; channel < p->channels; channel++) {
            const unsigned char *from = pixels + i * p->channels * plane + channel;
            float *to = images + (i * p->channels + channel) * plane;
            for (int64_t k = 0; k < plane; k++) to[k] = normalizer->value[channel][from[k * p->channels]];
        }
}

void netc_infer_softmax(float *scores, int n) {
    int64_t classes = library()->batch[0]->classes;
    for (int64_t i = 0; i < n; i++) rt_softmax(scores + i * classes, classes, scores + i * classes);
}

const char *netc_infer_class_name(int label) {
    if (!library()->names || label < 0 || label >= library()->batch[0]->classes) return NULL;
    const char *name = text_at(library()->names);
    for (int i = 0; i < label; i++) name += strlen(name) + 1;
    return name;
}

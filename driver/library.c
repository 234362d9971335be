/* netc build --infer: the model compiled for inference, once for full batches and once for a single image, for each CPU level;
 * its weights, normalisation and class names as constant data; and the part of the runtime that runs it. All of it is linked into
 * one relocatable object in which the library's seven functions get its prefix and everything else becomes local, so that
 * libraries of several models go into one program. That object is the .o, the one member of the .a, or linked into the .so. */
#include "driver/library.h"
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/process.h"
#include "driver/shape.h"
#include "driver/tune.h"
#include "runtime/infer.h"
#include "runtime/weights.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)MAX_LEVELS == (int)RT_INFER_LEVELS, "a library has room for every level");

enum { MAX_OBJECTS = 2 * MAX_LEVELS + 1, MAX_PREFIX = 64 };

typedef struct Library {
    Session *session, single; /* single: the same model for one image */
    const Options *o;
    const char *target, *suffix;
    const Levels *levels;
    char *prefix, *directory; /* of the objects, while they are linked */
    char *object[MAX_OBJECTS];
    int nobjects;
    LibraryHeader header;
    Shape shape;
    float *weights; /* logical tensors in the order of the program's tables; NULL: not embedded */
    uint64_t nweights;
} Library;

/* ---- what is asked for ---- */

static char *default_prefix(const char *model) {
    char *prefix = join("%s%s", isdigit((unsigned char)*model) ? "net" : "", model);
    for (char *c = prefix; *c; c++)
        if (!isalnum((unsigned char)*c)) *c = '_';
    return prefix;
}

static bool is_identifier(const char *text) {
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_') return false;
    return *text && !isdigit((unsigned char)*text) && strlen(text) <= MAX_PREFIX;
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int check_options(Library *l) {
    const Options *o = l->o;
    if (!o->output) return usage_error("build", "no output file given: -o FILE");
    const char *dot = strrchr(file_name(o->output), '.');
    if (!dot || (strcmp(dot, ".a") && strcmp(dot, ".so") && strcmp(dot, ".o")))
        return usage_error("build", "'--infer' makes a .a, .so or .o, not '%s'", o->output);
    l->suffix = dot;
    l->header.embedded = !o->embed_weights || !strcmp(o->embed_weights, "yes");
    if (o->emit || o->emit_object || o->emit_assembly || o->link_static)
        return usage_error("build", "'--infer' excludes '--emit' and '--static'");
    if (l->header.embedded && !o->weights)
        return usage_error("build", "no weights given: --weights=FILE, or --embed-weights=no for a library that is given them");
    if (o->prefix && !is_identifier(o->prefix))
        return usage_error("build", "'--prefix=%s' is not a C identifier of at most %d characters", o->prefix, MAX_PREFIX);
    return EXIT_OK;
}

/* ---- graphs ---- */

static int describe(Library *l) {
    LibraryHeader *h = &l->header;
    int status = shape_of(l->session, &l->shape);
    if (status) return status;
    h->shape = l->shape.program;
    h->model = h->shape.model;
    h->normalize = h->shape.recipe.normalize;
    h->views = views_of(&h->shape, l->o);
    h->library = file_name(l->o->output);
    h->prefix = l->prefix = l->o->prefix ? join("%s", l->o->prefix) : default_prefix(h->model);
    return EXIT_OK;
}

static int make_graphs(Library *l) {
    int status = compile_modes(l->session, PASS_INFER, "build");
    if (!status) status = compile_infer(l->session);
    if (!status) status = session_check_met(l->session);
    if (!status) status = describe(l);
    if (status) return status;
    if (l->header.shape.batch == 1) return EXIT_OK;
    Options one = *l->o; /* the same again, without another round of remarks */
    one.batch = 1;
    one.print_changed = one.time_passes = one.print_after_all = one.print_before_all = false;
    one.split_after = NULL;
    one.print_before.count = one.print_after.count = 0;
    l->single = (Session){.options = &one,
                          .modes = PASS_INFER,
                          .path = join("%s", l->session->path),
                          .textual = l->session->textual,
                          .rules = l->session->rules};
    status = compile_infer(&l->single);
    l->single.options = l->o;
    return status;
}

/* Statistics and class names, by the weights where they say. Without normalisation they may stay unknown. */
static int describe_images(Library *l) {
    const RtProgram *s = &l->header.shape;
    if (s->recipe.normalize != RT_NORMALIZE_NONE || l->o->data) return describe_data(s, l->o, &l->header.data);
    RtError ignored;
    l->header.data = (RtData){.channels = s->channels, .height = s->height, .width = s->width, .classes = s->classes};
    if (l->o->weights && rt_weights_describe(l->o->weights, &l->header.data, say)) return EXIT_OK;
    const char *name = recipe_data_name(s->recipe.data);
    if (rt_data_describe(name, s->channels, s->height, s->width, s->classes, &l->header.data, &ignored))
        rt_data_free(&l->header.data);
    return EXIT_OK;
}

/* ---- weights ---- */

/* Reads the weights as a machine would, into the order in which the library has them; also to check what is not embedded. */
static int read_weights(Library *l) {
    if (!l->o->weights) return EXIT_OK;
    const RtProgram *p = &l->shape.program;
    char *block = malloc(p->params_bytes + p->state_bytes + 1);
    RtPart parts[] = {{"", p->params, p->nparams, block, p->params_bytes},
                      {"", p->state, p->nstate, block + p->params_bytes, p->state_bytes}};
    RtError error;
    StFile file;
    l->weights = (float *)(void *)block;
    l->nweights = (p->params_bytes + p->state_bytes) / sizeof(float);
    if (!block) return fail(EXIT_IO, "out of memory");
    RtStatus status = st_open(l->o->weights, &file, &error);
    if (status == RT_OK) status = rt_parts_load(&file, p, parts, 2, &error);
    if (status == RT_OK) rt_parts_warn(l->o->weights, parts, 2, say);
    st_close(&file);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

/* ---- objects ---- */

static CodegenOptions code_options(const Library *l, int level) {
    return session_code_for(l->session, l->target, l->levels->cpu[level]);
}

static char *add_object(Library *l, const char *name) { return l->object[l->nobjects++] = join("%s/%s.o", l->directory, name); }

static int compile(Library *l, Session *s, int level, const char *symbol) {
    CodegenInput input = {.name = s->infer.name,
                          .infer = s->infer_passes.graph,
                          .batch = s->batch,
                          .recipe = &s->infer.recipe,
                          .recipe_text = s->infer.recipe_text};
    CodegenOptions code = code_options(l, level);
    GemmUse gemm = GEMM_NONE;
    session_remarks(s, &code);
    int status = tuning_choose(s, &input, &code);
    if (status) return status;
    bool compiled = codegen_object(&input, &code, symbol, add_object(l, symbol), &gemm, s->diag);
    l->header.needs_gemm |= gemm == GEMM_OPENBLAS;
    if (compiled) return EXIT_OK;
    return session_compile_failed(s);
}

static int compile_programs(Library *l, char batch[][32], char single[][32]) {
    int status = EXIT_OK;
    for (int i = 0; i < l->levels->count && !status; i++) {
        snprintf(batch[i], 32, "netc_program_%d", i);
        snprintf(single[i], 32, "netc_single_%d", i);
        status = compile(l, l->session, i, batch[i]);
        if (!status && l->single.infer.graph) status = compile(l, &l->single, i, single[i]);
    }
    return status;
}

/* The class names one after the other, each with its 0; returns their length. */
static size_t join_names(const LibraryHeader *h, char *out) {
    size_t length = 0;
    for (int64_t k = 0; h->data.class_names && k < h->shape.classes; k++) {
        size_t size = strlen(h->data.class_names[k]) + 1;
        if (out) memcpy(out + length, h->data.class_names[k], size);
        length += size;
    }
    return length;
}

/* RtInferLibrary and what stands behind it. */
static int compile_library(Library *l, char batch[][32], char single[][32]) {
    const LibraryHeader *h = &l->header;
    size_t names = sizeof(RtInferLibrary), length = join_names(h, NULL), weights = (names + length + 63) / 64 * 64;
    size_t size = weights + (h->embedded ? l->nweights * sizeof(float) : 0);
    char *image = calloc(1, size);
    if (!image) return fail(EXIT_IO, "out of memory");
    RtInferLibrary library = {
        .nlevels = (uint32_t)l->levels->count, .normalizer = rt_normalizer(&h->data, h->normalize), .views = h->views};
    if (length) library.names = names;
    if (h->embedded) library.weights = weights, library.nweights = l->nweights;
    memcpy(image, &library, sizeof library);
    join_names(h, image + names);
    if (h->embedded) memcpy(image + weights, l->weights, l->nweights * sizeof(float));
    DataPointer pointer[2 * MAX_LEVELS];
    uint32_t n = 0;
    for (int i = 0; i < l->levels->count; i++) pointer[n++] = (DataPointer){offsetof(RtInferLibrary, batch[i]), batch[i]};
    for (int i = 0; i < l->levels->count && l->single.infer.graph; i++)
        pointer[n++] = (DataPointer){offsetof(RtInferLibrary, single[i]), single[i]};
    CodegenOptions code = code_options(l, 0);
    Diag *diag = l->session->diag;
    bool done = codegen_data(&code, "netc_infer_library", image, size, pointer, n, add_object(l, "library"), diag);
    free(image);
    if (done) return EXIT_OK;
    return session_compile_failed(l->session);
}

static int build_objects(Library *l) {
    char batch[MAX_LEVELS][32], single[MAX_LEVELS][32];
    int status = compile_programs(l, batch, single);
    if (!status) status = compile_library(l, batch, single);
    LibraryLink link = {.target = l->target,
                        .prefix = l->prefix,
                        .directory = l->directory,
                        .object = l->object,
                        .nobjects = l->nobjects,
                        .needs_gemm = l->header.needs_gemm};
    return status ? status : library_link(&link, l->o->output, l->suffix);
}

char *library_header_path(const Options *o) {
    const char *suffix = strrchr(file_name(o->output), '.');
    if (o->header) return join("%s", o->header);
    return join("%.*s.h", (int)(strlen(o->output) - strlen(suffix)), o->output);
}

static int write_header(const Library *l) {
    char *path = library_header_path(l->o);
    int status = library_header_write(&l->header, path);
    free(path);
    return status;
}

int build_library(Session *session, const char *target, const Levels *levels) {
    Library l = {.session = session, .o = session->options, .target = target, .levels = levels};
    int status = check_options(&l);
    if (!status) status = make_graphs(&l);
    if (!status) status = describe_images(&l);
    if (!status) status = read_weights(&l);
    if (!status && !(l.directory = directory_temporary())) status = EXIT_IO;
    if (!status) status = build_objects(&l);
    if (!status && (status = write_header(&l))) remove(l.o->output); /* neither without the other */
    if (l.directory) directory_remove(l.directory);
    rt_data_free(&l.header.data);
    shape_free(&l.shape);
    session_close(&l.single);
    for (int i = 0; i < l.nobjects; i++) free(l.object[i]);
    free(l.directory);
    free(l.prefix);
    free(l.weights);
    return status;
}

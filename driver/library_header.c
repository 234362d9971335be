/* The header of a library: constants of the net, and the seven functions of runtime/infer.h under the library's prefix, with what
 * they promise. The text is a template: @ stands for the prefix, @@ for it in capitals. */
#include "driver/library.h"
#include "runtime/infer.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char interface[] = //
    "enum {\n"
    "    @@_OK = 0,\n"
    "    @@_WEIGHTS = 1,  /* the weights are missing, damaged, or those of another model */\n"
    "    @@_ARGUMENT = 2, /* a mistake of the caller: too little memory, too many threads, a NULL */\n"
    "    @@_IO = 3,       /* the file of weights cannot be read */\n"
    "    @@_MEMORY = 4,   /* no memory, or no threads */\n"
    "    @@_CPU = 5       /* this machine lacks instructions that the library was built for */\n"
    "};\n"
    "#define @@_MESSAGE 512 /* bytes of a message */\n"
    "\n"
    "/* What a context is made with. All zero is a good choice. */\n"
    "typedef struct @_options {\n"
    "    int threads;              /* at most 1024, the caller's among them; 0 and 1: no thread is created */\n"
    "    void *memory;             /* where the context is to lie, aligned or not; NULL: it is allocated */\n"
    "    size_t memory_bytes;      /* how much there is, at least @_bytes(threads) */\n"
    "    const char *weights_path; /* a safetensors file of the model's weights; NULL: those embedded */\n"
    "    const void *weights;      /* the same file in memory, needed during @_init only; NULL */\n"
    "    size_t weights_bytes;\n"
    "    int views; /* of each image, whose scores are averaged: 1 (itself), 2 (and mirrored), 6 (and both moved by a pixel up\n"
    "                * and left, and down and right); 0: @@_VIEWS */\n"
    "} @_options;\n"
    "\n"
    "/* All that running the net needs. Contexts share nothing: one is for one thread at a time, several run at once. */\n"
    "typedef struct @_context @_context;\n"
    "\n"
    "/* Bytes of a context on so many threads, on this machine; 0 if it cannot run here or the threads are too many. */\n"
    "size_t @_bytes(int threads);\n"
    "\n"
    "/* Makes a context; options may be NULL. Returns @@_OK, or another number of the list above, with *context NULL and a\n"
    " * sentence in message (room for @@_MESSAGE bytes, or NULL). With @@_OK the message is empty, or warns that the weights "
    "that\n"
    " * were given are of classes with other names, or that what they say of the images of their training cannot be read (then\n"
    " * @_normalize is the library's own). Weights from a file or from memory need some heap while\n"
    " * they are read. Its symbol has the interface's number: a program that was compiled with another header does not link. */\n"
    "#define @_init @_init_" RT_INFER_INTERFACE "\n"
    "int @_init(@_context **context, const @_options *options, char *message);\n"
    "\n"
    "/* Scores, before softmax, of any number n of images:\n"
    " *     images  float[n][@@_CHANNELS][@@_HEIGHT][@@_WIDTH], normalised\n"
    " *     scores  float[n][@@_CLASSES]\n"
    " * Allocates nothing. The scores do not depend on the number of threads. Returns @@_OK or @@_ARGUMENT. */\n"
    "int @_run(@_context *context, const float *images, int n, float *scores);\n"
    "\n"
    "/* Ends the context's threads and frees what @_init allocated; memory given by the caller is his again. */\n"
    "void @_free(@_context *context);\n"
    "\n"
    "/* Pixels of n pictures as the input of @_run, in planes and normalised as for the weights of the context (by what their "
    "file\n"
    " * says of the images that they were trained on), or those in the library if it is NULL:\n"
    " *     pixels  unsigned char[n][@@_HEIGHT][@@_WIDTH][@@_CHANNELS], RGBRGB... */\n"
    "void @_normalize(const @_context *context, const unsigned char *pixels, int n, float *images);\n"
    "\n"
    "/* Scores of n images as probabilities, in place. */\n"
    "void @_softmax(float *scores, int n);\n"
    "\n"
    "/* The name of a class, from 0; NULL if there is none, or it is not known. */\n"
    "const char *@_class_name(int label);\n";

/* Writes the template's text. */
static void expand(FILE *out, const char *prefix, const char *text) {
    for (; *text; text++) {
        bool capitals = text[0] == '@' && text[1] == '@';
        if (*text != '@') {
            putc(*text, out);
            continue;
        }
        for (const char *c = prefix; *c; c++) putc(capitals ? toupper((unsigned char)*c) : *c, out);
        text += capitals;
    }
}

static void define(FILE *out, const char *prefix, const char *name, int64_t value, const char *comment) {
    expand(out, prefix, "#define @@_");
    fprintf(out, "%s %" PRId64 "%s\n", name, value, comment);
}

static void print_list(FILE *out, const LibraryHeader *h, const char *name, const double *value) {
    expand(out, h->prefix, "#define @@_");
    fprintf(out, "%s {", name);
    for (int64_t c = 0; c < h->shape.channels; c++) fprintf(out, "%s%.9g", c ? ", " : "", value[c]);
    fputs("}\n", out);
}

/* Text that netc did not write (a weights file's, a graph's, a file's name), inside a comment, which it does not end. */
static void print_foreign(FILE *out, const char *text) {
    for (char last = 0; *text; last = *text++) {
        if ((last == '*' && *text == '/') || (last == '/' && *text == '*')) putc(' ', out);
        putc(iscntrl((unsigned char)*text) ? '?' : *text, out);
    }
}

static void print_normalisation(FILE *out, const LibraryHeader *h) {
    static const char *const text[] = {[RT_NORMALIZE_NONE] = "pixels as they are, in [0, 1]",
                                       [RT_NORMALIZE_MEAN] = "pixels in [0, 1], minus their channel's mean",
                                       [RT_NORMALIZE_MEAN_STD] =
                                           "pixels in [0, 1], minus their channel's mean, over its standard deviation"};
    fprintf(out, "/* The input: %s", text[h->normalize]);
    if (h->normalize != RT_NORMALIZE_NONE) {
        fputs(" (of ", out);
        print_foreign(out, h->data.name);
        putc(')', out);
    }
    expand(out, h->prefix, ".\n * @_normalize does that. */\n");
    if (h->normalize != RT_NORMALIZE_NONE) print_list(out, h, "MEAN", h->data.mean);
    if (h->normalize == RT_NORMALIZE_MEAN_STD) print_list(out, h, "STD", h->data.std);
}

static void print_names(FILE *out, const LibraryHeader *h) {
    if (!h->data.class_names) return;
    fputs("/* The classes: ", out);
    int64_t column = 16;
    for (int64_t k = 0; k < h->shape.classes; k++) {
        const char *name = h->data.class_names[k];
        column += (int64_t)strlen(name) + 2;
        if (column > 120) fputs("\n * ", out), column = (int64_t)strlen(name) + 5;
        print_foreign(out, name);
        fputs(k + 1 < h->shape.classes ? ", " : ". */\n", out);
    }
}

static void print_header(FILE *out, const LibraryHeader *h) {
    fputs("/* ", out);
    print_foreign(out, h->library);
    fputs(": inference of the net ", out);
    print_foreign(out, h->model);
    fputs(", compiled by netc. Link with ", out);
    print_foreign(out, h->library);
    fprintf(out, " -lm -pthread%s.\n", h->needs_gemm ? " -lopenblas" : "");
    fprintf(out, " * The weights are %s. */\n", h->embedded ? "in the library" : "not in the library: its init is given them");
    expand(out, h->prefix,
           "#ifndef @@_NETC_H\n#define @@_NETC_H\n#include <stddef.h>\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    define(out, h->prefix, "CHANNELS", h->shape.channels, "");
    define(out, h->prefix, "HEIGHT", h->shape.height, "");
    define(out, h->prefix, "WIDTH", h->shape.width, "");
    define(out, h->prefix, "CLASSES", h->shape.classes, "");
    define(out, h->prefix, "BATCH", h->shape.batch, " /* images that are computed together */");
    define(out, h->prefix, "VIEWS", rt_view_count(h->views), " /* of each image, unless options say otherwise */");
    print_normalisation(out, h);
    print_names(out, h);
    putc('\n', out);
    expand(out, h->prefix, interface);
    fputs("\n#ifdef __cplusplus\n}\n#endif\n#endif\n", out);
}

int library_header_write(const LibraryHeader *h, const char *path) {
    FILE *out = fopen(path, "w");
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    print_header(out, h);
    bool failed = ferror(out);
    failed = fclose(out) || failed;
    return failed ? fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno)) : EXIT_OK;
}

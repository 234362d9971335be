/* See arrays.h. An array is read whole, brought into planes, and given back before the next one is read. */
#include "cli/arrays.h"
#include "cli/npy.h"
#include "cli/picture.h"
#include "cli/report.h"
#include "cli/zip.h"
#include "runtime/images.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { WHY = 160, TENTH = 10, MAX_CLASSES = 256, MAX_SIDE = 1 << 15 };

#ifdef NETC_WITHOUT_PNG /* then there is no zlib either */
bool zip_open(const char *path, Zip *zip, char *why, size_t why_size) {
    (void)path;
    *zip = (Zip){0};
    snprintf(why, why_size, "this executable reads no .npz: there was no zlib for its machine when netc was built");
    return false;
}
void zip_close(Zip *zip) { (void)zip; }
uint8_t *zip_read(const Zip *zip, const ZipEntry *entry, char *why, size_t why_size) {
    (void)zip, (void)entry, (void)why, (void)why_size;
    return NULL;
}
#endif

/* Where arrays are looked for. */
typedef struct Source {
    const char *where;
    Zip zip;
    bool packed; /* an .npz file */
} Source;

/* Names of images and labels of both splits; test NULL: each tenth is for testing. */
typedef struct Names4 {
    const char *train_images, *train_labels, *test_images, *test_labels;
} Names4;

static const Names4 conventions[] = {{"x_train", "y_train", "x_test", "y_test"},
                                     {"X_train", "y_train", "X_test", "y_test"},
                                     {"train_images", "train_labels", "test_images", "test_labels"},
                                     {"train_images", "train_labels", "val_images", "val_labels"},
                                     {"x_train", "y_train", "x_val", "y_val"},
                                     {"images", "labels", NULL, NULL},
                                     {"x", "y", NULL, NULL},
                                     {"X", "y", NULL, NULL},
                                     {"arr_0", "arr_1", NULL, NULL}};
enum { CONVENTIONS = sizeof conventions / sizeof *conventions };

static bool is_file(const char *directory, const char *name) {
    char *path = join("%s/%s.npy", directory, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static bool is_packed(const char *where) {
    const char *dot = strrchr(where, '.');
    return dot && !strcasecmp(dot, ".npz") && !names_is_directory(where);
}

bool arrays_is(const char *where) {
    if (rt_data_known(where)) return false;
    if (is_packed(where)) return true;
    for (int i = 0; i < CONVENTIONS && names_is_directory(where); i++)
        if (is_file(where, conventions[i].train_images) && is_file(where, conventions[i].train_labels)) return true;
    return false;
}

static const ZipEntry *find_entry(const Zip *zip, const char *name) {
    size_t length = strlen(name);
    for (uint32_t i = 0; i < zip->count; i++)
        if (!strncmp(zip->entry[i].name, name, length) && !strcmp(zip->entry[i].name + length, ".npy")) return &zip->entry[i];
    return NULL;
}

static bool has(const Source *s, const char *name) {
    return s->packed ? find_entry(&s->zip, name) != NULL : is_file(s->where, name);
}

/* The bytes of an array, which it points into; NULL after a sentence. */
static uint8_t *read_array(const Source *s, const char *name, Npy *array, int *status) {
    char why[WHY];
    size_t length = 0;
    uint8_t *bytes;
    if (s->packed) {
        const ZipEntry *e = find_entry(&s->zip, name);
        bytes = zip_read(&s->zip, e, why, sizeof why);
        length = (size_t)e->length;
        if (!bytes) *status = fail(EXIT_INPUT, "cannot read '%s' of '%s': %s", name, s->where, why);
    } else {
        char *path = join("%s/%s.npy", s->where, name);
        bytes = (uint8_t *)read_large_file(path, INT64_MAX, &length, status);
        free(path);
    }
    if (bytes && !npy_parse(bytes, length, array, why, sizeof why)) {
        *status = fail(EXIT_INPUT, "cannot read '%s' of '%s': %s", name, s->where, why);
        free(bytes);
        return NULL;
    }
    return bytes;
}

static int find_names(const Source *s, const Names4 **names) {
    for (int i = 0; i < CONVENTIONS; i++) {
        const Names4 *n = &conventions[i];
        if (!has(s, n->train_images) || !has(s, n->train_labels)) continue;
        if (n->test_images && (!has(s, n->test_images) || !has(s, n->test_labels))) continue;
        *names = n;
        return EXIT_OK;
    }
    return fail(EXIT_INPUT,
                "'%s' has no arrays x_train, y_train, x_test, y_test, nor train_images, train_labels, test_images, test_labels, "
                "nor images, "
                "labels",
                s->where);
}

/* ---- labels ---- */

/* u8[n] of an array, malloc'd; NULL after a sentence. */
static uint8_t *read_labels(const Source *s, const char *name, int64_t *n, int *status) {
    Npy a;
    uint8_t *bytes = read_array(s, name, &a, status), *labels = NULL;
    if (!bytes) return NULL;
    if (!(a.rank == 1 || (a.rank == 2 && a.dim[1] == 1)) || (a.kind != 'u' && a.kind != 'i') || a.size > 8)
        *status = fail(EXIT_INPUT, "'%s' of '%s' are no labels: whole numbers, one for each image", name, s->where);
    else if (!(labels = malloc((size_t)a.count + 1)))
        *status = fail(EXIT_IO, "out of memory");
    *n = a.count;
    for (int64_t i = 0, label; labels && i < a.count; i++) {
        if (npy_integer(&a, i, &label) && label >= 0 && label < MAX_CLASSES) {
            labels[i] = (uint8_t)label;
            continue;
        }
        *status = fail(EXIT_INPUT, "label %" PRId64 " of '%s' in '%s' is not from 0 to %d", i, name, s->where, MAX_CLASSES - 1);
        free(labels);
        labels = NULL;
    }
    free(bytes);
    return labels;
}

/* ---- images ---- */

/* How an array's elements are images. */
typedef struct Layout {
    int64_t channels, height, width;
    bool last; /* channels are the last dimension */
} Layout;

static bool are_channels(int64_t n, int64_t wanted) { return wanted ? n == wanted : n == 1 || n == 3; }

/* Are they the last dimension? Of a net's number of channels; without one 1 or 3, else up to 4: the last, if either would do, as
 * numpy's pictures have it. */
static bool are_channels_last(int64_t first, int64_t last, int64_t wanted) {
    if (are_channels(last, wanted)) return true;
    if (are_channels(first, wanted)) return false;
    return are_channels(last, 0) || (!wanted && last <= 4);
}

/* channels: of the net, 0 where there is none. */
static bool layout_of(const Npy *a, int64_t channels, Layout *l) {
    if (a->kind != 'u' || a->size != 1) return false;
    if (a->rank == 3) {
        *l = (Layout){1, a->dim[1], a->dim[2], true};
    } else if (a->rank == 4) {
        bool last = are_channels_last(a->dim[1], a->dim[3], channels);
        *l = last ? (Layout){a->dim[3], a->dim[1], a->dim[2], true} : (Layout){a->dim[1], a->dim[2], a->dim[3], false};
    } else {
        return false;
    }
    return l->channels >= 1 && l->channels <= 4 && l->height >= 1 && l->width >= 1 && l->height <= MAX_SIDE &&
           l->width <= MAX_SIDE;
}

/* Images being brought into planes of the net's shape. */
typedef struct Filling {
    const uint8_t *from;
    Layout layout;
    const PictureShape *shape;
    uint8_t *to;
    bool failed;
} Filling;

static uint8_t level(const Filling *f, const uint8_t *image, int64_t c, int64_t pixel) {
    const Layout *l = &f->layout;
    return l->last ? image[pixel * l->channels + c] : image[c * l->height * l->width + pixel];
}

static void fill(void *context, int64_t i, int thread) {
    Filling *f = context;
    const Layout *l = &f->layout;
    const PictureShape *s = f->shape;
    int64_t plane = l->height * l->width;
    const uint8_t *image = f->from + i * plane * l->channels;
    uint8_t *to = f->to + i * s->channels * s->height * s->width;
    (void)thread;
    if (l->channels == s->channels && l->height == s->height && l->width == s->width) {
        for (int64_t c = 0; c < l->channels; c++)
            for (int64_t p = 0; p < plane; p++) to[c * plane + p] = level(f, image, c, p);
        return;
    }
    Picture picture = {l->width, l->height, malloc(3 * (size_t)plane)};
    for (int64_t p = 0; picture.rgb && p < plane; p++)
        for (int64_t c = 0; c < 3; c++) picture.rgb[3 * p + c] = level(f, image, l->channels == 3 ? c : 0, p);
    if (!picture.rgb || !picture_fit(&picture, s->fit, s->channels, s->width, s->height, to))
        __atomic_store_n(&f->failed, true, __ATOMIC_RELAXED); /* by any thread */
    picture_free(&picture);
}

/* Those of a split into malloc'd planes; *shape is made theirs where it has no size. NULL after a sentence. */
static uint8_t *read_images(const Source *s, const char *name, PictureShape *shape, const Options *o, int64_t *n, int *status) {
    Npy a;
    Layout l = {0};
    uint8_t *bytes = read_array(s, name, &a, status), *planes = NULL;
    if (!bytes) return NULL;
    bool images = layout_of(&a, shape->channels, &l);
    if (images && !shape->height) *shape = (PictureShape){l.channels, l.height, l.width, shape->fit};
    bool same = l.channels == shape->channels && l.height == shape->height && l.width == shape->width;
    bool pictures = (l.channels == 1 || l.channels == 3) && (shape->channels == 1 || shape->channels == 3);
    *n = images ? a.dim[0] : 0;
    RtPool *pool = NULL;
    if (!images)
        *status = fail(EXIT_INPUT, "'%s' of '%s' are no images: uint8 of [N,H,W], [N,H,W,C] or [N,C,H,W]", name, s->where);
    else if (!same && !pictures)
        *status = fail(EXIT_INPUT, "'%s' of '%s' are images of %" PRId64 " channel%s, the net takes %" PRId64, name, s->where,
                       l.channels, l.channels == 1 ? "" : "s", shape->channels);
    else if (!(planes = malloc((size_t)(*n * shape->channels * shape->height * shape->width) + 1)))
        *status = fail(EXIT_IO, "out of memory for the images of '%s'", s->where);
    else if (!(pool = rt_pool_new((int)o->threads)))
        *status = fail(EXIT_IO, "cannot start threads");
    Filling f = {a.data, l, shape, planes, false};
    if (pool) rt_pool_run(pool, fill, &f, *n);
    if (f.failed) *status = fail(EXIT_IO, "out of memory");
    rt_pool_free(pool);
    free(bytes);
    if (!*status) return planes;
    free(planes);
    return NULL;
}

/* ---- sets ---- */

static int read_split(const Source *s, const char *images, const char *labels, PictureShape *shape, const Options *o,
                      uint8_t **planes, uint8_t **classes, int64_t *n) {
    int64_t nlabels = 0;
    int status = EXIT_OK;
    if (!(*classes = read_labels(s, labels, &nlabels, &status))) return status;
    if (!(*planes = read_images(s, images, shape, o, n, &status))) return status;
    if (*n != nlabels)
        return fail(EXIT_INPUT, "'%s' has %" PRId64 " image%s in '%s' and %" PRId64 " label%s in '%s'", s->where, *n,
                    *n == 1 ? "" : "s", images, nlabels, nlabels == 1 ? "" : "s", labels);
    return *n ? EXIT_OK : fail(EXIT_INPUT, "'%s' has no images in '%s'", s->where, images);
}

/* Each tenth image of a class becomes one to test with: images and labels move apart. */
static int split_tenths(RtData *d) {
    size_t image = (size_t)(d->channels * d->height * d->width);
    int64_t seen[MAX_CLASSES] = {0}, n = d->ntrain;
    d->test_images = malloc((size_t)(n / TENTH + 1) * image);
    d->test_labels = malloc((size_t)(n / TENTH + 1));
    if (!d->test_images || !d->test_labels) return fail(EXIT_IO, "out of memory");
    d->ntrain = 0;
    for (int64_t i = 0; i < n; i++) {
        uint8_t label = d->train_labels[i];
        bool test = ++seen[label] % TENTH == 0;
        int64_t at = test ? d->ntest++ : d->ntrain++;
        memmove((test ? d->test_images : d->train_images) + (size_t)at * image, d->train_images + (size_t)i * image, image);
        (test ? d->test_labels : d->train_labels)[at] = label;
    }
    return d->ntest ? EXIT_OK : fail(EXIT_INPUT, "no class has ten images, of which one would be for testing");
}

static int64_t greatest(const uint8_t *labels, int64_t n) {
    int64_t most = -1;
    for (int64_t i = 0; i < n; i++) most = labels[i] > most ? labels[i] : most;
    return most;
}

static bool is_plain(const char *name) {
    for (; *name; name++)
        if (iscntrl((unsigned char)*name)) return false;
    return true;
}

/* class_names, if there are such, into one block of memory that data owns. */
static int read_class_names(const Source *s, RtData *d) {
    Npy a;
    int status = EXIT_OK;
    if (!has(s, "class_names")) return EXIT_OK;
    uint8_t *bytes = read_array(s, "class_names", &a, &status);
    if (!bytes) return status;
    Names names = {0};
    bool texts = a.rank == 1 && a.count >= 1 && a.count <= MAX_CLASSES;
    for (int64_t i = 0; texts && i < a.count; i++) {
        char *name = npy_text(&a, i);
        texts = name && *name && is_plain(name);
        if (name) names_add(&names, name);
    }
    if (!texts)
        status = fail(EXIT_INPUT, "'class_names' of '%s' are no texts, one for each class", s->where);
    else if (!folder_keep_names(&names, d))
        status = fail(EXIT_IO, "out of memory");
    else
        d->classes = a.count;
    names_free(&names);
    free(bytes);
    return status;
}

static int count_classes(const Source *s, int64_t classes, RtData *d) {
    int64_t train = greatest(d->train_labels, d->ntrain), test = greatest(d->test_labels, d->ntest),
            most = train > test ? train : test;
    int status = read_class_names(s, d);
    if (status) return status;
    if (d->class_names && most >= d->classes)
        return fail(EXIT_INPUT, "'%s' has the label %" PRId64 " and %" PRId64 " name%s of classes", s->where, most, d->classes,
                    d->classes == 1 ? "" : "s");
    if (!d->class_names) d->classes = most + 1;
    if (!classes || classes == d->classes) return EXIT_OK;
    return fail(EXIT_INPUT, "'%s' has %" PRId64 " class%s, the net has %" PRId64, s->where, d->classes,
                d->classes == 1 ? "" : "es", classes);
}

static int read_all(const Source *s, PictureShape *shape, int64_t classes, const Options *o, RtData *d) {
    const Names4 *names = NULL;
    int status = find_names(s, &names);
    if (!status)
        status =
            read_split(s, names->train_images, names->train_labels, shape, o, &d->train_images, &d->train_labels, &d->ntrain);
    if (!status && names->test_images)
        status = read_split(s, names->test_images, names->test_labels, shape, o, &d->test_images, &d->test_labels, &d->ntest);
    d->channels = shape->channels, d->height = shape->height, d->width = shape->width;
    if (!status && !names->test_images) status = split_tenths(d);
    if (!status) status = count_classes(s, classes, d);
    if (status) return status;
    if (!names->test_images && !o->quiet) {
        char *text = join("'%s' has no test images: each tenth image of a class is for testing, %" PRId64 " beside %" PRId64
                          " for training",
                          s->where, d->ntest, d->ntrain);
        say(RT_NOTE, text);
        free(text);
    }
    rt_data_measure(d);
    return EXIT_OK;
}

int arrays_open(const char *where, const PictureShape *shape, int64_t classes, const Options *o, RtData *data) {
    char why[WHY];
    Source s = {.where = where, .packed = is_packed(where)};
    PictureShape made = shape ? *shape : (PictureShape){0};
    int status = EXIT_OK;
    *data = (RtData){.name = folder_base_name(where)};
    if (s.packed && !zip_open(where, &s.zip, why, sizeof why)) status = fail(EXIT_INPUT, "cannot read '%s': %s", where, why);
    if (!status) status = read_all(&s, &made, classes, o, data);
    zip_close(&s.zip);
    if (status) rt_data_free(data);
    return status;
}

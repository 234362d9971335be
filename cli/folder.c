/* Directories of pictures. First all names, sorted, so that a set is the same wherever and however often it is read; then every
 * picture, decoded and fitted by all threads into its place. */
#include "cli/folder.h"
#include "cli/classes.h"
#include "cli/decoded.h"
#include "cli/names.h"
#include "cli/picture.h"
#include "cli/report.h"
#include "runtime/images.h"
#include "runtime/json.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CLASSES = 256, TENTH = 10, NAMED = 10, REASON = DECODED_REASON };

/* ---- sets ---- */

/* A split: the paths of its pictures and their classes. */
typedef struct Split {
    Names path;
    uint8_t *label;
} Split;

typedef struct Set {
    Names classes;
    Split train, test;
    bool tenth;      /* test is each tenth picture */
    uint32_t others; /* files that are no pictures by their names */
} Set;

static void set_free(Set *s) {
    names_free(&s->classes);
    names_free(&s->train.path);
    names_free(&s->test.path);
    free(s->train.label);
    free(s->test.label);
}

static void split_add(Split *s, char *path, uint32_t label) {
    uint32_t n = s->path.count;
    if (!(n & (n + 1))) {
        uint8_t *more = realloc(s->label, 2 * (size_t)n + 1);
        if (!more) exit(fail(EXIT_IO, "out of memory"));
        s->label = more;
    }
    names_add(&s->path, path);
    s->label[n] = (uint8_t)label;
}

/* The pictures of all classes under `root`; with `test` each tenth goes there. */
static int gather(Set *set, const char *root, Split *train, Split *test) {
    for (uint32_t c = 0; c < set->classes.count; c++) {
        char *folder = join("%s/%s", root, set->classes.name[c]);
        Names pictures;
        bool listed = names_list(folder, false, &pictures);
        if (!listed && errno != ENOENT) return fail(EXIT_IO, "cannot read '%s': %s", folder, strerror(errno));
        for (uint32_t i = 0; listed && i < pictures.count; i++)
            split_add(test && i % TENTH == TENTH - 1 ? test : train, pictures.name[i], c);
        if (listed) set->others += pictures.others;
        if (listed) free(pictures.name);
        free(folder);
    }
    return EXIT_OK;
}

static char *test_folder(const char *directory) {
    static const char *const names[] = {"test", "val", "valid"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = join("%s/%s", directory, names[i]);
        if (names_is_directory(path)) return path;
        free(path);
    }
    return NULL;
}

/* A folder of the test split that is no class of the training split is a mistake. */
static int same_classes(const Set *set, const char *test) {
    Names folders;
    int status = names_list(test, true, &folders) ? EXIT_OK : fail(EXIT_IO, "cannot read '%s': %s", test, strerror(errno));
    for (uint32_t i = 0; i < folders.count && !status; i++)
        if (!bsearch(&folders.name[i], set->classes.name, set->classes.count, sizeof(char *), names_by_bytes))
            status = fail(EXIT_INPUT, "'%s/%s' is a class that the training pictures do not have", test, folders.name[i]);
    names_free(&folders);
    return status;
}

/* Names of classes go into messages and checkpoints, a line each. */
static int plain_names(const char *root, const Names *classes) {
    for (uint32_t i = 0; i < classes->count; i++)
        for (char *at = classes->name[i]; *at; at++) {
            if (!iscntrl((unsigned char)*at)) continue;
            *at = '?';
            return fail(EXIT_INPUT, "the folder '%s/%s' has a control character in its name, where the '?' is", root,
                        classes->name[i]);
        }
    return EXIT_OK;
}

static int find_pictures(const char *directory, Set *set) {
    char *train = join("%s/train", directory), *test = names_is_directory(train) ? test_folder(directory) : NULL;
    int status = EXIT_OK;
    *set = (Set){.tenth = !names_is_directory(train)};
    const char *root = set->tenth ? directory : train;
    if (!set->tenth && !test)
        status = fail(EXIT_INPUT, "'%s' has a folder train but none named test, val or valid", directory);
    else if (!names_list(root, true, &set->classes))
        status = fail(EXIT_INPUT, "cannot open the directory '%s': %s", root, strerror(errno));
    else if (set->classes.count < 1 || set->classes.count > MAX_CLASSES)
        status = fail(EXIT_INPUT, "'%s' has %u folders; a class each, there are 1 to %d", root, set->classes.count, MAX_CLASSES);
    if (!status) status = plain_names(root, &set->classes);
    if (!status && test) status = same_classes(set, test);
    if (!status) status = gather(set, root, &set->train, set->tenth ? &set->test : NULL);
    if (!status && test) status = gather(set, test, &set->test, NULL);
    if (!status && (!set->train.path.count || !set->test.path.count))
        status = fail(EXIT_INPUT, "'%s' has %u pictures to train with and %u to test with (PNG, JPEG, PPM, PGM): %s", directory,
                      set->train.path.count, set->test.path.count,
                      set->tenth ? "without folders train and test it takes ten of a class" : "it takes one of each");
    free(train);
    free(test);
    return status;
}

bool folder_is(const char *where) {
    Names folders = {0};
    bool some = !rt_data_known(where) && names_is_directory(where) && names_list(where, true, &folders) && folders.count > 0;
    for (uint32_t i = 0; i < folders.count; i++)
        if (!strncmp(folders.name[i], "cifar-10", 8)) some = false; /* the archive's own folder, empty or of another version */
    names_free(&folders);
    return some;
}

/* ---- pictures ---- */

/* Of a picture's channels, levels in [0, 1]: means, and means of squares. */
typedef struct Moments {
    double mean[3], square[3];
} Moments;

/* A split being decoded, a picture a piece. */
typedef struct Decoding {
    const Split *split;
    const PictureShape *shape;
    uint8_t *images;        /* [n][C][H][W]; NULL: sizes are asked for alone */
    int64_t (*size)[2];     /* width, height of each file; NULL */
    char (*reason)[REASON]; /* "": it is good */
    Moments *moments;       /* of each picture, fitted where shape has a size; NULL */
} Decoding;

/* Levels stand `step` apart, `plane` of them for each channel. */
static void add_moments(const uint8_t *level, int64_t channels, int64_t plane, int64_t step, int64_t channel_step, Moments *m) {
    for (int64_t c = 0; c < channels; c++) {
        uint64_t sum = 0, squares = 0;
        for (int64_t p = 0; p < plane; p++) {
            uint64_t x = level[c * channel_step + p * step];
            sum += x, squares += x * x;
        }
        m->mean[c] = (double)sum / (255. * (double)plane);
        m->square[c] = (double)squares / (255. * 255. * (double)plane);
    }
}

/* As it is, or fitted. */
static void measure(const Decoding *d, int64_t i) {
    const PictureShape *s = d->shape;
    const char *path = d->split->path.name[i];
    int64_t plane = s->height * s->width;
    Picture picture;
    if (!plane) {
        if (!picture_read(path, &picture, d->reason[i], REASON)) return;
        d->size[i][0] = picture.width, d->size[i][1] = picture.height;
        add_moments(picture.rgb, 3, picture.width * picture.height, 3, 1, &d->moments[i]);
        picture_free(&picture);
        return;
    }
    uint8_t *planes = malloc((size_t)(s->channels * plane));
    if (!planes)
        snprintf(d->reason[i], REASON, "out of memory");
    else if (picture_load(path, s, planes, d->size[i], d->reason[i], REASON) == PICTURE_LOADED)
        add_moments(planes, s->channels, plane, 1, plane, &d->moments[i]);
    free(planes);
}

static void decode(void *context, int64_t i, int thread) {
    const Decoding *d = context;
    const PictureShape *s = d->shape;
    int64_t image = d->images ? s->channels * s->height * s->width : 0;
    uint8_t *planes = d->images ? d->images + i * image : NULL;
    (void)thread;
    if (d->moments) {
        measure(d, i);
        return;
    }
    PictureLoad is = picture_load(d->split->path.name[i], s, planes, d->size ? d->size[i] : NULL, d->reason[i], REASON);
    if (is == PICTURE_BAD && planes) memset(planes, 0, (size_t)image); /* it is kept with the others */
}

/* Of pictures that were kept only what was bad, which may have been for lack of memory. */
static void decode_bad(void *context, int64_t i, int thread) {
    const Decoding *d = context;
    if (!*d->reason[i]) return;
    *d->reason[i] = 0;
    decode(context, i, thread);
}

/* Says which are bad, all or the first few by name. Returns how many. */
static int64_t say_bad(const Decoding *d, bool skip, bool all) {
    int64_t bad = 0;
    for (uint32_t i = 0; i < d->split->path.count; i++) {
        if (!*d->reason[i] || (++bad > NAMED && !all)) continue;
        if (skip)
            fprintf(stderr, "%s: warning: '%s' is left out: %s\n", program_invocation_short_name, d->split->path.name[i],
                    d->reason[i]);
        else
            fail(EXIT_INPUT, "cannot read the picture '%s': %s", d->split->path.name[i], d->reason[i]);
    }
    if (bad > NAMED && !all)
        fprintf(stderr, "%s: note: and %" PRId64 " more; 'data check' names all\n", program_invocation_short_name, bad - NAMED);
    return bad;
}

/* Labels of a decoded split, whose bad pictures are said and left out or refused; *n is how many are left. */
static int settle_split(const Decoding *d, const Options *o, uint8_t *labels, int64_t *n) {
    const PictureShape *shape = d->shape;
    const Split *split = d->split;
    int64_t image = shape->channels * shape->height * shape->width, kept = 0;
    bool skip = o->bad_pictures && !strcmp(o->bad_pictures, "skip");
    int64_t bad = say_bad(d, skip, false);
    for (uint32_t i = 0; i < split->path.count; i++) {
        if (*d->reason[i]) continue;
        if (kept != i) memmove(d->images + kept * image, d->images + i * image, (size_t)image);
        labels[kept++] = split->label[i];
    }
    *n = kept;
    if (bad && !skip)
        return fail(EXIT_INPUT, "%" PRId64 " of %u pictures cannot be read; --bad-pictures=skip leaves such out", bad,
                    split->path.count);
    return kept ? EXIT_OK : fail(EXIT_INPUT, "none of the %u pictures can be read", split->path.count);
}

/* Both splits, decoded or as they were kept. */
static int load(const Set *set, const PictureShape *shape, const Options *o, RtData *data) {
    const Split *split[2] = {&set->train, &set->test};
    uint8_t *images[2] = {data->train_images, data->test_images};
    Decoding d[2];
    DecodedPart part[2];
    int status = EXIT_OK;
    for (int k = 0; k < 2; k++) {
        d[k] = (Decoding){split[k], shape, images[k], NULL, calloc((size_t)split[k]->path.count, REASON)};
        part[k] = (DecodedPart){split[k]->path.name, split[k]->path.count, images[k], d[k].reason};
        if (!d[k].reason) status = fail(EXIT_IO, "out of memory");
    }
    RtPool *pool = status ? NULL : rt_pool_new((int)o->threads);
    if (!status && !pool) status = fail(EXIT_IO, "cannot start threads");
    Decoded *cache = status || o->no_cache ? NULL : decoded_open(part, shape);
    bool kept = !status && decoded_read(cache, part, pool);
    for (int k = 0; k < 2 && !status; k++) rt_pool_run(pool, kept ? decode_bad : decode, &d[k], split[k]->path.count);
    if (!status && !kept) decoded_write(cache, part);
    decoded_close(cache);
    rt_pool_free(pool);
    int trained = status ? status : settle_split(&d[0], o, data->train_labels, &data->ntrain);
    int tested = status ? status : settle_split(&d[1], o, data->test_labels, &data->ntest);
    for (int k = 0; k < 2; k++) free(d[k].reason);
    return trained ? trained : tested;
}

char *folder_base_name(const char *directory) {
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/') length--;
    const char *at = directory + length;
    while (at > directory && at[-1] != '/') at--;
    return strndup(at, (size_t)(directory + length - at));
}

bool folder_keep_names(const Names *classes, RtData *data) {
    size_t bytes = classes->count * sizeof(char *);
    for (uint32_t i = 0; i < classes->count; i++) bytes += strlen(classes->name[i]) + 1;
    char **names = malloc(bytes), *at = (char *)(names + classes->count);
    for (uint32_t i = 0; names && i < classes->count; i++) {
        names[i] = at;
        at = stpcpy(at, classes->name[i]) + 1;
    }
    data->owned_names = names;
    data->class_names = (const char *const *)names;
    return names;
}

static int read_set(const Set *set, const PictureShape *shape, const char *directory, const Options *o, RtData *data) {
    RtError error = {{0}};
    *data = (RtData){.channels = shape->channels,
                     .height = shape->height,
                     .width = shape->width,
                     .classes = set->classes.count,
                     .ntrain = set->train.path.count,
                     .ntest = set->test.path.count,
                     .name = folder_base_name(directory)};
    RtStatus status = rt_data_allocate(data, &error);
    if (status) return fail_rt(status, &error);
    if (!folder_keep_names(&set->classes, data)) return fail(EXIT_IO, "out of memory");
    int loaded = load(set, shape, o, data);
    if (!loaded) rt_data_measure(data);
    return loaded;
}

/* A class without pictures cannot be learned, or not measured. */
static void warn_of_classes(const Set *set, const RtData *data) {
    for (uint32_t c = 0; c < set->classes.count; c++) {
        bool trained = memchr(data->train_labels, (int)c, (size_t)data->ntrain),
             tested = memchr(data->test_labels, (int)c, (size_t)data->ntest);
        if (trained && tested) continue;
        char *text = join("there is no picture of the class '%s' to %s with", set->classes.name[c], trained ? "test" : "train");
        say(RT_WARNING, text);
        free(text);
    }
}

int folder_open(const char *directory, const PictureShape *shape, int64_t classes, const Options *o, RtData *data) {
    Set set;
    *data = (RtData){0};
    int status = find_pictures(directory, &set);
    if (!status && classes && classes != set.classes.count)
        status = fail(EXIT_INPUT, "'%s' has %u classes, the net has %" PRId64, directory, set.classes.count, classes);
    if (!status && shape->channels != 1 && shape->channels != 3)
        status = fail(EXIT_INPUT, "pictures have 1 or 3 channels, the net takes %" PRId64, shape->channels);
    if (!status) status = read_set(&set, shape, directory, o, data);
    if (!status && set.tenth && !o->quiet) {
        char *text = join("'%s' has no folders train and test: each tenth picture of a class is for testing, %" PRId64
                          " beside %" PRId64 " for training",
                          directory, data->ntest, data->ntrain);
        say(RT_NOTE, text);
        free(text);
    }
    if (!status) warn_of_classes(&set, data);
    if (!status && set.others && !o->quiet) {
        char *text = join("%u files in '%s' are not looked at, since their names do not end in .png, .jpg, .jpeg, .ppm or .pgm",
                          set.others, directory);
        say(RT_NOTE, text);
        free(text);
    }
    set_free(&set);
    if (status) rt_data_free(data);
    return status;
}

/* ---- statistics ---- */

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sides of the good pictures along an axis, in order. Returns how many; malloc'd. */
static uint32_t sorted_sides(const Decoding *d, int axis, int64_t **side) {
    uint32_t n = 0;
    *side = malloc(((size_t)d->split->path.count + 1) * sizeof **side);
    for (uint32_t i = 0; *side && i < d->split->path.count; i++)
        if (!*d->reason[i]) (*side)[n++] = d->size[i][axis];
    if (n) qsort(*side, n, sizeof **side, by_number);
    return n;
}

/* Least, median and greatest. */
static void print_sides(const Decoding *d, int axis, bool json) {
    int64_t *side;
    uint32_t n = sorted_sides(d, axis, &side);
    const char *name = axis ? "height" : "width";
    if (n && json)
        printf(", \"%s\": {\"least\": %" PRId64 ", \"median\": %" PRId64 ", \"greatest\": %" PRId64 "}", name, side[0],
               side[n / 2], side[n - 1]);
    else if (n)
        printf(", %s %" PRId64 " to %" PRId64 " (median %" PRId64 ")", name, side[0], side[n - 1], side[n / 2]);
    free(side);
}

static void print_numbers(const char *name, int64_t n, const double *number) {
    printf(", \"%s\": [", name);
    for (int64_t i = 0; i < n; i++) printf("%s%.9g", i ? ", " : "", number[i]);
    putchar(']');
}

void statistics_print(int64_t channels, const double *mean, const double *std, bool json) {
    if (json) {
        print_numbers("mean", channels, mean);
        print_numbers("std", channels, std);
        return;
    }
    for (int64_t c = 0; c < channels; c++) printf("channel %" PRId64 ": mean %.5f, deviation %.5f\n", c, mean[c], std[c]);
}

/* Each picture counts alike, as it does when all are of one size. */
static void print_moments(const Decoding *d, bool json) {
    const PictureShape *s = d->shape;
    const char *fit = s->fit == RT_FIT_CROP ? "crop" : "stretch";
    double mean[3] = {0}, square[3] = {0}, n = 0;
    for (uint32_t i = 0; i < d->split->path.count; i++) {
        if (*d->reason[i]) continue;
        n++;
        for (int64_t c = 0; c < s->channels; c++) mean[c] += d->moments[i].mean[c], square[c] += d->moments[i].square[c];
    }
    if (!(n > 0)) return;
    for (int64_t c = 0; c < s->channels; c++) {
        mean[c] /= n;
        double variance = square[c] / n - mean[c] * mean[c];
        square[c] = variance > 0 ? sqrt(variance) : 0;
    }
    if (json && s->height)
        printf(", \"shape\": [%" PRId64 ", %" PRId64 ", %" PRId64 "], \"fit\": \"%s\"", s->channels, s->height, s->width, fit);
    else if (json)
        printf(", \"shape\": null");
    else if (s->height)
        printf("means and deviations of the training pictures as images of %" PRId64 "x%" PRId64 "x%" PRId64 " (%s):\n",
               s->channels, s->height, s->width, fit);
    else
        printf("means and deviations of the training pictures at their own sizes, each counting alike (--shape=3x32x32: "
               "resized):\n");
    statistics_print(s->channels, mean, square, json);
}

/* What is asked of all pictures of a directory. */
typedef enum Asked { ASKED_CHECK, ASKED_STATS, ASKED_STATS_JSON } Asked;

static void print_split(const Decoding *d, bool test, bool tenth, int64_t bad, Asked asked) {
    if (asked == ASKED_CHECK) return;
    bool json = asked == ASKED_STATS_JSON;
    if (json)
        printf(", \"%s\": {\"pictures\": %u, \"bad\": %" PRId64, test ? "test" : "train", d->split->path.count, bad);
    else
        printf("%s: %u pictures", !test ? "train" : tenth ? "test (each tenth)" : "test", d->split->path.count);
    print_sides(d, 0, json);
    print_sides(d, 1, json);
    fputs(json ? "}" : "\n", stdout);
    if (d->moments) print_moments(d, json);
}

/* Decodes a split, says which are bad, and prints how many and how large they are if that is asked. */
static int look_at_split(const Set *set, const PictureShape *shape, bool test, RtPool *pool, Asked asked, int64_t *bad) {
    const Split *split = test ? &set->test : &set->train;
    bool measures = !test && asked != ASKED_CHECK;
    Decoding d = {.split = split, .shape = shape};
    d.reason = calloc((size_t)split->path.count, REASON);
    d.size = calloc((size_t)split->path.count, sizeof *d.size);
    if (measures) d.moments = calloc((size_t)split->path.count, sizeof *d.moments);
    if (!d.reason || !d.size || (measures && !d.moments)) {
        free(d.reason);
        free(d.size);
        free(d.moments);
        return fail(EXIT_IO, "out of memory");
    }
    rt_pool_run(pool, decode, &d, split->path.count);
    int64_t found = 0;
    for (uint32_t i = 0; i < split->path.count; i++) found += *d.reason[i] != 0;
    print_split(&d, test, set->tenth, found, asked);
    *bad += say_bad(&d, false, true);
    free(d.reason);
    free(d.size);
    free(d.moments);
    return EXIT_OK;
}

static uint32_t count_class(const Split *split, uint32_t class) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < split->path.count; i++) n += split->label[i] == class;
    return n;
}

static void print_counts(const Set *set, bool json) {
    if (json) printf(", \"each_tenth\": %s, \"classes\": [", set->tenth ? "true" : "false");
    for (uint32_t c = 0; c < set->classes.count; c++) {
        uint32_t train = count_class(&set->train, c), test = count_class(&set->test, c);
        if (json) {
            printf("%s{\"class\": ", c ? ", " : "");
            json_write_string(stdout, set->classes.name[c]);
            printf(", \"train\": %u, \"test\": %u}", train, test);
        } else {
            printf("%5u  ", c);
            class_print_name(set->classes.name[c], 24);
            printf(" %7u train %7u test\n", train, test);
        }
    }
    if (json) puts("]}");
}

void counts_print_json(const char *name, int64_t train, int64_t test, int64_t classes) {
    printf("{\"data\": ");
    json_write_string(stdout, name);
    printf(", \"train\": %" PRId64 ", \"test\": %" PRId64 ", \"classes\": %" PRId64 "}\n", train, test, classes);
}

/* Of --shape=CxHxW and --fit; without, three channels at the pictures' own sizes: height and width 0. */
static int shape_asked(const Options *o, PictureShape *shape) {
    enum { MOST = 1 << 13 };
    int end = 0;
    *shape = (PictureShape){.channels = 3, .fit = o->fit && !strcmp(o->fit, "crop") ? RT_FIT_CROP : RT_FIT_STRETCH};
    if (!o->shape && o->fit) return usage_error("data", "'--fit' is about '--shape', which is not given");
    if (!o->shape) return EXIT_OK;
    bool read =
        sscanf(o->shape, "%4" SCNd64 "x%5" SCNd64 "x%5" SCNd64 "%n", &shape->channels, &shape->height, &shape->width, &end) == 3;
    if (read && !o->shape[end] && (shape->channels == 1 || shape->channels == 3) && shape->height >= 1 && shape->width >= 1 &&
        shape->height <= MOST && shape->width <= MOST)
        return EXIT_OK;
    return usage_error("data", "'--shape' is that of a net's images, 3x32x32 or 1x28x28, up to %d a side, found '%s'", MOST,
                       o->shape);
}

/* Reads every picture, and prints what there is: with stats of each split and class, else a line. */
static int look_through(const char *directory, const Options *o, bool stats) {
    Set set;
    int64_t bad = 0;
    Asked asked = !stats ? ASKED_CHECK : o->json ? ASKED_STATS_JSON : ASKED_STATS;
    PictureShape shape;
    int status = shape_asked(o, &shape);
    if (status) return status;
    status = find_pictures(directory, &set);
    RtPool *pool = status ? NULL : rt_pool_new((int)o->threads);
    if (!status && !pool) status = fail(EXIT_IO, "cannot start threads");
    if (!status && asked == ASKED_STATS_JSON) {
        printf("{\"data\": ");
        json_write_string(stdout, directory);
    }
    if (!status) status = look_at_split(&set, &shape, false, pool, asked, &bad);
    if (!status) status = look_at_split(&set, &shape, true, pool, asked, &bad);
    if (!status && stats) print_counts(&set, o->json);
    if (!status && stats && !o->json && set.others)
        printf("       %u %s, by %s\n", set.others, set.others == 1 ? "file is no picture" : "files are no pictures",
               set.others == 1 ? "its name" : "their names");
    if (!status && !stats && !bad && o->json)
        counts_print_json(directory, set.train.path.count, set.test.path.count, set.classes.count);
    else if (!status && !stats && !bad)
        printf("%s: %u training and %u test pictures, %u classes\n", directory, set.train.path.count, set.test.path.count,
               set.classes.count);
    rt_pool_free(pool);
    set_free(&set);
    return !status && bad ? fail(EXIT_INPUT, "%" PRId64 " pictures cannot be read", bad) : status;
}

int folder_stats(const char *directory, const Options *o) { return look_through(directory, o, true); }
int folder_check(const char *directory, const Options *o) { return look_through(directory, o, false); }

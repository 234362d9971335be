/* CIFAR-10 and CIFAR-100, binary version (Krizhevsky, 2009): records of one or two label bytes and 3072 pixels, planes R, G, B.
 * Sizes and labels are checked, so that a truncated or mislabelled file ends in a sentence and not in a strange training. */
#include "runtime/cifar.h"
#include "runtime/file.h"
#include "runtime/images.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIXELS = 3072, MAX_FILES = 6, FOLDER_LENGTH = 4096, PATH_LENGTH = FOLDER_LENGTH + 64 };

typedef struct Cifar {
    const char *name, *folder;
    const char *file[MAX_FILES]; /* training files, then the test file, then NULL */
    int64_t records[MAX_FILES];
    int label_bytes; /* the last one is the class */
    int64_t classes;
} Cifar;

static const Cifar kinds[] = {
    {"cifar10",
     "cifar-10-batches-bin",
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"},
     {10000, 10000, 10000, 10000, 10000, 10000},
     1,
     10},
    {"cifar100", "cifar-100-binary", {"train.bin", "test.bin"}, {50000, 10000}, 2, 100},
};

static const char *const cifar10_classes[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                              "dog",      "frog",       "horse", "ship", "truck"};

/* The fine labels, in the order of fine_label_names.txt. */
static const char *const cifar100_classes[] = {
    "apple",       "aquarium_fish", "baby",         "bear",         "beaver",     "bed",        "bee",       "beetle",
    "bicycle",     "bottle",        "bowl",         "boy",          "bridge",     "bus",        "butterfly", "camel",
    "can",         "castle",        "caterpillar",  "cattle",       "chair",      "chimpanzee", "clock",     "cloud",
    "cockroach",   "couch",         "crab",         "crocodile",    "cup",        "dinosaur",   "dolphin",   "elephant",
    "flatfish",    "forest",        "fox",          "girl",         "hamster",    "house",      "kangaroo",  "keyboard",
    "lamp",        "lawn_mower",    "leopard",      "lion",         "lizard",     "lobster",    "man",       "maple_tree",
    "motorcycle",  "mountain",      "mouse",        "mushroom",     "oak_tree",   "orange",     "orchid",    "otter",
    "palm_tree",   "pear",          "pickup_truck", "pine_tree",    "plain",      "plate",      "poppy",     "porcupine",
    "possum",      "rabbit",        "raccoon",      "ray",          "road",       "rocket",     "rose",      "sea",
    "seal",        "shark",         "shrew",        "skunk",        "skyscraper", "snail",      "snake",     "spider",
    "squirrel",    "streetcar",     "sunflower",    "sweet_pepper", "table",      "tank",       "telephone", "television",
    "tiger",       "tractor",       "train",        "trout",        "tulip",      "turtle",     "wardrobe",  "whale",
    "willow_tree", "wolf",          "woman",        "worm"};
_Static_assert(sizeof cifar100_classes / sizeof *cifar100_classes == 100, "a name for each class");

static int file_count(const Cifar *c) {
    int n = 0;
    while (n < MAX_FILES && c->file[n]) n++;
    return n;
}

static bool exists(const char *directory, const char *name) {
    char path[PATH_LENGTH];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return stat(path, &s) == 0;
}

/* Are all files there, and of the right size? Before anything is read, since reading takes its time. */
static RtStatus check_files(const Cifar *c, const char *directory, RtError *error) {
    for (int i = 0; i < file_count(c); i++) {
        char path[PATH_LENGTH];
        struct stat s;
        long long expected = (long long)(c->label_bytes + PIXELS) * c->records[i];
        snprintf(path, sizeof path, "%s/%s", directory, c->file[i]);
        if (stat(path, &s) != 0)
            return rt_fail(error, errno == ENOENT ? RT_INPUT : RT_IO, "cannot open %s: %s", path, strerror(errno));
        if (!S_ISREG(s.st_mode)) return rt_fail(error, RT_INPUT, "cannot open %s: it is not a regular file", path);
        if (s.st_size != expected)
            return rt_fail(error, RT_INPUT, "%s is %s: %lld bytes, a file of this name has %lld", path,
                           s.st_size < expected ? "truncated" : "too long", (long long)s.st_size, expected);
    }
    return RT_OK;
}

/* Splits the records of one file into images and labels. */
static RtStatus read_file(const Cifar *c, const char *directory, int index, uint8_t *images, uint8_t *labels, RtError *error) {
    char path[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/%s", directory, c->file[index]);
    int64_t size;
    const char *why;
    FILE *f = file_open(path, &size, &why);
    if (!f) return rt_fail(error, file_misnamed() ? RT_INPUT : RT_IO, "cannot open %s: %s", path, why);
    RtStatus status = RT_OK;
    uint8_t head[2];
    for (int64_t i = 0; status == RT_OK && i < c->records[index]; i++) {
        if (fread(head, (size_t)c->label_bytes, 1, f) != 1 || fread(images + i * PIXELS, PIXELS, 1, f) != 1)
            status = rt_fail(error, RT_IO, "cannot read %s: %s", path, ferror(f) ? strerror(errno) : "it ends early");
        else if (head[c->label_bytes - 1] >= c->classes)
            status = rt_fail(error, RT_INPUT, "%s: record %lld has label %d, but labels run from 0 to %lld", path, (long long)i,
                             head[c->label_bytes - 1], (long long)c->classes - 1);
        else
            labels[i] = head[c->label_bytes - 1];
    }
    fclose(f);
    return status;
}

static void set_cifar10_statistics(RtData *data) {
    static const double mean[3] = {0.49140, 0.48216, 0.44653}, std[3] = {0.24703, 0.24349, 0.26159};
    memcpy(data->mean, mean, sizeof mean);
    memcpy(data->std, std, sizeof std);
    data->class_names = cifar10_classes;
}

void rt_cifar10_describe(RtData *data) {
    *data = (RtData){.channels = 3, .height = 32, .width = 32, .classes = 10, .name = strdup("cifar10")};
    set_cifar10_statistics(data);
}

/* The set that some file is there of, in the directory or the folder inside it, and where: place, FOLDER_LENGTH. NULL: none. */
static const Cifar *find(const char *directory, char *place) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int side = 0; side < 2; side++) {
            snprintf(place, FOLDER_LENGTH, side ? "%s/%s" : "%s", directory, kinds[i].folder);
            for (int f = 0; f < file_count(&kinds[i]); f++)
                if (exists(place, kinds[i].file[f])) return &kinds[i];
        }
    return NULL;
}

bool rt_cifar_is(const char *directory) {
    char place[FOLDER_LENGTH];
    return find(directory, place) != NULL;
}

RtStatus rt_cifar_open(const char *directory, RtData *data, RtError *error) {
    char place[FOLDER_LENGTH];
    const Cifar *c = find(directory, place);
    struct stat s;
    if (!c && stat(directory, &s) != 0)
        return rt_fail(error, RT_INPUT, "cannot open the directory %s: %s", directory, strerror(errno));
    if (!c)
        return rt_fail(error, RT_INPUT,
                       "%s holds no CIFAR binary files (data_batch_1.bin to test_batch.bin, or train.bin and test.bin)",
                       directory);
    int files = file_count(c);
    *data = (RtData){.channels = 3, .height = 32, .width = 32, .classes = c->classes, .ntest = c->records[files - 1]};
    for (int f = 0; f + 1 < files; f++) data->ntrain += c->records[f];
    data->name = strdup(c->name);
    RtStatus status = check_files(c, place, error);
    if (status == RT_OK) status = rt_data_allocate(data, error);
    int64_t at = 0;
    for (int f = 0; status == RT_OK && f + 1 < files; at += c->records[f++])
        status = read_file(c, place, f, data->train_images + at * PIXELS, data->train_labels + at, error);
    if (status == RT_OK) status = read_file(c, place, files - 1, data->test_images, data->test_labels, error);
    if (status == RT_OK && c->classes == 10)
        set_cifar10_statistics(data);
    else if (status == RT_OK)
        rt_data_measure(data), data->class_names = cifar100_classes;
    return status;
}

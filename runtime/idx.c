/* IDX (LeCun): two zeros, the type of elements (8: bytes), the rank, the sizes as big-endian words, then the elements. */
#include "runtime/idx.h"
#include "runtime/file.h"
#include "runtime/images.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 8, MAX_SIDE = 4096, PATH_LENGTH = 4200 };

static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                    "t10k-labels-idx1-ubyte"};

static void path_of(const char *directory, int file, const char *suffix, char path[PATH_LENGTH]) {
    snprintf(path, PATH_LENGTH, "%s/%s%s", directory, names[file], suffix);
}

bool rt_idx_is(const char *directory) {
    char path[PATH_LENGTH], packed[PATH_LENGTH];
    path_of(directory, 0, "", path);
    path_of(directory, 0, ".gz", packed);
    return !access(path, F_OK) || !access(packed, F_OK);
}

/* The sizes, if the head is right and the file as long as it says. */
static bool read_head(FILE *file, int64_t size, int rank, int64_t dim[3]) {
    uint8_t head[4 + 4 * 3];
    size_t length = 4 + 4 * (size_t)rank;
    int64_t count = 1;
    if (fread(head, 1, length, file) != length || head[0] || head[1] || head[2] != BYTES || head[3] != rank) return false;
    for (int i = 0; i < rank; i++) {
        const uint8_t *b = head + 4 + 4 * i;
        dim[i] = (int64_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
        if (dim[i] < 1 || (i > 0 && dim[i] > MAX_SIDE)) return false;
        count *= dim[i]; /* at most 2^32 * 2^24 */
    }
    return count == size - (int64_t)length;
}

uint8_t *rt_idx_read(const char *path, int rank, int64_t dim[3], RtStatus *status, RtError *error) {
    int64_t size, count = 1;
    const char *why;
    uint8_t *bytes = NULL;
    FILE *file = file_open(path, &size, &why);
    if (!file) {
        *status = rt_fail(error, file_misnamed() ? RT_INPUT : RT_IO, "cannot open %s: %s", path, why);
        return NULL;
    }
    if (!read_head(file, size, rank, dim)) {
        *status =
            rt_fail(error, RT_INPUT, "%s is no IDX file of bytes in %d dimensions, or not as long as its head says", path, rank);
    } else {
        for (int i = 0; i < rank; i++) count *= dim[i];
        bytes = malloc((size_t)count);
        if (!bytes) *status = rt_fail(error, RT_MEMORY, "out of memory for %s (%.0f MB)", path, (double)count / 1e6);
    }
    if (bytes && fread(bytes, 1, (size_t)count, file) != (size_t)count) {
        *status = rt_fail(error, RT_IO, "cannot read %s: %s", path, ferror(file) ? strerror(errno) : "it became shorter");
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

/* Images and labels of a split, of which there must be as many. */
static RtStatus read_split(const char *directory, int first, uint8_t **images, uint8_t **labels, int64_t dim[3], RtError *error) {
    char path[PATH_LENGTH];
    int64_t count[3];
    RtStatus status = RT_OK;
    path_of(directory, first, "", path);
    if (!(*images = rt_idx_read(path, 3, dim, &status, error))) return status;
    path_of(directory, first + 1, "", path);
    if (!(*labels = rt_idx_read(path, 1, count, &status, error))) return status;
    if (count[0] == dim[0]) return RT_OK;
    return rt_fail(error, RT_INPUT, "%s has %lld labels for %lld images", path, (long long)count[0], (long long)dim[0]);
}

static int64_t greatest(const uint8_t *labels, int64_t n) {
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++) most = labels[i] > most ? labels[i] : most;
    return most;
}

RtStatus rt_idx_open(const char *directory, RtData *data, RtError *error) {
    char path[PATH_LENGTH];
    int64_t train[3], test[3];
    for (int file = 0; file < 4; file++) {
        path_of(directory, file, ".gz", path);
        bool packed = !access(path, F_OK);
        path_of(directory, file, "", path);
        if (packed && access(path, F_OK))
            return rt_fail(error, RT_INPUT, "%s.gz is packed: 'gunzip -k %s/*.gz' unpacks all four files", path, directory);
    }
    *data = (RtData){.name = strdup("idx")};
    RtStatus status = data->name ? RT_OK : rt_fail(error, RT_MEMORY, "out of memory");
    if (status == RT_OK) status = read_split(directory, 0, &data->train_images, &data->train_labels, train, error);
    if (status == RT_OK) status = read_split(directory, 2, &data->test_images, &data->test_labels, test, error);
    if (status == RT_OK && (train[1] != test[1] || train[2] != test[2]))
        status = rt_fail(error, RT_INPUT, "%s: training images are of %lldx%lld, test images of %lldx%lld", directory,
                         (long long)train[1], (long long)train[2], (long long)test[1], (long long)test[2]);
    if (status != RT_OK) return status;
    data->channels = 1;
    data->height = train[1];
    data->width = train[2];
    data->ntrain = train[0];
    data->ntest = test[0];
    int64_t last = greatest(data->train_labels, train[0]), other = greatest(data->test_labels, test[0]);
    data->classes = 1 + (last > other ? last : other);
    rt_data_measure(data);
    return RT_OK;
}

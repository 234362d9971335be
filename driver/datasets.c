/* The table of data sets. The sums of CIFAR-10 are those of the official binary files; CIFAR-100's files are covered by the
 * MD5 sum that the official page prints for the archive. */
#include "driver/datasets.h"
#include "cli/report.h"
#include "runtime/cifar.h"
#include "runtime/sha256.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const DataFile cifar10_files[] = {
    {"data_batch_1.bin", 30730000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
    {"data_batch_2.bin", 30730000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
    {"data_batch_3.bin", 30730000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
    {"data_batch_4.bin", 30730000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
    {"data_batch_5.bin", 30730000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
    {"test_batch.bin", 30730000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
};
static const DataFile cifar100_files[] = {
    {"train.bin", 153700000, NULL},
    {"test.bin", 30740000, NULL},
};
const DataSet data_sets[] = {
    {.name = "cifar10",
     .files = cifar10_files,
     .nfiles = 6,
     .label_bytes = 1,
     .url = RT_CIFAR10_URL,
     .archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530",
     .archive_folder = "cifar-10-batches-bin",
     .archive_bytes = 170052171},
    {.name = "cifar100",
     .files = cifar100_files,
     .nfiles = 2,
     .label_bytes = 2,
     .url = RT_CIFAR100_URL,
     .archive_md5 = "03b5dce01913d631647c71ecec9e9cb8",
     .archive_folder = "cifar-100-binary",
     .archive_bytes = 168513733},
};
const int data_set_count = sizeof data_sets / sizeof data_sets[0];

const DataSet *data_set_find(const char *name) {
    for (int i = 0; i < data_set_count; i++)
        if (!strcmp(data_sets[i].name, name)) return &data_sets[i];
    return NULL;
}

const DataSet *data_set_in(const char *directory) {
    for (int i = 0; i < data_set_count; i++) {
        char *path = join("%s/%s", directory, data_sets[i].files[0].name);
        bool here = !access(path, F_OK);
        free(path);
        if (here) return &data_sets[i];
    }
    return NULL;
}

FileState data_file_check(const char *directory, const DataFile *file) {
    char *path = join("%s/%s", directory, file->name);
    struct stat info;
    FileState state = FILE_GOOD;
    if (stat(path, &info)) {
        state = errno == ENOENT || errno == ENOTDIR ? FILE_MISSING : FILE_UNREADABLE;
    } else if (info.st_size != file->bytes) {
        state = FILE_SIZE;
    } else if (file->sha256) {
        size_t length;
        int status;
        char *text = read_file(path, &length, &status), hex[65];
        if (text) rt_sha256_hex(text, length, hex);
        state = !text ? FILE_UNREADABLE : strcmp(hex, file->sha256) ? FILE_SUM : FILE_GOOD;
        free(text);
    }
    free(path);
    return state;
}

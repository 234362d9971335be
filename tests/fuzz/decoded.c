/* Any bytes as a file of the cache of decoded pictures: of three images, two to train with and one to test with. */
#include "cli/decoded.h"
#include "runtime/rt.h"
#include "tests/fuzz/fuzz.h"
#include <dirent.h>

enum { IMAGE = 3 * 2 * 2, TRAIN = 2, TEST = 1, REASON = DECODED_REASON };

static uint8_t images[(TRAIN + TEST) * IMAGE];
static char reason[TRAIN + TEST][REASON];

/* Pictures whose names are all that counts: old files, which are everywhere. */
static const DecodedPart part[2] = {{(char *const[]){"/etc/passwd", "/etc/group"}, TRAIN, images, reason},
                                    {(char *const[]){"/bin/sh"}, TEST, images + TRAIN *IMAGE, reason + TRAIN}};

/* What the cache calls such a set, by writing it once; in a directory of its own. */
static Decoded *begin(char *path, size_t size) {
    static char directory[] = "/tmp/netc-fuzz-XXXXXX";
    const PictureShape shape = {.channels = 3, .height = 2, .width = 2};
    FUZZ_CHECK(mkdtemp(directory) && !setenv("NETC_CACHE", directory, 1));
    Decoded *d = decoded_open(part, &shape);
    FUZZ_CHECK(d);
    decoded_write(d, part);
    snprintf(path, size, "%s/pictures", directory);
    DIR *list = opendir(path);
    FUZZ_CHECK(list);
    for (const struct dirent *e; (e = readdir(list));)
        if (*e->d_name != '.') snprintf(path, size, "%s/pictures/%s", directory, e->d_name);
    closedir(list);
    FUZZ_CHECK(!unlink(path));
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[512];
    static Decoded *decoded;
    static RtPool *pool;
    static FILE *nowhere;
    if (!decoded) {
        decoded = begin(path, sizeof path);
        pool = rt_pool_new(1);
        nowhere = fopen("/dev/null", "w");
        FUZZ_CHECK(pool && nowhere);
    }
    FILE *said = stderr;
    memset(images, 0, sizeof images);
    memset(reason, 0, sizeof reason);
    FUZZ_CHECK(!symlink(fuzz_file(data, size), path));
    stderr = nowhere;
    bool there = decoded_read(decoded, part, pool);
    stderr = said;
    FUZZ_CHECK(!unlink(path));
    /* What is believed stands at the end of the file, whole. */
    FUZZ_CHECK(!there || (size > sizeof images && !memcmp(images, data + size - sizeof images, sizeof images)));
    for (int i = 0; i < TRAIN + TEST; i++) FUZZ_CHECK(!*reason[i] || (there && !strcmp(reason[i], "bad")));
    return 0;
}

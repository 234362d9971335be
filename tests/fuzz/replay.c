/* A harness without libFuzzer: its function on every file of the directories and files named, under any compiler. */
#include "tests/fuzz/fuzz.h"
#include <dirent.h>
#include <sys/stat.h>

static int replayed;

static void replay(const char *path) {
    FILE *f = fopen(path, "rb");
    struct stat s;
    FUZZ_CHECK(f && !fstat(fileno(f), &s));
    uint8_t *data = malloc((size_t)s.st_size + !s.st_size); /* exactly as long, so that ASan sees a byte more */
    FUZZ_CHECK(data && fread(data, 1, (size_t)s.st_size, f) == (size_t)s.st_size);
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last one is the one that crashes */
    LLVMFuzzerTestOneInput(data, (size_t)s.st_size);
    free(data);
    replayed++;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (!directory) replay(argv[i]);
        for (struct dirent *e; directory && (e = readdir(directory));) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (e->d_name[0] != '.') replay(path);
        }
        if (directory) closedir(directory);
    }
    printf("%d inputs\n", replayed);
    return replayed ? 0 : 1;
}

/* A program that uses a library of `netc build --infer`, for tests/faults/run: scores of a few images, in a context of two
 * threads, with the embedded weights and with those of a file. Exit status 3 and the library's sentence where it cannot. */
#include "libtiny.h"
#include <stdio.h>
#include <stdlib.h>

enum { IMAGES = 5, PIXELS = TINY_CHANNELS * TINY_HEIGHT * TINY_WIDTH };

static int score(const char *weights_path) {
    static float images[IMAGES * PIXELS], scores[IMAGES * TINY_CLASSES];
    tiny_options options = {.threads = 2, .weights_path = weights_path};
    char message[TINY_MESSAGE] = "";
    tiny_context *net;
    for (int i = 0; i < IMAGES * PIXELS; i++) images[i] = (float)(i % 37) / 37;
    int status = tiny_init(&net, &options, message);
    if (status != TINY_OK) {
        fprintf(stderr, "error: status %d: %s\n", status, message);
        return status == TINY_MEMORY || status == TINY_IO ? 3 : 70;
    }
    status = tiny_run(net, images, IMAGES, scores) == TINY_OK ? 0 : 70;
    tiny_free(net);
    for (int i = 0; i < IMAGES * TINY_CLASSES; i++) printf("%.9g\n", (double)scores[i]);
    return status;
}

int main(int argc, char **argv) {
    int status = score(NULL);
    if (!status && argc > 1) status = score(argv[1]);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "error: cannot write\n");
        return 3;
    }
    return status;
}

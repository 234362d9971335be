/* Classifies pictures with a library made by netc:
 *
 *     netc build --infer se_resnet20 --weights best.safetensors --prefix net -o libnet.a
 *     cc -O2 classify.c libnet.a -lm -pthread -o classify
 *     ./classify cat.ppm ship.ppm
 *
 * Pictures are binary PPM (P6, 8 bits) of the net's own size. Options: -t THREADS, -k HOW_MANY_CLASSES, -w WEIGHTS (a safetensors
 * file instead of the weights in the library). */
#include "libnet.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIXELS = NET_HEIGHT * NET_WIDTH * NET_CHANNELS };

static int read_ppm(const char *path, unsigned char *pixels) {
    int width = 0, height = 0, white = 0;
    FILE *file = fopen(path, "rb");
    int good = file && fscanf(file, "P6 %d %d %d", &width, &height, &white) == 3 && getc(file) != EOF && width == NET_WIDTH &&
               height == NET_HEIGHT && white == 255 && fread(pixels, 1, PIXELS, file) == PIXELS;
    if (!good) fprintf(stderr, "%s is not a binary PPM of %d by %d pixels\n", path, NET_WIDTH, NET_HEIGHT);
    if (file) fclose(file);
    return good;
}

static void print_best(const char *path, float *probability, int count) {
    printf("%s:", path);
    for (int place = 0; place < count; place++) {
        int best = 0;
        for (int k = 1; k < NET_CLASSES; k++)
            if (probability[k] > probability[best]) best = k;
        const char *name = net_class_name(best);
        if (name)
            printf("%s %s %.4f %%", place ? "," : "", name, 100 * (double)probability[best]);
        else
            printf("%s class %d %.4f %%", place ? "," : "", best, 100 * (double)probability[best]);
        probability[best] = -1;
    }
    putchar('\n');
}

static int classify(net_context *net, char **path, int n, int count) {
    unsigned char *pixels = malloc((size_t)n * PIXELS);
    float *images = malloc((size_t)n * PIXELS * sizeof *images), *scores = malloc((size_t)n * NET_CLASSES * sizeof *scores);
    int good = pixels && images && scores;
    for (int i = 0; good && i < n; i++) good = read_ppm(path[i], pixels + (size_t)i * PIXELS);
    if (good) {
        net_normalize(net, pixels, n, images);
        good = net_run(net, images, n, scores) == NET_OK;
        net_softmax(scores, n);
        for (int i = 0; i < n; i++) print_best(path[i], scores + i * NET_CLASSES, count);
    }
    free(pixels);
    free(images);
    free(scores);
    return good;
}

int main(int argc, char **argv) {
    net_options options = {0};
    int count = 3;
    for (int c; (c = getopt(argc, argv, "t:k:w:")) != -1;) {
        if (c == 't') options.threads = atoi(optarg);
        if (c == 'k') count = atoi(optarg);
        if (c == 'w') options.weights_path = optarg;
        if (c == '?') return 2;
    }
    if (count > NET_CLASSES) count = NET_CLASSES;
    net_context *net;
    char message[NET_MESSAGE];
    if (net_init(&net, &options, message) != NET_OK) {
        fprintf(stderr, "%s\n", message);
        return 1;
    }
    int good = classify(net, argv + optind, argc - optind, count);
    net_free(net);
    return !good;
}

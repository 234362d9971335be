/* What training makes of images, for tests/e2e/torch_augment.py to hold against PyTorch and torchvision:
 *
 *     augmented OPERATION MAGNITUDE CHANNELS HEIGHT WIDTH     an image, bytes on standard input, behind an operation of
 * RandAugment, by number, or (-1) turned by MAGNITUDE degrees augmented magnitude OPERATION rand|trivial STRENGTH HEIGHT WIDTH
 *                                                             its magnitude, and 1 if it has a sign
 *     augmented batch FILE.net SEED NUMBER                    a batch of the net's recipe on synthetic images of 3x32x32, of the
 * first epoch: images f32, labels i32[2][N], the first labels' share f32 */
#include "frontend/frontend.h"
#include "ir/ir.h"
#include "runtime/loader.h"
#include "runtime/operate.h"
#include "runtime/rt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int operate(char **arg) {
    RtData d = {.channels = atoi(arg[2]), .height = atoi(arg[3]), .width = atoi(arg[4])};
    size_t size = (size_t)(d.channels * d.height * d.width);
    uint8_t *image = malloc(2 * size + 1);
    if (!image || fread(image, 1, size, stdin) != size) return 1;
    if (atoi(arg[0]) < 0)
        rt_turn(&d, image, image + size, atof(arg[1]));
    else
        rt_operate((RtOperation)atoi(arg[0]), atof(arg[1]), &d, image, image + size);
    bool good = fwrite(image + size, 1, size, stdout) == size;
    free(image);
    return !good;
}

static int magnitude(char **arg) {
    RtData d = {.channels = 3, .height = atoi(arg[3]), .width = atoi(arg[4])};
    bool sign;
    double value = rt_operation_magnitude((RtOperation)atoi(arg[0]), !strcmp(arg[1], "trivial"), atoi(arg[2]), &d, &sign);
    return printf("%.17g %d\n", value, sign) < 0;
}

static int batch(char **arg) {
    Model model;
    RtData data;
    RtError error;
    Diag *diag = diag_new();
    if (!frontend_compile(arg[0], &(FrontendOptions){.mode = MODE_TRAIN}, diag, &model)) return 1;
    const RtRecipe *recipe = &model.recipe;
    size_t n = (size_t)recipe->batch, floats = n * 3 * 32 * 32;
    if (rt_data_open_shaped("synthetic", 3, 32, 32, 10, &data, &error)) return 1;
    float *images = malloc(floats * sizeof *images), share;
    int32_t *labels = malloc(2 * n * sizeof *labels);
    RtLoaderStart start = {recipe->batch, 0, recipe->batch, (uint64_t)atoll(arg[1]), 0, atoll(arg[2])};
    RtLoader *loader = rt_loader_new(&data, recipe, &start, &error);
    if (!loader || !images || !labels) return 1;
    rt_loader_next(loader, images, labels, &share);
    bool good = fwrite(images, sizeof *images, floats, stdout) == floats &&
                fwrite(labels, sizeof *labels, 2 * n, stdout) == 2 * n && fwrite(&share, sizeof share, 1, stdout) == 1;
    rt_loader_free(loader);
    rt_data_free(&data);
    free(images);
    free(labels);
    graph_free(model.graph);
    diag_free(diag);
    return !good;
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "batch")) return batch(argv + 2);
    if (argc == 7 && !strcmp(argv[1], "magnitude")) return magnitude(argv + 2);
    if (argc == 6) return operate(argv + 1);
    fprintf(stderr, "augmented: see tests/augmented.c\n");
    return 2;
}

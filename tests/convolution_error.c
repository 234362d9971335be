/* convolution_error [all]
 *
 * The rounding error of 3x3 convolutions by each method: a table of C input and C output channels, forward and both gradients,
 * with stride 1 and 2. An error is the root mean square of the difference from the evaluator's result, which is in double, over
 * that of the result; it is given in units of 2^-24, and after it how many times as large it is as the direct kernel's.
 *
 * Without `all`, up to 64 channels: the evaluator takes some seconds for the others. It fails where Winograd's is above what the
 * points of codegen/conv/winograd/transform.h and strided.c reach: 2.5 times the direct kernel's and 6 units for the transforms.
 * With the points of Lavin & Gray it is twice that. */
#include "codegen/codegen.h"
#include "verify/compiled.h"
#include "verify/wanted.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double TIMES = 2.5, UNITS = 6;
enum { DIRECTIONS = 3, METHODS = 3 };
static const char *const directions[DIRECTIONS] = {"forward", "data", "weights"};
static const char *const methods[METHODS] = {"direct", "winograd", "wide"};

typedef struct Shape {
    int64_t N, channels, size, stride;
} Shape;
static const Shape shapes[] = {{2, 16, 32, 1}, {2, 32, 16, 1}, {4, 64, 8, 1},  {2, 128, 8, 1}, {1, 256, 8, 1},
                               {2, 512, 4, 1}, {8, 256, 2, 1}, {2, 16, 32, 2}, {2, 64, 16, 2}, {1, 256, 8, 2}};

static Val leaf(Graph *g, Op op, const char *name, Type type) {
    return graph_add(g, &(ValueSpec){.op = op, .declared = type, .attrs.param.name = name});
}

static Graph *graph_of(const Shape *s) {
    Graph *g = graph_new("convolution_error", MODE_TRAIN);
    int64_t C = s->channels, out = (s->size + s->stride - 1) / s->stride;
    Attrs attrs = {
        .window = {.kernel = {3, 3}, .stride = {s->stride, s->stride}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1}};
    Type x_type = type_feature(s->N, C, s->size, s->size), w_type = type_feature(C, C, 3, 3);
    Val x = leaf(g, OP_INPUT, "x", x_type), w = leaf(g, OP_PARAM, "w", w_type);
    Val dy = leaf(g, OP_INPUT, "dy", type_feature(s->N, C, out, out));
    ValueSpec spec[DIRECTIONS] = {
        {.op = OP_CONV2D, .args = (Val[]){x, w}, .nargs = 2, .attrs = attrs},
        {.op = OP_CONV2D_BWD_DATA, .args = (Val[]){dy, w}, .nargs = 2, .attrs = attrs, .declared = x_type},
        {.op = OP_CONV2D_BWD_WEIGHTS, .args = (Val[]){x, dy}, .nargs = 2, .attrs = attrs, .declared = w_type},
    };
    for (int i = 0; i < DIRECTIONS; i++) graph_output(g, OUT_GRAD, graph_add(g, &spec[i]), directions[i]);
    return g;
}

/* Units of 2^-24. */
static double error_of(const Tensor *got, const Tensor *want) {
    double square = 0, difference = 0;
    for (int64_t i = 0, n = type_elements(want->type); i < n; i++) {
        square += want->data[i] * want->data[i];
        difference += (got->data[i] - want->data[i]) * (got->data[i] - want->data[i]);
    }
    return sqrt(difference / square) * 0x1p24;
}

static double row(const Shape *s) {
    char why[400] = "";
    Graph *g = graph_of(s);
    Leaves leaves = {.seed = 1, .arithmetic = IN_F32, .classes = 1};
    Tensor *want = outputs_eval(g, &leaves, why, sizeof why), *got[METHODS];
    for (int m = 0; m < METHODS; m++) {
        CodegenOptions options = {.cpu = "native", .conv = conv_method(methods[m])};
        got[m] = want ? outputs_compiled(g, &leaves, &options, 1, why, sizeof why) : NULL;
        if (!got[m]) {
            fprintf(stderr, "convolution_error: %s\n", why);
            exit(2);
        }
    }
    double worst = 0;
    for (int i = 0; i < DIRECTIONS; i++) {
        double direct = error_of(&got[0][i], &want[i]);
        printf("%4d channels, %2dx%-2d stride %d  %-8s %6.2f", (int)s->channels, (int)s->size, (int)s->size, (int)s->stride,
               directions[i], direct);
        for (int m = 1; m < METHODS; m++) {
            double error = error_of(&got[m][i], &want[i]);
            printf("   %6.2f %5.2f", error, error / direct);
            worst = fmax(worst, error / (TIMES * direct + UNITS));
        }
        putchar('\n');
    }
    for (int m = 0; m < METHODS; m++) outputs_free(g, got[m]);
    outputs_free(g, want);
    leaves_free(&leaves);
    graph_free(g);
    return worst;
}

int main(int argc, char **argv) {
    double worst = 0;
    bool all = argc > 1 && !strcmp(argv[1], "all");
    printf("%-42s %6s   %12s   %12s\n", "", methods[0], methods[1], methods[2]);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (all || shapes[i].channels <= 64) worst = fmax(worst, row(&shapes[i]));
    printf("at most %.2f of what is allowed\n", worst);
    return worst <= 1 ? 0 : 1;
}

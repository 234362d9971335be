/* Whitening filters: the principal axes of the patches of training images, each over the root of the variance along it.
 *
 * As cifar10-airbench has them: patches of the first 5000 images, normalised by the recipe; their second moments, without taking
 * the mean off; eigenvectors by falling eigenvalue, each over sqrt(eigenvalue + eps), and behind them, where there are twice as
 * many filters, their negatives. An eigenvector's sign is free: here its largest component is positive. Moments are summed in
 * double by pieces of images that do not depend on the number of threads. */
#include "runtime/whiten.h"
#include "runtime/machine.h"
#include "runtime/view.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 5000, PIECE_IMAGES = 100, SWEEPS = 60 };

/* ---- moments of patches ---- */

typedef struct Moments {
    const RtData *data;
    RtNormalizer normalizer;
    int64_t images, channels, kh, kw, n; /* n = channels * kh * kw */
    double *sum;                         /* of each piece, [n][n], the upper half; then its patch [n] and image, as doubles */
    int64_t room, pieces;                /* room: doubles of a piece */
} Moments;

static void add_patch(const Moments *m, const double *image, int64_t y, int64_t x, double *patch, double *sum) {
    int64_t W = m->data->width, plane = m->data->height * W, n = 0;
    for (int64_t c = 0; c < m->channels; c++)
        for (int64_t r = 0; r < m->kh; r++)
            for (int64_t s = 0; s < m->kw; s++) patch[n++] = image[c * plane + (y + r) * W + x + s];
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = i; k < n; k++) sum[i * n + k] += patch[i] * patch[k];
}

static void sum_piece(void *context, int64_t piece, int thread) {
    const Moments *m = context;
    const RtData *d = m->data;
    int64_t plane = d->height * d->width, first = piece * PIECE_IMAGES, end = first + PIECE_IMAGES;
    double *sum = m->sum + piece * m->room, *patch = sum + m->n * m->n, *image = patch + m->n;
    (void)thread;
    for (int64_t k = first; k < end && k < m->images; k++) {
        int64_t index = d->train_index ? d->train_index[k] : k;
        const uint8_t *pixels = d->train_images + index * d->channels * plane;
        for (int64_t i = 0; i < d->channels * plane; i++) image[i] = m->normalizer.value[i / plane][pixels[i]];
        for (int64_t y = 0; y + m->kh <= d->height; y++)
            for (int64_t x = 0; x + m->kw <= d->width; x++) add_patch(m, image, y, x, patch, sum);
    }
}

/* The pieces together, per patch, both halves: into a [n][n]. */
static void combine(const Moments *m, double *a) {
    double patches = (double)(m->images * (m->data->height - m->kh + 1) * (m->data->width - m->kw + 1));
    for (int64_t i = 0; i < m->n * m->n; i++) {
        int64_t row = i / m->n, column = i % m->n, upper = row <= column ? i : column * m->n + row;
        double sum = 0;
        for (int64_t k = 0; k < m->pieces; k++) sum += m->sum[k * m->room + upper];
        a[i] = sum / patches;
    }
}

/* ---- eigenvectors ---- */

/* One rotation of Jacobi's method, which makes a[p][q] zero; v takes it too (Golub & Van Loan, section 8.5). */
static void rotate(double *a, double *v, int64_t n, int64_t p, int64_t q) {
    if (a[p * n + q] == 0) return;
    double tau = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
    double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau)), c = 1 / sqrt(1 + t * t), s = t * c;
    for (int64_t k = 0; k < n; k++) {
        double x = a[k * n + p], y = a[k * n + q];
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for (int64_t k = 0; k < n; k++) {
        double x = a[p * n + k], y = a[q * n + k], vx = v[p * n + k], vy = v[q * n + k];
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
        v[p * n + k] = c * vx - s * vy;
        v[q * n + k] = s * vx + c * vy;
    }
    a[p * n + q] = a[q * n + p] = 0;
}

void rt_eigenvectors(double *a, double *v, int64_t n) {
    for (int64_t i = 0; i < n * n; i++) v[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, diagonal = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < n; k++) *(i == k ? &diagonal : &off) += a[i * n + k] * a[i * n + k];
        if (off <= 1e-30 * diagonal) return;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) rotate(a, v, n, p, q);
    }
}

/* ---- filters ---- */

/* The place of the largest number that is not taken. */
static int64_t largest(const double *a, int64_t n, const bool *taken) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || a[i * n + i] > a[best * n + best])) best = i;
    return best;
}

/* From eigenvalues on a's diagonal and eigenvectors in v's rows: filters [count][n]. */
static void write_filters(const double *a, const double *v, int64_t n, int64_t count, double eps, float *filters) {
    bool taken[RT_MAX_WHITENED] = {false};
    for (int64_t rank = 0; rank < n && rank < count; rank++) {
        int64_t axis = largest(a, n, taken), peak = 0;
        const double *vector = v + axis * n;
        taken[axis] = true;
        for (int64_t k = 0; k < n; k++)
            if (fabs(vector[k]) > fabs(vector[peak])) peak = k;
        double scale = (vector[peak] < 0 ? -1 : 1) / sqrt(fmax(a[axis * n + axis], 0) + eps);
        for (int64_t k = 0; k < n; k++) {
            filters[rank * n + k] = (float)(scale * vector[k]);
            if (rank + n < count) filters[(rank + n) * n + k] = (float)(-scale * vector[k]);
        }
    }
}

static bool compute(RtMachine *m, const RtTensor *t, Moments *x, float *filters) {
    double *a = malloc(2 * (size_t)(x->n * x->n) * sizeof *a);
    x->sum = calloc((size_t)(x->pieces * x->room), sizeof *x->sum);
    bool enough = a && x->sum;
    if (enough) {
        rt_pool_run(rt_machine_pool(m), sum_piece, x, x->pieces);
        combine(x, a);
        rt_eigenvectors(a, a + x->n * x->n, x->n);
        write_filters(a, a + x->n * x->n, x->n, t->dim[0], t->init_value, filters);
    }
    free(x->sum);
    free(a);
    return enough;
}

static RtStatus whiten_tensor(RtMachine *m, const RtTensor *t, const RtData *data, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    Moments x = {.data = data, .channels = t->dim[1], .kh = t->dim[2], .kw = t->dim[3]};
    x.n = x.channels * x.kh * x.kw;
    x.room = x.n * x.n + x.n + data->channels * data->height * data->width;
    x.images = data->ntrain < IMAGES ? data->ntrain : IMAGES;
    x.pieces = (x.images + PIECE_IMAGES - 1) / PIECE_IMAGES;
    x.normalizer = rt_normalizer(data, p->recipe.normalize);
    if (t->rank != 4 || x.n > RT_MAX_WHITENED || x.channels != data->channels || x.kh > data->height || x.kw > data->width ||
        !x.images)
        return rt_fail(error, RT_INPUT, "%s cannot be whitened by images of %lldx%lldx%lld", t->name, (long long)data->channels,
                       (long long)data->height, (long long)data->width);
    float *filters = calloc((size_t)rt_tensor_elements(t), sizeof *filters);
    bool enough = filters && compute(m, t, &x, filters);
    if (enough) rt_tensor_pack(p, t, filters, rt_machine_space(m, RT_PARAMS));
    free(filters);
    return enough ? RT_OK : rt_fail(error, RT_MEMORY, "out of memory for the whitening of %s", t->name);
}

bool rt_wants_data(const RtProgram *p) {
    for (uint32_t i = 0; i < p->nparams; i++)
        if (p->params[i].init == RT_INIT_WHITEN) return true;
    return false;
}

RtStatus rt_whiten(RtMachine *m, const RtData *data, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtStatus status = rt_shape_check(p, data, error);
    for (uint32_t i = 0; status == RT_OK && i < p->nparams; i++)
        if (p->params[i].init == RT_INIT_WHITEN) status = whiten_tensor(m, &p->params[i], data, error);
    return status;
}

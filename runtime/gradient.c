/* See gradient.h. Sums are cut by the block and by tensors, never by threads. */
#include "runtime/gradient.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16 };

typedef struct Sum {
    float *gradient, *sum;
    int64_t n, index, count;
} Sum;

static void add_chunk(void *context, int64_t piece, int thread) {
    const Sum *s = context;
    int64_t end = (piece + 1) * CHUNK < s->n ? (piece + 1) * CHUNK : s->n;
    float share = 1 / (float)s->count;
    (void)thread;
    for (int64_t i = piece * CHUNK; i < end; i++) {
        float total = s->index ? s->sum[i] + s->gradient[i] : s->gradient[i];
        if (s->index + 1 < s->count)
            s->sum[i] = total;
        else
            s->gradient[i] = total * share;
    }
}

void rt_gradient_accumulate(RtMachine *m, float *sum, int64_t index, int64_t count) {
    Sum s = {rt_machine_space(m, RT_GRADS), sum, (int64_t)(rt_machine_program(m)->params_bytes / sizeof(float)), index, count};
    rt_pool_run(rt_machine_pool(m), add_chunk, &s, (s.n + CHUNK - 1) / CHUNK);
}

/* One tensor a piece. */
typedef struct Clip {
    const RtProgram *p;
    char *gradients;
    double epoch, *squares;
    float factor;
} Clip;

static void measure(void *context, int64_t piece, int thread) {
    const Clip *c = context;
    const RtTensor *t = &c->p->params[piece];
    const float *g = (const float *)(const void *)(c->gradients + t->offset);
    double sum = 0;
    (void)thread;
    for (uint64_t i = 0; !rt_is_frozen(t, c->epoch) && i < t->bytes / sizeof *g; i++)
        sum += (double)g[i] * (double)g[i]; /* padding is zero */
    c->squares[piece] = sum;
}

static void scale(void *context, int64_t piece, int thread) {
    const Clip *c = context;
    const RtTensor *t = &c->p->params[piece];
    float *g = (float *)(void *)(c->gradients + t->offset);
    (void)thread;
    for (uint64_t i = 0; !rt_is_frozen(t, c->epoch) && i < t->bytes / sizeof *g; i++) g[i] *= c->factor;
}

bool rt_gradient_clip(RtMachine *m, double most, double *norm) {
    const RtProgram *p = rt_machine_program(m);
    Clip c = {.p = p, .gradients = rt_machine_space(m, RT_GRADS), .epoch = rt_machine_env(m)->epoch};
    c.squares = calloc((size_t)p->nparams + 1, sizeof *c.squares);
    if (!c.squares) return false;
    rt_pool_run(rt_machine_pool(m), measure, &c, p->nparams);
    double sum = 0;
    for (uint32_t i = 0; i < p->nparams; i++) sum += c.squares[i];
    free(c.squares);
    *norm = sqrt(sum);
    c.factor = (float)(most / (*norm + 1e-6)); /* as PyTorch has it */
    if (!(c.factor >= 1)) rt_pool_run(rt_machine_pool(m), scale, &c, p->nparams);
    return true;
}

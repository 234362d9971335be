/* Evaluation of a split, and prediction of single images, with the compiled eval_step. Loss and accuracy are computed here from
 * the scores, in double, so that what is computed beyond the last image is simply not looked at. */
#include "runtime/augment.h"
#include <math.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

RtStatus rt_shape_check(const RtProgram *p, const RtData *data, RtError *error) {
    if (p->channels == data->channels && p->height == data->height && p->width == data->width && p->classes == data->classes)
        return RT_OK;
    return rt_fail(error, RT_INPUT,
                   "the data are images of %lldx%lldx%lld in %lld classes, %s takes %lldx%lldx%lld and has %lld classes",
                   (long long)data->channels, (long long)data->height, (long long)data->width, (long long)data->classes, p->model,
                   (long long)p->channels, (long long)p->height, (long long)p->width, (long long)p->classes);
}

/* log(sum exp) of the scores, and the place of the label among them: how many scores beat it (an equal, earlier one does). */
static double cross_entropy(const float *score, int64_t classes, int label, int64_t *beaten_by) {
    double high = -INFINITY, sum = 0;
    *beaten_by = 0;
    for (int64_t k = 0; k < classes; k++) {
        high = score[k] > high ? score[k] : high;
        if (k < label ? !(score[k] < score[label]) : k > label && !(score[k] <= score[label])) ++*beaten_by;
    }
    for (int64_t k = 0; k < classes; k++) sum += exp(score[k] - high);
    return high + log(sum) - score[label];
}

/* One batch being normalised by all threads. */
typedef struct Filling {
    const RtNormalizer *normalizer;
    const RtData *data;
    const uint8_t *pixels;
    float *images;
} Filling;

static void fill_image(void *context, int64_t i, int thread) {
    const Filling *f = context;
    int64_t size = f->data->channels * f->data->height * f->data->width;
    (void)thread;
    rt_normalize_image(f->normalizer, f->data, f->pixels + i * size, f->images + i * size);
}

/* Scores of `count` images, at most a batch, into RT_LOGITS. */
static void score_batch(RtMachine *m, const RtNormalizer *normalizer, const RtData *data, const uint8_t *pixels, int64_t count) {
    float *images = rt_machine_space(m, RT_IMAGES);
    Filling f = {normalizer, data, pixels, images};
    rt_pool_run(rt_machine_pool(m), fill_image, &f, count);
    rt_machine_infer(m, count);
}

RtStatus rt_evaluate(RtMachine *m, const RtData *data, bool test_split, RtEvalResult *result, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtStatus status = rt_shape_check(p, data, error);
    if (status != RT_OK) return status;
    double start = now();
    int64_t n = test_split ? data->ntest : data->ntrain, size = data->channels * data->height * data->width, correct = 0,
            top5 = 0;
    const uint8_t *images = test_split ? data->test_images : data->train_images;
    const uint8_t *labels = test_split ? data->test_labels : data->train_labels;
    const float *logits = rt_machine_space(m, RT_LOGITS);
    RtNormalizer normalizer = rt_normalizer(data, p->recipe.normalize);
    double loss = 0;
    rt_machine_run(m, &p->prepare_eval);
    for (int64_t at = 0; at < n; at += p->batch) {
        int64_t count = n - at < p->batch ? n - at : p->batch, beaten_by;
        score_batch(m, &normalizer, data, images + at * size, count);
        for (int64_t i = 0; i < count; i++) {
            loss += cross_entropy(logits + i * p->classes, p->classes, labels[at + i], &beaten_by);
            correct += beaten_by < 1;
            top5 += beaten_by < 5;
        }
    }
    double total = n ? (double)n : 1;
    *result = (RtEvalResult){loss / total, (double)correct / total, (double)top5 / total, now() - start, n};
    return RT_OK;
}

RtStatus rt_predict(RtMachine *m, const RtData *stats, const uint8_t *images, int64_t n, float *scores, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtStatus status = rt_shape_check(p, stats, error);
    if (status != RT_OK) return status;
    int64_t size = p->channels * p->height * p->width;
    const float *logits = rt_machine_space(m, RT_LOGITS);
    RtNormalizer normalizer = rt_normalizer(stats, p->recipe.normalize);
    rt_machine_run(m, &p->prepare_eval);
    for (int64_t at = 0; at < n; at += p->batch) {
        int64_t count = n - at < p->batch ? n - at : p->batch;
        score_batch(m, &normalizer, stats, images + at * size, count);
        for (int64_t i = 0; i < count; i++) rt_softmax(logits + i * p->classes, p->classes, scores + (at + i) * p->classes);
    }
    return RT_OK;
}

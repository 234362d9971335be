/* Evaluation of a split, and prediction of single images, with the compiled eval_step. Loss and accuracy are computed here from
 * the scores, in double, so that what is computed beyond the last image is simply not looked at. */
#include "runtime/augment.h"
#include "runtime/ranks.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
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

/* What an image's scores say: its loss, how many classes beat its own, and which one does best, the label where none beats it;
 * -1: none, where scores are NaN. */
typedef struct Verdict {
    double loss;
    int64_t beaten_by, best;
} Verdict;

/* log(sum exp) of the scores, and the place of the label among them: how many scores beat it (an equal, earlier one does). */
static Verdict verdict_of(const float *score, int64_t classes, int label) {
    double high = -INFINITY, sum = 0;
    Verdict v = {.best = -1};
    for (int64_t k = 0; k < classes; k++) {
        if (score[k] > high) high = score[k], v.best = k;
        if (k < label ? !(score[k] < score[label]) : k > label && !(score[k] <= score[label])) v.beaten_by++;
    }
    for (int64_t k = 0; k < classes; k++) sum += exp(score[k] - high);
    v.loss = high + log(sum) - score[label];
    if ((v.best == label) != (v.beaten_by < 1)) v.best = v.beaten_by < 1 ? label : -1; /* NaN, or -inf alone */
    return v;
}

/* One view of a batch being normalised by all threads. */
typedef struct Filling {
    const RtNormalizer *normalizer;
    const RtData *data;
    const RtView *view;
    const uint8_t *pixels;
    const uint32_t *index; /* which of the pixels' images; NULL: in order */
    uint8_t *work;         /* of each thread, two images */
    float *images;
} Filling;

static void fill_image(void *context, int64_t i, int thread) {
    const Filling *f = context;
    int64_t size = f->data->channels * f->data->height * f->data->width;
    const uint8_t *pixels = f->pixels + (f->index ? f->index[i] : i) * size;
    const uint8_t *seen = rt_view_image(f->view, f->data, pixels, f->work + 2 * thread * size);
    rt_normalize_image(f->normalizer, f->data, seen, f->images + i * size);
}

/* Images being scored, a batch at a time. */
typedef struct Scoring {
    RtMachine *m;
    const RtData *data;
    RtNormalizer normalizer;
    RtViews views;
    uint8_t *work;
    float *scores; /* [batch][classes] of the last batch */
} Scoring;

static RtStatus scoring_begin(Scoring *s, RtMachine *m, const RtData *data, RtViews views, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtStatus status = rt_shape_check(p, data, error);
    *s = (Scoring){.m = m, .data = data, .views = views};
    if (status != RT_OK) return status;
    s->normalizer = rt_normalizer(data, p->recipe.normalize);
    s->work = malloc(2 * (size_t)rt_pool_threads(rt_machine_pool(m)) * (size_t)(p->channels * p->height * p->width));
    s->scores = malloc((size_t)(p->batch * p->classes) * sizeof *s->scores);
    if (!s->work || !s->scores) return rt_fail(error, RT_MEMORY, "out of memory for the scores");
    rt_machine_run(m, &p->prepare_eval);
    return RT_OK;
}

static void scoring_end(Scoring *s) {
    free(s->work);
    free(s->scores);
}

/* Scores of `count` images, at most a batch: the weighted mean over views. */
static void score_batch(Scoring *s, const uint8_t *pixels, const uint32_t *index, int64_t count) {
    const RtView *view;
    int nviews = rt_views(s->views, &view);
    const float *logits = rt_machine_space(s->m, RT_LOGITS);
    int64_t n = count * rt_machine_program(s->m)->classes;
    for (int k = 0; k < nviews; k++) {
        Filling f = {&s->normalizer, s->data, &view[k], pixels, index, s->work, rt_machine_space(s->m, RT_IMAGES)};
        rt_pool_run(rt_machine_pool(s->m), fill_image, &f, count);
        rt_machine_infer(s->m, count);
        for (int64_t i = 0; i < n; i++) s->scores[i] = k ? s->scores[i] + view[k].weight * logits[i] : view[k].weight * logits[i];
    }
}

/* Images [from, to) of a split, whole batches but for the last. */
static void judge(Scoring *s, bool test_split, int64_t from, int64_t to, Verdict *verdict) {
    const RtProgram *p = rt_machine_program(s->m);
    const RtData *d = s->data;
    int64_t size = p->channels * p->height * p->width;
    const uint8_t *images = test_split ? d->test_images : d->train_images,
                  *labels = test_split ? d->test_labels : d->train_labels;
    const uint32_t *index = test_split ? d->test_index : d->train_index;
    for (int64_t at = from; at < to; at += p->batch) {
        int64_t count = to - at < p->batch ? to - at : p->batch;
        score_batch(s, index ? images : images + at * size, index ? index + at : NULL, count);
        for (int64_t i = 0; i < count; i++) {
            int label = labels[index ? index[at + i] : at + i];
            verdict[at + i] = verdict_of(s->scores + i * p->classes, p->classes, label);
        }
    }
}

/* Sums in the order of the images, whoever has looked at them. */
static RtEvalResult count_verdicts(const Verdict *verdict, int64_t n) {
    double loss = 0, total = n ? (double)n : 1;
    int64_t correct = 0, top5 = 0;
    for (int64_t i = 0; i < n; i++) {
        loss += verdict[i].loss;
        correct += verdict[i].beaten_by < 1;
        top5 += verdict[i].beaten_by < 5;
    }
    return (RtEvalResult){.loss = loss / total, .accuracy = (double)correct / total, .top5 = (double)top5 / total, .images = n};
}

static void count_classes(const RtData *d, bool test_split, const Verdict *verdict, int64_t *confusion) {
    const uint8_t *labels = test_split ? d->test_labels : d->train_labels;
    const uint32_t *index = test_split ? d->test_index : d->train_index;
    int64_t n = test_split ? d->ntest : d->ntrain;
    memset(confusion, 0, (size_t)(d->classes * d->classes) * sizeof *confusion);
    for (int64_t i = 0; i < n; i++)
        if (verdict[i].best >= 0) confusion[labels[index ? index[i] : i] * d->classes + verdict[i].best]++;
}

RtStatus rt_evaluate(RtMachine *m, const RtData *data, bool test_split, RtViews views, RtEvalResult *result, RtError *error) {
    return rt_evaluate_classes(m, data, test_split, views, result, NULL, error);
}

/* Of ranks each looks at a share of the batches. */
RtStatus rt_evaluate_classes(RtMachine *m, const RtData *data, bool test_split, RtViews views, RtEvalResult *result,
                             int64_t *confusion, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtRanks *ranks = rt_machine_ranks(m);
    double start = now();
    Scoring s;
    RtStatus status = scoring_begin(&s, m, data, views, error);
    int64_t n = test_split ? data->ntest : data->ntrain, batches = (n + p->batch - 1) / p->batch, all = rt_ranks_count(ranks);
    int64_t each = (batches + all - 1) / all * p->batch, from = each * rt_ranks_index(ranks); /* images of a rank */
    Verdict *verdict = malloc((size_t)(each * all + 1) * sizeof *verdict);
    if (status == RT_OK && !verdict)
        status = rt_fail(error, RT_MEMORY, "out of memory for the results of %lld images", (long long)n);
    status = rt_ranks_agree(ranks, status, error);
    if (status == RT_OK) {
        memset(verdict, 0, (size_t)(each * all) * sizeof *verdict);
        judge(&s, test_split, from, from + each < n ? from + each : n, verdict);
        rt_ranks_gather(ranks, verdict + from, (uint64_t)each * sizeof *verdict, verdict);
        status = rt_ranks_status(ranks, error);
    }
    scoring_end(&s);
    if (status == RT_OK) *result = count_verdicts(verdict, n);
    if (status == RT_OK) result->seconds = now() - start;
    if (status == RT_OK && confusion) count_classes(data, test_split, verdict, confusion);
    free(verdict);
    return status;
}

RtStatus rt_predict(RtMachine *m, const RtData *stats, const uint8_t *images, int64_t n, RtViews views, float *scores,
                    RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    int64_t size = p->channels * p->height * p->width;
    Scoring s;
    RtStatus status = scoring_begin(&s, m, stats, views, error);
    for (int64_t at = 0; status == RT_OK && at < n; at += p->batch) {
        int64_t count = n - at < p->batch ? n - at : p->batch;
        score_batch(&s, images + at * size, NULL, count);
        for (int64_t i = 0; i < count; i++) rt_softmax(s.scores + i * p->classes, p->classes, scores + (at + i) * p->classes);
    }
    scoring_end(&s);
    return status;
}

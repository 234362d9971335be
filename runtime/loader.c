/* The helper thread that keeps a ring of prepared batches full. See loader.h. */
#include "runtime/loader.h"
#include "runtime/mix.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 3 };

struct RtLoader {
    const RtData *data;
    const RtRecipe *recipe;
    RtNormalizer normalizer;
    int64_t batch, first, count, epoch, batch_index, per_epoch, image_floats; /* first, count: of each batch */
    uint64_t seed;
    uint32_t *order;
    int64_t order_epoch;
    uint8_t *work;
    float *images[RING], *before; /* the image before our first one */
    int32_t *labels[RING];        /* [2][count] */
    float share[RING];
    uint64_t filled, taken; /* batches so far; under the lock */
    bool stop, started;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

void rt_epoch_order(uint32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch) {
    for (int64_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (int64_t i = n - 1; shuffle && i > 0; i--) {
        int64_t k = (int64_t)(rt_uniform(seed, RT_STREAM_SHUFFLE, (uint64_t)epoch, (uint32_t)i) * (double)(i + 1));
        uint32_t other = order[k];
        order[k] = order[i];
        order[i] = other;
    }
}

static void blank(const RtData *d, const RtRectangle *cut, float *image) {
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = cut->y0; y < cut->y1; y++)
            for (int64_t x = cut->x0; x < cut->x1; x++) image[(c * d->height + y) * d->width + x] = 0;
}

/* Image i of the batch; returns its label. */
static int32_t prepare_image(RtLoader *l, int64_t i, float *to) {
    uint32_t index = l->order[l->batch_index * l->batch + i];
    if (l->data->train_index) index = l->data->train_index[index];
    const uint8_t *pixels = l->data->train_images + (int64_t)index * l->image_floats;
    RtRectangle cut[RT_MAX_AUGMENT];
    RtDraw draw = {l->seed, l->epoch, index};
    int ncut = rt_augment_image(l->recipe, l->data, &draw, &pixels, l->work, cut);
    rt_normalize_image(&l->normalizer, l->data, pixels, to);
    for (int k = 0; k < ncut; k++) blank(l->data, &cut[k], to);
    return l->data->train_labels[index];
}

/* From the last image on, so that each is mixed with what the one before it was. Both labels mean the same with their shares
 * exchanged: the first is to weigh more. */
static void mix(RtLoader *l, float *images, int32_t *labels, float *share) {
    RtMixed mixed = rt_mix_draw(l->recipe, l->data, l->seed, l->epoch, l->batch_index);
    int32_t *others = labels + l->count;
    int32_t label_before = mixed.share == 1 ? 0 : prepare_image(l, (l->first ? l->first : l->batch) - 1, l->before);
    for (int64_t i = l->count - 1; i >= 0; i--) {
        others[i] = mixed.share == 1 ? labels[i] : i ? labels[i - 1] : label_before;
        if (mixed.share != 1)
            rt_mix_image(&mixed, l->data, images + i * l->image_floats, i ? images + (i - 1) * l->image_floats : l->before);
    }
    for (int64_t i = 0; mixed.share < 0.5F && i < l->count; i++) {
        int32_t label = labels[i];
        labels[i] = others[i];
        others[i] = label;
    }
    *share = mixed.share < 0.5F ? 1 - mixed.share : mixed.share;
}

static void prepare(RtLoader *l, float *images, int32_t *labels, float *share) {
    if (l->order_epoch != l->epoch) {
        rt_epoch_order(l->order, l->data->ntrain, l->recipe->shuffle, l->seed, l->epoch);
        l->order_epoch = l->epoch;
    }
    for (int64_t i = 0; i < l->count; i++) labels[i] = prepare_image(l, l->first + i, images + i * l->image_floats);
    mix(l, images, labels, share);
    if (++l->batch_index < l->per_epoch) return;
    l->batch_index = 0;
    l->epoch++;
}

static void *loader_main(void *argument) {
    RtLoader *l = argument;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        while (!l->stop && l->filled - l->taken == RING) pthread_cond_wait(&l->changed, &l->lock);
        bool stop = l->stop;
        uint64_t slot = l->filled % RING;
        pthread_mutex_unlock(&l->lock);
        if (stop) return NULL;
        prepare(l, l->images[slot], l->labels[slot], &l->share[slot]);
        pthread_mutex_lock(&l->lock);
        l->filled++;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
}

static bool allocate(RtLoader *l) {
    size_t floats;
    if (__builtin_mul_overflow((size_t)l->count, (size_t)l->image_floats, &floats) || floats > SIZE_MAX / sizeof(float))
        return false;
    l->order = malloc((size_t)l->data->ntrain * sizeof *l->order);
    l->work = malloc(2 * (size_t)l->image_floats);
    l->before = malloc((size_t)l->image_floats * sizeof(float));
    bool ok = l->order && l->work && l->before;
    for (int i = 0; i < RING; i++) {
        l->images[i] = malloc(floats * sizeof(float));
        l->labels[i] = malloc(2 * (size_t)l->count * sizeof(int32_t));
        ok = ok && l->images[i] && l->labels[i];
    }
    return ok;
}

RtLoader *rt_loader_new(const RtData *data, const RtRecipe *recipe, const RtLoaderStart *start, RtError *error) {
    RtLoader *l = calloc(1, sizeof *l);
    if (!l) {
        rt_fail(error, RT_MEMORY, "out of memory for the batches");
        return NULL;
    }
    l->data = data;
    l->recipe = recipe;
    l->normalizer = rt_normalizer(data, recipe->normalize);
    l->batch = start->batch;
    l->first = start->first;
    l->count = start->count;
    l->epoch = start->epoch;
    l->batch_index = start->batch_index;
    l->per_epoch = data->ntrain / (start->batch * rt_step_batches(recipe)) * rt_step_batches(recipe);
    l->image_floats = data->channels * data->height * data->width;
    l->seed = start->seed;
    l->order_epoch = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    if (allocate(l) && pthread_create(&l->thread, NULL, loader_main, l) == 0) {
        l->started = true;
        return l;
    }
    rt_loader_free(l);
    rt_fail(error, RT_MEMORY, "out of memory for the batches");
    return NULL;
}

void rt_loader_next(RtLoader *l, float *images, int32_t *labels, float *share) {
    pthread_mutex_lock(&l->lock);
    while (l->filled == l->taken) pthread_cond_wait(&l->changed, &l->lock);
    uint64_t slot = l->taken % RING;
    pthread_mutex_unlock(&l->lock);
    memcpy(images + l->first * l->image_floats, l->images[slot], (size_t)(l->count * l->image_floats) * sizeof(float));
    for (int k = 0; k < 2; k++)
        memcpy(labels + k * l->batch + l->first, l->labels[slot] + k * l->count, (size_t)l->count * sizeof(int32_t));
    *share = l->share[slot];
    pthread_mutex_lock(&l->lock);
    l->taken++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

void rt_loader_free(RtLoader *l) {
    if (!l) return;
    if (l->started) {
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    for (int i = 0; i < RING; i++) {
        free(l->images[i]);
        free(l->labels[i]);
    }
    free(l->order);
    free(l->work);
    free(l->before);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    free(l);
}

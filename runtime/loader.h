/* Inside runtime/: batches prepared ahead on a helper thread, so that the training step never waits for data.
 *
 * What a batch contains is a function of (seed, epoch, batch index) alone: the order of an epoch is a Fisher-Yates shuffle keyed
 * by (seed, epoch), the augmentation of an image is keyed by (seed, epoch, image), mixing by (seed, epoch, batch). The last,
 * partial batch of an epoch is dropped; shuffling lets other images fall out each time. */
#ifndef NETC_RUNTIME_LOADER_H
#define NETC_RUNTIME_LOADER_H
#include "runtime/augment.h"

/* order[i] is the image that stands at place i of this epoch. */
void rt_epoch_order(uint32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch);

typedef struct RtLoader RtLoader;
/* Where it starts, and which images of each batch it prepares. */
typedef struct RtLoaderStart {
    int64_t batch, first, count; /* images of a batch; of these, ours */
    uint64_t seed;
    int64_t epoch, batch_index;
} RtLoaderStart;
/* Goes on over epochs. The data and recipe must outlive it. */
RtLoader *rt_loader_new(const RtData *data, const RtRecipe *recipe, const RtLoaderStart *start, RtError *error);
/* Copies our images of the next batch to their places in it: images f32[batch][C][H][W], labels i32[2][batch]: of each image the
 * label that weighs more, *share, and of the image that it is mixed with. Where nothing is mixed the two are one. */
void rt_loader_next(RtLoader *loader, float *images, int32_t *labels, float *share);
void rt_loader_free(RtLoader *loader);
#endif

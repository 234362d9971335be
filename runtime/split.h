/* Inside runtime/: training images that are kept out of training, so that what is chosen is not chosen on the test set. */
#ifndef NETC_RUNTIME_SPLIT_H
#define NETC_RUNTIME_SPLIT_H
#include "runtime/status.h"

/* Parts of a set, which must outlive them: its memory, and statistics of all its training images. */
typedef struct RtSplit {
    RtData train; /* what is left to train with, and the set's test images */
    RtData held;  /* the images kept out are its test images; nothing to train with */
    uint32_t *index;
} RtSplit;

int64_t rt_validation_count(const RtRecipe *recipe, const RtData *data); /* 0: none is kept out */
/* Which are kept out is drawn by the seed; both parts have their images in the set's order. rt_split_free in any case. */
RtStatus rt_split(const RtData *data, int64_t held, uint64_t seed, RtSplit *split, RtError *error);
void rt_split_free(RtSplit *split);
#endif

/* See split.h. */
#include "runtime/split.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t rt_validation_count(const RtRecipe *recipe, const RtData *data) {
    double v = recipe->validation;
    return (int64_t)(v < 1 ? floor(v * (double)data->ntrain + 0.5) : v);
}

/* Each subset of `held` of n images is as likely as any other (Knuth, TAOCP 2, algorithm S): in order, to the end of index. */
static void draw(uint32_t *index, int64_t n, int64_t held, uint64_t seed) {
    int64_t taken = 0, left = 0;
    for (int64_t i = 0; i < n; i++) {
        double u = rt_uniform(seed, RT_STREAM_SPLIT, (uint64_t)i, 0);
        bool take = u * (double)(n - i) < (double)(held - taken);
        index[take ? n - held + taken++ : left++] = (uint32_t)i;
    }
}

RtStatus rt_split(const RtData *data, int64_t held, uint64_t seed, RtSplit *split, RtError *error) {
    *split = (RtSplit){.train = *data, .held = *data};
    split->index = malloc((size_t)data->ntrain * sizeof *split->index);
    if (!split->index) return rt_fail(error, RT_MEMORY, "out of memory for the validation images");
    draw(split->index, data->ntrain, held, seed);
    split->train.ntrain -= held;
    split->train.train_index = split->index;
    split->held.ntrain = 0;
    split->held.ntest = held;
    split->held.test_images = data->train_images;
    split->held.test_labels = data->train_labels;
    split->held.test_index = split->index + split->train.ntrain;
    return RT_OK;
}

void rt_split_free(RtSplit *split) {
    free(split->index);
    *split = (RtSplit){0};
}

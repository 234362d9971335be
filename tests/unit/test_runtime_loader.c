/* Sampler, augmentations, normalisation, and the loader's batches. */
#include "run_cases.h"
#include "runtime/loader.h"
#include "runtime/operate.h"
#include "runtime_softmax.h"

enum { SIDE = 8, IMAGES = 50, BATCH = 8, FLOATS = 3 * SIDE * SIDE };
static float share; /* of mixed labels; nothing is mixed here */

/* Image n, channel c, pixel (y, x) is distinct enough: 40 c + 5 y + x + n % 3. */
static RtData small_data(void) {
    RtData d = {.channels = 3,
                .height = SIDE,
                .width = SIDE,
                .classes = 10,
                .ntrain = IMAGES,
                .mean = {0.1, 0.2, 0.3},
                .std = {0.5, 0.25, 0.125}};
    d.train_images = malloc(IMAGES * FLOATS);
    d.train_labels = malloc(IMAGES);
    for (int n = 0; n < IMAGES; n++) {
        d.train_labels[n] = (uint8_t)n;
        for (int i = 0; i < FLOATS; i++)
            d.train_images[n * FLOATS + i] = (uint8_t)(40 * (i / 64) + 5 * (i / 8 % 8) + i % 8 + n % 3);
    }
    return d;
}

START_TEST(order) {
    uint32_t a[1000], b[1000];
    bool seen[1000] = {0};
    rt_epoch_order(a, 1000, false, 1, 0);
    for (uint32_t i = 0; i < 1000; i++) ck_assert_uint_eq(a[i], i);
    rt_epoch_order(a, 1000, true, 1, 3);
    rt_epoch_order(b, 1000, true, 1, 3);
    ck_assert_mem_eq(a, b, sizeof a);
    int fixed = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        ck_assert(a[i] < 1000 && !seen[a[i]]);
        seen[a[i]] = true;
        fixed += a[i] == i;
    }
    ck_assert_int_lt(fixed, 10);
    rt_epoch_order(b, 1000, true, 1, 4);
    ck_assert_mem_ne(a, b, sizeof a);
    rt_epoch_order(b, 1000, true, 2, 3);
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

/* The order is a function of the seed and the epoch, drawn from a stream that nothing else draws from: the same in every version.
 */
START_TEST(order_is_drawn_from_its_own_stream) {
    enum { N = 100 };
    uint32_t found[N], expected[N];
    for (int64_t epoch = 0; epoch < 3; epoch++) {
        rt_epoch_order(found, N, true, 7, epoch);
        for (uint32_t i = 0; i < N; i++) expected[i] = i;
        for (uint32_t i = N - 1; i > 0; i--) { /* Fisher and Yates, from the end */
            uint32_t k = (uint32_t)(rt_uniform(7, RT_STREAM_SHUFFLE, (uint64_t)epoch, i) * (i + 1)), last = expected[i];
            expected[i] = expected[k];
            expected[k] = last;
        }
        ck_assert_mem_eq(found, expected, sizeof found);
    }
    static const uint32_t streams[] = {RT_STREAM_INIT, RT_STREAM_SHUFFLE, RT_STREAM_AUGMENT, RT_STREAM_SYNTHETIC};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++) ck_assert_uint_ne(streams[i], streams[k]);
}
END_TEST

START_TEST(normalisation) {
    RtData d = small_data();
    float out[FLOATS];
    static const double kinds[3][2] = {{0, 1}, {0.2, 1}, {0.2, 0.25}}; /* of channel 1: what is subtracted, the divisor */
    for (int kind = 0; kind < 3; kind++) {
        RtNormalizer n = rt_normalizer(&d, (RtNormalize)kind);
        rt_normalize_image(&n, &d, d.train_images, out);
        for (int i = 64; i < 128; i++)
            ck_assert_double_eq_tol(out[i], (d.train_images[i] / 255.0 - kinds[kind][0]) / kinds[kind][1], 1e-6);
    }
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* Augments image 0 with each of 400 keys; visit says whether the result is legal and which of its variants (0..99) it is. Returns
 * how many variants came up. */
static int variants(RtAugment kind, int (*which)(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut)) {
    RtData d = small_data();
    RtRecipe recipe = {.naugment = 1, .augment = {kind}};
    uint8_t work[2 * FLOATS];
    bool seen[400] = {0};
    int count = 0;
    for (uint64_t key = 0; key < 2000; key++) {
        const uint8_t *pixels = d.train_images;
        RtRectangle cut[RT_MAX_AUGMENT];
        int ncut = rt_augment_image(&recipe, &d, &(RtDraw){9, 0, (uint32_t)key}, &pixels, work, cut);
        int variant = which(&d, pixels, ncut, cut);
        if (variant < 0 || variant >= 400) ck_abort_msg("key %d: not a legal result", (int)key);
        count += !seen[variant];
        seen[variant] = true;
    }
    free(d.train_images), free(d.train_labels);
    return count;
}

typedef enum Edge { BLACK, NEAREST, REFLECT } Edge;

static int inside(int at, Edge edge) {
    if (edge == REFLECT) return at < 0 ? -at : at >= SIDE ? 2 * (SIDE - 1) - at : at;
    return at < 0 ? 0 : at >= SIDE ? SIDE - 1 : at;
}

/* The shift (dy, dx) within `reach` that explains the pixels, as a number; -1 if none does. */
static int find_shift(const RtData *d, const uint8_t *pixels, int reach, Edge edge) {
    for (int dy = -reach; dy <= reach; dy++)
        for (int dx = -reach; dx <= reach; dx++) {
            bool same = true;
            for (int i = 0; same && i < FLOATS; i++) {
                int c = i / 64, y = i / 8 % 8 + dy, x = i % 8 + dx;
                bool out = y < 0 || x < 0 || y >= SIDE || x >= SIDE;
                y = inside(y, edge);
                x = inside(x, edge);
                same = pixels[i] == (out && edge == BLACK ? 0 : d->train_images[c * 64 + y * 8 + x]);
            }
            if (same) return (dy + reach) * (2 * reach + 1) + dx + reach;
        }
    return -1;
}

static int crop_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    (void)cut;
    return ncut ? -1 : find_shift(d, pixels, 2, BLACK);
}
static int reflect_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    (void)cut;
    return ncut ? -1 : find_shift(d, pixels, 3, REFLECT);
}
static int translate_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    (void)cut;
    return ncut ? -1 : find_shift(d, pixels, 1, NEAREST);
}
static int wild_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    (void)cut;
    return ncut || find_shift(d, pixels, 9, BLACK) < 0 ? -1 : 0;
}
static int flip_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    bool same = true, mirrored = true;
    (void)cut;
    for (int i = 0; i < FLOATS; i++) {
        same = same && pixels[i] == d->train_images[i];
        mirrored = mirrored && pixels[i] == d->train_images[i / 8 * 8 + 7 - i % 8];
    }
    return ncut ? -1 : same ? 0 : mirrored ? 1 : -1;
}
static int cutout_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    if (ncut != 1 || pixels != d->train_images || cut->y0 < 0 || cut->x0 < 0 || cut->y1 > SIDE || cut->x1 > SIDE) return -1;
    int64_t h = cut->y1 - cut->y0, w = cut->x1 - cut->x0;
    return h < 2 || w < 2 || h > 4 || w > 4 ? -1 : (int)((cut->y0 + cut->y1) * 20 + cut->x0 + cut->x1);
}

static int inner_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    if (ncut != 1 || pixels != d->train_images || cut->y0 < 0 || cut->x0 < 0 || cut->y1 > SIDE || cut->x1 > SIDE) return -1;
    return cut->y1 - cut->y0 != 3 || cut->x1 - cut->x0 != 3 ? -1 : (int)(cut->y0 * SIDE + cut->x0);
}
static int whole_variant(const RtData *d, const uint8_t *pixels, int ncut, const RtRectangle *cut) {
    (void)d, (void)pixels;
    return ncut == 1 && !cut->y0 && !cut->x0 && cut->y1 == SIDE && cut->x1 == SIDE ? 0 : -1;
}

START_TEST(augmentations) {
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_PAD_CROP, 3, true}, reflect_variant), 49);
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_CUTOUT, 3, true}, inner_variant), 36); /* every place inside */
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_CUTOUT, 12, true}, whole_variant), 1);
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_FLIP, 0, true}, flip_variant), 2);
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_PAD_CROP, 2}, crop_variant), 25);
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_PAD_CROP, 9}, wild_variant), 1);          /* the whole image may leave */
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_TRANSLATE, 0.13}, translate_variant), 9); /* one pixel of 8 */
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_FLIP, 0}, flip_variant), 2);
    ck_assert_int_eq(variants((RtAugment){RT_AUGMENT_CUTOUT, 4}, cutout_variant), 64); /* every centre */
}
END_TEST

/* Each image is seen both ways in any two epochs on end, and about half of them as they are in the first. */
START_TEST(flips_alternate) {
    RtData d = small_data();
    RtRecipe recipe = {.naugment = 2, .augment = {{RT_AUGMENT_CUTOUT, 2}, {RT_AUGMENT_FLIP, 0, true}}};
    uint8_t work[2 * FLOATS];
    int mirrored_first = 0;
    for (uint32_t image = 0; image < 1000; image++) {
        int first = -1;
        for (int64_t epoch = 0; epoch < 5; epoch++) {
            const uint8_t *pixels = d.train_images;
            RtRectangle cut[RT_MAX_AUGMENT];
            rt_augment_image(&recipe, &d, &(RtDraw){9, epoch, image}, &pixels, work, cut);
            int mirrored = flip_variant(&d, pixels, 0, NULL);
            if (epoch == 0) first = mirrored, mirrored_first += mirrored;
            ck_assert_int_eq(mirrored, epoch % 2 ? 1 - first : first);
        }
    }
    ck_assert_msg(mirrored_first > 450 && mirrored_first < 550, "%d of 1000 are mirrored first", mirrored_first);
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* The views of cifar10-airbench's infer_mirror_translate, whose padded[0:32] is the picture moved down and right. */
START_TEST(views) {
    static const RtViews kinds[] = {RT_VIEWS_ONE, RT_VIEWS_MIRROR, RT_VIEWS_MIRROR_SHIFT};
    static const int counts[] = {1, 2, 6};
    RtData d = small_data();
    uint8_t work[2 * FLOATS], upright[FLOATS];
    for (int k = 0; k < 3; k++) {
        const RtView *list;
        float total = 0, plain = 0;
        ck_assert_int_eq(rt_views(kinds[k], &list), counts[k]);
        ck_assert_int_eq(rt_view_count(kinds[k]), counts[k]);
        for (int i = 0; i < counts[k]; i++) {
            const uint8_t *seen = rt_view_image(&list[i], &d, d.train_images, work);
            for (int p = 0; p < FLOATS; p++) upright[p] = seen[list[i].mirror ? p / 8 * 8 + 7 - p % 8 : p];
            int place = find_shift(&d, upright, 1, REFLECT);
            ck_assert_msg(place == (list[i].shift < 0 ? 0 : list[i].shift > 0 ? 8 : 4), "view %d is at %d", i, place);
            total += list[i].weight;
            plain += list[i].shift ? 0 : list[i].weight;
        }
        ck_assert(total == 1 && plain == (k == 2 ? 0.5F : 1));
    }
    free(d.train_images), free(d.train_labels);
}
END_TEST

static double seen(double x) { return x < 0 ? 0 : x > 255 ? 255 : floor(x); }

/* torchvision.transforms.functional_tensor._blend, of bytes. */
static double recoloured(const RtData *d, RtAugmentKind kind, double factor, int c, int i) {
    const uint8_t *p = d->train_images;
    double gray = seen(0.2989 * p[i] + 0.587 * p[64 + i] + 0.114 * p[128 + i]), mean = 0;
    for (int k = 0; k < 64; k++) mean += seen(0.2989 * p[k] + 0.587 * p[64 + k] + 0.114 * p[128 + k]);
    double other = kind == RT_AUGMENT_BRIGHTNESS ? 0 : kind == RT_AUGMENT_CONTRAST ? mean / 64 : gray;
    return seen(factor * p[c * 64 + i] + (1 - factor) * other);
}

START_TEST(colours) {
    static const RtAugmentKind kinds[] = {RT_AUGMENT_BRIGHTNESS, RT_AUGMENT_CONTRAST, RT_AUGMENT_SATURATION};
    RtData d = small_data();
    uint8_t work[2 * FLOATS];
    for (int k = 0; k < 3; k++)
        for (uint32_t image = 0; image < 50; image++) {
            double amount = image < 25 ? 0.4 : 1.5, low = amount < 1 ? 1 - amount : 0;
            RtRecipe recipe = {.naugment = 1, .augment = {{kinds[k], amount}}};
            const uint8_t *pixels = d.train_images;
            rt_augment_image(&recipe, &d, &(RtDraw){9, 0, image}, &pixels, work, NULL);
            double factor = low + (1 + amount - low) * rt_uniform(9, RT_STREAM_AUGMENT, image, 0);
            ck_assert(factor >= low && factor <= 1 + amount);
            for (int i = 0; i < FLOATS; i++) /* rounding before a cut may fall on the other side */
                ck_assert(fabs(pixels[i] - recoloured(&d, kinds[k], factor, i / 64, i % 64)) <= 1);
        }
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* Held against a sum over all pixels, each weighing what a triangle has left at its distance. */
START_TEST(rotations) {
    RtData d = small_data();
    uint8_t work[2 * FLOATS];
    for (uint32_t image = 0; image < 40; image++) {
        double degrees = image < 20 ? 180 : 0;
        RtRecipe recipe = {.naugment = 1, .augment = {{RT_AUGMENT_ROTATE, degrees}}};
        const uint8_t *pixels = d.train_images;
        rt_augment_image(&recipe, &d, &(RtDraw){9, 0, image}, &pixels, work, NULL);
        double angle = degrees * (2 * rt_uniform(9, RT_STREAM_AUGMENT, image, 0) - 1) * 3.14159265358979323846 / 180;
        for (int i = 0; i < FLOATS; i++) {
            double x = i % 8 - 3.5, y = i / 8 % 8 - 3.5, sum = 0;
            double fx = cos(angle) * x + sin(angle) * y + 3.5, fy = cos(angle) * y - sin(angle) * x + 3.5;
            for (int k = 0; k < 64; k++) {
                double across = 1 - fabs(fx - k % 8), down = 1 - fabs(fy - k / 8);
                if (across > 0 && down > 0) sum += across * down * d.train_images[i / 64 * 64 + k];
            }
            ck_assert_double_eq_tol(pixels[i], sum, 0.5 + 1e-6);
        }
    }
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* Which operations, how many and of what sign: by the definition of the draw. tests/e2e/torch_augment.py holds the operations to
 * torchvision's. */
START_TEST(random_operations) {
    RtData d = small_data();
    uint8_t work[2 * FLOATS], want[2][FLOATS];
    int seen[RT_OPERATION_COUNT] = {0}, negative = 0, strongest = 0;
    for (uint32_t image = 0; image < 600; image++) {
        bool wide = image >= 300;
        RtRecipe recipe = {.naugment = 2, .augment = {{RT_AUGMENT_FLIP}, {RT_AUGMENT_RAND, .value = 9, .operations = 3}}};
        if (wide) recipe.augment[1] = (RtAugment){RT_AUGMENT_TRIVIAL};
        const uint8_t *pixels = d.train_images;
        rt_augment_image(&(RtRecipe){.naugment = 1, .augment = {{RT_AUGMENT_FLIP}}}, &d, &(RtDraw){4, 1, image}, &pixels, work,
                         NULL);
        memcpy(want[0], pixels, FLOATS);
        uint64_t key = (uint64_t)1 << 32 | image;
        for (uint32_t k = 0; k < (wide ? 1 : 3); k++) {
            double u[3];
            for (uint32_t i = 0; i < 3; i++) u[i] = rt_uniform(4, RT_STREAM_AUGMENT, key, 1024 + 64 + 3 * k + i);
            RtOperation operation = (RtOperation)(u[0] * RT_OPERATION_COUNT);
            int strength = wide ? (int)(u[1] * RT_STRENGTHS) : 9;
            bool sign;
            double magnitude = rt_operation_magnitude(operation, wide, strength, &d, &sign);
            rt_operate(operation, sign && u[2] < 0.5 ? -magnitude : magnitude, &d, want[0], want[1]);
            memcpy(want[0], want[1], FLOATS);
            seen[operation]++, negative += sign && u[2] < 0.5, strongest += wide && strength == 30;
        }
        pixels = d.train_images;
        rt_augment_image(&recipe, &d, &(RtDraw){4, 1, image}, &pixels, work, NULL);
        ck_assert_mem_eq(pixels, want[0], FLOATS);
    }
    for (int i = 0; i < RT_OPERATION_COUNT; i++) ck_assert_int_gt(seen[i], 40); /* of 1200: 86 in the mean */
    ck_assert(negative > 300 && negative < 480 && strongest > 2);
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* Areas and proportions that were asked for, within what whole pixels allow; everywhere; as often as was said. */
START_TEST(erasing) {
    RtData d = small_data();
    RtRecipe recipe = {.naugment = 1, .augment = {{RT_AUGMENT_ERASE, .value = 0.6, .least = 0.1, .most = 0.4}}};
    uint8_t work[2 * FLOATS];
    bool corner[4] = {false};
    int count = 0;
    for (uint32_t image = 0; image < 2000; image++) {
        const uint8_t *pixels = d.train_images;
        RtRectangle cut[RT_MAX_AUGMENT];
        if (!rt_augment_image(&recipe, &d, &(RtDraw){9, 0, image}, &pixels, work, cut)) continue;
        int64_t h = cut->y1 - cut->y0, w = cut->x1 - cut->x0;
        count++;
        ck_assert(pixels == d.train_images && cut->y0 >= 0 && cut->x0 >= 0 && cut->y1 <= SIDE && cut->x1 <= SIDE && h > 0 &&
                  w > 0);
        ck_assert((double)((h + 1) * (w + 1)) > 6.4 && (double)((h - 1) * (w - 1)) < 25.6);
        ck_assert((double)(h + 1) / (double)w > 0.3 && (double)(w + 1) / (double)h > 0.3);
        corner[0] |= !cut->y0 && !cut->x0, corner[1] |= !cut->y0 && cut->x1 == SIDE;
        corner[2] |= cut->y1 == SIDE && !cut->x0, corner[3] |= cut->y1 == SIDE && cut->x1 == SIDE;
    }
    ck_assert_msg(count > 1120 && count < 1280, "%d of 2000, not 60 %%", count);
    ck_assert(corner[0] && corner[1] && corner[2] && corner[3]);
    free(d.train_images), free(d.train_labels);
}
END_TEST

static RtRecipe full_recipe(void) {
    return (RtRecipe){
        .normalize = RT_NORMALIZE_MEAN_STD,
        .shuffle = true,
        .naugment = 4,
        .augment = {{RT_AUGMENT_PAD_CROP, 2}, {RT_AUGMENT_FLIP, 0}, {RT_AUGMENT_CUTOUT, 3}, {RT_AUGMENT_CUTOUT, 2}}};
}

/* A loader started anywhere gives what one from the beginning gives there; epochs drop the partial batch. */
START_TEST(batches) {
    enum { PER_EPOCH = IMAGES / BATCH, RUN = 2 * PER_EPOCH + 3 };
    RtData d = small_data();
    RtRecipe recipe = full_recipe();
    RtError error;
    static float images[RUN][BATCH * FLOATS], again[BATCH * FLOATS];
    static int32_t labels[RUN][2 * BATCH], labels_again[2 * BATCH];
    RtLoader *l = rt_loader_new(&d, &recipe, &(RtLoaderStart){BATCH, 0, BATCH, 3, 0, 0}, &error);
    ck_assert_ptr_nonnull(l);
    for (int i = 0; i < RUN; i++) rt_loader_next(l, images[i], labels[i], &share);
    rt_loader_free(l);
    for (int epoch = 0; epoch < 2; epoch++) {
        bool seen[IMAGES] = {0};
        for (int i = 0; i < PER_EPOCH * BATCH; i++) {
            int32_t label = labels[epoch * PER_EPOCH + i / BATCH][i % BATCH];
            ck_assert(label >= 0 && label < IMAGES && !seen[label]);
            seen[label] = true;
        }
    }
    ck_assert_mem_ne(labels[0], labels[PER_EPOCH], sizeof labels[0]);
    static const int starts[] = {0, 4, PER_EPOCH, RUN - 1};
    for (int s = 0; s < 4; s++) {
        l = rt_loader_new(&d, &recipe, &(RtLoaderStart){BATCH, 0, BATCH, 3, starts[s] / PER_EPOCH, starts[s] % PER_EPOCH},
                          &error);
        for (int i = starts[s]; i < RUN; i++) {
            rt_loader_next(l, again, labels_again, &share);
            ck_assert_mem_eq(again, images[i], sizeof again);
            ck_assert_mem_eq(labels_again, labels[i], sizeof labels_again);
        }
        rt_loader_free(l);
    }
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* An image is cropped elsewhere in the next epoch, by the definition of its key. */
START_TEST(another_crop_in_every_epoch) {
    RtData d = small_data();
    RtRecipe recipe = {.naugment = 1, .augment = {{RT_AUGMENT_PAD_CROP, 2}}};
    RtNormalizer plain = rt_normalizer(&d, RT_NORMALIZE_NONE);
    RtError error;
    float images[BATCH * FLOATS], expected[FLOATS];
    int32_t labels[2 * BATCH];
    uint8_t work[2 * FLOATS], first[IMAGES][FLOATS] = {{0}};
    int moved = 0;
    RtLoader *l = rt_loader_new(&d, &recipe, &(RtLoaderStart){BATCH, 0, BATCH, 3, 0, 0}, &error);
    for (int b = 0; b < 2 * (IMAGES / BATCH); b++) { /* not shuffled: the same images in each epoch */
        uint64_t epoch = (uint64_t)b / (IMAGES / BATCH);
        rt_loader_next(l, images, labels, &share);
        for (int i = 0; i < BATCH; i++) {
            const uint8_t *pixels = d.train_images + labels[i] * FLOATS;
            rt_augment_image(&recipe, &d, &(RtDraw){3, (int64_t)epoch, (uint32_t)labels[i]}, &pixels, work, NULL);
            rt_normalize_image(&plain, &d, pixels, expected);
            ck_assert_mem_eq(images + i * FLOATS, expected, sizeof expected);
            if (epoch)
                moved += memcmp(first[labels[i]], pixels, FLOATS) != 0;
            else
                memcpy(first[labels[i]], pixels, FLOATS);
        }
    }
    ck_assert_int_gt(moved, 40); /* of 48; 24 in 25 */
    rt_loader_free(l);
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* Just the square, clipped at the border: as many zeros as its sides say. */
START_TEST(cutout_blanks_its_square) {
    enum { CUT = 3 };
    RtData d = small_data();
    RtRecipe recipe = {.naugment = 1, .augment = {{RT_AUGMENT_CUTOUT, CUT}}};
    RtError error;
    float images[BATCH * FLOATS];
    int32_t labels[2 * BATCH];
    memset(d.train_images, 255, IMAGES * FLOATS);
    RtLoader *l = rt_loader_new(&d, &recipe, &(RtLoaderStart){BATCH, 0, BATCH, 3, 0, 0}, &error);
    rt_loader_next(l, images, labels, &share);
    int whole = 0;
    for (int i = 0; i < BATCH; i++) {
        const uint8_t *pixels = d.train_images;
        uint8_t work[2 * FLOATS];
        RtRectangle cut[RT_MAX_AUGMENT];
        ck_assert_int_eq(rt_augment_image(&recipe, &d, &(RtDraw){3, 0, (uint32_t)labels[i]}, &pixels, work, cut), 1);
        for (int k = 0; k < FLOATS; k++) {
            int y = k / SIDE % SIDE, x = k % SIDE;
            bool inside = y >= cut->y0 && y < cut->y1 && x >= cut->x0 && x < cut->x1;
            ck_assert_float_eq(images[i * FLOATS + k], inside ? 0 : 1);
        }
        whole += cut->y1 - cut->y0 == CUT && cut->x1 - cut->x0 == CUT;
    }
    ck_assert_int_gt(whole, 0);
    rt_loader_free(l);
    free(d.train_images), free(d.train_labels);
}
END_TEST

START_TEST(file_order) {
    RtData d = small_data();
    RtRecipe recipe = {.normalize = RT_NORMALIZE_NONE};
    RtError error;
    float images[BATCH * FLOATS];
    int32_t labels[2 * BATCH];
    RtLoader *l = rt_loader_new(&d, &recipe, &(RtLoaderStart){BATCH, 0, BATCH, 3, 0, 0}, &error);
    for (int b = 0; b < 7; b++) { /* the seventh batch is the first of the next epoch */
        rt_loader_next(l, images, labels, &share);
        for (int i = 0; i < BATCH; i++) ck_assert_int_eq(labels[i], b % 6 * BATCH + i);
        for (int i = 0; i < FLOATS; i++)
            ck_assert_float_eq_tol(images[i], (float)d.train_images[labels[0] * FLOATS + i] / 255, 1e-7);
    }
    rt_loader_free(l);
    free(d.train_images), free(d.train_labels);
}
END_TEST

START_TEST(cutout_is_the_mean) {
    RtData d = small_data();
    RtRecipe recipe = {.normalize = RT_NORMALIZE_MEAN_STD, .naugment = 1, .augment = {{RT_AUGMENT_CUTOUT, 100}}};
    RtError error;
    float images[BATCH * FLOATS];
    int32_t labels[2 * BATCH];
    RtLoader *l = rt_loader_new(&d, &recipe, &(RtLoaderStart){BATCH, 0, BATCH, 3, 0, 0}, &error);
    rt_loader_next(l, images, labels, &share);
    for (int i = 0; i < BATCH * FLOATS; i++)
        if (images[i] != 0) ck_abort_msg("a square larger than the image leaves %g", images[i]);
    rt_loader_free(l);
    free(d.train_images), free(d.train_labels);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("loader");
    tcase_add_test(cases, order);
    tcase_add_test(cases, order_is_drawn_from_its_own_stream);
    tcase_add_test(cases, normalisation);
    tcase_add_test(cases, augmentations);
    tcase_add_test(cases, flips_alternate);
    tcase_add_test(cases, views);
    tcase_add_test(cases, colours);
    tcase_add_test(cases, rotations);
    tcase_add_test(cases, random_operations);
    tcase_add_test(cases, erasing);
    tcase_add_test(cases, batches);
    tcase_add_test(cases, another_crop_in_every_epoch);
    tcase_add_test(cases, cutout_blanks_its_square);
    tcase_add_test(cases, file_order);
    tcase_add_test(cases, cutout_is_the_mean);
    return run_cases("runtime/loader", cases);
}

/* What may change when a training is resumed: every key of the recipe, and what the recipe does not say. */
#include "run_cases.h"
#include "runtime/identity.h"
#include "runtime/safetensors.h"
#include "runtime_softmax.h"

enum { BATCH = 32, STEPS = 15 };

static RtData data; /* 30 batches an epoch */
static char said[4096];

static void hear(RtSaying kind, const char *text) {
    ck_assert_int_eq(kind, RT_NOTE);
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", text);
}

static const char recipe[] = "train {\n"
                             "    data      = synthetic\n"
                             "    fit       = stretch\n"
                             "    normalize = mean_std\n"
                             "    augment   = [flip]\n"
                             "    mix       = []\n"
                             "    loss      = cross_entropy(label_smoothing = 0)\n"
                             "    optimizer = sgd(lr = 0.1, momentum = 0.9)\n"
                             "    groups    = []\n"
                             "    schedule  = constant(warmup = 0)\n"
                             "    epochs    = 2\n"
                             "    batch     = 32\n"
                             "    accumulate = 1\n"
                             "    shards    = 1\n"
                             "    clip      = 0\n"
                             "    validation = 0\n"
                             "    patience  = 0\n"
                             "    shuffle   = true\n"
                             "    average   = none\n"
                             "    views     = one\n"
                             "}\n";

/* The recipe with one line's value replaced; static storage. */
static const char *recipe_with(const char *key, const char *value) {
    static char text[1024];
    char line[32];
    snprintf(line, sizeof line, "    %-9s = ", key);
    const char *at = strstr(recipe, line);
    ck_assert_ptr_nonnull(at);
    at += strlen(line);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - recipe), recipe, value, strchr(at, '\n'));
    return text;
}

static void first_half(Softmax *x, const char *directory) {
    RtError error;
    softmax_program(x, BATCH, 3, 8, 8, 10);
    x->program.recipe_text = recipe;
    Bench b = bench_new(x, 1);
    Run r = {directory, {.seed = 11, .max_steps = STEPS, .quiet = true}};
    ck_assert_msg(run_in(b.machine, &data, &r, &error) == RT_OK, "%s", error.text);
    bench_free(&b);
}

static RtStatus second_half(const Softmax *x, const char *directory, const RtData *with, RtTrainOptions o, RtError *error) {
    Bench b = bench_new(x, 1);
    o.resume = o.quiet = true;
    o.max_steps = STEPS + 1;
    o.say = hear;
    said[0] = 0;
    RtStatus status = run_in(b.machine, with, &(Run){directory, o}, error);
    bench_free(&b);
    return status;
}

static const struct {
    const char *key, *value;
    bool refused;
    const char *says; /* the note, or the error */
} table[] = {
    {"data", "cifar10", false, ""}, /* the images are compared, not the word */
    {"fit", "crop", false, ""},     /* likewise */
    {"batch", "64", false, ""},     /* likewise: --batch says otherwise */
    {"normalize", "none", true, "normalize = mean_std, not none"},
    {"augment", "[]", false, "resumed with augment = [], where the checkpoint has [flip]\n"},
    {"mix", "[mixup(alpha = 1)]", false, "resumed with mix = [mixup(alpha = 1)], where the checkpoint has []\n"},
    {"loss", "cross_entropy(label_smoothing = 0.1)", false, "resumed with loss = cross_entropy(label_smoothing = 0.1), where"},
    {"optimizer", "sgd(lr = 0.01, momentum = 0.9)", false, "resumed with optimizer = sgd(lr = 0.01, momentum = 0.9), where"},
    {"optimizer", "adam(lr = 0.1)", true, "optimizer = sgd(lr = 0.1, momentum = 0.9), not adam(lr = 0.1)"},
    {"groups", "[group(\"*\", lr = 2)]", false, "resumed with groups = [group(\"*\", lr = 2)], where the checkpoint has []\n"},
    {"accumulate", "2", true, "accumulate = 1, not 2"},
    {"shards", "8", true, "shards = 1, not 8"},
    {"clip", "1", false, "resumed with clip = 1, where the checkpoint has 0\n"},
    {"validation", "32", true, "validation = 0, not 32"},
    {"patience", "3", false, "resumed with patience = 3, where the checkpoint has 0\n"},
    {"schedule", "cosine(final_lr = 0, warmup = 0)", false, "resumed with schedule = cosine(final_lr = 0, warmup = 0), where"},
    {"epochs", "3", false, "resumed with epochs = 3, where the checkpoint has 2\n"},
    {"shuffle", "false", true, "shuffle = true, not false"},
    {"average", "ema(decay = 0.99)", true, "average = none, not ema(decay = 0.99)"},
    {"views", "mirror", false, "resumed with views = mirror, where the checkpoint has one\n"},
};
enum { ROWS = sizeof table / sizeof *table };

START_TEST(every_key) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    first_half(&x, directory);
    x.program.recipe_text = recipe_with(table[_i].key, table[_i].value);
    RtStatus status = second_half(&x, directory, &data, (RtTrainOptions){0}, &error);
    ck_assert_int_eq(status, table[_i].refused ? RT_INPUT : RT_OK);
    const char *told = table[_i].refused ? error.text : said;
    ck_assert_msg(*table[_i].says ? strstr(told, table[_i].says) != NULL : !*told, "%s = %s: %s", table[_i].key, table[_i].value,
                  told);
    if (table[_i].refused) ck_assert_msg(strstr(told, "--init") != NULL, "%s", told);
    directory_free(directory);
}
END_TEST

START_TEST(ema_may_change_its_decay) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    x.program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.9, .every = 1};
    char with[1024];
    snprintf(with, sizeof with, "%s", recipe_with("average", "ema(decay = 0.9)"));
    x.program.recipe_text = with;
    Bench b = bench_new(&x, 1);
    Run r = {directory, {.max_steps = STEPS, .quiet = true}};
    ck_assert_int_eq(run_in(b.machine, &data, &r, &error), RT_OK);
    bench_free(&b);
    x.program.recipe_text = recipe_with("average", "ema(decay = 0.99)");
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_OK);
    ck_assert_msg(strstr(said, "average = ema(decay = 0.99), where the checkpoint has ema(decay = 0.9)\n"), "%s", said);
    x.program.recipe_text = recipe_with("average", "none");
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    directory_free(directory);
}
END_TEST

/* The canonical text of a recipe has no key that is not in the table above. */
START_TEST(no_key_is_missing) {
    size_t length = 0;
    char *text = slurp(NETC_SOURCE_DIR "/tests/golden/frontend/good/recipe_all.expect", &length), key[32];
    const char *line = strstr(text, "train {\n");
    int keys = 0;
    ck_assert_ptr_nonnull(line);
    for (line = strchr(line, '\n') + 1; sscanf(line, " %31[a-z_] =", key) == 1; line = strchr(line, '\n') + 1, keys++) {
        bool known = false;
        for (int i = 0; i < ROWS; i++) known |= !strcmp(table[i].key, key);
        ck_assert_msg(known, "nothing is said of '%s'", key);
    }
    ck_assert_int_ge(keys, 15);
    free(text);
}
END_TEST

/* Averaged statistics are tensors that a checkpoint has or not. */
START_TEST(averages_of_statistics) {
    static const char *const value[] = {"ema(decay = 0.9, every = 1, statistics = false)",
                                        "ema(decay = 0.9, every = 1, statistics = true)"};
    char *directory = directory_new(), with[1024];
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    x.program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.9, .every = 1, .statistics = _i};
    snprintf(with, sizeof with, "%s", recipe_with("average", value[_i]));
    x.program.recipe_text = with;
    Bench b = bench_new(&x, 1);
    Run r = {directory, {.max_steps = STEPS, .quiet = true}};
    ck_assert_int_eq(run_in(b.machine, &data, &r, &error), RT_OK);
    bench_free(&b);
    x.program.recipe.average.statistics = !_i;
    x.program.recipe_text = recipe_with("average", value[!_i]);
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, value[!_i]) && strstr(error.text, "--init"), "%s", error.text);
    directory_free(directory);
}
END_TEST

/* Keys that a checkpoint was made before: ema = d is an average, what is not there has what was done without it. */
START_TEST(older_recipes) {
    static const struct {
        const char *saved, *key, *value;
        bool refused;
        const char *says;
    } cases[] = {
        {"    ema       = 0.9\n", "average", "none", true, "average = ema(decay = 0.9, every = 1, statistics = false), not none"},
        {"    ema       = 0.9\n", "average", "ema(decay = 0.9, every = 1, statistics = false)", false, ""},
        {"    ema       = 0\n", "average", "none", false, ""},
        {"    ema       = 0\n", "average", "ema(decay = 0.9, every = 1, statistics = false)", true, "average = none, not ema"},
        {"", "accumulate", "2", true, "accumulate = 1, not 2"},
        {"", "shards", "2", true, "shards = 1, not 2"},
        {"", "clip", "2", false, "resumed with clip = 2, where the checkpoint has 0\n"},
        {"", "validation", "32", true, "validation = 0, not 32"},
        {"", "views", "mirror", false, "resumed with views = mirror, where the checkpoint has one\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *directory = directory_new(), old[1024];
        RtError error;
        Softmax x;
        bool ema = strstr(cases[i].saved, "0.9") != NULL;
        softmax_program(&x, BATCH, 3, 8, 8, 10);
        if (ema) x.program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.9, .every = 1};
        snprintf(old, sizeof old,
                 "train {\n    data      = synthetic\n    normalize = mean_std\n    epochs    = 2\n%s    shuffle   = true\n}\n",
                 cases[i].saved);
        x.program.recipe_text = old;
        Bench b = bench_new(&x, 1);
        Run r = {directory, {.max_steps = STEPS, .quiet = true}};
        ck_assert_int_eq(run_in(b.machine, &data, &r, &error), RT_OK);
        bench_free(&b);
        x.program.recipe_text = recipe_with(cases[i].key, cases[i].value);
        RtStatus status = second_half(&x, directory, &data, (RtTrainOptions){0}, &error);
        const char *told = cases[i].refused ? error.text : said;
        ck_assert_msg(status == (cases[i].refused ? RT_INPUT : RT_OK), "case %zu: %s", i, status ? error.text : said);
        ck_assert_msg(*cases[i].says ? strstr(told, cases[i].says) != NULL : !*told, "case %zu: %s", i, told);
        directory_free(directory);
    }
}
END_TEST

/* Pictures that are fitted otherwise are other images, and the reason is named. */
START_TEST(another_fit) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    first_half(&x, directory);
    x.program.recipe_text = recipe_with("fit", "crop");
    data.train_images[0] ^= 1; /* in this process alone */
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    data.train_images[0] ^= 1;
    ck_assert_msg(strstr(error.text, "fit = stretch, not crop"), "%s", error.text);
    directory_free(directory);
}
END_TEST

START_TEST(another_batch) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    first_half(&x, directory);
    softmax_program(&x, BATCH / 2, 3, 8, 8, 10);
    x.program.recipe_text = recipe;
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "batch = 32, not 16"), "%s", error.text);
    directory_free(directory);
}
END_TEST

START_TEST(another_seed) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    first_half(&x, directory);
    RtTrainOptions o = {.seed = 12, .seed_given = true};
    ck_assert_int_eq(second_half(&x, directory, &data, o, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "seed 11, not 12"), "%s", error.text);
    o.seed = 11;
    ck_assert_int_eq(second_half(&x, directory, &data, o, &error), RT_OK);
    ck_assert_str_eq(said, "");
    directory_free(directory);
}
END_TEST

/* A copy of the set in other memory is the same; one label, or the images of another set, are not. */
START_TEST(another_data_set) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    RtData other;
    first_half(&x, directory);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, 8, 8, 10, &other, &error), RT_OK);
    other.ntrain = data.ntrain;
    ck_assert_int_eq(second_half(&x, directory, &other, (RtTrainOptions){0}, &error), RT_OK);
    other.train_images[200 * 192] ^= 1;
    ck_assert_int_eq(second_half(&x, directory, &other, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "data = synthetic (960 images of 3x8x8, "), "%s", error.text);
    other.train_images[200 * 192] ^= 1;
    other.train_labels[5] ^= 1;
    ck_assert_int_eq(second_half(&x, directory, &other, (RtTrainOptions){0}, &error), RT_INPUT);
    other.train_labels[5] ^= 1;
    other.ntrain -= BATCH;
    ck_assert_int_eq(second_half(&x, directory, &other, (RtTrainOptions){0}, &error), RT_INPUT);
    rt_data_free(&other);
    directory_free(directory);
}
END_TEST

/* Another precision, CPU or version of netc shows in the kernels' names, the target or the arena. */
START_TEST(other_code) {
    char *directory = directory_new();
    RtError error;
    Softmax x;
    first_half(&x, directory);
    if (_i == 0) x.train[1].name = "gradient_bf16";
    if (_i == 1) x.program.arena_bytes += 64;
    if (_i == 2) x.program.target = "another, 16 lanes";
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_OK);
    ck_assert_msg(strstr(said, "a step is computed otherwise"), "%s", said);
    directory_free(directory);
}
END_TEST

/* A checkpoint of an older netc, which did not write batch, data and code: resumed without a word if its position fits. */
START_TEST(older_checkpoint) {
    static const char *const newer[] = {"\"code\":", "\"data\":", "\"batch\":"};
    char *directory = directory_new(), *path = strdup(path_in(directory, "last.safetensors"));
    RtError error;
    Softmax x;
    size_t length = 0;
    first_half(&x, directory);
    char *file = slurp(path, &length);
    for (int i = 0; i < 3; i++) {
        char *key = memmem(file, length, newer[i], strlen(newer[i]));
        ck_assert_ptr_nonnull(key);
        key[1] = 'x'; /* a key that nobody knows */
    }
    spill(path, file, length);
    ck_assert_msg(second_half(&x, directory, &data, (RtTrainOptions){0}, &error) == RT_OK, "%s", error.text);
    ck_assert_str_eq(said, "");
    char *index = memmem(file, length, "\"batch_index\":\"15\"", 18);
    ck_assert_ptr_nonnull(index);
    index[16] = '4'; /* the 15th step of an epoch is not its 14th batch, whatever the batch size */
    spill(path, file, length);
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "step 15 is not batch 14 of epoch 0"), "%s", error.text);
    index[16] = '5';
    spill(path, file, length);
    softmax_program(&x, 96, 3, 8, 8, 10); /* 10 batches an epoch: the 15th is no batch of epoch 0 */
    x.program.recipe.epochs = 4;
    ck_assert_int_eq(second_half(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "another batch size"), "%s", error.text);
    free(file), free(path);
    directory_free(directory);
}
END_TEST

/* Every byte of an image counts now; a checkpoint of before, which knew the first 32, is held to those. */
START_TEST(identity_of_images) {
    uint8_t images[2 * 48], labels[2] = {0, 1};
    RtData d = {.channels = 3,
                .height = 4,
                .width = 4,
                .classes = 2,
                .ntrain = 2,
                .train_images = images,
                .train_labels = labels,
                .name = "d"};
    /* printf '\0\1' and the bytes 0 to 31 and 48 to 79 through sha256sum */
    static const char before[] = "d (2 images of 3x4x4, 4470d61694d63aa6)";
    char now[160], then[160];
    for (int i = 0; i < 96; i++) images[i] = (uint8_t)i;
    ck_assert_msg(rt_data_is(&d, before, now), "%s, not %s", now, before);
    rt_data_identity(&d, then);
    ck_assert(rt_data_is(&d, then, now) && strcmp(then, before) != 0);
    for (int i = 0; i < 96; i++) {
        images[i] ^= 4;
        ck_assert(!rt_data_is(&d, then, now) && rt_data_is(&d, before, now) == (i % 48 >= 32));
        images[i] ^= 4;
    }
    labels[1] = 0;
    ck_assert(!rt_data_is(&d, then, now) && !rt_data_is(&d, before, now));
}
END_TEST

int main(void) {
    RtError error;
    if (rt_data_open_shaped("synthetic", 3, 8, 8, 10, &data, &error) != RT_OK) return 1;
    data.ntrain = 30 * BATCH;
    TCase *cases = tcase_create("resume");
    tcase_add_loop_test(cases, every_key, 0, ROWS);
    tcase_add_test(cases, ema_may_change_its_decay);
    tcase_add_test(cases, no_key_is_missing);
    tcase_add_loop_test(cases, averages_of_statistics, 0, 2);
    tcase_add_test(cases, older_recipes);
    tcase_add_test(cases, another_fit);
    tcase_add_test(cases, another_batch);
    tcase_add_test(cases, another_seed);
    tcase_add_test(cases, another_data_set);
    tcase_add_test(cases, identity_of_images);
    tcase_add_loop_test(cases, other_code, 0, 3);
    tcase_add_test(cases, older_checkpoint);
    int failed = run_cases("runtime/resume", cases);
    rt_data_free(&data);
    return failed;
}

/* Checkpoints as a run leaves and finds them: contents, foreign and damaged files, disks that are full. */
#include "run_cases.h"
#include "runtime/resume.h"
#include "runtime/safetensors.h"
#include "runtime_softmax.h"
#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { BATCH = 32 };

static RtData data; /* synthetic, 3x8x8 images; made before the tests run */

static RtTrainState a_state(void) {
    return (RtTrainState){.seed = 0xfedcba9876543210u,
                          .step = 12345,
                          .epoch = 3,
                          .batch_index = 7,
                          .best_accuracy = 0.1,
                          .best_epoch = 2,
                          .epoch_loss_sum = 1.0 / 3,
                          .epoch_correct = 99,
                          .epoch_images = 224};
}

static void fill(Bench *b, uint64_t seed) {
    rt_machine_init_params(b->machine, seed);
    float *m = rt_machine_space(b->machine, RT_MOMENT1);
    for (int i = 0; i < 10; i++) m[i] = (float)seed + (float)i; /* row 0 of the filter block: outputs 0..9 */
}

/* Everything comes back exactly, seed and sums included, into a machine that held something else. */
START_TEST(round_trip) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "c.safetensors"));
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Bench a = bench_new(&x, 1), b = bench_new(&x, 1);
    RtTrainState s = a_state(), t = {0};
    s.average = calloc(1, x.program.params_bytes);
    t.average = calloc(1, x.program.params_bytes);
    s.average[3] = 5;
    fill(&a, 1);
    fill(&b, 2);
    ck_assert_int_eq(rt_checkpoint_save(path, a.machine, &s, false, &error), RT_OK);
    ck_assert_msg(rt_checkpoint_load(path, b.machine, &t, &error) == RT_OK, "%s", error.text);
    for (int k = 0; k < 3; k++) {
        RtSpace space = (RtSpace[]){RT_PARAMS, RT_STATE, RT_MOMENT1}[k];
        ck_assert_mem_eq(rt_machine_space(a.machine, space), rt_machine_space(b.machine, space),
                         k == 1 ? x.program.state_bytes : x.program.params_bytes);
    }
    ck_assert_mem_eq(s.average, t.average, x.program.params_bytes);
    ck_assert(t.seed == s.seed && t.step == s.step && t.epoch == 3 && t.batch_index == 7 && t.best_epoch == 2);
    ck_assert(t.best_accuracy == 0.1 && t.epoch_loss_sum == 1.0 / 3 && t.epoch_correct == 99 && t.epoch_images == 224);
    free(s.average), free(t.average), free(path);
    bench_free(&a);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

/* The file as another framework sees it: names and logical shapes in the order of the source, the recipe in the metadata. */
START_TEST(contents) {
    static const char *const expected[] = {"dense.weight", "dense.bias", "scores.running_mean", "optimizer.moment1.dense.weight",
                                           "optimizer.moment1.dense.bias"};
    char *directory = directory_new(), *path = strdup(path_in(directory, "c.safetensors"));
    RtError error;
    Softmax x;
    StFile file;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Bench b = bench_new(&x, 1);
    RtTrainState s = a_state();
    fill(&b, 1);
    for (int weights_only = 0; weights_only < 2; weights_only++) {
        ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, weights_only, &error), RT_OK);
        ck_assert_msg(st_open(path, &file, &error) == RT_OK, "%s", error.text);
        ck_assert_uint_eq(file.ntensors, weights_only ? 3 : 5);
        for (uint32_t i = 0; i < file.ntensors; i++) {
            ck_assert_str_eq(file.tensor[i].name, expected[i]);
            ck_assert_str_eq(file.tensor[i].dtype, "F32");
        }
        ck_assert(file.tensor[0].rank == 4 && file.tensor[0].dim[0] == 10 && file.tensor[0].dim[1] == 192);
        ck_assert_str_eq(st_metadata(&file, "recipe"), x.program.recipe_text);
        ck_assert_str_eq(st_metadata(&file, "model"), "softmax");
        ck_assert(st_metadata(&file, "netc") && st_metadata(&file, "seed"));
        st_close(&file);
    }
    free(path);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

/* Refused, named, and nothing of the machine or the position touched. */
static void refuse(Bench *b, const char *path, bool weights, const char *says) {
    uint64_t bytes = rt_machine_program(b->machine)->params_bytes;
    void *before = malloc(bytes);
    RtError error = {{0}};
    RtTrainState s = {.step = 77};
    memcpy(before, rt_machine_space(b->machine, RT_PARAMS), bytes);
    ck_assert_int_eq(weights ? rt_weights_load(path, b->machine, NULL, &error) : rt_checkpoint_load(path, b->machine, &s, &error),
                     RT_INPUT);
    ck_assert_msg(strstr(error.text, path) && strstr(error.text, says), "'%s' is not in '%s'", says, error.text);
    ck_assert_mem_eq(before, rt_machine_space(b->machine, RT_PARAMS), bytes);
    ck_assert_uint_eq(s.step, 77);
    free(before);
}

static int warnings;
static void count_warning(RtSaying kind, const char *text) {
    ck_assert(kind == RT_WARNING && strstr(text, "c.safetensors: what it says of the images"));
    warnings++;
}

/* Names that cannot stand in lines are left out of the file, and not means and deviations with them; of deviations that cannot be
 * divided by nothing is believed, which is said. */
START_TEST(what_is_said_of_the_set) {
    static const char *const good[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j k"};
    static const char *const bad[] = {"a\nb", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    char *directory = directory_new(), *path = strdup(path_in(directory, "c.safetensors"));
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Bench b = bench_new(&x, 1);
    RtData set = {.channels = 3, .classes = 10, .mean = {0.1, 0.2, 0.3}, .std = {0.4, 0.5, 1. / 3}, .name = "pe\nts"};
    RtTrainState s = {.set = &set};
    for (int i = 0; i < 3; i++) {
        RtData got = {.channels = 3, .height = 8, .width = 8, .classes = 10};
        set.class_names = i == 1 ? bad : good;
        if (i == 2) set.std[1] = 0;
        ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, true, &error), RT_OK);
        ck_assert(rt_weights_describe(path, &got, count_warning) == (i < 2));
        if (i < 2) ck_assert(got.mean[2] == 0.3 && got.std[2] == 1. / 3 && !strcmp(got.name, "pe?ts"));
        ck_assert_int_eq(warnings, i == 2);
        ck_assert(i == 0 ? !strcmp(got.class_names[9], "j k") : !got.class_names);
        rt_data_free(&got);
    }
    RtData other = {.channels = 3, .classes = 9};
    set.std[1] = 0.5;
    ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, true, &error), RT_OK);
    ck_assert(rt_weights_describe(path, &other, NULL) && !other.class_names && other.mean[0] == 0.1);
    rt_data_free(&other);
    free(path);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

START_TEST(foreign_files) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "c.safetensors"));
    RtError error;
    Softmax x, other;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Bench b = bench_new(&x, 1);
    RtTrainState s = a_state();
    fill(&b, 1);
    softmax_program(&other, BATCH, 3, 8, 9, 10);
    Bench wide = bench_new(&other, 1);
    ck_assert_int_eq(rt_checkpoint_save(path, wide.machine, &s, false, &error), RT_OK);
    refuse(&b, path, true, "tensor 'dense.weight' has the shape [10,216,1,1], softmax needs [10,192,1,1]");
    refuse(&b, path, false, "tensor 'dense.weight'");
    other.params[1].name = "classifier.bias";
    softmax_program(&other, BATCH, 3, 8, 8, 10);
    other.params[1].name = "classifier.bias";
    Bench renamed = bench_new(&other, 1);
    ck_assert_int_eq(rt_checkpoint_save(path, renamed.machine, &s, false, &error), RT_OK);
    refuse(&b, path, true, "no tensor 'dense.bias' [10]");
    ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, true, &error), RT_OK);
    refuse(&b, path, false, "no training position");
    ck_assert_int_eq(rt_weights_load(path, b.machine, NULL, &error), RT_OK);
    ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, false, &error), RT_OK);
    softmax_optimizer(&other, RT_ADAM, 0.1);
    other.params[1].name = "dense.bias";
    Bench adam = bench_new(&other, 1);
    refuse(&adam, path, false, "no tensor 'optimizer.moment2.dense.weight'");
    ck_assert_int_eq(rt_weights_load(path, adam.machine, NULL, &error), RT_OK);
    free(path);
    bench_free(&b), bench_free(&wide), bench_free(&renamed), bench_free(&adam);
    directory_free(directory);
}
END_TEST

static RtStatus train(const Softmax *x, const Run *o, RtError *error) {
    Bench b = bench_new(x, 2);
    RtStatus status = run_in(b.machine, &data, o, error);
    bench_free(&b);
    return status;
}

static char said[4096];
static void hear(RtSaying kind, const char *text) {
    ck_assert_int_eq(kind, RT_WARNING);
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", text);
}

/* NaN and infinity in a file are loaded, and named; the check of names and shapes says nothing. */
START_TEST(numbers_that_are_none) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "w.safetensors")), want[1024];
    RtError error;
    Softmax x;
    RtTrainState s = {0};
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Bench a = bench_new(&x, 1), b = bench_new(&x, 1);
    fill(&a, 1);
    float *w = rt_machine_space(a.machine, RT_PARAMS), *state = rt_machine_space(a.machine, RT_STATE);
    ck_assert_int_eq(rt_checkpoint_save(path, a.machine, &s, true, &error), RT_OK);
    ck_assert_int_eq(rt_weights_load(path, b.machine, hear, &error), RT_OK);
    ck_assert_str_eq(said, "");
    w[0] = NAN, w[17] = INFINITY, w[35] = -INFINITY, state[3] = NAN;
    ck_assert_int_eq(rt_checkpoint_save(path, a.machine, &s, true, &error), RT_OK);
    ck_assert_int_eq(rt_weights_check(path, &x.program, &error), RT_OK);
    ck_assert_int_eq(rt_weights_load(path, b.machine, hear, &error), RT_OK);
    snprintf(want, sizeof want,
             "%s: 3 of the 1920 numbers of tensor 'dense.weight' are NaN or infinite\n"
             "%s: 1 of the 10 numbers of tensor 'scores.running_mean' is NaN or infinite\n",
             path, path);
    ck_assert_str_eq(said, want);
    ck_assert(isnan(((float *)rt_machine_space(b.machine, RT_PARAMS))[0]));
    free(path);
    bench_free(&a), bench_free(&b);
    directory_free(directory);
}
END_TEST

/* What made the program is kept, and compared where both sides know it. */
START_TEST(passes_are_compared) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "p.safetensors"));
    static const struct {
        const char *pipeline, *sha256, *message; /* NULL: fits */
    } now[] = {
        {"train:lower,cse,dce;infer:lower", "abc", NULL},
        {"train:lower,cse,dce;infer:lower", "abd",
         "the passes that were loaded when the checkpoint was made had other contents,"},
        {"train:lower,cs2,dce;infer:lower", "ab3",
         "made by other passes ('cse,dce;infer:lower' there, 'cs2,dce;infer:lower' here),"},
        {"train:lower,cse", "ab4", "made by other passes ('cse,dce;infer:lower' there, 'cse' here),"},
        {"", "", NULL},
        {NULL, NULL, NULL},
    };
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    x.program.pipeline = now[0].pipeline;
    x.program.pipeline_sha256 = now[0].sha256;
    Bench b = bench_new(&x, 1);
    RtTrainState s = {0};
    RtCheckpointHead head;
    ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, false, &error), RT_OK);
    ck_assert_int_eq(rt_checkpoint_head(path, &head, &error), RT_OK);
    for (size_t i = 0; i < sizeof now / sizeof *now; i++) {
        x.program.pipeline = now[i].pipeline;
        x.program.pipeline_sha256 = now[i].sha256;
        RtStatus status = rt_compare_pipelines(&head, &x.program, &error);
        ck_assert_int_eq(status, now[i].message ? RT_INPUT : RT_OK);
        if (now[i].message) ck_assert_msg(strstr(error.text, now[i].message) != NULL, "found: %s", error.text);
    }
    ck_assert_int_eq(rt_checkpoint_save(path, b.machine, &s, false, &error), RT_OK); /* which does not say */
    x.program.pipeline = now[0].pipeline;
    x.program.pipeline_sha256 = now[0].sha256;
    rt_checkpoint_head_free(&head);
    ck_assert_int_eq(rt_checkpoint_head(path, &head, &error), RT_OK);
    ck_assert_int_eq(rt_compare_pipelines(&head, &x.program, &error), RT_OK);
    rt_checkpoint_head_free(&head);
    bench_free(&b);
    free(path);
    directory_free(directory);
}
END_TEST

START_TEST(starting_from_weights) {
    char *directory = directory_new(), *weights = strdup(path_in(directory, "w.safetensors")), first[65], second[65];
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Bench a = bench_new(&x, 1), b = bench_new(&x, 1);
    RtTrainState s = {0};
    rt_machine_init_params(a.machine, 42);
    ck_assert_int_eq(rt_checkpoint_save(weights, a.machine, &s, true, &error), RT_OK);
    rt_weights_sha256(a.machine, first);
    rt_weights_sha256(b.machine, second);
    ck_assert_str_ne(first, second);
    ck_assert_int_eq(rt_weights_load(weights, b.machine, NULL, &error), RT_OK);
    rt_weights_sha256(b.machine, second);
    ck_assert_str_eq(first, second);
    RtTensor swapped[] = {x.params[1], x.params[0]}; /* the order of tensors does not matter, their names do */
    x.program.params = swapped;
    rt_weights_sha256(b.machine, second);
    ck_assert_str_eq(first, second);
    swapped[0].name = "dense.another";
    rt_weights_sha256(b.machine, second);
    ck_assert_str_ne(first, second);
    x.program.params = x.params;
    char *out = strdup(path_in(directory, "run"));
    Run o = {out, {.init_path = weights, .quiet = true, .max_steps = 1}};
    x.program.recipe.optimizer.lr = 0; /* one step of no length ends at the weights it began with */
    x.shape.each_step = NULL;
    x.state[0].init_value = 0;
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
    float before[1920], after[1920];
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(a.machine, RT_PARAMS), before);
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), after);
    ck_assert_mem_eq(before, after, sizeof before);
    o.options.init_path = "/nonexistent.safetensors";
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "/nonexistent.safetensors"));
    free(weights), free(out);
    bench_free(&a), bench_free(&b);
    directory_free(directory);
}
END_TEST

/* Names of a directory's files, joined. */
static void list(const char *directory, char *names, size_t size) {
    DIR *d = opendir(directory);
    names[0] = 0;
    const char *known[] = {"best.safetensors", "last-1.safetensors", "last.safetensors", "metrics.jsonl"};
    for (struct dirent *e; (e = readdir(d));) {
        bool ours = e->d_name[0] == '.';
        for (int i = 0; i < 4; i++) ours = ours || !strcmp(e->d_name, known[i]);
        if (!ours) snprintf(names + strlen(names), size - strlen(names), "%s ", e->d_name);
    }
    closedir(d);
}

static void same_after_failure(const char *directory, const char *before, size_t length) {
    size_t now_length;
    char *now = slurp(path_in(directory, "last.safetensors"), &now_length), extra[1024];
    ck_assert_ptr_nonnull(now);
    ck_assert_uint_eq(now_length, length);
    ck_assert_mem_eq(now, before, length);
    list(directory, extra, sizeof extra);
    ck_assert_str_eq(extra, "");
    free(now);
}

START_TEST(size_limit) {
    char *directory = directory_new();
    size_t length;
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    Run o = {directory, {.seed = 1, .quiet = true, .max_steps = 5}};
    ck_assert_int_eq(train(&x, &o, &error), RT_OK);
    char *before = slurp(path_in(directory, "last.safetensors"), &length);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){length / 2, old.rlim_max};
    rt_install_signal_handlers();
    setrlimit(RLIMIT_FSIZE, &small);
    o.options.resume = true;
    o.options.max_steps = 10;
    RtStatus status = train(&x, &o, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(status, RT_IO);
    ck_assert_msg(strstr(error.text, "last.safetensors.new: File too large"), "%s", error.text);
    same_after_failure(directory, before, length);
    ck_assert_int_eq(train(&x, &o, &error), RT_OK); /* and goes on when there is room again */
    free(before);
    directory_free(directory);
}
END_TEST

/* A file system of 1 MB, filled to the brim; needs the right to mount. */
START_TEST(full_disk) {
    char *directory = directory_new();
    if (mount("netc", directory, "tmpfs", 0, "size=1m") != 0) {
        printf("no full disk: mounting a tmpfs is not allowed here (%s)\n", strerror(errno));
        directory_free(directory);
        return;
    }
    size_t length;
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    char *out = strdup(path_in(directory, "run"));
    Run o = {out, {.seed = 1, .quiet = true, .max_steps = 5}};
    RtStatus first = train(&x, &o, &error);
    char *before = slurp(path_in(out, "last.safetensors"), &length), block[4096] = {1};
    FILE *filler = fopen(path_in(directory, "filler"), "wb");
    setvbuf(filler, NULL, _IONBF, 0);
    while (fwrite(block, 1, sizeof block, filler) == sizeof block) continue;
    fclose(filler);
    o.options.resume = true;
    o.options.max_steps = 10;
    RtStatus full = train(&x, &o, &error);
    struct stat s;
    bool kept = before && stat(path_in(out, "last.safetensors"), &s) == 0 && (size_t)s.st_size == length;
    remove(path_in(directory, "filler"));
    RtError none;
    RtStatus again = train(&x, &o, &none);
    umount2(directory, MNT_DETACH); /* before any assertion can leave it mounted */
    ck_assert_int_eq(first, RT_OK);
    ck_assert_int_eq(full, RT_IO);
    ck_assert_msg(strstr(error.text, "No space left on device"), "%s", error.text);
    ck_assert(kept);
    ck_assert_msg(again == RT_OK, "%s", none.text);
    free(before), free(out);
    directory_free(directory);
}
END_TEST

START_TEST(unwritable_places) {
    char *directory = directory_new(), *file = strdup(path_in(directory, "file")), *below = strdup(path_in(file, "run"));
    RtError error;
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    spill(file, "x", 1);
    Run o = {below, {.quiet = true, .max_steps = 1}};
    ck_assert_int_eq(train(&x, &o, &error), RT_IO);
    ck_assert_msg(strstr(error.text, below), "%s", error.text);
    o.out = file;
    ck_assert_int_eq(train(&x, &o, &error), RT_IO);
    ck_assert_msg(strstr(error.text, file), "%s", error.text);
    o.out = "/proc/netc";
    ck_assert_int_eq(train(&x, &o, &error), RT_IO);
    o.out = directory;
    o.options.resume = true;
    ck_assert_int_eq(train(&x, &o, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "last.safetensors to resume from"), "%s", error.text);
    free(file), free(below);
    directory_free(directory);
}
END_TEST

int main(void) {
    RtError error;
    if (rt_data_open_shaped("synthetic", 3, 8, 8, 10, &data, &error) != RT_OK) return 1;
    data.ntest = 100;
    TCase *cases = tcase_create("checkpoint");
    tcase_add_test(cases, passes_are_compared);
    tcase_add_test(cases, round_trip);
    tcase_add_test(cases, contents);
    tcase_add_test(cases, what_is_said_of_the_set);
    tcase_add_test(cases, foreign_files);
    tcase_add_test(cases, numbers_that_are_none);
    tcase_add_test(cases, starting_from_weights);
    tcase_add_test(cases, size_limit);
    tcase_add_test(cases, full_disk);
    tcase_add_test(cases, unwritable_places);
    int failed = run_cases("runtime/checkpoint", cases);
    rt_data_free(&data);
    return failed;
}

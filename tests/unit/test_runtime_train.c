/* The training loop, on the hand-written softmax regression: metrics, same bits on any number of threads, resuming, signals,
 * divergence, evaluation. What happens to files that cannot be written or read: test_runtime_checkpoint.c. */
#include "run_cases.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "runtime_softmax.h"
#include <malloc.h>
#include <signal.h>

enum { BATCH = 32, PER_EPOCH = 10, TRAIN = PER_EPOCH * BATCH + 7, TEST = 2 * BATCH + 5 };

static RtData data; /* one synthetic set of 3x8x8 images, cut to ten batches and a part; made before the tests run */

static void small_program(Softmax *x) {
    softmax_program(x, BATCH, 3, 8, 8, 10);
    x->program.recipe.epochs = 4;
}

static Run options_for(const char *directory, int64_t steps) {
    return (Run){directory, {.seed = 11, .max_steps = steps, .log_every = 1, .eval_every = 1, .quiet = true}};
}

static RtStatus train(const Softmax *x, int threads, const Run *options, RtError *error) {
    Bench b = bench_new(x, threads);
    RtStatus status = run_in(b.machine, &data, options, error);
    bench_free(&b);
    return status;
}

static void train_well(const Softmax *x, int threads, const Run *options) {
    RtError error = {{0}};
    ck_assert_msg(train(x, threads, options, &error) == RT_OK, "%s", error.text);
}

/* One line of metrics.jsonl. */
typedef struct Line {
    int64_t epoch, step;
    double loss, lr, images_per_s, train_accuracy, test_accuracy, test_loss, seconds;
    char sha[65];
    int64_t trained;
    unsigned keys; /* bit k: the k-th name of `names` was there */
} Line;

static const char *const names[] = {"epoch",
                                    "step",
                                    "loss",
                                    "lr",
                                    "images_per_s",
                                    "train_accuracy",
                                    "test_accuracy",
                                    "test_loss",
                                    "seconds",
                                    "weights_sha256",
                                    "trained_parameters"};
enum { STEP_KEYS = 0x1f, EPOCH_KEYS = 0x7ff, UNTESTED_KEYS = 0x73f, MAX_LINES = 2000 };

static int read_metrics(const char *directory, Line *lines) {
    size_t length;
    char *text = slurp(path_in(directory, "metrics.jsonl"), &length);
    ck_assert_ptr_nonnull(text);
    int n = 0;
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        Line *l = &lines[n++];
        *l = (Line){0};
        double *numbers[] = {&l->loss,          &l->lr,        &l->images_per_s, &l->train_accuracy,
                             &l->test_accuracy, &l->test_loss, &l->seconds};
        Json j = json_open(at, (size_t)(end - at));
        char key[32];
        ck_assert(json_begin(&j, '{') && n < MAX_LINES);
        for (bool first = true; json_next(&j, '{', first, key, sizeof key); first = false) {
            unsigned k = 0;
            while (k < 11 && strcmp(key, names[k])) k++;
            if (k == 11 || l->keys >> k & 1) ck_abort_msg("unexpected '%s'", key);
            l->keys |= 1u << k;
            if (k < 2    ? !json_integer(&j, k ? &l->step : &l->epoch)
                : k == 9 ? !json_string(&j, l->sha, 65)
                : k > 9  ? !json_integer(&j, &l->trained)
                         : !json_number(&j, numbers[k - 2]))
                ck_abort_msg("'%s' has a value of the wrong kind", key);
        }
        ck_assert(json_end(&j));
        ck_assert(l->keys == STEP_KEYS || l->keys == EPOCH_KEYS || l->keys == UNTESTED_KEYS);
    }
    free(text);
    return n;
}

/* The weights_sha256 of the last line. Static storage of the two latest calls. */
static const char *final_sha(const char *directory) {
    static Line lines[MAX_LINES];
    static char sha[2][65];
    static int turn;
    int n = read_metrics(directory, lines);
    ck_assert(n > 0 && lines[n - 1].keys == EPOCH_KEYS && strlen(lines[n - 1].sha) == 64);
    turn = 1 - turn;
    return memcpy(sha[turn], lines[n - 1].sha, 65);
}

/* The losses of steps 1..steps are there once each, in order, and equal. */
static void same_losses(const char *a, const char *b, int64_t steps) {
    static Line x[MAX_LINES], y[MAX_LINES];
    int nx = read_metrics(a, x), ny = read_metrics(b, y), i = 0, k = 0;
    for (int64_t step = 1; step <= steps; step++, i++, k++) {
        while (i < nx && x[i].keys != STEP_KEYS) i++;
        while (k < ny && y[k].keys != STEP_KEYS) k++;
        ck_assert_msg(i < nx && k < ny, "no line of step %d", (int)step);
        ck_assert_msg(x[i].step == step && y[k].step == step, "steps %d and %d where %d belongs", (int)x[i].step, (int)y[k].step,
                      (int)step);
        ck_assert_msg(x[i].loss == y[k].loss && x[i].lr == y[k].lr && x[i].epoch == y[k].epoch, "step %d: %.9g, %.9g", (int)step,
                      x[i].loss, y[k].loss);
    }
}

static bool there(const char *directory, const char *name) { return access(path_in(directory, name), F_OK) == 0; }

START_TEST(learns_and_reports) {
    static Line lines[MAX_LINES];
    char *directory = directory_new(), *inner = strdup(path_in(directory, "runs/first"));
    Softmax x;
    small_program(&x);
    x.program.recipe.naugment = 0;
    softmax_optimizer(&x, RT_SGD, 0.002);
    Run o = options_for(inner, 0);
    train_well(&x, 2, &o);
    int n = read_metrics(inner, lines);
    ck_assert_int_eq(n, 4 * PER_EPOCH + 4);
    double first = 0, last = 0;
    for (int epoch = 0; epoch < 4; epoch++) {
        const Line *l = &lines[epoch * (PER_EPOCH + 1)], *end = l + PER_EPOCH;
        double sum = 0;
        for (int i = 0; i < PER_EPOCH; i++) {
            ck_assert(l[i].keys == STEP_KEYS && l[i].epoch == epoch && l[i].step == epoch * PER_EPOCH + i + 1);
            ck_assert(l[i].images_per_s > 0 && fabs(l[i].lr - 0.002) < 1e-9);
            sum += l[i].loss;
        }
        ck_assert(end->keys == EPOCH_KEYS && end->epoch == epoch && end->step == (epoch + 1) * PER_EPOCH);
        ck_assert_double_eq_tol(end->loss, sum / PER_EPOCH, 1e-6);
        ck_assert(end->train_accuracy >= 0 && end->train_accuracy <= 1 && end->test_accuracy >= 0 && end->test_accuracy <= 1);
        first = epoch ? first : end->loss, last = end->loss;
    }
    ck_assert_double_lt(last, first);
    ck_assert(there(inner, "last.safetensors") && there(inner, "last-1.safetensors") && there(inner, "best.safetensors"));
    ck_assert(!there(inner, "last.safetensors.new"));
    free(inner);
    directory_free(directory);
}
END_TEST

START_TEST(same_bits_on_any_number_of_threads) {
    char *one = directory_new(), *more = directory_new();
    Softmax x;
    small_program(&x);
    Run a = options_for(one, 25), b = options_for(more, 25);
    train_well(&x, 1, &a);
    static const int threads[] = {2, 4, 16};
    train_well(&x, threads[_i], &b);
    same_losses(one, more, 25);
    ck_assert_str_eq(final_sha(one), final_sha(more));
    b.options.seed = 12;
    train_well(&x, 2, &b);
    ck_assert_str_ne(final_sha(one), final_sha(more));
    directory_free(one);
    directory_free(more);
}
END_TEST

/* Tensor `name` of a file, all `count` numbers of it. */
static void read_numbers(const char *directory, const char *file, const char *name, int64_t count, float *out) {
    StFile f;
    RtError error = {{0}};
    char *path = strdup(path_in(directory, file));
    ck_assert_msg(st_open(path, &f, &error) == RT_OK, "%s", error.text);
    const StTensor *tensor = st_find(&f, name);
    ck_assert_msg(tensor && tensor->end - tensor->begin == count * 4, "%s has no tensor '%s' of %d numbers", file, name,
                  (int)count);
    ck_assert(st_read(&f, tensor, out));
    st_close(&f);
    free(path);
}

static void read_weights(const char *directory, const char *file, const char *name, float *out) {
    read_numbers(directory, file, name, 1920, out);
}

/* The averages begin as the first weights are, and follow them: a_1 = 0.75 w_0 + 0.25 w_1. They are what is evaluated and what
 * best.safetensors holds; training goes on with the weights. */
START_TEST(averages_of_the_weights) {
    static float initial[1920], first[1920], average[1920], second[1920], next[1920], best[1920];
    char *directory = directory_new();
    Softmax x;
    RtError error;
    RtEvalResult trained;
    static Line lines[MAX_LINES];
    small_program(&x);
    x.program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.75, .every = 1};
    softmax_optimizer(&x, RT_SGD, 0.5); /* so large a step that the averages' loss is another */
    Bench b = bench_new(&x, 1);
    rt_machine_init_params(b.machine, 11);
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), initial);
    Run o = options_for(directory, 1);
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
    ck_assert_int_eq(rt_evaluate(b.machine, &data, true, RT_VIEWS_ONE, &trained, &error), RT_OK);
    read_weights(directory, "last.safetensors", "dense.weight", first);
    read_weights(directory, "last.safetensors", "ema.dense.weight", average);
    read_weights(directory, "best.safetensors", "dense.weight", best);
    for (int i = 0; i < 1920; i++) ck_assert_float_eq_tol(average[i], 0.75f * initial[i] + 0.25f * first[i], 1e-6);
    ck_assert_mem_ne(first, initial, sizeof first);
    ck_assert_mem_eq(best, average, sizeof best);
    int n = read_metrics(directory, lines);
    ck_assert_msg(fabs(lines[n - 1].test_loss - trained.loss) > 0.01 * trained.loss, "the trained weights were evaluated");
    o.options.resume = true;
    o.options.max_steps = 2;
    train_well(&x, 1, &o);
    read_weights(directory, "last.safetensors", "dense.weight", second);
    read_weights(directory, "last.safetensors", "ema.dense.weight", next);
    for (int i = 0; i < 1920; i++) ck_assert_float_eq_tol(next[i], 0.75f * average[i] + 0.25f * second[i], 1e-6);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

static void lookahead_step(float *slow, float *fast, int64_t n, double keep) {
    for (int64_t i = 0; i < n; i++) slow[i] = (float)keep * slow[i] + (float)(1 - keep) * fast[i];
    memcpy(fast, slow, (size_t)n * sizeof *fast);
}

/* After every second of 40 steps the weights go back to the slow ones, which keep 0.9^2 (step / 40)^3, running statistics too; at
 * the end they are the slow ones, though the last step is none of those. Held against runs that stop in between. */
START_TEST(lookahead) {
    static float slow[1920], fast[1920], got[1920], mean[10], slow_mean[10], last_slow[1920];
    char *directory = directory_new();
    Softmax x;
    RtError error;
    small_program(&x);
    x.program.recipe.epochs = 4.05; /* 41 steps */
    softmax_optimizer(&x, RT_SGD, 0.5);
    Bench b = bench_new(&x, 1);
    rt_machine_init_params(b.machine, 11);
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), slow);
    for (int i = 0; i < 10; i++) slow_mean[i] = 0.5F;
    Run o = options_for(directory, 2); /* two steps without it: what it works on */
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
    read_weights(directory, "last.safetensors", "dense.weight", fast);
    read_numbers(directory, "last.safetensors", "scores.running_mean", 10, mean);
    double keep = pow(0.9, 2) * pow(2 / 41., 3);
    lookahead_step(slow, fast, 1920, keep);
    lookahead_step(slow_mean, mean, 10, keep);
    x.program.recipe.average =
        (RtAverage){.kind = RT_AVERAGE_LOOKAHEAD, .decay = 0.9, .every = 2, .power = 3, .statistics = true};
    directory_free(directory);
    directory = directory_new();
    o = options_for(directory, 2);
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
    read_weights(directory, "last.safetensors", "dense.weight", got);
    for (int i = 0; i < 1920; i++) ck_assert_float_eq_tol(got[i], fast[i], 1e-6);
    read_numbers(directory, "last.safetensors", "scores.running_mean", 10, got);
    for (int i = 0; i < 10; i++) ck_assert_float_eq_tol(got[i], mean[i], 1e-6);
    o.options.resume = true;
    for (int64_t step = 3; step <= 41; step += 38) {
        o.options.max_steps = step;
        train_well(&x, 1, &o);
        read_weights(directory, "last.safetensors", "dense.weight", got);
        read_weights(directory, "last.safetensors", "lookahead.dense.weight", last_slow);
        ck_assert((memcmp(got, last_slow, sizeof got) == 0) == (step == 41));
    }
    bench_free(&b);
    directory_free(directory);
}
END_TEST

/* Every third step, statistics too: a = 0.8^3 a + (1 - 0.8^3) w. */
START_TEST(averages_at_intervals) {
    static float initial[1920], third[1920], average[1920], mean[10], average_mean[10];
    char *directory = directory_new();
    Softmax x;
    RtError error;
    small_program(&x);
    x.program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.8, .every = 3, .statistics = true};
    Bench b = bench_new(&x, 1);
    rt_machine_init_params(b.machine, 11);
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), initial);
    Run o = options_for(directory, 2);
    for (int64_t step = 2; step <= 4; step++) {
        o.options.max_steps = step;
        o.options.resume = step > 2;
        ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
        if (step == 3) read_weights(directory, "last.safetensors", "dense.weight", third);
        if (step == 3) read_numbers(directory, "last.safetensors", "scores.running_mean", 10, mean);
        read_weights(directory, "last.safetensors", "ema.dense.weight", average);
        if (step == 2) ck_assert_mem_eq(average, initial, sizeof average);
    }
    float keep = powf(0.8F, 3);
    for (int i = 0; i < 1920; i++) ck_assert_float_eq_tol(average[i], keep * initial[i] + (1 - keep) * third[i], 1e-6);
    read_numbers(directory, "last.safetensors", "ema.scores.running_mean", 10, average_mean);
    for (int i = 0; i < 10; i++) ck_assert_float_eq_tol(average_mean[i], keep * 0.5F + (1 - keep) * mean[i], 1e-6);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

/* Two batches of 16 are one of 32: the loss is a mean, and so is its gradient. The rest of an epoch that no step takes is the
 * same. */
START_TEST(accumulated_batches_are_one) {
    static Line once[MAX_LINES], twice[MAX_LINES];
    static float a[1920], b[1920];
    char *one = directory_new(), *two = directory_new();
    Softmax x, y;
    small_program(&x);
    softmax_program(&y, BATCH / 2, 3, 8, 8, 10);
    y.program.recipe.epochs = 4;
    y.program.recipe.accumulate = 2;
    Run first = options_for(one, 0), second = options_for(two, 0);
    train_well(&x, 2, &first);
    train_well(&y, 2, &second);
    int n = read_metrics(one, once);
    ck_assert_int_eq(n, read_metrics(two, twice));
    for (int i = 0; i < n; i++) {
        ck_assert(once[i].keys == twice[i].keys && once[i].step == twice[i].step && once[i].epoch == twice[i].epoch);
        ck_assert_double_eq_tol(once[i].loss, twice[i].loss, 1e-5);
        ck_assert(once[i].keys == STEP_KEYS || fabs(once[i].train_accuracy - twice[i].train_accuracy) < 0.007);
    }
    read_weights(one, "last.safetensors", "dense.weight", a);
    read_weights(two, "last.safetensors", "dense.weight", b);
    for (int i = 0; i < 1920; i++) ck_assert_float_eq_tol(a[i], b[i], 1e-5);
    directory_free(one);
    directory_free(two);
}
END_TEST

/* A fraction of an epoch is rounded up to whole steps, and the views are looked at once, behind the last. */
START_TEST(fractional_epochs_and_views) {
    char *directory = directory_new(), *text;
    size_t length;
    Softmax x;
    RtError error;
    RtEvalResult views;
    small_program(&x);
    x.program.recipe.epochs = 2.31;
    x.program.recipe.views = RT_VIEWS_MIRROR_SHIFT;
    Bench b = bench_new(&x, 2);
    Run o = options_for(directory, 0);
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
    ck_assert_int_eq(rt_evaluate(b.machine, &data, true, RT_VIEWS_MIRROR_SHIFT, &views, &error), RT_OK);
    text = slurp(path_in(directory, "metrics.jsonl"), &length);
    const char *found = strstr(text, "\"views_accuracy\": "), *line = strstr(text, "\"epoch\": 2, \"step\": 24, \"loss\"");
    ck_assert(found && line && !strstr(found + 18, "views_accuracy") && !strstr(text, "\"step\": 25"));
    ck_assert(strstr(line + 1, "\"epoch\": 2, \"step\": 24") < found);
    ck_assert_double_eq_tol(strtod(found + 18, NULL), views.accuracy, 1e-9);
    free(text);
    o.options.max_steps = 25;
    o.options.resume = true;
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_USAGE);
    ck_assert_msg(strstr(error.text, "recipe's 2.31 epochs, which have 24 steps") != NULL, "%s", error.text);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

/* Weights that stay as they are get the same images in every epoch: accuracy and loss of each are those of an evaluation. */
START_TEST(epochs_count_for_themselves) {
    static Line lines[MAX_LINES];
    char *directory = directory_new();
    Softmax x;
    RtError error;
    RtEvalResult all;
    small_program(&x);
    x.program.recipe.naugment = 0;
    x.program.recipe.shuffle = false;
    softmax_optimizer(&x, RT_SGD, 0);
    Bench b = bench_new(&x, 2);
    Run o = options_for(directory, 0);
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_OK);
    RtData whole = data;
    whole.ntrain = PER_EPOCH * BATCH; /* without the rest that no batch takes */
    ck_assert_int_eq(rt_evaluate(b.machine, &whole, false, RT_VIEWS_ONE, &all, &error), RT_OK);
    ck_assert(all.accuracy > 0 && all.accuracy < 1);
    int n = read_metrics(directory, lines);
    for (int i = PER_EPOCH; i < n; i += PER_EPOCH + 1) {
        ck_assert_double_eq_tol(lines[i].train_accuracy, all.accuracy, 1e-7);
        ck_assert_double_eq_tol(lines[i].loss, all.loss, 1e-4);
    }
    bench_free(&b);
    directory_free(directory);
}
END_TEST

static void make_kind(Softmax *x, int kind) {
    small_program(x);
    if (kind == 1) softmax_optimizer(x, RT_ADAM, 0.001);
    if (kind == 2) x->program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.9, .every = 1};
    if (kind == 2) x->program.recipe.schedule = (RtSchedule){.kind = RT_SCHEDULE_COSINE, .warmup = 0.5};
    if (kind == 3)
        x->program.recipe.average =
            (RtAverage){.kind = RT_AVERAGE_LOOKAHEAD, .decay = 0.95, .every = 4, .power = 2, .statistics = true};
    if (kind == 4) x->program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.9, .every = 3, .statistics = true};
    if (kind == 4) x->program.recipe.augment[1].variant = true; /* alternating flips */
    if (kind == 6) x->program.recipe.accumulate = 2, x->program.recipe.clip = 0.5, x->program.recipe.epochs = 8;
    if (kind == 5) x->update[0].until = 1.7, x->program.recipe.epochs = 3.5;
}

/* 35 steps at once, and in three pieces, each in a process's worth of fresh state: within an epoch, at its end. */
START_TEST(resuming_changes_nothing) {
    char *straight = directory_new(), *pieces = directory_new();
    Softmax x;
    make_kind(&x, _i);
    Run a = options_for(straight, 35), b = options_for(pieces, 13);
    train_well(&x, 2, &a);
    train_well(&x, 1, &b);
    b.options.resume = true;
    b.options.seed = 999; /* the checkpoint's seed counts */
    for (int64_t until = 20; until <= 35; until += 15) {
        b.options.max_steps = until;
        train_well(&x, 2, &b);
    }
    same_losses(straight, pieces, 35);
    ck_assert_str_eq(final_sha(straight), final_sha(pieces));
    static Line p[MAX_LINES], q[MAX_LINES];
    int n = read_metrics(straight, p), m = read_metrics(pieces, q);
    ck_assert(p[n - 1].loss == q[m - 1].loss && p[n - 1].train_accuracy == q[m - 1].train_accuracy);
    ck_assert(p[n - 1].test_loss == q[m - 1].test_loss && p[n - 1].test_accuracy == q[m - 1].test_accuracy);
    train_well(&x, 2, &b); /* nothing left to do, and nothing repeated */
    ck_assert_int_eq(read_metrics(pieces, q), m);
    directory_free(straight);
    directory_free(pieces);
}
END_TEST

/* Lines behind the checkpoint, and one cut short by a crash, are replaced by the steps done again. */
START_TEST(metrics_are_not_repeated) {
    char *straight = directory_new(), *crashed = directory_new();
    Softmax x;
    small_program(&x);
    Run a = options_for(straight, 20), b = options_for(crashed, 12);
    train_well(&x, 1, &a);
    train_well(&x, 1, &b);
    FILE *f = fopen(path_in(crashed, "metrics.jsonl"), "a");
    fputs("{\"epoch\": 1, \"step\": 13, \"loss\": 1, \"lr\": 1, \"images_per_s\": 1}\n{\"epoch\": 1, \"ste", f);
    fclose(f);
    b.options.resume = true;
    b.options.max_steps = 20;
    train_well(&x, 1, &b);
    same_losses(straight, crashed, 20);
    directory_free(straight);
    directory_free(crashed);
}
END_TEST

static int signal_sent;
static void send_signal(uint64_t step) {
    if (step == 16) raise(signal_sent);
}

START_TEST(signals_save_a_checkpoint) {
    static const int signals[] = {SIGINT, SIGTERM};
    char *straight = directory_new(), *stopped = directory_new();
    Softmax x;
    RtError error;
    small_program(&x);
    Run a = options_for(straight, 30), b = options_for(stopped, 30);
    train_well(&x, 2, &a);
    rt_install_signal_handlers();
    x.shape.each_step = send_signal;
    signal_sent = signals[_i];
    ck_assert_int_eq(train(&x, 2, &b, &error), RT_INTERRUPTED);
    ck_assert_msg(strstr(error.text, "step 17") && strstr(error.text, "--resume"), "%s", error.text);
    ck_assert_int_eq(rt_exit_code(RT_INTERRUPTED), 130);
    x.shape.each_step = NULL;
    b.options.resume = true;
    train_well(&x, 2, &b);
    same_losses(straight, stopped, 30);
    ck_assert_str_eq(final_sha(straight), final_sha(stopped));
    directory_free(straight);
    directory_free(stopped);
}
END_TEST

/* The checkpoint before the catastrophe survives it, whether the loss shows it or only the weights. */
START_TEST(divergence_keeps_the_checkpoint) {
    char *directory = directory_new();
    size_t before_length, after_length;
    Softmax x;
    RtError error;
    small_program(&x);
    Run o = options_for(directory, 5);
    train_well(&x, 2, &o);
    char *before = slurp(path_in(directory, "last.safetensors"), &before_length);
    softmax_optimizer(&x, RT_SGD, 1e38);
    o.options.resume = true;
    o.options.max_steps = _i ? 6 : 10; /* one step: the loss is still finite, the weights are not */
    if (_i) softmax_optimizer(&x, RT_SGD, (double)INFINITY);
    ck_assert_int_eq(train(&x, 2, &o, &error), RT_DIVERGED);
    ck_assert_msg(strstr(error.text, "not finite") && strstr(error.text, "the last checkpoint is kept"), "%s", error.text);
    ck_assert_int_eq(rt_exit_code(RT_DIVERGED), 1);
    char *after = slurp(path_in(directory, "last.safetensors"), &after_length);
    ck_assert_uint_eq(before_length, after_length);
    ck_assert_mem_eq(before, after, before_length);
    free(before), free(after);
    directory_free(directory);
}
END_TEST

/* After every N-th epoch and the recipe's last, one that --steps cuts short among them; never for 0. Every epoch has its line. */
START_TEST(evaluated_when_asked) {
    static const struct {
        int64_t every, steps;
        unsigned tested; /* bit e: epoch e */
        int epochs;
    } table[] = {{1, 0, 15, 4}, {2, 0, 10, 4}, {3, 0, 12, 4},    {1000, 0, 8, 4}, {0, 0, 0, 4},    {1, 15, 3, 2},
                 {2, 15, 2, 2}, {2, 25, 2, 3}, {1000, 15, 0, 2}, {0, 15, 0, 2},   {1000, 30, 0, 3}};
    static Line lines[MAX_LINES];
    char *directory = directory_new();
    Softmax x;
    small_program(&x);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        Run r = options_for(directory, table[i].steps);
        r.options.eval_every = table[i].every;
        train_well(&x, 1, &r);
        unsigned tested = 0;
        int n = read_metrics(directory, lines), epochs = 0;
        for (int k = 0; k < n; k++) {
            if (lines[k].keys != STEP_KEYS) ck_assert_int_eq(lines[k].epoch, epochs++);
            if (lines[k].keys == EPOCH_KEYS) tested |= 1u << lines[k].epoch;
        }
        ck_assert_msg(tested == table[i].tested && epochs == table[i].epochs, "row %d: tested %x, %d epochs", (int)i, tested,
                      epochs);
        ck_assert(there(directory, "best.safetensors") == (tested != 0));
    }
    directory_free(directory);
}
END_TEST

/* No checkpoint is promised where there is none. */
START_TEST(divergence_before_a_checkpoint) {
    char *directory = directory_new();
    Softmax x;
    RtError error;
    small_program(&x);
    softmax_optimizer(&x, RT_SGD, 1e38);
    Run r = options_for(directory, 5);
    ck_assert_int_eq(train(&x, 1, &r, &error), RT_DIVERGED);
    ck_assert_msg(strstr(error.text, "not finite") && strstr(error.text, "no checkpoint yet"), "%s", error.text);
    ck_assert(!there(directory, "last.safetensors"));
    directory_free(directory);
}
END_TEST

START_TEST(impossible_runs) {
    char *directory = directory_new();
    Softmax x;
    RtError error;
    small_program(&x);
    Run o = options_for(directory, 5);
    RtData tiny = data;
    tiny.ntrain = BATCH - 1;
    Bench b = bench_new(&x, 1);
    ck_assert_int_eq(run_in(b.machine, &tiny, &o, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "a batch of 32 is more than the 31 training images; 'train.batch'"));
    x.program.recipe.accumulate = 65536;
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "a step of 65536 batches of 32 images is more than the"));
    x.program.recipe.accumulate = 1;
    tiny = data;
    tiny.height = 9;
    ck_assert_int_eq(run_in(b.machine, &tiny, &o, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "3x9x8"));
    o.options.max_steps = 4 * PER_EPOCH + 1;
    ck_assert_int_eq(run_in(b.machine, &data, &o, &error), RT_USAGE);
    ck_assert_msg(strstr(error.text, "4 epochs, which have 40 steps"), "%s", error.text);
    bench_free(&b);
    directory_free(directory);
}
END_TEST

static size_t early_bytes, late_bytes;
static void weigh(uint64_t step) {
    if (step == 1299) early_bytes = mallinfo2().uordblks;
    if (step == 2299) late_bytes = mallinfo2().uordblks;
}

/* The smallest block of malloc takes 32 bytes: one forgotten per checkpoint, of which there are ten between the two, is seen.
 * Blocks in malloc's caches of threads count as in use; main() has switched them off. */
START_TEST(memory_does_not_grow) {
    char *directory = directory_new();
    Softmax x;
    small_program(&x);
    x.shape.each_step = weigh;
    x.program.recipe.epochs = 230;
    Run o = options_for(directory, 2300);
    o.options.log_every = 10;
    o.options.checkpoint_every = 100;
    train_well(&x, 2, &o);
    ck_assert_msg(late_bytes < early_bytes + 256, "%zu bytes in use after 1,300 steps, %zu after 2,300", early_bytes, late_bytes);
    directory_free(directory);
}
END_TEST

/* Against a computation in double of its own: the padded last batch does not count, prediction is the softmax. */
START_TEST(evaluation) {
    Softmax x;
    RtError error;
    RtEvalResult r;
    small_program(&x);
    Bench b = bench_new(&x, 3);
    rt_machine_init_params(b.machine, 3);
    float *weight = malloc(1920 * sizeof *weight), scores[TEST * 10];
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), weight);
    double loss = 0;
    int64_t correct = 0, top5 = 0;
    ck_assert_int_eq(rt_predict(b.machine, &data, data.test_images, TEST, RT_VIEWS_ONE, scores, &error), RT_OK);
    for (int n = 0; n < TEST; n++) {
        double z[10] = {0}, sum = 0;
        int better = 0, label = data.test_labels[n];
        for (int k = 0; k < 10; k++)
            for (int i = 0; i < 192; i++)
                z[k] += weight[k * 192 + i] * (data.test_images[n * 192 + i] / 255.0 - data.mean[i / 64]) / data.std[i / 64];
        for (int k = 0; k < 10; k++) sum += exp(z[k]), better += z[k] > z[label];
        for (int k = 0; k < 10; k++) ck_assert_double_eq_tol(scores[n * 10 + k], exp(z[k]) / sum, 1e-5);
        loss += log(sum) - z[label];
        correct += better == 0;
        top5 += better < 5;
    }
    ck_assert_int_eq(rt_evaluate(b.machine, &data, true, RT_VIEWS_ONE, &r, &error), RT_OK);
    ck_assert_int_eq(r.images, TEST);
    ck_assert_double_eq_tol(r.loss, loss / TEST, 1e-5);
    ck_assert_double_eq_tol(r.accuracy, (double)correct / TEST, 1e-9);
    ck_assert_double_eq_tol(r.top5, (double)top5 / TEST, 1e-9);
    free(weight);
    bench_free(&b);
}
END_TEST

START_TEST(progress_is_plain_in_a_pipe) {
    char *directory = directory_new(), *text = NULL;
    size_t length;
    Softmax x;
    small_program(&x);
    Run o = options_for(directory, 0);
    o.options.quiet = false;
    o.options.progress = tmpfile();
    train_well(&x, 1, &o);
    rewind(o.options.progress);
    text = calloc(1, 65536);
    length = fread(text, 1, 65535, o.options.progress);
    fclose(o.options.progress);
    int count = 0;
    for (size_t i = 0; i < length; i++) {
        count += text[i] == '\n';
        ck_assert_msg(text[i] != '\r' && text[i] != '\033', "a control character in a pipe");
    }
    ck_assert_int_eq(count, 4); /* one line an epoch; the live line only after half a minute */
    ck_assert_msg(strstr(text, "epoch 1/4") && strstr(text, "epoch 4/4") && strstr(text, "test"), "%s", text);
    free(text);
    directory_free(directory);
}
END_TEST

int main(int argc, char **argv) {
    RtError error;
    (void)argc;
    if (!getenv("GLIBC_TUNABLES")) { /* read when a process starts */
        setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
        execv("/proc/self/exe", argv);
    }
    if (rt_data_open_shaped("synthetic", 3, 8, 8, 10, &data, &error) != RT_OK) return 1;
    data.ntrain = TRAIN;
    data.ntest = TEST;
    TCase *cases = tcase_create("train");
    tcase_add_test(cases, learns_and_reports);
    tcase_add_loop_test(cases, same_bits_on_any_number_of_threads, 0, 3);
    tcase_add_loop_test(cases, resuming_changes_nothing, 0, 7);
    tcase_add_test(cases, averages_of_the_weights);
    tcase_add_test(cases, lookahead);
    tcase_add_test(cases, averages_at_intervals);
    tcase_add_test(cases, accumulated_batches_are_one);
    tcase_add_test(cases, fractional_epochs_and_views);
    tcase_add_test(cases, epochs_count_for_themselves);
    tcase_add_test(cases, metrics_are_not_repeated);
    tcase_add_loop_test(cases, signals_save_a_checkpoint, 0, 2);
    tcase_add_loop_test(cases, divergence_keeps_the_checkpoint, 0, 2);
    tcase_add_test(cases, evaluated_when_asked);
    tcase_add_test(cases, divergence_before_a_checkpoint);
    tcase_add_test(cases, impossible_runs);
    tcase_add_test(cases, memory_does_not_grow);
    tcase_add_test(cases, evaluation);
    tcase_add_test(cases, progress_is_plain_in_a_pipe);
    int failed = run_cases("runtime/train", cases);
    rt_data_free(&data);
    return failed;
}

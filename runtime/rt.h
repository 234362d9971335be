/* Public face of the runtime: everything netc's driver, and a standalone executable's main, call. No LLVM in here, and no
 * printing or exiting: failures come back as RtStatus with a sentence in RtError. */
#ifndef NETC_RUNTIME_RT_H
#define NETC_RUNTIME_RT_H
#include "runtime/abi.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum RtStatus {
    RT_OK = 0,
    RT_INPUT = 1, /* bad data, weights, options: exit 1 */
    RT_USAGE = 2,
    RT_IO = 3,            /* disk full, unwritable, unreadable: exit 3 */
    RT_DIVERGED = 4,      /* non-finite loss: exit 1 */
    RT_LOCKED = 5,        /* another process trains in this directory: exit 3 */
    RT_MEMORY = 6,        /* out of memory or threads: exit 3 */
    RT_INTERRUPTED = 130, /* SIGINT or SIGTERM; a checkpoint was written */
    RT_INTERNAL = 70
} RtStatus;
int rt_exit_code(RtStatus status);

typedef struct RtError {
    char text[512]; /* one clear sentence, without a newline */
} RtError;

/* A sentence that is worth saying although all goes on. */
typedef enum RtSaying { RT_NOTE, RT_WARNING } RtSaying;
typedef void (*RtSay)(RtSaying kind, const char *text);

/* Processors that this process may use; a container's share can be smaller than the machine. */
int rt_processors(void);
/* ---- threads (pool.c) ---- A pool that is NULL is the calling thread alone. */
typedef struct RtPool RtPool;
typedef void (*RtTask)(void *context, int64_t piece, int thread);
RtPool *rt_pool_new(int threads); /* 0: one per online CPU. NULL if threads cannot be made. */
void rt_pool_free(RtPool *pool);
int rt_pool_threads(const RtPool *pool);
/* Runs task(context, p, thread) for every p in [0, pieces), fewer than 2^32; returns when all are done. One piece runs on the
 * caller; a thread tends to get the same part of the pieces in each call. */
void rt_pool_run(RtPool *pool, RtTask task, void *context, int64_t pieces);

/* ---- counter-based random numbers (rng.c) ---- */
void rt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* Streams: every consumer of randomness has its own, so that adding one does not move another. */
typedef enum RtStream {
    RT_STREAM_INIT = 0x1001,
    RT_STREAM_SHUFFLE,
    RT_STREAM_AUGMENT,
    RT_STREAM_SYNTHETIC,
    RT_STREAM_SPLIT,
    RT_STREAM_MIX
} RtStream;
double rt_uniform(uint64_t seed, uint32_t stream, uint64_t a, uint32_t b); /* [0, 1), 53 bits */
double rt_normal(uint64_t seed, uint32_t stream, uint64_t a, uint32_t b);  /* Box-Muller */

/* ---- a Program in memory (machine.c): blocks allocated, ready to run ---- */
typedef struct RtMachine RtMachine;
RtMachine *rt_machine_new(const RtProgram *program, RtPool *pool, RtError *error);
/* The same for one of several processes that train together: it has a share of the shards. NULL: alone. */
typedef struct RtRanks RtRanks;
RtMachine *rt_machine_new_ranked(const RtProgram *program, RtPool *pool, RtRanks *ranks, RtError *error);
RtRanks *rt_machine_ranks(const RtMachine *m);
void rt_machine_free(RtMachine *m);
/* The same in memory of the caller: rt_machine_bytes of it, aligned to 64. It ends with that memory, without rt_machine_free. */
uint64_t rt_machine_bytes(const RtProgram *program, int threads);
uint64_t rt_eval_bytes(const RtProgram *program, int threads); /* of that, activations of inference */
RtMachine *rt_machine_place(const RtProgram *program, RtPool *pool, void *memory, RtError *error);
const RtProgram *rt_machine_program(const RtMachine *m);
RtPool *rt_machine_pool(const RtMachine *m);
void *rt_machine_space(RtMachine *m, RtSpace space);
RtStepEnv *rt_machine_env(RtMachine *m);
void rt_machine_run(RtMachine *m, const RtEntry *entry);
/* RT_LOGITS of the first `count` images of RT_IMAGES, at most the batch, by eval_step: group by group, on all threads. What
 * stands behind those images, up to a whole group, is computed too and may be any numbers. */
void rt_machine_infer(RtMachine *m, int64_t count);
int64_t rt_machine_group(const RtMachine *m); /* images of a group */
/* As rt_machine_run, and adds each call's seconds to seconds[i]. Of eval_step the first group: if there are others, with one
 * thread, as rt_machine_infer runs each but a last one alone. */
void rt_machine_run_timed(RtMachine *m, const RtEntry *entry, double *seconds);
void rt_machine_init_params(RtMachine *m, uint64_t seed); /* RtTensor.init, by RtTensor.position; state too */
/* Logical row-major <-> physical copies of one parameter or state tensor in a block laid out like RT_PARAMS / RT_STATE. */
void rt_tensor_pack(const RtProgram *p, const RtTensor *t, const float *logical, char *block);
void rt_tensor_unpack(const RtProgram *p, const RtTensor *t, const char *block, float *logical);

/* ---- data (data.c, cifar.c, idx.c, synthetic.c) ---- */
typedef struct RtData {
    int64_t channels, height, width, classes, ntrain, ntest;
    uint8_t *train_images, *test_images; /* [n][C][H][W] */
    uint8_t *train_labels, *test_labels;
    const uint32_t *train_index, *test_index; /* of a part (split.h): which of the images; NULL: the first ones, in order */
    double mean[4], std[4];                   /* per channel, pixels in [0, 1] */
    const char *const *class_names;           /* may be NULL */
    char *name;                               /* "cifar10" */
    void *owned_names;                        /* class_names, if they go with the set */
} RtData;
/* where: "cifar10", "cifar100" (looked up under rt_data_home), "synthetic", or a directory holding the binary files (kind
 * detected). */
RtStatus rt_data_open(const char *where, RtData *data, RtError *error);
/* Is it one of these names, or does the directory hold any of these files, whatever else is in it? */
bool rt_data_known(const char *where);
/* The same for a net of this shape: "synthetic" is made to fit; other sets must have it, or a sentence says what differs. */
RtStatus rt_data_open_shaped(const char *where, int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data,
                             RtError *error);
/* What prediction needs of a data set: statistics and class names. CIFAR-10's are known without its files; other sets are opened.
 */
RtStatus rt_data_describe(const char *where, int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data,
                          RtError *error);
void rt_data_free(RtData *data);
/* Computes the parameters that are principal axes of the training images (RT_INIT_WHITEN), after rt_machine_init_params
 * (whiten.c). */
bool rt_wants_data(const RtProgram *program); /* are there any? */
RtStatus rt_whiten(RtMachine *m, const RtData *data, RtError *error);
/* $NETC_DATA, else $XDG_CACHE_HOME/netc, else ~/.cache/netc. Returns a static-lifetime-free, malloc'd path. */
char *rt_data_home(void);
const char *rt_data_url(const char *name); /* of the archive that a named set is unpacked from; NULL: none */

/* ---- checkpoints (checkpoint.c, weights.c) ---- */
typedef struct RtTrainState {
    uint64_t seed, step;        /* optimiser steps done */
    int64_t epoch, batch_index; /* position of the sampler: batches done in this epoch */
    double best_accuracy;
    int64_t best_epoch;
    double epoch_loss_sum; /* running sums of this epoch, so that resumed metrics are the same */
    int64_t epoch_correct, epoch_images;
    uint64_t total_steps; /* of the training */
    bool stopped;         /* by the recipe's patience */
    char data[160];       /* rt_data_identity of the training's data set; "": not known */
    const RtData *set;    /* its class names and statistics are saved; not loaded. NULL: not known */
    /* Averages, blocks laid out like RT_PARAMS and RT_STATE; NULL: none. Saved and loaded with the rest. */
    float *average, *average_state;
} RtTrainState;
RtStatus rt_checkpoint_save(const char *path, RtMachine *m, const RtTrainState *s, bool weights_only, RtError *error);
/* The choices of convolutions (RtProgram.choices) that a checkpoint was made with, malloc'd; NULL: none, or no such file. */
char *rt_checkpoint_choices(const char *path);
/* RT_INPUT if the program computes a convolution otherwise than a checkpoint's choices say for the same CPU; saved may be NULL.
 */
RtStatus rt_check_choices(const char *saved, const RtProgram *p, RtError *error);
RtStatus rt_checkpoint_load(const char *path, RtMachine *m, RtTrainState *s, RtError *error);
/* Weights and running statistics only, from any safetensors file with the model's names and logical shapes (F32; F16 and BF16
 * converted). */
RtStatus rt_weights_load(const char *path, RtMachine *m, RtSay say, RtError *error); /* say: warns of NaN and infinity; NULL */
/* What is saved beside weights of the set that they were trained on: into name, class names and statistics of *data, whose shape
 * is given and which rt_data_free gives back. False, and nothing, if the file does not say, or of another number of channels, or
 * deviations that are not positive. Names of another number of classes, or with control characters, are left out.
 * say (or NULL) warns of what the file says and cannot be read. */
bool rt_weights_describe(const char *path, RtData *data, RtSay say);
/* Would it? The program may be one without code, all tensors dense. */
RtStatus rt_weights_check(const char *path, const RtProgram *p, RtError *error);
/* SHA-256 (hex, 65 bytes) of the names and values of all parameters and states, in the order of names. */
void rt_weights_sha256(RtMachine *m, char hex[65]);

/* ---- the directory of a run (directory.c) ---- Holds metrics.jsonl, last.safetensors, last-1.safetensors, best.safetensors,
 * run.jsonl and model.ir. */
typedef struct RtDirectory RtDirectory;
typedef enum RtDirectoryUse { RT_DIRECTORY_NEW, RT_DIRECTORY_RESUME, RT_DIRECTORY_OVERWRITE } RtDirectoryUse;
/* Makes it, locks it against other processes until rt_directory_release, and removes what killed runs left half written. NEW of
 * one that holds a training is RT_USAGE; RESUME of one without a checkpoint RT_INPUT; if another process has it, RT_LOCKED names
 * that. */
RtStatus rt_directory_take(const char *path, RtDirectoryUse use, RtDirectory **directory, RtError *error);
void rt_directory_release(RtDirectory *d); /* goes again if it was made and nothing was written; NULL is fine */
const char *rt_directory_path(const RtDirectory *d);
bool rt_directory_used(const char *path);      /* holds a training: checkpoints, or metrics */
int64_t rt_directory_holder(const char *path); /* the process that trains there now; 0: none. Not of the process that asks */
/* What the last checkpoint of a directory says, with malloc'd texts that rt_position_free gives back. False: there is none to be
 * read. */
typedef struct RtPosition {
    char *model, *recipe;
    uint64_t seed, step, total_steps; /* total 0: an older checkpoint does not say */
    int64_t best_epoch;               /* -1: none was evaluated */
    bool stopped;                     /* by patience */
} RtPosition;
bool rt_directory_position(const char *path, RtPosition *position);
void rt_position_free(RtPosition *position);
/* Of the used ones among BASE, BASE-2, BASE-3, ... the greatest number; 1: BASE alone; 0: none. */
int64_t rt_directory_latest(const char *base);

/* ---- evaluation and training (eval.c, train.c, resume.c) ---- */
typedef struct RtEvalResult {
    double loss, accuracy, top5, seconds;
    int64_t images;
} RtEvalResult;
/* Runs prepare_eval and eval_step over a split, for each view of the images; scores are the views' weighted mean. */
RtStatus rt_evaluate(RtMachine *m, const RtData *data, bool test_split, RtViews views, RtEvalResult *result, RtError *error);
/* And counts in confusion i64[K][K], by row, how many images of each class are taken for which; one whose scores are NaN is in no
 * column. NULL: not. */
RtStatus rt_evaluate_classes(RtMachine *m, const RtData *data, bool test_split, RtViews views, RtEvalResult *result,
                             int64_t *confusion, RtError *error);
int rt_view_count(RtViews views); /* 1, 2 or 6 */
/* Scores of K classes as probabilities, in place if out == scores (softmax.c). */
void rt_softmax(const float *scores, int64_t classes, float *out);
/* Class probabilities (softmax) of n images u8[n][C][H][W]; scores f32[n][K]. */
RtStatus rt_predict(RtMachine *m, const RtData *stats, const uint8_t *images, int64_t n, RtViews views, float *scores,
                    RtError *error);

typedef struct RtTrainOptions {
    const RtDirectory *directory; /* taken by rt_directory_take */
    const char *init_path;        /* start from these weights; NULL */
    const char *const *init_map;  /* rules "a.*=b.*" of its names, rt_init_map_is of each */
    uint32_t ninit_map;
    bool init_partial; /* what it does not have, or of another shape, keeps its initial values */
    bool resume;       /* continue from the directory's last.safetensors */
    bool repass;       /* resume even if other passes made the program */
    bool rechoose;     /* resume even if convolutions are computed otherwise now */
    bool seed_given;   /* --resume refuses another seed than the checkpoint's, rather than take that */
    uint64_t seed;
    int64_t max_steps;        /* 0: by epochs; more than those have is RT_USAGE */
    int64_t log_every;        /* steps between metrics lines; 0: 50 */
    int64_t checkpoint_every; /* steps; 0: once per epoch */
    int64_t eval_every;       /* after every epoch whose number divides by it, and the recipe's last; 0: never */
    const char *account;      /* a line of JSON about this process, for the directory's run.jsonl; NULL */
    bool tensorboard;         /* write an event file of its kind into the directory too */
    bool quiet;
    FILE *progress; /* NULL: none. A live line if it is a terminal, plain lines otherwise. */
    bool color;
    RtSay say; /* notes and warnings; NULL */
} RtTrainOptions;
bool rt_init_map_is(const char *rule); /* init.c */
/* What rt_train would refuse, without a machine: the program may be one without code. */
RtStatus rt_train_check(const RtProgram *p, const RtData *data, const RtTrainOptions *options, RtError *error);
RtStatus rt_train(RtMachine *m, const RtData *data, const RtTrainOptions *options, RtError *error);
/* The learning-rate range test (range.c): `steps` steps from initial weights, or options' init_path, as training begins with its
 * seed, at rates from `from` to `to`. `count` of them were done before the loss was no number or more than four times its least.
 * The first of the rates is what is suggested: fastai's valley; where the smoothed loss falls fastest; a tenth of where it is
 * least. */
typedef struct RtRange {
    double *lr, *loss, *smoothed;
    int64_t count;
    bool stopped, infinite; /* before the last step; since the loss was not finite, else since it had grown */
    double valley, steepest, minimum;
} RtRange;
RtStatus rt_range_test(RtMachine *m, const RtData *data, const RtTrainOptions *options, double from, double to, int64_t steps,
                       RtRange *range, RtError *error);
void rt_range_free(RtRange *range); /* in any case */
double rt_schedule_lr(const RtRecipe *recipe, uint64_t step, int64_t steps_per_epoch, int64_t total_steps);
/* SIGINT and SIGTERM handlers that only set a flag which rt_train polls. */
void rt_install_signal_handlers(void);
#endif

/* The command line of every subcommand, parsed by one table (options.c).
 *
 * Each row of the table names an option, the commands that accept it and the member of Options that it fills. Values are
 * borrowed from argv. A mistake is a usage error: one sentence, the nearest name where one is near, and exit status 2. */
#ifndef NETC_CLI_OPTIONS_H
#define NETC_CLI_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_SEEDS = 64 };
enum {
    CMD_TRAIN = 1 << 0,
    CMD_INIT = 1 << 1,
    CMD_EVAL = 1 << 2,
    CMD_PREDICT = 1 << 3,
    CMD_IR = 1 << 4,
    CMD_FMT = 1 << 5,
    CMD_DATA = 1 << 6,
    CMD_BENCH = 1 << 7,
    CMD_HELP = 1 << 8,
    CMD_BUILD = 1 << 9,
    RUN_TRAIN = 1 << 10, /* RUN_: the commands of an executable that netc built */
    RUN_INIT = 1 << 11,
    RUN_EVAL = 1 << 12,
    RUN_PREDICT = 1 << 13,
    RUN_DATA = 1 << 14,
    RUN_HELP = 1 << 15,
    CMD_CACHE = 1 << 16,
    CMD_PASSES = 1 << 17,
    CMD_VERIFY = 1 << 18,
    CMD_BISECT = 1 << 19,
    CMD_TEST = 1 << 20,
    CMD_ABLATE = 1 << 21,
    CMD_WHY = 1 << 22,
    CMD_REDUCE = 1 << 23,
    CMD_LINT = 1 << 24,
    CMD_EXPLORE = 1 << 25,
    CMD_RUNS = 1 << 26,
    CMD_SWEEP = 1 << 27,
    CMD_REPORT = 1 << 28,
    CMD_LRFIND = 1 << 29,
    RUN_LRFIND = 1 << 30,
};

/* Texts given to an option that may stand several times. */
typedef struct TextList {
    const char **item;
    uint32_t count;
} TextList;

typedef struct Options {
    /* model */
    TextList sets;
    const char *net;
    int64_t batch;
    const char *mode, *stage, *format;
    /* passes */
    const char *passes, *rules;
    TextList print_before, print_after, disable_pass, load_pass, forbid, permit;
    int64_t bisect_limit; /* -1: off */
    bool print_before_all, print_after_all, time_passes;
    bool print_changed, diff;
    const char *command; /* of bisect: --cmd */
    const char *split_after;
    const char *remarks; /* NULL: none, "": all, or which */
    const char *remarks_format, *log;
    /* code generation */
    const char *cpu, *conv, *precision, *dump_llvm, *dump_asm;
    const char *tune_file, *choices, *save_choices;
    bool tune, rechoose, repass, convolutions;
    int64_t memory_limit; /* bytes; 0: none */
    int64_t recompute;    /* -1: not said */
    int64_t threads, seed;
    /* training */
    const char *data, *out, *init, *bad_pictures;
    const char *from, *upto; /* of lrfind: --from, --to */
    int64_t steps, log_every, checkpoint_every, eval_every;
    TextList init_map;
    bool resume, overwrite, quiet, init_partial, tensorboard;
    bool seed_given;          /* --seed was; else seed is 0 */
    int64_t seeds[MAX_SEEDS]; /* of training: --seed=1,2,3; seed is the first */
    uint32_t nseeds;
    /* eval, predict, init, bench, fmt, data */
    const char *weights, *output, *to, *views, *shape, *fit, *plots;
    int64_t top, repeats, count, jobs;
    const char *compare, *peer, *peer_modes;
    int64_t rounds, seconds;
    bool json, check, write, curves, classes;
    /* verify */
    bool each, compiled, zoo;
    bool bless;                       /* test */
    bool time;                        /* explore */
    bool without, alone, pairs, html; /* ablate */
    const char *rewrites;
    int64_t fuzz;
    const char *inputs;
    /* build, and an executable */
    const char *emit, *target, *cpu_level;
    const char *gemm; /* "openblas", or "own" or NULL */
    bool link_static, emit_object, emit_assembly, check_bounds, no_cache;
    bool infer; /* build a library */
    const char *embed_weights, *prefix, *header;
    bool help;
    /* what is left: models, files */
    const char **operand;
    uint32_t noperands;
} Options;

/* Parses argv[first..argc) for one command. False after printing a usage error to stderr. options_free either way. */
bool options_parse(Options *options, unsigned command, const char *command_name, int argc, char **argv, int first);
void options_free(Options *options);

/* The option list of a command's --help. */
void options_print_help(unsigned command, FILE *out);
void options_print_json(unsigned command, FILE *out); /* , "options": [...] */

/* The one voice of usage errors: "netc train: ...", then where help is found. Returns exit status 2. */
int usage_error(const char *command_name, const char *format, ...) __attribute__((format(printf, 2, 3)));
#endif

/* What the subcommands share: the table of commands, exit statuses, and a model on its way through the house. */
#ifndef NETC_DRIVER_DRIVER_H
#define NETC_DRIVER_DRIVER_H
#include "cli/options.h"
#include "cli/report.h"
#include "cli/run.h"
#include "codegen/codegen.h"
#include "driver/levels.h"
#include "frontend/frontend.h"
#include "ir/nearest.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "runtime/rt.h"

/* ---- commands (main.c); each returns the exit status ---- */
typedef struct Command {
    const char *name;
    unsigned bit; /* CMD_… */
    int (*run)(const Options *options);
    const char *usage, *summary, *details;
} Command;
const Command *command_find(const char *name);
void command_print_help(const Command *command, FILE *out);
void command_print_list(FILE *out);

int command_train(const Options *options);
int command_init(const Options *options);
int command_eval(const Options *options);
int command_predict(const Options *options);
int command_ir(const Options *options);
int command_fmt(const Options *options);
int command_data(const Options *options);
int command_bench(const Options *options);
int command_build(const Options *options);
int command_cache(const Options *options);
int command_passes(const Options *options);
int command_help(const Options *options);

/* ---- a model on its way (session.c) ---- */
/* Owns everything from the diagnostics to the machine. Zero-initialise; session_close frees whatever was reached. */
typedef struct Session {
    const Options *options;
    char *path; /* of the .net file */
    Diag *diag;
    unsigned modes;         /* PASS_TRAIN, PASS_INFER: what the command compiles */
    const char *stop_after; /* the pass after which the graph is wanted (PassOptions) */
    Model train, infer;     /* graph NULL where not compiled */
    int64_t batch;          /* of inference, whose graph is for a group of its images */
    PassResult train_passes, infer_passes;
    uint64_t memory_limit; /* of a training step's activations, bytes; 0: none (memory.c) */
    uint32_t recompute;    /* how many activations are computed again in backward (memory.c) */
    const char *target;    /* of netc build; NULL: this machine */
    const Levels *levels;  /* the CPUs of netc build; NULL: --cpu */
    char *cache;           /* directory of compiled kernels; NULL: none */
    char *pipeline;        /* what made the graphs, with its hash (RtProgram); NULL before session_input */
    char pipeline_sha256[65];
    ChoiceTable *choices; /* pinned or measured ones, if any */
    ChoiceTable *made;    /* for --save-choices, of all CPUs so far */
    const char *run;      /* the directory whose checkpoint --resume continues */
    Jit *jit;
    RtPool *pool;
    RtMachine *machine;
} Session;

/* Finds the model file: the path itself, or NAME among the models that came with netc. Sets session->path. */
int session_find_model(Session *session, const Options *options, const char *command_name);
/* A file that comes with netc, malloc'd: installed (bin/netc -> share/netc/FOLDER), or in the source tree; NULL if it is not
 * there. */
char *session_shipped_file(const char *folder, const char *file);
/* What the command compiles (PASS_TRAIN, PASS_INFER), before it does. A mistake in the options of passes, or one that has no
 * effect in these modes, is EXIT_USAGE. */
int session_compiles(Session *session, unsigned modes, const char *command_name);
/* Whether passes left a graph that code can be made of, and, of training, a gradient of every parameter. */
int session_check_graph(const Graph *g);
/* One mode from text to the source graph; `through_passes` runs the passes too. Diagnostics are printed here. */
int session_graph(Session *session, Mode mode, bool through_passes);
/* The graph that a Program runs inference with: of a group of the batch's images (runtime/abi.h).
 */
int session_infer(Session *session);
/* Reads --memory-limit and --recompute into the session; a bad size is EXIT_USAGE. */
int session_memory_options(Session *session);
/* Before the passes of training: sets session->recompute to the least number by which a step's activations fit the limit, if
 * there is one, on every CPU that code is made for. A limit too low is EXIT_INPUT, and says what is needed. */
int session_fit_memory(Session *session, const Graph *train);
/* Whether a Program's training step, made with choices that may differ from those by which it was fitted, keeps the limit. */
int session_check_memory(const Session *session, uint64_t arena_bytes);
PassOptions session_pass_options(const Session *session);
/* The passes that the options ask for, on any graph; remarks are printed if asked for. */
int session_passes(Session *session, const Graph *graph, PassResult *result);
/* Both modes or one, through the passes; what is there already stays. */
int session_graphs(Session *session, bool train, bool infer, const char *command_name);
/* The whole way: graphs, machine code, threads, memory. */
int session_machine(Session *session, bool train, bool infer, const char *command_name);
int session_pool(Session *session); /* the threads, if they are not there yet */
/* What codegen takes, from the graphs and options so far. */
CodegenInput session_input(Session *session);
/* The passes that ran, as --passes takes them and with the other options that decide about rewrites; and the SHA-256 of that and
 * of the shared objects' contents. Into the session. */
void session_describe_passes(Session *session);
/* What the options say about code for a CPU of a target, both as in CodegenOptions: no files, no choices, no remarks. */
CodegenOptions session_code_for(const Session *session, const char *target, const char *cpu);
/* The same for --cpu of this machine, with cache, dumps and remarks; choices come from driver/tune.h. */
CodegenOptions session_code(Session *session);
/* Whatever CPU: prints the remarks of the choosing pass, if they are asked for. */
void session_remarks(Session *session, CodegenOptions *code);
Precision session_precision(const Options *o); /* --precision */
void session_close(Session *session);
void session_print_diagnostics(const Session *session);
int session_compile_failed(
    const Session *session); /* likewise; EXIT_IO where a file could not be read or written, or EXIT_INPUT */
#endif

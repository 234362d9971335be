/* A model on its way through the house: what there is of it so far, and what the command line says about each part of the way.
 * The way itself is driver/compile.h. */
#ifndef NETC_DRIVER_SESSION_H
#define NETC_DRIVER_SESSION_H
#include "cli/options.h"
#include "cli/report.h"
#include "codegen/codegen.h"
#include "driver/levels.h"
#include "driver/remarks.h"
#include "driver/watch.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/rt.h"

/* Owns everything from the diagnostics to the machine. Zero-initialise; session_close frees whatever was reached. */
typedef struct Session {
    const Options *options;
    char *path;   /* of the .net file, or of graphs as text (driver/textual.h); "-": standard input */
    bool textual; /* graphs as text */
    Diag *diag;
    unsigned modes;         /* PASS_TRAIN, PASS_INFER: what the command compiles */
    const char *stop_after; /* the pass after which the graph is wanted (PassOptions) */
    Model train, infer;     /* graph NULL where not compiled */
    int64_t batch;          /* of inference, whose graph is for a group of its images */
    PassResult train_passes, infer_passes;
    int64_t recompute;    /* how many activations are computed again in backward: --recompute, or driver/memory.h's finding */
    const char *target;   /* of netc build; NULL: this machine */
    const Levels *levels; /* the CPUs of netc build; NULL: --cpu */
    char *cache;          /* directory of compiled kernels; NULL: none */
    char *pipeline;       /* what made the graphs, with its hash (RtProgram); NULL before session_input */
    char pipeline_sha256[65];
    bool keeps_graphs; /* the Program holds them as text, for the directories of its trainings */
    char *graphs;
    ChoiceTable *choices;      /* pinned or measured ones, if any */
    ChoiceTable *made;         /* for --save-choices, of all CPUs so far */
    const char *recorded;      /* the choices in the checkpoint that --resume continues; NULL: there are none */
    RtRanks *ranks;            /* that train together; NULL: alone */
    Rules *rules;              /* of --rules; NULL: none */
    PassMask *forbid, *permit; /* --forbid, --permit; NULL before session_pass_options */
    Remarks remarks;
    PassWatch watch;
    Jit *jit;
    RtPool *pool;
    RtMachine *machine;
} Session;

/* Finds the model file: the path itself, or NAME among the models that came with netc. Sets session->path. Mistakes in options
 * that every command with a model shares are found here too. */
int session_find_model(Session *session, const Options *options, const char *command_name);
/* A file that comes with netc, malloc'd: installed (bin/netc -> share/netc/FOLDER), or in the source tree; NULL if it is not
 * there. */
char *session_shipped_file(const char *folder, const char *file);
/* The text of a model that is graphs, malloc'd, or NULL with an exit status after a sentence. Standard input is read once and
 * kept, since several sessions of a process may ask for it. */
char *session_read_text(const Session *session, size_t *length, int *status);
void session_print_diagnostics(const Session *session);
/* Likewise; EXIT_IO where a file could not be read or written, else EXIT_INPUT. */
int session_compile_failed(const Session *session);
void session_close(Session *session);

/* ---- passes ---- */
PassOptions session_pass_options(Session *session);
/* When all passes have run: did each --forbid and --permit name a rewrite? Exit status, after a sentence. */
int session_check_met(const Session *session);
/* The passes that these options ask for, on any graph; remarks are printed if asked for. */
int session_passes(Session *session, const Graph *graph, const PassOptions *options, PassResult *result);
/* Whether passes left a graph that code can be made of, and, of training, a gradient of every parameter. */
int session_check_graph(const Graph *g);
/* The passes that ran, as --passes takes them and with the other options that decide about rewrites; and the SHA-256 of that and
 * of the shared objects' contents. Into the session. */
void session_describe_passes(Session *session);

/* ---- code ---- */
/* What codegen takes, from the graphs and options so far. */
CodegenInput session_input(Session *session);
/* What the options say about code for a CPU of a target, both as in CodegenOptions: no files, no choices, no remarks. */
CodegenOptions session_code_for(const Session *session, const char *target, const char *cpu);
/* The same for --cpu of this machine, with cache, dumps and remarks; choices come from driver/tune.h. */
CodegenOptions session_code(Session *session);
/* Whatever CPU: prints the remarks of the choosing pass, if they are asked for. */
void session_remarks(Session *session, CodegenOptions *code);
Precision session_precision(const Options *o); /* --precision */
int session_pool(Session *session);            /* the threads, if they are not there yet */
#endif

/* Between the table of passes (pass.c), shared objects with more of them (plugins.c), the pipeline that options ask for
 * (pipeline.c), what is asked of every result (check.c) and the run (run.c). Private to passes/. */
#ifndef NETC_PASSES_DRIVER_H
#define NETC_PASSES_DRIVER_H
#include "passes/passes.h"

/* Comma-separated names, in order. */
const char *pass_default_pipeline(Mode mode);
/* False if two of these passes, in the order they run, break what a row says it runs after: `second` runs behind `first`, which
 * names it. */
bool pass_order(const Pass *const *pass, uint32_t count, const Pass **first, const Pass **second);

/* ---- plugins.c ---- */
typedef struct NetcPlugin NetcPlugin;
typedef struct Plugins {
    const NetcPlugin **plugin;
    const char **path;
    void **library;
    uint32_t count;
} Plugins;
/* Loads the shared objects; their passes have names of their own, or say that they replace one of netc's. False with a message in
 * diag; plugins_close either way. */
bool plugins_open(Plugins *p, Arena *arena, const PassOptions *options, Diag *diag);
void plugins_close(Plugins *p);
/* What `name` stands for where graphs of this mode are rewritten: a loaded pass, one of netc's, or NULL. */
const Pass *plugins_find(const Plugins *p, const char *name, Mode mode);
/* The file that a pass came from; NULL: netc's own. */
const char *plugins_path(const Plugins *p, const Pass *pass);
/* The name that `name` may have meant; NULL. */
const char *plugins_nearest(const Plugins *p, Arena *arena, const char *name);

/* ---- parameters.c ---- */
/* "{max_nodes=80, max_elements=3}" behind a pass's name, if it stands there: its parameters by place, those that are not named as
 * in `before` (NULL: as in its row). NULL if nothing stands there. False with a message in diag. */
bool parameters_read(Arena *arena, const Pass *pass, const char **at, const int64_t *before, const int64_t **parameter,
                     Diag *diag);
/* "{max_nodes=80}" again, of those that are not as in the row; "" if all are. */
const char *parameters_text(Arena *arena, const Pass *pass, const int64_t *parameter);
/* All of them: "max_nodes=80 max_elements=6". */
const char *parameters_list(Arena *arena, const Pass *pass, const int64_t *parameter);

/* ---- pipeline.c ---- */
/* A word of the options that stands for runs of a pass, and whether one is left to run. */
typedef struct Mention {
    const char *option, *text; /* "--passes", "--print-after": what it is for there */
    bool met;
    struct Mention *next;
} Mention;

typedef struct PipelineRun {
    const Pass *pass;
    uint32_t ordinal;         /* which run of this pass: 1, 2, … in the default pipeline, or in the list */
    bool once;                /* the only one */
    const int64_t *parameter; /* by place in Pass.parameters; NULL: as the row has them */
} PipelineRun;

/* The passes of one run, in order. `arena` owns the list; shared objects stay loaded until pipeline_close. */
typedef struct Pipeline {
    Arena *arena;
    Mode mode;
    Plugins plugins;
    PipelineRun *run;
    uint32_t count, capacity;
    uint32_t first; /* the first that is to run: what stands before has been done to the graph (PassOptions.start_after) */
    Mention *mentions;
    bool with_rules; /* there are rules for the passes that need them */
} Pipeline;

/* What is to run from `first` on. False with a message in diag on a mistake in the options; closed then too. */
bool pipeline_open(Pipeline *p, Arena *arena, Mode mode, const PassOptions *options, Diag *diag);
void pipeline_close(Pipeline *p);
/* A pass, and "#2" behind it. */
typedef struct RunName {
    const Pass *pass;
    uint32_t ordinal; /* 0: every run */
    const char *text;
} RunName;
/* Reads one; false with a message in diag. */
bool pipeline_read_run(Pipeline *p, const char **at, RunName *run, Diag *diag);
void pipeline_mention(Pipeline *p, const char *option, const char *text, bool met);
/* Does "cse" or "cse#2" name run i? */
bool pipeline_names(const Pipeline *p, uint32_t i, const char *text);
/* "cse#2"; without a number where the pass runs once. */
const char *pipeline_run_name(const Pipeline *p, uint32_t i);
/* What is to run, as --passes takes it. */
const char *pipeline_text(const Pipeline *p);

/* ---- check.c ---- */
/* The first value that does not belong into a graph of this mask (Pass.accepts), NO_VAL if all do. */
Val pass_find_stranger(const Graph *g, unsigned mask);
/* What is wrong with the result of a pass, malloc'd; NULL: nothing. */
char *pass_fault(const Pass *pass, const Graph *before, const Graph *after);
#endif

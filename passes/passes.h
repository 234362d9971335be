/* Graph -> Graph rewrites: their table and the driver that runs them.
 *
 * A pass reads one graph and returns a new one, which the driver verifies. passes.def is the only list of passes: what each is
 * for, what it accepts and leaves, whether it is required, and the order of the default pipelines. */
#ifndef NETC_PASSES_PASSES_H
#define NETC_PASSES_PASSES_H
#include "ir/ir.h"

/* ---- the event log ---- */

/* A value that an event is about, in the graph that the pass got and in the one that it left; NO_VAL where it is not there. */
typedef struct EventValue {
    Val before, after;
} EventValue;
typedef struct EventValues {
    EventValue *item;
    uint32_t count, capacity;
} EventValues;

typedef enum EventKind {
    EVENT_DONE,
    EVENT_REFUSED,  /* by the pass: it does not apply, or is not worth it */
    EVENT_FORBIDDEN /* by an option */
} EventKind;

/* What a rewrite did, or why it was not done. All texts are in the context's arena. */
typedef struct Event {
    EventKind kind;
    int64_t number;         /* of rewrites, allowed or forbidden: 1, 2, … over all passes; 0 otherwise */
    const char *pass, *run; /* "cse", and which run: "cse#2", or "cse" where it runs once */
    const char *name;       /* that survives edits elsewhere: "fuse_epilogues@basic3.conv_bn1.conv2d/sum"; NULL: none */
    Span span;
    const char *text;                   /* one sentence */
    EventValues removed, made, changed; /* of what is done */
    EventValues redirected;             /* pairs: who read the first reads the second */
    EventValues about;                  /* of a refusal: what was not done with what */
} Event;

/* Names rewrites to be forbidden, or permitted alone: a number, a name, or one in which '*' and '?' stand for any text; behind
 * "train:" or "infer:" only where such graphs are rewritten. */
typedef struct PassMask {
    const char *text;
    bool met; /* set where it has named a rewrite */
} PassMask;

typedef struct Pass Pass;
typedef struct PassSubject PassSubject;
typedef struct Rules Rules; /* passes/rules.h */

/* What a running pass sees of its driver. */
typedef struct PassContext {
    Arena *arena; /* lives until passes_result_free */
    const char *pass;
    const Pass *row;          /* of the pass at work */
    const int64_t *parameter; /* by place in row->parameters; NULL: as the row has them */
    const char *run;          /* "cse#2" */
    Mode mode;
    Event *events;
    uint32_t nevents, event_capacity, open; /* open: 1 + the event at work; 0: none */
    PassSubject *subjects;                  /* of the run at work */
    uint32_t nsubjects, subject_slots;
    int64_t asked, rewrites, bisect_limit; /* rewrites asked for, and done; bisect_limit < 0: unlimited */
    PassMask *forbid, *permit;             /* permit: no others */
    uint32_t nforbid, npermit;
    int64_t recompute;     /* how many values `recompute` may compute again; RECOMPUTE_CHEAP */
    uint32_t recomputable; /* how many it could */
    uint32_t recomputed;   /* how many it did, as far as it was allowed to */
    Rules *rules;          /* of the pass `rules`; NULL: none */
    uint64_t steps;        /* values looked at, where that can grow faster than the graph: work without a clock */
} PassContext;
/* The gate: a pass asks this before each single rewrite and must not do it if the answer is no (--opt-bisect-limit, --forbid).
 * `subject` names what is rewritten ("basic3.conv_bn1.conv2d/sum"); `key` tells apart rewrites of one subject, and is the same
 * where a pass asks for the same one again. pass_allowed is for a pass that has no names. */
bool pass_allowed_for(PassContext *context, const char *subject, uint64_t key);
bool pass_allowed(PassContext *context);
/* For the log: the rewrite that was allowed last made the values of `out` from id `count` on, and `after` (NO_VAL: nothing)
 * stands for `before`, of the graph that the pass got. */
void pass_replaced(PassContext *context, Val before, Val after, const Graph *out, uint32_t count);
/* The value of an option of the pass at work (Pass.parameters). A name that its row lacks is a compiler bug. */
int64_t pass_parameter(const PassContext *context, const char *name);
/* What the rewrite that was allowed last did, or why one is not done: a sentence. */
void pass_remark(PassContext *context, bool applied, Span span, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Masks of what may stand in a graph: tiers, and a further bit: no convolution with regions. */
enum { PASS_ANY = TIER_SOURCE | TIER_NET | TIER_BACKWARD | TIER_FUSED, PASS_UNFUSED = 0x100 };
enum { PASS_TRAIN = 1, PASS_INFER = 2 }; /* a mask of modes */
enum { RECOMPUTE_CHEAP = -1 };           /* for `recompute`: what costs next to nothing, by its own judgement */

typedef Graph *(*PassFunction)(const Graph *in, PassContext *context);
/* An option of a pass, a number: fuse_maps{max_nodes=80}. */
typedef struct PassParameter {
    const char *name;
    int64_t value, least, most; /* value: if nobody says another */
    const char *summary;
} PassParameter;
enum { PASS_PARAMETERS = 4 }; /* at most */

/* A row of passes.def, where each member is explained. */
struct Pass {
    const char *name;
    PassFunction run;
    bool required;
    bool needs_rules; /* it runs only where there are some (PassOptions.rules) */
    unsigned modes, accepts, leaves;
    const char *after;                         /* names separated by commas; NULL: none */
    unsigned adds;                             /* a mask of 1u << OutputKind */
    bool replaces;                             /* of a shared object: it stands for netc's pass of this name */
    PassParameter parameters[PASS_PARAMETERS]; /* ends where a name is NULL */
    const char *summary;
};
bool pass_runs_in(const Pass *pass, Mode mode);
/* The table of netc's own passes; those of shared objects belong to the run that loads them (passes/plugin.h). */
const Pass *pass_find(const char *name);
uint32_t pass_count(void);
const Pass *pass_at(uint32_t index);

/* One run of a pass. */
typedef struct PassRun {
    const char *name; /* "cse#2"; "cse" where it runs once */
    const char *file; /* the shared object that the pass came from; NULL: netc's own */
    const char *pass; /* "cse" */
    bool required;    /* it cannot be left out */
    double seconds;
    uint32_t before, after; /* values of the graph */
    int64_t rewrites;
    const char *parameters; /* "max_nodes=160 max_elements=6" */
} PassRun;

typedef struct PassOptions {
    const char *pipeline;       /* a list of passes for each mode (pipeline.c has the grammar); NULL: the default */
    unsigned bare_modes;        /* the modes that a list of names is for if it does not say; 0: both */
    const char *const *disable; /* names of optional passes to leave out */
    uint32_t ndisable;
    const char *const *load; /* shared objects with further passes (--load-pass) */
    uint32_t nload;
    Rules *rules;         /* for the pass `rules`, which counts in them what it finds; NULL: it does not run */
    int64_t bisect_limit; /* -1: off */
    PassMask *forbid, *permit;
    uint32_t nforbid, npermit;
    int64_t recompute; /* how many values the backward pass computes again rather than keeps, cheapest first; RECOMPUTE_CHEAP */
    bool print_before_all, print_after_all, time_passes;
    const char *const *print_before, *const *print_after; /* "cse", "cse#2" */
    uint32_t nprint_before, nprint_after;
    FILE *print;             /* where graphs and times are printed; NULL: stderr */
    const char *start_after; /* a pass that has run already, and all before it; NULL: none has. If it does not run, all do */
    const char *stop_after;  /* the last pass to run; NULL: all. If it does not run, that is a mistake */
    bool finished;           /* all passes have run already */
    bool reproducer; /* leave the graph that a pass crashes on, or makes unsound, as netc-repro-PASS.ir rather than print it */
    /* Told of each run of a pass with the graph that it got and the one that it made, which live until it returns; NULL. */
    void (*watch)(void *context, const PassRun *run, const Graph *before, const Graph *after);
    void (*begin)(void *context, const PassRun *run); /* likewise before it, when only its names are known */
    void *watch_context;
} PassOptions;

typedef struct PassResult {
    Graph *graph;
    Arena *arena;
    Event *events;
    uint32_t nevents;
    int64_t rewrites;
    uint32_t recomputable; /* the largest useful PassOptions.recompute */
    uint32_t recomputed;   /* how many were, as far as rewrites were allowed */
    const char *pipeline;  /* what ran, as PassOptions.pipeline takes it for one mode */
    PassRun *runs;
    uint32_t nruns;
    uint64_t steps; /* PassContext.steps */
} PassResult;

/* Runs the pipeline on `in` (which stays the caller's). A graph that fails verification after a pass, and a pass that crashes,
 * are compiler bugs: prints the pass's name, the reason and the graphs to stderr and exits with 70. A mistake in options
 * (unknown pass, an attempt to disable a required one, a shared object that does not load, a pass that does not accept
 * what is there when its turn comes) is reported into diag and returns false. */
bool passes_run(const Graph *in, const PassOptions *options, Diag *diag, PassResult *result);
void passes_result_free(PassResult *result);
/* Whether the options (by Mode) make sense for graphs of these modes, before they run: no mistake in any list, and every pass
 * that is named is left to run in one of the modes. False with a message in diag. */
bool passes_check(const PassOptions *by_mode, unsigned modes, Diag *diag);

/* The passes, for tests that call one directly. */
#define PASS(NAME, ...) Graph *pass_##NAME(const Graph *in, PassContext *context);
#define PIPELINE(mode, names)
#include "passes/passes.def"
#undef PASS
#undef PIPELINE

/* ---- memory plan (plan.c): an analysis, asked by codegen ---- */
/* Sizes come from the target; the plan itself is layout-blind. */
typedef struct PlanTarget {
    void *context;
    /* Physical size of value v. */
    uint64_t (*bytes)(void *context, const Graph *g, Val v);
    /* Temporary bytes that v's kernels need while they run. */
    uint64_t (*workspace)(void *context, const Graph *g, Val v);
    /* Does the result live outside the arena (parameters, gradients, ...)? Then no space is planned for it. */
    bool (*external)(void *context, const Graph *g, Val v, uint32_t result);
} PlanTarget;
typedef struct Plan {
    uint64_t *offset;    /* arena offset of value id v (RESULT values have their own ids); PLAN_NONE if external or unused */
    uint64_t *workspace; /* arena offset of v's workspace; PLAN_NONE */
    uint64_t bytes;      /* arena size; offsets are multiples of 64 */
    uint64_t peak_live, total; /* lower bound (largest live sum), and what no reuse would need */
    uint64_t steps;            /* ranges looked at: work without a clock */
} Plan;
#define PLAN_NONE UINT64_MAX
/* Liveness over the value order, then best-fit offsets by size (greedy by size, as in TFLite's planner), never overlapping live
 * ranges. */
Plan plan_memory(const Graph *g, const PlanTarget *target);
void plan_free(Plan *plan);
/* last[v]: the last position that reads value id v, v itself if none does, the graph's count if it is an output; RESULT values
 * are read at their own users' positions only. malloc'd. */
Val *plan_last_uses(const Graph *g);
#endif

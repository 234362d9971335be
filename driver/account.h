/* The account of a step's memory: every feature map that is stored, who makes and reads it, and what keeps each reader from doing
 * without it. A map need not be stored if all who read it join the loop that makes it, or compute it where they load it; for each
 * reader and either way there are questions, and one that is answered no blocks it. */
#ifndef NETC_DRIVER_ACCOUNT_H
#define NETC_DRIVER_ACCOUNT_H
#include "codegen/codegen.h"
#include "passes/passes.h"

typedef enum Way { WAY_JOIN, WAY_RECOMPUTE, WAYS } Way;

typedef struct Question {
    Way way;
    const char *text;
    bool yes;
    const char *why; /* of a no */
} Question;
enum { QUESTIONS = 10 };

typedef struct MapReader {
    Val value;          /* NO_VAL: an output of the graph */
    const char *kernel; /* NULL: not known */
    bool backward;      /* a gradient, where the map is none: it is kept for backward */
    Question question[QUESTIONS];
    uint32_t nquestions;
} MapReader;

typedef struct MapAccount {
    StepBuffer buffer;
    Val maker;
    const char *kernel; /* that makes it; NULL: not known */
    MapReader *reader;
    uint32_t nreaders;
    const Event **refused; /* fusions of it that passes did not do, in order */
    uint32_t nrefused;
    bool explained; /* every reader is blocked either way, or a pass says why not */
} MapAccount;

typedef struct Account {
    Arena *arena;
    const Graph *g;
    StepMemory memory;
    MapAccount *map;
    uint32_t nmaps;
    uint64_t map_bytes, filter_bytes, vector_bytes, workspace_bytes; /* they add up to memory.total_bytes */
} Account;

/* What a run of the passes looked like, for who wants to know what events are about: a PassOptions.watch. */
typedef struct PassHistory {
    struct {
        char *run;
        Graph *before, *after;
    } *item;
    uint32_t count, capacity;
} PassHistory;
void history_watch(void *history, const PassRun *run, const Graph *before, const Graph *after);
void history_free(PassHistory *history);

/* `jit`: of a Program whose graph of this mode is passes->graph. Lives in account->arena, and reads all of its arguments as long
 * as it does. False with a diagnostic; account_free either way. */
bool account_make(const PassResult *passes, const PassHistory *history, const Jit *jit, const CodegenOptions *code,
                  Account *account, Diag *diag);
void account_free(Account *account);
/* The name of v, or of the value whose result it is; NULL: none. */
const char *account_name(const Graph *g, Val v);
/* "%12 conv2d of basic3.conv_bn1.conv2d" */
const char *account_label(const Account *account, Val v);
#endif

/* .net text -> Graph and recipe. See docs/language.md. */
#ifndef NETC_FRONTEND_FRONTEND_H
#define NETC_FRONTEND_FRONTEND_H
#include "ir/diag.h"
#include "ir/ir.h"
#include "runtime/recipe.h"

typedef struct FrontendOptions {
    Mode mode;       /* TRAIN adds the input "labels" and outputs LOSS, CORRECT and STATE beside LOGITS; INFER only LOGITS */
    int64_t batch;   /* 0: the recipe's */
    const char *net; /* which net of the file; NULL: the last one declared in the file itself */
    const char *const *sets; /* --set key=value, in order; values are .net expressions */
    uint32_t nsets;
    bool alike; /* all parameters are trained alike, whatever groups the recipe has: what peers are compared with */
} FrontendOptions;

typedef struct Model {
    Graph *graph;      /* source tier; the caller frees it with graph_free */
    RtRecipe recipe;   /* complete: defaults filled in */
    char *recipe_text; /* canonical .net text of the recipe, in graph->arena */
    const char *name;  /* of the net, in graph->arena */
} Model;

/* Reads, checks and lowers `path`. On mistakes reports them into diag and returns false (nothing to free). */
bool frontend_compile(const char *path, const FrontendOptions *options, Diag *diag, Model *model);

/* Recipe and recipe_text of *model (whose graph holds the text) from a `train` block alone, for graphs that come from elsewhere;
 * the text may be empty. `file` is the text's in diag; of the options, sets count, of keys `train.x` only. False after a report.
 */
bool frontend_recipe(const char *text, size_t length, uint32_t file, const FrontendOptions *options, Diag *diag, Model *model);

/* The same for a recipe whose net is not here: text is a `train` block, *recipe what it says with `sets`, and *changed its
 * canonical text, malloc'd. Groups are not held against parameters. False after a report. */
bool frontend_settings(const char *text, const char *const *sets, uint32_t nsets, Diag *diag, RtRecipe *recipe, char **changed);

/* The text of the library, the blocks that every program knows. */
extern const char library_text[];

/* netc fmt: canonical text of a file (malloc'd), or NULL with diagnostics. Comments are kept. Idempotent. */
char *frontend_format(const char *path, const char *text, size_t length, Diag *diag);
#endif

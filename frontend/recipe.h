/* The `train` block: from syntax to RtRecipe, and back to canonical text. */
#ifndef NETC_FRONTEND_RECIPE_H
#define NETC_FRONTEND_RECIPE_H
#include "frontend/eval.h"
#include "runtime/recipe.h"

/* What holds where no file says otherwise. */
RtRecipe recipe_defaults(void);
/* key = value; part (may be NULL) names one argument of the key's value as it stands: train.optimizer.lr. Mistakes are reported.
 */
void recipe_set(Eval *ev, RtRecipe *recipe, const char *key, const char *part, Span key_span, const AstExpr *value);
/* Where keys were set last that have checks which need the whole recipe. */
typedef struct RecipeSpans {
    Span augment, optimizer, schedule, groups, validation;
} RecipeSpans;
void recipe_check(Eval *ev, const RtRecipe *recipe, RecipeSpans at);
/* Is every group of a parameter of this graph, and of training something left to train? Marks the parameters that are frozen from
 * the start; `further`: beside those that are, whose graph says it. */
void recipe_apply_groups(Eval *ev, const RtRecipe *recipe, Graph *graph, bool further, Span at);
/* `train { ... }` with every key, as netc fmt would print it. */
char *recipe_text(Arena *arena, const RtRecipe *recipe);
#endif

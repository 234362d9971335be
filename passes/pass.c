/* The table of passes, and what a running pass asks of its driver. */
#include "passes/driver.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    NET = TIER_SOURCE | TIER_NET,
    LOWERED = PASS_ANY | PASS_LOWERED,
};

static const Pass table[] = {
    {"lower", pass_lower, true, true, true, PASS_ANY, PASS_ANY, "elementwise operations become maps"},
    {"split_batch_norm", pass_split_batch_norm, true, true, true, PASS_ANY, PASS_ANY,
     "batch norm becomes per-image sums, moments and an affine map"},
    {"fold_batch_norm", pass_fold_batch_norm, false, false, true, LOWERED, LOWERED,
     "the per-channel factor behind a convolution moves into its filters"},
    {"canonicalise", pass_canonicalise, false, true, true, PASS_ANY, PASS_ANY, "every value in its simplest form"},
    {"autodiff", pass_autodiff, true, true, false, NET | PASS_LOWERED | PASS_UNFUSED, NET | TIER_BACKWARD | PASS_LOWERED,
     "append the gradient of the loss with respect to every parameter"},
    {"cse", pass_cse, false, true, true, PASS_ANY, PASS_ANY, "equal values are computed once"},
    {"dce", pass_dce, false, true, true, PASS_ANY, PASS_ANY, "what no output needs is left out"},
    {"squeeze", pass_squeeze, false, true, true, LOWERED, LOWERED,
     "sums over pixels of affine maps become arithmetic on sums that exist already"},
    {"fuse_maps", pass_fuse_maps, false, true, true, LOWERED, LOWERED, "maps move into the maps that read them"},
    {"recompute", pass_recompute, false, true, false, LOWERED, LOWERED,
     "feature maps are computed again in backward rather than kept, if memory is short"},
    {"fuse_epilogues", pass_fuse_epilogues, false, true, true, LOWERED, LOWERED,
     "maps and sums move into the loop of the convolution that makes their operand"},
    {"fuse_prologues", pass_fuse_prologues, false, true, true, LOWERED, LOWERED,
     "maps move into the loads of the convolutions that read them"},
    {"share_sweeps", pass_share_sweeps, false, true, true, LOWERED, LOWERED,
     "maps that are left over merge where they read the same values"},
};

uint32_t pass_count(void) { return sizeof table / sizeof *table; }

const Pass *pass_at(uint32_t index) { return index < pass_count() ? &table[index] : NULL; }

const Pass *pass_find(const char *name) {
    for (uint32_t i = 0; i < pass_count(); i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    return NULL;
}

/* A table row says what a pass is; these say when it runs. A pass may run several times. */
const char *pass_default_pipeline(Mode mode) {
    if (mode == MODE_TRAIN)
        return "lower,split_batch_norm,canonicalise,cse,autodiff,canonicalise,cse,dce,squeeze,canonicalise,cse,dce,"
               "fuse_maps,recompute,fuse_epilogues,fuse_prologues,share_sweeps,dce";
    return "lower,split_batch_norm,fold_batch_norm,canonicalise,cse,dce,squeeze,canonicalise,cse,dce,"
           "fuse_maps,fuse_epilogues,fuse_prologues,share_sweeps,dce";
}

bool pass_allowed(PassContext *context) {
    if (context->bisect_limit >= 0 && context->rewrites >= context->bisect_limit) return false;
    context->rewrites++;
    return true;
}

void pass_remark(PassContext *context, bool applied, Span span, const char *format, ...) {
    if (context->nremarks == context->remark_capacity) {
        uint32_t capacity = context->remark_capacity ? 2 * context->remark_capacity : 64;
        Remark *grown = ARENA_ARRAY(context->arena, Remark, capacity);
        if (context->nremarks) memcpy(grown, context->remarks, context->nremarks * sizeof *grown);
        context->remarks = grown;
        context->remark_capacity = capacity;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    context->remarks[context->nremarks++] = (Remark){context->pass, applied, span, arena_strdup(context->arena, text)};
}

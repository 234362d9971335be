/* Plugins that are refused when they are loaded; FAULT says why. */
#include "passes/plugin.h"

__attribute__((unused)) static Graph *run(const Graph *in, PassContext *context) {
    (void)in, (void)context;
    return NULL;
}

static const Pass passes[] = {
#if FAULT == 1
    {NULL, run, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY},
#elif FAULT == 2
    {"two-words", run, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY},
#elif FAULT == 3
    {"default", run, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY},
#elif FAULT == 4
    {"nowhere", NULL, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY},
#elif FAULT == 5
    {"cse", run, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY},
#elif FAULT == 6
    {"cses", run, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY, .replaces = true},
#elif FAULT == 7
    {"one", run, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY},
    {"one", run, .modes = PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY},
#else
    {"late", run, .modes = PASS_TRAIN | PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY},
#endif
};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, sizeof passes / sizeof *passes,
                                FAULT == 8   ? "fold_batch_norm"
                                : FAULT == 9 ? "such"
                                             : NULL};

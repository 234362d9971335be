/* What a shared object for --load-pass exports: one NetcPlugin named `netc_plugin`.
 *
 *     static Graph *run(const Graph *in, PassContext *context) { ... }
 *     static const Pass passes[] = {{"my_fusion", run, .modes = PASS_TRAIN | PASS_INFER, .accepts = PASS_ANY,
 *                                    .leaves = PASS_ANY, .summary = "what it does"}};
 *     const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 1, "squeeze"};
 *
 *     cc -shared -fPIC $(pkg-config --cflags netc-pass) -o my_fusion.so my_fusion.c      (docs/passes.md, docs/examples/passes/)
 *
 * The functions of ir/ and pass_allowed_for (or pass_allowed), pass_remark, pass_replaced come from the netc that loads it. A
 * loaded pass is in the default pipelines that its `modes` name, and can be named in --passes and switched off like any other. A
 * pass without `modes` runs only where a list names it. Names are letters, digits and '_', and no other pass's: a row that says
 * `.replaces = true` has the name of one of netc's passes and runs wherever that one would, in the modes that it names.
 * `parameters` are options that a list can set, as in "default,my_fusion{limit=3}", and the pass asks for with pass_parameter.
 *
 * netc holds every result to this: a new graph, sound, of the same mode, with only what `leaves` says; the same leaves; and the
 * same outputs in kind, name and type, but for kinds that `adds` names. The shared object must stay valid until the run ends; it
 * is unloaded then. */
#ifndef NETC_PASSES_PLUGIN_H
#define NETC_PASSES_PLUGIN_H
#include "passes/passes.h"

/* NETC_PLUGIN_VERSION, a hash of the headers that passes include, which netc's build makes (cmake/plugin_version.cmake): a shared
 * object that was built against others is refused. */
#include "netc_plugin_version.h"

typedef struct NetcPlugin NetcPlugin;
struct NetcPlugin {
    uint32_t version; /* NETC_PLUGIN_VERSION */
    const Pass *passes;
    uint32_t count;
    const char *after; /* in the default pipelines they run behind the last run of this pass; NULL: at the end */
};

extern const NetcPlugin netc_plugin; /* defined by the shared object */
#endif

/* The whole way of a model: .net file → graphs → passes → machine code → a machine in memory. Each command stops where it needs
 * to. Mistakes are printed where they are found and come back as exit statuses. */
#ifndef NETC_DRIVER_COMPILE_H
#define NETC_DRIVER_COMPILE_H
#include "driver/session.h"

/* What the command compiles (PASS_TRAIN, PASS_INFER), before it does. A mistake in the options of passes, or one that has no
 * effect in these modes, is EXIT_USAGE. */
int compile_modes(Session *session, unsigned modes, const char *command_name);
/* Finds the model, and does that for those of the modes that --mode says (default: both) of which it has a graph, *modes. */
int compile_asked_modes(Session *session, const Options *options, const char *command_name, unsigned *modes);
/* The graph as the file has it: of the frontend, or read (driver/textual.h). `batch` 0: as the file says. */
int compile_source(Session *session, Mode mode, int64_t batch, Model *model);
/* The same to be evaluated: with `batch` 0 a net has SMALL_BATCH images, and *small is one that is smaller still where evaluating
 * it takes long (verify/small.h), else NULL. */
int compile_small(Session *session, Mode mode, int64_t batch, Model *model, Graph **small);
/* What the passes are to do with such a graph. */
PassOptions compile_pass_options(Session *session, const Graph *source);
/* The same, but that exactly these passes run, as PassOptions.pipeline takes a list for one mode. */
void compile_replace_list(PassOptions *options, const char *list);
/* The passes of a compiled mode once more, with somebody who looks on (PassOptions.watch): the session's own result stays, since
 * code is made from it. */
int compile_watch_passes(Session *session, Mode mode, void (*watch)(void *, const PassRun *, const Graph *, const Graph *),
                         void *context);
/* One mode from text to the source graph; `through_passes` runs the passes too. */
int compile_graph(Session *session, Mode mode, bool through_passes);
/* The graph that a Program runs inference with: of a group of the batch's images (runtime/abi.h). */
int compile_infer(Session *session);
/* Both modes or one, through the passes; what is there already stays. */
int compile_graphs(Session *session, bool train, bool infer, const char *command_name);
/* Machine code of one mode's graph alone, to be looked at, not run: the session's jit, if it has none yet. */
int compile_code(Session *session, Mode mode);
/* And machine code, threads, memory. */
int compile_machine(Session *session, bool train, bool infer, const char *command_name);
#endif

/* Graphs as text (.ir) in a .net file's place. A file holds a graph of training, one of inference, or both, and may hold the
 * recipe as a `train` block: `netc ir MODEL --mode=both` writes all three. */
#ifndef NETC_DRIVER_TEXTUAL_H
#define NETC_DRIVER_TEXTUAL_H
#include "driver/session.h"

/* Is the session's model such a file? By its ending, or by what is in it where it has neither .ir nor .net; "-" is standard
 * input. */
bool textual_is(const Session *session);
/* Which graphs it holds: a mask of PASS_TRAIN and PASS_INFER. Exit status, after a sentence. */
int textual_modes(Session *session, unsigned *modes);
/* The graph of one mode, as frontend_compile would give it; `batch`: of inference, 0 for that of the text. Exit status, after a
 * sentence; *model is then empty. */
int textual_model(Session *session, Mode mode, int64_t batch, Model *model);
/* What passes have done to a graph already, since it was printed after some: the options run what is left of the default. */
void textual_skip(const Graph *g, PassOptions *options);
/* The same for the graphs of these modes that the file holds, before they are needed; options by Mode. Exit status, after a
 * sentence. */
int textual_skip_all(Session *session, unsigned modes, PassOptions *options);
#endif

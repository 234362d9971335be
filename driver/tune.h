/* How convolutions are computed, as the options say: pinned (--choices), measured (--tune, --tune-file), as the checkpoint has it
 * (--resume), or by the cost model. */
#ifndef NETC_DRIVER_TUNE_H
#define NETC_DRIVER_TUNE_H
#include "driver/session.h"

/* Before code is generated: reads the files, measures if asked to, and fills code->pinned and code->measured with tables that
 * the session owns. Writes --save-choices. An exit status; mistakes are printed. */
int tuning_choose(Session *session, const CodegenInput *input, CodegenOptions *code);
#endif

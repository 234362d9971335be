/* Checked accesses: --check-bounds. */
#ifndef NETC_CODEGEN_EMIT_BOUNDS_H
#define NETC_CODEGEN_EMIT_BOUNDS_H
#include "codegen/emit/module.h"

/* Before every load and store of the open kernel, which is about to end, a call of rt_check_access. */
void emit_bounds_checks(Emitter *e, const char *name, uint64_t scratch_bytes);
#endif

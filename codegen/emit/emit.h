/* Loop nests and vector code on top of llvm-c: the vocabulary all kernel emitters share, a header per idea.
 *
 * Vectors are <V x float>, V = target->lanes, lanes along channels. Index arithmetic is i64 in units of elements. No fast-math
 * flags but `contract`, and reassociation only where an emitter fixes the shape of the sum itself: the same graph gives the same
 * bits. */
#ifndef NETC_CODEGEN_EMIT_H
#define NETC_CODEGEN_EMIT_H
#include "codegen/emit/arith.h"  // IWYU pragma: export
#include "codegen/emit/expr.h"   // IWYU pragma: export
#include "codegen/emit/f64.h"    // IWYU pragma: export
#include "codegen/emit/loop.h"   // IWYU pragma: export
#include "codegen/emit/math.h"   // IWYU pragma: export
#include "codegen/emit/memory.h" // IWYU pragma: export
#include "codegen/emit/module.h" // IWYU pragma: export
#endif

/* Inside runtime/: what rt_whiten (rt.h) is made of. */
#ifndef NETC_RUNTIME_WHITEN_H
#define NETC_RUNTIME_WHITEN_H
#include "runtime/status.h"

/* Of a symmetric matrix a [n][n]: its eigenvalues end up on a's diagonal, an orthonormal set of eigenvectors in v's rows, in the
 * same order, which is none in particular. Cyclic Jacobi. */
void rt_eigenvectors(double *a, double *v, int64_t n);
#endif

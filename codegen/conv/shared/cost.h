/* The cost model of convolutions: how long one will take by a given plan, on one core. It ranks choices; absolute times are
 * good to some tens of per cent (netc bench --convolutions prints it beside measurement, docs/measurements.md has the table).
 *
 *     cycles = multiply-adds / rate + transforms / 2 + bytes copied within caches / 40 + bytes of feature maps / 10
 *
 * Multiply-adds and transforms count vector instructions. Methods say what work a plan is (ConvWork), at the rates that their
 * kernels reach of the two multiply-adds a cycle. The constants are fixed, not measured at run time: the same graph and CPU
 * always give the same choice, hence the same bits. */
#ifndef NETC_CODEGEN_CONV_COST_H
#define NETC_CODEGEN_CONV_COST_H
#include "codegen/conv/shared/method.h"

/* Seconds on one core; memory: bytes of feature maps. */
double cost_seconds(const ConvWork *w, double memory);
/* Bytes of feature maps that the value reads and writes, each once; of both as a pair. read: graph_reads. */
double cost_memory(const ConvProblem *p, const bool *read);
double cost_pair_memory(const ConvProblem *data, const ConvProblem *weights, const bool *read, bool keeps_dy);

/* Vector multiply-adds of a convolution done as it is defined; filters, in vectors; what pairs of bf16 gain over f32. */
double cost_vector_fmas(const ConvShape *s);
double cost_filters(const ConvShape *s);
double cost_pair_rate(int64_t pair);
#endif

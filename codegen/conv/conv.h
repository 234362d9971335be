/* Convolutions as ops (lower_CONV2D and its gradients'): on to the method that was chosen. */
#ifndef NETC_CODEGEN_CONV_H
#define NETC_CODEGEN_CONV_H
#include "codegen/program/lowering.h"

uint64_t conv_workspace(const Lowering *l, Val v); /* bytes, of a convolution in any direction */
#endif

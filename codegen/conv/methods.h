/* The convolution methods, those preferred at equal cost first. NULL ends the list. */
#ifndef NETC_CODEGEN_CONV_METHODS_H
#define NETC_CODEGEN_CONV_METHODS_H
#include "codegen/conv/shared/method.h"

extern const ConvMethod *const conv_methods[];
#endif

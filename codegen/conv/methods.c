/* The list: to add a method, write its folder and name its row here. */
#include "codegen/conv/methods.h"
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/gemm/gemm.h"
#include "codegen/conv/winograd/winograd.h"

const ConvMethod *const conv_methods[] = {&conv_winograd, &conv_direct, &conv_gemm, NULL};

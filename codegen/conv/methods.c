/* The list: to add a method, write its folder and name its row here. */
#include "codegen/conv/methods.h"
#include "codegen/conv/depthwise/depthwise.h"
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/gemm/gemm.h"
#include "codegen/conv/winograd/wide/wide.h"
#include "codegen/conv/winograd/winograd.h"

const ConvMethod *const conv_methods[] = {&conv_winograd, &conv_wide, &conv_depthwise, &conv_direct, &conv_gemm, NULL};

/* The list of methods (methods.def): the only place that knows them all. */
#include "codegen/conv/methods.h"

#define METHOD(NAME) extern const ConvMethod conv_##NAME;
#include "codegen/conv/methods.def"

const ConvMethod *const conv_methods[] = {
#define METHOD(NAME) &conv_##NAME,
#include "codegen/conv/methods.def"
    NULL};

/* What a running pass asks of its driver. */
#include "passes/passes.h"
#include <stdarg.h>
#include <stdio.h>

bool pass_allowed(PassContext *context) {
    if (context->bisect_limit >= 0 && context->rewrites >= context->bisect_limit) return false;
    context->rewrites++;
    return true;
}

void pass_remark(PassContext *context, bool applied, Span span, const char *format, ...) {
    ARENA_GROW(context->arena, context->remarks, context->nremarks, &context->remark_capacity);
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    context->remarks[context->nremarks++] = (Remark){context->pass, applied, span, arena_strdup(context->arena, text)};
}

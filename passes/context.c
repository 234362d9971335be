/* What a running pass asks of its driver. */
#include "passes/passes.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pass_allowed(PassContext *context) {
    if (context->bisect_limit >= 0 && context->rewrites >= context->bisect_limit) return false;
    context->rewrites++;
    return true;
}

int64_t pass_parameter(const PassContext *context, const char *name) {
    const PassParameter *p = context->row->parameters;
    for (uint32_t i = 0; i < PASS_PARAMETERS && p[i].name; i++) {
        if (strcmp(p[i].name, name) == 0) return context->parameter ? context->parameter[i] : p[i].value;
    }
    fprintf(stderr, "netc: internal error: the pass '%s' has no option '%s'\n", context->pass, name);
    abort();
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

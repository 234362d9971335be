/* A choice as text, in terms of its method's row. */
#include "codegen/conv/shared/method.h"
#include <inttypes.h>
#include <string.h>

const char *conv_method_name(const ConvMethod *method) { return method->name; }

char *choice_text(Arena *arena, const ConvChoice *c) {
    char *text = arena_strdup(arena, c->method->name);
    for (int i = 0; i < c->method->nsizes && c->sizes[0]; i++)
        text = i ? arena_printf(arena, "%sx%" PRId64, text, c->sizes[i])
                 : arena_printf(arena, "%s %s %" PRId64, text, c->method->sizes, c->sizes[i]);
    return c->pair ? arena_printf(arena, "%s sweep", text) : text;
}

bool choice_equal(const ConvChoice *a, const ConvChoice *b) {
    return a->method == b->method && a->pair == b->pair && !memcmp(a->sizes, b->sizes, sizeof a->sizes);
}

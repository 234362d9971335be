/* The texts of options that are about passes, word by word: what lists of passes and their options are read with. Blanks mean
 * nothing. Private to passes/. */
#ifndef NETC_PASSES_WORDS_H
#define NETC_PASSES_WORDS_H
#include "ir/arena.h"
#include "ir/diag.h"

/* A mistake in an option, reported; always false. */
bool words_mistake(Diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *words_skip(const char *at); /* blanks */
/* The next word of letters, digits and '_', copied; "" if none stands there. */
const char *words_take(Arena *arena, const char **at);
/* Takes what stands next if it is this. */
bool words_accept(const char **at, const char *token);
#endif

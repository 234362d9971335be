/* Structural keys: text that says all that shapes a kernel's code and nothing else, so that calls of equal structure share
 * one function. */
#ifndef NETC_CODEGEN_KEY_H
#define NETC_CODEGEN_KEY_H
#include "codegen/target/target.h"
#include "ir/arena.h"
#include <stdbool.h>
#include <stdint.h>

uint64_t key_hash(const char *text); /* FNV-1a */
/* Op, attributes, types and layouts of arguments and of the iteration space, regions, and wanted[i] for each result. */
char *key_of_value(Arena *arena, const Graph *g, Val v, const bool *wanted);
#endif

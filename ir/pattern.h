/* Patterns of names: '*' stands for any characters, none among them, '?' for one; anything else for itself. */
#ifndef NETC_IR_PATTERN_H
#define NETC_IR_PATTERN_H
#include <stdbool.h>

bool pattern_matches(const char *pattern, const char *name);
#endif

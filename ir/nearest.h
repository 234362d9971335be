/* "did you mean": for names in a .net file and on the command line. */
#ifndef NETC_IR_NEAREST_H
#define NETC_IR_NEAREST_H
#include <stdint.h>

/* The name among the candidates that `text` may have meant: one slip of the fingers in a short name, two in a longer one.
 * Else the only one that begins with it, if it has four letters. NULL if there is none. */
const char *nearest_name(const char *text, const char *const *candidate, uint32_t count);
#endif

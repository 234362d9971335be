/* Command lines that show something again. */
#ifndef NETC_DRIVER_SHOWN_H
#define NETC_DRIVER_SHOWN_H
#include "cli/options.h"
#include "ir/ir.h"
#include <stdio.h>

/* " --option='value'" quoted for a shell; without a value " --option". */
void show_option(FILE *out, const char *option, const char *value);
void show_list(FILE *out, const char *option, const TextList *list);
#endif

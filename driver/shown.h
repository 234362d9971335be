/* Command lines that show something again. */
#ifndef NETC_DRIVER_SHOWN_H
#define NETC_DRIVER_SHOWN_H
#include "cli/options.h"
#include "ir/ir.h"

/* " --option='value'" on standard output, quoted for a shell; without a value " --option". */
void show_option(const char *option, const char *value);
void show_list(const char *option, const TextList *list);
#endif

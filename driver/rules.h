/* The rules of --rules: read and checked once for all models and variants of a command. */
#ifndef NETC_DRIVER_RULES_H
#define NETC_DRIVER_RULES_H
#include "passes/rules.h"

/* Those of this file, of which there is one a command; NULL with an exit status after a sentence. */
Rules *rules_load(const char *path, int *status);
/* At the end of a command: warns of each rule that was found nowhere, where the command went well and the pass ran. */
void rules_close(int status);
#endif

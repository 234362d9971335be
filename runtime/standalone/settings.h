/* --set of an executable: its recipe with other values, as far as they are not compiled into its code. */
#ifndef NETC_STANDALONE_SETTINGS_H
#define NETC_STANDALONE_SETTINGS_H
#include "cli/options.h"
#include "runtime/abi.h"

/* Replaces *program by one with the recipe that o's --set say, read as netc reads it. Exit status, after a sentence. */
int settings_apply(const Options *o, const RtProgram **program);
#endif

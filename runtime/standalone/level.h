/* The Programs linked into this executable, one for each CPU level: netc_program_0 and up, from the least demanding to the most.
 */
#ifndef NETC_STANDALONE_LEVEL_H
#define NETC_STANDALONE_LEVEL_H
#include "runtime/abi.h"

enum { MAX_LEVELS = 4 };

/* Program number `index`, or NULL behind the last. There is at least one. */
const RtProgram *level_program(int index);
/* The last one that this machine can run, or the one for the CPU `wanted` (NULL: any). Exit status, after a sentence. */
int level_choose(const char *wanted, const RtProgram **chosen);
#endif

/* The directory of a training run: taken by one process at a time, never used a second time by accident. */
#ifndef NETC_RUNTIME_DIRECTORY_H
#define NETC_RUNTIME_DIRECTORY_H
#include "runtime/status.h"

/* Makes every checkpoint and metrics line of an earlier run go: at the start of a run that does not resume. */
RtStatus rt_directory_clear(const RtDirectory *d, RtError *error);
/* Appends the line to run.jsonl, if it is not NULL, and writes model.ir, if the Program keeps its graphs. */
RtStatus rt_directory_describe(const RtDirectory *d, const char *line, const RtProgram *p, RtError *error);
/* Replaces last.safetensors by last.safetensors.new, which is whole and synced; what it was becomes last-1.safetensors. At every
 * moment, and after a crash of the machine in whatever order its disk keeps these changes, the old or the new checkpoint is
 * found. */
RtStatus rt_directory_promote(const RtDirectory *d, RtError *error);
/* DIRECTORY/name, in `path`. */
enum { RT_PATH = 4096 };
const char *rt_directory_file(const RtDirectory *d, const char *name, char path[RT_PATH]);
#endif

/* A graph becomes calls. */
#ifndef NETC_CODEGEN_LOWER_H
#define NETC_CODEGEN_LOWER_H
#include "codegen/program/program.h"

/* Lowers a graph into entries: `dynamic` gets the calls; what depends on parameters and states alone goes to `prepare`
 * with results in RT_FOLDED, unless prepare is NULL. In whole mode (codegen_run_graph) leaves stand in RT_PARAMS and
 * output i at output_place[i] of RT_FOLDED. */
void lower_graph(ProgramBuilder *p, const Graph *g, CallList *dynamic, CallList *prepare, Place *output_place);

/* What lower_graph would put into RT_ARENA, in a program that has the graph's tensors. False after a diagnostic. */
bool lower_memory(ProgramBuilder *p, const Graph *g, Arena *arena, StepMemory *memory);
#endif

/* A graph becomes calls. */
#ifndef NETC_CODEGEN_LOWER_H
#define NETC_CODEGEN_LOWER_H
#include "codegen/program/program.h"

/* Lowers a graph into entries: `dynamic` gets the calls; what depends on parameters and states alone goes to `prepare`
 * with results in RT_FOLDED, unless prepare is NULL. In whole mode (codegen_run_graph) leaves stand in RT_PARAMS and
 * output i at output_place[i] of RT_FOLDED. */
void lower_graph(ProgramBuilder *p, const Graph *g, CallList *dynamic, CallList *prepare, Place *output_place);

/* The size of RT_ARENA that lower_graph would ask for, in a program that has the graph's tensors; 0 after a diagnostic. */
uint64_t lower_arena_bytes(ProgramBuilder *p, const Graph *g);
#endif

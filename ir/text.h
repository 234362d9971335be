/* Textual IR: print, read back, verify. print(read(print(g))) == print(g), byte for byte, places included where both have the
 * same Diag. */
#ifndef NETC_IR_TEXT_H
#define NETC_IR_TEXT_H
#include "ir/ir.h"

/* sources (may be NULL) gives the places of spans, of files that are no graphs as text. */
void graph_print(const Graph *g, const Diag *sources, FILE *out);
/* Sources by their names without directories: the same text wherever they lie. */
void graph_print_portable(const Graph *g, const Diag *sources, FILE *out);
void graph_print_json(const Graph *g, const Diag *sources, FILE *out); /* sources (may be NULL) gives file:line of spans */
/* Parts of it: a value with its regions, and an output, where name[v] (NULL: "%12") stands for each value v; and a value without
 * what it reads and its regions. A position is written in any case. */
void graph_print_value(const Graph *g, Val v, const char *const *name, FILE *out);
void graph_print_output(const Output *o, const char *const *name, FILE *out);
void graph_print_look(const Graph *g, Val v, FILE *out);
char *graph_to_string(const Graph *g); /* without places; malloc'd */

/* Reads what graph_print wrote. On a mistake reports into diag (file id from diag_add_file) and returns NULL. */
Graph *graph_read(const char *text, size_t length, uint32_t file, Diag *diag);

/* Structural soundness: argument order, arity, attributes, types against the shape rules, regions, outputs, unique
 * parameter names, tiers within `tiers` (a mask of Tier; 0 = any). Returns NULL if sound, else a malloc'd sentence. */
char *graph_verify(const Graph *g, unsigned tiers);
#endif

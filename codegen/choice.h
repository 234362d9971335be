/* How a convolution is computed: the algorithm and its sizes, for one convolution in one direction, and tables of such choices as
 * text. The choice is made once per graph (choose.h), before anything is lowered; plans and emitters only obey it. No llvm-c
 * here.
 *
 * A table is a text file, one choice a line, written for people to read and change:
 *
 *     netc choices 1
 *     znver5/16 data,128x16x32x32,o16,3x3+w#8a4f... winograd block 16 sweep; 1.27 ms
 *
 * CPU and vector lanes; the convolution: direction, input, filters, what else shapes it as a hash; how it is computed; the time
 * that was measured, if any. Lines that begin with '#' are comments.
 */
#ifndef NETC_CODEGEN_CHOICE_H
#define NETC_CODEGEN_CHOICE_H
#include "ir/arena.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum ConvAlgorithm { CONV_AUTO, CONV_DIRECT, CONV_GEMM, CONV_WINOGRAD } ConvAlgorithm;

/* Sizes that are 0 follow the kernel's own rule. */
typedef struct ConvChoice {
    ConvAlgorithm algorithm; /* never AUTO once chosen */
    bool sweep;              /* backward data and weights in one kernel; then both values have it */
    int64_t block;           /* Winograd: tiles transformed and multiplied together */
    int64_t tile[3];         /* direct forward and data: rows, columns and output blocks of the register tile */
} ConvChoice;

const char *conv_algorithm_text(ConvAlgorithm algorithm);
/* "winograd block 16 sweep", "direct tile 1x8x2", "direct sweep", "gemm" */
char *choice_text(Arena *arena, const ConvChoice *choice);
bool choice_read(const char *text, ConvChoice *choice); /* false: not such a text */
bool choice_equal(const ConvChoice *a, const ConvChoice *b);

typedef struct ChoiceEntry {
    const char *cpu, *key;
    ConvChoice choice;
    double seconds; /* measured, 0 if not */
} ChoiceEntry;

/* Owns its texts. */
typedef struct ChoiceTable {
    Arena *arena;
    ChoiceEntry *entry;
    uint32_t count, capacity;
} ChoiceTable;

ChoiceTable *choices_new(void);
void choices_free(ChoiceTable *table); /* NULL is fine */
/* Adds, or replaces what stands for this CPU and key. */
void choices_put(ChoiceTable *table, const char *cpu, const char *key, const ConvChoice *choice, double seconds);
void choices_remove(ChoiceTable *table, const char *cpu, const char *key);
const ChoiceEntry *choices_find(const ChoiceTable *table, const char *cpu, const char *key); /* NULL: none */
/* Adds the entries of a text. Lines that are no entries are counted in *bad and left out. False: not a table at all. */
bool choices_read(ChoiceTable *table, const char *text, uint32_t *bad);
void choices_write(const ChoiceTable *table, FILE *out);
#endif

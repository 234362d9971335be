/* How a convolution is computed: the method and its sizes, for one convolution in one direction, and tables of such choices as
 * text. The choice is made once per graph (conv/choose.h), before anything is lowered; emitters only obey it. No llvm-c here.
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

typedef struct ConvMethod ConvMethod; /* a row of conv/methods.def */
enum { CONV_SIZES = 3 };

/* Sizes that are 0 follow the kernel's own rule. */
typedef struct ConvChoice {
    const ConvMethod *method;
    bool pair;                 /* backward data and weights in one kernel; then both values have it. "sweep" in texts */
    int64_t sizes[CONV_SIZES]; /* what the method says; Winograd's: tiles of a block; direct's: the register tile */
} ConvChoice;

const ConvMethod *conv_method(const char *name); /* NULL: there is none */
const ConvMethod *conv_method_at(uint32_t i);    /* in the order of the list; NULL behind its end */
const char *conv_method_name(const ConvMethod *method);

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

/* Values of the language's static part. */
#ifndef NETC_FRONTEND_DATUM_H
#define NETC_FRONTEND_DATUM_H
#include "ir/ir.h"

typedef enum DatumKind {
    DATUM_POISON, /* follows from a mistake already reported: never reported again */
    DATUM_INTEGER,
    DATUM_REAL,
    DATUM_BOOL,
    DATUM_STRING,
    DATUM_LIST,
    DATUM_TENSOR,
    DATUM_WORD, /* same, valid */
    DATUM_INIT  /* an initialiser */
} DatumKind;

typedef enum Word { WORD_SAME, WORD_VALID } Word;

/* An initialiser before the shape of its parameter is known. */
typedef struct InitRule {
    enum {
        RULE_HE_FAN_IN,
        RULE_HE_FAN_OUT,
        RULE_DIRAC,
        RULE_WHITEN,
        RULE_XAVIER,
        RULE_UNIFORM_FAN_IN,
        RULE_UNIFORM,
        RULE_CONSTANT
    } kind;
    double value; /* UNIFORM: the bound; CONSTANT: the value; WHITEN: eps */
} InitRule;

struct DatumList;

typedef struct Datum {
    DatumKind kind;
    union {
        int64_t integer;
        double real;
        bool boolean;
        const char *text;
        const struct DatumList *list;
        Val tensor;
        Word word;
        InitRule init;
    };
} Datum;

typedef struct DatumList {
    Datum *item;
    uint32_t count, depth; /* depth: 1 above the deepest list inside */
} DatumList;

enum { MAX_LIST_ITEMS = 65536, MAX_LIST_DEPTH = 8 };

/* "an integer", "a tensor" */
const char *datum_kind_text(DatumKind kind);
/* How messages show a value: "3", "0.1", "\"fan_out\"", "[3, 3]", "the tensor f32[128,16,32,32]". Long values are cut. */
const char *datum_text(Arena *arena, const Graph *g, Datum d);
/* The shortest decimal that reads back as this finite double, always with a point or an exponent: "0.1", "1.0", "1e-08". */
const char *real_text(Arena *arena, double value);

bool datum_is_number(Datum d);
double datum_number(Datum d); /* of an INTEGER or REAL */
#endif

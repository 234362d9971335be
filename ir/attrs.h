/* The members of Attrs as data: name, kind and place of every field that an op's text form shows. One table serves printer,
 * reader and JSON. Private to ir/, but for real_format. */
#ifndef NETC_IR_ATTRS_H
#define NETC_IR_ATTRS_H
#include "ir/ir.h"
#include <stddef.h>

typedef enum FieldKind { FIELD_INTEGER, FIELD_REAL, FIELD_BOOL, FIELD_STRING, FIELD_INIT, FIELD_MARK, FIELD_POSITION } FieldKind;

typedef struct AttrField {
    const char *name;
    FieldKind kind;
    size_t offset; /* in Attrs */
    int count;     /* FIELD_INTEGER: 1 is a number, more a list */
    /* FIELD_MARK is a bool that is left out of the text where it is false. FIELD_POSITION is an integer, the last field, and left
     * out of the text where it is the place among the leaves of this kind.
     */
} AttrField;

bool attr_is_left_out(const AttrField *field, const Attrs *attrs); /* a mark that is not set */
/* The fields that are live for op, in the order of printing. */
const AttrField *op_attr_fields(Op op, int *count);
const char *init_text(InitKind kind);
enum { INIT_KINDS = INIT_WHITEN + 1 };

const char *region_role_text(RegionRole role);
bool output_kind_named(OutputKind kind);
enum { OUTPUT_KINDS = OUT_GRAD + 1 };

/* The shortest decimal that reads back as exactly this double: "0.1", "-0", "inf", "nan". */
enum { REAL_TEXT = 40 };
const char *real_format(double value, char buffer[REAL_TEXT]);
#endif

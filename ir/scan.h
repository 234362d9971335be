/* The scanner of netc's own texts, of graphs and of rules (passes/rules.h): one character cursor, and one place that words every
 * mistake. After the first mistake `failed` is set and every further call refuses without a message. Private to their readers. */
#ifndef NETC_IR_SCAN_H
#define NETC_IR_SCAN_H
#include "ir/ir.h"

typedef struct Scanner {
    const char *text; /* zero-terminated */
    size_t at, end;
    uint32_t file;
    Diag *diag;
    Arena *arena; /* of the strings that are read */
    bool failed;
} Scanner;

/* Reports at the next token; always false. */
bool scan_refuse(Scanner *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports over bytes [begin, s->at); always false. */
bool scan_refuse_from(Scanner *s, size_t begin, const char *format, ...) __attribute__((format(printf, 3, 4)));

void scan_space(Scanner *s); /* and comments */
bool scan_done(Scanner *s);  /* nothing is left */

/* Takes the next token if it is this punctuation or word. */
bool scan_accept(Scanner *s, const char *token);
bool scan_expect(Scanner *s, const char *token);
/* Is the next token this one? */
bool scan_sees(Scanner *s, const char *token);

enum { SCAN_WORD = 64 };
/* The next word [A-Za-z_][A-Za-z0-9_]*; `what` says what it should have been. */
bool scan_word(Scanner *s, char word[SCAN_WORD], const char *what);
/* %id: letters, digits, '_' and '.'. */
bool scan_id(Scanner *s, char id[SCAN_WORD]);
bool scan_integer(Scanner *s, int64_t *value);
bool scan_real(Scanner *s, double *value);
bool scan_string(Scanner *s, const char **value);
bool scan_type(Scanner *s, Type *type);
#endif

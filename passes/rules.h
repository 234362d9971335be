/* Algebraic rewrites as text (--rules=FILE): what the pass `rules` does. Grammar (blanks and newlines separate; # starts a
 * comment):
 *
 *     rules    = { [ name ":" ] term "=>" term }
 *     term     = op "(" term { "," term } ")" | variable [ rank ] | number
 *     rank     = "[" "]" | "[" "C" "]" | "[" "N" "," "C" "]"      on the left: what it stands for changes no more than that
 *
 * The ops are those of Exprs (ir/expr.h). A variable stands for any term, the same one wherever it occurs, and the right side has
 * none that the left lacks. Both sides are held as Exprs in netc's own form (constants folded, division by a power of two as a
 * multiplication, …), since all that they meet is in that form. Whether a rule is right is verify/rule.h's question. */
#ifndef NETC_PASSES_RULES_H
#define NETC_PASSES_RULES_H
#include "passes/passes.h"

enum { RULE_VARIABLES = 16, RULE_NODES = 64 }; /* of a side, at most */

typedef struct Rule {
    const char *name; /* "line3" where the text gives none */
    const char *text; /* as it is written: "add(mul(x, a), mul(y, a)) => mul(add(x, y), a)" */
    const char *form; /* in netc's own form: the same for equal rules */
    Span span;        /* in the Diag that it was read into */
    int line;
    const Expr *left, *right; /* X_ARG i is variable i */
    uint32_t variables;
    const char *variable[RULE_VARIABLES];
    int rank[RULE_VARIABLES]; /* the highest that it may have; MAX_RANK: any */
    uint64_t matched;         /* where it was found, in all runs so far, done or forbidden */
} Rule;

struct Rules {
    Arena *arena;
    const char *path;
    Rule *rule;
    uint32_t count, capacity;
    bool ran; /* the pass did, on some graph */
};

/* Reads a file's text (file id from diag_add_file); NULL with a message in diag. */
Rules *rules_read(const char *path, const char *text, size_t length, uint32_t file, Diag *diag);
void rules_free(Rules *rules); /* NULL too */
const char *rules_path(const Rules *rules);
/* "factor: …; line4: …", malloc'd: the same for the same rules, however they are written. */
char *rules_text(const Rules *rules);
#endif

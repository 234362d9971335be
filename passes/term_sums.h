/* Sums of one term of a sum of products (linear.h), without its coefficient: over the pixels of each image, or over lines or
 * columns. Which of them exist, follow from others that do, or are made. What squeeze knows of sums. */
#ifndef NETC_PASSES_TERM_SUMS_H
#define NETC_PASSES_TERM_SUMS_H
#include "passes/linear.h"

/* What is summed, and how. */
typedef struct Summing {
    Type space;
    DraftRegion region; /* REDUCE, or SUM_TO over lines or columns or both; its Expr is not looked at */
    int over;           /* the dimensions that are summed over, a mask as SUM_TO has it */
} Summing;

/* How the map `node` sums, of which that is the first region. */
Summing summing_of(const Draft *d, uint32_t node);
/* How many elements make one of the sum. */
double summing_elements(const Summing *of);
/* The type of the sum. */
Type summing_type(const Summing *of);

/* The sum of a term is `times` what `sum` says. */
typedef struct TermSum {
    Ref sum;
    double times;
    bool by_lines; /* it follows from sums over lines or columns that exist */
} TermSum;

/* Is there that sum, of the whole term, already? */
bool term_sum_exists(Scope *s, const Term *t, const Summing *of, Ref *sum);
/* Does the sum exist, or follow from what does? */
bool term_sum_known(Scope *s, const Term *t, const Summing *of);
/* Does it follow from anything but a sum of the whole term over the same pixels? */
bool term_sum_follows(Scope *s, const Term *t, const Summing *of);
/* The sum; what is not there is made, named like node `like`. False if it would read too much. */
bool term_sum(Scope *s, const Term *t, const Summing *of, uint32_t like, TermSum *out);
/* Is it of one feature map alone, which a loop makes? */
bool term_joins_a_loop(Scope *s, const Term *t);
#endif

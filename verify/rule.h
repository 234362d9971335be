/* Is a rule of --rules right? Both its sides as maps, over shapes and of numbers that are drawn at random, on the evaluator:
 * values, and the gradients that autodiff makes of them. */
#ifndef NETC_VERIFY_RULE_H
#define NETC_VERIFY_RULE_H
#include "passes/rules.h"

/* Numbers are of the size that nets have (up to some 30), zero, one, minus one and equal ones among them; where such stand,
 * gradients are not compared, which have no one value at a corner. A side that is infinite or not a number must be so on the
 * other side too. The same for the same rule. False with the counterexample in diag, at the rule. */
bool rule_check(const Rule *rule, Diag *diag);
#endif

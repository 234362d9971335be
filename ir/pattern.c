/* See pattern.h. The last '*' takes as much as it must: time is at most the product of both lengths. */
#include "ir/pattern.h"
#include <stddef.h>

bool pattern_matches(const char *pattern, const char *name) {
    const char *star = NULL, *taken = NULL; /* behind the last '*', and where what it takes ends */
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            taken = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++taken;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

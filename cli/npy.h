/* numpy's arrays (.npy, versions 1 to 3), row-major. */
#ifndef NETC_CLI_NPY_H
#define NETC_CLI_NPY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NPY_RANK = 4 };

typedef struct Npy {
    char kind;           /* u, i, f, b, U, S, ... as numpy has it */
    uint32_t size;       /* bytes of an element; of U of a character, 4 */
    uint32_t characters; /* of an element of U and S */
    bool big;            /* big-endian */
    int rank;
    int64_t dim[NPY_RANK];
    const uint8_t *data; /* in the bytes that were read */
    int64_t count;       /* elements */
} Npy;

/* The bytes of a file. False with a reason in why. */
bool npy_parse(const uint8_t *bytes, size_t length, Npy *array, char *why, size_t why_size);
/* Element i of an array of kind u or i; false if it is no whole number that an int64_t holds. */
bool npy_integer(const Npy *array, int64_t i, int64_t *value);
/* Element i of kind U or S as UTF-8, malloc'd; NULL if it is no text. */
char *npy_text(const Npy *array, int64_t i);
#endif

/* See grow.h. Doubling makes the cost of an element constant. */
#include "runtime/grow.h"
#include <stdint.h>
#include <stdlib.h>

void *rt_grow(void *array, size_t needed, size_t *capacity, size_t size) {
    if (array && needed <= *capacity) return array;
    size_t next = 2 * *capacity > needed ? 2 * *capacity : needed;
    void *larger = next > SIZE_MAX / size ? NULL : realloc(array, next * size);
    if (larger) *capacity = next;
    return larger;
}

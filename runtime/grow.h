/* Inside runtime/: arrays that grow. The compiler's arrays live in arenas (ir/arena.h); here memory may end without the program.
 */
#ifndef NETC_RUNTIME_GROW_H
#define NETC_RUNTIME_GROW_H
#include <stddef.h>

/* `array` (malloc'd, or NULL) with room for `needed` elements of `size` bytes, at least doubled where it was too small, and
 * *capacity set. NULL if memory is out: then the array is what it was. */
void *rt_grow(void *array, size_t needed, size_t *capacity, size_t size);
#endif

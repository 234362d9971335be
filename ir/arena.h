/* Bump allocator. Everything that hangs off a Graph, a parsed file or a diagnostic list lives in one Arena and is freed
 * with it. Allocation never returns NULL: an exhausted machine ends the compiler with a sentence and status 3 (out_of_memory). */
#ifndef NETC_IR_ARENA_H
#define NETC_IR_ARENA_H
#include <stddef.h>
#include <stdint.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *arena);          /* NULL is allowed */
size_t arena_bytes(const Arena *arena); /* that it has taken of the machine */

/* Zeroed memory, aligned for any type. */
void *arena_alloc(Arena *arena, size_t bytes);
#define ARENA_NEW(arena, T) ((T *)arena_alloc((arena), sizeof(T)))
void *arena_array(Arena *arena, size_t count, size_t size); /* the product may overflow: checked */
#define ARENA_ARRAY(arena, T, n) ((T *)arena_array((arena), (size_t)(n), sizeof(T)))

/* An array of `count` elements with room for one more: itself, or a copy twice as large, whose capacity is set. What it outgrows
 * stays in the arena, so that pointers into it can still be read. */
void *arena_grow(Arena *arena, const void *array, size_t count, uint32_t *capacity, size_t size);
#define ARENA_GROW(arena, array, count, capacity) ((array) = arena_grow((arena), (array), (count), (capacity), sizeof *(array)))

/* The end of a process that has no memory left: "netc: error: out of memory: " and what it was for on stderr, exit status 3 at
 * once, whatever other threads do. Whoever keeps something that must not be lost asks for memory in another way. */
_Noreturn void out_of_memory(const char *format, ...) __attribute__((format(printf, 1, 2)));

char *arena_strdup(Arena *arena, const char *text);
char *arena_strndup(Arena *arena, const char *text, size_t length);
char *arena_printf(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *arena_copy(Arena *arena, const void *data, size_t bytes);
#endif

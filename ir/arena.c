/* Arena: a list of chunks, each at least twice the one before it up to 1 MiB, from which allocations are cut in order.
 * Chunks come from calloc, so that memory is zero when it is handed out. */
#include "ir/arena.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 16, FIRST_CHUNK = 4096, LARGEST_CHUNK = 1 << 20 };

typedef struct Chunk {
    struct Chunk *next;
    size_t used, size; /* of the bytes behind the header */
} Chunk;

struct Arena {
    Chunk *chunk; /* the newest; older ones hang behind it */
    size_t next_size, bytes;
};

enum { HEADER = (sizeof(Chunk) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT };

void out_of_memory(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("netc: error: out of memory: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(3); /* EXIT_IO; atexit handlers of libraries would run beside our threads */
}

static _Noreturn void needs(size_t bytes) { out_of_memory("the compiler needs %zu more bytes", bytes); }

Arena *arena_new(void) {
    Arena *arena = calloc(1, sizeof *arena);
    if (!arena) needs(sizeof *arena);
    arena->next_size = FIRST_CHUNK;
    return arena;
}

void arena_free(Arena *arena) {
    if (!arena) return;
    for (Chunk *chunk = arena->chunk, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(arena);
}

/* A chunk for a large allocation stands behind the newest one, whose rest stays in use. */
static Chunk *add_chunk(Arena *arena, size_t bytes) {
    size_t size = bytes > arena->next_size ? bytes : arena->next_size;
    Chunk *chunk = size > SIZE_MAX - HEADER ? NULL : calloc(1, HEADER + size);
    if (!chunk) needs(bytes);
    chunk->size = size;
    arena->bytes += size;
    if (arena->chunk && bytes > arena->next_size) {
        chunk->next = arena->chunk->next;
        arena->chunk->next = chunk;
    } else {
        chunk->next = arena->chunk;
        arena->chunk = chunk;
    }
    if (arena->next_size < LARGEST_CHUNK) arena->next_size *= 2;
    return chunk;
}

size_t arena_bytes(const Arena *arena) { return arena->bytes; }

void *arena_alloc(Arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - ALIGNMENT) needs(bytes);
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT; /* so that every allocation has its own address */
    Chunk *chunk = arena->chunk;
    if (!chunk || chunk->size - chunk->used < bytes) chunk = add_chunk(arena, bytes);
    void *memory = (char *)chunk + HEADER + chunk->used;
    chunk->used += bytes;
    return memory;
}

void *arena_array(Arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) needs(SIZE_MAX);
    return arena_alloc(arena, bytes);
}

void *arena_grow(Arena *arena, const void *array, size_t count, uint32_t *capacity, size_t size) {
    if (count < *capacity) return (void *)array;
    if (*capacity > UINT32_MAX / 2) needs(SIZE_MAX);
    *capacity = *capacity ? 2 * *capacity : 8;
    void *grown = arena_array(arena, *capacity, size);
    if (count) memcpy(grown, array, count * size);
    return grown;
}

void *arena_copy(Arena *arena, const void *data, size_t bytes) {
    void *copy = arena_alloc(arena, bytes);
    if (bytes) memcpy(copy, data, bytes);
    return copy;
}

char *arena_strndup(Arena *arena, const char *text, size_t length) {
    if (length == SIZE_MAX) needs(length);
    char *copy = arena_alloc(arena, length + 1);
    if (length) memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(Arena *arena, const char *text) { return arena_strndup(arena, text, strlen(text)); }

char *arena_printf(Arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) length = 0;
    char *text = arena_alloc(arena, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

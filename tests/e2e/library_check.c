/* Two libraries in one program, linked with --wrap for the allocator: contexts of both run on threads of their own at once, and
 * no image allocates. Writes both nets' scores of the floats in argv[1] to argv[2]. */
#include "one.h"
#include "two.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 11, PIXELS = ONE_CHANNELS * ONE_HEIGHT * ONE_WIDTH, SCORES = IMAGES * ONE_CLASSES };
_Static_assert(ONE_BATCH == 4 && TWO_BATCH == 1, "built with these batches");

/* ---- the allocator ---- */

static atomic_int allocations;
void *__real_malloc(size_t), *__real_calloc(size_t, size_t), *__real_realloc(void *, size_t),
    *__real_aligned_alloc(size_t, size_t);
void *__wrap_malloc(size_t), *__wrap_calloc(size_t, size_t), *__wrap_realloc(void *, size_t),
    *__wrap_aligned_alloc(size_t, size_t);

static int counted(void) {
    allocations++;
    return 1;
}

void *__wrap_malloc(size_t n) { return counted() ? __real_malloc(n) : NULL; }
void *__wrap_calloc(size_t n, size_t size) { return counted() ? __real_calloc(n, size) : NULL; }
void *__wrap_realloc(void *p, size_t n) { return counted() ? __real_realloc(p, n) : NULL; }
void *__wrap_aligned_alloc(size_t align, size_t n) { return counted() ? __real_aligned_alloc(align, n) : NULL; }

static void require(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "library_check: %s\n", what);
    exit(1);
}

/* ---- contexts ---- */

static float images[IMAGES * PIXELS], scores_one[SCORES], scores_two[SCORES];
static pthread_barrier_t ready;

/* One context of each net on `threads` threads: the scores of the first ones, to the bit, also beside others. */
static void *run_both(void *argument) {
    int threads = *(const int *)argument;
    static const size_t guard = 4096;
    size_t bytes = one_bytes(threads);
    unsigned char *memory = __real_malloc(bytes + 2 * guard);
    memset(memory, 0xa5, bytes + 2 * guard);
    one_options options = {.threads = threads, .memory = memory + guard, .memory_bytes = bytes};
    one_context *one;
    two_context *two;
    float scores[SCORES];
    require(one_init(&one, &options, NULL) == ONE_OK, "a context in given memory");
    require(two_init(&two, &(two_options){.threads = threads}, NULL) == TWO_OK, "a context in memory of its own");
    pthread_barrier_wait(&ready);
    for (int i = 0; i < 20; i++) {
        require(one_run(one, images, IMAGES, scores) == ONE_OK && !memcmp(scores, scores_one, sizeof scores), "scores of one");
        require(two_run(two, images, IMAGES, scores) == TWO_OK && !memcmp(scores, scores_two, sizeof scores), "scores of two");
    }
    one_free(one);
    two_free(two);
    for (size_t i = 0; i < guard; i++)
        require(memory[i] == 0xa5 && memory[guard + bytes + i] == 0xa5, "what lies around the memory is untouched");
    free(memory);
    return NULL;
}

static void run_first(void) {
    one_context *one;
    two_context *two;
    allocations = 0;
    require(one_init(&one, NULL, NULL) == ONE_OK && two_init(&two, NULL, NULL) == TWO_OK, "contexts");
    require(allocations == 2, "one allocation for each context");
    for (int n = 0; n <= IMAGES; n++) {
        require(one_run(one, images, n, scores_one) == ONE_OK, "running one");
        require(two_run(two, images, n, scores_two) == TWO_OK, "running two");
    }
    require(allocations == 2, "running allocates nothing");
    one_free(one);
    two_free(two);
    unsigned char *memory = __real_malloc(one_bytes(1));
    require(one_init(&one, &(one_options){.memory = memory, .memory_bytes = one_bytes(1)}, NULL) == ONE_OK, "given memory");
    require(allocations == 2, "given memory is all that is needed");
    free(memory);
}

int main(int argc, char **argv) {
    require(argc == 3, "usage");
    FILE *file = fopen(argv[1], "rb");
    require(file && fread(images, sizeof images, 1, file) == 1, "reading images");
    fclose(file);
    run_first();
    pthread_t thread[3];
    int threads[3] = {1, 2, 3};
    pthread_barrier_init(&ready, NULL, 3);
    for (int i = 0; i < 3; i++) require(!pthread_create(&thread[i], NULL, run_both, &threads[i]), "a thread");
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    file = fopen(argv[2], "wb");
    require(file && fwrite(scores_one, sizeof scores_one, 1, file) == 1 && fwrite(scores_two, sizeof scores_two, 1, file) == 1,
            "writing scores");
    fclose(file);
    return 0;
}

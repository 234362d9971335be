/* See near.h. The memory is a memfd: another process opens it as /proc/PID/fd/N, if it has our machine and our numbers of
 * processes, and finds there the very file that we told of. */
#include "runtime/near.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
static const uint64_t huge_page = 2 << 20;

/* What a rank tells the others of its memory; bytes 0: it has none. */
typedef struct Card {
    char machine[48];   /* what the kernel was given when it started */
    uint64_t processes; /* the name space of process numbers */
    int64_t process, fd;
    uint64_t device, inode, bytes;
} Card;

struct RtNear {
    RtRanks *ranks;
    int size;
    char *own;
    uint64_t bytes;
    int fd; /* until all have met; -1: none */
    bool met;
    char **other; /* by rank: its memory in our addresses, or NULL */
    uint64_t *other_bytes;
};

RtNear *rt_near_new(RtRanks *ranks) {
    size_t size = (size_t)rt_ranks_count(ranks);
    RtNear *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    *n = (RtNear){ranks, (int)size, .fd = -1};
    n->other = calloc(size, sizeof *n->other);
    n->other_bytes = calloc(size, sizeof *n->other_bytes);
    if (n->other && n->other_bytes) return n;
    rt_near_free(n);
    return NULL;
}

void rt_near_free(RtNear *n) {
    if (!n) return;
    for (int k = 0; n->other && n->other_bytes && k < n->size; k++)
        if (n->other[k]) munmap(n->other[k], n->other_bytes[k]);
    if (n->own) munmap(n->own, n->bytes);
    if (n->fd >= 0) close(n->fd);
    free(n->other);
    free(n->other_bytes);
    free(n);
}

/* Begins where a huge page may. */
static char *map(int fd, uint64_t bytes) {
    char *room = mmap(NULL, bytes + huge_page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return NULL;
    uint64_t before = huge_page - (uintptr_t)room % huge_page;
    void *at = mmap(room + before, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    munmap(room, before);
    if (before < huge_page) munmap(room + before + bytes, huge_page - before);
    if (at == MAP_FAILED) munmap(room + before, bytes);
    return at == MAP_FAILED ? NULL : at;
}

/* Pages of a memfd are small by themselves, which costs kernels more than sharing saves: one of each huge page is made, and made
 * huge where the system can. All are taken now: where there is too little, one that is touched later would end the process. */
static char *memory(int fd, uint64_t bytes) {
    if (ftruncate(fd, (off_t)bytes)) return NULL;
    for (uint64_t at = 0; at + huge_page <= bytes; at += huge_page)
        if (pwrite(fd, "", 1, (off_t)at) != 1) return NULL;
    char *block = map(fd, bytes);
    if (block) madvise(block, bytes / huge_page * huge_page, MADV_COLLAPSE);
    if (!block || !posix_fallocate(fd, 0, (off_t)bytes)) return block;
    munmap(block, bytes);
    return NULL;
}

void *rt_near_memory(RtNear *n, uint64_t bytes) {
    const char *wanted = getenv("NETC_RANK_MEMORY");
    uint64_t page = bytes >= huge_page ? huge_page : 1 << 16; /* of any machine */
    if (n->own || !bytes || (wanted && !strcmp(wanted, "0"))) return NULL;
    n->fd = memfd_create("netc-rank", MFD_CLOEXEC);
    if (n->fd < 0) return NULL;
    n->bytes = (bytes + page - 1) / page * page;
    n->own = memory(n->fd, n->bytes);
    if (!n->own) close(n->fd), n->fd = -1;
    return n->own;
}

static Card card_of(const RtNear *n) {
    Card card = {.process = getpid(), .fd = n->fd};
    struct stat file, processes;
    int boot = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = boot >= 0 ? read(boot, card.machine, sizeof card.machine - 1) : -1;
    if (boot >= 0) close(boot);
    if (length <= 0 || n->fd < 0 || fstat(n->fd, &file) || stat("/proc/self/ns/pid", &processes)) return card;
    card.processes = processes.st_ino;
    card.device = file.st_dev;
    card.inode = file.st_ino;
    card.bytes = n->bytes;
    return card;
}

static char *reach(const Card *theirs, const Card *ours) {
    char path[64];
    struct stat file;
    if (!theirs->bytes || !ours->bytes || strcmp(theirs->machine, ours->machine) != 0 || theirs->processes != ours->processes)
        return NULL;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)theirs->process, (long long)theirs->fd);
    if (stat(path, &file) || file.st_dev != theirs->device || file.st_ino != theirs->inode) return NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char *at = fd >= 0 ? map(fd, theirs->bytes) : NULL;
    if (fd >= 0) close(fd);
    return at;
}

void rt_near_meet(RtNear *n) {
    size_t size = (size_t)n->size;
    int me = rt_ranks_index(n->ranks);
    if (n->met) return;
    n->met = true;
    Card own = card_of(n), *card = calloc(size, sizeof *card);
    char *reached = calloc(size, size + 1), *mine = reached ? reached + size * size : NULL; /* reached[a * size + b]: a has b's */
    if (!card || !reached) {
        rt_ranks_fail(n->ranks, "out of memory for what ranks of a machine share");
    } else if (rt_ranks_gather(n->ranks, &own, sizeof own, card)) {
        for (int k = 0; k < (int)size; k++) {
            if (k != me) n->other[k] = reach(&card[k], &own);
            n->other_bytes[k] = card[k].bytes;
            mine[k] = n->other[k] != NULL;
        }
        bool heard = rt_ranks_gather(n->ranks, mine, size, reached);
        for (size_t k = 0; k < size; k++) {
            if (!n->other[k] || (heard && reached[k * size + (size_t)me])) continue;
            munmap(n->other[k], n->other_bytes[k]);
            n->other[k] = NULL;
        }
    }
    if (n->fd >= 0) close(n->fd); /* whoever could open it has it */
    n->fd = -1;
    free(card);
    free(reached);
}

char *rt_near_at(const RtNear *n, int rank, const void *mine) {
    uintptr_t at = (uintptr_t)mine, begin = (uintptr_t)n->own;
    if (!n->other[rank] || at < begin || at - begin >= n->bytes || at - begin >= n->other_bytes[rank]) return NULL;
    return n->other[rank] + (at - begin);
}

void rt_near_publish(void) { atomic_thread_fence(memory_order_release); }
void rt_near_observe(void) { atomic_thread_fence(memory_order_acquire); }

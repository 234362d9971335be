/* Makes one call of a process fail: the N-th allocation, the N-th start of a thread, or the N-th system call of a kind.
 * Preloaded:
 *
 *     LD_PRELOAD=libfaults.so FAULTS_KIND=write FAULTS_AT=17 FAULTS_COUNT=FILE netc train ...
 *
 * The process's calls of that kind are counted from before main on, over all its threads, and how many there were is written to
 * FILE when it ends, however it ends; FAULTS_AT=0 lets all succeed. The process's children are left alone.
 *
 * Allocations are malloc, calloc, realloc, posix_memalign and aligned_alloc, told apart by who calls: of the program and of what
 * it calls of libc, of libpng and of the library under test (FAULTS_KIND=memory), or of LLVM and other libraries in C++ and
 * Fortran (FAULTS_KIND=foreign-memory). System calls are caught in the kernel, by a seccomp filter that traps those made by
 * libc's own code: so those of fopen, fwrite or a large malloc are caught too. The trap's handler makes them from here, which the
 * filter does not trap. x86-64 Linux. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef struct Kind {
    const char *name;
    int number[3], nnumbers; /* system calls; none: memory, threads */
    int error;
} Kind;

static const Kind kinds[] = {
    {"memory", {0}, 0, ENOMEM},
    {"foreign-memory", {0}, 0, ENOMEM},
    {"thread", {0}, 0, EAGAIN},
    {"open", {SYS_open, SYS_openat}, 2, EMFILE},
    {"read", {SYS_read, SYS_pread64}, 2, EIO},
    {"write", {SYS_write, SYS_pwrite64, SYS_writev}, 3, ENOSPC},
    {"close", {SYS_close}, 1, EIO},
    {"fsync", {SYS_fsync, SYS_fdatasync}, 2, EIO},
    {"rename", {SYS_rename, SYS_renameat, SYS_renameat2}, 3, EIO},
    {"link", {SYS_link, SYS_linkat}, 2, EPERM},
    {"unlink", {SYS_unlink, SYS_unlinkat, SYS_rmdir}, 3, EIO},
    {"mkdir", {SYS_mkdir, SYS_mkdirat}, 2, ENOSPC},
    {"ftruncate", {SYS_ftruncate, SYS_truncate}, 2, EIO},
    {"stat", {SYS_newfstatat, SYS_stat, SYS_fstat}, 3, EACCES},
    {"mmap", {SYS_mmap}, 1, ENOMEM},
};
enum { KINDS = sizeof kinds / sizeof *kinds, MEMORY = 0, FOREIGN = 1, THREAD = 2, MAX_RANGES = 64 };

typedef struct Range {
    uintptr_t from, to;
} Range;

static int active = -1; /* the kind that is counted */
static long target;
static _Atomic long count;
static volatile long *shared; /* the count, in FILE */
static Range ours[MAX_RANGES], libc_code;
static int nours;

/* The next call of the active kind: does it fail? */
static bool fails(void) {
    long n = ++count;
    if (shared) *shared = n;
    return n == target;
}

/* ---- allocations ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

static bool memory_fails(const void *caller) {
    if (active != MEMORY && active != FOREIGN) return false;
    bool own = false;
    for (int i = 0; i < nours && !own; i++) own = (uintptr_t)caller >= ours[i].from && (uintptr_t)caller < ours[i].to;
    if (own != (active == MEMORY) || !fails()) return false;
    errno = ENOMEM;
    return true;
}

#define EXPORT __attribute__((visibility("default")))
EXPORT void *malloc(size_t size) { return memory_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }
EXPORT void *calloc(size_t n, size_t size) { return memory_fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size); }
EXPORT void *realloc(void *p, size_t size) { return memory_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size); }
EXPORT void *aligned_alloc(size_t align, size_t size) {
    return memory_fails(__builtin_return_address(0)) ? NULL : __libc_memalign(align, size);
}
EXPORT void *memalign(size_t align, size_t size) {
    return memory_fails(__builtin_return_address(0)) ? NULL : __libc_memalign(align, size);
}
EXPORT int posix_memalign(void **p, size_t align, size_t size) {
    void *memory = memory_fails(__builtin_return_address(0)) ? NULL : __libc_memalign(align, size);
    if (!memory) return ENOMEM;
    *p = memory;
    return 0;
}

/* ---- threads ---- */

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (active == THREAD && fails()) return EAGAIN;
    if (!real) *(void **)(void *)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attr, start, argument);
}

/* ---- system calls ---- */

static long call(long number, const greg_t *r) {
    register long r10 __asm__("r10") = r[REG_R10], r8 __asm__("r8") = r[REG_R8], r9 __asm__("r9") = r[REG_R9];
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(r[REG_RDI]), "S"(r[REG_RSI]), "d"(r[REG_RDX]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void trapped(int signal_number, siginfo_t *info, void *context) {
    ucontext_t *u = context;
    (void)signal_number;
    u->uc_mcontext.gregs[REG_RAX] = fails() ? -kinds[active].error : call(info->si_syscall, u->uc_mcontext.gregs);
}

/* Allows calls made below the address `limit` (`below`), or at and above it (!below); the others go on behind. A filter's words
 * have 32 bits, so the address is compared in two halves: libc's code may lie across a multiple of 4 GiB. Returns the new n. */
static unsigned allow(struct sock_filter *f, unsigned n, uintptr_t limit, bool below) {
    uint32_t high = (uint32_t)((uint64_t)limit >> 32), low = (uint32_t)limit;
    unsigned at = offsetof(struct seccomp_data, instruction_pointer);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at + 4);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, high, below ? 4 : 3, 0);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, below ? 2 : 3);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, low, below, !below);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return n;
}

/* Traps the kind's calls where they are made by libc; a program that a child of ours becomes has its libc elsewhere. */
static void install_filter(const Kind *k) {
    struct sock_filter f[32];
    unsigned n = allow(f, allow(f, 0, libc_code.from, true), libc_code.to, false);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < k->nnumbers; i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)k->number[i], 0, 1);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sock_fprog program = {(unsigned short)n, f};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
        _exit(99);
}

/* ---- start ---- */

static int look(struct dl_phdr_info *info, size_t size, void *first) {
    const char *name = info->dlpi_name;
    bool is_libc = strstr(name, "/libc.so") != NULL, is_main = *(bool *)first;
    (void)size;
    *(bool *)first = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        Range r = {info->dlpi_addr + p->p_vaddr, info->dlpi_addr + p->p_vaddr + p->p_memsz};
        if (is_libc) libc_code = r;
        if ((is_main || is_libc || strstr(name, "/libpng") || strstr(name, "/libtiny")) && nours < MAX_RANGES) ours[nours++] = r;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *kind = getenv("FAULTS_KIND"), *at = getenv("FAULTS_AT"), *file = getenv("FAULTS_COUNT");
    bool first = true;
    int found = -1;
    if (!kind || !at) return;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(kinds[i].name, kind)) found = i;
    if (found < 0) _exit(99);
    target = atol(at);
    if (file) {
        int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || ftruncate(fd, sizeof *shared)) _exit(99);
        void *page = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page == MAP_FAILED) _exit(99);
        shared = page;
        close(fd);
    }
    unsetenv("LD_PRELOAD");
    unsetenv("FAULTS_KIND");
    dl_iterate_phdr(look, &first);
    active = found;
    if (kinds[found].nnumbers) install_filter(&kinds[found]);
}

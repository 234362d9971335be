/* CPUID and XGETBV on x86, the kernel's word on ARM. A feature counts only where the system also saves the registers that it
 * uses: otherwise its instructions trap. */
#include "runtime/cpu.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX };
enum { STATE_SSE = 0x2, STATE_AVX = 0x6, STATE_AVX512 = 0xe6, STATE_AMX = 0x60000 }; /* bits of XCR0 */
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };                      /* of arch_prctl(2) */
enum { OSXSAVE = 1 << 27 };                                                          /* of CPUID 1, ECX */

typedef struct Feature {
    const char *name;
    uint32_t leaf, subleaf;
    int word, bit;
    uint32_t state;
} Feature;

static const Feature table[] = {
#define X86(name, leaf, subleaf, word, bit, state) {name, leaf, subleaf, word, bit, state},
#include "runtime/cpu_features.def"
};

/* XCR0; without XGETBV the system saves what every x86-64 has. */
static uint32_t saved_state(void) {
    uint32_t word[4] = {0}, low, high;
    if (!__get_cpuid(1, &word[EAX], &word[EBX], &word[ECX], &word[EDX]) || !(word[ECX] & OSXSAVE)) return STATE_SSE;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Linux gives a process, all its threads, room for the tiles of AMX only when asked. Once: a later answer might be another, and
 * what was sized for code without them would get code with them. */
static bool permits(const Feature *f) {
    enum { UNASKED, GRANTED, REFUSED };
    static _Atomic int answer = UNASKED;
    if (f->state != STATE_AMX) return true;
    int unasked = UNASKED;
    if (answer == UNASKED)
        atomic_compare_exchange_strong(&answer, &unasked,
                                       syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 ? GRANTED : REFUSED);
    return answer == GRANTED;
}

static bool has(const Feature *f) {
    uint32_t word[4] = {0};
    if (!__get_cpuid_count(f->leaf, f->subleaf, &word[EAX], &word[EBX], &word[ECX], &word[EDX])) return false;
    return (word[f->word] >> f->bit & 1) && (saved_state() & f->state) == f->state && permits(f);
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

typedef struct Feature {
    const char *name;
    int word, bit;
} Feature;

static const Feature table[] = {
#define ARM(name, word, bit) {name, word, bit},
#include "runtime/cpu_features.def"
};

static bool has(const Feature *f) { return getauxval(f->word == 1 ? AT_HWCAP : AT_HWCAP2) >> f->bit & 1; }

#else
#error "netc makes code for x86-64 and AArch64"
#endif

static bool has_named(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].name) == length && !strncmp(table[i].name, name, length)) return has(&table[i]);
    return false;
}

bool rt_cpu_lacks(const char *features, char *missing, size_t size) {
    size_t used = 0;
    bool lacks = false;
    missing[0] = 0;
    while (*features) {
        size_t length = strcspn(features, " ");
        if (length && !has_named(features, length)) {
            int more = snprintf(missing + used, size - used, "%s%.*s", lacks ? ", " : "", (int)length, features);
            used = used + (size_t)more < size ? used + (size_t)more : size - 1;
            lacks = true;
        }
        features += length + (features[length] == ' ');
    }
    return lacks;
}

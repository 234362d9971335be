/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011): every number is a function
 * of (seed, stream, position), so nothing depends on threads, on order or on where a run was resumed. */
#include "runtime/rt.h"
#include <math.h>

void rt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k[0], (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k[1], (uint32_t)p0};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++) out[i] = c[i];
}

static void draw(uint64_t seed, uint32_t stream, uint64_t a, uint32_t b, uint32_t out[4]) {
    uint32_t counter[4] = {(uint32_t)a, (uint32_t)(a >> 32), b, stream}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    rt_philox4x32(counter, key, out);
}

static double unit(uint32_t high, uint32_t low) { return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53; }

double rt_uniform(uint64_t seed, uint32_t stream, uint64_t a, uint32_t b) {
    uint32_t word[4];
    draw(seed, stream, a, b, word);
    return unit(word[0], word[1]);
}

double rt_normal(uint64_t seed, uint32_t stream, uint64_t a, uint32_t b) {
    uint32_t word[4];
    draw(seed, stream, a, b, word);
    double radius = sqrt(-2 * log(1 - unit(word[0], word[1]))); /* 1 - u is never zero */
    return radius * cos(6.283185307179586476925 * unit(word[2], word[3]));
}

/* SHA-256 (FIPS 180-4), for weight hashes and for checking data files. */
#ifndef NETC_RUNTIME_SHA256_H
#define NETC_RUNTIME_SHA256_H
#include <stddef.h>
#include <stdint.h>

typedef struct RtSha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} RtSha256;

void rt_sha256_init(RtSha256 *s);
void rt_sha256_update(RtSha256 *s, const void *data, size_t length);
void rt_sha256_final(RtSha256 *s, char hex[65]);
/* All at once. */
void rt_sha256_hex(const void *data, size_t length, char hex[65]);
#endif

/* See events.h. A file is of TFRecords: length (u64), its checksum, the bytes, their checksum (CRC-32C, masked). Each is a
 * protobuf of type Event (tensorflow/core/util/event.proto): wall_time = 1 (double), step = 2, file_version = 3, summary = 5,
 * session_log = 7; a Summary has value = 1, which has tag = 1 and simple_value = 2 (float). */
#include "runtime/events.h"
#include "runtime/json.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 4096, TAG = 80 };
enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 }; /* wire types */
static const char prefix[] = "events.out.tfevents.", ending[] = ".netc";

/* ---- protobuf ---- */

typedef struct Message {
    uint8_t bytes[BYTES];
    size_t length;
    bool full;
} Message;

static void put(Message *m, const void *bytes, size_t n) {
    if (n > BYTES - m->length) {
        m->full = true;
        return;
    }
    memcpy(m->bytes + m->length, bytes, n);
    m->length += n;
}

static void put_varint(Message *m, uint64_t v) {
    for (; v > 0x7f; v >>= 7) put(m, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    put(m, &(uint8_t){(uint8_t)v}, 1);
}

static void put_key(Message *m, int field, int wire) { put_varint(m, (uint64_t)(field << 3 | wire)); }

static void put_bytes(Message *m, int field, const void *bytes, size_t n) {
    put_key(m, field, LENGTH);
    put_varint(m, n);
    put(m, bytes, n);
}

static void begin_event(Message *m, uint64_t step) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    *m = (Message){.length = 0};
    put_key(m, 1, FIXED64);
    put(m, &now, sizeof now);
    put_key(m, 2, VARINT);
    put_varint(m, step);
}

static void put_scalar(Message *summary, const char *tag, double value) {
    float number = (float)value;
    Message one = {.length = 0};
    put_bytes(&one, 1, tag, strlen(tag));
    put_key(&one, 2, FIXED32);
    put(&one, &number, sizeof number);
    put_bytes(summary, 1, one.bytes, one.length);
}

/* ---- records ---- */

static uint32_t masked_crc(const void *bytes, size_t n) {
    static uint32_t table[256];
    const uint8_t *p = bytes;
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; !table[255] && i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78 : 0);
    }
    while (n-- > 0) crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

/* With one write, so that who reads along finds whole records. */
static RtStatus write_event(RtEvents *e, const Message *m, RtError *error) {
    uint8_t record[BYTES + 16];
    uint64_t n = m->length;
    uint32_t of_length = masked_crc(&n, sizeof n), of_bytes = masked_crc(m->bytes, m->length);
    memcpy(record, &n, 8);
    memcpy(record + 8, &of_length, 4);
    memcpy(record + 12, m->bytes, m->length);
    memcpy(record + 12 + n, &of_bytes, 4);
    if (!m->full && fwrite(record, n + 16, 1, e->file) == 1 && fflush(e->file) == 0) return RT_OK;
    return rt_fail(error, RT_IO, "cannot write %s: %s", e->path, m->full ? "an event is too long" : strerror(errno));
}

/* ---- files ---- */

RtStatus rt_events_open(RtEvents *e, const char *directory, bool resume, uint64_t step, RtError *error) {
    static const char version[] = "brain.Event:2";
    char host[65] = "host";
    struct timespec t;
    Message m;
    *e = (RtEvents){0};
    clock_gettime(CLOCK_REALTIME, &t);
    gethostname(host, sizeof host - 1);
    if (strchr(host, '/') || !*host) strcpy(host, "host");
    /* readers take files in the order of names: nothing of a later one may sort before */
    if (asprintf(&e->path, "%s/%s%010lld%06ld.%s%s", directory, prefix, (long long)t.tv_sec, t.tv_nsec / 1000, host, ending) < 0)
        return rt_fail(error, RT_MEMORY, "out of memory");
    if (!(e->file = fopen(e->path, "wb"))) return rt_fail(error, RT_IO, "cannot write %s: %s", e->path, strerror(errno));
    begin_event(&m, 0);
    put_bytes(&m, 3, version, sizeof version - 1);
    RtStatus status = write_event(e, &m, error);
    if (status != RT_OK || !resume) return status;
    begin_event(&m, step + 1);
    put_bytes(&m, 7, (const uint8_t[]){1 << 3 | VARINT, 1}, 2); /* session_log: status = START */
    return write_event(e, &m, error);
}

void rt_events_close(RtEvents *e) {
    if (e->file) fclose(e->file);
    free(e->path);
    *e = (RtEvents){0};
}

static bool is_ours(const char *name) {
    size_t n = strlen(name), end = sizeof ending - 1;
    return !strncmp(name, prefix, sizeof prefix - 1) && n >= end && !strcmp(name + n - end, ending);
}

bool rt_events_are(const char *directory) {
    DIR *d = opendir(directory);
    bool found = false;
    for (const struct dirent *entry; d && !found && (entry = readdir(d));) found = is_ours(entry->d_name);
    if (d) closedir(d);
    return found;
}

bool rt_events_remove(const char *directory) {
    DIR *d = opendir(directory);
    bool ok = d != NULL;
    for (const struct dirent *entry; ok && (entry = readdir(d));)
        if (is_ours(entry->d_name)) ok = unlinkat(dirfd(d), entry->d_name, 0) == 0;
    int reason = errno;
    if (d) closedir(d);
    errno = reason;
    return ok;
}

/* What a line has besides scalars. */
typedef struct Line {
    int64_t step;
    bool of_epoch;
} Line;

static Line look_at(const char *line) {
    Line l = {0};
    Json j = json_open(line, strlen(line));
    char key[TAG];
    if (!json_begin(&j, '{')) return l;
    for (bool first = true; json_next(&j, '{', first, key, sizeof key); first = false) {
        l.of_epoch |= !strcmp(key, "train_accuracy");
        if (!strcmp(key, "step"))
            json_integer(&j, &l.step);
        else
            json_skip(&j);
    }
    return l;
}

RtStatus rt_events_line(RtEvents *e, const char *line, RtError *error) {
    if (!e->file) return RT_OK;
    Line l = look_at(line);
    Message m, summary = {.length = 0};
    Json j = json_open(line, strlen(line));
    char key[TAG / 2], tag[TAG];
    json_begin(&j, '{');
    for (bool first = true; json_next(&j, '{', first, key, sizeof key); first = false) {
        double value = NAN;
        j.at += strspn(j.at, " ");
        bool number = *j.at == '-' || (*j.at >= '0' && *j.at <= '9');
        if (number)
            json_number(&j, &value);
        else
            json_skip(&j);
        if (!number || !strcmp(key, "epoch") || !strcmp(key, "step")) continue;
        snprintf(tag, sizeof tag, "%s/%s", l.of_epoch ? "epoch" : "step", key);
        put_scalar(&summary, tag, value);
    }
    begin_event(&m, (uint64_t)l.step);
    put_bytes(&m, 5, summary.bytes, summary.length);
    m.full |= summary.full;
    return write_event(e, &m, error);
}

/* See zip.h; the format is APPNOTE.TXT's. Numbers are little-endian. */
#include "cli/zip.h"
#include "runtime/file.h"
#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>

enum {
    END = 22,          /* bytes of the end of central directory, without its comment */
    LOCATOR = 20,      /* of what says where zip64's is */
    END64 = 56,        /* of that */
    HEADER = 46,       /* of an entry in the central directory */
    LOCAL = 30,        /* of the header in front of an entry's bytes */
    COMMENT = 1 << 16, /* the longest comment, and a byte */
    DIRECTORY = 1 << 26,
    MOST_PACKED = 1032 /* what deflate makes of a byte at most */
};

static uint32_t word(const uint8_t *p, int bytes) {
    uint32_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static uint64_t long_word(const uint8_t *p) { return word(p, 4) | (uint64_t)word(p + 4, 4) << 32; }

static bool no(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool no(char *why, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

static bool read_at(const Zip *z, uint64_t offset, void *to, size_t length) {
    return offset <= z->size && length <= z->size - offset && !fseeko(z->file, (off_t)offset, SEEK_SET) &&
           fread(to, 1, length, z->file) == length;
}

/* Where the central directory is. */
typedef struct Directory {
    uint64_t offset, bytes, count;
} Directory;

/* By zip64's own end, which a locator in front of the usual one points to. */
static bool find_directory64(const Zip *z, uint64_t end, Directory *d) {
    uint8_t locator[LOCATOR], own[END64];
    if (end < LOCATOR || !read_at(z, end - LOCATOR, locator, LOCATOR) || word(locator, 4) != 0x07064b50) return false;
    if (!read_at(z, long_word(locator + 8), own, END64) || word(own, 4) != 0x06064b50) return false;
    *d = (Directory){long_word(own + 48), long_word(own + 40), long_word(own + 32)};
    return true;
}

static bool find_directory(const Zip *z, Directory *d, char *why, size_t why_size) {
    size_t some = z->size < END + COMMENT ? (size_t)z->size : END + COMMENT;
    uint8_t *tail = malloc(some + 1);
    bool found = false;
    if (!tail) return no(why, why_size, "out of memory");
    if (some >= END && read_at(z, z->size - some, tail, some))
        for (size_t at = some - END + 1; at-- > 0 && !found;) {
            const uint8_t *e = tail + at;
            if (word(e, 4) != 0x06054b50 || word(e + 20, 2) != some - at - END) continue;
            *d = (Directory){word(e + 16, 4), word(e + 12, 4), word(e + 10, 2)};
            found = true;
            bool small = d->offset != UINT32_MAX && d->bytes != UINT32_MAX && d->count != UINT16_MAX;
            if (!small) found = find_directory64(z, z->size - some + at, d);
        }
    free(tail);
    if (!found) return no(why, why_size, "it is no zip archive, or cut short");
    if (d->offset > z->size || d->bytes > z->size - d->offset || d->bytes > DIRECTORY || d->count > d->bytes / HEADER)
        return no(why, why_size, "its directory is broken");
    return true;
}

/* Numbers that the header has no room for stand in the extra field 1, in this order. */
static bool read_zip64(const uint8_t *extra, size_t length, ZipEntry *e) {
    uint64_t *wide[3] = {&e->length, &e->packed, &e->offset};
    bool wanted = false;
    for (int i = 0; i < 3; i++) wanted |= *wide[i] == UINT32_MAX;
    for (size_t at = 0; at + 4 <= length && wanted;) {
        size_t bytes = word(extra + at + 2, 2), used = 0;
        if (bytes > length - at - 4) return false;
        if (word(extra + at, 2) == 1) {
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != UINT32_MAX) continue;
                if (used + 8 > bytes) return false;
                *wide[i] = long_word(extra + at + 4 + used);
                used += 8;
            }
            return true;
        }
        at += 4 + bytes;
    }
    return !wanted;
}

/* One header; *at goes behind it. */
static bool read_header(const Zip *z, const uint8_t *all, size_t bytes, size_t *at, ZipEntry *e, char *why, size_t why_size) {
    const uint8_t *h = all + *at;
    if (bytes - *at < HEADER || word(h, 4) != 0x02014b50) return no(why, why_size, "its directory is broken");
    size_t name = word(h + 28, 2), extra = word(h + 30, 2), comment = word(h + 32, 2);
    if (name + extra + comment > bytes - *at - HEADER) return no(why, why_size, "its directory is broken");
    *e = (ZipEntry){.offset = word(h + 42, 4), .packed = word(h + 20, 4), .length = word(h + 24, 4), .crc = word(h + 16, 4)};
    e->method = (int)word(h + 10, 2);
    if (!(e->name = strndup((const char *)h + HEADER, name))) return no(why, why_size, "out of memory");
    if (word(h + 8, 2) & 1) return no(why, why_size, "'%.60s' in it is encrypted", e->name);
    if (!read_zip64(h + HEADER + name, extra, e)) return no(why, why_size, "its directory is broken");
    if (e->offset > z->size || e->packed > z->size - e->offset) return no(why, why_size, "'%.60s' in it is cut short", e->name);
    *at += HEADER + name + extra + comment;
    return true;
}

bool zip_open(const char *path, Zip *zip, char *why, size_t why_size) {
    const char *reason;
    int64_t size;
    Directory d = {0};
    *zip = (Zip){.file = file_open(path, &size, &reason)};
    if (!zip->file) return no(why, why_size, "%s", reason);
    zip->size = (uint64_t)size;
    if (!find_directory(zip, &d, why, why_size)) return false;
    uint8_t *all = malloc((size_t)d.bytes + 1);
    zip->entry = calloc((size_t)d.count + 1, sizeof *zip->entry);
    bool ok = all && zip->entry ? read_at(zip, d.offset, all, (size_t)d.bytes) || no(why, why_size, "its directory is cut short")
                                : no(why, why_size, "out of memory");
    for (size_t at = 0; ok && zip->count < d.count;)
        ok = read_header(zip, all, (size_t)d.bytes, &at, &zip->entry[zip->count++], why, why_size);
    free(all);
    return ok;
}

void zip_close(Zip *zip) {
    for (uint32_t i = 0; i < zip->count; i++) free(zip->entry[i].name);
    free(zip->entry);
    if (zip->file) fclose(zip->file);
    *zip = (Zip){0};
}

/* Fills `to` from the file, which stands at the entry's bytes. Both lengths must be what the directory says. */
static bool inflate_to(const Zip *z, const ZipEntry *e, uint8_t *to) {
    uint8_t part[1 << 16];
    z_stream s = {0};
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK) return false;
    uint64_t left = e->packed, made = 0;
    int state = Z_OK;
    while (state == Z_OK) {
        if (!s.avail_in && left) {
            size_t n = left < sizeof part ? (size_t)left : sizeof part;
            if (fread(part, 1, n, z->file) != n) break;
            s.next_in = part, s.avail_in = (uInt)n;
            left -= n;
        }
        uInt room = e->length - made < (1U << 30) ? (uInt)(e->length - made) : 1U << 30;
        s.next_out = to + made, s.avail_out = room;
        state = inflate(&s, Z_NO_FLUSH); /* Z_BUF_ERROR where it can go on neither way */
        made += room - s.avail_out;
    }
    bool whole = state == Z_STREAM_END && made == e->length && !left && !s.avail_in;
    inflateEnd(&s);
    return whole;
}

static uint32_t crc_of(const uint8_t *bytes, uint64_t n) {
    uLong crc = crc32(0, NULL, 0);
    for (uint64_t at = 0; at < n; at += 1U << 30) crc = crc32(crc, bytes + at, (uInt)(n - at < 1U << 30 ? n - at : 1U << 30));
    return (uint32_t)crc;
}

uint8_t *zip_read(const Zip *z, const ZipEntry *e, char *why, size_t why_size) {
    uint8_t local[LOCAL];
    bool plausible = e->method == 0 ? e->length == e->packed : e->length / MOST_PACKED <= e->packed;
    if (e->method != 0 && e->method != 8) return no(why, why_size, "it is packed by method %d, not deflated", e->method), NULL;
    if (!plausible || !read_at(z, e->offset, local, LOCAL) || word(local, 4) != 0x04034b50)
        return no(why, why_size, "it is broken"), NULL;
    uint64_t begin = e->offset + LOCAL + word(local + 26, 2) + word(local + 28, 2);
    if (begin > z->size || e->packed > z->size - begin) return no(why, why_size, "it is cut short"), NULL;
    uint8_t *bytes = malloc((size_t)e->length + 1);
    if (!bytes) return no(why, why_size, "out of memory (%.0f MB)", (double)e->length / 1e6), NULL;
    bool read = !fseeko(z->file, (off_t)begin, SEEK_SET) &&
                (e->method ? inflate_to(z, e, bytes) : fread(bytes, 1, (size_t)e->length, z->file) == e->length);
    if (read && crc_of(bytes, e->length) == e->crc) return bytes;
    no(why, why_size, read ? "its bytes are not those that were written (CRC-32)" : "it is broken");
    free(bytes);
    return NULL;
}

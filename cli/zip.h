/* Zip archives, to read: what numpy's .npz files are. Entries that are stored or deflated, of any size (zip64); nothing that is
 * encrypted or split over files. Names are those of the central directory; every entry's length and CRC-32 are checked. */
#ifndef NETC_CLI_ZIP_H
#define NETC_CLI_ZIP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct ZipEntry {
    char *name;
    uint64_t offset, packed, length; /* of the local header; bytes in the archive; bytes of the entry */
    uint32_t crc;
    int method; /* 0: stored, 8: deflated */
} ZipEntry;

typedef struct Zip {
    FILE *file;
    uint64_t size;
    ZipEntry *entry;
    uint32_t count;
} Zip;

/* Each returns false, or NULL, with a reason in why. zip_close in any case. */
bool zip_open(const char *path, Zip *zip, char *why, size_t why_size);
void zip_close(Zip *zip);
/* A whole entry, malloc'd, of entry->length bytes. */
uint8_t *zip_read(const Zip *zip, const ZipEntry *entry, char *why, size_t why_size);
#endif

/* Decoded pictures kept on disk, so that the next training of a directory does not decode them again: a file for each set, fitted
 * as a net wants it. Its name is a hash of all that decides its bytes: format, shape and fit, libpng and libjpeg (as jpeg_library
 * says), and of each picture its device, inode, size and times of change. So nothing goes stale; what is no longer asked for goes
 * when there are more than DECODED_BYTES. Each image carries a checksum. Files appear whole, and failure to write is silent: a
 * cache only saves time. */
#ifndef NETC_CLI_DECODED_H
#define NETC_CLI_DECODED_H
#include "cli/picture.h"
#include "runtime/kept.h"
#include "runtime/rt.h"

#define DECODED_BYTES 4e9
enum { DECODED_REASON = 160 };

/* A split: its pictures, in order. */
typedef struct DecodedPart {
    char *const *path;
    uint32_t count;
    uint8_t *images;                /* [count][C][H][W] */
    char (*reason)[DECODED_REASON]; /* not "": it cannot be read */
} DecodedPart;

/* The directory of the cache, malloc'd: netc/pictures in the user's cache directory, or pictures in $NETC_CACHE. NULL if that is
 * "off", or if there is no home. */
char *decoded_directory(void);

typedef struct Decoded Decoded;
/* Of a set, before it is decoded; NULL: it cannot be kept. */
Decoded *decoded_open(const DecodedPart part[2], const PictureShape *shape);
/* Fills images, and marks by a reason which were bad and are not there; false: it is not there, or damaged, which is said. */
bool decoded_read(const Decoded *d, const DecodedPart part[2], RtPool *pool);
void decoded_write(const Decoded *d, const DecodedPart part[2]);
void decoded_close(Decoded *d); /* NULL is fine */

RtKept decoded_info(const char *directory);
/* Removes the files that were used least recently until at most `bytes` are left. */
void decoded_trim(const char *directory, uint64_t bytes);
#endif

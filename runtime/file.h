/* Opening what is read: the one door for every file that comes from outside. A header alone, so that frontend/ and runtime/,
 * which do not link each other, share it. */
#ifndef NETC_RUNTIME_FILE_H
#define NETC_RUNTIME_FILE_H
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A regular file to read, and its length; NULL with a reason in *why. Pipes, sockets, devices and directories are refused,
 * without waiting for a writer; errno is then 0. */
static inline FILE *file_open(const char *path, int64_t *size, const char **why) {
    struct stat s;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* O_NONBLOCK means nothing to a regular file */
    bool known = fd >= 0 && !fstat(fd, &s);
    FILE *file = known && S_ISREG(s.st_mode) ? fdopen(fd, "rb") : NULL;
    if (file) {
        *size = s.st_size;
        return file;
    }
    bool irregular = known ? !S_ISREG(s.st_mode) : fd < 0 && errno == ENXIO; /* a socket cannot even be opened */
    *why = !irregular ? strerror(errno) : known && S_ISDIR(s.st_mode) ? "it is a directory" : "it is not a regular file";
    int reason = irregular ? 0 : errno;
    if (fd >= 0) close(fd);
    errno = reason;
    return NULL;
}

/* After file_open has failed: is the name to blame, rather than the system? */
static inline bool file_misnamed(void) { return errno == 0 || errno == ENOENT || errno == ENOTDIR; }
#endif

/* Run directories. See directory.h and rt.h.
 *
 * The lock is a POSIX record lock on DIR/lock: the kernel knows who holds it, and releases it however that process ends. The file
 * is removed while it is held, so whoever gets the lock of a file that is no longer DIR/lock tries again. Under the lock, what a
 * run that was killed left half written is nobody's, and is removed. */
#include "runtime/directory.h"
#include "runtime/events.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct RtDirectory {
    char *path;
    int lock;  /* -1: the file system has no locks */
    bool made; /* by us: goes again if nothing is written into it */
};

static const char last[] = "last.safetensors", before[] = "last-1.safetensors", fresh[] = "last.safetensors.new",
                  best[] = "best.safetensors", metrics[] = "metrics.jsonl", account[] = "run.jsonl", graphs[] = "model.ir",
                  lock_name[] = "lock";

const char *rt_directory_path(const RtDirectory *d) { return d->path; }

static const char *file_in(const char *directory, const char *name, char path[RT_PATH]) {
    snprintf(path, RT_PATH, "%s/%s", directory, name);
    return path;
}

const char *rt_directory_file(const RtDirectory *d, const char *name, char path[RT_PATH]) { return file_in(d->path, name, path); }

static bool there(const char *directory, const char *name) {
    char path[RT_PATH];
    return access(file_in(directory, name, path), F_OK) == 0;
}

bool rt_directory_used(const char *directory) {
    struct stat s;
    char path[RT_PATH];
    bool lines = stat(file_in(directory, metrics, path), &s) == 0 && s.st_size > 0;
    return lines || there(directory, last) || there(directory, before) || there(directory, fresh) || there(directory, best);
}

/* The number of a name that is the base's, or the base's with "-N" behind it; 0: neither. */
static int64_t number_of(const char *name, const char *base) {
    size_t length = strlen(base);
    char *end;
    if (strncmp(name, base, length)) return 0;
    if (!name[length]) return 1;
    if (name[length] != '-' || name[length + 1] < '1' || name[length + 1] > '9') return 0;
    errno = 0;
    int64_t n = strtoll(name + length + 1, &end, 10);
    return *end || errno || n < 2 || n > INT32_MAX ? 0 : n;
}

int64_t rt_directory_latest(const char *base) {
    char parent[RT_PATH], path[2 * RT_PATH];
    snprintf(parent, sizeof parent, "%s", base);
    char *slash = strrchr(parent, '/');
    const char *name = slash ? slash + 1 : base;
    if (slash) *slash = 0;
    int64_t latest = 0;
    DIR *dir = opendir(slash ? parent : ".");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        int64_t n = number_of(entry->d_name, name);
        snprintf(path, sizeof path, "%s/%s", slash ? parent : ".", entry->d_name);
        if (n > latest && rt_directory_used(path)) latest = n;
    }
    if (dir) closedir(dir);
    return latest;
}

/* ---- made, locked, cleaned ---- */

static RtStatus make_directory(RtDirectory *d, RtError *error) {
    char part[RT_PATH];
    for (size_t i = 1; i <= strlen(d->path); i++) {
        if (d->path[i] && d->path[i] != '/') continue;
        memcpy(part, d->path, i);
        part[i] = 0;
        d->made = mkdir(part, 0777) == 0;
        if (!d->made && errno != EEXIST) return rt_fail(error, RT_IO, "cannot make the directory %s: %s", part, strerror(errno));
    }
    return RT_OK;
}

static RtStatus check_directory(const RtDirectory *d, RtError *error) {
    struct stat s;
    if (stat(d->path, &s) != 0 || !S_ISDIR(s.st_mode)) return rt_fail(error, RT_IO, "%s is not a directory", d->path);
    if (access(d->path, W_OK) != 0)
        return rt_fail(error, RT_IO, "cannot write into the directory %s: %s", d->path, strerror(errno));
    return RT_OK;
}

static RtStatus held(const RtDirectory *d, RtError *error) {
    struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool known = fcntl(d->lock, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK && holder.l_pid > 0;
    if (known)
        return rt_fail(error, RT_LOCKED, "process %ld is training in %s; --out names another directory", (long)holder.l_pid,
                       d->path);
    return rt_fail(error, RT_LOCKED, "another process is training in %s; --out names another directory", d->path);
}

int64_t rt_directory_holder(const char *directory) {
    char path[RT_PATH];
    struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int file = open(file_in(directory, lock_name, path), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return 0;
    bool held = fcntl(file, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK;
    close(file);
    return held ? holder.l_pid : 0;
}

static RtStatus lock_directory(RtDirectory *d, RtError *error) {
    char path[RT_PATH];
    rt_directory_file(d, lock_name, path);
    for (;;) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        struct stat ours, now;
        d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (d->lock < 0) return rt_fail(error, RT_IO, "cannot write %s: %s", path, strerror(errno));
        if (fcntl(d->lock, F_SETLK, &whole) != 0) {
            if (errno == EACCES || errno == EAGAIN) return held(d, error);
            close(d->lock); /* no locks on this file system */
            d->lock = -1;
            unlink(path);
            return RT_OK;
        }
        if (fstat(d->lock, &ours) == 0 && stat(path, &now) == 0 && ours.st_ino == now.st_ino && ours.st_dev == now.st_dev)
            return RT_OK;
        close(d->lock); /* its holder removed it, and let it go, while we opened it */
    }
}

/* Is it a temporary file of one of a run's checkpoints (safetensors_write.c)? */
static bool is_half(const char *name) {
    static const char *const ours[] = {fresh, best};
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(ours[i]);
        if (!strncmp(name, ours[i], length) && !strncmp(name + length, ".tmp-", 5)) return true;
    }
    return false;
}

static void clean(const RtDirectory *d) {
    char path[RT_PATH];
    DIR *dir = opendir(d->path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (is_half(entry->d_name)) unlink(rt_directory_file(d, entry->d_name, path));
    if (dir) closedir(dir);
}

/* A crash can leave last.safetensors.new, and, where there are no hard links, no last.safetensors beside it (promote). */
static void repair(const RtDirectory *d) {
    char from[RT_PATH], to[RT_PATH];
    rt_directory_file(d, last, to);
    rt_directory_file(d, fresh, from);
    if (there(d->path, last))
        unlink(from);
    else if (rename(from, to) != 0)
        rename(rt_directory_file(d, before, from), to);
}

static RtStatus check_use(const RtDirectory *d, RtDirectoryUse use, RtError *error) {
    if (use == RT_DIRECTORY_RESUME && !there(d->path, last))
        return rt_fail(error, RT_INPUT, "there is no %s/%s to resume from", d->path, last);
    if (use == RT_DIRECTORY_NEW && rt_directory_used(d->path))
        return rt_fail(error, RT_USAGE,
                       "%s holds a training: --resume continues it, --overwrite replaces it, --out names another directory",
                       d->path);
    return RT_OK;
}

static RtStatus take(RtDirectory *d, RtDirectoryUse use, RtError *error) {
    RtStatus status = RT_OK;
    if (use != RT_DIRECTORY_RESUME)
        status = make_directory(d, error);
    else if (access(d->path, F_OK) != 0)
        status = check_use(d, use, error);
    if (status == RT_OK) status = check_directory(d, error);
    if (status == RT_OK) status = lock_directory(d, error);
    if (status != RT_OK) {
        if (d->lock >= 0) close(d->lock); /* not ours to remove */
        d->lock = -1;
        return status;
    }
    if (use == RT_DIRECTORY_RESUME) repair(d);
    status = check_use(d, use, error);
    if (status == RT_OK) clean(d);
    return status;
}

RtStatus rt_directory_take(const char *path, RtDirectoryUse use, RtDirectory **out, RtError *error) {
    *out = NULL;
    if (!*path || strlen(path) + 64 > RT_PATH)
        return rt_fail(error, RT_USAGE, "the output directory has no name, or a too long one");
    RtDirectory *d = calloc(1, sizeof *d);
    if (!d || !(d->path = strdup(path))) {
        free(d);
        return rt_fail(error, RT_MEMORY, "out of memory");
    }
    d->lock = -1;
    RtStatus status = take(d, use, error);
    if (status == RT_OK)
        *out = d;
    else
        rt_directory_release(d);
    return status;
}

void rt_directory_release(RtDirectory *d) {
    char path[RT_PATH];
    if (!d) return;
    if (d->lock >= 0) {
        unlink(rt_directory_file(d, lock_name, path));
        close(d->lock);
    }
    if (d->made) rmdir(d->path); /* if it is empty */
    free(d->path);
    free(d);
}

/* ---- files ---- */

RtStatus rt_directory_clear(const RtDirectory *d, RtError *error) {
    static const char *const all[] = {best, before, last, fresh, metrics, account, graphs};
    char path[RT_PATH];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (unlink(rt_directory_file(d, all[i], path)) != 0 && errno != ENOENT)
            return rt_fail(error, RT_IO, "cannot remove %s: %s", path, strerror(errno));
    if (!rt_events_remove(d->path))
        return rt_fail(error, RT_IO, "cannot remove TensorBoard's files from %s: %s", d->path, strerror(errno));
    return RT_OK;
}

/* "a" or "w": two texts, of which NULL is none, as a file. */
static RtStatus write_texts(const RtDirectory *d, const char *name, const char *mode, const char *const text[2], RtError *error) {
    char path[RT_PATH];
    FILE *f = fopen(rt_directory_file(d, name, path), mode);
    bool written = f != NULL;
    for (int i = 0; i < 2 && written; i++) written = !text[i] || fputs(text[i], f) != EOF;
    if (f && fclose(f) == 0 && written) return RT_OK;
    return rt_fail(error, RT_IO, "cannot write %s: %s", path, strerror(errno));
}

RtStatus rt_directory_describe(const RtDirectory *d, const char *line, const RtProgram *p, RtError *error) {
    RtStatus status = line ? write_texts(d, account, "a", (const char *const[]){line, NULL}, error) : RT_OK;
    if (status != RT_OK || !p->graphs || !*p->graphs) return status;
    return write_texts(d, graphs, "w", (const char *const[]){p->recipe_text, p->graphs}, error);
}

/* Makes `before` the same file as `last`, so that `last` exists at every moment; where links are not to be had, moves it. */
static bool keep_previous(const char *from, const char *to) {
    unlink(to);
    return link(from, to) == 0 || rename(from, to) == 0 || errno == ENOENT;
}

RtStatus rt_directory_promote(const RtDirectory *d, RtError *error) {
    char to[RT_PATH], previous[RT_PATH], from[RT_PATH];
    rt_directory_file(d, last, to);
    rt_directory_file(d, before, previous);
    rt_directory_file(d, fresh, from);
    if (keep_previous(to, previous) && rename(from, to) == 0) return rt_sync_directory(to), RT_OK;
    RtStatus status = rt_fail(error, RT_IO, "cannot write %s: %s", to, strerror(errno));
    unlink(from);
    if (!there(d->path, last)) rename(previous, to);
    return status;
}

/* Crashes of the machine while a checkpoint is written. What a training does to its directory is recorded: files made, synced,
 * linked, renamed, removed, and the directory synced. Then every state is made that a crash may leave, by what fsync promises and
 * no more:
 *
 *   - of the changes of names since the directory was last synced, any subset has reached the disk, each wholly or not at all;
 *   - a file that was not synced is empty, cut off in the middle, or full of something else.
 *
 * From each, the training is resumed: it finds the checkpoint from before or the new one, whole, and best.safetensors can be
 * read. The recorder stands in for the C library's functions, which the runtime then calls here. */
#include "run_cases.h"
#include "runtime_softmax.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

enum { BATCH = 32, BEFORE = 5, AFTER = 6, MAX_EVENTS = 64, MAX_FILES = 16, MAX_PENDING = 8 };

static RtData data;

/* ---- recording ---- */

typedef enum EventKind { MADE, SYNCED, NAMED, RENAMED, REMOVED, DIRECTORY_SYNCED } EventKind;
typedef struct Event {
    EventKind kind;
    char from[64], to[64]; /* names in the directory */
    ino_t file;
} Event;

/* What a file held when it was last synced. */
typedef struct File {
    ino_t file;
    char *synced;
    size_t length;
    bool old; /* there before the recording began */
} File;

static const char *watched; /* the directory, while it is recorded */
static Event event[MAX_EVENTS];
static int nevents, nfiles;
static File file[MAX_FILES];
static bool links_fail;

/* The name in the watched directory; NULL: elsewhere, or of no checkpoint. */
static const char *name_of(const char *path) {
    size_t length = watched ? strlen(watched) : 0;
    if (!watched || strncmp(path, watched, length) || path[length] != '/') return NULL;
    return strstr(path + length + 1, ".safetensors") ? path + length + 1 : NULL;
}

static ino_t inode(const char *path) {
    struct stat s;
    return lstat(path, &s) == 0 ? s.st_ino : 0;
}

static void record(EventKind kind, const char *from, const char *to, ino_t number) {
    ck_assert_int_lt(nevents, MAX_EVENTS);
    Event *e = &event[nevents++];
    *e = (Event){.kind = kind, .file = number};
    if (from) snprintf(e->from, sizeof e->from, "%s", from);
    if (to) snprintf(e->to, sizeof e->to, "%s", to);
}

static File *file_of(ino_t number) {
    for (int i = 0; i < nfiles; i++)
        if (file[i].file == number) return &file[i];
    ck_assert_int_lt(nfiles, MAX_FILES);
    file[nfiles] = (File){.file = number};
    return &file[nfiles++];
}

#define REAL(name)                                                                                                               \
    static __typeof__(&name) real;                                                                                               \
    if (!real) *(void **)(void *)&real = dlsym(RTLD_NEXT, #name)

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    FILE *f = real(path, mode);
    if (f && *mode == 'w' && name_of(path)) record(MADE, NULL, name_of(path), inode(path));
    return f;
}

int fsync(int fd) {
    char path[4096], self[64];
    struct stat s;
    REAL(fsync);
    int result = real(fd);
    if (!watched || result || fstat(fd, &s)) return result;
    if (S_ISDIR(s.st_mode)) {
        if (s.st_ino == inode(watched)) record(DIRECTORY_SYNCED, NULL, NULL, 0);
        return 0;
    }
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(self, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    if (!name_of(path)) return 0;
    File *f = file_of(s.st_ino);
    free(f->synced);
    f->synced = slurp(path, &f->length);
    record(SYNCED, NULL, NULL, s.st_ino);
    return 0;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    ino_t number = inode(from);
    int result = real(from, to);
    if (!result && name_of(to)) record(RENAMED, name_of(from), name_of(to), number);
    return result;
}

int link(const char *from, const char *to) {
    REAL(link);
    if (links_fail) return errno = EPERM, -1;
    int result = real(from, to);
    if (!result && name_of(to)) record(NAMED, NULL, name_of(to), inode(from));
    return result;
}

int unlink(const char *path) {
    REAL(unlink);
    int result = real(path);
    if (!result && name_of(path)) record(REMOVED, name_of(path), NULL, 0);
    return result;
}

/* ---- the disk after a crash ---- */

typedef struct Name {
    char name[64];
    ino_t file;
} Name;
typedef struct Disk {
    Name name[MAX_FILES];
    int count;
} Disk;

static void set_name(Disk *d, const char *name, ino_t number) {
    int i = 0;
    while (i < d->count && strcmp(d->name[i].name, name)) i++;
    if (i == d->count) d->count++;
    snprintf(d->name[i].name, sizeof d->name[i].name, "%s", name);
    d->name[i].file = number;
}

static void drop_name(Disk *d, const char *name) {
    for (int i = 0; i < d->count; i++)
        if (!strcmp(d->name[i].name, name)) d->name[i] = d->name[--d->count];
}

static void apply(Disk *d, const Event *e) {
    if (e->kind == RENAMED || e->kind == REMOVED) drop_name(d, e->from);
    if (e->kind == RENAMED || e->kind == NAMED || e->kind == MADE) set_name(d, e->to, e->file);
}

/* The files of a directory that are there before the recording. */
static Disk disk_of(const char *directory) {
    Disk d = {.count = 0};
    DIR *dir = opendir(directory);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ".safetensors")) continue;
        const char *path = path_in(directory, entry->d_name);
        File *f = file_of(inode(path));
        f->old = true;
        free(f->synced);
        f->synced = slurp(path, &f->length);
        set_name(&d, entry->d_name, f->file);
    }
    closedir(dir);
    return d;
}

/* unsynced: 0 empty, 1 half, 2 something else. */
static void write_disk(const Disk *d, const char *directory, int unsynced, const bool *is_synced) {
    for (int i = 0; i < d->count; i++) {
        const File *f = file_of(d->name[i].file);
        const char *path = path_in(directory, d->name[i].name);
        if (is_synced[f - file] || f->old) {
            spill(path, f->synced, f->length);
        } else {
            char *other = malloc(f->length + 1);
            memset(other, 0xa5, f->length);
            if (unsynced == 1) memcpy(other, f->synced, f->length / 2);
            spill(path, other, unsynced == 0 ? 0 : unsynced == 1 ? f->length / 2 : f->length);
            free(other);
        }
    }
}

static int states;

/* Resumes from what a crash left: takes the directory, reads the checkpoint. */
static void check_state(const Softmax *x, const Disk *d, int unsynced, const bool *is_synced, const char *what) {
    char *directory = directory_new();
    RtDirectory *taken;
    RtError error = {{0}};
    RtTrainState s = {0};
    write_disk(d, directory, unsynced, is_synced);
    bool had_best = access(path_in(directory, "best.safetensors"), F_OK) == 0;
    ck_assert_msg(rt_directory_take(directory, RT_DIRECTORY_RESUME, &taken, &error) == RT_OK, "%s: %s", what, error.text);
    Bench b = bench_new(x, 1);
    RtStatus status = rt_checkpoint_load(path_in(directory, "last.safetensors"), b.machine, &s, &error);
    ck_assert_msg(status == RT_OK, "%s: %s", what, error.text);
    ck_assert_msg(s.step == BEFORE || s.step == AFTER, "%s: step %d", what, (int)s.step);
    if (had_best) status = rt_weights_load(path_in(directory, "best.safetensors"), b.machine, NULL, &error);
    ck_assert_msg(status == RT_OK, "%s: %s", what, error.text);
    bench_free(&b);
    rt_directory_release(taken);
    directory_free(directory);
    states++;
}

/* After `done` events: all up to the last sync of the directory, and any of the names changed since. */
static void crash_after(const Softmax *x, Disk disk, int done) {
    int begin = 0, pending[MAX_PENDING], n = 0;
    bool is_synced[MAX_FILES] = {0};
    for (int i = 0; i < done; i++) {
        if (event[i].kind == DIRECTORY_SYNCED) begin = i + 1;
        if (event[i].kind == SYNCED) is_synced[file_of(event[i].file) - file] = true;
    }
    for (int i = 0; i < begin; i++) apply(&disk, &event[i]);
    for (int i = begin; i < done; i++) {
        if (event[i].kind == SYNCED) continue;
        ck_assert_int_lt(n, MAX_PENDING);
        pending[n++] = i;
    }
    for (int subset = 0; subset < 1 << n; subset++)
        for (int unsynced = 0; unsynced < 3; unsynced++) {
            char what[64];
            Disk left = disk;
            for (int i = 0; i < n; i++)
                if (subset >> i & 1) apply(&left, &event[pending[i]]);
            snprintf(what, sizeof what, "after event %d, subset %x, unsynced %d", done, (unsigned)subset, unsynced);
            check_state(x, &left, unsynced, is_synced, what);
        }
}

static void train_to(const Softmax *x, const char *directory, int64_t steps, bool resume, bool evaluate) {
    RtError error;
    Bench b = bench_new(x, 1);
    Run r = {directory, {.seed = 1, .quiet = true, .eval_every = evaluate, .resume = resume, .max_steps = steps}};
    ck_assert_msg(run_in(b.machine, &data, &r, &error) == RT_OK, "%s", error.text);
    bench_free(&b);
}

/* With hard links, and on a file system that has none. */
START_TEST(old_or_new) {
    char *directory = directory_new();
    Softmax x;
    softmax_program(&x, BATCH, 3, 8, 8, 10);
    softmax_optimizer(&x, RT_SGD, 0.002);
    train_to(&x, directory, BEFORE - 1, false, false);
    train_to(&x, directory, BEFORE, true, false);
    size_t length = 0;
    char *best = slurp(path_in(directory, "last.safetensors"), &length);
    spill(path_in(directory, "best.safetensors"), best, length); /* of no accuracy yet, so that it is replaced */
    free(best);
    Disk before = disk_of(directory);
    ck_assert_int_ge(before.count, 3); /* last, last-1, best */
    links_fail = _i == 1;
    watched = directory;
    train_to(&x, directory, AFTER, true, true);
    watched = NULL;
    int syncs = 0, renames = 0;
    for (int i = 0; i < nevents; i++) syncs += event[i].kind == SYNCED, renames += event[i].kind == RENAMED;
    ck_assert_msg(syncs >= 2 && renames >= 3, "%d files synced, %d renamed: the recorder does not see the runtime", syncs,
                  renames);
    for (int done = 0; done <= nevents; done++) crash_after(&x, before, done);
    printf("%d states of %d events%s lead to a checkpoint\n", states, nevents, links_fail ? ", without hard links," : "");
    ck_assert_int_gt(states, 50);
    directory_free(directory);
}
END_TEST

int main(void) {
    RtError error;
    if (rt_data_open_shaped("synthetic", 3, 8, 8, 10, &data, &error) != RT_OK) return 1;
    data.ntest = 100;
    TCase *cases = tcase_create("crash");
    tcase_add_loop_test(cases, old_or_new, 0, 2);
    int failed = run_cases("runtime/crash", cases);
    rt_data_free(&data);
    return failed;
}

/* See names.h. */
#include "cli/names.h"
#include "cli/report.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 32 };

void names_free(Names *n) {
    for (uint32_t i = 0; i < n->count; i++) free(n->name[i]);
    free(n->name);
    *n = (Names){0};
}

int names_by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void names_add(Names *n, char *name) {
    if (!(n->count & (n->count + 1))) { /* full: 0, 1, 3, 7, ... */
        char **more = realloc(n->name, (2 * (size_t)n->count + 1) * sizeof *more);
        if (!more) exit(fail(EXIT_IO, "out of memory"));
        n->name = more;
    }
    n->name[n->count++] = name;
}

static bool is_picture(const char *name) {
    static const char *const suffix[] = {".png", ".jpg", ".jpeg", ".ppm", ".pgm"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof suffix / sizeof *suffix; i++)
        if (!strcasecmp(dot, suffix[i])) return true;
    return false;
}

bool names_is_directory(const char *path) {
    struct stat s;
    return !stat(path, &s) && S_ISDIR(s.st_mode);
}

bool names_list(const char *directory, bool folders, Names *names) {
    DIR *d = opendir(directory);
    *names = (Names){0};
    if (!d) return false;
    for (const struct dirent *e; (e = readdir(d));) {
        char *path = join("%s/%s", directory, e->d_name);
        bool kind = *e->d_name != '.' && names_is_directory(path) == folders, wanted = kind && (folders || is_picture(e->d_name));
        names->others += kind && !wanted;
        if (wanted) names_add(names, folders ? join("%s", e->d_name) : path);
        if (!wanted || folders) free(path);
    }
    closedir(d);
    if (names->count) qsort(names->name, names->count, sizeof *names->name, names_by_bytes);
    return true;
}

/* A directory that is being gone through, and those around it. */
typedef struct Place {
    const struct Place *around;
    struct stat at;
    int depth;
} Place;

static bool is_inside_itself(const Place *p) {
    for (const Place *o = p->around; o; o = o->around)
        if (o->at.st_dev == p->at.st_dev && o->at.st_ino == p->at.st_ino) return true;
    return false;
}

static int add_below(const char *directory, const Place *around, Names *names) {
    Place here = {.around = around, .depth = around ? around->depth + 1 : 0};
    Names found;
    int status = EXIT_OK;
    bool known = !stat(directory, &here.at);
    if (known && (here.depth > MAX_DEPTH || is_inside_itself(&here))) return EXIT_OK;
    if (!known || !names_list(directory, false, &found))
        return fail(EXIT_IO, "cannot read the directory '%s': %s", directory, strerror(errno));
    for (uint32_t i = 0; i < found.count; i++) names_add(names, found.name[i]);
    free(found.name);
    if (!names_list(directory, true, &found))
        return fail(EXIT_IO, "cannot read the directory '%s': %s", directory, strerror(errno));
    for (uint32_t i = 0; i < found.count && !status; i++) {
        char *folder = join("%s/%s", directory, found.name[i]);
        status = add_below(folder, &here, names);
        free(folder);
    }
    names_free(&found);
    return status;
}

int names_pictures_below(const char *directory, Names *names) {
    uint32_t before = names->count;
    char *plain = join("%s", directory); /* without the slashes behind it, which would be doubled */
    for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--) plain[n - 1] = 0;
    int status = add_below(plain, NULL, names);
    free(plain);
    if (!status && names->count == before)
        status =
            fail(EXIT_INPUT, "there is no picture in the directory '%s' (by its name: .png, .jpg, .jpeg, .ppm, .pgm)", directory);
    return status;
}

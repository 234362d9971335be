/* Loading: a depth-first walk over imports. A file is known by its real path, so that two routes to it load it once, and
 * a route back into a file that is still being loaded is a cycle. All files share one space of block and net names. */
#include "frontend/program.h"
#include "frontend/builtin.h"
#include "frontend/frontend.h"
#include "frontend/parser.h"
#include "runtime/file.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Source {
    const char *path, *real;
    bool loading;
    Span imported; /* where it was first imported */
    struct Source *importer;
    struct Source *next;
} Source;

typedef struct Loader {
    Program *program;
    Source *sources;
    uint32_t nsources, depth;
} Loader;

/* The text of a regular file of at most MAX_FILE_BYTES, or NULL with a reason. */
static char *read_source(Arena *arena, const char *path, size_t *length, const char **why, bool *system) {
    int64_t size;
    FILE *file = file_open(path, &size, why);
    char *text = NULL;
    if (file && size > MAX_FILE_BYTES) {
        *why = "it is larger than 1 MB";
    } else if (file) {
        text = arena_alloc(arena, (size_t)size + 1);
        *length = fread(text, 1, (size_t)size, file);
        if (ferror(file)) {
            *why = strerror(errno);
            *system = true;
            text = NULL;
        }
    } else {
        *system = !file_misnamed();
    }
    if (file) fclose(file);
    return text;
}

static char *resolve(Arena *arena, const char *importer, const char *path) {
    const char *slash = importer ? strrchr(importer, '/') : NULL;
    if (!slash || *path == '/') return arena_strdup(arena, path);
    return arena_printf(arena, "%.*s/%s", (int)(slash - importer), importer, path);
}

/* Is `source` among the files whose imports are being followed? Then the route back to it, in order. */
static void report_cycle(Loader *ld, Source *importer, const Source *target, Span span) {
    Diag *diag = ld->program->diag;
    diag_error(diag, span, "this import makes a cycle: '%s' is still being read", target->path);
    for (const Source *s = importer; s && s != target; s = s->importer) {
        diag_note(diag, s->imported, "'%s' is imported here", s->path);
    }
}

static void load(Loader *ld, Source *source, const char *text, size_t length);

static void load_import(Loader *ld, Source *importer, const char *text_path, Span span) {
    Program *pr = ld->program;
    char *path = resolve(pr->arena, importer ? importer->path : NULL, text_path);
    char *real = realpath(path, NULL);
    for (Source *s = ld->sources; real && s; s = s->next) {
        if (strcmp(s->real, real)) continue;
        if (s->loading) report_cycle(ld, importer, s, span);
        free(real);
        return;
    }
    size_t length = 0;
    const char *why = real ? NULL : strerror(errno);
    bool system = !real && !file_misnamed();
    char *text = real ? read_source(pr->arena, path, &length, &why, &system) : NULL;
    if (!text && system) {
        diag_cannot_read(pr->diag, span, path, why);
    } else if (!text) {
        diag_error(pr->diag, span, "cannot read '%s': %s", path, why);
    } else if (ld->nsources == MAX_FILES || ld->depth == MAX_IMPORT_DEPTH) {
        diag_error(pr->diag, span, "a program has at most %d files and imports nest at most %d deep", MAX_FILES,
                   MAX_IMPORT_DEPTH);
    } else {
        Source *s = ARENA_NEW(pr->arena, Source);
        *s = (Source){path, arena_strdup(pr->arena, real), true, span, importer, ld->sources};
        ld->sources = s;
        ld->nsources++;
        ld->depth++;
        load(ld, s, text, length);
        ld->depth--;
        s->loading = false;
    }
    free(real);
}

static void declare(Program *pr, AstCallable *c) {
    if (c->name->builtin) {
        diag_error(pr->diag, c->span, "'%s' is an operation of the language and cannot be declared again", c->name->text);
    } else if (c->name->callable) {
        diag_error(pr->diag, c->span, "'%s' is declared a second time", c->name->text);
        diag_note(pr->diag, c->name->callable->span, "first declared here");
    } else {
        c->name->callable = c;
    }
}

static void load(Loader *ld, Source *source, const char *text, size_t length) {
    Program *pr = ld->program;
    uint32_t id = diag_add_file(pr->diag, source->path, text, length);
    AstFile *file = parse_file(&pr->names, pr->diag, id, text, length);
    for (uint32_t i = 0; i < file->nimports; i++) load_import(ld, source, file->import[i].path, file->import[i].span);
    for (uint32_t i = 0; i < file->ncallables; i++) declare(pr, file->callable[i]);
    pr->file[pr->nfiles++] = file;
    pr->root = file; /* the last one to finish is the root */
    pr->root_file = id;
}

/* Behind everything else, so that a program's own files come first in messages. A block of the program's own of the same name
 * goes before. */
static void load_library(Program *pr) {
    size_t length = strlen(library_text);
    AstFile *file =
        parse_file(&pr->names, pr->diag, diag_add_file(pr->diag, "netc's library", library_text, length), library_text, length);
    for (uint32_t i = 0; i < file->ncallables; i++) {
        file->callable[i]->library = true;
        file->callable[i]->name->library = file->callable[i];
    }
}

bool program_load(Program *program, Arena *arena, Diag *diag, const char *path) {
    int before = diag_error_count(diag);
    *program = (Program){.arena = arena, .diag = diag, .names = {.arena = arena}};
    program->file = ARENA_ARRAY(arena, const AstFile *, MAX_FILES);
    builtins_enter(&program->names);
    Loader loader = {.program = program};
    load_import(&loader, NULL, path, (Span){0});
    load_library(program);
    return diag_error_count(diag) == before;
}

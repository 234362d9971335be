/* Linking an executable without a compiler driver: by ld.lld or ld, told what cc would tell it. The C library's start files are
 * looked for in the usual multiarch directories, libgcc in GCC's; Debian's packages are libc6-dev and libgcc-12-dev. */
#include "cli/report.h"
#include "codegen/codegen.h"
#include "driver/linker.h"
#include "driver/process.h"
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WORDS = 64 };

typedef struct Words {
    char *word[MAX_WORDS + 1];
    int count;
} Words;

static void add(Words *w, char *word) {
    if (w->count == MAX_WORDS) abort(); /* the caller's command lines are short */
    w->word[w->count++] = word;
}

/* The first directory of the target's C library that holds `name`; NULL. */
static char *library_directory(const char *target, const char *name) {
    char *place[] = {join("/usr/lib/%s", target), join("/lib/%s", target), join("/usr/%s/lib", target), join("/usr/lib64"),
                     join("/usr/lib")};
    char *found = NULL;
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        char *path = join("%s/%s", place[i], name);
        bool here = !found && !access(path, R_OK);
        free(path);
        if (here)
            found = place[i];
        else
            free(place[i]);
    }
    return found;
}

/* GCC's own directory, of its last version; NULL. */
static char *gcc_directory(const char *target) {
    char *pattern = join("/usr/lib/gcc*/%s/*/libgcc.a", target), *found = NULL;
    glob_t list;
    long newest = -1;
    if (!glob(pattern, 0, NULL, &list)) {
        for (size_t i = 0; i < list.gl_pathc; i++) {
            char *path = list.gl_pathv[i];
            *strrchr(path, '/') = 0;
            long version = atol(strrchr(path, '/') + 1);
            if (version <= newest) continue;
            newest = version;
            free(found);
            found = join("%s", path);
        }
        globfree(&list);
    }
    free(pattern);
    return found;
}

/* The words between the commas of -Wl,... */
static void add_linker_words(Words *w, const char *list) {
    for (; *list; list += strcspn(list, ","), list += *list == ',') add(w, join("%.*s", (int)strcspn(list, ","), list));
}

static void begin(Words *w, const char *target, bool is_static, const char *libc, const char *gcc) {
    add(w, NULL); /* the linker's name */
    add(w, join("-pie"));
    add(w, join("--eh-frame-hdr"));
    if (is_static) {
        add_linker_words(w, "-static,--no-dynamic-linker,-z,text");
    } else {
        add(w, join("-dynamic-linker"));
        add(w, join("%s", codegen_target(target)->dynamic_linker));
    }
    add(w, join("%s/%s", libc, is_static ? "rcrt1.o" : "Scrt1.o"));
    add(w, join("%s/crti.o", libc));
    if (gcc) add(w, join("%s/crtbeginS.o", gcc));
    if (gcc) add(w, join("-L%s", gcc));
    add(w, join("-L%s", libc));
}

static void end(Words *w, bool is_static, const char *libc, const char *gcc) {
    add(w, join("--start-group"));
    add(w, join("-lc"));
    if (gcc) add(w, join("-lgcc"));
    if (gcc && is_static) add(w, join("-lgcc_eh"));
    add(w, join("--end-group"));
    if (gcc) add(w, join("%s/crtendS.o", gcc));
    add(w, join("%s/crtn.o", libc));
}

/* A compiler driver's words as the linker's; argument[0] is the driver's name. */
static void translate(Words *w, char *const *argument) {
    for (int i = 1; argument[i]; i++) {
        if (!strcmp(argument[i], "-pie") || !strcmp(argument[i], "-static-pie") || !strcmp(argument[i], "-pthread")) continue;
        if (!strncmp(argument[i], "-Wl,", 4))
            add_linker_words(w, argument[i] + 4);
        else
            add(w, join("%s", argument[i]));
    }
}

static int run_any(const char *target, Words *w, const char *hint) {
    char *cross = join("%s-ld", target), *names[] = {"ld.lld", "ld.lld-19", target_is_cross(target) ? cross : "ld"};
    int status = PROGRAM_MISSING;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == PROGRAM_MISSING; i++) {
        w->word[0] = names[i];
        status = process_run(w->word, NULL, false, NULL);
    }
    if (status != EXIT_OK && status != PROGRAM_MISSING) status = fail(EXIT_INPUT, "linking by '%s' failed%s", w->word[0], hint);
    w->word[0] = NULL;
    free(cross);
    return status;
}

int linker_run_directly(const char *target, char *const *argument, const char *hint) {
    bool is_static = !strcmp(argument[1], "-static-pie");
    if (!is_static && strcmp(argument[1], "-pie") != 0) return PROGRAM_MISSING;
    char *libc = library_directory(target, is_static ? "rcrt1.o" : "Scrt1.o"), *gcc = gcc_directory(target);
    Words w = {0};
    int status = PROGRAM_MISSING;
    if (libc) {
        begin(&w, target, is_static, libc, gcc);
        translate(&w, argument);
        end(&w, is_static, libc, gcc);
        status = run_any(target, &w, hint);
    }
    for (int i = 0; i < w.count; i++) free(w.word[i]);
    free(libc);
    free(gcc);
    return status;
}

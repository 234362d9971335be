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
    for (; *list; list += strcspn(list, ","), list += *list == ',') words_add(w, "%.*s", (int)strcspn(list, ","), list);
}

static void begin(Words *w, const char *target, bool is_static, const char *libc, const char *gcc) {
    words_add(w, "-pie");
    words_add(w, "--eh-frame-hdr");
    if (is_static) {
        add_linker_words(w, "-static,--no-dynamic-linker,-z,text");
    } else {
        words_add(w, "-dynamic-linker");
        words_add(w, "%s", codegen_target(target)->dynamic_linker);
    }
    words_add(w, "%s/%s", libc, is_static ? "rcrt1.o" : "Scrt1.o");
    words_add(w, "%s/crti.o", libc);
    if (gcc) words_add(w, "%s/crtbeginS.o", gcc);
    if (gcc) words_add(w, "-L%s", gcc);
    words_add(w, "-L%s", libc);
}

static void end(Words *w, bool is_static, const char *libc, const char *gcc) {
    words_add(w, "--start-group");
    words_add(w, "-lc");
    if (gcc) words_add(w, "-lgcc");
    if (gcc && is_static) words_add(w, "-lgcc_eh");
    words_add(w, "--end-group");
    if (gcc) words_add(w, "%s/crtendS.o", gcc);
    words_add(w, "%s/crtn.o", libc);
}

/* A compiler driver's words as the linker's. */
static void translate(Words *w, const Words *driver) {
    for (int i = 1; i < driver->count; i++) {
        const char *word = driver->word[i];
        if (!strcmp(word, "-pie") || !strcmp(word, "-static-pie") || !strcmp(word, "-pthread")) continue;
        if (!strncmp(word, "-Wl,", 4))
            add_linker_words(w, word + 4);
        else
            words_add(w, "%s", word);
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
    free(cross);
    return status;
}

int linker_run_directly(const char *target, const Words *driver, const char *hint) {
    bool is_static = !strcmp(driver->word[1], "-static-pie");
    if (!is_static && strcmp(driver->word[1], "-pie") != 0) return PROGRAM_MISSING;
    char *libc = library_directory(target, is_static ? "rcrt1.o" : "Scrt1.o"), *gcc = gcc_directory(target);
    Words w = {0};
    int status = PROGRAM_MISSING;
    if (libc) {
        begin(&w, target, is_static, libc, gcc);
        translate(&w, driver);
        end(&w, is_static, libc, gcc);
        status = run_any(target, &w, hint);
    }
    words_free(&w);
    free(libc);
    free(gcc);
    return status;
}

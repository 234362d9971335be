#include "driver/verdict.h"
#include "cli/report.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { WHAT = 400 };

void verdict_add(Verdict *v, bool wrong, double of_tolerance, const char *file, const char *about, const char *what, ...) {
    char text[WHAT];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof text, what, args);
    va_end(args);
    if (v->count == v->capacity) {
        v->capacity = v->capacity ? 2 * v->capacity : 16;
        VerdictItem *more = realloc(v->item, v->capacity * sizeof *v->item);
        if (!more) out_of_memory("no room for what was verified");
        v->item = more;
    }
    v->item[v->count++] = (VerdictItem){join("%s", text), file ? join("%s", file) : NULL, of_tolerance, join("%s", about), wrong};
}

bool verdict_is_right(const Verdict *v) {
    for (uint32_t i = 0; i < v->count; i++)
        if (v->item[i].wrong) return false;
    return true;
}

static void print_images(Type t) {
    printf("%" PRId64 " image%s of %" PRId64 "x%" PRId64 "x%" PRId64, t.dim[0], t.dim[0] == 1 ? "" : "s", t.dim[1], t.dim[2],
           t.dim[3]);
}

static void print_text(const Verdict *v) {
    printf("%s, %s", v->model, v->mode == MODE_TRAIN ? "training" : "inference");
    if (v->images.rank == 4) printf(": "), print_images(v->images);
    if (v->images.rank == 4 && !type_equal(v->images, v->declared)) {
        printf(" (of the model: ");
        print_images(v->declared);
        printf(")");
    }
    printf(", seed %" PRIu64 "\n", v->seed);
    for (uint32_t i = 0; i < v->count; i++) {
        const VerdictItem *item = &v->item[i];
        printf("  %-5s %s%s%s%s", item->wrong ? "WRONG" : "ok", item->what, item->file ? " (" : "", item->file ? item->file : "",
               item->file ? ")" : "");
        if (item->wrong || !*item->about)
            printf("%s%s\n", *item->about ? ": " : "", item->about);
        else
            printf(": %.2g of the tolerance, %s\n", item->of_tolerance, item->about);
    }
}

static void print_member(const char *key, const char *text) {
    printf(", \"%s\": ", key);
    json_write_string(stdout, text);
}

static void print_sizes(const char *key, Type t) {
    printf(", \"%s\": [", key);
    for (int d = 0; d < t.rank; d++) printf("%s%" PRId64, d ? ", " : "", t.dim[d]);
    printf("]");
}

static void print_json(const Verdict *v) {
    printf("{\"model\": ");
    json_write_string(stdout, v->model);
    printf(", \"mode\": \"%s\", \"right\": %s, \"seed\": %" PRIu64, mode_text(v->mode), verdict_is_right(v) ? "true" : "false",
           v->seed);
    print_sizes("images", v->images);
    print_sizes("model_images", v->declared);
    printf(", \"held\": [");
    for (uint32_t i = 0; i < v->count; i++) {
        const VerdictItem *item = &v->item[i];
        printf("%s{\"right\": %s", i ? ", " : "", item->wrong ? "false" : "true");
        print_member("what", item->what);
        if (item->file) print_member("file", item->file);
        json_write_member(stdout, "of_tolerance", item->of_tolerance);
        print_member("about", item->about);
        printf("}");
    }
    printf("]}\n");
}

void verdict_print(const Verdict *v, bool json) {
    if (json)
        print_json(v);
    else
        print_text(v);
    fflush(stdout);
}

void verdict_free(Verdict *v) {
    for (uint32_t i = 0; i < v->count; i++) {
        free(v->item[i].what);
        free(v->item[i].file);
        free(v->item[i].about);
    }
    free(v->item);
    *v = (Verdict){0};
}

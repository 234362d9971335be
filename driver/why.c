/* netc why: why each feature map is stored (driver/account.h). */
#include "driver/account.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "ir/nearest.h"
#include "runtime/json.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Why {
    Session *session;
    const Options *o;
    Mode mode;
    const char *a, *b; /* which map, and which reader; NULL */
    PassHistory history;
    Account account;
    uint32_t found; /* maps that were asked for */
} Why;

static const Model *model_of(const Why *w) { return w->mode == MODE_TRAIN ? &w->session->train : &w->session->infer; }
static const PassResult *passes_of(const Why *w) {
    return w->mode == MODE_TRAIN ? &w->session->train_passes : &w->session->infer_passes;
}

/* ---- which ---- */

/* "%12", a value's name or that of a block around it, or FILE:LINE. */
static bool is_meant(const Why *w, Val v, const char *text) {
    const Graph *g = w->account.g;
    if (text[0] == '%') return strtoul(text + 1, NULL, 10) == v;
    const char *colon = strrchr(text, ':');
    if (colon && isdigit((unsigned char)colon[1])) {
        int line, column;
        const char *path = diag_file_path(w->session->diag, g->value[v].span.file);
        size_t length = (size_t)(colon - text), whole = path ? strlen(path) : 0;
        diag_line_column(w->session->diag, g->value[v].span, &line, &column);
        bool same = path && length <= whole && !strncmp(path + whole - length, text, length);
        return same && (length == whole || path[whole - length - 1] == '/') && line == atoi(colon + 1);
    }
    const char *name = account_name(g, v);
    size_t length = strlen(text);
    return name && !strncmp(name, text, length) && (!name[length] || name[length] == '.' || name[length] == ':');
}

static bool wants_map(const Why *w, const MapAccount *m) {
    return !w->a || is_meant(w, m->buffer.value, w->a) || is_meant(w, m->maker, w->a);
}
static bool wants_reader(const Why *w, const MapReader *r) {
    return !w->b || (r->value != NO_VAL && is_meant(w, r->value, w->b));
}

static bool wants(const Why *w, const MapAccount *m) {
    bool reader = !w->b;
    for (uint32_t i = 0; i < m->nreaders; i++) reader |= wants_reader(w, &m->reader[i]);
    return reader && wants_map(w, m);
}

/* ---- text ---- */

static void print_place(const Why *w, Span span) {
    int line, column;
    diag_line_column(w->session->diag, span, &line, &column);
    if (line) printf("  %s:%d:%d", diag_file_path(w->session->diag, span.file), line, column);
}

static const char *const way_text[] = {
    [WAY_JOIN] = "it joins the loop that makes the map", [WAY_RECOMPUTE] = "it computes the map where it loads it"};

/* Of a pair every question; else what blocks each way. */
static void print_questions(const Why *w, const MapReader *r) {
    for (int way = 0; way < WAYS; way++) {
        const Question *no = NULL;
        for (uint32_t i = 0; i < r->nquestions && !no; i++)
            if (r->question[i].way == (Way)way && !r->question[i].yes) no = &r->question[i];
        if (!w->b) {
            printf("      %s? %s\n", way_text[way], no ? no->why : "nothing that the graph shows is against it");
            continue;
        }
        printf("      %s?\n", way_text[way]);
        for (uint32_t i = 0; i < r->nquestions; i++)
            if (r->question[i].way == (Way)way)
                printf("        %s %s%s%s\n", r->question[i].yes ? "yes" : "NO ", r->question[i].text,
                       r->question[i].yes ? "" : " ", r->question[i].yes ? "" : r->question[i].why);
    }
}

/* Is pass i one that the default list of this mode has and that did not run? */
static bool is_left_out(const Why *w, uint32_t i) {
    const PassResult *passes = passes_of(w);
    if (!pass_runs_in(pass_at(i), w->mode)) return false;
    for (uint32_t k = 0; k < passes->nruns; k++)
        if (!strcmp(passes->runs[k].pass, pass_at(i)->name)) return false;
    return true;
}

static void print_left_out(const Why *w) {
    printf("  nothing is against it, and no pass says why it is stored");
    const char *separator = "; did not run: ";
    for (uint32_t i = 0; i < pass_count(); i++) {
        if (!is_left_out(w, i)) continue;
        printf("%s%s", separator, pass_at(i)->name);
        separator = ", ";
    }
    putchar('\n');
}

static void print_map(const Why *w, const MapAccount *m) {
    const Account *a = &w->account;
    const StepBuffer *b = &m->buffer;
    printf("%s  %s  %.3f MB", account_label(a, b->value), type_text(a->arena, a->g->value[b->value].type),
           1e-6 * (double)b->bytes);
    print_place(w, a->g->value[b->value].span);
    printf("\n  made by %s%s%s; lives from %%%u to %%%u%s, at %" PRIu64 "\n", account_label(a, m->maker),
           m->kernel ? ", kernel " : "", m->kernel ? m->kernel : "", b->first, b->last == a->g->count ? a->g->count - 1 : b->last,
           b->last == a->g->count ? " (the end)" : "", b->offset);
    for (uint32_t i = 0; i < m->nreaders; i++) {
        const MapReader *r = &m->reader[i];
        if (!wants_reader(w, r)) continue;
        printf("  read by %s%s%s%s\n", r->value == NO_VAL ? "the outside" : account_label(a, r->value),
               r->kernel ? ", kernel " : "", r->kernel ? r->kernel : "", r->backward ? " (kept for backward)" : "");
        print_questions(w, r);
    }
    for (uint32_t i = 0; i < m->nrefused; i++) {
        const Event *e = m->refused[i];
        if (e->kind == EVENT_FORBIDDEN)
            printf("  forbidden: %s\n", e->name);
        else
            printf("  not done by %s: %s\n", e->run, e->text);
    }
    if (!m->explained) print_left_out(w);
}

static void print_text(Why *w) {
    const Account *a = &w->account;
    uint32_t kept = 0, unexplained = 0;
    uint64_t kept_bytes = 0;
    for (uint32_t i = 0; i < a->nmaps; i++) {
        bool backward = false;
        for (uint32_t k = 0; k < a->map[i].nreaders; k++) backward |= a->map[i].reader[k].backward;
        kept += backward;
        kept_bytes += backward ? a->map[i].buffer.bytes : 0;
        unexplained += !a->map[i].explained;
        if (wants(w, &a->map[i])) print_map(w, &a->map[i]);
    }
    printf("%s, %s: %u feature %s stored, %.3f MB", model_of(w)->name, w->mode == MODE_TRAIN ? "training" : "inference", a->nmaps,
           a->nmaps == 1 ? "map is" : "maps are", 1e-6 * (double)a->map_bytes);
    if (w->mode == MODE_TRAIN) printf("; %u of them, %.3f MB, for backward", kept, 1e-6 * (double)kept_bytes);
    if (unexplained) printf("; %u of them need not be", unexplained);
    printf(
        "\n  besides them filters %.3f MB, vectors and rows %.3f MB, workspaces %.3f MB: %.3f MB in all, planned into %.3f MB\n",
        1e-6 * (double)a->filter_bytes, 1e-6 * (double)a->vector_bytes, 1e-6 * (double)a->workspace_bytes,
        1e-6 * (double)a->memory.total_bytes, 1e-6 * (double)a->memory.arena_bytes);
}

/* ---- JSON ---- */

static void write_text(const char *name, const char *text) {
    printf("\"%s\": ", name);
    if (text)
        json_write_string(stdout, text);
    else
        printf("null");
}

static void write_value(const Why *w, Val v) {
    const Value *value = &w->account.g->value[v];
    int line, column;
    diag_line_column(w->session->diag, value->span, &line, &column);
    printf("\"value\": %u, ", v);
    write_text("op", op_text(value->op));
    printf(", ");
    write_text("name", value->name);
    if (!line) return;
    printf(", ");
    write_text("file", diag_file_path(w->session->diag, value->span.file));
    printf(", \"line\": %d, \"column\": %d", line, column);
}

static void write_reader(const Why *w, const MapReader *r) {
    printf("{");
    if (r->value == NO_VAL)
        printf("\"value\": null");
    else
        write_value(w, r->value);
    printf(", ");
    write_text("kernel", r->kernel);
    printf(", \"kept_for_backward\": %s, \"questions\": [", r->backward ? "true" : "false");
    for (uint32_t i = 0; i < r->nquestions; i++) {
        printf("%s{\"way\": \"%s\", ", i ? ", " : "", r->question[i].way == WAY_JOIN ? "join" : "recompute");
        write_text("question", r->question[i].text);
        printf(", \"yes\": %s, ", r->question[i].yes ? "true" : "false");
        write_text("why", r->question[i].why);
        printf("}");
    }
    printf("]}");
}

static void write_map(const Why *w, const MapAccount *m) {
    const Account *a = &w->account;
    const StepBuffer *b = &m->buffer;
    printf("{");
    write_value(w, b->value);
    printf(", \"type\": \"%s\", \"bytes\": %" PRIu64 ", \"offset\": %" PRIu64 ", \"first\": %u, \"last\": %u, \"maker\": {",
           type_text(a->arena, a->g->value[b->value].type), b->bytes, b->offset, b->first, b->last);
    write_value(w, m->maker);
    printf(", ");
    write_text("kernel", m->kernel);
    printf("}, \"readers\": [");
    for (uint32_t i = 0, n = 0; i < m->nreaders; i++) {
        if (!wants_reader(w, &m->reader[i])) continue;
        if (n++) printf(", ");
        write_reader(w, &m->reader[i]);
    }
    printf("], \"not_done\": [");
    for (uint32_t i = 0; i < m->nrefused; i++) {
        printf("%s{", i ? ", " : "");
        write_text("pass", m->refused[i]->run);
        printf(", ");
        write_text("name", m->refused[i]->name);
        printf(", ");
        write_text("reason", m->refused[i]->text);
        printf("}");
    }
    printf("], \"explained\": %s}", m->explained ? "true" : "false");
}

static void write_left_out(const Why *w) {
    const char *separator = "";
    printf(", \"not_run\": [");
    for (uint32_t i = 0; i < pass_count(); i++) {
        if (!is_left_out(w, i)) continue;
        printf("%s\"%s\"", separator, pass_at(i)->name);
        separator = ", ";
    }
    printf("]");
}

static void print_json(const Why *w) {
    const Account *a = &w->account;
    printf("{");
    write_text("model", model_of(w)->name);
    printf(", \"mode\": \"%s\", \"values\": %u, \"arena_bytes\": %" PRIu64 ", \"plan_bytes\": %" PRIu64
           ", \"map_bytes\": %" PRIu64 ", \"filter_bytes\": %" PRIu64 ", \"vector_bytes\": %" PRIu64
           ", \"workspace_bytes\": %" PRIu64 "",
           mode_text(w->mode), a->g->count, a->memory.arena_bytes, a->memory.total_bytes, a->map_bytes, a->filter_bytes,
           a->vector_bytes, a->workspace_bytes);
    write_left_out(w);
    printf(", \"maps\": [");
    for (uint32_t i = 0, n = 0; i < a->nmaps; i++) {
        if (!wants(w, &a->map[i])) continue;
        if (n++) printf(", ");
        write_map(w, &a->map[i]);
    }
    printf("]}\n");
}

/* ---- all of it ---- */

static int explain(Why *w) {
    Session *s = w->session;
    int status = compile_graphs(s, w->mode == MODE_TRAIN, w->mode == MODE_INFER, "why");
    if (!status) status = compile_watch_passes(s, w->mode, history_watch, &w->history);
    if (!status) status = compile_code(s, w->mode);
    if (status) return status;
    CodegenOptions plan = session_code_for(s, NULL, s->options->cpu);
    bool made = account_make(passes_of(w), &w->history, s->jit, &plan, &w->account, s->diag);
    if (made) {
        for (uint32_t i = 0; i < w->account.nmaps; i++) w->found += wants(w, &w->account.map[i]);
        if (w->found || !w->a) w->o->json ? print_json(w) : print_text(w);
    }
    jit_free(s->jit); /* of this mode */
    s->jit = NULL;
    return made ? EXIT_OK : session_compile_failed(s);
}

/* A value that is there and not stored, or none. */
static int not_found(const Why *w) {
    const Graph *g = w->account.g;
    const char **name = calloc(g->count + 1, sizeof *name);
    uint32_t count = 0;
    bool there = false;
    if (!name) out_of_memory("no room for names");
    for (Val v = 0; v < g->count; v++) {
        there |= is_meant(w, v, w->a);
        if (account_name(g, v)) name[count++] = account_name(g, v);
    }
    const char *near = nearest_name(w->a, name, count);
    free(name);
    if (there && w->b) return fail(EXIT_INPUT, "no feature map that '%s' makes is stored and read by '%s'", w->a, w->b);
    if (there) return fail(EXIT_INPUT, "nothing that '%s' makes is a stored feature map", w->a);
    return fail(EXIT_INPUT, "nothing is called '%s'%s%s%s", w->a, near ? "; did you mean '" : "", near ? near : "",
                near ? "'?" : "");
}

static int why_mode(Session *session, Mode mode, uint32_t *found) {
    const Options *o = session->options;
    Why w = {.session = session,
             .o = o,
             .mode = mode,
             .a = o->noperands > 1 ? o->operand[1] : NULL,
             .b = o->noperands > 2 ? o->operand[2] : NULL};
    int status = explain(&w);
    *found += w.found;
    if (!status && w.a && !*found && mode == (session->modes & PASS_INFER ? MODE_INFER : MODE_TRAIN)) status = not_found(&w);
    if (w.account.arena) account_free(&w.account);
    history_free(&w.history);
    return status;
}

int command_why(const Options *options) {
    Session session = {0};
    unsigned asked;
    uint32_t found = 0;
    if (options->noperands > 3)
        return usage_error("why", "a model, a value and one that reads it, found '%s' too", options->operand[3]);
    int status = compile_asked_modes(&session, options, "why", &asked);
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !status; mode++)
        if (asked & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER))
            session.modes = asked, status = why_mode(&session, mode, &found);
    session_close(&session);
    return status;
}

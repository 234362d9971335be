/* netc explore: a page for a browser, one file that needs no network, of all that happens to a model's graph: the graph behind
 * each pass, the rewrites one by one, the source beside them, where its values stand in memory, and what kernels cost. The page
 * itself is explore.html; here is what it shows, as JSON.
 *
 * A value keeps its number, its lineage, through all passes for as long as graph_match says that it is the same one. Lines name
 * values by lineage, so that a value that no pass touches has the same line in all graphs: each line is there once. */
#include "codegen/codegen.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/page.h"
#include "driver/sample.h"
#include "ir/diff.h"
#include "ir/stream.h"
#include "ir/text.h"
#include "ir/texts.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const char explore_page[];
enum { TIMED_STEPS = 5 };

/* The graph behind a pass; of stage 0 the source. */
typedef struct Stage {
    PassRun run; /* texts are the arena's */
    const Graph *g;
    uint32_t *lineage; /* of each value */
} Stage;

typedef struct Explore {
    Session *session;
    Mode mode;
    Arena *arena;
    Stage *stage;
    uint32_t nstages, stage_capacity;
    uint32_t nlineages;
    Span *span; /* by lineage */
    const char **name;
    uint32_t lineage_capacity;
    Texts lines;
    FILE *out;
} Explore;

static const Model *model_of(const Explore *x) { return x->mode == MODE_TRAIN ? &x->session->train : &x->session->infer; }

/* ---- stages ---- */

static uint32_t new_lineage(Explore *x, const Value *v) {
    uint32_t capacity = x->lineage_capacity;
    ARENA_GROW(x->arena, x->span, x->nlineages, &capacity);
    ARENA_GROW(x->arena, x->name, x->nlineages, &x->lineage_capacity);
    x->span[x->nlineages] = v->span;
    x->name[x->nlineages] = v->name ? arena_strdup(x->arena, v->name) : NULL;
    return x->nlineages++;
}

static void add_stage(Explore *x, const PassRun *run, const Graph *g) {
    ARENA_GROW(x->arena, x->stage, x->nstages, &x->stage_capacity);
    const Stage *before = x->nstages ? &x->stage[x->nstages - 1] : NULL;
    Stage *s = &x->stage[x->nstages++];
    *s = (Stage){*run, graph_copy(g), ARENA_ARRAY(x->arena, uint32_t, g->count + 1)};
    s->run.name = arena_strdup(x->arena, run->name);
    s->run.file = run->file ? arena_strdup(x->arena, run->file) : NULL;
    const Val *match = before ? graph_match(x->arena, before->g, s->g) : NULL;
    for (Val v = 0; v < g->count; v++)
        s->lineage[v] = match && match[v] != NO_VAL ? before->lineage[match[v]] : new_lineage(x, &g->value[v]);
}

static void watch_stage(void *context, const PassRun *run, const Graph *before, const Graph *after) {
    (void)before;
    add_stage(context, run, after);
}

/* "$12" for lineage 12. */
static const char **names_of(Explore *x, const Stage *s) {
    const char **name = ARENA_ARRAY(x->arena, const char *, s->g->count + 1);
    for (Val v = 0; v < s->g->count; v++) name[v] = arena_printf(x->arena, "$%u", s->lineage[v]);
    return name;
}

static char *line_of(const Graph *g, Val v, const char *const *name) {
    TextStream text;
    text_open(&text);
    graph_print_value(g, v, name, text.file);
    return text_close(&text);
}

static void write_stage(Explore *x, const Stage *s) {
    const char **name = names_of(x, s);
    json_write_string((fputs("{\"run\":", x->out), x->out), s->run.name);
    if (s->run.file) json_write_string((fputs(",\"file\":", x->out), x->out), s->run.file);
    fprintf(x->out, ",\"rewrites\":%" PRId64 ",\"values\":[", s->run.rewrites);
    for (Val v = 0; v < s->g->count; v++) {
        char *line = line_of(s->g, v, name);
        fprintf(x->out, "%s%u,%u", v ? "," : "", s->lineage[v], texts_add(&x->lines, line));
        free(line);
    }
    fputs("],\"outputs\":[", x->out);
    for (uint32_t i = 0; i < s->g->noutputs; i++) {
        TextStream text;
        text_open(&text);
        graph_print_output(&s->g->output[i], name, text.file);
        fprintf(x->out, "%s%u", i ? "," : "", texts_add(&x->lines, text_close(&text)));
        free(text.text);
    }
    fputs("]}", x->out);
}

/* ---- events ---- */

/* Of an event of stage i: a value of the graph before, or of the one behind it. */
static int64_t lineage_of(const Explore *x, uint32_t i, EventValue v) {
    if (v.after != NO_VAL && v.after < x->stage[i].g->count) return x->stage[i].lineage[v.after];
    if (v.before != NO_VAL && v.before < x->stage[i - 1].g->count) return x->stage[i - 1].lineage[v.before];
    return -1;
}

static void write_values(const Explore *x, const char *key, uint32_t i, const EventValues *list) {
    if (!list->count) return;
    fprintf(x->out, ",\"%s\":[", key);
    const char *comma = "";
    for (uint32_t k = 0; k < list->count; k++) {
        int64_t lineage = lineage_of(x, i, list->item[k]);
        if (lineage >= 0) fprintf(x->out, "%s%" PRId64, comma, lineage), comma = ",";
    }
    fputc(']', x->out);
}

static void write_events(const Explore *x, const PassResult *result) {
    const char *comma = "";
    for (uint32_t k = 0, i = 1; k < result->nevents; k++) {
        const Event *e = &result->events[k];
        while (i < x->nstages && strcmp(x->stage[i].run.name, e->run) != 0) i++;
        if (i == x->nstages) break;
        fprintf(x->out, "%s\n{\"stage\":%u,\"kind\":%d,\"number\":%" PRId64, comma, i, (int)e->kind, e->number);
        if (e->name) json_write_string((fputs(",\"name\":", x->out), x->out), e->name);
        if (e->text) json_write_string((fputs(",\"text\":", x->out), x->out), e->text);
        write_values(x, "removed", i, &e->removed);
        write_values(x, "made", i, &e->made);
        write_values(x, "changed", i, &e->changed);
        write_values(x, "redirected", i, &e->redirected);
        write_values(x, "about", i, &e->about);
        fputc('}', x->out);
        comma = ",";
    }
}

/* ---- source ---- */

/* Of a file that graphs as text name, if it is still there. */
static void write_text(const Explore *x, uint32_t file) {
    const char *text = diag_file_text(x->session->diag, file), *path = diag_file_path(x->session->diag, file);
    size_t length;
    int status;
    char *read = !text && !access(path, R_OK) ? read_file(path, &length, &status) : NULL;
    json_write_string((fputs(",\"text\":", x->out), x->out), text ? text : read ? read : "");
    free(read);
}

/* All files that values came from, and for each lineage its file and line. */
static void write_source(const Explore *x) {
    const Diag *diag = x->session->diag;
    fputs("\"files\":[", x->out);
    for (uint32_t f = 1; diag_file_path(diag, f); f++) {
        json_write_string((fputs(f > 1 ? ",\n{\"path\":" : "\n{\"path\":", x->out), x->out), diag_file_path(diag, f));
        write_text(x, f);
        fputc('}', x->out);
    }
    fputs("],\n\"values\":[", x->out);
    for (uint32_t l = 0; l < x->nlineages; l++) {
        int line, column;
        diag_line_column(diag, x->span[l], &line, &column);
        fprintf(x->out, "%s[%u,%d", l ? "," : "", line ? x->span[l].file : 0, line);
        if (x->name[l]) json_write_string((fputc(',', x->out), x->out), x->name[l]);
        fputc(']', x->out);
    }
    fputs("],\n", x->out);
}

/* ---- memory and time ---- */

static bool write_memory(const Explore *x) {
    const Stage *last = &x->stage[x->nstages - 1];
    CodegenOptions code = session_code_for(x->session, NULL, x->session->options->cpu);
    StepMemory m;
    if (!codegen_step_memory(last->g, &code, x->arena, &m, x->session->diag)) return false;
    fprintf(x->out, "\"arena\":%" PRIu64 ",\"buffers\":[", m.arena_bytes);
    for (uint32_t i = 0; i < m.count; i++) {
        const StepBuffer *b = &m.buffer[i];
        fprintf(x->out, "%s[%u,%" PRIu64 ",%" PRIu64 ",%u,%u,%d]", i ? "," : "", last->lineage[b->value], b->offset, b->bytes,
                b->first, b->last,
                b->workspace ? 2
                : b->map     ? 1
                             : 0);
    }
    fputs("],\n", x->out);
    return true;
}

static const RtEntry *entry_of(const Explore *x) {
    const RtProgram *p = jit_program(x->session->jit);
    return x->mode == MODE_TRAIN ? &p->train_step : &p->eval_step;
}

/* Medians over a few steps; NULL without --time. */
static double *time_calls(const Explore *x, const RtEntry *entry) {
    if (!x->session->machine) return NULL;
    double *all = ARENA_ARRAY(x->arena, double, (size_t)entry->ncalls *TIMED_STEPS + 1), column[TIMED_STEPS];
    double *median = ARENA_ARRAY(x->arena, double, entry->ncalls + 1);
    memset(all, 0, (size_t)entry->ncalls * TIMED_STEPS * sizeof *all);
    sample_inputs(x->session->machine, 0);
    rt_machine_run(x->session->machine, entry);
    for (int r = 0; r < TIMED_STEPS; r++) rt_machine_run_timed(x->session->machine, entry, all + (size_t)r * entry->ncalls);
    for (uint32_t c = 0; c < entry->ncalls; c++) {
        for (int r = 0; r < TIMED_STEPS; r++) column[r] = all[(size_t)r * entry->ncalls + c];
        median[c] = sample_median(column, TIMED_STEPS);
    }
    return median;
}

static void write_calls(const Explore *x) {
    const Stage *last = &x->stage[x->nstages - 1];
    const RtEntry *entry = entry_of(x);
    const Val *value = jit_call_values(x->session->jit, entry);
    const double *seconds = time_calls(x, entry);
    fputs("\"calls\":[", x->out);
    for (uint32_t c = 0; c < entry->ncalls; c++) {
        const RtCall *call = &entry->calls[c];
        int64_t lineage = value[c] != NO_VAL ? (int64_t)last->lineage[value[c]] : -1;
        fprintf(x->out, "%s[%" PRId64 ",", c ? ",\n" : "", lineage);
        json_write_string(x->out, call->name);
        fprintf(x->out, ",%.0f,%.0f", call->flops, call->bytes);
        if (seconds) fprintf(x->out, ",%.1f", 1e6 * seconds[c]);
        fputc(']', x->out);
    }
    fputs("]", x->out);
}

/* ---- all of it ---- */

static bool write_data(Explore *x, const PassResult *result) {
    json_write_string((fputs("{\"model\":", x->out), x->out), model_of(x)->name);
    fprintf(x->out, ",\"mode\":\"%s\",\"stages\":[", mode_text(x->mode));
    for (uint32_t i = 0; i < x->nstages; i++) {
        fputs(i ? ",\n" : "\n", x->out);
        write_stage(x, &x->stage[i]);
    }
    fputs("],\n\"texts\":[", x->out);
    for (uint32_t i = 0; i < x->lines.count; i++) json_write_string((fputs(i ? ",\n" : "\n", x->out), x->out), x->lines.text[i]);
    fputs("],\n\"events\":[", x->out);
    write_events(x, result);
    fputs("],\n", x->out);
    write_source(x);
    if (!write_memory(x)) return false;
    write_calls(x);
    fputs("}", x->out);
    return true;
}

static void print_summary(const Explore *x, const char *path) {
    if (!x->session->options->json) {
        printf("%s, %s: %u pass%s, %u value%s, %u line%s, in '%s'\n", model_of(x)->name,
               x->mode == MODE_TRAIN ? "training" : "inference", x->nstages - 1, x->nstages == 2 ? "" : "es", x->nlineages,
               x->nlineages == 1 ? "" : "s", x->lines.count, x->lines.count == 1 ? "" : "s", path);
        return;
    }
    printf("{\"model\": ");
    json_write_string(stdout, model_of(x)->name);
    printf(", \"mode\": \"%s\", \"passes\": %u, \"values\": %u, \"lines\": %u", mode_text(x->mode), x->nstages - 1, x->nlineages,
           x->lines.count);
    json_write_text(stdout, "file", path);
    puts("}");
}

static int make_page(Explore *x, const char *path) {
    Session *s = x->session;
    const bool train = x->mode == MODE_TRAIN;
    int status = s->options->time ? compile_machine(s, train, !train, "explore") : compile_graphs(s, train, !train, "explore");
    if (status) return status;
    add_stage(x, &(PassRun){.name = "source"}, model_of(x)->graph);
    status = compile_watch_passes(s, x->mode, watch_stage, x);
    if (!status) status = compile_code(s, x->mode);
    if (status) return status;
    TextStream data;
    text_open(&data);
    x->out = data.file;
    bool written = write_data(x, train ? &s->train_passes : &s->infer_passes);
    text_close(&data);
    status = written ? page_write(explore_page, path, data.text) : session_compile_failed(s);
    if (!status) print_summary(x, path);
    free(data.text);
    return status;
}

int command_explore(const Options *options) {
    Session session = {0};
    if (options->noperands > 1) return usage_error("explore", "one model at a time, found '%s' too", options->operand[1]);
    Explore x = {.session = &session, .mode = options->mode && !strcmp(options->mode, "infer") ? MODE_INFER : MODE_TRAIN};
    int status = session_find_model(&session, options, "explore");
    x.arena = x.lines.arena = arena_new();
    if (!status) status = compile_modes(&session, x.mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER, "explore");
    if (!status) status = make_page(&x, options->output ? options->output : "netc-explore.html");
    for (uint32_t i = 0; i < x.nstages; i++) graph_free((Graph *)(uintptr_t)x.stage[i].g);
    arena_free(x.arena);
    session_close(&session);
    return status;
}

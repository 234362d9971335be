/* What a sweep comes to, as Markdown and as JSON. */
#include "cli/report.h"
#include "cli/statistics.h"
#include "driver/sweep.h"
#include "ir/stream.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* A row's numbers: the test accuracy of each seed that is done and was tested, in percent. */
typedef struct Outcome {
    double value[MAX_SEEDS], seconds;
    int64_t seed[MAX_SEEDS];
    uint32_t count, done;
} Outcome;

static Outcome outcome_of(const Sweep *s, const SweepRow *row) {
    Outcome o = {0};
    for (uint32_t k = 0; k < s->nseeds; k++) {
        if (sweep_cell(s, row, s->seed[k]) != SWEEP_CELL_DONE) continue;
        char *directory = sweep_file(s, row, s->seed[k], "");
        History h;
        bool read = history_open(directory, &h) == EXIT_OK;
        double result = read ? history_result(&h) : -1;
        o.done++;
        o.seconds += read ? history_seconds(&h) : 0;
        if (result >= 0) o.seed[o.count] = s->seed[k], o.value[o.count++] = 100 * result;
        history_close(&h);
        free(directory);
    }
    return o;
}

static double best_of(const Outcome *o) {
    double best = -INFINITY;
    for (uint32_t i = 0; i < o->count; i++) best = fmax(best, o->value[i]);
    return best;
}

static void write_markdown(const Sweep *s, const Outcome *all, FILE *out) {
    bool settings = *s->row[0].setting != 0;
    fprintf(out, "| model |%s seeds | test, mean ± deviation | best seed | beyond the first row | Welch's t (d.f.) | p |\n",
            settings ? " setting |" : "");
    fprintf(out, "|---|%s---|---|---|---|---|---|\n", settings ? "---|" : "");
    for (uint32_t i = 0; i < s->nrows; i++) {
        const Outcome *o = &all[i];
        Welch w;
        fprintf(out, "| %s |", s->row[i].label);
        if (settings) fprintf(out, " %s |", s->row[i].setting);
        if (o->done < s->nseeds)
            fprintf(out, " %u of %u |", o->done, s->nseeds);
        else
            fprintf(out, " %u |", s->nseeds);
        if (o->count) fprintf(out, " %.2f %%", mean_of(o->value, o->count));
        if (o->count > 1) fprintf(out, " ± %.2f", deviation_of(o->value, o->count));
        fputs(" |", out);
        if (o->count) fprintf(out, " %.2f %%", best_of(o));
        fputs(" |", out);
        bool compared = i && o->count && all[0].count;
        if (compared) fprintf(out, " %+.2f", mean_of(o->value, o->count) - mean_of(all[0].value, all[0].count));
        fputs(" |", out);
        bool tested = compared && welch_test(o->value, o->count, all[0].value, all[0].count, &w);
        if (tested) fprintf(out, " %.2f (%.1f)", w.t, w.freedom);
        fputs(" |", out);
        if (tested) fprintf(out, " %.2g", w.p);
        fputs(" |\n", out);
    }
}

static void write_row(const Sweep *s, const SweepRow *row, const Outcome *o, FILE *out) {
    fputs("{\"model\": ", out);
    json_write_string(out, row->label);
    fputs(", \"setting\": ", out);
    json_write_string(out, row->setting);
    fprintf(out, ", \"seeds\": %u, \"done\": %u, \"runs\": [", s->nseeds, o->done);
    for (uint32_t k = 0; k < o->count; k++) {
        char *directory = sweep_file(s, row, o->seed[k], "");
        fprintf(out, "%s{\"seed\": %" PRId64 ", \"directory\": ", k ? ", " : "", o->seed[k]);
        json_write_string(out, directory);
        json_write_member(out, "test", o->value[k]);
        fputc('}', out);
        free(directory);
    }
    fputc(']', out);
    json_write_member(out, "mean", o->count ? mean_of(o->value, o->count) : NAN);
    json_write_member(out, "deviation", o->count > 1 ? deviation_of(o->value, o->count) : NAN);
    json_write_member(out, "best", best_of(o));
    json_write_member(out, "seconds", o->seconds);
    fputc('}', out);
}

static void write_json(const Sweep *s, const Outcome *all, FILE *out) {
    Welch w;
    bool first = true;
    fputs("{\"rows\": [", out);
    for (uint32_t i = 0; i < s->nrows; i++) {
        if (i) fputs(", ", out);
        write_row(s, &s->row[i], &all[i], out);
    }
    fputs("], \"pairs\": [", out);
    for (uint32_t i = 0; i < s->nrows; i++)
        for (uint32_t k = i + 1; k < s->nrows; k++) {
            if (!welch_test(all[k].value, all[k].count, all[i].value, all[i].count, &w)) continue;
            fprintf(out, "%s{\"a\": %u, \"b\": %u", first ? "" : ", ", k, i);
            json_write_member(out, "difference", mean_of(all[k].value, all[k].count) - mean_of(all[i].value, all[i].count));
            json_write_member(out, "t", w.t);
            json_write_member(out, "freedom", w.freedom);
            json_write_member(out, "p", w.p);
            fputc('}', out);
            first = false;
        }
    fputs("]}\n", out);
}

static int write_file(const Sweep *s, const char *name, const char *text) {
    char *path = join("%s/%s", s->directory, name);
    int status = sweep_write(path, "w", text);
    free(path);
    return status;
}

int sweep_print(const Sweep *s, bool json) {
    Outcome *all = calloc(s->nrows, sizeof *all);
    if (!all) exit(fail(EXIT_IO, "out of memory"));
    for (uint32_t i = 0; i < s->nrows; i++) all[i] = outcome_of(s, &s->row[i]);
    TextStream markdown, object;
    text_open(&markdown);
    write_markdown(s, all, markdown.file);
    text_close(&markdown);
    text_open(&object);
    write_json(s, all, object.file);
    text_close(&object);
    int status = write_file(s, "table.md", markdown.text);
    if (!status) status = write_file(s, "table.json", object.text);
    fputs(json ? object.text : markdown.text, stdout);
    free(markdown.text);
    free(object.text);
    free(all);
    return status;
}

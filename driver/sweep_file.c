/* The file of a sweep: lines of words. See docs/cli.md. */
#include "cli/report.h"
#include "driver/sweep.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A model or a setting, and what it sets. */
typedef struct Named {
    const char *name, *sets[SWEEP_SETS];
    uint32_t nsets;
} Named;

/* What a file says, before rows are made of it. */
typedef struct Reading {
    Sweep *sweep;
    int line;
    Named model[SWEEP_ROWS], setting[SWEEP_ROWS];
    uint32_t nmodels, nsettings;
} Reading;

static int mistake(const Reading *r, const char *what) { return fail(EXIT_INPUT, "%s:%d: %s", r->sweep->path, r->line, what); }

/* The next word of a line, which a zero then ends; "" at its end. */
static char *next_word(char **at) {
    char *word = *at + strspn(*at, " \t");
    size_t length = strcspn(word, " \t");
    *at = word + length + (word[length] != 0);
    word[length] = 0;
    return word;
}

static char *trimmed(char *text) {
    text += strspn(text, " \t");
    for (size_t n = strlen(text); n && isspace((unsigned char)text[n - 1]); n--) text[n - 1] = 0;
    return text;
}

/* KEY=VALUE; KEY=VALUE. A ';' inside of a string of the language does not occur. */
static int read_sets(Reading *r, char *rest, const char **sets, uint32_t *nsets) {
    for (char *piece; (piece = strsep(&rest, ";"));) {
        piece = trimmed(piece);
        if (!*piece) continue;
        if (!strchr(piece, '=') || *piece == '=')
            return mistake(r, "expected KEY=VALUE, as --set has it, and ';' between several");
        if (*nsets == SWEEP_SETS) return mistake(r, "too many things are set");
        sets[(*nsets)++] = piece;
    }
    return EXIT_OK;
}

static int read_seeds(Reading *r, char *rest) {
    for (char *c = rest; *c; c++)
        if (*c == ',') *c = ' ';
    while (*(rest = trimmed(rest))) {
        char *end;
        errno = 0;
        int64_t seed = strtoll(rest, &end, 10);
        if (end == rest || errno || seed < 0 || (*end && !isspace((unsigned char)*end)))
            return mistake(r, "a seed is a whole number from 0 up");
        for (uint32_t i = 0; i < r->sweep->nseeds; i++)
            if (r->sweep->seed[i] == seed) return mistake(r, "a seed stands here twice");
        if (r->sweep->nseeds == MAX_SEEDS) return mistake(r, "too many seeds");
        r->sweep->seed[r->sweep->nseeds++] = seed;
        rest = end;
    }
    return EXIT_OK;
}

/* What the sweep decides itself is not an option of its trainings. */
static int read_options(Reading *r, char *rest) {
    static const char *const own[] = {"--seed", "--out", "--resume", "--overwrite", "--threads", "--quiet", "-q"};
    while (*(rest += strspn(rest, " \t"))) {
        char *word = next_word(&rest);
        size_t length = strcspn(word, "=");
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            if (strlen(own[i]) == length && !strncmp(own[i], word, length))
                return mistake(
                    r,
                    "--seed, --out, --resume, --overwrite, --threads and --quiet are the sweep's own: see 'netc sweep --help'");
        if (r->sweep->noptions == SWEEP_OPTIONS) return mistake(r, "too many options");
        r->sweep->option[r->sweep->noptions++] = word;
    }
    return EXIT_OK;
}

static int read_line(Reading *r, char *line) {
    char *key = next_word(&line);
    if (!*key || *key == '#') return EXIT_OK;
    if (!strcmp(key, "seeds")) return read_seeds(r, line);
    if (!strcmp(key, "options")) return read_options(r, line);
    bool model = !strcmp(key, "model"), setting = !strcmp(key, "setting");
    if (!model && !setting) return mistake(r, "a line is 'model', 'setting', 'seeds', 'options', or begins with '#'");
    char *name = next_word(&line);
    if (!*name || (model && name[strlen(name) - 1] == '/'))
        return mistake(r, model ? "a model has a name or a file" : "a setting has a name");
    uint32_t *count = model ? &r->nmodels : &r->nsettings;
    if (*count == SWEEP_ROWS) return mistake(r, "too many of them");
    Named *named = &(model ? r->model : r->setting)[(*count)++];
    named->name = name;
    return read_sets(r, line, named->sets, &named->nsets);
}

/* "resnet20", or with what is set "resnet20 depth=32". */
static char *label_of(const char *model, const char *const *sets, uint32_t nsets) {
    const char *slash = strrchr(model, '/'), *base = slash ? slash + 1 : model, *dot = strrchr(base, '.');
    char *label = join("%.*s", (int)(dot && dot != base ? dot - base : (ptrdiff_t)strlen(base)), base);
    for (uint32_t i = 0; i < nsets; i++) {
        char *longer = join("%s %s", label, sets[i]);
        free(label);
        label = longer;
    }
    return label;
}

/* What can stand in the name of a file. */
static char *file_name(const char *label, const char *setting) {
    char *name = *setting ? join("%s-%s", label, setting) : join("%s", label);
    for (char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-=", *c)) *c = '_';
    if (strlen(name) > 100) name[100] = 0;
    return name;
}

static int make_rows(Reading *r) {
    Sweep *s = r->sweep;
    uint32_t settings = r->nsettings ? r->nsettings : 1;
    if (!r->nmodels) return fail(EXIT_INPUT, "%s names no model", s->path);
    if (!s->nseeds) s->seed[s->nseeds++] = 0;
    if (r->nmodels * settings > SWEEP_ROWS) return fail(EXIT_INPUT, "%s has more than %d rows", s->path, SWEEP_ROWS);
    for (uint32_t m = 0; m < r->nmodels; m++)
        for (uint32_t k = 0; k < settings; k++) {
            SweepRow *row = &s->row[s->nrows++];
            row->model = r->model[m].name;
            row->setting = r->nsettings ? r->setting[k].name : "";
            row->label = label_of(row->model, r->model[m].sets, r->model[m].nsets);
            row->name = file_name(row->label, row->setting);
            for (uint32_t i = 0; i < r->model[m].nsets; i++) row->set[row->nsets++] = r->model[m].sets[i];
            if (r->model[m].nsets + (r->nsettings ? r->setting[k].nsets : 0) > SWEEP_SETS)
                return fail(EXIT_INPUT, "%s: the row %s sets more than %d things", s->path, row->name, SWEEP_SETS);
            for (uint32_t i = 0; i < r->setting[k].nsets; i++) row->set[row->nsets++] = r->setting[k].sets[i];
            for (const SweepRow *other = s->row; other < row; other++)
                if (!strcmp(other->name, row->name)) return fail(EXIT_INPUT, "%s has the row %s twice", s->path, row->name);
        }
    return EXIT_OK;
}

int sweep_read(const char *path, Sweep *sweep) {
    size_t length;
    int status = EXIT_OK;
    *sweep = (Sweep){.path = path};
    sweep->text = read_file(path, &length, &status);
    Reading *r = calloc(1, sizeof *r);
    if (!r) exit(fail(EXIT_IO, "out of memory"));
    r->sweep = sweep;
    char *rest = sweep->text;
    for (char *line; !status && (line = strsep(&rest, "\n"));) {
        r->line++;
        status = read_line(r, trimmed(line));
    }
    if (!status) status = make_rows(r);
    free(r);
    return status;
}

void sweep_free(Sweep *sweep) {
    for (uint32_t i = 0; i < sweep->nrows; i++) {
        free(sweep->row[i].label);
        free(sweep->row[i].name);
    }
    free(sweep->text);
    free(sweep->directory);
}

char *sweep_file(const Sweep *sweep, const SweepRow *row, int64_t seed, const char *ending) {
    return join("%s/%s-%" PRId64 "%s", sweep->directory, row->name, seed, ending);
}

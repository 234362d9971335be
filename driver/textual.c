/* The sections of a file begin where a line does: `graph "name" train`, `graph "name" infer`, `train {`. Each is read from a copy
 * of the text in which the others are blank, so that messages point into the file. */
#include "driver/textual.h"
#include "ir/text.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SECTIONS = 3 };

typedef struct Sections {
    char *text;
    size_t length, begin[MAX_SECTIONS + 1];
    bool recipe[MAX_SECTIONS];
    int count;
    uint32_t file;
} Sections;

bool textual_is(const Session *session) { return session->textual; }

static bool begins(const char *at, const char *word) {
    size_t length = strlen(word);
    return !strncmp(at, word, length) && (isspace((unsigned char)at[length]) || at[length] == '{');
}

/* False if there are too many. */
static bool find_sections(Sections *s) {
    for (const char *line = s->text; line; line = strchr(line, '\n'), line += line != NULL) {
        bool recipe = begins(line, "train");
        if (!recipe && !begins(line, "graph")) continue;
        if (s->count == MAX_SECTIONS) return false;
        s->recipe[s->count] = recipe;
        s->begin[s->count] = s->count ? (size_t)(line - s->text) : 0; /* what stands before the first is its own */
        s->count++;
    }
    if (s->count == 0) s->count = 1; /* what it is the reader says */
    s->begin[s->count] = s->length;
    return true;
}

static int read_sections(Session *session, Sections *s) {
    int status = EXIT_OK;
    *s = (Sections){0};
    s->text = session_read_text(session, &s->length, &status);
    if (!s->text) return status;
    if (!session->diag) session->diag = diag_new();
    s->file = diag_add_file(session->diag, session->path, s->text, s->length);
    if (find_sections(s)) return EXIT_OK;
    free(s->text);
    s->text = NULL;
    return fail(EXIT_INPUT, "'%s' has more than a graph of training, one of inference, and a recipe", session->path);
}

/* The text with everything but section i blank; malloc'd. */
static char *alone(const Sections *s, int i) {
    char *text = malloc(s->length + 1);
    if (!text) out_of_memory("no room for a graph's text");
    for (size_t k = 0; k < s->length; k++)
        text[k] = (k >= s->begin[i] && k < s->begin[i + 1]) || s->text[k] == '\n' ? s->text[k] : ' ';
    text[s->length] = 0;
    return text;
}

/* ---- graphs ---- */

static int read_graph(Session *session, const Sections *s, int i, Graph **graph) {
    char *text = alone(s, i);
    *graph = graph_read(text, s->length, s->file, session->diag);
    free(text);
    if (!*graph) return session_compile_failed(session);
    char *wrong = graph_verify(*graph, 0);
    if (!wrong) return EXIT_OK;
    int status = fail(EXIT_INPUT, "'%s' is not a sound graph: %s", session->path, wrong);
    free(wrong);
    graph_free(*graph);
    *graph = NULL;
    return status;
}

/* The one graph of this mode; NULL if there is none. */
static int find_graph(Session *session, const Sections *s, Mode mode, Graph **found) {
    int status = EXIT_OK;
    *found = NULL;
    for (int i = 0; i < s->count && !status; i++) {
        Graph *g = NULL;
        if (s->recipe[i]) continue;
        status = read_graph(session, s, i, &g);
        if (g && g->mode == mode && !*found) {
            *found = g;
            continue;
        }
        if (g && g->mode == mode) status = fail(EXIT_INPUT, "'%s' has two graphs of one mode", session->path);
        graph_free(g);
    }
    if (status) graph_free(*found), *found = NULL;
    return status;
}

int textual_modes(Session *session, unsigned *modes) {
    Sections s;
    int status = read_sections(session, &s);
    *modes = 0;
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !status; mode++) {
        Graph *g;
        status = find_graph(session, &s, mode, &g);
        if (g) *modes |= mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER;
        graph_free(g);
    }
    free(s.text);
    return status;
}

/* For `batch` images. */
static int resize(Session *session, int64_t batch, Graph **graph) {
    char *why = NULL;
    if (!batch || batch == graph_batch(*graph)) return EXIT_OK;
    Graph *resized = graph_with_batch(*graph, batch, &why);
    graph_free(*graph);
    *graph = resized;
    if (resized) return EXIT_OK;
    int status = fail(EXIT_INPUT, "'%s' is not a graph for any number of images: %s", session->path, why);
    free(why);
    return status;
}

/* ---- recipe ---- */

/* "train.loss", or a part of it. */
static bool begins_key(const char *set, const char *key) {
    size_t length = strlen(key);
    return !strncmp(set, key, length) && strchr(" .=", set[length]);
}

/* From the `train` block, if there is one, and --set. */
static int read_recipe(Session *session, const Sections *s, Model *model) {
    const Options *o = session->options;
    char *text = NULL;
    for (int i = 0; i < s->count; i++)
        if (s->recipe[i] && !text) text = alone(s, i);
    for (uint32_t i = 0; i < o->sets.count; i++)
        if (begins_key(o->sets.item[i], "train.loss") || begins_key(o->sets.item[i], "train.batch"))
            return fail(EXIT_USAGE, "'--set %.40s' is about a .net model: a graph's text has its loss and its batch",
                        o->sets.item[i]);
    FrontendOptions front = {.sets = o->sets.item, .nsets = o->sets.count, .alike = o->compare != NULL};
    bool ok = frontend_recipe(text ? text : "", text ? s->length : 0, s->file, &front, session->diag, model);
    free(text);
    return ok ? EXIT_OK : session_compile_failed(session);
}

/* Are the leaves of inference those of training? Images are, but for their number. */
static int check_leaves(const Session *session, const Graph *train, const Graph *infer) {
    Val at = 0;
    for (Val v = 0; v < infer->count; v++) {
        const Value *ours = &infer->value[v], *theirs = NULL;
        if (op_attr_kind(ours->op) != ATTR_PARAM) continue;
        for (Val k = 0; k < train->count && !theirs; k++, at = (at + 1) % train->count) /* both have them in one order */
            if (train->value[at].op == ours->op && !strcmp(train->value[at].attrs.param.name, ours->attrs.param.name))
                theirs = &train->value[at];
        Type type = ours->type;
        if (ours->op == OP_INPUT && theirs && type.rank == 4) type.dim[0] = theirs->type.dim[0];
        if (theirs && type_equal(type, theirs->type) && ours->attrs.param.position == theirs->attrs.param.position) continue;
        return fail(EXIT_INPUT, "'%s' is not one net: the graph of training has no %s '%s' like that of inference", session->path,
                    op_text(ours->op), ours->attrs.param.name);
    }
    return EXIT_OK;
}

int textual_model(Session *session, Mode mode, int64_t batch, Model *model) {
    Sections s;
    *model = (Model){0};
    if (session->options->net) return fail(EXIT_USAGE, "'--net' is about a .net model; '%s' is one net's graphs", session->path);
    int status = read_sections(session, &s);
    if (status) return status;
    Graph *graph = NULL;
    status = find_graph(session, &s, mode, &graph);
    if (!status && !graph)
        status = fail(EXIT_INPUT, "'%s' has no graph of %s: 'netc ir MODEL --mode=both' writes both", session->path,
                      mode == MODE_TRAIN ? "training" : "inference");
    if (!status && mode == MODE_TRAIN && session->options->batch && session->options->batch != graph_batch(graph))
        status = fail(EXIT_USAGE, "'--batch' is about a .net model; a graph of training is for as many images as its text says");
    if (!status && mode == MODE_INFER) status = resize(session, batch, &graph);
    if (!status && mode == MODE_INFER && session->train.graph) status = check_leaves(session, session->train.graph, graph);
    if (!status) {
        *model = (Model){.graph = graph, .name = arena_strdup(graph->arena, graph->name)};
        status = read_recipe(session, &s, model);
    }
    if (status) graph_free(graph), *model = (Model){0};
    free(s.text);
    return status;
}

/* ---- what is left to do ---- */

/* Of maps only fusion makes some with several outputs: in a net without convolutions nothing else shows that it has run. */
static bool is_fused(const Graph *g) {
    for (Val v = 0; v < g->count; v++)
        if (op_tier(g->value[v].op) == TIER_FUSED || g->value[v].nregions > (g->value[v].op == OP_MAP)) return true;
    return false;
}

void textual_skip(const Graph *g, PassOptions *options) {
    if (options->pipeline) return; /* said in full */
    bool gradients = false;
    for (uint32_t i = 0; i < g->noutputs; i++) gradients |= g->output[i].kind == OUT_GRAD;
    options->finished = is_fused(g);
    if (gradients) options->start_after = "autodiff";
}

int textual_skip_all(Session *session, unsigned modes, PassOptions *options) {
    Sections s;
    int status = read_sections(session, &s);
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !status; mode++) {
        Graph *g = NULL;
        if (!(modes & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER))) continue;
        status = find_graph(session, &s, mode, &g);
        if (g) textual_skip(g, &options[mode]);
        graph_free(g);
    }
    free(s.text);
    return status;
}

#include "driver/account.h"
#include "cli/report.h"
#include "ir/expr.h"
#include <stdlib.h>
#include <string.h>

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) out_of_memory("no room for the account of a step's memory");
    return memory;
}

const char *account_label(const Account *a, Val v) {
    const Value *value = &a->g->value[v];
    return arena_printf(a->arena, "%%%u %s%s%s", v, op_text(value->op), value->name ? " of " : "",
                        value->name ? value->name : "");
}

/* ---- what passes said ---- */

void history_watch(void *history, const PassRun *run, const Graph *before, const Graph *after) {
    PassHistory *h = history;
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 32;
        void *more = realloc(h->item, h->capacity * sizeof *h->item);
        if (!more) out_of_memory("no room for the history of a graph");
        h->item = more;
    }
    h->item[h->count].run = join("%s", run->name);
    h->item[h->count].before = graph_copy(before);
    h->item[h->count++].after = graph_copy(after);
}

void history_free(PassHistory *h) {
    for (uint32_t i = 0; i < h->count; i++) {
        free(h->item[i].run);
        graph_free(h->item[i].before);
        graph_free(h->item[i].after);
    }
    free(h->item);
    *h = (PassHistory){0};
}

/* The op that makes the elements of v: of a region of a convolution a map. */
static Op making_op(const Graph *g, Val v) {
    uint32_t result;
    const Value *source = &g->value[value_source(g, v, &result)];
    return op_is_convolution(source->op) && result > 0 ? OP_MAP : source->op;
}

const char *account_name(const Graph *g, Val v) {
    const Value *value = &g->value[v];
    return value->name ? value->name : g->value[value_source(g, v, NULL)].name;
}

/* Is the event about what v is in the end? A value keeps its name and what makes it through the passes, but not its id. */
static bool is_about(const PassHistory *h, const Event *e, const Graph *g, Val v) {
    const char *name = account_name(g, v);
    for (uint32_t i = 0; name && i < h->count; i++) {
        if (strcmp(h->item[i].run, e->run) != 0) continue;
        for (uint32_t k = 0; k < e->about.count; k++) {
            EventValue about = e->about.item[k];
            const Graph *then = about.before != NO_VAL ? h->item[i].before : h->item[i].after;
            Val at = about.before != NO_VAL ? about.before : about.after;
            const char *other = at != NO_VAL ? account_name(then, at) : NULL;
            if (other && !strcmp(other, name) && making_op(then, at) == making_op(g, v)) return true;
        }
    }
    return false;
}

static void find_refused(Account *a, const PassResult *passes, const PassHistory *h, MapAccount *m) {
    m->refused = ARENA_ARRAY(a->arena, const Event *, passes->nevents);
    for (uint32_t i = 0; i < passes->nevents; i++) {
        const Event *e = &passes->events[i];
        if (e->kind != EVENT_DONE && is_about(h, e, a->g, m->buffer.value)) m->refused[m->nrefused++] = e;
    }
}

/* ---- questions ---- */

static bool is_map(const Account *a, Val v) {
    for (uint32_t i = 0; i < a->nmaps; i++)
        if (a->map[i].buffer.value == v) return true;
    return a->g->value[v].op == OP_INPUT && a->g->value[v].type.rank == 4;
}

static void ask(MapReader *r, Way way, const char *text, const char *no) {
    r->question[r->nquestions++] = (Question){way, text, no == NULL, no};
}

/* Does it go over a map's elements, each by itself? */
static bool is_elementwise(Op op) { return op == OP_MAP || op == OP_IMAGE_SUM; }
static bool takes_expressions(Op op) { return is_elementwise(op) || op_is_convolution(op); }

/* Does a convolution read the map through its windows: as an operand, or as what an operand is computed from? Else its epilogue
 * does, element by element. */
static bool reads_windows(const Value *conv, Val map) {
    for (int operand = 0; operand < 2; operand++) {
        const Region *prologue = value_region(conv, REGION_PROLOGUE, operand);
        if (!prologue && conv->args[operand] == map) return true;
        for (uint32_t i = 0; prologue && i < conv->nargs; i++)
            if (conv->args[i] == map && expr_uses_arg(prologue->expr, i)) return true;
    }
    return false;
}

static const char *how_it_reads(const Account *a, Val map, Val reader) {
    Op op = a->g->value[reader].op;
    if (op_is_convolution(op) && !reads_windows(&a->g->value[reader], map))
        return "it reads it behind a convolution of other values, whose loop it stays in";
    if (op == OP_CONV2D_BWD_WEIGHTS) return "a filter's gradient sums over all its pixels and images";
    if (op_is_convolution(op)) return "a convolution sums over windows and channels of it";
    return arena_printf(a->arena, "'%s' reads windows, or all of it at once", op_text(op));
}

/* The region of a convolution that makes it; NULL: the value itself. */
static const Region *region_of(const Graph *g, Val map) {
    uint32_t result;
    const Value *source = &g->value[value_source(g, map, &result)];
    for (uint32_t i = 0; i < source->nregions; i++)
        if (region_makes_result(source->regions[i].role) && region_result(source, i) == result) return &source->regions[i];
    return NULL;
}

/* What else `reader` reads that is known only when all of the map's maker is done; NO_VAL. reached[]: what depends on the maker.
 */
static Val find_late(const Account *a, Val map, Val maker, Val reader, const bool *reached) {
    const Value *value = &a->g->value[reader];
    for (uint32_t i = 0; i < value->nargs; i++) {
        Val arg = value->args[i], source = value_source(a->g, arg, NULL);
        if (arg == map) continue;
        const Region *made = region_of(a->g, arg);
        bool sums = source == maker && (a->g->value[arg].type.rank < 4 || (made && region_reduces(made->role)));
        if (sums || (source != maker && reached[source])) return arg;
    }
    return NO_VAL;
}

/* What it reads that is made behind the maker; NO_VAL. Its loop would have to move there. */
static Val find_later(const Account *a, Val map, Val maker, Val reader) {
    const Value *value = &a->g->value[reader];
    for (uint32_t i = 0; i < value->nargs; i++)
        if (value->args[i] != map && value_source(a->g, value->args[i], NULL) > maker) return value->args[i];
    return NO_VAL;
}

/* Is it an operand that a convolution stores as it loads it? */
static bool is_stored_operand(const Graph *g, Val map) {
    const Region *region = region_of(g, map);
    return region && region->role == REGION_STORE;
}

static const char *takes_none(Account *a, const MapAccount *m, const Value *reader) {
    const Value *maker = &a->g->value[m->maker];
    if (is_stored_operand(a->g, m->buffer.value))
        return "a convolution stores it as it loads it, and computes more only of its own result";
    const Region *made = region_of(a->g, m->buffer.value);
    if (made && region_reduces(made->role)) return "it is a sum, or the greatest, of many elements, known behind that loop";
    for (uint32_t i = 0; i < reader->nregions && op_is_convolution(maker->op); i++)
        if (region_reduces(reader->regions[i].role))
            return "the loop of a convolution makes sums of an image, and no other sums or maxima";
    return takes_expressions(maker->op) ? NULL : arena_printf(a->arena, "the loop of '%s' takes none", op_text(maker->op));
}

/* Does a loop over `space` have each element of a map several times, since the map has 1 in place of an extent? */
static bool repeats(Type map, Type space) {
    for (int i = 1; i < 4 && space.rank == 4; i++)
        if (map.dim[i] == 1 && space.dim[i] > 1) return true;
    return false;
}

/* NULL: it has each element once, or as often as windows do. */
static const char *has_several_times(Account *a, Val map, Val reader) {
    const Graph *g = a->g;
    const Value *value = &g->value[reader];
    Type type = g->value[map].type;
    bool is = value->op == OP_MAP && repeats(type, value->space);
    for (uint32_t r = 0; r < value->nregions && op_is_convolution(value->op); r++) {
        const Region *region = &value->regions[r];
        bool reads = false;
        for (uint32_t i = 0; i < value->nargs; i++)
            reads |= value->args[i] == map && region->expr && expr_uses_arg(region->expr, i);
        for (uint32_t i = 0; i < value->nargs && reads; i++)
            is |= expr_uses_arg(region->expr, i) && repeats(type, g->value[value->args[i]].type);
        if (reads && region->role != REGION_PROLOGUE) is |= repeats(type, value->type);
    }
    return is ? "the reader has each of its elements several times, and it is computed once" : NULL;
}

static void ask_joining(Account *a, const MapAccount *m, MapReader *r, const bool *reached) {
    const Graph *g = a->g;
    Val late = find_late(a, m->buffer.value, m->maker, r->value, reached);
    Val later = find_later(a, m->buffer.value, m->maker, r->value);
    ask(r, WAY_JOIN, "does the reader go over the elements one by one?",
        is_elementwise(g->value[r->value].op) ? NULL : how_it_reads(a, m->buffer.value, r->value));
    ask(r, WAY_JOIN, "does the loop that makes it take further expressions?", takes_none(a, m, &g->value[r->value]));
    const char *no = NULL;
    if (late != NO_VAL)
        no = arena_printf(a->arena, "%s depends on all of it", account_label(a, late));
    else if (later != NO_VAL)
        no = arena_printf(a->arena, "%s comes later", account_label(a, later));
    ask(r, WAY_JOIN, "is all else that the reader reads there by then?", no);
    ask(r, WAY_JOIN, "does the reader have each element once?", has_several_times(a, m->buffer.value, r->value));
}

static uint32_t maps_read(const Account *a, Val maker) {
    const Value *value = &a->g->value[maker];
    uint32_t count = 0;
    for (uint32_t i = 0; i < value->nargs; i++) count += is_map(a, value->args[i]);
    return count;
}

/* Does an elementwise op read anything of its own size? */
static bool has_element(const Graph *g, Val v) {
    const Value *value = &g->value[v];
    for (uint32_t i = 0; i < value->nargs; i++)
        if (type_equal(g->value[value->args[i]].type, value->space)) return true;
    return false;
}

static void ask_recomputing(Account *a, const MapAccount *m, MapReader *r) {
    const Graph *g = a->g;
    Op maker = g->value[m->maker].op, reader = g->value[r->value].op;
    bool stored = is_stored_operand(g, m->buffer.value);
    const Region *made = region_of(g, m->buffer.value);
    const char *no = NULL;
    if (op_is_convolution(maker) && !stored)
        no = "it is a convolution's result, which would be computed again for every window";
    else if (made && region_reduces(made->role))
        no = "it is a sum, or the greatest, of many elements";
    else if (maker == OP_INPUT)
        no = "it is the images, packed once as kernels other than convolutions read them";
    else if (!op_is_convolution(maker) && !is_elementwise(maker))
        no = arena_printf(a->arena, "it is made by '%s'", op_text(maker));
    else if (maker == OP_MAP && op_is_convolution(reader) && !has_element(g, m->maker))
        no = "it is made of smaller values, none of which can be loaded in its place";
    ask(r, WAY_RECOMPUTE, "is it computed from other maps, element by element?", no);
    ask(r, WAY_RECOMPUTE, "does the reader compute what it loads?",
        takes_expressions(reader) ? NULL : arena_printf(a->arena, "'%s' loads as it is", op_text(reader)));
    ask(r, WAY_RECOMPUTE, "does the reader have each element once?", has_several_times(a, m->buffer.value, r->value));
    uint32_t maps = maps_read(a, m->maker), readers = m->nreaders + stored;
    ask(r, WAY_RECOMPUTE, "is reading what it is made of no more than reading it?",
        readers < 2 || maps < 2
            ? NULL
            : arena_printf(a->arena, "%u kernels read it, and would each read %u maps instead", readers, maps));
}

static void ask_all(Account *a, const MapAccount *m, MapReader *r, const bool *reached) {
    if (r->value == NO_VAL) {
        ask(r, WAY_JOIN, "may it be left out?", "it is an output");
        ask(r, WAY_RECOMPUTE, "may it be left out?", "it is an output");
        return;
    }
    ask_joining(a, m, r, reached);
    ask_recomputing(a, m, r);
}

static bool is_against(const MapReader *r, Way way) {
    for (uint32_t i = 0; i < r->nquestions; i++)
        if (r->question[i].way == way && !r->question[i].yes) return true;
    return false;
}

static bool is_blocked(const MapReader *r) { return is_against(r, WAY_JOIN) && is_against(r, WAY_RECOMPUTE); }

/* What one reader could do without is read by it all the same where another one cannot. */
static void ask_about_others(Account *a, MapAccount *m) {
    const MapReader *needs = NULL;
    for (uint32_t i = 0; i < m->nreaders && !needs; i++)
        if (is_blocked(&m->reader[i])) needs = &m->reader[i];
    if (!needs) return;
    const char *other = needs->value == NO_VAL
                            ? "it is an output"
                            : arena_printf(a->arena, "%s reads it in any case", account_label(a, needs->value));
    for (uint32_t i = 0; i < m->nreaders; i++) {
        MapReader *r = &m->reader[i];
        if (is_blocked(r)) continue;
        for (Way way = 0; way < WAYS; way++)
            if (!is_against(r, way)) ask(r, way, "does no other reader need it?", other);
    }
}

/* ---- kernels ---- */

static bool refers_to(const RtCall *call, uint64_t offset) {
    for (uint32_t i = 0; i < call->nrefs; i++)
        if (call->refs[i].space == RT_ARENA && call->refs[i].offset == offset) return true;
    return false;
}

/* The call for value v that takes the buffer; where v has none of its own, since it shares a kernel, the one between the buffer's
 * ends that does. Convolutions share with convolutions only. */
static const char *kernel_of(const Account *a, const Jit *jit, Val v, const StepBuffer *b) {
    const RtProgram *p = jit_program(jit);
    const RtEntry *entry = a->g->mode == MODE_TRAIN ? &p->train_step : &p->eval_step;
    const Val *value = jit_call_values(jit, entry);
    const char *found = NULL, *own = NULL;
    bool has_own = false;
    for (uint32_t i = 0; i < entry->ncalls; i++) {
        bool shares = value[i] != NO_VAL && op_is_convolution(a->g->value[value[i]].op) == op_is_convolution(a->g->value[v].op);
        bool is = value[i] == v, refers = shares && refers_to(&entry->calls[i], b->offset);
        if (is && refers) return entry->calls[i].name;
        if (is && !own) own = entry->calls[i].name;
        has_own |= is;
        if (refers && !found && value[i] != NO_VAL && value[i] >= b->first && value[i] <= b->last && value[i] < v)
            found = entry->calls[i].name;
        if (refers && !has_own && value[i] != NO_VAL && value[i] > b->first && value[i] <= b->last && value[i] < v)
            found = entry->calls[i].name; /* the last before it */
    }
    return own ? own : found;
}

/* ---- all of it ---- */

static bool is_gradient(const Graph *g, Val v) {
    const char *name = account_name(g, v);
    size_t length = name ? strlen(name) : 0;
    return length > 5 && !strcmp(name + length - 5, ":grad");
}

static bool *find_reached(const Graph *g, Val maker) {
    bool *reached = zeroed(g->count, sizeof *reached);
    reached[maker] = true;
    for (Val v = maker + 1; v < g->count; v++)
        for (uint32_t i = 0; i < g->value[v].nargs; i++) reached[v] |= reached[g->value[v].args[i]];
    return reached;
}

static void find_readers(Account *a, MapAccount *m) {
    const Graph *g = a->g;
    Val map = m->buffer.value;
    m->reader = ARENA_ARRAY(a->arena, MapReader, m->buffer.last - m->buffer.first + 2);
    for (Val v = m->buffer.first + 1; v < g->count && v <= m->buffer.last; v++) {
        bool reads = false;
        for (uint32_t i = 0; i < g->value[v].nargs && g->value[v].op != OP_RESULT; i++) reads |= g->value[v].args[i] == map;
        if (reads) m->reader[m->nreaders++] = (MapReader){.value = v, .backward = is_gradient(g, v) && !is_gradient(g, map)};
    }
    bool output = false;
    for (uint32_t i = 0; i < g->noutputs; i++) output |= g->output[i].value == map;
    if (output) m->reader[m->nreaders++] = (MapReader){.value = NO_VAL};
}

static void add_bytes(Account *a, const StepBuffer *b) {
    bool filters = b->first == 0 && b->last == a->g->count && a->g->value[b->value].type.rank == 4;
    *(b->map ? &a->map_bytes : b->workspace ? &a->workspace_bytes : filters ? &a->filter_bytes : &a->vector_bytes) += b->bytes;
}

bool account_make(const PassResult *passes, const PassHistory *history, const Jit *jit, const CodegenOptions *code, Account *a,
                  Diag *diag) {
    *a = (Account){.arena = arena_new(), .g = passes->graph};
    if (!codegen_step_memory(a->g, code, a->arena, &a->memory, diag)) return false;
    a->map = ARENA_ARRAY(a->arena, MapAccount, a->memory.count);
    for (uint32_t i = 0; i < a->memory.count; i++) {
        const StepBuffer *b = &a->memory.buffer[i];
        add_bytes(a, b);
        if (b->map) a->map[a->nmaps++] = (MapAccount){.buffer = *b, .maker = value_source(a->g, b->value, NULL)};
    }
    for (uint32_t i = 0; i < a->nmaps; i++) {
        MapAccount *m = &a->map[i];
        bool *reached = find_reached(a->g, m->maker);
        find_readers(a, m);
        m->kernel = kernel_of(a, jit, m->maker, &m->buffer);
        for (uint32_t k = 0; k < m->nreaders; k++) {
            MapReader *r = &m->reader[k];
            if (r->value != NO_VAL) r->kernel = kernel_of(a, jit, r->value, &m->buffer);
            ask_all(a, m, r, reached);
        }
        ask_about_others(a, m);
        free(reached);
        find_refused(a, passes, history, m);
        m->explained = m->nreaders > 0 && (is_blocked(&m->reader[0]) || m->nrefused > 0); /* all are, or none */
    }
    return true;
}

void account_free(Account *a) {
    arena_free(a->arena);
    *a = (Account){0};
}

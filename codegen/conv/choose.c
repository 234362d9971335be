/* The choosing pass (choose.h). */
#include "codegen/conv/choose.h"
#include "codegen/conv/methods.h"
#include "codegen/conv/shared/cost.h"
#include "codegen/conv/shared/pairs.h"
#include "codegen/program/key.h"
#include "codegen/program/shards.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct Chooser {
    Arena *arena;
    const Target *t;
    const CodegenOptions *options;
    const Graph *g;
    Diag *diag;
    const char *cpu;
    const bool *read;
    Arena *scratch; /* for plans that nobody keeps */
    ConvSite *site;
    uint32_t count, *at; /* by value id, its site's index + 1; 0: not a convolution */
} Chooser;

/* NULL: not a convolution. */
static ConvSite *find(const Chooser *c, Val v) { return v != NO_VAL && c->at[v] ? &c->site[c->at[v] - 1] : NULL; }

/* ---- keys ---- */

/* The readable part says direction, input and filters; the hash the rest, such as fused regions, and for weights that a pair
 * could compute, the backward data of that pair: the same weights are decided anew beside other data. */
static char *site_key(const Chooser *c, const ConvSite *site) {
    static const char *const directions[] = {[CONV_FORWARD] = "forward", [CONV_DATA] = "data", [CONV_WEIGHTS] = "weights"};
    const Value *v = site->problem->v;
    const ConvShape *s = &site->problem->s;
    uint32_t n = value_results(c->g, site->value);
    bool *wanted = ARENA_ARRAY(c->scratch, bool, n);
    wanted[0] = c->read[site->value];
    for (Val r = v->results; r; r = c->g->value[r].results) wanted[c->g->value[r].attrs.index] = c->read[r];
    char *structure = key_of_value(c->scratch, c->g, site->value, wanted);
    if (site->problem->direction == CONV_WEIGHTS && site->partner != NO_VAL)
        structure = arena_printf(c->scratch, "%s beside %s", structure, find(c, site->partner)->key);
    return arena_printf(c->arena,
                        "%s,%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 ",o%" PRId64 ",%" PRId64 "x%" PRId64 "s%" PRId64
                        "%s#%016" PRIx64,
                        directions[site->problem->direction], s->N, s->I, s->in[0], s->in[1], s->O, s->kernel[0], s->kernel[1],
                        s->stride[0], site->partner != NO_VAL ? "+sweep" : "", key_hash(structure));
}

/* ---- candidates ---- */

/* By a choice, if it can be; of data, by a pair, of both. */
static const void *plan_of(const Chooser *c, Arena *arena, const ConvSite *site, const ConvChoice *choice) {
    const ConvMethod *m = choice->method;
    const ConvProblem *p = site->problem;
    if (!conv_applies(m, p)) return NULL;
    if (!choice->pair) return conv_way(m, p)->plan(arena, p, choice);
    if (p->direction != CONV_DATA || site->partner == NO_VAL) return NULL;
    return m->pair->plan(arena, p, find(c, site->partner)->problem, choice);
}

static void add(const Chooser *c, ConvSite *site, const ConvChoice *choice) {
    const void *plan = site->ncandidates < CONV_CANDIDATES ? plan_of(c, c->arena, site, choice) : NULL;
    if (!plan) return;
    site->candidate_plan[site->ncandidates] = plan;
    site->candidate[site->ncandidates++] = *choice;
}

/* Of one method. The kernel's own sizes first. */
static void list_method(const Chooser *c, ConvSite *site, const ConvMethod *method, bool pair) {
    if (pair && !method->pair) return;
    ConvChoice choice = {.method = method, .pair = pair}, sized[CONV_MAX_SIZES] = {{0}};
    const void *own = plan_of(c, c->scratch, site, &choice);
    uint32_t (*sizes)(const ConvProblem *, const void *, ConvChoice *) = conv_way(method, site->problem)->candidates;
    if (pair) sizes = method->pair->candidates;
    uint32_t n = own && sizes ? sizes(site->problem, own, sized) : 0;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(choice.sizes, sized[i].sizes, sizeof choice.sizes);
        add(c, site, &choice);
    }
    if (own && !n) add(c, site, &choice);
}

/* only: NULL, or the one method that is wanted. */
static void list_candidates(const Chooser *c, ConvSite *site, const ConvMethod *only) {
    for (int pair = site->problem->direction == CONV_DATA; pair >= 0; pair--)
        for (uint32_t i = 0; conv_methods[i]; i++)
            if (!only || only == conv_methods[i]) list_method(c, site, conv_methods[i], pair);
}

/* ---- the pass ---- */

static bool pairs_up(const Chooser *c, const ConvSite *data) {
    bool pairs = false;
    for (uint32_t i = 0; conv_methods[i] && !pairs; i++)
        pairs = conv_methods[i]->pair && plan_of(c, c->scratch, data, &(ConvChoice){.method = conv_methods[i], .pair = true});
    return pairs;
}

static void find_partners(const Chooser *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        ConvSite *data = &c->site[i];
        if (data->problem->direction != CONV_DATA) continue;
        ConvSite *weights = find(c, pair_weights(c->g, data->value));
        if (!weights || !c->read[data->value] || !c->read[weights->value]) continue;
        data->partner = weights->value;
        if (!pairs_up(c, data)) data->partner = NO_VAL;
        if (data->partner == NO_VAL) continue;
        weights->partner = data->value;
        data->keeps_dy = weights->keeps_dy = pair_keeps_dy(c->g, weights->value);
    }
}

static void predict(const Chooser *c, ConvSite *site) {
    const ConvProblem *p = site->problem, *partner = site->partner == NO_VAL ? NULL : find(c, site->partner)->problem;
    for (uint32_t i = 0; i < site->ncandidates; i++) {
        const ConvMethod *m = site->candidate[i].method;
        const void *plan = site->candidate_plan[i];
        ConvWork w = site->candidate[i].pair ? m->pair->work(p, partner, plan) : conv_way(m, p)->work(p, plan);
        double memory = site->candidate[i].pair ? cost_pair_memory(p, partner, c->read, site->keeps_dy) : cost_memory(p, c->read);
        site->predicted[i] = cost_seconds(&w, memory);
    }
}

/* The best by the cost model, which ranks methods only: their sizes are the kernels' own, or measured. */
static uint32_t predicted_best(const ConvSite *site, bool pair) {
    double seconds[CONV_CANDIDATES];
    for (uint32_t i = 0; i < site->ncandidates; i++) {
        bool passed_over = site->candidate[i].method->last_resort && site->ncandidates > 1;
        seconds[i] = conv_site_own_sizes(site, i) && !passed_over ? site->predicted[i] : HUGE_VAL;
    }
    return conv_site_best(site, seconds, pair);
}

static bool is_paired_weights(const ConvSite *site) {
    return site->problem->direction == CONV_WEIGHTS && site->partner != NO_VAL;
}

static uint32_t cheapest(const Chooser *c, const ConvSite *site) {
    const ConvSite *partner = find(c, site->partner);
    uint32_t alone = predicted_best(site, false), paired = predicted_best(site, true);
    if (paired == site->ncandidates || !partner) return alone;
    double weights = partner->predicted[predicted_best(partner, false)];
    return site->predicted[paired] < site->predicted[alone] + weights ? paired : alone;
}

/* Takes a choice, if it can be: a candidate's, with its plan, or another one. */
static bool take(const Chooser *c, ConvSite *site, const ConvChoice *choice) {
    site->plan = NULL;
    for (uint32_t i = 0; i < site->ncandidates && !site->plan; i++)
        if (choice_equal(&site->candidate[i], choice)) site->plan = site->candidate_plan[i];
    if (!site->plan) site->plan = plan_of(c, c->arena, site, choice);
    if (site->plan) site->choice = *choice;
    return site->plan != NULL;
}

/* What a table says, if it can be done. Of a pair, data's entry decides whether it is one. */
static bool look_up(const Chooser *c, ConvSite *site, const ChoiceTable *table) {
    const ChoiceEntry *entry = choices_find(table, c->cpu, site->key);
    return entry && take(c, site, &entry->choice);
}

static void refuse(const Chooser *c, const ConvSite *site) {
    const ChoiceEntry *entry = choices_find(c->options->pinned, c->cpu, site->key);
    const Value *v = &c->g->value[site->value];
    if (entry)
        diag_error(c->diag, v->span, "'%s' cannot be computed by '%s', as the given choices say: %s",
                   v->name ? v->name : op_text(v->op), choice_text(c->arena, &entry->choice), site->key);
    else
        diag_error(c->diag, v->span,
                   "the given choices have none for '%s' on %s: %s; they were made for another model, batch size, CPU or version "
                   "of netc",
                   v->name ? v->name : op_text(v->op), c->cpu, site->key);
}

static bool choose(const Chooser *c, ConvSite *site) {
    const ConvSite *partner = is_paired_weights(site) ? find(c, site->partner) : NULL;
    if (partner && partner->choice.pair) {
        site->choice = partner->choice;
        return true;
    }
    if (c->options->pinned) {
        bool found = look_up(c, site, c->options->pinned);
        if (!found) refuse(c, site);
        return found;
    }
    const ChoiceTable *table = c->options->measured;
    bool measured = table && look_up(c, site, table);
    if (!measured) take(c, site, &site->candidate[cheapest(c, site)]);
    site->passed_over = !measured && table && choices_find(table, c->cpu, site->key);
    return true;
}

/* "forward winograd block 16, predicted 0.41 ms; direct tile 1x8x2 0.93, gemm 2.10" */
static void remark(const Chooser *c, const ConvSite *site) {
    if (!c->options->remark) return;
    const Value *v = &c->g->value[site->value];
    char *text = arena_printf(c->arena, "%s %.*s: %s", v->name ? v->name : "convolution", (int)strcspn(site->key, ","), site->key,
                              choice_text(c->arena, &site->choice));
    if (is_paired_weights(site) && site->choice.pair) text = arena_printf(c->arena, "%s, with data", text);
    const char *separator = "; instead of";
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < site->ncandidates; i++) {
            bool chosen = choice_equal(&site->candidate[i], &site->choice);
            if (pass == 0 && chosen) text = arena_printf(c->arena, "%s, predicted %.3f ms", text, 1e3 * site->predicted[i]);
            if (pass == 0 || chosen || !conv_site_own_sizes(site, i)) continue;
            text = arena_printf(c->arena, "%s%s %s %.3f", text, separator, choice_text(c->arena, &site->candidate[i]),
                                1e3 * site->predicted[i]);
            separator = ",";
        }
    c->options->remark(c->options->remark_context, v->span, text);
}

static void list_sites(Chooser *c) {
    const Graph *g = c->g;
    for (Val v = 0; v < g->count; v++) c->count += op_is_convolution(g->value[v].op);
    c->site = ARENA_ARRAY(c->arena, ConvSite, c->count);
    c->at = ARENA_ARRAY(c->arena, uint32_t, g->count);
    c->count = 0;
    for (Val v = 0; v < g->count; v++) {
        if (!op_is_convolution(g->value[v].op)) continue;
        ConvProblem problem = conv_problem(c->t, g, v);
        problem.shards = shards_of(g, c->options);
        c->site[c->count++] = (ConvSite){.value = v, .partner = NO_VAL, .problem = CONV_PLAN(c->arena, problem)};
        c->at[v] = c->count;
    }
}

bool choose_convolutions(Arena *arena, const Target *t, const CodegenOptions *options, const Graph *g, Diag *diag,
                         ConvSites *out) {
    Chooser c = {.arena = arena, .t = t, .options = options, .g = g, .diag = diag, .scratch = arena_new()};
    c.cpu = choice_cpu(arena, t);
    c.read = graph_reads(arena, g);
    list_sites(&c);
    find_partners(&c);
    for (uint32_t i = 0; i < c.count; i++) {
        c.site[i].key = site_key(&c, &c.site[i]);
        list_candidates(&c, &c.site[i], options->conv);
        if (!c.site[i].ncandidates) list_candidates(&c, &c.site[i], NULL); /* where --conv's does not apply, others are as good */
    }
    for (uint32_t i = 0; i < c.count; i++) predict(&c, &c.site[i]);
    bool chosen = true;
    for (uint32_t i = 0; i < c.count; i++) chosen &= choose(&c, &c.site[i]); /* data before its weights */
    for (uint32_t i = 0; i < c.count && chosen; i++) remark(&c, &c.site[i]);
    *out = (ConvSites){c.site, c.count};
    arena_free(c.scratch);
    return chosen;
}

bool codegen_convolutions(const CodegenInput *input, const CodegenOptions *options, Arena *arena, ConvSites out[2],
                          const char **cpu, Diag *diag) {
    Target t;
    char why[512];
    const Graph *graphs[2] = {input->train, input->infer};
    if (!target_open(&t, options->target, options->cpu, why, sizeof why)) {
        diag_error(diag, (Span){0}, "%s", why);
        return false;
    }
    bool chosen = true;
    target_set_options(&t, options);
    out[0] = out[1] = (ConvSites){0};
    *cpu = choice_cpu(arena, &t);
    for (int i = 0; i < 2 && chosen; i++)
        if (graphs[i]) graphs[i] = shards_graph(arena, graphs[i], shards_of(graphs[i], options));
    for (int i = 0; i < 2 && chosen; i++)
        if (graphs[i]) chosen = choose_convolutions(arena, &t, options, graphs[i], diag, &out[i]);
    target_close(&t);
    return chosen;
}

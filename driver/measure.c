/* Candidates measured in place (measure.h).
 *
 * Program k computes every convolution by the k-th of its listed candidates, counted around from its first that is no pair.
 * Where backward data is one of a pair its weights have no time of their own, so theirs are counted from the first program
 * without pairs on. */
#include "driver/measure.h"
#include "driver/sample.h"
#include <stdlib.h>
#include <string.h>

enum { STEPS = 2, MAX_SAMPLES = 32 }; /* timed steps of a visit, after one to warm up */
static const double hopeless = 2.5;   /* times the best prediction */

typedef struct Samples {
    double second[CONV_CANDIDATES][MAX_SAMPLES];
    int count[CONV_CANDIDATES];
} Samples;

typedef struct Measuring {
    Session *session;
    const CodegenInput *input;
    const CodegenOptions *code;
    Convolutions *c;
    Samples *samples; /* by convolution */
    uint32_t nprograms;
    Jit **jit;
} Measuring;

/* ---- the list ---- */

static int64_t find(const Convolutions *c, const char *key) {
    for (int64_t i = 0; i < c->count; i++)
        if (!strcmp(c->item[i].site.key, key)) return i;
    return -1;
}

static void add_sites(Convolutions *c, const Graph *g, const ConvSites *sites, int e) {
    for (uint32_t i = 0; i < sites->count; i++) {
        const ConvSite *site = &sites->site[i];
        const Value *v = &g->value[site->value];
        int64_t at = find(c, site->key);
        if (at < 0) {
            at = c->count++;
            c->item[at] = (Convolution){.site = *site,
                                        .label = arena_strdup(c->arena, v->name ? v->name : op_text(v->op)),
                                        .partner = -1,
                                        .weights = v->op == OP_CONV2D_BWD_WEIGHTS};
        }
        c->item[at].uses[e]++;
        if (site->partner == NO_VAL || !c->item[at].weights) continue;
        int64_t data = find(c, conv_sites_find(sites, site->partner)->key); /* stands before its weights */
        c->item[at].partner = data;
        c->item[data].partner = at;
    }
}

int convolutions_list(Session *session, const CodegenInput *input, const CodegenOptions *code, Convolutions *out) {
    ConvSites sites[2];
    CodegenOptions silent = *code;
    silent.remark = NULL;
    out->arena = arena_new();
    if (!codegen_convolutions(input, &silent, out->arena, sites, &out->cpu, session->diag)) {
        session_print_diagnostics(session);
        return EXIT_INPUT;
    }
    out->item = ARENA_ARRAY(out->arena, Convolution, sites[0].count + sites[1].count);
    if (input->train) add_sites(out, input->train, &sites[0], 0);
    if (input->infer) add_sites(out, input->infer, &sites[1], 1);
    return EXIT_OK;
}

void convolutions_one_each(Convolutions *c) {
    for (int64_t i = 0; i < c->count; i++) {
        Convolution *v = &c->item[i];
        for (uint32_t k = 0; k < v->site.ncandidates; k++)
            if (conv_site_own_sizes(&v->site, k)) v->listed[v->nlisted++] = k;
    }
}

void convolutions_promising(Convolutions *c, const ChoiceTable *known) {
    for (int64_t i = 0; i < c->count; i++) {
        Convolution *v = &c->item[i];
        if (choices_find(known, c->cpu, v->site.key)) continue;
        for (int pair = 1; pair >= 0; pair--) {
            uint32_t best = conv_site_best(&v->site, v->site.predicted, pair);
            for (uint32_t k = 0; k < v->site.ncandidates; k++)
                if (v->site.candidate[k].pair == pair && v->site.predicted[k] <= hopeless * v->site.predicted[best])
                    v->listed[v->nlisted++] = k;
        }
    }
}

void convolutions_free(Convolutions *c) { arena_free(c->arena); }

/* ---- programs ---- */

static uint32_t pairs_of(const Convolution *v) {
    uint32_t n = 0;
    while (n < v->nlisted && v->site.candidate[v->listed[n]].pair) n++;
    return n;
}

static uint32_t offset_of(const Convolutions *c, const Convolution *v) {
    return v->weights && v->partner >= 0 ? pairs_of(&c->item[v->partner]) : 0;
}

/* The candidate of v in program k; CONV_CANDIDATES: it has no time of its own there, or is not to be measured. */
static uint32_t candidate_of(const Convolutions *c, const Convolution *v, uint32_t k) {
    uint32_t offset = offset_of(c, v), pairs = pairs_of(v);
    if (!v->nlisted || k < offset) return CONV_CANDIDATES;
    k -= offset;
    return v->listed[k < v->nlisted ? k : pairs + (k - pairs) % (v->nlisted - pairs)];
}

static uint32_t count_programs(const Convolutions *c) {
    uint32_t most = 0;
    for (int64_t i = 0; i < c->count; i++) {
        uint32_t n = c->item[i].nlisted ? c->item[i].nlisted + offset_of(c, &c->item[i]) : 0;
        if (n > most) most = n;
    }
    return most;
}

/* Program k; what is not measured is as it would be anyway. */
static int compile(Measuring *m, uint32_t k) {
    ChoiceTable *table = choices_new();
    for (int64_t i = 0; i < m->c->count; i++) {
        const Convolution *v = &m->c->item[i];
        uint32_t candidate = candidate_of(m->c, v, k);
        const ConvChoice *choice = candidate < CONV_CANDIDATES ? &v->site.candidate[candidate] : &v->site.choice;
        choices_put(table, m->c->cpu, v->site.key, choice, 0);
    }
    CodegenOptions code = *m->code;
    code.measured = table;
    code.pinned = NULL;
    code.remark = NULL;
    code.dump_asm = code.dump_llvm = NULL;
    m->jit[k] = codegen_jit(m->input, &code, m->session->diag);
    choices_free(table);
    if (m->jit[k]) return EXIT_OK;
    return session_compile_failed(m->session);
}

/* ---- running ---- */

/* Seconds of each call of one run of an entry (0: train, 1: infer), shared out to the convolutions. */
static void take_sample(Measuring *m, uint32_t k, int e, const RtEntry *entry, const double *seconds) {
    const ChoiceTable *choices = jit_choices(m->jit[k]);
    const uint32_t *choice = jit_call_choices(m->jit[k], entry);
    for (uint32_t j = 0; j < choices->count; j++) {
        int64_t at = find(m->c, choices->entry[j].key);
        const Convolution *v = at < 0 ? NULL : &m->c->item[at];
        uint32_t candidate = v ? candidate_of(m->c, v, k) : CONV_CANDIDATES;
        if (candidate == CONV_CANDIDATES || !v->uses[e]) continue;
        double total = 0;
        for (uint32_t i = 0; i < entry->ncalls; i++)
            if (choice[i] == j) total += seconds[i];
        Samples *s = &m->samples[at];
        if (s->count[candidate] < MAX_SAMPLES) s->second[candidate][s->count[candidate]++] = total / (double)v->uses[e];
    }
}

static int visit(Measuring *m, uint32_t k) {
    const RtProgram *program = jit_program(m->jit[k]);
    const RtEntry *entries[] = {&program->train_step, &program->eval_step};
    RtError error = {{0}};
    RtMachine *machine = rt_machine_new(program, m->session->pool, &error);
    if (!machine) return fail(EXIT_IO, "%s", error.text);
    sample_inputs(machine, 0);
    for (int e = 0; e < 2; e++) {
        double *seconds = calloc(entries[e]->ncalls + 1, sizeof *seconds);
        if (!seconds) out_of_memory("no room for measurements");
        for (int step = -1; step < STEPS && entries[e]->ncalls; step++) {
            memset(seconds, 0, entries[e]->ncalls * sizeof *seconds); /* times are added */
            rt_machine_run_timed(machine, entries[e], seconds);
            if (step >= 0) take_sample(m, k, e, entries[e], seconds);
        }
        free(seconds);
    }
    rt_machine_free(machine);
    return EXIT_OK;
}

static void take_medians(Measuring *m) {
    for (int64_t i = 0; i < m->c->count; i++)
        for (uint32_t k = 0; k < CONV_CANDIDATES; k++) {
            Samples *s = &m->samples[i];
            m->c->item[i].seconds[k] = s->count[k] ? sample_median(s->second[k], (size_t)s->count[k]) : 0;
        }
}

int convolutions_measure(Session *session, const CodegenInput *input, const CodegenOptions *code, Convolutions *c, int rounds) {
    Measuring m = {session, input, code, c, NULL, count_programs(c), NULL};
    int status = EXIT_OK;
    if (m.nprograms == 0) return EXIT_OK;
    m.samples = calloc((size_t)c->count, sizeof *m.samples);
    m.jit = calloc(m.nprograms, sizeof(Jit *));
    if (!m.samples || !m.jit) out_of_memory("no room for measurements");
    for (uint32_t k = 0; k < m.nprograms && !status; k++) status = compile(&m, k);
    for (int round = 0; round < rounds; round++)
        for (uint32_t k = 0; k < m.nprograms && !status; k++) status = visit(&m, k);
    take_medians(&m);
    for (uint32_t k = 0; k < m.nprograms; k++) jit_free(m.jit[k]);
    free(m.jit);
    free(m.samples);
    return status;
}

/* netc bench --compare: netc and a peer in turn. A round times netc's training step, then the peer's, then inference likewise,
 * each as the median of the steps that fit into some seconds; the ratio is taken within the round, so that both saw the same
 * machine. Each mode of the peer is a process of its own that lives through all its rounds, and is timed only if it computes the
 * same numbers as netc (agree.h). The memory of a training step is all that it needs on either side, weights, gradients, the
 * optimiser's state, images and activations: the growth of netc's peak from the moment before its memory is allocated, and that
 * of the peer's in its first steps with what it had allocated for them before. */
#include "driver/agree.h"
#include "driver/bench.h"
#include "driver/compile.h"
#include "driver/peer.h"
#include "driver/probe.h"
#include "driver/sample.h"
#include "runtime/json.h"
#include "runtime/machine.h"
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ROUNDS = 100, MAX_STEPS = 4096, TRAIN = 0, INFER = 1 };
static const char *const what_name[] = {[TRAIN] = "train", [INFER] = "infer"};

/* Images per second, round by round, and their ratio. */
typedef struct Rates {
    double ours[MAX_ROUNDS], theirs[MAX_ROUNDS], ratio[MAX_ROUNDS];
} Rates;

typedef struct Best {
    double theirs, ratio;
    char mode[64];
} Best;

typedef struct Comparison {
    Session *session;
    const Options *o;
    const char *peer_name;
    char *script;
    char version[PEER_LINE], modes[PEER_LINE]; /* "torch 2.15.0"; "eager channels_last" */
    bool timed[2];
    int64_t rounds, parameters;
    Model whole;           /* inference with the whole batch, if that is all that is timed; netc itself compiles a group of it */
    const Graph *graph;    /* the peer's */
    char *inputs;          /* path of its weights and images; NULL: not written */
    Numbers numbers;       /* netc's */
    bool watched;          /* the kernel counts the peak of memory anew */
    double before, memory; /* bytes; memory 0: unknown */
    Best best[2];
    Rates rates[2];
} Comparison;

/* ---- memory ---- */

static double status_bytes(const char *key) {
    char line[256];
    double kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key))) kilobytes = strtod(line + strlen(key) + 1, NULL);
    if (file) fclose(file);
    return 1024 * kilobytes;
}

static bool reset_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    bool written = file && fputs("5", file) >= 0;
    return file && !fclose(file) && written;
}

static void run_once(Comparison *c, int what) {
    const RtProgram *program = jit_program(c->session->jit);
    if (what == INFER) {
        rt_machine_infer(c->session->machine, program->batch);
        return;
    }
    rt_machine_run(c->session->machine, &program->train_step);
    rt_machine_run(c->session->machine, &program->apply_update);
}

static void steps_done(void *context) {
    Comparison *c = context;
    if (c->watched) c->memory = status_bytes("VmHWM") - c->before;
}

/* The machine again, this time watched, and what it computes. */
static int measure_memory(Comparison *c) {
    Session *s = c->session;
    RtError error = {{0}};
    rt_machine_free(s->machine);
    malloc_trim(0);
    c->watched = reset_peak();
    c->before = status_bytes("VmRSS");
    s->machine = rt_machine_new(jit_program(s->jit), s->pool, &error);
    if (!s->machine) return fail(EXIT_IO, "%s", error.text);
    sample_inputs(s->machine, (uint64_t)c->o->seed);
    int status = agree_write_inputs(s->machine, c->graph, &c->inputs);
    if (!status) agree_compute(s->machine, (uint64_t)c->o->seed, &c->numbers, steps_done, c);
    return status;
}

/* The graph that the peer gets. */
static int choose_graph(Comparison *c) {
    const Options *o = c->o;
    c->graph = c->session->train.graph;
    if (!c->graph) {
        int status = compile_source(c->session, MODE_INFER, o->batch, &c->whole);
        if (status) return status;
        c->graph = c->whole.graph;
    }
    c->numbers = (Numbers){.trains = c->timed[TRAIN], .infers = c->timed[INFER]};
    for (Val v = 0; v < c->graph->count; v++) {
        const Value *value = &c->graph->value[v];
        bool drops = value->op == OP_DROPOUT || value->op == OP_DROPOUT_MASK;
        if (drops && value->attrs.dropout.rate > 0) c->numbers.drops = true;
    }
    return EXIT_OK;
}

/* ---- what the peer is ---- */

/* What is timed, for the peer. malloc'd. */
static char *what_option(const Comparison *c) {
    return join("--what=%s", c->timed[TRAIN] && c->timed[INFER] ? "both" : what_name[c->timed[INFER]]);
}

static int list_peer(Comparison *c) {
    char line[PEER_LINE], *rest, *what = what_option(c), *const arguments[] = {"--list", what, NULL};
    Peer peer;
    int status = peer_start(&peer, c->peer_name, c->o->compare, c->script, arguments);
    if (!status) status = peer_hear(&peer, "peer", line, &rest);
    if (!status) snprintf(c->version, sizeof c->version, "%s", rest);
    if (!status) status = peer_hear(&peer, "modes", line, &rest);
    if (!status) snprintf(c->modes, sizeof c->modes, "%s", rest);
    peer_stop(&peer);
    free(what);
    return status;
}

static bool has_mode(const char *modes, const char *mode) {
    size_t length = strlen(mode);
    for (const char *at = modes; (at = strstr(at, mode)); at += length)
        if ((at == modes || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
    return false;
}

/* The modes asked for, each of which the peer must have; else those of the precision that netc computes in. */
static int choose_modes(Comparison *c) {
    char wanted[PEER_LINE], kept[PEER_LINE] = "", *state = NULL;
    bool bf16 = session_precision(c->o) == PRECISION_BF16;
    snprintf(wanted, sizeof wanted, "%s", c->o->peer_modes ? c->o->peer_modes : c->modes);
    for (char *mode = strtok_r(wanted, ", ", &state); mode; mode = strtok_r(NULL, ", ", &state)) {
        if (!has_mode(c->modes, mode)) return fail(EXIT_INPUT, "%s has no mode '%s'; it has: %s", c->version, mode, c->modes);
        if (!c->o->peer_modes && bf16 != (strstr(mode, "-bf16") != NULL)) continue;
        snprintf(kept + strlen(kept), sizeof kept - strlen(kept), "%s%s", *kept ? " " : "", mode);
    }
    if (!*kept)
        return usage_error("bench", "%s; %s has: %s",
                           c->o->peer_modes ? "'--peer-modes' names no mode" : "no mode has netc's precision", c->version,
                           c->modes);
    snprintf(c->modes, sizeof c->modes, "%s", kept);
    return EXIT_OK;
}

/* ---- one mode ---- */

static double our_rate(Comparison *c, int what) {
    double times[MAX_STEPS], end = probe_seconds() + (double)c->o->seconds;
    size_t count = 0;
    while (count < 3 || (count < MAX_STEPS && probe_seconds() < end)) {
        double start = probe_seconds();
        run_once(c, what);
        times[count++] = probe_seconds() - start;
    }
    return (double)jit_program(c->session->jit)->batch / sample_median(times, count);
}

static int their_rate(Comparison *c, Peer *peer, int what, double *rate) {
    char line[PEER_LINE], *rest;
    fprintf(peer->to, "%s %" PRId64 "\n", what_name[what], c->o->seconds);
    int status = peer_hear(peer, "ms", line, &rest);
    double ms = status ? 0 : strtod(rest, NULL);
    if (!status && !(ms > 0)) return fail(EXIT_INPUT, "the peer '%s' says that a step took '%s' ms", c->peer_name, rest);
    if (!status) *rate = 1e3 * (double)jit_program(c->session->jit)->batch / ms;
    return status;
}

static int run_rounds(Comparison *c, Peer *peer) {
    int status = EXIT_OK;
    for (int64_t r = 0; r < c->rounds && !status; r++)
        for (int what = TRAIN; what <= INFER && !status; what++) {
            if (!c->timed[what]) continue;
            Rates *rates = &c->rates[what];
            run_once(c, what); /* the peer has had the caches since the last time */
            rates->ours[r] = our_rate(c, what);
            status = their_rate(c, peer, what, &rates->theirs[r]);
            rates->ratio[r] = rates->ours[r] / rates->theirs[r];
        }
    return status;
}

/* Starts the peer in this mode; *memory is what it needs for a training step. */
static int start_mode(Comparison *c, Peer *peer, const char *mode, double *memory, Agreement *agreement) {
    bool bf16 = strstr(mode, "-bf16") || session_precision(c->o) == PRECISION_BF16;
    char line[PEER_LINE], *rest, *end;
    char *mode_argument = join("--mode=%s", mode), *threads = join("--threads=%d", rt_pool_threads(c->session->pool));
    char *what = what_option(c);
    char *const arguments[] = {mode_argument, threads, what, NULL};
    int status = peer_start(peer, c->peer_name, c->o->compare, c->script, arguments);
    if (!status) {
        agree_send_job(peer, c->graph, &jit_program(c->session->jit)->recipe.optimizer, c->numbers.lr, c->inputs);
        status = peer_hear(peer, "ready", line, &rest);
    }
    if (!status) {
        int64_t parameters = strtoll(rest, &end, 10);
        *memory = strtod(end, NULL);
        if (parameters != c->parameters)
            status = fail(EXIT_INPUT, "the peer '%s' has a net of %" PRId64 " parameters, netc one of %" PRId64, c->peer_name,
                          parameters, c->parameters);
    }
    if (!status) status = agree_hear(peer, &c->numbers, bf16, agreement);
    free(mode_argument);
    free(threads);
    free(what);
    return status;
}

/* ---- printing ---- */

static void print_rounds(const char *name, const double *values, int64_t count) {
    printf("\"%s\": [", name);
    for (int64_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", stdout);
        json_write_number(stdout, values[i]);
    }
    printf("]");
}

static void print_json_mode(const Comparison *c, const char *mode, double memory, const Agreement *agreement) {
    printf("{\"mode\": \"%s\"", mode);
    json_write_member(stdout, "memory_bytes", memory);
    json_write_member(stdout, "loss_difference", agreement->loss < 0 ? NAN : agreement->loss); /* below 0: not compared */
    json_write_member(stdout, "score_difference", agreement->score < 0 ? NAN : agreement->score);
    for (int what = TRAIN; what <= INFER; what++) {
        if (!c->timed[what]) continue;
        printf(", \"%s\": {", what_name[what]);
        print_rounds("netc", c->rates[what].ours, c->rounds);
        printf(", ");
        print_rounds("peer", c->rates[what].theirs, c->rounds);
        printf("}");
    }
    printf("}");
}

static void print_row(Comparison *c, const char *mode, int what) {
    Rates *rates = &c->rates[what];
    size_t n = (size_t)c->rounds;
    double ours = sample_median(rates->ours, n), theirs = sample_median(rates->theirs, n), ratio = sample_median(rates->ratio, n);
    printf("  %-6s %-20s %9.0f %9.0f  %6.2fx  %6.2f %6.2f\n", what_name[what], mode, ours, theirs, ratio, rates->ratio[0],
           rates->ratio[n - 1]);
    if (theirs <= c->best[what].theirs) return;
    c->best[what] = (Best){.theirs = theirs, .ratio = ratio};
    snprintf(c->best[what].mode, sizeof c->best[what].mode, "%s", mode);
}

static void print_text_mode(Comparison *c, const char *mode, double memory, const Agreement *agreement) {
    for (int what = TRAIN; what <= INFER; what++)
        if (c->timed[what]) print_row(c, mode, what);
    if (memory > 0 && c->memory > 0)
        printf("  %-6s %-20s %6.0f MB %6.0f MB  %6.2fx\n", "memory", mode, 1e-6 * c->memory, 1e-6 * memory, memory / c->memory);
    if (agreement->loss >= 0) printf("  %-6s %-20s losses within %.1e\n", "same", mode, agreement->loss);
    if (agreement->score >= 0) printf("  %-6s %-20s scores within %.1e\n", "same", mode, agreement->score);
    fflush(stdout);
}

static void print_header(const Comparison *c) {
    const RtProgram *program = jit_program(c->session->jit);
    int threads = rt_pool_threads(c->session->pool);
    if (c->o->json) {
        printf("{\"model\": ");
        json_write_string(stdout, program->model);
        printf(", \"peer\": ");
        json_write_string(stdout, c->version);
        printf(", \"target\": ");
        json_write_string(stdout, program->target);
        printf(", \"threads\": %d, \"batch\": %" PRId64 ", \"parameters\": %" PRId64 ", \"memory_bytes\": %.0f, \"modes\": [",
               threads, program->batch, c->parameters, c->memory);
        return;
    }
    printf("%s on %s against %s, batch %" PRId64 ", %d thread%s, %" PRId64 " parameters; %" PRId64
           " round%s in turn, each a median over %" PRId64 " s\n",
           program->model, program->target, c->version, program->batch, threads, threads == 1 ? "" : "s", c->parameters,
           c->rounds, c->rounds == 1 ? "" : "s", c->o->seconds);
    printf("  %-6s %-20s %9s %9s  %7s  %6s %6s\n", "", "", "netc", "peer", "ratio", "min", "max");
}

static void print_end(const Comparison *c) {
    if (c->o->json) puts("]}");
    for (int what = TRAIN; what <= INFER && !c->o->json; what++)
        if (c->timed[what] && c->best[what].ratio > 0)
            printf("%s: %.2fx the best mode, %s\n", what_name[what], c->best[what].ratio, c->best[what].mode);
}

/* ---- all of it ---- */

static int compare_modes(Comparison *c) {
    char modes[PEER_LINE], *state = NULL;
    const char *comma = "";
    int refused = EXIT_OK;
    snprintf(modes, sizeof modes, "%s", c->modes);
    print_header(c);
    for (char *mode = strtok_r(modes, " ", &state); mode; mode = strtok_r(NULL, " ", &state)) {
        Peer peer;
        double memory = 0;
        Agreement agreement;
        int status = start_mode(c, &peer, mode, &memory, &agreement);
        if (!status) status = run_rounds(c, &peer);
        peer_stop(&peer);
        if (status) { /* why is said by now; if there are other modes, they are worth having */
            char *text = strchr(c->modes, ' ') ? join("the mode '%s' is left out", mode) : NULL;
            if (text) say(RT_WARNING, text);
            free(text);
            refused = EXIT_INPUT;
            continue;
        }
        if (c->o->json) {
            fputs(comma, stdout);
            print_json_mode(c, mode, memory, &agreement);
            comma = ", ";
        } else
            print_text_mode(c, mode, memory, &agreement);
    }
    print_end(c);
    return refused;
}

int bench_compare(Session *session) {
    Comparison *c = calloc(1, sizeof *c);
    if (!c) return fail(EXIT_IO, "out of memory");
    const Options *o = session->options;
    *c = (Comparison){.session = session, .o = o, .peer_name = o->peer ? o->peer : "torch", .rounds = o->rounds};
    for (int what = TRAIN; what <= INFER; what++) c->timed[what] = !o->mode || !strcmp(o->mode, what_name[what]);
    int status = peer_script(c->peer_name, &c->script);
    if (!status) status = list_peer(c);
    if (!status) status = choose_modes(c);
    if (!status) status = compile_machine(session, c->timed[TRAIN], c->timed[INFER], "bench");
    if (!status) {
        const RtProgram *program = jit_program(session->jit);
        for (uint32_t i = 0; i < program->nparams; i++) c->parameters += rt_tensor_elements(&program->params[i]);
        status = choose_graph(c);
    }
    if (!status) status = measure_memory(c);
    if (!status) status = compare_modes(c);
    if (c->inputs) unlink(c->inputs);
    if (c->whole.graph) graph_free(c->whole.graph);
    free(c->inputs);
    free(c->script);
    free(c);
    return status;
}

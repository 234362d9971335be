/* --memory-limit: how many activations to compute again in backward (passes/recompute.c), so that a training step's fit a size.
 *
 * The passes and the memory plan are run for one number after the other, which takes some tens of milliseconds each; nothing is
 * compiled. The more is computed again the less is kept, nearly always, so the least number is found by halving. Where a row of
 * convolutions that are computed again grows longer, one more may keep more; so if all are too many, SHARES smaller numbers are
 * tried before it is said that none fits. The result fits in any case, as it is one that was tried. */
#include "driver/memory.h"

typedef struct Fit {
    Session *session;
    const PassOptions *options;
    const Graph *train;
    uint64_t limit;
    uint32_t recomputable, recomputed; /* of the last try */
} Fit;

/* The most that a step keeps, of all CPUs; 0 after printing why it cannot be said. */
static uint64_t step_bytes(Session *s, const Graph *fused) {
    uint64_t most = 0;
    for (int i = 0; i < (s->levels ? s->levels->count : 1); i++) {
        CodegenOptions code = session_code_for(s, s->target, s->levels ? s->levels->cpu[i] : s->options->cpu);
        uint64_t bytes = codegen_step_bytes(fused, &code, s->diag);
        if (!bytes) {
            session_print_diagnostics(s);
            return 0;
        }
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* What a step keeps if `recompute` activations are computed again. An exit status. */
static int try(Fit *f, int64_t recompute, uint64_t *bytes) {
    PassOptions options = *f->options;
    PassResult result;
    options.recompute = recompute;
    options.print_before_all = options.print_after_all = options.time_passes = false;
    options.nprint_before = options.nprint_after = 0;
    options.watch = NULL;
    if (!passes_run(f->train, &options, f->session->diag, &result)) {
        session_print_diagnostics(f->session);
        return EXIT_USAGE;
    }
    f->recomputable = result.recomputable;
    f->recomputed = result.recomputed;
    int status = session_check_graph(result.graph);
    if (!status && !(*bytes = step_bytes(f->session, result.graph))) status = EXIT_INPUT;
    passes_result_free(&result);
    return status;
}

enum { SHARES = 16 };

/* The most, of SHARES even ones, by which a step fits; *least is what a step keeps then, or the least of all if none fits. */
static int find_fitting(Fit *f, uint32_t *recompute, uint64_t *least) {
    uint64_t kept;
    *least = UINT64_MAX;
    for (uint32_t share = SHARES; share > 0 && *least > f->limit; share--) {
        uint32_t number = (uint32_t)((uint64_t)f->recomputable * share / SHARES);
        if (share < SHARES && number == *recompute) continue;
        int status = try(f, *recompute = number, &kept);
        if (status) return status;
        *least = kept < *least ? kept : *least;
    }
    return EXIT_OK;
}

static int fit(Fit *f) {
    uint64_t kept, least;
    int status = try(f, RECOMPUTE_CHEAP, &kept);
    if (status || kept <= f->limit) return status;
    uint32_t low = f->recomputed, high = 0; /* low does not fit, high does */
    status = find_fitting(f, &high, &least);
    if (!status && least > f->limit) { /* a clone that must be stored can be more than what it stands for */
        status = try(f, 0, &kept);
        if (status || kept <= f->limit) return f->session->recompute = 0, status;
    }
    if (high <= low) low = 0;
    if (!status && least > f->limit)
        return fail(
            EXIT_INPUT,
            "a training step of '%s' at this batch size keeps at least %.1f MB of activations, however much is computed again; "
            "the limit is %.1f MB",
            f->train->name, 1e-6 * (double)least, 1e-6 * (double)f->limit);
    while (!status && high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        status = try(f, middle, &kept);
        *(kept <= f->limit ? &high : &low) = middle;
    }
    f->session->recompute = high;
    return status;
}

int memory_fit(Session *session, const Graph *train, const PassOptions *options) {
    Fit f = {.session = session, .options = options, .train = train, .limit = (uint64_t)session->options->memory_limit};
    return f.limit ? fit(&f) : EXIT_OK;
}

int memory_check(const Session *session, uint64_t arena_bytes) {
    uint64_t limit = (uint64_t)session->options->memory_limit;
    if (!limit || arena_bytes <= limit) return EXIT_OK;
    return fail(EXIT_INPUT,
                "as the convolutions are to be computed here, a training step keeps %.1f MB, and the limit is %.1f MB",
                1e-6 * (double)arena_bytes, 1e-6 * (double)limit);
}

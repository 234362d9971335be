/* --memory-limit: how many activations to compute again in backward (passes/recompute.c), so that a training step's fit a size.
 *
 * The passes and the memory plan are run for one number after the other, which takes some tens of milliseconds each; nothing is
 * compiled. The more is computed again the less is kept, nearly always, so the least number is found by halving. Where a row of
 * convolutions that are computed again grows longer, one more may keep more; so if all are too many, SHARES smaller numbers are
 * tried before it is said that none fits. The result fits in any case, as it is one that was tried. */
#include "driver/driver.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Fit {
    Session *session;
    const Graph *train;
    uint64_t limit;
    uint32_t recomputable;
} Fit;

/* "512M": 512 000 000 bytes; "1.5Gi": 1.5 * 2^30. */
static bool parse_size(const char *text, uint64_t *bytes) {
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool digits = (text[0] == '.' || (text[0] >= '0' && text[0] <= '9')) && !strpbrk(text, "xX"); /* strtod reads hexadecimal */
    const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    if (unit) {
        bool binary = end[1] == 'i';
        value *= pow(binary ? 1024 : 1000, (double)(unit - units + 1));
        end += binary ? 2 : 1;
    }
    if (*end == 'B') end++;
    if (!digits || *end || errno || !(value >= 1 && value < 1e18)) return false;
    *bytes = (uint64_t)value;
    return true;
}

int session_memory_options(Session *session) {
    const Options *o = session->options;
    session->recompute = o->recompute < UINT32_MAX ? (uint32_t)o->recompute : UINT32_MAX;
    if (!o->memory_limit) return EXIT_OK;
    if (o->recompute) return fail(EXIT_USAGE, "'--memory-limit' says how much '--recompute' must: give one of them");
    if (parse_size(o->memory_limit, &session->memory_limit)) return EXIT_OK;
    return fail(EXIT_USAGE, "'--memory-limit' needs a size like 512M, 1.5G or 700Mi, found '%s'", o->memory_limit);
}

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
static int try(Fit *f, uint32_t recompute, uint64_t *bytes) {
    PassOptions options = session_pass_options(f->session);
    PassResult result;
    options.recompute = recompute;
    options.print_before_all = options.print_after_all = options.time_passes = false;
    options.nprint_before = options.nprint_after = 0;
    if (!passes_run(f->train, &options, f->session->diag, &result)) {
        session_print_diagnostics(f->session);
        return EXIT_USAGE;
    }
    f->recomputable = result.recomputable;
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
    int status = try(f, 0, &kept);
    if (status || kept <= f->limit) return status;
    uint32_t low = 0, high = 0; /* low does not fit, high does */
    status = find_fitting(f, &high, &least);
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

int session_fit_memory(Session *session, const Graph *train) {
    Fit f = {.session = session, .train = train, .limit = session->memory_limit};
    return f.limit ? fit(&f) : EXIT_OK;
}

int session_check_memory(const Session *session, uint64_t arena_bytes) {
    if (!session->memory_limit || arena_bytes <= session->memory_limit) return EXIT_OK;
    return fail(EXIT_INPUT,
                "as the convolutions are to be computed here, a training step keeps %.1f MB, and the limit is %.1f MB",
                1e-6 * (double)arena_bytes, 1e-6 * (double)session->memory_limit);
}

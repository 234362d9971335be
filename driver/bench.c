/* netc bench: the machine's peaks, then the training step and inference of a model, as a whole and kernel by kernel.
 *
 * A whole step is timed without looking inside; then the same step again with a clock around every call. Both are medians
 * over the repeats. Calls of one kernel are added up, and kernels of one kind. */
#include "driver/bench.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/kinds.h"
#include "driver/probe.h"
#include "driver/sample.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct KernelTime {
    const char *name;
    int64_t calls;
    double seconds, flops, bytes;
} KernelTime;

/* One measured thing: training (two entries in a row) or inference (one). */
typedef struct Measured {
    const char *name;
    const RtEntry *entry[2];
    int entries;
    int64_t images;        /* that the kernels are timed on: of inference, a group */
    double seconds, flops; /* of a whole step, median */
    KernelTime *kernel;    /* sorted, slowest first */
    uint32_t nkernels;
    double kind[RT_KINDS], sum; /* seconds */
} Measured;

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) exit(fail(EXIT_IO, "out of memory"));
    return memory;
}

/* ---- measuring ---- */

static bool is_inference(const RtMachine *machine, const Measured *m) {
    return m->entry[0] == &rt_machine_program(machine)->eval_step;
}

static void run_whole(RtMachine *machine, const Measured *m) {
    if (is_inference(machine, m)) {
        rt_machine_infer(machine, rt_machine_program(machine)->batch);
        return;
    }
    for (int e = 0; e < m->entries; e++) rt_machine_run(machine, m->entry[e]);
}

static void time_whole(RtMachine *machine, Measured *m, int64_t repeats) {
    double *seconds = zeroed((size_t)repeats, sizeof *seconds);
    for (int64_t r = -2; r < repeats; r++) { /* two runs to warm up */
        double start = probe_seconds();
        run_whole(machine, m);
        if (r >= 0) seconds[r] = probe_seconds() - start;
    }
    m->seconds = sample_median(seconds, (size_t)repeats);
    free(seconds);
}

static void add_call(Measured *m, const RtCall *call, double seconds) {
    uint32_t k = 0;
    while (k < m->nkernels && strcmp(m->kernel[k].name, call->name)) k++;
    if (k == m->nkernels) m->kernel[m->nkernels++] = (KernelTime){.name = call->name};
    m->kernel[k].calls++;
    m->kernel[k].seconds += seconds;
    m->kernel[k].flops += call->flops;
    m->kernel[k].bytes += call->bytes;
    m->flops += call->flops;
    m->kind[call->kind] += seconds;
    m->sum += seconds;
}

static int slowest_first(const void *a, const void *b) {
    return sample_ascending(&((const KernelTime *)b)->seconds, &((const KernelTime *)a)->seconds);
}

static void time_kernels(RtMachine *machine, Measured *m, int64_t repeats) {
    uint32_t ncalls = 0;
    int64_t batch = rt_machine_program(machine)->batch;
    m->images = is_inference(machine, m) ? rt_machine_group(machine) : batch;
    for (int e = 0; e < m->entries; e++) ncalls += m->entry[e]->ncalls;
    m->kernel = zeroed(ncalls, sizeof *m->kernel);
    double *column = zeroed((size_t)repeats, sizeof *column);
    for (int e = 0; e < m->entries; e++) {
        uint32_t n = m->entry[e]->ncalls;
        double *seconds = zeroed((size_t)n * (size_t)repeats, sizeof *seconds);
        for (int64_t r = 0; r < repeats; r++) rt_machine_run_timed(machine, m->entry[e], seconds + r * n);
        for (uint32_t c = 0; c < n; c++) {
            for (int64_t r = 0; r < repeats; r++) column[r] = seconds[r * n + c];
            add_call(m, &m->entry[e]->calls[c], sample_median(column, (size_t)repeats));
        }
        free(seconds);
    }
    m->flops *= (double)batch / (double)m->images;
    qsort(m->kernel, m->nkernels, sizeof *m->kernel, slowest_first);
    free(column);
}

/* ---- printing ---- */

static void print_kinds(const Measured *m) {
    double small = 0;
    printf("  %-50s %5s %9s %6s\n", "kind", "", "ms", "share");
    for (int k = 0; k < RT_KINDS; k++) {
        if (m->kind[k] == 0) continue;
        printf("  %-50s %5s %9.3f %5.1f%%\n", kernel_kind_name((RtKind)k), "", 1e3 * m->kind[k], 100 * m->kind[k] / m->sum);
        if (kernel_kind_is_small((RtKind)k)) small += m->kind[k];
    }
    if (m->entries < 2) return;
    printf("  %-56s %9.3f %5.1f%%\n", "weight reduction, optimiser, loss, pooling together", 1e3 * small, 100 * small / m->sum);
}

static void print_text(const RtProgram *program, const Measured *m, const Peaks *peaks) {
    printf("\n%s: %.2f ms, %.0f images/s, %.0f GFLOP/s (%.0f %% of peak)\n", m->name, 1e3 * m->seconds,
           (double)program->batch / m->seconds, 1e-9 * m->flops / m->seconds, 1e-7 * m->flops / m->seconds / peaks->gflops_all);
    bool alone = m->images < program->batch;
    double gflops_peak = alone ? peaks->gflops_one : peaks->gflops_all, gb_peak = alone ? peaks->gb_one : peaks->gb_all;
    if (alone)
        printf("  the batch goes through all layers in groups of %" PRId64
               " images, one thread each; the kernels of one group:\n",
               m->images);
    printf("  %-50s %5s %9s %6s %8s %6s %7s %6s\n", "kernel", "calls", "ms", "share", "GFLOP/s", "peak", "GB/s", "peak");
    for (uint32_t k = 0; k < m->nkernels; k++) {
        const KernelTime *t = &m->kernel[k];
        double gflops = t->seconds > 0 ? 1e-9 * t->flops / t->seconds : 0, gb = t->seconds > 0 ? 1e-9 * t->bytes / t->seconds : 0;
        printf("  %-50s %5" PRId64 " %9.3f %5.1f%% %8.1f %5.1f%% %7.1f %5.1f%%\n", t->name, t->calls, 1e3 * t->seconds,
               100 * t->seconds / m->sum, gflops, 100 * gflops / gflops_peak, gb, 100 * gb / gb_peak);
    }
    printf("  %-50s %5s %9.3f\n", "sum", "", 1e3 * m->sum);
    print_kinds(m);
}

/* Of the final graph, which netc ir --stage=final prints: those that the kernel's calls compute, in order; netc why says more of
 * them. */
static void print_values(const Jit *jit, const Measured *m, const char *kernel) {
    const char *separator = "";
    printf(", \"values\": [");
    for (int e = 0; e < m->entries; e++) {
        if (m->entry[e] == &jit_program(jit)->apply_update) continue; /* the optimiser has no graph */
        const Val *value = jit_call_values(jit, m->entry[e]);
        for (uint32_t c = 0; c < m->entry[e]->ncalls; c++) {
            if (value[c] == NO_VAL || strcmp(m->entry[e]->calls[c].name, kernel) != 0) continue;
            printf("%s%u", separator, value[c]);
            separator = ", ";
        }
    }
    putchar(']');
}

static void print_json(const Jit *jit, const Measured *m) {
    const RtProgram *program = jit_program(jit);
    printf(", \"%s\": {\"group\": %" PRId64, m->name, m->images);
    json_write_member(stdout, "ms", 1e3 * m->seconds);
    json_write_member(stdout, "images_per_s", (double)program->batch / m->seconds);
    json_write_member(stdout, "gflops", 1e-9 * m->flops / m->seconds);
    printf(", \"kernels\": [");
    for (uint32_t k = 0; k < m->nkernels; k++) {
        const KernelTime *t = &m->kernel[k];
        printf("%s{\"name\": ", k ? ", " : "");
        json_write_string(stdout, t->name);
        printf(", \"calls\": %" PRId64, t->calls);
        json_write_member(stdout, "ms", 1e3 * t->seconds);
        json_write_member(stdout, "flops", t->flops);
        json_write_member(stdout, "bytes", t->bytes);
        print_values(jit, m, t->name);
        putchar('}');
    }
    printf("], \"kinds\": {");
    const char *comma = "";
    for (int k = 0; k < RT_KINDS; k++) {
        if (m->kind[k] == 0) continue;
        printf("%s\"%s\": ", comma, kernel_kind_name((RtKind)k));
        json_write_number(stdout, 1e3 * m->kind[k]);
        comma = ", ";
    }
    printf("}}");
}

static void print_header(const Session *session, const Peaks *p) {
    const RtProgram *program = jit_program(session->jit);
    const CodegenStats *stats = jit_stats(session->jit);
    int threads = rt_pool_threads(session->pool);
    if (session->options->json) {
        printf("{\"model\": ");
        json_write_string(stdout, program->model);
        printf(", \"target\": ");
        json_write_string(stdout, program->target);
        printf(", \"threads\": %d, \"batch\": %" PRId64 ", \"kernels\": %u, \"arena_bytes\": %" PRIu64, threads, program->batch,
               stats->kernels, rt_activation_bytes(program));
        json_write_member(stdout, "compile_seconds", stats->seconds);
        printf(", \"peak_lanes\": %" PRId64, p->lanes);
        json_write_member(stdout, "peak_gflops_one", p->gflops_one);
        json_write_member(stdout, "peak_gflops", p->gflops_all);
        json_write_member(stdout, "bandwidth_gb_one", p->gb_one);
        json_write_member(stdout, "bandwidth_gb", p->gb_all);
        return;
    }
    double activations = 1e-6 * (double)(rt_activation_bytes(program) + rt_eval_bytes(program, threads));
    printf("%s on %s, batch %" PRId64
           ", %d thread%s; compiled in %.2f s (%u kernel%s, %.0f kB of code), %.1f MB of activations\n",
           program->model, program->target, program->batch, threads, threads == 1 ? "" : "s", stats->seconds, stats->kernels,
           stats->kernels == 1 ? "" : "s", 1e-3 * (double)stats->code_bytes, activations);
    printf("peak of vectors of %" PRId64
           ": of one thread %.0f GFLOP/s, of all %.0f GFLOP/s; memory (read and written) %.1f GB/s, %.1f GB/s\n",
           p->lanes, p->gflops_one, p->gflops_all, p->gb_one, p->gb_all);
}

static void bench(Session *session) {
    const Options *o = session->options;
    const RtProgram *program = jit_program(session->jit);
    Peaks peaks = probe_machine(session->pool, program->block);
    Measured measured[] = {{.name = "train", .entry = {&program->train_step, &program->apply_update}, .entries = 2},
                           {.name = "infer", .entry = {&program->eval_step}, .entries = 1}};
    sample_inputs(session->machine, (uint64_t)o->seed);
    print_header(session, &peaks);
    for (int i = 0; i < 2; i++) {
        if (o->mode && strcmp(o->mode, measured[i].name) != 0) continue;
        time_whole(session->machine, &measured[i], o->repeats);
        time_kernels(session->machine, &measured[i], o->repeats);
        if (o->json)
            print_json(session->jit, &measured[i]);
        else
            print_text(program, &measured[i], &peaks);
        free(measured[i].kernel);
    }
    if (o->json) puts("}");
}

int command_bench(const Options *options) {
    if (options->noperands > 1) return usage_error("bench", "one model at a time, found '%s' too", options->operand[1]);
    if (options->repeats == 0) return usage_error("bench", "'--repeats' is at least 1");
    if (options->rounds == 0 || options->rounds > 100) return usage_error("bench", "'--rounds' is from 1 to 100");
    if (options->compare && options->convolutions)
        return usage_error("bench", "'--compare' and '--convolutions' exclude each other");
    if (!options->compare && (options->peer || options->peer_modes))
        return usage_error("bench", "'--peer%s' is about '--compare', which is not given", options->peer ? "" : "-modes");
    Session session = {0};
    bool train = !options->mode || !strcmp(options->mode, "train"), infer = !options->mode || !strcmp(options->mode, "infer");
    int status = session_find_model(&session, options, "bench");
    if (!status && options->compare)
        status = bench_compare(&session);
    else if (!status && options->convolutions)
        status = bench_convolutions(&session, train, infer);
    else if (!status && !(status = compile_machine(&session, train, infer, "bench")))
        bench(&session);
    session_close(&session);
    return status;
}

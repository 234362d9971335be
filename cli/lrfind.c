/* The range test's curve as text, some twenty lines of it, or as JSON, all of it. */
#include "cli/lrfind.h"
#include "cli/report.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 100, LEAST_STEPS = 20, MOST_STEPS = 100000, LINES = 24, WIDTH = 48 };

static int read_rate(const char *name, const char *text, double otherwise, double *rate) {
    char *end;
    *rate = otherwise;
    if (!text) return EXIT_OK;
    *rate = strtod(text, &end);
    if (end != text && !*end && *rate > 0 && isfinite(*rate)) return EXIT_OK;
    return usage_error("lrfind", "'--%s' is a learning rate above 0, found '%s'", name, text);
}

int lrfind_options(const Options *o, RangeBounds *b) {
    int status = read_rate("from", o->from, 1e-7, &b->from);
    if (!status) status = read_rate("to", o->upto, 10, &b->to);
    if (status) return status;
    b->steps = o->steps ? o->steps : STEPS;
    if (b->from >= b->to) return usage_error("lrfind", "'--from' is below '--to', found %g and %g", b->from, b->to);
    if (b->steps < LEAST_STEPS || b->steps > MOST_STEPS)
        return usage_error("lrfind", "'--steps' is from %d to %d, found %" PRId64, LEAST_STEPS, MOST_STEPS, b->steps);
    if (!o->init && (o->init_partial || o->init_map.count))
        return usage_error("lrfind", "'--init-%s' is about '--init', which is not given", o->init_partial ? "partial" : "map");
    for (uint32_t i = 0; i < o->init_map.count; i++)
        if (!rt_init_map_is(o->init_map.item[i]))
            return usage_error("lrfind", "'--init-map' is A=B or with a '*' on either side, found '%s'", o->init_map.item[i]);
    return EXIT_OK;
}

static void print_numbers(const char *name, const double *value, int64_t count) {
    printf(", \"%s\": [", name);
    for (int64_t i = 0; i < count; i++) printf("%s%.9g", i ? ", " : "", value[i]);
    putchar(']');
}

static void print_json(const RtProgram *p, const RtData *data, const RtRange *r) {
    printf("{\"model\": ");
    json_write_string(stdout, p->model);
    printf(", \"data\": ");
    json_write_string(stdout, data->name);
    printf(", \"steps\": %" PRId64 ", \"stopped\": %s", r->count, r->stopped ? "true" : "false");
    json_write_member(stdout, "valley", r->valley);
    json_write_member(stdout, "steepest", r->steepest);
    json_write_member(stdout, "minimum_tenth", r->minimum);
    print_numbers("lr", r->lr, r->count);
    print_numbers("loss", r->loss, r->count);
    print_numbers("smoothed", r->smoothed, r->count);
    puts("}");
}

/* Which of the lines is nearest to a rate. */
static int64_t nearest(const RtRange *r, int64_t every, double lr) {
    int64_t best = 0;
    for (int64_t i = 0; i < r->count; i += every)
        if (fabs(log(r->lr[i] / lr)) < fabs(log(r->lr[best] / lr))) best = i;
    return best;
}

static void print_curve(const RtRange *r) {
    int64_t every = (r->count + LINES - 1) / LINES;
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < r->count; i++) least = fmin(least, r->smoothed[i]), most = fmax(most, r->smoothed[i]);
    printf("learning rate  smoothed loss\n");
    for (int64_t i = 0; i < r->count; i += every) {
        int bar = most > least ? (int)lround((r->smoothed[i] - least) / (most - least) * WIDTH) : 0;
        char stars[WIDTH + 1] = {0};
        memset(stars, '#', (size_t)bar);
        printf("%13.2e  %13.4f  %s%s%s%s\n", r->lr[i], r->smoothed[i], stars,
               i == nearest(r, every, r->valley) ? "  <- valley" : "", i == nearest(r, every, r->steepest) ? "  <- steepest" : "",
               i == nearest(r, every, r->minimum) ? "  <- a tenth of the minimum's" : "");
    }
}

int run_lrfind(RtMachine *m, const Options *o, const RtData *data, const RangeBounds *b) {
    const RtProgram *p = rt_machine_program(m);
    RtError error = {{0}};
    RtRange r;
    RtTrainOptions options = {.seed = (uint64_t)o->seed,
                              .init_path = o->init,
                              .init_map = o->init_map.item,
                              .ninit_map = o->init_map.count,
                              .init_partial = o->init_partial,
                              .say = say};
    int64_t images = p->batch * (p->recipe.accumulate > 1 ? (int64_t)p->recipe.accumulate : 1);
    if (!o->json)
        printf("%s on %s: %" PRId64 " steps of %" PRId64 " image%s, the learning rate rising from %g to %g\n", p->model,
               data->name, b->steps, images, images == 1 ? "" : "s", b->from, b->to);
    fflush(stdout);
    RtStatus status = rt_range_test(m, data, &options, b->from, b->to, b->steps, &r, &error);
    if (status == RT_OK && o->json) print_json(p, data, &r);
    if (status == RT_OK && !o->json) {
        print_curve(&r);
        if (r.stopped && r.infinite)
            printf("stopped behind step %" PRId64 ", since the loss of the next was no number\n", r.count);
        else if (r.stopped)
            printf("stopped at step %" PRId64 ", where the loss had grown to more than four times its least\n", r.count);
        printf("suggestion: --set train.optimizer.lr=%.2g (valley; steepest %.2g, a tenth of the minimum's %.2g)\n", r.valley,
               r.steepest, r.minimum);
    }
    rt_range_free(&r);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

/* The steps' learning rate is such that the first gradient, if the loss were linear, would change it by 1 %. With a fixed rate a
 * deep net whose gradients explode at first (PreAct-ResNet-164) leaps, and lands elsewhere for every order of summation, and a
 * flat net does not move, so that nobody would see a wrong gradient. */
#include "driver/agree.h"
#include "driver/sample.h"
#include "ir/text.h"
#include "runtime/json.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* f32 in another order of summation; where a ReLU falls on the other side in a net of 164 layers it is some 1e-4. Another
 * padding, a missing factor or a forgotten op moves losses and scores by per cents. In bf16 each side rounds where it likes. */
static const double rounding_f32 = 1e-3, rounding_bf16 = 0.1, first_change = 0.01;

/* ---- what the peer is given ---- */

void agree_send_job(Peer *peer, const Graph *graph, const RtOptimizer *o, double lr, const char *inputs) {
    static const char *const kind[] = {[RT_SGD] = "sgd", [RT_ADAM] = "adam", [RT_ADAMW] = "adamw"};
    fputs("{\"inputs\": ", peer->to);
    json_write_string(peer->to, inputs);
    fprintf(
        peer->to,
        ", \"steps\": %d, \"scores\": %d, \"optimizer\": {\"kind\": \"%s\", \"lr\": %.9g, \"momentum\": %.9g, \"nesterov\": %s, "
        "\"weight_decay\": %.9g, \"decay_bn\": %s, \"beta1\": %.9g, \"beta2\": %.9g, \"eps\": %.9g}}\n",
        AGREE_STEPS, AGREE_SCORES, kind[o->kind], lr, o->momentum, o->nesterov ? "true" : "false", o->weight_decay,
        o->decay_bn ? "true" : "false", o->beta1, o->beta2, o->eps);
    graph_print_json(graph, NULL, peer->to);
    fputs("\ngo\n", peer->to);
}

static bool write_words(FILE *file, const void *words, int64_t count) {
    return fwrite(words, 4, (size_t)count, file) == (size_t)count;
}

/* A leaf that the Program does not have, since nothing reads it, is zeros. */
static bool write_leaf(FILE *file, RtMachine *machine, const Value *leaf) {
    const RtProgram *p = rt_machine_program(machine);
    bool param = leaf->op == OP_PARAM;
    const RtTensor *list = param ? p->params : p->state;
    int64_t count = type_elements(leaf->type);
    float *logical = calloc((size_t)count, sizeof *logical);
    for (uint32_t i = 0; logical && i < (param ? p->nparams : p->nstate); i++)
        if (!strcmp(list[i].name, leaf->attrs.param.name))
            rt_tensor_unpack(p, &list[i], rt_machine_space(machine, param ? RT_PARAMS : RT_STATE), logical);
    bool written = logical && write_words(file, logical, count);
    free(logical);
    return written;
}

static bool write_all(FILE *file, RtMachine *machine, const Graph *graph) {
    const RtProgram *p = rt_machine_program(machine);
    bool written = write_words(file, rt_machine_space(machine, RT_IMAGES), p->batch * p->channels * p->height * p->width);
    if (graph->mode == MODE_TRAIN) written = written && write_words(file, rt_machine_space(machine, RT_LABELS), p->batch);
    for (Val v = 0; v < graph->count && written; v++)
        if (graph->value[v].op == OP_PARAM || graph->value[v].op == OP_STATE)
            written = write_leaf(file, machine, &graph->value[v]);
    return written;
}

int agree_write_inputs(RtMachine *machine, const Graph *graph, char **path) {
    const char *folder = getenv("TMPDIR");
    *path = join("%s/netc-peer-XXXXXX", folder && *folder ? folder : "/tmp");
    int descriptor = mkstemp(*path);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    bool written = file && write_all(file, machine, graph);
    if (file && fclose(file)) written = false;
    return written ? EXIT_OK : fail(EXIT_IO, "cannot write the peer's inputs to '%s': %s", *path, strerror(errno));
}

/* ---- netc's numbers ---- */

/* From the gradients that the machine holds. A step of SGD moves the weights by lr times the gradient, the first step of Adam by
 * lr times its signs. */
static double choose_rate(RtMachine *machine, double loss) {
    const RtProgram *p = rt_machine_program(machine);
    const float *gradient = rt_machine_space(machine, RT_GRADS);
    double slope = 0;
    for (uint64_t i = 0; i < p->params_bytes / sizeof *gradient; i++) { /* padding is zero */
        double g = (double)gradient[i];
        slope += p->recipe.optimizer.kind == RT_SGD ? g * g : fabs(g);
    }
    double lr = first_change * fabs(loss) / slope;
    return isfinite(lr) && lr > 0 ? (float)lr : sample_lr;
}

static void compute_scores(RtMachine *machine, Numbers *n) {
    const RtProgram *p = rt_machine_program(machine);
    int64_t total = p->batch * p->classes;
    rt_machine_run(machine, &p->prepare_eval);
    rt_machine_infer(machine, p->batch);
    const float *scores = rt_machine_space(machine, RT_LOGITS);
    for (int64_t i = 0; i < total; i++) n->largest = fmax(n->largest, fabs((double)scores[i]));
    for (int64_t i = 0; i < AGREE_SCORES; i++) n->score[i] = scores[i * total / AGREE_SCORES];
}

void agree_compute(RtMachine *machine, uint64_t seed, Numbers *n, void (*trained)(void *context), void *context) {
    const RtProgram *p = rt_machine_program(machine);
    const float *metrics = rt_machine_space(machine, RT_METRICS);
    for (int step = 0; n->trains && step < AGREE_STEPS; step++) {
        sample_set_step(machine, seed, (uint64_t)step, n->lr);
        rt_machine_run(machine, &p->train_step);
        n->loss[step] = (double)metrics[0];
        if (step == 0) n->lr = choose_rate(machine, n->loss[0]);
        rt_machine_env(machine)->lr = (float)n->lr;
        rt_machine_run(machine, &p->apply_update);
    }
    if (n->trains) trained(context);
    if (!n->infers) return;
    if (n->trains && n->drops) sample_inputs(machine, seed);
    compute_scores(machine, n);
}

/* ---- the peer's ---- */

/* NaN if they differ in being finite. */
static double difference(double a, double b, double scale) {
    if (!isfinite(a) && !isfinite(b)) return 0;
    return fabs(a - b) / scale;
}

/* A line "WORD X Y ..." against `ours`; `scale`: of every number, or 0: of itself. *worst stays negative if the peer cannot say.
 */
static int hear_numbers(Peer *peer, const char *word, const double *ours, int count, double scale, double tolerance,
                        double *worst) {
    char line[PEER_LINE], *rest, *end;
    int status = peer_hear(peer, word, line, &rest);
    if (status || !strcmp(rest, "unknown")) return status;
    *worst = 0;
    for (int i = 0; i < count; i++, rest = end) {
        double theirs = strtod(rest, &end);
        if (end == rest) return fail(EXIT_INPUT, "the peer '%s' was to say %d %s, and said %d", peer->name, count, word, i);
        double differs = difference(theirs, ours[i], scale > 0 ? scale : fmax(fabs(ours[i]), 1e-30));
        if (!(differs <= tolerance))
            return fail(EXIT_INPUT,
                        "the peer '%s' computes another net: the first %d %s differ by %.2g: number %d is %.7g, netc's is %.7g",
                        peer->name, count, word, differs, i + 1, theirs, ours[i]);
        *worst = fmax(*worst, differs);
    }
    return EXIT_OK;
}

int agree_hear(Peer *peer, const Numbers *ours, bool bf16, Agreement *a) {
    double tolerance = bf16 ? rounding_bf16 : rounding_f32, ignored = -1;
    *a = (Agreement){-1, -1};
    int status = EXIT_OK;
    if (ours->trains)
        status = hear_numbers(peer, "losses", ours->loss, AGREE_STEPS, 0, ours->drops ? INFINITY : tolerance,
                              ours->drops ? &ignored : &a->loss);
    if (!status && ours->infers)
        status = hear_numbers(peer, "scores", ours->score, AGREE_SCORES, ours->largest, tolerance, &a->score);
    return status;
}

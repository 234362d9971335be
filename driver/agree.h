/* Whether a peer computes the same function as netc: it is given netc's weights, images and labels, and says the losses of the
 * first training steps and some scores, which are held against netc's own.
 *
 * Every failure is printed where it is found and comes back as an exit status. */
#ifndef NETC_DRIVER_AGREE_H
#define NETC_DRIVER_AGREE_H
#include "driver/peer.h"

enum { AGREE_STEPS = 3, AGREE_SCORES = 16 };

/* What one side computes. Losses are of the first AGREE_STEPS steps from the initial weights. Scores are AGREE_SCORES logits of
 * inference, evenly spread over images and classes: with the weights after those steps, or with the initial ones if nothing is
 * trained or dropout makes the steps each side's own. */
typedef struct Numbers {
    double lr;                                              /* of the steps */
    bool trains, infers, drops;                             /* drops: there is dropout, so that losses cannot be compared */
    double loss[AGREE_STEPS], score[AGREE_SCORES], largest; /* largest: of all scores, as an absolute value */
} Numbers;

/* Largest differences, as fractions of the loss and of the largest score; negative: not compared. */
typedef struct Agreement {
    double loss, score;
} Agreement;

/* The job's line and the graph, as bench/peer.py has them. */
void agree_send_job(Peer *peer, const Graph *graph, const RtOptimizer *optimizer, double lr, const char *inputs);
/* The job's file of inputs: images, labels and weights that the machine holds, in a new temporary file; *path is malloc'd. */
int agree_write_inputs(RtMachine *machine, const Graph *graph, char **path);
/* Netc's numbers, from the inputs of sample_inputs with this seed; n->trains, infers and drops are set. `trained`
 * is called between training and inference, if there is training. */
void agree_compute(RtMachine *machine, uint64_t seed, Numbers *n, void (*trained)(void *context), void *context);
/* Hears the peer's and compares; EXIT_INPUT if they differ by more than rounding explains in this mode. */
int agree_hear(Peer *peer, const Numbers *ours, bool bf16, Agreement *agreement);
#endif

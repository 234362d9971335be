/* How a net's signals go at a given point: one training step is compiled with sums of squares beside its values, and run. */
#ifndef NETC_DRIVER_SIGNAL_H
#define NETC_DRIVER_SIGNAL_H
#include "driver/session.h"

/* A convolution or dense layer. Root mean squares are over all elements of the batch, norms Euclidean. */
typedef struct LayerSignal {
    const char *name; /* of its weights, "basic3.conv_bn1.conv2d.weight" */
    Span span;
    bool filters; /* a convolution, not a dense layer */
    double forward,
        backward; /* root mean square of its output, and of the loss's gradient by that (NaN: other layers share its weights) */
    double weight, gradient; /* norm of the weights, and of the loss's gradient by them */
} LayerSignal;

/* A map with a threshold: relu, relu6, hard_swish, max of two, ... */
typedef struct UnitSignal {
    const char *name;
    Span span;
    bool map;                 /* a feature map, not one number per image and channel */
    int64_t channels, silent; /* silent: zero for every image and pixel */
} UnitSignal;

typedef struct Signal {
    LayerSignal *layer; /* in the order in which the net computes them */
    UnitSignal *unit;
    uint32_t nlayers, nunits;
    int64_t images;
    double loss, confidence; /* confidence: mean of the greatest class probability */
    double gradient;         /* norm of the loss's gradient by all parameters */
    /* g'Hg / g'g: the loss's second derivative along its gradient g, by a difference of gradients. NaN where g is zero. */
    double curvature;
    char *unreached; /* a parameter whose gradient is zero, and still is after a small step along the others'; NULL: none */
    PassResult half; /* names are in its graph */
} Signal;

/* On the first batch of a training with the session's seed, data and recipe, with initial weights. Takes the session, whose
 * train.graph is there, through to a machine. Exit status, after a sentence; signal_free either way. */
int signal_measure(Session *session, const char *command_name, Signal *signal);
void signal_free(Signal *signal);
#endif

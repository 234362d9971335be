/* A graph as a Program without code: what is known of a model before it is compiled. Data sets, weights and checkpoints are
 * checked against it. */
#ifndef NETC_DRIVER_SHAPE_H
#define NETC_DRIVER_SHAPE_H
#include "driver/session.h"

typedef struct Shape {
    RtProgram program; /* model, batch, sizes, recipe, tensors: all dense, a block of one */
    RtTensor *tensor;
} Shape;
/* Of the session's graph of training if it has one, else of inference, both after the passes. shape_free either way. */
int shape_of(const Session *session, Shape *shape);
void shape_free(Shape *shape);
#endif

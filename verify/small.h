/* A net made small enough to be evaluated often. */
#ifndef NETC_VERIFY_SMALL_H
#define NETC_VERIFY_SMALL_H
#include "ir/ir.h"

enum { SMALL_BATCH = 2 }; /* images that a net is verified with */

/* The same net for smaller images (and SMALL_BATCH of them, where it is for more), halved until evaluating it once is some tenth
 * of a second, as long as no feature map falls below 2x2 that does not now (batch norm needs several values a channel) and the
 * net allows it; and with fewer channels and units if it costs very much all the same. NULL: it is small enough, cannot be
 * smaller, or is not as the language says it (SOURCE). */
Graph *small_images(const Graph *g);
bool small_enough(const Graph *g); /* evaluating it often takes seconds, not minutes */
Type images_type(const Graph *g);  /* of the input of rank 4; rank 0 if there is none */
#endif

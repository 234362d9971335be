/* The models that come with netc. */
#ifndef NETC_DRIVER_ZOO_H
#define NETC_DRIVER_ZOO_H
#include <stdint.h>

typedef struct Zoo {
    char **path; /* of every file that has a net, by name */
    uint32_t count;
} Zoo;
/* Exit status, after a sentence. zoo_close either way. */
int zoo_open(Zoo *zoo);
void zoo_close(Zoo *zoo);
/* The body for every model, in a process of its own and as many at a time as there are CPUs; what they print comes in the order
 * of the models. Its status EXIT_INPUT ends that model alone, another one ends it all. Returns the worst. */
int zoo_each(const Zoo *zoo, int (*body)(void *context, uint32_t index), void *context);
#endif

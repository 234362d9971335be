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
#endif

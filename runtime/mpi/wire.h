/* What the runtime wants of a message-passing library, as a table of functions in a shared object of its own: one for each MPI
 * whose binary interface differs, compiled against its header, and loaded at run time (runtime/ranks.c). So nothing else depends
 * on MPI. */
#ifndef NETC_RUNTIME_WIRE_H
#define NETC_RUNTIME_WIRE_H
#include <stdbool.h>
#include <stddef.h>

enum { WIRE_VERSION = 2, WIRE_NAME = 256 };

typedef struct Wire {
    int version;
    /* Joins the others. False with a sentence in why. */
    bool (*open)(int *rank, int *size, char *why, size_t why_size);
    /* Name of the machine that this process runs on. */
    void (*host)(char name[WIRE_NAME]);
    /* Starts sending to, or receiving from, a rank; messages of two ranks on one channel (a small number) arrive in the order in
     * which they were sent. At most 2^30 bytes. The number of the request, or -1. */
    int (*send)(const void *data, size_t bytes, int to, int channel);
    int (*receive)(void *data, size_t bytes, int from, int channel);
    /* 1: it is done, and its number is free again; 0: not yet; -1: it failed. */
    int (*test)(int request);
    void (*close)(void);
    void (*abort)(int status); /* ends all ranks; does not return */
} Wire;
/* The one symbol of such an object, a const Wire. */
#define WIRE_SYMBOL "netc_wire"
#endif

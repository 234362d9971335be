/* The table of wire.h by MPI. Compiled once for each implementation. Only point-to-point messages: how sums are formed is ours
 * (runtime/shards.c). */
#include "runtime/mpi/wire.h"
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static MPI_Comm world; /* a copy, so that our messages meet nobody else's */
static MPI_Request *request;
static int nrequests;

static bool wire_open(int *rank, int *size, char *why, size_t why_size) {
    int provided, already = 0;
    MPI_Initialized(&already);
    if (!already && MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
        snprintf(why, why_size, "MPI_Init_thread failed");
        return false;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (MPI_Comm_dup(MPI_COMM_WORLD, &world) != MPI_SUCCESS || MPI_Comm_rank(world, rank) != MPI_SUCCESS ||
        MPI_Comm_size(world, size) != MPI_SUCCESS) {
        snprintf(why, why_size, "it has no communicator");
        return false;
    }
    MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    return true;
}

static void wire_host(char name[WIRE_NAME]) {
    char text[MPI_MAX_PROCESSOR_NAME] = "";
    int length;
    MPI_Get_processor_name(text, &length);
    snprintf(name, WIRE_NAME, "%.200s", text);
}

static int free_request(void) {
    for (int i = 0; i < nrequests; i++)
        if (request[i] == MPI_REQUEST_NULL) return i;
    int more = nrequests ? 2 * nrequests : 64;
    MPI_Request *longer = realloc(request, (size_t)more * sizeof *longer);
    if (!longer) return -1;
    request = longer;
    for (int i = nrequests; i < more; i++) request[i] = MPI_REQUEST_NULL;
    int first = nrequests;
    nrequests = more;
    return first;
}

/* The first channel's never changes: on it ranks find that they are of different netcs. */
static int tag_of(int channel) { return channel + 1; }

static int wire_send(const void *data, size_t bytes, int to, int channel) {
    int i = free_request();
    if (i < 0 || bytes > INT_MAX || MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag_of(channel), world, &request[i]) != MPI_SUCCESS)
        return -1;
    return i;
}

static int wire_receive(void *data, size_t bytes, int from, int channel) {
    int i = free_request();
    if (i < 0 || bytes > INT_MAX ||
        MPI_Irecv(data, (int)bytes, MPI_BYTE, from, tag_of(channel), world, &request[i]) != MPI_SUCCESS)
        return -1;
    return i;
}

static int wire_test(int i) {
    int done = 0;
    if (MPI_Test(&request[i], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return -1;
    return done != 0;
}

static void wire_close(void) {
    MPI_Comm_free(&world);
    MPI_Finalize();
    free(request);
    request = NULL;
    nrequests = 0;
}

static void wire_abort(int status) {
    MPI_Abort(MPI_COMM_WORLD, status);
    abort();
}

extern const Wire netc_wire;
const Wire netc_wire = {WIRE_VERSION, wire_open, wire_host, wire_send, wire_receive, wire_test, wire_close, wire_abort};

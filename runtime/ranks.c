/* Who has started this process, and with whom; how ranks speak, and how long they wait for each other. See ranks.h. */
#include "runtime/ranks.h"
#include "runtime/mpi/wire.h"
#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* An executable that is linked statically has none, and cannot load anything. */
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlerror

/* ---- launchers ---- */

/* Of Open MPI, of MPICH's Hydra and what else speaks PMI, of MVAPICH, and of Slurm, which sets it in the processes of a step
 * only: SLURM_NTASKS is set in a batch script too, which is one process. */
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"};

int64_t rt_ranks_started(const char **variable) {
    *variable = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *text = getenv(sizes[i]);
        long long size = text ? strtoll(text, NULL, 10) : 0;
        if (size <= 1) continue;
        *variable = sizes[i];
        return size;
    }
    return 1;
}

/* ---- the library ---- */

typedef struct Library {
    const char *name, *object; /* of ours: netc_NAME.so; of its own, as its binary interface is called */
} Library;
static const Library openmpi = {"openmpi", "libmpi.so.40"}, mpich = {"mpich", "libmpich.so.12"};
enum { PATH = 4096 };

struct RtRanks {
    const Wire *wire;
    void *object;
    int rank, size;
    uint64_t sent;   /* bytes so far */
    double patience; /* seconds without a message before a rank is given up */
    bool spoken;     /* all have been heard of: before, one may still be compiling */
    bool failed;
    RtError error;
    RtTransfer *transfer; /* 2 * size */
    char (*host)[WIRE_NAME];
};

/* Speaks Open MPI, not MPICH? */
static bool launched_by_openmpi(void) { return getenv("OMPI_COMM_WORLD_SIZE") || (getenv("PMIX_RANK") && !getenv("PMI_SIZE")); }

/* Where the objects of libraries may stand: in $NETC_MPI, beside the program and in lib/netc of where it is installed, and where
 * the loader looks. */
static void *load(const Library *library, char *why, size_t why_size) {
    char self[PATH], path[PATH + 64];
    const char *own = getenv("NETC_MPI");
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) self[n] = 0;
    char *slash = n > 0 ? strrchr(self, '/') : NULL;
    if (slash) *slash = 0;
    if (!dlopen(library->object, RTLD_NOW | RTLD_GLOBAL)) { /* ours, and its own plug-ins, look its symbols up */
        snprintf(why, why_size, "%s", dlerror());
        return NULL;
    }
    for (int i = own ? 0 : 1; i < 4; i++) {
        if ((i == 1 || i == 2) && !slash) continue;
        if (i == 0) snprintf(path, sizeof path, "%s/netc_%s.so", own, library->name);
        if (i == 1) snprintf(path, sizeof path, "%s/netc_%s.so", self, library->name);
        if (i == 2) snprintf(path, sizeof path, "%s/../lib/netc/netc_%s.so", self, library->name);
        if (i == 3) snprintf(path, sizeof path, "netc_%s.so", library->name);
        if (i < 3 && access(path, R_OK)) continue;
        void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (object) return object;
        const char *text = dlerror();
        snprintf(why, why_size, "%s", text ? text : "it cannot be loaded");
        if (i < 3) return NULL;
    }
    return NULL;
}

static RtStatus join_by(RtRanks *r, const Library *library, int64_t started, RtError *error) {
    char why[300] = "";
    if (!dlopen) return rt_fail(error, RT_USAGE, "it is linked statically, and MPI is loaded when it is needed");
    r->object = load(library, why, sizeof why);
    const Wire *wire = r->object ? dlsym(r->object, WIRE_SYMBOL) : NULL;
    if (!wire) return rt_fail(error, RT_USAGE, "no MPI can be used: %.400s", why);
    if (wire->version != WIRE_VERSION) return rt_fail(error, RT_USAGE, "netc_%s.so is of another version of netc", library->name);
    if (!wire->open(&r->rank, &r->size, why, sizeof why)) return rt_fail(error, RT_USAGE, "MPI cannot be used: %.400s", why);
    r->wire = wire;
    if (r->size == started) return RT_OK;
    return rt_fail(
        error, RT_USAGE,
        "%lld processes were started together, but %s knows of %d: they are to be started by its own mpirun, or by srun with "
        "--mpi=pmix or --mpi=pmi2 as it was built for",
        (long long)started, library->name, r->size);
}

static void find_hosts(RtRanks *r) {
    char mine[WIRE_NAME] = "";
    r->wire->host(mine);
    rt_ranks_gather(r, mine, WIRE_NAME, r->host);
}

RtStatus rt_ranks_open(RtRanks **ranks, RtError *error) {
    const char *variable, *patience = getenv("NETC_RANK_TIMEOUT");
    int64_t started = rt_ranks_started(&variable);
    bool open = launched_by_openmpi();
    *ranks = NULL;
    if (started == 1) return RT_OK;
    RtRanks *r = calloc(1, sizeof *r);
    if (!r) return rt_fail(error, RT_MEMORY, "out of memory");
    r->patience = patience && atof(patience) > 0 ? atof(patience) : 120;
    RtStatus status = join_by(r, open ? &openmpi : &mpich, started, error);
    if (status == RT_OK) {
        r->transfer = calloc(2 * (size_t)r->size, sizeof *r->transfer);
        r->host = calloc((size_t)r->size, sizeof *r->host);
        if (!r->transfer || !r->host) status = rt_fail(error, RT_MEMORY, "out of memory");
    }
    *ranks = r;
    if (status == RT_OK) find_hosts(r);
    if (status == RT_OK) status = rt_ranks_status(r, error);
    if (status == RT_OK) return RT_OK;
    if (!r->wire) rt_ranks_close(r), *ranks = NULL; /* nothing is open yet */
    char text[sizeof error->text];
    snprintf(text, sizeof text, "%s", error->text);
    return rt_fail(error, status,
                   "%lld processes were started to train together (%s says so), which this program cannot do: %.380s",
                   (long long)started, variable, text);
}

void rt_ranks_met(RtRanks *r) {
    if (r) r->spoken = true;
}

void rt_ranks_close(RtRanks *r) {
    if (!r) return;
    if (r->wire && r->failed) {
        fflush(NULL);
        r->wire->abort(RT_IO);
    }
    if (r->wire) r->wire->close();
    free(r->transfer);
    free(r->host);
    free(r); /* the object stays: MPI's own threads may still be in it */
}

int rt_ranks_count(const RtRanks *r) { return r ? r->size : 1; }
int rt_ranks_index(const RtRanks *r) { return r ? r->rank : 0; }
uint64_t rt_ranks_sent(const RtRanks *r) { return r ? r->sent : 0; }

RtShare rt_ranks_share(const RtRanks *r, int rank, int64_t shards) {
    int64_t size = rt_ranks_count(r), first = shards * rank / size;
    return (RtShare){first, shards * (rank + 1) / size - first};
}

/* ---- failures ---- */

bool rt_ranks_fail(RtRanks *r, const char *format, ...) {
    va_list args;
    if (r->failed) return false;
    r->failed = true;
    va_start(args, format);
    vsnprintf(r->error.text, sizeof r->error.text, format, args);
    va_end(args);
    return false;
}

RtStatus rt_ranks_status(const RtRanks *r, RtError *error) {
    if (!r || !r->failed) return RT_OK;
    *error = r->error;
    return RT_IO;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const char *host_of(const RtRanks *r, int rank) { return r->host[rank][0] ? r->host[rank] : "unknown host"; }

/* ---- messages ---- */

enum { PART = 1 << 30, SPIN_TESTS = 100 };

static bool post(RtRanks *r, RtTransfer *t) {
    if (t->send) r->sent += t->bytes;
    t->request = t->send ? r->wire->send(t->data, t->bytes, t->peer, t->channel)
                         : r->wire->receive(t->data, t->bytes, t->peer, t->channel);
    return t->request >= 0 || rt_ranks_fail(r, "no message can be exchanged with rank %d (%s)", t->peer, host_of(r, t->peer));
}

/* How many are done now that were not before; -1: one failed. */
static int64_t test_all(RtRanks *r, RtTransfer *transfer, int64_t n) {
    int64_t done = 0;
    for (int64_t i = 0; i < n; i++) {
        if (transfer[i].request < 0) continue;
        int state = r->wire->test(transfer[i].request);
        if (state < 0) {
            rt_ranks_fail(r, "the connection to rank %d (%s) broke", transfer[i].peer, host_of(r, transfer[i].peer));
            return -1;
        }
        if (!state) continue;
        transfer[i].request = -1;
        done++;
    }
    return done;
}

/* What is waited for: a message that should come, rather than one that is not taken. */
static int awaited(const RtTransfer *transfer, int64_t n) {
    int peer = -1;
    for (int64_t i = n - 1; i >= 0; i--)
        if (transfer[i].request >= 0 && (peer < 0 || !transfer[i].send)) peer = transfer[i].peer;
    return peer;
}

/* A processor that another rank may need is left to it soon: MPI makes progress only while it is asked. */
static void rest(int64_t tests) {
    struct timespec nap = {0, 50000};
    if (tests > 4 * SPIN_TESTS)
        nanosleep(&nap, NULL);
    else if (tests > SPIN_TESTS)
        sched_yield();
}

static bool wait_for(RtRanks *r, RtTransfer *transfer, int64_t n) {
    double patience = r->spoken ? r->patience : 10 * r->patience, since = now();
    int64_t left = 0, tests = 0;
    for (int64_t i = 0; i < n; i++) left += transfer[i].request >= 0;
    while (left > 0) {
        int64_t done = test_all(r, transfer, n);
        if (done < 0) return false;
        left -= done;
        if (done) since = now(), tests = 0;
        if (left && !done && tests % 256 == 255 && now() - since > patience) {
            int peer = awaited(transfer, n);
            return rt_ranks_fail(r, "rank %d (%s) has not answered for %.0f s", peer, host_of(r, peer), patience);
        }
        rest(tests++);
    }
    return true;
}

/* The next part of each that has one; false: a failure. */
static bool post_parts(RtRanks *r, RtTransfer *transfer, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        RtTransfer part = transfer[i];
        if (!part.bytes) continue;
        if (part.bytes > PART) part.bytes = PART;
        if (!post(r, &part)) return false;
        transfer[i].request = part.request;
        transfer[i].data = (char *)transfer[i].data + part.bytes;
        transfer[i].bytes -= part.bytes;
    }
    return true;
}

bool rt_ranks_begin(RtRanks *r, RtTransfer *transfer, int64_t n) {
    for (int64_t i = 0; i < n; i++) transfer[i].request = -1;
    return !r->failed && post_parts(r, transfer, n);
}

bool rt_ranks_proceed(RtRanks *r, RtTransfer *transfer, int64_t n) {
    if (r->failed || test_all(r, transfer, n) < 0) return false;
    for (int64_t i = 0; i < n; i++)
        if (transfer[i].request >= 0 || transfer[i].bytes) return false;
    return true;
}

bool rt_ranks_wait(RtRanks *r, RtTransfer *transfer, int64_t n) {
    for (bool more = true; more;) {
        if (r->failed || !wait_for(r, transfer, n)) return false;
        more = false;
        for (int64_t i = 0; i < n; i++) more |= transfer[i].bytes > 0;
        if (more && !post_parts(r, transfer, n)) return false;
    }
    return true;
}

bool rt_ranks_exchange(RtRanks *r, RtTransfer *transfer, int64_t n) {
    return rt_ranks_begin(r, transfer, n) && rt_ranks_wait(r, transfer, n);
}

bool rt_ranks_broadcast(RtRanks *r, void *data, uint64_t bytes) {
    if (!r) return true;
    int64_t n = 0;
    for (int k = 0; k < r->size; k++)
        if (r->rank ? k == 0 : k != 0)
            r->transfer[n++] = (RtTransfer){.peer = k, .send = r->rank == 0, .data = data, .bytes = bytes};
    return rt_ranks_exchange(r, r->transfer, n);
}

bool rt_ranks_gather(RtRanks *r, const void *mine, uint64_t bytes, void *all) {
    memmove((char *)all + (uint64_t)rt_ranks_index(r) * bytes, mine, bytes);
    if (!r) return true;
    int64_t n = 0;
    for (int k = 0; k < r->size; k++) {
        if (k == r->rank) continue;
        r->transfer[n++] = (RtTransfer){.peer = k, .data = (char *)all + (uint64_t)k * bytes, .bytes = bytes};
        r->transfer[n++] = (RtTransfer){.peer = k, .send = true, .data = (char *)all + (uint64_t)r->rank * bytes, .bytes = bytes};
    }
    return rt_ranks_exchange(r, r->transfer, n);
}

/* ---- agreement ---- */

typedef struct Opinion {
    int32_t status;
    char text[sizeof(RtError)];
} Opinion;

RtStatus rt_ranks_agree(RtRanks *r, RtStatus mine, RtError *error) {
    if (!r) return mine;
    Opinion *all = calloc((size_t)r->size, sizeof *all), own = {.status = mine};
    if (!all) return rt_fail(error, RT_MEMORY, "out of memory");
    if (mine) memcpy(own.text, error->text, sizeof own.text);
    bool heard = rt_ranks_gather(r, &own, sizeof own, all);
    RtStatus status = heard ? RT_OK : rt_ranks_status(r, error);
    for (int k = 0; heard && k < r->size && (status == RT_OK || status == RT_INTERRUPTED); k++) {
        if (all[k].status == RT_OK || (status == RT_INTERRUPTED && all[k].status == RT_INTERRUPTED)) continue;
        status = (RtStatus)all[k].status;
        if (k && status != RT_INTERRUPTED)
            rt_fail(error, status, "rank %d (%s): %.440s", k, host_of(r, k), all[k].text);
        else
            memcpy(error->text, all[k].text, sizeof error->text);
    }
    free(all);
    return status;
}

enum { SAME = 512 };

RtStatus rt_ranks_same(RtRanks *r, const char *what, const char *text, RtError *error) {
    if (!r) return RT_OK;
    char own[SAME] = "", (*all)[SAME] = calloc((size_t)r->size, sizeof *all);
    if (!all) return rt_fail(error, RT_MEMORY, "out of memory");
    snprintf(own, sizeof own, "%s", text);
    bool heard = rt_ranks_gather(r, own, sizeof own, all);
    RtStatus status = heard ? RT_OK : rt_ranks_status(r, error);
    for (int k = 1; heard && k < r->size && status == RT_OK; k++)
        if (strcmp(all[0], all[k]) != 0)
            status = rt_fail(error, RT_INPUT, "rank %d (%s) disagrees: %s is '%.150s' there, '%.150s' on rank 0", k,
                             host_of(r, k), what, all[k], all[0]);
    free(all);
    return status;
}

/* See shards.h. */
#include "runtime/shards.h"
#include "runtime/ranks.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 13, SMALL = 1 << 14 }; /* numbers of a piece; bytes up to which all finish the whole sum */

typedef struct Addition {
    int32_t into, from; /* shards, of the whole batch */
} Addition;

struct RtShards {
    RtPool *pool;
    RtRanks *ranks;
    int64_t shards;
    RtShare share;
    Addition *own, *last; /* within this process; behind the exchange */
    int64_t nown, nlast;
    int32_t *left; /* shards that are not added to others within the process that has them, in order */
    int64_t nleft;
    int32_t *owner; /* of each of them */
    char **node;    /* by shard: where its sum stands */
    char *received;
    uint64_t received_bytes;
    RtTransfer *transfer;
};

/* Which process has all of shards [begin, end); -1: no single one. */
static int owner_of(const RtRanks *ranks, int64_t shards, int64_t begin, int64_t end) {
    for (int r = 0; r < rt_ranks_count(ranks); r++) {
        RtShare s = rt_ranks_share(ranks, r, shards);
        if (begin >= s.first && end <= s.first + s.count) return r;
    }
    return -1;
}

static void plan(RtShards *s) {
    bool added[RT_MAX_SHARDS] = {false};
    for (int64_t width = 1; width < s->shards; width *= 2)
        for (int64_t i = 0; i + width < s->shards; i += 2 * width) {
            int64_t end = i + 2 * width < s->shards ? i + 2 * width : s->shards;
            int owner = owner_of(s->ranks, s->shards, i, end);
            Addition a = {(int32_t)i, (int32_t)(i + width)};
            if (owner < 0)
                s->last[s->nlast++] = a;
            else
                added[a.from] = true;
            if (owner == rt_ranks_index(s->ranks)) s->own[s->nown++] = a;
        }
    for (int64_t i = 0; i < s->shards; i++)
        if (!added[i]) {
            s->owner[s->nleft] = owner_of(s->ranks, s->shards, i, i + 1);
            s->left[s->nleft++] = (int32_t)i;
        }
}

RtShards *rt_shards_new(RtPool *pool, RtRanks *ranks, int64_t shards) {
    RtShards *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s =
        (RtShards){.pool = pool, .ranks = ranks, .shards = shards, .share = rt_ranks_share(ranks, rt_ranks_index(ranks), shards)};
    size_t n = (size_t)shards, peers = (size_t)rt_ranks_count(ranks);
    s->own = calloc(n, sizeof *s->own);
    s->last = calloc(n, sizeof *s->last);
    s->left = calloc(n, sizeof *s->left);
    s->owner = calloc(n, sizeof *s->owner);
    s->node = calloc(n, sizeof *s->node);
    s->transfer = calloc((n + 2) * (peers + 1), sizeof *s->transfer);
    if (s->own && s->last && s->left && s->owner && s->node && s->transfer && shards <= RT_MAX_SHARDS) {
        plan(s);
        return s;
    }
    rt_shards_free(s);
    return NULL;
}

void rt_shards_free(RtShards *s) {
    if (!s) return;
    free(s->own);
    free(s->last);
    free(s->left);
    free(s->owner);
    free(s->node);
    free(s->transfer);
    free(s->received);
    free(s);
}

/* ---- additions ---- */

typedef struct Adding {
    const RtShards *s;
    const Addition *addition;
    int64_t additions, begin, end; /* numbers [begin, end) of each node */
    bool wide;
} Adding;

static void add_f32(float *restrict into, const float *restrict from, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) into[i] += from[i];
}

static void add_f64(double *restrict into, const double *restrict from, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) into[i] += from[i];
}

static void add_chunk(void *context, int64_t piece, int thread) {
    const Adding *a = context;
    int64_t begin = a->begin + piece * CHUNK, end = begin + CHUNK < a->end ? begin + CHUNK : a->end;
    (void)thread;
    for (int64_t k = 0; k < a->additions; k++) {
        void *into = a->s->node[a->addition[k].into], *from = a->s->node[a->addition[k].from];
        if (a->wide)
            add_f64(into, from, begin, end);
        else
            add_f32(into, from, begin, end);
    }
}

static void add(const RtShards *s, const Addition *addition, int64_t additions, bool wide, int64_t begin, int64_t end) {
    Adding a = {s, addition, additions, begin, end, wide};
    if (additions) rt_pool_run(s->pool, add_chunk, &a, (end - begin + CHUNK - 1) / CHUNK);
}

/* ---- the exchange ---- */

/* Numbers [*begin, *end) are rank r's to finish. */
static void slice(const RtShards *s, int r, int64_t count, int64_t *begin, int64_t *end) {
    int64_t ranks = rt_ranks_count(s->ranks);
    *begin = count * r / ranks;
    *end = count * (r + 1) / ranks;
}

static char *make_room(RtShards *s, uint64_t bytes) {
    if (bytes <= s->received_bytes) return s->received;
    free(s->received);
    s->received = malloc(bytes);
    s->received_bytes = s->received ? bytes : 0;
    return s->received;
}

static void send(RtShards *s, int64_t *n, int to, void *data, uint64_t bytes) {
    if (!bytes) return;
    s->transfer[(*n)++] = (RtTransfer){.peer = to, .send = true, .data = data, .bytes = bytes};
}

static void receive(RtShards *s, int64_t *n, int from, void *data, uint64_t bytes) {
    if (bytes) s->transfer[(*n)++] = (RtTransfer){.peer = from, .data = data, .bytes = bytes};
}

/* Nodes that are left go round: to rank r its slice of them, or, of a small sum, all. Points the others' nodes to where they
 * are received, as if they were whole. */
static bool exchange_nodes(RtShards *s, uint64_t size, int64_t count, bool small) {
    int me = rt_ranks_index(s->ranks), ranks = rt_ranks_count(s->ranks);
    int64_t n = 0, begin, end, mine_begin = 0, mine_end = count;
    if (!small) slice(s, me, count, &mine_begin, &mine_end);
    uint64_t bytes = (uint64_t)(mine_end - mine_begin) * size;
    char *room = make_room(s, (uint64_t)s->nleft * bytes + 1);
    if (!room) return rt_ranks_fail(s->ranks, "out of memory for the sums of other ranks");
    for (int64_t i = 0; i < s->nleft; i++) {
        char **node = &s->node[s->left[i]];
        if (s->owner[i] != me) {
            receive(s, &n, s->owner[i], room, bytes);
            *node = room - (uint64_t)mine_begin * size;
            room += bytes;
            continue;
        }
        for (int r = 0; r < ranks; r++) {
            begin = 0, end = count;
            if (!small) slice(s, r, count, &begin, &end);
            if (r != me) send(s, &n, r, *node + (uint64_t)begin * size, (uint64_t)(end - begin) * size);
        }
    }
    return rt_ranks_exchange(s->ranks, s->transfer, n);
}

/* Each rank's finished slice to all. */
static bool exchange_slices(RtShards *s, char *sum, uint64_t size, int64_t count) {
    int me = rt_ranks_index(s->ranks);
    int64_t n = 0, begin, end, mine_begin, mine_end;
    slice(s, me, count, &mine_begin, &mine_end);
    for (int r = 0; r < rt_ranks_count(s->ranks); r++) {
        if (r == me) continue;
        slice(s, r, count, &begin, &end);
        send(s, &n, r, sum + (uint64_t)mine_begin * size, (uint64_t)(mine_end - mine_begin) * size);
        receive(s, &n, r, sum + (uint64_t)begin * size, (uint64_t)(end - begin) * size);
    }
    return rt_ranks_exchange(s->ranks, s->transfer, n);
}

void rt_shards_sum(RtShards *s, void *first, uint64_t stride, bool wide, int64_t count) {
    uint64_t size = wide ? sizeof(double) : sizeof(float);
    for (int64_t i = 0; i < s->share.count; i++) s->node[s->share.first + i] = (char *)first + (uint64_t)i * stride;
    add(s, s->own, s->nown, wide, 0, count);
    if (rt_ranks_count(s->ranks) == 1) return;
    int64_t begin = 0, end = count;
    bool small = (uint64_t)count * size <= SMALL;
    if (!small) slice(s, rt_ranks_index(s->ranks), count, &begin, &end);
    if (!exchange_nodes(s, size, count, small)) return;
    add(s, s->last, s->nlast, wide, begin, end);
    char *sum = s->node[0] + (uint64_t)begin * size, *to = (char *)first + (uint64_t)begin * size;
    if (sum != to) memmove(to, sum, (uint64_t)(end - begin) * size);
    if (!small) exchange_slices(s, first, size, count);
}

/* ---- machines ---- */

RtStatus rt_shards_check(const RtProgram *p, const RtRanks *ranks, RtError *error) {
    long long shards = rt_shards(p) > p->recipe.shards ? rt_shards(p) : p->recipe.shards > 1 ? p->recipe.shards : 1;
    if (p->batch % shards)
        return rt_fail(error, RT_INPUT, "a batch of %lld images cannot be cut into %lld equal shards ('train.shards')",
                       (long long)p->batch, shards);
    if (shards > RT_MAX_SHARDS)
        return rt_fail(error, RT_INTERNAL, "the program of %s is damaged: it has %lld shards", p->model, shards);
    if (rt_ranks_count(ranks) > shards)
        return rt_fail(
            error, RT_USAGE,
            "%d ranks cannot share a batch that is cut into %lld: 'train.shards = N' in the recipe cuts it into N, which "
            "decides the bits, as the number of ranks does not",
            rt_ranks_count(ranks), shards);
    return RT_OK;
}

static void sum_shards(void *context, void *first, uint64_t stride, bool wide, int64_t count) {
    rt_shards_sum(context, first, stride, wide, count);
}

static void free_shards(void *context) { rt_shards_free(context); }

RtMachine *rt_machine_new_ranked(const RtProgram *p, RtPool *pool, RtRanks *ranks, RtError *error) {
    int64_t shards = rt_shards(p);
    if (rt_shards_check(p, ranks, error) != RT_OK) return NULL;
    RtSummer summer = {.share = rt_ranks_share(ranks, rt_ranks_index(ranks), shards), .ranks = ranks};
    if (shards > 1) {
        summer.sum = sum_shards;
        summer.free = free_shards;
        summer.context = rt_shards_new(pool, ranks, shards);
    }
    if (shards > 1 && !summer.context) {
        rt_fail(error, RT_MEMORY, "out of memory for %lld shards", (long long)shards);
        return NULL;
    }
    RtMachine *m = rt_machine_new_summing(p, pool, &summer, error);
    if (!m) rt_shards_free(summer.context);
    return m;
}

RtMachine *rt_machine_new(const RtProgram *program, RtPool *pool, RtError *error) {
    return rt_machine_new_ranked(program, pool, NULL, error);
}

/* See shards.h. */
#include "runtime/shards.h"
#include "runtime/near.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 13, SMALL = 1 << 14 }; /* numbers of a piece; bytes up to which all finish the whole sum */
enum { NOW, NODES, SLICES }; /* channels: of sums that are waited for, and of the two halves of those that are not */

typedef struct Addition {
    int32_t into, from; /* shards, of the whole batch */
} Addition;

/* A sum on its way between ranks. */
typedef struct Exchange {
    void *first;
    int64_t count;
    char **node;     /* by shard: where its sum stands */
    char **first_of; /* by rank: where it has `first`, if we can reach it there; NULL: messages */
    char *token;     /* by rank, a byte: what is sent to say that something stands there, and received */
    bool all_near;   /* all ranks can be reached */
    char *received;
    uint64_t received_bytes;
    RtTransfer *transfer;
    int64_t ntransfers;
} Exchange;

struct RtShards {
    RtPool *pool;
    RtRanks *ranks;
    RtNear *near;
    int64_t shards;
    RtShare share;
    Addition *own, *last; /* within this process; behind the exchange */
    int64_t nown, nlast;
    int32_t *left; /* shards that are not added to others within the process that has them, in order */
    int64_t nleft;
    int32_t *owner;  /* of each of them */
    Exchange now;    /* of a sum that is waited for */
    Exchange *later; /* of sums that were begun, in order, and room for more */
    int64_t nlater, room_later;
    /* Of them: whose nodes are on their way, whose sum is there in our slice, whose slices are on their way, that are there. */
    int64_t begun, finished, told, done;
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

static bool is_open(const Exchange *e) { return e->node && e->first_of && e->token && e->transfer; }

static bool open_exchange(const RtShards *s, Exchange *e) {
    size_t n = (size_t)s->shards, peers = (size_t)rt_ranks_count(s->ranks);
    *e = (Exchange){.node = calloc(n, sizeof *e->node),
                    .first_of = calloc(peers, sizeof *e->first_of),
                    .token = calloc(peers, 1),
                    .transfer = calloc((n + 2) * (peers + 1), sizeof *e->transfer)};
    return is_open(e);
}

static void close_exchange(const Exchange *e) {
    free(e->node);
    free(e->first_of);
    free(e->token);
    free(e->transfer);
    free(e->received);
}

RtShards *rt_shards_new(RtPool *pool, RtRanks *ranks, int64_t shards) {
    RtShards *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s =
        (RtShards){.pool = pool, .ranks = ranks, .shards = shards, .share = rt_ranks_share(ranks, rt_ranks_index(ranks), shards)};
    size_t n = (size_t)shards;
    s->own = calloc(n, sizeof *s->own);
    s->last = calloc(n, sizeof *s->last);
    s->left = calloc(n, sizeof *s->left);
    s->owner = calloc(n, sizeof *s->owner);
    s->near = rt_near_new(ranks);
    if (s->near && s->own && s->last && s->left && s->owner && open_exchange(s, &s->now) && shards <= RT_MAX_SHARDS) {
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
    rt_near_free(s->near);
    close_exchange(&s->now);
    for (int64_t i = 0; i < s->room_later; i++) close_exchange(&s->later[i]);
    free(s->later);
    free(s);
}

/* ---- additions ---- */

typedef struct Adding {
    char **node;
    const Addition *addition;
    int64_t additions, begin, end; /* numbers [begin, end) of each node */
    bool wide;
    char **to; /* where else the first node goes, behind it */
    int64_t tos;
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
    uint64_t size = a->wide ? sizeof(double) : sizeof(float);
    (void)thread;
    for (int64_t k = 0; k < a->additions; k++) {
        void *into = a->node[a->addition[k].into], *from = a->node[a->addition[k].from];
        if (a->wide)
            add_f64(into, from, begin, end);
        else
            add_f32(into, from, begin, end);
    }
    for (int64_t k = 0; k < a->tos; k++)
        memcpy(a->to[k] + (uint64_t)begin * size, a->node[0] + (uint64_t)begin * size, (uint64_t)(end - begin) * size);
}

static void add(const RtShards *s, Adding a) {
    if (a.additions + a.tos) rt_pool_run(s->pool, add_chunk, &a, (a.end - a.begin + CHUNK - 1) / CHUNK);
}

/* ---- the exchange ---- */

/* Numbers [*begin, *end) are rank r's to finish. */
static void slice(const RtShards *s, int r, int64_t count, int64_t *begin, int64_t *end) {
    int64_t ranks = rt_ranks_count(s->ranks);
    *begin = count * r / ranks;
    *end = count * (r + 1) / ranks;
}

static char *make_room(Exchange *e, uint64_t bytes) {
    if (bytes <= e->received_bytes) return e->received;
    free(e->received);
    e->received = malloc(bytes);
    e->received_bytes = e->received ? bytes : 0;
    return e->received;
}

static void send(Exchange *e, int to, int channel, void *data, uint64_t bytes) {
    if (bytes) e->transfer[e->ntransfers++] = (RtTransfer){to, true, channel, data, bytes};
}

static void receive(Exchange *e, int from, int channel, void *data, uint64_t bytes) {
    if (bytes) e->transfer[e->ntransfers++] = (RtTransfer){from, false, channel, data, bytes};
}

/* Between us and a rank that reaches our memory, as we its: what we have done stands there. */
static void list_token(const RtShards *s, Exchange *e, int rank, int channel) {
    send(e, rank, channel, e->token + rt_ranks_index(s->ranks), 1);
    receive(e, rank, channel, e->token + rank, 1);
}

/* Which ranks can be reached where they have this sum. */
static void find_near(const RtShards *s, Exchange *e, bool wanted) {
    e->all_near = wanted;
    for (int r = 0; r < rt_ranks_count(s->ranks); r++) {
        e->first_of[r] = wanted ? rt_near_at(s->near, r, e->first) : NULL;
        if (r != rt_ranks_index(s->ranks)) e->all_near &= e->first_of[r] != NULL;
    }
}

/* Nodes that are left go round: to rank r its slice of them, or, of a small sum, all; a rank that is near reads them where they
 * are. Points the others' nodes to where they are read, as if they were whole. */
static bool list_nodes(RtShards *s, Exchange *e, uint64_t stride, uint64_t size, bool small) {
    int me = rt_ranks_index(s->ranks), ranks = rt_ranks_count(s->ranks), channel = e == &s->now ? NOW : NODES;
    int64_t begin, end, mine_begin = 0, mine_end = e->count;
    if (!small) slice(s, me, e->count, &mine_begin, &mine_end);
    uint64_t bytes = (uint64_t)(mine_end - mine_begin) * size;
    char *room = make_room(e, e->all_near ? 1 : (uint64_t)s->nleft * bytes + 1);
    if (!room) return rt_ranks_fail(s->ranks, "out of memory for the sums of other ranks");
    e->ntransfers = 0;
    for (int64_t i = 0; i < s->nleft; i++) {
        char **node = &e->node[s->left[i]];
        int owner = s->owner[i];
        if (owner != me && e->first_of[owner]) {
            *node = e->first_of[owner] + (uint64_t)(s->left[i] - rt_ranks_share(s->ranks, owner, s->shards).first) * stride;
            continue;
        }
        if (owner != me) {
            receive(e, owner, channel, room, bytes);
            *node = room - (uint64_t)mine_begin * size;
            room += bytes;
            continue;
        }
        for (int r = 0; r < ranks; r++) {
            begin = 0, end = e->count;
            if (!small) slice(s, r, e->count, &begin, &end);
            if (r != me && !e->first_of[r]) send(e, r, channel, *node + (uint64_t)begin * size, (uint64_t)(end - begin) * size);
        }
    }
    for (int r = 0; r < ranks; r++)
        if (e->first_of[r]) list_token(s, e, r, channel);
    rt_near_publish();
    return true;
}

/* Each rank's finished slice goes to all; those that are near have it by now. */
static void list_slices(const RtShards *s, Exchange *e, uint64_t size) {
    int me = rt_ranks_index(s->ranks), channel = e == &s->now ? NOW : SLICES;
    int64_t begin, end, mine_begin, mine_end;
    char *sum = e->first;
    slice(s, me, e->count, &mine_begin, &mine_end);
    e->ntransfers = 0;
    for (int r = 0; r < rt_ranks_count(s->ranks); r++) {
        if (e->first_of[r]) list_token(s, e, r, channel);
        if (r == me || e->first_of[r]) continue;
        slice(s, r, e->count, &begin, &end);
        send(e, r, channel, sum + (uint64_t)mine_begin * size, (uint64_t)(mine_end - mine_begin) * size);
        receive(e, r, channel, sum + (uint64_t)begin * size, (uint64_t)(end - begin) * size);
    }
    rt_near_publish();
}

/* What is left of the tree, when all nodes are there, of our slice or the whole; to us and those that are near. Nobody else reads
 * or writes our slice of any node. */
static void finish_tree(const RtShards *s, const Exchange *e, bool wide, bool small) {
    char *to[RT_MAX_SHARDS];
    Adding a = {e->node, s->last, s->nlast, 0, e->count, wide, to, 0};
    if (!small) slice(s, rt_ranks_index(s->ranks), e->count, &a.begin, &a.end);
    rt_near_observe();
    if (e->first != e->node[0]) to[a.tos++] = e->first;
    for (int r = 0; r < rt_ranks_count(s->ranks); r++)
        if (e->first_of[r] && e->first_of[r] != e->node[0]) to[a.tos++] = e->first_of[r];
    add(s, a);
}

/* Room for one more sum that is only begun; NULL: no memory, so it is not. */
static Exchange *next_later(RtShards *s) {
    if (s->nlater == s->room_later) {
        Exchange *more = realloc(s->later, (size_t)(s->room_later + 1) * sizeof *more);
        if (!more) return NULL;
        s->later = more;
        bool opened = open_exchange(s, &s->later[s->room_later]);
        s->room_later++; /* what there is of it is freed with the rest */
        if (!opened) return NULL;
    }
    Exchange *e = &s->later[s->nlater];
    return is_open(e) ? e : NULL;
}

void rt_shards_sum(RtShards *s, void *first, uint64_t stride, RtCombine how, int64_t count) {
    bool wide = how == RT_COMBINE_F64, alone = rt_ranks_count(s->ranks) == 1;
    uint64_t size = wide ? sizeof(double) : sizeof(float);
    bool small = (uint64_t)count * size <= SMALL, later = how == RT_COMBINE_LATER && !small && !alone;
    Exchange *e = later ? next_later(s) : &s->now;
    if (!e) {
        rt_ranks_fail(s->ranks, "out of memory for the sums of other ranks");
        return;
    }
    e->first = first;
    e->count = count;
    for (int64_t i = 0; i < s->share.count; i++) e->node[s->share.first + i] = (char *)first + (uint64_t)i * stride;
    add(s, (Adding){e->node, s->own, s->nown, 0, count, wide});
    if (alone) return;
    if (later) rt_near_meet(s->near);
    find_near(s, e, later);
    if (!list_nodes(s, e, stride, size, small)) return;
    if (later) {
        s->nlater++;
        return;
    }
    if (!rt_ranks_exchange(s->ranks, e->transfer, e->ntransfers)) return;
    finish_tree(s, e, wide, small);
    if (small) return;
    list_slices(s, e, size);
    rt_ranks_exchange(s->ranks, e->transfer, e->ntransfers);
}

static bool begin(const RtShards *s, Exchange *e) { return rt_ranks_begin(s->ranks, e->transfer, e->ntransfers); }
static bool arrived(const RtShards *s, Exchange *e) { return rt_ranks_proceed(s->ranks, e->transfer, e->ntransfers); }

/* Nodes of one sum are on their way at a time, and slices of one: what is waited for does not stand behind all of them. */
void rt_shards_proceed(RtShards *s) {
    for (bool moved = true; moved;) {
        moved = false;
        if (s->begun == s->finished && s->begun < s->nlater && begin(s, &s->later[s->begun])) s->begun++;
        if (s->begun > s->finished && arrived(s, &s->later[s->finished])) {
            finish_tree(s, &s->later[s->finished], false, false);
            list_slices(s, &s->later[s->finished], sizeof(float));
            s->finished++;
            moved = true;
        }
        if (s->told == s->done && s->told < s->finished && begin(s, &s->later[s->told])) s->told++;
        if (s->told > s->done && arrived(s, &s->later[s->done])) {
            s->done++;
            moved = true;
        }
    }
}

void rt_shards_finish(RtShards *s) {
    bool well = true;
    while (well && s->done < s->nlater) {
        rt_shards_proceed(s);
        int64_t next = s->told > s->done ? s->done : s->finished; /* none of them: all are done, or a rank failed */
        if (s->done < s->nlater)
            well = next < s->nlater && rt_ranks_wait(s->ranks, s->later[next].transfer, s->later[next].ntransfers);
    }
    rt_near_observe();
    s->nlater = s->begun = s->finished = s->told = s->done = 0;
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

static void sum_shards(void *context, void *first, uint64_t stride, RtCombine how, int64_t count) {
    rt_shards_sum(context, first, stride, how, count);
}
static void proceed_shards(void *context) { rt_shards_proceed(context); }
static void finish_shards(void *context) { rt_shards_finish(context); }
static void *share_memory(void *context, uint64_t bytes) {
    RtShards *s = context;
    return rt_ranks_count(s->ranks) > 1 ? rt_near_memory(s->near, bytes) : NULL;
}

static void free_shards(void *context) { rt_shards_free(context); }

RtMachine *rt_machine_new_ranked(const RtProgram *p, RtPool *pool, RtRanks *ranks, RtError *error) {
    int64_t shards = rt_shards(p);
    /* What a recipe says of shards is about training: inference takes any batch. */
    if ((shards > 1 || ranks) && rt_shards_check(p, ranks, error) != RT_OK) return NULL;
    RtSummer summer = {.share = rt_ranks_share(ranks, rt_ranks_index(ranks), shards), .ranks = ranks};
    if (shards > 1) {
        summer.sum = sum_shards;
        summer.proceed = proceed_shards;
        summer.finish = finish_shards;
        summer.memory = share_memory;
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

/* A segment tree over time. A node stands for a span and has two sets of offsets: `whole`, taken by rectangles that were cut down
 * to just this span, and `part`, taken at some time within it. What is taken at some time of a query's span is then `part` of the
 * nodes that tile the span, with `whole` of the nodes above them. Sets are sorted ranges that do not touch; since a plan packs
 * its buffers densely, they are few, and a buffer costs little more than the depth of the tree where a list of all buffers would
 * be read for each. */
#include "passes/occupancy.h"
#include "ir/arena.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct Range {
    uint64_t begin, end;
} Range;

typedef struct Ranges {
    Range *range;
    uint32_t count, capacity;
} Ranges;

struct Occupancy {
    Arena *arena;
    uint32_t leaves; /* a power of two; node 1 is the root, those of 2i and 2i + 1 are the halves of i */
    Ranges *whole, *part;
    Ranges found; /* of the query that runs */
    uint64_t steps;
};

typedef struct Times {
    uint32_t first, last;
} Times;

Occupancy *occupancy_new(uint32_t times) {
    Arena *arena = arena_new();
    Occupancy *o = ARENA_NEW(arena, Occupancy);
    o->arena = arena;
    for (o->leaves = 1; o->leaves < times;) o->leaves *= 2;
    o->whole = ARENA_ARRAY(arena, Ranges, 2 * (size_t)o->leaves);
    o->part = ARENA_ARRAY(arena, Ranges, 2 * (size_t)o->leaves);
    return o;
}

void occupancy_free(Occupancy *o) { arena_free(o->arena); }

uint64_t occupancy_steps(const Occupancy *o) { return o->steps; }

/* ---- sets of offsets ---- */

/* The first range that ends at `offset` or behind it. */
static uint32_t first_reaching(const Ranges *set, uint64_t offset) {
    uint32_t low = 0, high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->range[middle].end < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add(Occupancy *o, Ranges *set, Range r) {
    uint32_t at = first_reaching(set, r.begin), behind = at;
    for (; behind < set->count && set->range[behind].begin <= r.end; behind++) {
        if (set->range[behind].begin < r.begin) r.begin = set->range[behind].begin;
        if (set->range[behind].end > r.end) r.end = set->range[behind].end;
    }
    o->steps += behind - at + 1;
    if (behind == at) ARENA_GROW(o->arena, set->range, set->count, &set->capacity);
    if (set->count > behind) memmove(&set->range[at + 1], &set->range[behind], (set->count - behind) * sizeof *set->range);
    set->count = set->count - (behind - at) + 1;
    set->range[at] = r;
}

/* ---- the tree ---- */

static Times half(Times node, bool upper) {
    uint32_t middle = node.first + (node.last - node.first) / 2;
    return upper ? (Times){middle + 1, node.last} : (Times){node.first, middle};
}

static bool apart(Times a, Times b) { return a.last < b.first || b.last < a.first; }
static bool inside(Times a, Times b) { return b.first <= a.first && a.last <= b.last; }

static void take(Occupancy *o, uint32_t i, Times node, Times when, Range r) {
    if (apart(node, when)) return;
    add(o, &o->part[i], r);
    if (inside(node, when)) {
        add(o, &o->whole[i], r);
        return;
    }
    take(o, 2 * i, half(node, false), when, r);
    take(o, 2 * i + 1, half(node, true), when, r);
}

static void gather(Occupancy *o, uint32_t i, Times node, Times when) {
    if (apart(node, when)) return;
    const Ranges *set = inside(node, when) ? &o->part[i] : &o->whole[i];
    for (uint32_t k = 0; k < set->count; k++) {
        ARENA_GROW(o->arena, o->found.range, o->found.count, &o->found.capacity);
        o->found.range[o->found.count++] = set->range[k];
    }
    o->steps += set->count + 1;
    if (inside(node, when)) return;
    gather(o, 2 * i, half(node, false), when);
    gather(o, 2 * i + 1, half(node, true), when);
}

void occupancy_take(Occupancy *o, uint32_t first, uint32_t last, uint64_t offset, uint64_t bytes) {
    take(o, 1, (Times){0, o->leaves - 1}, (Times){first, last}, (Range){offset, offset + bytes});
}

static int by_begin(const void *a, const void *b) {
    const Range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

uint64_t occupancy_find(Occupancy *o, uint32_t first, uint32_t last, uint64_t bytes) {
    uint64_t end = 0, best = UINT64_MAX, found = UINT64_MAX;
    o->found.count = 0;
    gather(o, 1, (Times){0, o->leaves - 1}, (Times){first, last});
    if (o->found.count) qsort(o->found.range, o->found.count, sizeof(Range), by_begin);
    for (uint32_t i = 0; i < o->found.count; i++) {
        const Range *r = &o->found.range[i];
        uint64_t gap = r->begin > end ? r->begin - end : 0;
        if (gap >= bytes && gap < best) {
            best = gap;
            found = end;
        }
        end = r->end > end ? r->end : end;
    }
    return found == UINT64_MAX ? end : found;
}

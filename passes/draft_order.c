/* The order of a draft's nodes, kept while it is edited.
 *
 * Nodes stand in a list, and each has a place, a number that grows along it, so that two nodes compare at once. An edit that lets
 * a node read what stands behind it marks the node; before the order is next looked at, what such a node reads is put in front of
 * it, with all that this needs in turn. So an edit costs what it moves, not the size of the graph. A walk puts the whole list
 * into the order of keys again, as far as arguments allow: the same graph comes out however it was edited. */
#include "passes/draft.h"
#include <stdio.h>
#include <stdlib.h>

#define GAP ((uint64_t)1 << 40) /* between neighbours, for those that are put between them */

/* ---- the list ---- */

static void link_behind(Draft *d, uint32_t node, uint32_t front) {
    Node *n = &d->node[node];
    n->front = front;
    n->behind = front == NO_VAL ? d->first : d->node[front].behind;
    *(front == NO_VAL ? &d->first : &d->node[front].behind) = node;
    *(n->behind == NO_VAL ? &d->last : &d->node[n->behind].front) = node;
}

static void unlink_node(Draft *d, uint32_t node) {
    const Node *n = &d->node[node];
    *(n->front == NO_VAL ? &d->first : &d->node[n->front].behind) = n->behind;
    *(n->behind == NO_VAL ? &d->last : &d->node[n->behind].front) = n->front;
}

static void number_all(Draft *d) {
    uint64_t place = 0;
    for (uint32_t v = d->first; v != NO_VAL; v = d->node[v].behind) d->node[v].place = place += GAP;
    d->context->steps += d->count;
}

/* Nodes of one key stand in the order in which they were made. */
void draft_order_add(Draft *d, uint32_t node) {
    Node *n = &d->node[node];
    bool opening = d->last == NO_VAL || d->node[d->last].key <= n->key; /* nodes come in the order of keys */
    uint32_t front = d->newest[n->key] != NO_VAL ? d->newest[n->key] : opening ? d->last : NO_VAL;
    uint64_t low = front == NO_VAL ? 0 : d->node[front].place;
    d->newest[n->key] = node;
    n->mark = 0;
    n->misplaced = false;
    link_behind(d, node, front);
    n->place = n->behind == NO_VAL ? low + GAP : low + (d->node[n->behind].place - low) / 2;
    if (n->place == low) number_all(d);
}

void draft_order_check(Draft *d, uint32_t node) {
    Node *n = &d->node[node];
    bool late = false;
    for (uint32_t i = 0; i < n->nargs && !late; i++) late = d->node[n->args[i].node].place >= n->place;
    if (!late || n->misplaced) return;
    n->misplaced = true;
    ARENA_GROW(d->arena, d->misplaced, d->nmisplaced, &d->misplaced_capacity);
    d->misplaced[d->nmisplaced++] = node;
}

/* ---- depth first ---- */

static void reserve(Draft *d) {
    if (d->count <= d->reserved) return;
    d->reserved = d->capacity;
    d->stack = ARENA_ARRAY(d->arena, Visit, d->reserved);
    d->found = ARENA_ARRAY(d->arena, uint32_t, d->reserved);
}

/* Appends `root` to found[], behind everything that it needs and that stands at `floor` or behind and is not marked yet; on a
 * stack of its own, since hoisting can make long chains. */
static uint32_t visit(Draft *d, uint32_t root, uint64_t floor, uint32_t nfound) {
    uint32_t depth = 0, open = d->epoch, done = d->epoch + 1;
    d->stack[depth++] = (Visit){root, 0};
    d->node[root].mark = open;
    while (depth) {
        Visit *top = &d->stack[depth - 1];
        Node *n = &d->node[top->node];
        d->context->steps++;
        if (top->next == n->nargs) {
            d->found[nfound++] = top->node;
            n->mark = done;
            depth--;
            continue;
        }
        uint32_t arg = n->args[top->next++].node;
        Node *a = &d->node[arg];
        if (a->mark == open) {
            fprintf(stderr, "netc: internal error: pass '%s' made %s depend on itself\n", d->context->pass, draft_label(d, arg));
            abort();
        }
        if (a->mark == done || a->place < floor) continue;
        a->mark = open;
        d->stack[depth++] = (Visit){arg, 0};
    }
    return nfound;
}

static void next_epoch(Draft *d) {
    reserve(d);
    d->epoch += 2;
}

/* What `reader` needs and what stands behind it, in front of it. */
static void hoist(Draft *d, uint32_t reader) {
    next_epoch(d);
    uint32_t n = visit(d, reader, d->node[reader].place, 0) - 1; /* the last is the reader itself */
    uint32_t front = d->node[reader].front;
    uint64_t place = front == NO_VAL ? 0 : d->node[front].place, step = (d->node[reader].place - place) / (n + 1);
    for (uint32_t i = 0; i < n; i++) {
        unlink_node(d, d->found[i]);
        link_behind(d, d->found[i], d->node[reader].front);
        d->node[d->found[i]].place = place += step;
    }
    if (step == 0) number_all(d);
}

static void put_in_order(Draft *d) {
    for (uint32_t i = 0; i < d->nmisplaced; i++) {
        uint32_t node = d->misplaced[i];
        d->node[node].misplaced = false;
        if (!d->node[node].dead) hoist(d, node);
    }
    d->nmisplaced = 0;
}

/* ---- asking ---- */

bool draft_stands_before(Draft *d, uint32_t node, uint32_t other) {
    put_in_order(d);
    return d->node[node].place < d->node[other].place;
}

/* Breadth first: in backward nearly everything depends on everything in forward, mostly by a short way. */
bool draft_depends(Draft *d, uint32_t node, uint32_t on) {
    if (node == on) return true;
    if (draft_stands_before(d, node, on)) return false;
    uint64_t floor = d->node[on].place;
    next_epoch(d);
    uint32_t head = 0, tail = 0;
    d->found[tail++] = node;
    while (head < tail) {
        const Node *n = &d->node[d->found[head++]];
        d->context->steps += n->nargs;
        for (uint32_t i = 0; i < n->nargs; i++) {
            uint32_t arg = n->args[i].node;
            if (arg == on) return true;
            if (d->node[arg].mark == d->epoch || d->node[arg].place < floor) continue;
            d->node[arg].mark = d->epoch;
            d->found[tail++] = arg;
        }
    }
    return false;
}

/* ---- walking ---- */

/* Nodes by key, counted into place. */
static uint32_t *by_key(const Draft *d) {
    uint32_t keys = d->in->count + 2, *start = calloc(keys, sizeof *start), *sorted = malloc(d->count * sizeof *sorted);
    if (!start || !sorted) out_of_memory("no room to order %u values", d->count);
    for (uint32_t i = 0; i < d->count; i++) start[d->node[i].key + 1]++;
    for (uint32_t k = 1; k < keys; k++) start[k] += start[k - 1];
    for (uint32_t i = 0; i < d->count; i++) sorted[start[d->node[i].key]++] = i;
    free(start);
    return sorted;
}

/* The list anew: the order of keys, what each needs in front of it. The dead leave it. */
static uint32_t sort(Draft *d) {
    uint32_t *sorted = by_key(d), n = 0, newest = NO_VAL;
    next_epoch(d);
    for (uint32_t i = 0; i < d->count; i++) {
        const Node *node = &d->node[sorted[i]];
        if (!node->dead) newest = sorted[i];
        if (!node->dead && node->mark != d->epoch + 1) n = visit(d, sorted[i], 0, n);
        d->newest[node->key] = newest;
    }
    free(sorted);
    d->first = d->last = NO_VAL;
    for (uint32_t i = 0; i < n; i++) link_behind(d, d->found[i], d->last);
    number_all(d);
    for (uint32_t i = 0; i < d->nmisplaced; i++) d->node[d->misplaced[i]].misplaced = false;
    d->nmisplaced = 0;
    return n;
}

uint32_t *draft_walk(Draft *d, uint32_t *n) {
    *n = sort(d) - d->in->noutputs; /* the sinks, whose key is the largest and on which nothing depends, are the last */
    return arena_copy(d->arena, d->found, *n * sizeof *d->found);
}

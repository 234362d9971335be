/* Which part of an arena is taken when: a set of rectangles, time by offset, that answers where the tightest gap of a span of
 * time is. Used by the memory plan (plan.c). */
#ifndef NETC_PASSES_OCCUPANCY_H
#define NETC_PASSES_OCCUPANCY_H
#include <stdint.h>

typedef struct Occupancy Occupancy;
Occupancy *occupancy_new(uint32_t times); /* times 0 to times - 1, both ends of every span inside */
void occupancy_free(Occupancy *o);
/* [offset, offset + bytes) from time `first` to `last`, both included; bytes > 0. */
void occupancy_take(Occupancy *o, uint32_t first, uint32_t last, uint64_t offset, uint64_t bytes);
/* Where `bytes` are free all that time: in the smallest gap between what is taken, the lowest of equals, or behind everything. */
uint64_t occupancy_find(Occupancy *o, uint32_t first, uint32_t last, uint64_t bytes);
uint64_t occupancy_steps(const Occupancy *o); /* ranges looked at so far: work without a clock */
#endif

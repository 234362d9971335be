/* A training graph cut into shards: a batch as so many equal parts, each of which goes through a step as if it were alone, but
 * for what is summed over the batch. Bits depend on how many shards there are, and neither on how many of them a process has nor
 * on threads (runtime/shards.h). */
#ifndef NETC_CODEGEN_SHARDS_H
#define NETC_CODEGEN_SHARDS_H
#include "codegen/codegen.h"

/* What is cut: training, by more than one. */
int64_t shards_of(const Graph *g, const CodegenOptions *options);
/* By value id: does it belong to images, so that each shard has its own? All else is one value for all of them. */
bool *shards_per_image(Arena *arena, const Graph *g);
/* Is value v made of a batch and no longer of images: a sum that takes a partial result of every shard? */
bool shards_reduce(const Graph *g, const bool *per_image, Val v);
/* The graph with the types of one shard; what counts images besides (`moments`) still says it of the batch. g itself if there is
 * one shard. NULL: the batch is not a multiple of their number. Values are in `arena`, all else is g's. */
const Graph *shards_graph(Arena *arena, const Graph *g, int64_t shards);
#endif

/* Plans over random shapes: every pixel of the output of a convolution, forward and backward data, is written exactly once, by
 * one piece, and no kernel reads a staged line that is not there; every pixel of every image enters the gradient of each filter
 * once.
 *
 * What a piece, a band, a phase is, is asked of the functions that emit it: LLVM's builder folds constants, so with a constant
 * piece they return numbers. */
#include "codegen/codegen.h"
#include "codegen/conv/amx/amx.h"
#include "codegen/conv/depthwise/depthwise.h"
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/gemm/gemm.h"
#include "codegen/conv/methods.h"
#include "codegen/conv/product/product.h"
#include "codegen/conv/shared/pairs.h"
#include "codegen/conv/winograd/wide/wide.h"
#include "codegen/conv/winograd/winograd.h"
#include "codegen/emit/amx.h"
#include "codegen/emit/pieces.h"
#include "codegen_shapes.h"
#include "run_cases.h"
#include <check.h>
#include <stdio.h>
#include <string.h>

enum { SHAPES = 2000 };

/* ---- what the emitting functions say ---- */

typedef struct Bench {
    Target target;
    Emitter *e;
    int pairs; /* seen */
} Bench;

/* check's assertions write to a file, each time: not in loops over pixels. */
#define MUST(condition, ...)                                                                                                     \
    do {                                                                                                                         \
        if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                                             \
    } while (0)

static int64_t number(LLVMValueRef v) {
    MUST(LLVMIsAConstantInt(v), "an index depends on more than the piece");
    return LLVMConstIntGetSExtValue(v);
}

static Bench bench_open(const char *cpu) {
    Bench b = {.pairs = 0};
    char why[300];
    ck_assert_msg(target_open(&b.target, NULL, cpu, why, sizeof why), "%s", why);
    b.e = emitter_open(&b.target, "plans");
    emitter_begin_kernel(b.e, "plans", 0);
    return b;
}

static void bench_close(Bench *b) {
    emitter_end_kernel(b->e);
    emitter_close(b->e);
    target_close(&b->target);
}

/* How often each pixel of each channel block of each image was written. */
typedef struct Written {
    int64_t images, blocks, pixels;
    uint8_t *times;
} Written;

static Written written_new(int64_t images, int64_t blocks, int64_t pixels) {
    return (Written){images, blocks, pixels, calloc((size_t)(images * blocks * pixels), 1)};
}

static void write_pixel(Written *w, int64_t n, int64_t block, int64_t pixel, const char *what) {
    MUST(n >= 0 && n < w->images && block >= 0 && block < w->blocks && pixel >= 0 && pixel < w->pixels,
         "%s: image %d, block %d, pixel %d is written, which is not there", what, (int)n, (int)block, (int)pixel);
    w->times[(n * w->blocks + block) * w->pixels + pixel]++;
}

static void written_check(Written *w, const char *what) {
    for (int64_t i = 0; i < w->images * w->blocks * w->pixels; i++)
        if (w->times[i] != 1)
            ck_abort_msg("%s: image %d, block %d, pixel %d is written %d times", what, (int)(i / w->pixels / w->blocks),
                         (int)(i / w->pixels % w->blocks), (int)(i % w->pixels), w->times[i]);
    free(w->times);
}

/* A line of the operand that a loop reads: in the copy, or in the tensor that is read in place. */
static void read_line(const StagePlan *p, int axis, int64_t band, int64_t line, const char *what) {
    int64_t first = axis == 0 ? band * p->advance + p->origin[0] : p->origin[1];
    bool there = p->copied ? line - first >= 0 && line - first < p->lines[axis] : line >= 0 && line < p->in[axis];
    MUST(there, "%s: axis %d line %d is read, staged are %d from %d on", what, axis, (int)line, (int)p->lines[axis], (int)first);
}

/* ---- forward and backward data, direct and by matrix products ---- */

/* The rows of a phase that the piece writes, in tiles of several rows. */
static void count_phase(Bench *b, const CorrelationPlan *p, int64_t height, const CorrelationPiece *site, const int64_t phase[2],
                        int64_t n, const int64_t blocks[2], Written *w, const char *what) {
    const Correlation *c = &p->c;
    int64_t rows = number(correlation_rows(b->e, p, site, phase[0]));
    int64_t width = correlation_lines(c, 1, phase[1]), band = number(site->band);
    Taps taps[2] = {correlation_taps(c, 0, phase[0]), correlation_taps(c, 1, phase[1])};
    MUST(rows >= 0 && rows <= p->band_rows, "%s: %d rows in a band", what, (int)rows);
    for (int64_t first = 0; first < rows; first += height)
        for (int64_t row = first; row < first + height; row++) {
            for (int64_t m = 0; m < taps[0].count && taps[1].count; m++) {
                int64_t line = c->in_stride[0] * (band * p->band_rows + row) + taps[0].offset + m * taps[0].offset_step;
                read_line(&p->stage, 0, band, line, what);
            }
            int64_t start = number(correlation_pixel(b->e, p, site, phase, emit_int(b->e, row), emit_int(b->e, 0)));
            for (int64_t column = 0; column < width; column++) {
                int64_t pixel = start + column * c->phases[1];
                for (int64_t block = blocks[0]; block < blocks[1]; block++) write_pixel(w, n, block, pixel, what);
                for (int64_t m = 0; m < taps[1].count && taps[0].count; m++)
                    read_line(&p->stage, 1, 0, c->in_stride[1] * column + taps[1].offset + m * taps[1].offset_step, what);
            }
        }
}

/* By tiles of so many rows and output blocks. */
static void check_correlation(Bench *b, const CorrelationPlan *p, int64_t height, int64_t per_tile, const char *what) {
    const Correlation *c = &p->c;
    Written w = written_new(c->N, c->out_blocks, c->out[0] * c->out[1]);
    int64_t tiles = c->out_blocks / per_tile;
    MUST(c->out_blocks % per_tile == 0, "%s: tiles of %d blocks", what, (int)per_tile);
    for (int64_t piece = 0; piece < correlation_pieces(p); piece++) {
        b->e->piece = emit_int(b->e, piece);
        int64_t images = number(correlation_images(b->e, p));
        for (int64_t i = 0; i < images; i++) {
            CorrelationPiece site = correlation_piece(b->e, p, emit_int(b->e, i));
            int64_t split = number(site.split), blocks[2], phase[2];
            for (int end = 0; end < 2; end++)
                blocks[end] = per_tile * number(emit_share(b->e, emit_int(b->e, split + end), tiles, p->splits));
            for (phase[0] = 0; phase[0] < c->phases[0]; phase[0]++)
                for (phase[1] = 0; phase[1] < c->phases[1]; phase[1]++)
                    count_phase(b, p, height, &site, phase, number(site.n), blocks, &w, what);
        }
    }
    written_check(&w, what);
}

/* ---- Winograd ---- */

/* Tile `tile` of a group of images or of a band, as blocks.c places it. */
static void count_tile(const WinoPlan *p, int64_t first_image, int64_t band, int64_t tile, Written *w, const char *what) {
    const Correlation *c = &p->c;
    int64_t row = tile / p->tiles.tile_columns, column = tile % p->tiles.tile_columns, image = row / p->tiles.tile_rows;
    MUST(image < p->tiles.images, "%s: tile %d is in image %d of the group", what, (int)tile, (int)image);
    row = band * p->tiles.tile_rows + row % p->tiles.tile_rows;
    for (int64_t y = row * WINO_OUT; y < (row + 1) * WINO_OUT && y < c->out[0]; y++)
        for (int64_t x = column * WINO_OUT; x < (column + 1) * WINO_OUT && x < c->out[1]; x++)
            write_pixel(w, first_image + image, 0, y * c->out[1] + x, what);
    const WinoForm *form = p->tiles.form;
    for (int64_t i = 0; i < form->side && !p->in_place; i++) {
        read_line(&p->stage, 0, band, row * form->lines + i - 1, what);
        read_line(&p->stage, 1, 0, column * form->lines + i - 1, what);
    }
}

/* Blocks of whole rows are placed by their first tile alone, or are the whole group. */
static void check_blocks(const WinoBlocks *b, const char *what) {
    if (wino_by_rows(b) && !b->rows)
        MUST(b->images * b->tile_rows * b->tile_columns <= b->block, "%s: a group is more than its one block", what);
    if (b->rows) MUST(b->images == 1 && b->rows * b->tile_columns == b->block, "%s: blocks of rows", what);
}

static void check_winograd(Bench *b, const WinoPlan *p, const char *what) {
    const Correlation *c = &p->c;
    Written w = written_new(c->N, 1, c->out[0] * c->out[1]);
    check_blocks(&p->tiles, what);
    for (int64_t piece = 0; piece < wino_pieces(p); piece++) {
        b->e->piece = emit_int(b->e, piece);
        WinoPiece at = wino_piece(b->e, p);
        int64_t band = number(at.band), end = number(at.end_image);
        for (int64_t first = number(at.first_image); first < end; first += p->tiles.images) {
            int64_t images = number(wino_images(b->e, p, emit_int(b->e, first))), rows = number(wino_rows(b->e, p, at.band));
            MUST(rows >= 1, "%s: a band of %d rows of tiles", what, (int)rows);
            for (int64_t tile = 0; tile < images * rows * p->tiles.tile_columns; tile++)
                count_tile(p, first, band, tile, &w, what);
        }
    }
    written_check(&w, what);
}

/* ---- weights: every pixel of every image once in the gradient of each block ---- */

static void count_band(Bench *b, const WeightsPlan *p, int64_t n, int64_t band, const int64_t blocks[2], Written *w,
                       const char *what) {
    const ConvShape *s = &p->s;
    int64_t rows = number(weights_rows(b->e, p, emit_int(b->e, band)));
    MUST(rows >= 1 && rows <= p->band_rows, "%s: %d rows in a band", what, (int)rows);
    for (int64_t row = 0; row < rows; row++) {
        int64_t y = band * p->band_rows + row;
        for (int64_t k = 0; k < s->kernel[0]; k++)
            read_line(&p->x, 0, band, y * s->stride[0] + k * s->dilation[0] - s->pad[0], what);
        read_line(&p->dy, 0, band, y, what);
        for (int64_t x = 0; x < s->out[1]; x++) {
            for (int64_t k = 0; k < s->kernel[1]; k++)
                read_line(&p->x, 1, 0, x * s->stride[1] + k * s->dilation[1] - s->pad[1], what);
            for (int64_t block = blocks[0]; block < blocks[1]; block++)
                for (int64_t i = n; i < n + p->pair && i < s->N; i++) write_pixel(w, i, block, y * s->out[1] + x, what);
        }
    }
}

static void check_weights(Bench *b, const WeightsPlan *p, const char *what) {
    const ConvShape *s = &p->s;
    Written w = written_new(s->N, s->out_blocks, s->out[0] * s->out[1]);
    int64_t pairs = (s->N + p->pair - 1) / p->pair;
    for (int64_t piece = 0; piece < p->image_groups * p->block_groups; piece++) {
        int64_t blocks[2], images[2];
        for (int end = 0; end < 2; end++) {
            blocks[end] = number(emit_share(b->e, emit_int(b->e, piece % p->block_groups + end), s->out_blocks, p->block_groups));
            images[end] = number(emit_share(b->e, emit_int(b->e, piece / p->block_groups + end), pairs, p->image_groups));
        }
        for (int64_t pair = images[0]; pair < images[1]; pair++)
            for (int64_t band = 0; band < p->bands; band++) count_band(b, p, pair * p->pair, band, blocks, &w, what);
    }
    written_check(&w, what);
}

/* ---- depthwise ---- */

/* A row of one phase, of channel block `block`. */
static void count_depthwise_row(const DepthPlan *p, int64_t n, int64_t block, int64_t band, int64_t row, const int64_t phase[2],
                                Written *w, const char *what) {
    const Correlation *c = &p->c;
    Taps taps[2] = {correlation_taps(c, 0, phase[0]), correlation_taps(c, 1, phase[1])};
    int64_t line = band * p->band_rows + row, width = correlation_lines(c, 1, phase[1]);
    for (int64_t m = 0; m < taps[0].count && taps[1].count && !p->spread; m++)
        read_line(&p->stage, 0, band, c->in_stride[0] * line + taps[0].offset + m * taps[0].offset_step, what);
    for (int64_t column = 0; column < width; column++) {
        write_pixel(w, n, block, (line * c->phases[0] + phase[0]) * c->out[1] + column * c->phases[1] + phase[1], what);
        for (int64_t m = 0; m < taps[1].count && taps[0].count && !p->spread; m++)
            read_line(&p->stage, 1, 0, c->in_stride[1] * column + taps[1].offset + m * taps[1].offset_step, what);
    }
}

static void check_depthwise(Bench *b, const DepthPlan *p, const char *what) {
    const Correlation *c = &p->c;
    Written w = written_new(c->N, c->out_blocks, c->out[0] * c->out[1]);
    int64_t phase[2];
    for (int64_t piece = 0; piece < c->N * p->splits; piece++) {
        b->e->piece = emit_int(b->e, piece);
        DepthPiece at = depthwise_piece(b->e, p);
        for (int64_t block = number(at.lo); block < number(at.hi); block++)
            for (int64_t band = 0; band < p->bands; band++)
                for (phase[0] = 0; phase[0] < c->phases[0]; phase[0]++) {
                    int64_t rows = number(depthwise_rows(b->e, p, emit_int(b->e, band), phase[0]));
                    MUST(rows >= 0 && rows <= p->band_rows, "%s: %d rows in a band", what, (int)rows);
                    for (phase[1] = 0; phase[1] < c->phases[1]; phase[1]++)
                        for (int64_t row = 0; row < rows; row++)
                            count_depthwise_row(p, number(at.n), block, band, row, phase, &w, what);
                }
    }
    written_check(&w, what);
}

static void check_depthwise_weights(Bench *b, const DepthWeightsPlan *p, const char *what) {
    const ConvShape *s = &p->s;
    Written w = written_new(s->N, s->in_blocks, s->out[0] * s->out[1]);
    for (int64_t piece = 0; piece < p->image_groups * p->splits; piece++) {
        b->e->piece = emit_int(b->e, piece);
        DepthWeightsPiece at = depthwise_weights_piece(b->e, p);
        for (int64_t block = number(at.lo); block < number(at.hi); block++)
            for (int64_t n = number(at.first); n < number(at.end); n++)
                for (int64_t band = 0; band < p->bands; band++)
                    for (int64_t row = 0; row < number(depthwise_weights_rows(b->e, p, emit_int(b->e, band))); row++) {
                        int64_t y = band * p->band_rows + row;
                        for (int64_t k = 0; k < s->kernel[0]; k++)
                            read_line(&p->x, 0, band, y * s->stride[0] + k * s->dilation[0] - s->pad[0], what);
                        read_line(&p->dy, 0, band, y, what);
                        for (int64_t x = 0; x < s->out[1]; x++) write_pixel(&w, n, block, y * s->out[1] + x, what);
                    }
    }
    written_check(&w, what);
}

/* ---- wide ---- */

/* Every tile of every image is a tile of one chunk, and its lines are staged. */
static void check_wide_tiles(const WideTiles *t, const WidePlanes *planes, const ConvShape *s, const char *what) {
    MUST(t->chunks * t->images >= s->N && (t->chunks - 1) * t->images < s->N, "%s: %d chunks of %d images", what, (int)t->chunks,
         (int)t->images);
    MUST(t->slab >= 1 && wide_slabs(t) * t->slab >= t->chunks && (wide_slabs(t) - 1) * t->slab < t->chunks,
         "%s: %d chunks in slabs of %d", what, (int)t->chunks, (int)t->slab);
    MUST(t->images * t->rows * t->columns <= t->tiles, "%s: a chunk has more tiles than %d", what, (int)t->tiles);
    MUST(t->rows * t->form->out >= s->out[0] && t->columns * t->form->out >= s->out[1], "%s: too few tiles", what);
    for (int64_t i = 0; i < planes->reach; i++) {
        read_line(&planes->stage, 0, 0, planes->first + (t->rows - 1) * planes->advance + i, what);
        read_line(&planes->stage, 1, 0, planes->first + (t->columns - 1) * planes->advance + i, what);
        read_line(&planes->stage, 0, 0, planes->first + i, what);
    }
}

static void check_wide(Bench *b, const WidePlan *p, const char *what) {
    Written w = written_new(p->tiles.N, p->c.out_blocks, 1);
    check_wide_tiles(&p->tiles, &p->in, &p->s, what);
    MUST(p->tiles.tiles % p->tile_rows == 0 && p->c.out_blocks % p->columns == 0, "%s: register tiles", what);
    for (int64_t piece = 0; piece < wide_slabs(&p->tiles) * wide_pieces(p); piece++) {
        b->e->piece = emit_int(b->e, piece);
        WidePiece at = wide_piece(b->e, p);
        for (int64_t chunk = number(at.lo); chunk < number(at.hi); chunk++)
            for (int64_t i = 0; i < number(wide_chunk_images(b->e, &p->tiles, emit_int(b->e, chunk))); i++)
                for (int64_t j = 0; j < p->columns; j++)
                    write_pixel(&w, chunk * p->tiles.images + i, number(at.group) * p->columns + j, 0, what);
    }
    written_check(&w, what);
}

/* ---- products ---- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Pixels of image `image` of a chunk, and that their rows are staged. */
static void count_chunk(Bench *b, const ProductChunks *c, const StagePlan *stage, const ProductChunk *at, int64_t block,
                        Written *w, const char *what) {
    int64_t first = number(at->first), images = number(at->images), band = number(at->band);
    (void)b;
    MUST(images >= 1 && images <= c->images && first + images <= c->N, "%s: images of a chunk", what);
    for (int64_t row = 0; row < c->band_rows; row++) read_line(stage, 0, band, band * c->band_rows + row, what);
    for (int64_t i = 0; i < images; i++)
        for (int64_t pixel = 0; pixel < c->pixels; pixel++) write_pixel(w, first + i, block, band * c->pixels + pixel, what);
}

static void check_product(Bench *b, const ProductPlan *p, const char *what) {
    Written w = written_new(p->c.N, p->c.out_blocks, p->c.out[0] * p->c.out[1]);
    MUST((p->c.groups == 1 || p->c.group_out_blocks % p->tile.columns == 0) &&
             p->chunks.pixels * p->chunks.bands == p->c.out[0] * p->c.out[1],
         "%s: register tiles and bands", what);
    MUST((p->parts - 1) * p->part < p->c.in_blocks && p->c.in_blocks <= p->parts * p->part && p->held >= 1, "%s: parts", what);
    for (int64_t piece = 0; piece < product_pieces(p); piece++) {
        b->e->piece = emit_int(b->e, piece);
        ProductPiece at = product_piece(b->e, p);
        for (int64_t chunk = number(at.lo); chunk < number(at.hi); chunk++) {
            ProductChunk of = product_chunk(b->e, &p->chunks, emit_int(b->e, chunk));
            for (int64_t block = number(at.first_group) * p->tile.columns;
                 block < least(number(at.end_group) * p->tile.columns, p->c.out_blocks); block++)
                count_chunk(b, &p->chunks, &p->stage, &of, block, &w, what);
        }
    }
    written_check(&w, what);
}

/* Every pixel of every image once in the gradient of each pair of blocks. */
static void check_product_weights(Bench *b, const ProductWeightsPlan *p, const char *what) {
    int64_t blocks = (p->s.I / p->s.groups + p->s.V - 1) / p->s.V, out = p->s.out_blocks;
    Written w = written_new(p->s.N, out * blocks, p->s.out[0] * p->s.out[1]);
    MUST((p->s.groups == 1 || p->s.O / p->s.groups / p->s.V % p->tile.columns == 0) && p->s.V % p->tile.rows == 0,
         "%s: register tiles", what);
    for (int64_t piece = 0; piece < product_weights_pieces(p); piece++) {
        b->e->piece = emit_int(b->e, piece);
        ProductWeightsPiece at = product_weights_piece(b->e, p);
        int64_t first = number(at.first_group) * p->tile.columns, end = least(number(at.end_group) * p->tile.columns, out);
        MUST(p->s.groups == 1 || first * p->s.groups / out == (end - 1) * p->s.groups / out, "%s: a piece of two groups", what);
        for (int64_t chunk = number(at.lo); chunk < number(at.hi); chunk++) {
            ProductChunk of = product_chunk(b->e, &p->chunks, emit_int(b->e, chunk));
            for (int64_t ob = first; ob < end; ob++)
                for (int64_t ib = number(at.first_in); ib < number(at.end_in); ib++) {
                    count_chunk(b, &p->chunks, &p->x, &of, ob * blocks + ib, &w, what);
                    read_line(&p->dy, 0, number(of.band), number(of.band) * p->chunks.band_rows, what);
                }
        }
    }
    written_check(&w, what);
}

/* ---- AMX ---- */

static void check_amx(Bench *b, const AmxPlan *p, const char *what) {
    const Correlation *c = &p->frame.c;
    const AmxTile *t = &p->tile;
    int64_t images = p->gathered ? p->frame.images : 1, stride = p->frame.stage.lines[1];
    MUST(t->rows * t->columns * t->blocks <= AMX_NC && p->width <= AMX_ROWS, "%s: more than the registers", what);
    MUST(c->group_out_blocks % t->blocks == 0, "%s: a tile of two groups", what);
    MUST(!p->gathered || (p->frame.bands == 1 && p->frame.splits == 1), "%s: images that are gathered are cut", what);
    if (p->flat_pixels) {
        MUST(p->frame.stage.copied && p->flat_pixels % p->width == 0, "%s: flat", what);
        MUST(p->flat_pixels >= (p->frame.band_rows - 1) * stride + c->out[1], "%s: pixels behind the flat ones", what);
    }
    MUST(p->staged_bytes == p->frame.stage.bytes * (uint64_t)images, "%s: what is staged", what);
    check_correlation(b, &p->frame, t->rows, t->blocks, what);
}

/* The farthest word of a line that a dot reads, and the farthest row and column that are transposed. */
static void check_amx_weights(Bench *b, const AmxWeights *p, const char *what) {
    const ConvShape *s = &p->w.s;
    int64_t rows_down = (s->kernel[0] - 1) * s->dilation[0] / s->stride[0], pixels = p->parts * p->words;
    if (!p->flat) pixels += (p->w.band_rows - 1) * p->columns;
    MUST(pixels >= p->w.band_rows * s->out[1] && p->words <= AMX_WORDS, "%s: pixels without a dot", what);
    MUST(pixels + rows_down * p->columns <= (p->lines + s->stride[0] - 1) / s->stride[0] * p->columns, "%s: rows of x", what);
    MUST((p->lines + s->stride[0] - 1) / s->stride[0] * p->columns + AMX_WORDS <= p->line, "%s: words of a line", what);
    MUST(!p->flat || (p->w.bands == 1 && p->w.dy.row_stride == p->columns * s->V), "%s: rows that do not follow each other",
         what);
    MUST(p->w.dy.lines[0] * p->columns >= pixels, "%s: zeros behind dY", what);
    MUST(p->in * p->taps * p->out <= AMX_NC && s->kernel[1] % p->taps == 0, "%s: C's", what);
    MUST(s->out_blocks / s->groups % p->out == 0 && (p->in == 1 || s->in_blocks / s->groups % p->in == 0), "%s: blocks", what);
    read_line(&p->w.x, 0, 0, p->lines - 1 - s->pad[0], what);
    read_line(&p->w.x, 1, 0, weights_columns_of(s, p->columns) - 1 - s->pad[1], what);
    check_weights(b, &p->w, what);
}

/* ---- the shapes ---- */

static void check_plan(Bench *b, const ConvMethod *method, ConvDirection direction, const void *plan, const char *what) {
    if (method == &conv_amx) {
        direction == CONV_WEIGHTS ? check_amx_weights(b, plan, what) : check_amx(b, plan, what);
    } else if (method == &conv_depthwise) {
        direction == CONV_WEIGHTS ? check_depthwise_weights(b, plan, what) : check_depthwise(b, plan, what);
    } else if (method == &conv_product) {
        direction == CONV_WEIGHTS ? check_product_weights(b, plan, what) : check_product(b, plan, what);
    } else if (method == &conv_wide && direction == CONV_WEIGHTS) {
        const WideWeightsPlan *p = plan;
        check_wide_tiles(&p->tiles, &p->x, &p->s, what);
        check_wide_tiles(&p->tiles, &p->dy, &p->s, what);
    } else if (method == &conv_wide) {
        check_wide(b, plan, what);
    } else if (method == &conv_winograd && direction == CONV_WEIGHTS) {
        const WinoWeightsPlan *p = plan;
        check_blocks(&p->tiles, what);
        check_weights(b, &p->partials, what);
    } else if (method == &conv_winograd) {
        check_winograd(b, plan, what);
    } else if (direction == CONV_WEIGHTS) {
        check_weights(b, method == &conv_direct ? &((const DirectWeights *)plan)->w : plan, what);
    } else if (method == &conv_direct) {
        const DirectPlan *p = plan;
        const TileShape *t = &p->tile;
        const int64_t vectors = t->rows * t->columns * t->blocks + t->hold * t->blocks + 1; /* and a broadcast */
        MUST(vectors <= b->target.registers, "%s: a tile that fits no registers", what);
        check_correlation(b, &p->frame, p->tile.rows, p->tile.blocks, what);
    } else {
        const CorrelationPlan *p = plan;
        check_correlation(b, p, 1, p->c.out_blocks, what);
    }
}

/* By its own sizes, and by each that it would try. */
static void check_method(Bench *b, const Convolution *c, const ConvMethod *method, Val v) {
    static const char *const directions[] = {"forward", "data", "weights"};
    ConvProblem p = conv_problem(&b->target, c->g, v);
    ConvChoice choice = {.method = method}, sizes[CONV_MAX_SIZES] = {{0}};
    if (!conv_applies(method, &p)) return;
    const ConvWay *way = conv_way(method, &p);
    Arena *arena = arena_new();
    const void *own = way->plan(arena, &p, &choice);
    uint32_t n = own && way->candidates ? way->candidates(&p, own, sizes) : 0;
    for (uint32_t i = 0; i <= n; i++) {
        if (i) memcpy(choice.sizes, sizes[i - 1].sizes, sizeof choice.sizes);
        char what[300];
        snprintf(what, sizeof what, "%s, %s %s, %d lanes", c->text, choice_text(arena, &choice), directions[p.direction],
                 b->target.lanes);
        const void *plan = i ? way->plan(arena, &p, &choice) : own;
        MUST(plan || i > 1, "%s: its own sizes cannot be planned", what); /* others may be refused */
        if (plan) check_plan(b, method, p.direction, plan, what);
    }
    arena_free(arena);
}

/* Backward data and weights in one kernel: what each is alone, the weights with dY as data stages it. */
static void check_pair(Bench *b, const Convolution *c, const ConvMethod *method) {
    ConvProblem data = conv_problem(&b->target, c->g, c->data), weights = conv_problem(&b->target, c->g, c->weights);
    if (!method->pair || !conv_applies(method, &data) || pair_weights(c->g, c->data) != c->weights) return;
    Arena *arena = arena_new();
    const void *plan = method->pair->plan(arena, &data, &weights, &(ConvChoice){.method = method, .pair = true});
    char what[300];
    snprintf(what, sizeof what, "%s, %s pair, %d lanes", c->text, method->name, b->target.lanes);
    if (plan && method == &conv_direct) {
        const DirectPair *p = plan;
        check_correlation(b, &p->data.frame, p->data.tile.rows, p->data.tile.blocks, what);
        check_weights(b, &p->weights.w, what);
    } else if (plan) {
        const WinoPair *p = plan;
        check_winograd(b, &p->data, what);
        check_blocks(&p->weights.tiles, what);
        check_weights(b, &p->weights.partials, what);
        MUST(p->weights.scratch_bytes >= p->data.scratch_bytes, "%s: scratch", what);
    }
    b->pairs += plan != NULL;
    arena_free(arena);
}

static void check_shape(Bench *b, const Convolution *c) {
    for (uint32_t i = 0; conv_methods[i]; i++) {
        check_method(b, c, conv_methods[i], c->forward);
        check_method(b, c, conv_methods[i], c->data);
        check_method(b, c, conv_methods[i], c->weights);
        check_pair(b, c, conv_methods[i]);
    }
}

static void check_shapes(const char *cpu, int map_bytes, uint32_t seed, int count) {
    Bench b = bench_open(cpu);
    b.target.map_bytes = map_bytes;
    b.target.amx = map_bytes == 2 && target_has_amx(&b.target);
    Random r = {seed, 0};
    Convolution c;
    for (int i = 0; i < count; i++) {
        static const int64_t caches[] = {LAST_CACHE, 1, 100000};
        b.target.last_cache = caches[i % 3];
        if (!random_convolution(&r, &c)) continue;
        if (c.g->value[c.forward].type.dim[2] * c.g->value[c.forward].type.dim[3] * c.g->value[c.forward].type.dim[0] < 4000)
            check_shape(&b, &c);
        graph_free(c.g);
    }
    ck_assert(b.pairs > 0 || map_bytes == 2); /* of bf16 only Winograd makes them */
    bench_close(&b);
}

START_TEST(native) { check_shapes("native", sizeof(float), 1, SHAPES); }
END_TEST
START_TEST(native_bf16) { check_shapes("native", 2, 2, SHAPES / 4); }
END_TEST
START_TEST(matrix_tiles) {
#if defined(__x86_64__)
    check_shapes("sapphirerapids", 2, 5, SHAPES);
#endif
}
END_TEST
START_TEST(narrow) {
#if defined(__x86_64__)
    check_shapes("x86-64", sizeof(float), 3, SHAPES / 2);
#endif
}
END_TEST
START_TEST(middle) {
#if defined(__x86_64__)
    check_shapes("x86-64-v3", sizeof(float), 4, SHAPES / 2);
#endif
}
END_TEST

/* Maps, copies and the optimiser: units are cut into pieces that cover them once, none of them empty, and none larger than it has
 * to be. */
START_TEST(pieces_cover_units) {
    Random r = {7};
    for (int i = 0; i < 20000; i++) {
        int64_t units = draw(&r, 1, i % 2 ? 50 : 100000);
        double bytes = (double)draw(&r, 1, i % 3 ? 2000 : 300000);
        Split s = split_units(units, bytes);
        bool covered =
            s.units == units && s.per_piece >= 1 && (s.pieces - 1) * s.per_piece < units && units <= s.pieces * s.per_piece;
        ck_assert_msg(covered && (s.per_piece == 1 || (double)s.per_piece * bytes <= PIECE_BYTES),
                      "%d units of %g bytes: %d pieces of %d", (int)units, bytes, (int)s.pieces, (int)s.per_piece);
    }
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("plans");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, native);
    tcase_add_test(tests, native_bf16);
    tcase_add_test(tests, matrix_tiles);
    tcase_add_test(tests, narrow);
    tcase_add_test(tests, middle);
    tcase_add_test(tests, pieces_cover_units);
    return run_cases("codegen_plans", tests);
}

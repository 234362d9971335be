/* The AMX method: bf16 multiplied by the matrix tiles of AMX (codegen/emit/amx.h), for targets that have them. Everything around
 * the multiply-adds is the direct method's: bands, staging, filters in pairs of channels, finishing.
 *
 * Forward and data: a row of A is an output pixel's input channels at one tap, a row of B two channels of the filters, C the
 * accumulators of up to 16 pixels of a row and a block of output channels. A staged pixel has 16 channels, or 32 where the input
 * blocks of a group are even in number: half or all of a row of A.
 * Weights: weights.c. */
#ifndef NETC_CODEGEN_AMX_H
#define NETC_CODEGEN_AMX_H
#include "codegen/conv/shared/frame.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/partials.h"

extern const ConvMethod conv_amx;

/* ---- private to amx/ ---- */
/* Rows x columns of C's, each `width` pixels of a row, and `blocks` output blocks of them: at most AMX_NC in all. */
typedef struct AmxTile {
    int64_t rows, columns, blocks;
} AmxTile;
/* Forward and data. */
typedef struct AmxPlan {
    CorrelationPlan frame;
    AmxTile tile;
    int64_t width;          /* pixels of a C */
    int64_t flat_pixels;    /* of all C's of a band, whose rows are one with what is staged between them; 0: row by row */
    bool gathered;          /* all images of a piece are staged before any is computed */
    uint64_t staged_bytes;  /* of one image, or of all */
    uint64_t scratch_bytes; /* staged operand, accumulators, and what A's surplus rows read behind the last pixel */
} AmxPlan;

/* The gradient of the filters. */
typedef struct AmxWeights {
    WeightsPlan w; /* x and dY staged in words of two images */
    int64_t words; /* pixels that a dot takes; `parts` of them are a row's, or all of the map's (flat) */
    int64_t parts;
    bool flat;              /* dots do not end with rows: of a map that is one band */
    int64_t columns;        /* of dY, as staged */
    int64_t in, taps, out;  /* input blocks, or columns of a filter (one of the two is 1), by output blocks: the C's */
    int64_t lines;          /* rows of x in a band */
    int64_t line;           /* words of a channel of x at one filter column, in every stride-th row */
    int64_t turn_words;     /* of a row of x, transposed on its way: a channel's every stride-th column */
    int64_t pairs;          /* of images that are staged together, so that C's go through memory once for all */
    uint64_t turned_bytes;  /* of a pair's x transposed */
    uint64_t scratch_bytes; /* a pair's x, its row on the way; of each pair dY, then x transposed */
} AmxWeights;

void amx_lower(Lowering *l, Val v, const void *plan);         /* an AmxPlan */
AmxWeights amx_weights_plan(const ConvProblem *p);            /* weights.c */
void amx_lower_weights(Lowering *l, Val v, const void *plan); /* an AmxWeights */
#endif

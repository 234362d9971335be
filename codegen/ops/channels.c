/* Ops that move whole channels: concat, slice_channels, channel_shuffle, pad_channels, their gradients, flatten and unflatten.
 *
 * All but the last two say, for each output channel, which channel of which argument it is. A block of V output channels is then
 * put together from constant shuffles of at most a few source blocks; a run of blocks that are plain copies of consecutive
 * source blocks becomes one loop. One piece is one image, or, of few images, a band of its rows.
 */
#include "codegen/emit/pieces.h"
#include "codegen/ops/ops.h"

/* Channel `channel` of argument `arg`, or a zero channel (arg < 0). */
typedef struct Source {
    int64_t arg, channel;
} Source;

typedef struct Mover {
    Lowering *l;
    Emitter *e;
    const Graph *g;
    const Value *v;
    Val id;
    int64_t pixels[2], in_stride, out_stride; /* pixels moved; pixel (y, x) goes from (y, x) * in_stride to (y, x) * out_stride */
    int64_t bands;                            /* of an image */
    Cut rows;                                 /* the piece's image, and its rows of it */
    LLVMValueRef *base;
    LLVMValueRef target;
} Mover;

static int64_t height(Type t) { return t.rank == 4 ? t.dim[2] : 1; }
static int64_t width(Type t) { return t.rank == 4 ? t.dim[3] : 1; }
static int64_t blocks_of(const Mover *m, Type t) { return layout_pad(m->e->target, t.dim[1]) / m->e->V; }
static Type arg_type(const Mover *m, int64_t arg) { return m->g->value[m->v->args[arg]].type; }

static Source source_of(const Mover *m, int64_t channel) {
    if (channel >= m->v->type.dim[1]) return (Source){-1, 0};
    switch (m->v->op) {
    case OP_CONCAT:
        for (int64_t arg = 0;; arg++) {
            int64_t count = arg_type(m, arg).dim[1];
            if (channel < count) return (Source){arg, channel};
            channel -= count;
        }
    case OP_SLICE_CHANNELS: return (Source){0, channel + m->v->attrs.index};
    case OP_PLACE_CHANNELS:
        channel -= m->v->attrs.index;
        return channel >= 0 && channel < arg_type(m, 0).dim[1] ? (Source){0, channel} : (Source){-1, 0};
    case OP_CHANNEL_SHUFFLE: {
        int64_t groups = m->v->attrs.index;
        return (Source){0, channel % groups * (m->v->type.dim[1] / groups) + channel / groups};
    }
    default: /* pad_channels, pad_channels_bwd: the same channel, zeros behind */
        return channel < arg_type(m, 0).dim[1] ? (Source){0, channel} : (Source){-1, 0};
    }
}

/* Is output block `ob` exactly block `*block` of argument `*arg`, padding included? */
static bool plain_copy(const Mover *m, int64_t ob, int64_t *arg, int64_t *block) {
    int64_t V = m->e->V;
    Source first = source_of(m, ob * V);
    if (first.arg < 0 || first.channel % V) return false;
    for (int64_t lane = 0; lane < V; lane++) {
        Source s = source_of(m, ob * V + lane);
        bool padding = first.channel + lane >= arg_type(m, first.arg).dim[1];
        if (padding ? s.arg >= 0 : s.arg != first.arg || s.channel != first.channel + lane) return false;
    }
    *arg = first.arg;
    *block = first.channel / V;
    return true;
}

static LLVMValueRef load_block(const Mover *m, int64_t arg, LLVMValueRef block, LLVMValueRef y, LLVMValueRef x) {
    Emitter *e = m->e;
    Type t = arg_type(m, arg);
    LLVMValueRef plane = emit_offset(e, m->rows.whole, blocks_of(m, t), block);
    LLVMValueRef row = emit_offset(e, plane, height(t), emit_mul_int(e, y, m->in_stride));
    LLVMValueRef pixel = emit_offset(e, row, width(t), emit_mul_int(e, x, m->in_stride));
    return emit_load(e, m->base[arg], emit_mul_int(e, pixel, e->V));
}

static void store_block(const Mover *m, LLVMValueRef value, LLVMValueRef block, LLVMValueRef y, LLVMValueRef x) {
    Emitter *e = m->e;
    Type t = m->v->type;
    LLVMValueRef plane = emit_offset(e, m->rows.whole, blocks_of(m, t), block);
    LLVMValueRef row = emit_offset(e, plane, height(t), emit_mul_int(e, y, m->out_stride));
    LLVMValueRef pixel = emit_offset(e, row, width(t), emit_mul_int(e, x, m->out_stride));
    emit_store(e, value, m->target, emit_mul_int(e, pixel, e->V));
}

/* Output block `ob` at one pixel, lane by lane from wherever its channels come. */
static LLVMValueRef assemble(const Mover *m, int64_t ob, LLVMValueRef y, LLVMValueRef x) {
    Emitter *e = m->e;
    int64_t V = e->V;
    LLVMValueRef value = emit_vec(e, 0);
    for (int64_t lane = 0; lane < V;) {
        Source s = source_of(m, ob * V + lane);
        int64_t count = 1, block = s.channel / V;
        LLVMValueRef mask[MAX_LANES];
        for (int64_t i = 0; i < V; i++) mask[i] = LLVMConstInt(e->i32, (uint64_t)(V + i), 0); /* keep `value` */
        if (s.arg >= 0) {
            for (; lane + count < V; count++) {
                Source next = source_of(m, ob * V + lane + count);
                if (next.arg != s.arg || next.channel != s.channel + count || next.channel / V != block) break;
            }
            for (int64_t i = 0; i < count; i++) mask[lane + i] = LLVMConstInt(e->i32, (uint64_t)((s.channel + i) % V), 0);
            LLVMValueRef from = load_block(m, s.arg, emit_int(e, block), y, x);
            value = LLVMBuildShuffleVector(e->b, from, value, LLVMConstVector(mask, (unsigned)V), "");
        }
        lane += count;
    }
    return value;
}

static void zero_image(const Mover *m) {
    Emitter *e = m->e;
    int64_t vectors = blocks_of(m, m->v->type) * height(m->v->type) * width(m->v->type);
    LLVMValueRef start = emit_mul_int(e, m->rows.whole, vectors * e->V);
    Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, vectors), 1, 0, NULL);
    emit_store(e, emit_vec(e, 0), m->target, emit_offset(e, loop.iv, e->V, start));
    loop_end(e, &loop, NULL);
}

/* An image whose target is cleared first stays whole. */
static int64_t bands_of(const Mover *m, double bytes) {
    int64_t N = m->v->type.dim[0], worth = (int64_t)(bytes / (double)N / PIECE_BYTES);
    int64_t few = few_pieces(m->g->mode, N), wanted = (few + N - 1) / N, most = worth < m->pixels[0] ? worth : m->pixels[0];
    return m->out_stride > 1 || most < 2 || wanted < 2 ? 1 : wanted < most ? wanted : most;
}

static void emit_move(Mover *m) {
    Emitter *e = m->e;
    m->rows = emit_cut(e, m->bands, m->pixels[0]);
    if (m->out_stride > 1) zero_image(m);
    int64_t blocks = blocks_of(m, m->v->type);
    for (int64_t ob = 0, run; ob < blocks; ob += run) {
        int64_t arg = 0, block = 0, next_arg, next_block;
        bool copy = plain_copy(m, ob, &arg, &block);
        run = 1;
        while (copy && ob + run < blocks && plain_copy(m, ob + run, &next_arg, &next_block) && next_arg == arg &&
               next_block == block + run)
            run++;
        Loop each = loop_begin(e, emit_int(e, 0), emit_int(e, run), 1, 0, NULL);
        Loop y = loop_begin(e, m->rows.first, m->rows.end, 1, 0, NULL);
        Loop x = loop_begin(e, emit_int(e, 0), emit_int(e, m->pixels[1]), 1, 0, NULL);
        LLVMValueRef value =
            copy ? load_block(m, arg, emit_add_int(e, each.iv, emit_int(e, block)), y.iv, x.iv) : assemble(m, ob, y.iv, x.iv);
        store_block(m, value, emit_add_int(e, each.iv, emit_int(e, ob)), y.iv, x.iv);
        loop_end(e, &x, NULL);
        loop_end(e, &y, NULL);
        loop_end(e, &each, NULL);
    }
}

static void lower_move(Lowering *l, Val id, const char *name, int64_t in_stride, int64_t out_stride) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Mover m = {.l = l, .e = lowering_emitter(l), .g = g, .v = v, .id = id, .in_stride = in_stride, .out_stride = out_stride};
    Type smaller = out_stride > 1 ? g->value[v->args[0]].type : v->type;
    m.pixels[0] = height(smaller);
    m.pixels[1] = width(smaller);
    m.base = ARENA_ARRAY(lowering_arena(l), LLVMValueRef, v->nargs);
    Place *places = ARENA_ARRAY(lowering_arena(l), Place, v->nargs + 1);
    double bytes = 4 * (double)type_elements(v->type);
    for (uint32_t i = 0; i < v->nargs; i++) {
        places[i] = lowering_place(l, v->args[i]);
        bytes += 4 * (double)type_elements(arg_type(&m, i));
    }
    places[v->nargs] = lowering_place(l, id);
    m.bands = bands_of(&m, bytes);
    Kernel *kernel;
    char *key =
        arena_printf(lowering_arena(l), "%s|%d bands", value_key(l, id), (int)m.bands); /* of training more than of inference */
    if (kernel_begin(l, RT_KIND_MAP, name, key, v->nargs + 1, &kernel)) {
        kernel_elements(l, 0, places, v->nargs + 1);
        for (uint32_t i = 0; i < v->nargs; i++) m.base[i] = emit_buffer(m.e, i);
        m.target = emit_buffer(m.e, v->nargs);
        emit_move(&m);
        kernel_end(l, 0);
    }
    kernel_call(l, kernel, id, places, v->nargs + 1, v->type.dim[0] * m.bands, (KernelCost){0, bytes});
}

void lower_CONCAT(Lowering *l, Val v) { lower_move(l, v, "concat", 1, 1); }
void lower_SLICE_CHANNELS(Lowering *l, Val v) { lower_move(l, v, "slice_channels", 1, 1); }
void lower_PLACE_CHANNELS(Lowering *l, Val v) { lower_move(l, v, "place_channels", 1, 1); }
void lower_CHANNEL_SHUFFLE(Lowering *l, Val v) { lower_move(l, v, "channel_shuffle", 1, 1); }
void lower_PAD_CHANNELS(Lowering *l, Val v) {
    lower_move(l, v, "pad_channels", lowering_graph(l)->value[v].attrs.channels.stride, 1);
}
void lower_PAD_CHANNELS_BWD(Lowering *l, Val v) {
    lower_move(l, v, "pad_channels_bwd", 1, lowering_graph(l)->value[v].attrs.channels.stride);
}

/* Between [N][C/V][H*W][V] and rows of C*H*W: lane i of pixel p of block b is element (b*V + i)*HW + p of the row. */
static void emit_reshape(Emitter *e, Type feature, LLVMValueRef blocked, LLVMValueRef rows, bool flatten) {
    int64_t V = e->V, C = feature.dim[1], HW = feature.dim[2] * feature.dim[3];
    int64_t padded = layout_pad(e->target, C), row_length = layout_pad(e->target, C * HW);
    LLVMValueRef image = emit_mul_int(e, e->piece, padded * HW), row = emit_mul_int(e, e->piece, row_length);
    if (flatten && row_length > C * HW) /* the padding; the last line's real elements are written below */
        emit_store(e, emit_vec(e, 0), rows, emit_add_int(e, row, emit_int(e, row_length - V)));
    for (int64_t part = 0; part < 2; part++) { /* whole blocks, then the ragged last one */
        int64_t first = part ? C / V : 0, last = part ? padded / V : C / V, lanes = part ? C % V : V;
        if (first == last) continue;
        Loop block = loop_begin(e, emit_int(e, first), emit_int(e, last), 1, 0, NULL);
        Loop pixel = loop_begin(e, emit_int(e, 0), emit_int(e, HW), 1, 0, NULL);
        LLVMValueRef vector_at = emit_offset(e, emit_offset(e, block.iv, HW, pixel.iv), V, image);
        LLVMValueRef scalar_at = emit_offset(e, block.iv, V * HW, emit_add_int(e, pixel.iv, row));
        LLVMValueRef value = flatten ? emit_load(e, blocked, vector_at) : emit_vec(e, 0);
        for (int64_t i = 0; i < lanes; i++) {
            LLVMValueRef at = emit_add_int(e, scalar_at, emit_int(e, i * HW)), lane = LLVMConstInt(e->i32, (uint64_t)i, 0);
            if (flatten)
                emit_store_scalar(e, LLVMBuildExtractElement(e->b, value, lane, ""), rows, at);
            else
                value = LLVMBuildInsertElement(e->b, value, emit_load_scalar(e, rows, at), lane, "");
        }
        if (!flatten) emit_store(e, value, blocked, vector_at);
        loop_end(e, &pixel, NULL);
        loop_end(e, &block, NULL);
    }
}

static void lower_reshape(Lowering *l, Val id, bool flatten) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    Type feature = flatten ? g->value[v->args[0]].type : v->type;
    Place places[] = {lowering_place(l, v->args[0]), lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_MAP, flatten ? "flatten" : "unflatten", value_key(l, id), 2, &kernel)) {
        kernel_elements(l, 0, places, 2);
        LLVMValueRef from = emit_buffer(e, 0), to = emit_buffer(e, 1);
        emit_reshape(e, feature, flatten ? from : to, flatten ? to : from, flatten);
        kernel_end(l, 0);
    }
    kernel_call(l, kernel, id, places, 2, feature.dim[0], (KernelCost){0, 8 * (double)type_elements(feature)});
}

void lower_FLATTEN(Lowering *l, Val v) { lower_reshape(l, v, true); }
void lower_UNFLATTEN(Lowering *l, Val v) { lower_reshape(l, v, false); }

/* Dense layers as products (dense_product.h). Rows of x are [N][Kp], of w [O][Kp], of y [N][Op], padded with zeros to whole
 * vectors.
 *
 *     data     dx[n, k] = sum over o of dy[n, o] w[o, k]     vectors along k, rows n
 *     weights  dw[o, k] = sum over n of dy[n, o] x[n, k]     vectors along k, rows o
 *     forward  y[n, o]  = sum over k of w[o, k] x[n, k]      vectors along n, rows o
 *
 * The rows' operand is broadcast from where it is. A panel of the other, a few vectors wide, is copied so that its vectors lie
 * behind each other: w and x as they are, by the piece that multiplies them; for forward x transposed, once, into the workspace,
 * which costs 8 / O of the products where transposing w would cost 8 / N. Forward's sums are transposed back when a piece is
 * done.
 *
 * Sums are taken in runs of RUN terms, each from zero, added in order: panels stay in the caches, and rounding errors grow with
 * the length and the number of runs, not with their product. */
#include "codegen/ops/dense_product.h"
#include "codegen/emit/arith.h"
#include "codegen/emit/loop.h"
#include "codegen/emit/memory.h"
#include "codegen/emit/tile.h"
#include "codegen/emit/transpose.h"

enum { RUN = 512, MIN_PIECES = 16, LEAST_ROWS = 64, MOST_ROWS = 128, SUM_FLOATS = 64 * 1024, STREAM_BYTES = 2 << 20 };
static const double worth = 1 << 21; /* multiply-adds */

bool dense_is_product(int64_t N, int64_t K, int64_t O) { return (double)N * (double)K * (double)O >= worth; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* C[row][vector] = sum over k of a[row][k] * b[k][vector]: what the three have in common. */
typedef struct DenseProduct {
    Lowering *l;
    Emitter *e;
    ProductTile tile;                      /* b's strides are those of a packed panel: [k][vector of the panel][V] */
    int64_t rows, columns, vectors, terms; /* columns: without padding */
    int64_t a_row, a_step, b_row, c_row;   /* floats from one row of a, one k of a and of b, one row of C to the next */
    int64_t row_pieces, piece_rows;        /* rows of a piece, the last of which has fewer */
    int64_t panel_pieces, panels;          /* panels of a piece, likewise */
    bool stream;                           /* C goes past the caches */
} DenseProduct;

static int64_t panels_of(const DenseProduct *p) { return divide_up(p->vectors, p->tile.columns); }

/* Few panels are cut by rows too, so that pieces are enough; each packs its panels anew. */
static void cut(DenseProduct *p) {
    int64_t panels = panels_of(p);
    p->panels = divide_up(panels, least(panels, MIN_PIECES * 2));
    p->panel_pieces = divide_up(panels, p->panels);
    p->row_pieces = most(1, least(MIN_PIECES / p->panel_pieces, p->rows / LEAST_ROWS));
    p->piece_rows = divide_up(p->rows, p->row_pieces);
    p->row_pieces = divide_up(p->rows, p->piece_rows);
}

/* A run of `terms` terms over some rows and a panel. a: the first row at the run's first k; b: the panel at it; c: where the
 * first row's sums of the panel go. begun: is there a sum to add to? NULL: no. */
typedef struct Run {
    const DenseProduct *p;
    ProductTile tile;
    LLVMValueRef a, b, c, begun;
    int64_t terms;
} Run;

/* `count` tiles of t.rows rows from row `first` on. */
static void emit_tiles(const Run *run, ProductTile t, int64_t first, int64_t count) {
    const DenseProduct *p = run->p;
    Emitter *e = p->e;
    int n = t.rows * t.columns;
    LLVMValueRef acc[LOOP_MAX_CARRY];
    Loop tile = loop_begin(e, emit_int(e, 0), emit_int(e, count), 1, 0, NULL);
    LLVMValueRef row = emit_offset(e, tile.iv, t.rows, emit_int(e, first));
    for (int i = 0; i < n; i++) acc[i] = emit_vec(e, 0);
    tile_multiply(e, &t, emit_address(e, run->a, emit_mul_int(e, row, p->a_row)), run->b, run->terms, acc);
    LLVMValueRef to = emit_address(e, run->c, emit_mul_int(e, row, p->c_row));
    for (int i = 0; i < n; i++) {
        LLVMValueRef at = emit_int(e, i / t.columns * p->c_row + i % t.columns * e->V);
        if (run->begun) acc[i] = LLVMBuildSelect(e->b, run->begun, emit_add(e, emit_load(e, to, at), acc[i]), acc[i], "");
        p->stream ? emit_store_stream(e, acc[i], to, at) : emit_store(e, acc[i], to, at);
    }
    loop_end(e, &tile, NULL);
}

/* `rows` rows, in tiles of two nearly equal heights. */
static void emit_rows(const Run *run, int64_t rows) {
    ProductTile t = run->tile;
    int64_t parts = divide_up(rows, t.rows), small = rows / parts, larger = rows % parts;
    t.rows = (int)small + 1;
    if (larger) emit_tiles(run, t, 0, larger);
    t.rows = (int)small;
    emit_tiles(run, t, larger * (small + 1), parts - larger);
}

/* What a run does, of `terms` terms from `from` on; begun as above. */
typedef void EmitRun(void *context, LLVMValueRef from, int64_t terms, LLVMValueRef begun);

static void emit_runs(Emitter *e, int64_t terms, EmitRun *emit, void *context) {
    int64_t whole = terms / RUN, rest = terms % RUN;
    if (whole) {
        Loop run = loop_begin(e, emit_int(e, 0), emit_int(e, whole), 1, 0, NULL);
        LLVMValueRef begun = whole > 1 ? LLVMBuildICmp(e->b, LLVMIntNE, run.iv, emit_int(e, 0), "") : NULL;
        emit(context, emit_mul_int(e, run.iv, RUN), RUN, begun);
        loop_end(e, &run, NULL);
    }
    if (rest) emit(context, emit_int(e, whole * RUN), rest, whole ? LLVMConstInt(e->i1, 1, false) : NULL);
}

/* emit(rows of the piece) for whichever it is of row piece `piece`. */
typedef void EmitRows(void *context, int64_t rows);
static void with_rows(const DenseProduct *p, LLVMValueRef piece, EmitRows *emit, void *context) {
    Emitter *e = p->e;
    int64_t last = p->rows - (p->row_pieces - 1) * p->piece_rows;
    if (last == p->piece_rows) {
        emit(context, last);
        return;
    }
    LLVMValueRef before = LLVMBuildICmp(e->b, LLVMIntSLT, piece, emit_int(e, p->row_pieces - 1), "");
    if (p->row_pieces > 1) {
        Guard whole = guard_begin(e, before);
        emit(context, p->piece_rows);
        guard_end(e, &whole);
    }
    Guard rest = guard_begin(e, LLVMBuildNot(e->b, before, ""));
    emit(context, last);
    guard_end(e, &rest);
}

/* ---- data and weights: panels as they lie ---- */

typedef struct Backward {
    DenseProduct p;
    LLVMValueRef a, b, c; /* a, c: the piece's first row; b: the panel's first vector; c too */
    ProductTile tile;     /* of the panel: the last one may be narrower */
    int64_t rows;
} Backward;

static void backward_run(void *context, LLVMValueRef from, int64_t terms, LLVMValueRef begun) {
    const Backward *s = context;
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    ProductTile t = s->tile;
    LLVMValueRef source = emit_address(e, s->b, emit_mul_int(e, from, p->b_row)), panel = e->scratch;
    t.b_step = t.columns * e->V;
    if (s->rows <= t.rows) { /* read once */
        panel = source;
        t.b_step = p->b_row;
    } else {
        Loop k = loop_begin(e, emit_int(e, 0), emit_int(e, terms), 1, 0, NULL);
        for (int q = 0; q < t.columns; q++)
            emit_store(e, emit_load(e, source, emit_offset(e, k.iv, p->b_row, emit_int(e, q * e->V))), panel,
                       emit_offset(e, k.iv, t.b_step, emit_int(e, q * e->V)));
        loop_end(e, &k, NULL);
    }
    Run run = {.p = p, .tile = t, .b = panel, .c = s->c, .begun = begun, .terms = terms};
    run.a = emit_address(e, s->a, emit_mul_int(e, from, p->a_step));
    emit_rows(&run, s->rows);
}

static void backward_panel(Backward *s, LLVMValueRef panel, int columns) {
    Emitter *e = s->p.e;
    Backward one = *s;
    LLVMValueRef vector = emit_mul_int(e, panel, s->p.tile.columns * e->V);
    one.b = emit_address(e, s->b, vector);
    one.c = emit_address(e, s->c, vector);
    one.tile.columns = columns;
    emit_runs(e, s->p.terms, backward_run, &one);
}

static void backward_rows(void *context, int64_t rows) {
    Backward *s = context;
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    s->rows = rows;
    LLVMValueRef piece = LLVMBuildURem(e->b, e->piece, emit_int(e, p->panel_pieces), "");
    LLVMValueRef first = emit_mul_int(e, piece, p->panels), end = emit_add_int(e, first, emit_int(e, p->panels));
    const int rest = (int)(p->vectors % p->tile.columns);
    LLVMValueRef whole = emit_int(e, p->vectors / p->tile.columns);
    Loop panel = loop_begin(e, first, emit_min_int(e, end, whole), 1, 0, NULL);
    backward_panel(s, panel.iv, p->tile.columns);
    loop_end(e, &panel, NULL);
    if (!rest) return;
    Guard last = guard_begin(e, LLVMBuildICmp(e->b, LLVMIntSGT, end, whole, ""));
    backward_panel(s, whole, rest);
    guard_end(e, &last);
}

static KernelCost cost_of(const DenseProduct *p) {
    double rows = (double)p->rows, columns = (double)p->columns, terms = (double)p->terms;
    return (KernelCost){2 * rows * columns * terms, 4 * (rows * columns + rows * terms + columns * terms)};
}

static void lower_backward(Backward *s, Val v, Val a, Val b, const char *name) {
    DenseProduct *p = &s->p;
    Emitter *e = p->e;
    Kernel *kernel;
    p->tile = tile_best(e->target, p->rows, p->vectors, 0);
    p->tile.a_row = p->a_row;
    p->tile.a_step = p->a_step;
    p->tile.b_column = e->V;
    p->stream = e->past_caches && p->terms <= RUN && p->rows * p->c_row * (int64_t)sizeof(float) >= STREAM_BYTES;
    cut(p);
    const char *key = arena_printf(lowering_arena(p->l), "%s%s", value_key(p->l, v), p->stream ? "|past" : "");
    if (kernel_begin(p->l, RT_KIND_DENSE, name, key, 3, &kernel)) {
        LLVMValueRef row_piece = LLVMBuildUDiv(e->b, e->piece, emit_int(e, p->panel_pieces), "");
        LLVMValueRef row = emit_mul_int(e, row_piece, p->piece_rows);
        s->a = emit_address(e, emit_buffer(e, 0), emit_mul_int(e, row, p->a_row));
        s->b = emit_buffer(e, 1);
        s->c = emit_address(e, emit_buffer(e, 2), emit_mul_int(e, row, p->c_row));
        s->tile = p->tile;
        with_rows(p, row_piece, backward_rows, s);
        kernel_end(p->l, (uint64_t)(least(p->terms, RUN) * p->tile.columns * e->V) * sizeof(float));
    }
    Place places[] = {lowering_place(p->l, a), lowering_place(p->l, b), lowering_place(p->l, v)};
    kernel_call(p->l, kernel, v, places, 3, p->row_pieces * p->panel_pieces, cost_of(p));
}

void dense_product_data(Lowering *l, Val v, Val dy, Val w) {
    const Graph *g = lowering_graph(l);
    const Target *t = lowering_target(l);
    int64_t N = g->value[dy].type.dim[0], O = g->value[dy].type.dim[1], K = g->value[v].type.dim[1], Kp = layout_pad(t, K);
    Backward s = {.p = {.l = l, .e = lowering_emitter(l), .rows = N, .columns = K, .vectors = Kp / t->lanes, .terms = O}};
    s.p.a_row = layout_pad(t, O);
    s.p.a_step = 1;
    s.p.b_row = s.p.c_row = Kp;
    lower_backward(&s, v, dy, w, "dense_bwd_data_product");
}

void dense_product_weights(Lowering *l, Val v, Val dy, Val x) {
    const Graph *g = lowering_graph(l);
    const Target *t = lowering_target(l);
    int64_t N = g->value[dy].type.dim[0], O = g->value[dy].type.dim[1], K = g->value[v].type.dim[1], Kp = layout_pad(t, K);
    Backward s = {.p = {.l = l, .e = lowering_emitter(l), .rows = O, .columns = K, .vectors = Kp / t->lanes, .terms = N}};
    s.p.a_row = 1;
    s.p.a_step = layout_pad(t, O);
    s.p.b_row = s.p.c_row = Kp;
    lower_backward(&s, v, dy, x, "dense_bwd_weights_product");
}

/* ---- forward: panels of x transposed, sums of a piece in scratch ---- */

typedef struct Forward {
    DenseProduct p;
    int64_t N, Kp, Op;
    LLVMValueRef w, x, y, o; /* w: the piece's first row; x: all panels; o: its first output */
    int64_t rows;
} Forward;

static Forward forward_of(Lowering *l, Emitter *e, const Target *t, int64_t N, int64_t K, int64_t O) {
    Forward s = {.p = {.l = l, .e = e, .rows = O, .columns = N, .terms = K}};
    s.N = N;
    s.Kp = layout_pad(t, K);
    s.Op = layout_pad(t, O);
    DenseProduct *p = &s.p;
    int64_t vectors = divide_up(N, t->lanes), best_waste = INT64_MAX;
    for (int64_t columns = least(vectors, 4); columns >= 1; columns--) { /* all panels alike: the rest of the last is zeros */
        ProductTile tile = tile_best(t, MOST_ROWS, columns, TILE_COLUMNS);
        int64_t waste = (int64_t)(1000 * tile_step_cycles(t, &tile, MOST_ROWS, divide_up(vectors, tile.columns) * tile.columns));
        if (waste >= best_waste) continue;
        best_waste = waste;
        p->tile = tile;
    }
    p->vectors = divide_up(vectors, p->tile.columns) * p->tile.columns;
    p->c_row = p->vectors * t->lanes;
    p->piece_rows = least(MOST_ROWS, most(1, SUM_FLOATS / p->c_row));
    p->piece_rows = layout_pad(t, least(p->piece_rows, divide_up(O, MIN_PIECES)));
    p->row_pieces = divide_up(O, p->piece_rows);
    p->tile.a_row = p->a_row = s.Kp;
    p->tile.a_step = p->a_step = 1;
    p->tile.b_column = t->lanes;
    p->tile.b_step = p->tile.columns * t->lanes;
    return s;
}

uint64_t dense_product_workspace(const Target *t, int64_t N, int64_t K, int64_t O) {
    Forward s = forward_of(NULL, NULL, t, N, K, O);
    return align_bytes((uint64_t)(s.Kp * s.p.c_row) * sizeof(float));
}

/* V columns of the block-th V rows of x, of which `images` are there. */
static void pack_square(const Forward *s, LLVMValueRef block, int64_t images) {
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    const int64_t V = e->V, step = p->tile.b_step;
    LLVMValueRef k = emit_mul_int(e, e->piece, V), columns = emit_int(e, p->tile.columns), row[MAX_LANES];
    LLVMValueRef from = emit_address(e, emit_buffer(e, 0), emit_offset(e, block, V * s->Kp, k));
    for (int64_t i = 0; i < V; i++) row[i] = i < images ? emit_load(e, from, emit_int(e, i * s->Kp)) : emit_vec(e, 0);
    emit_transpose(e, row);
    LLVMValueRef panel = LLVMBuildUDiv(e->b, block, columns, ""), column = LLVMBuildURem(e->b, block, columns, "");
    LLVMValueRef to = emit_offset(e, emit_offset(e, panel, s->Kp, k), step, emit_mul_int(e, column, V));
    to = emit_address(e, emit_buffer(e, 1), to);
    for (int64_t i = 0; i < V; i++) emit_store(e, row[i], to, emit_int(e, i * step));
}

/* x as panels [panel][k][vector of the panel][V]: V of its columns a piece. */
static void pack(const Forward *s, Val x, Val v) {
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    const int64_t V = e->V;
    Kernel *kernel;
    char *key =
        arena_printf(lowering_arena(p->l), "dense-pack %lld x %lld by %d", (long long)s->N, (long long)s->Kp, p->tile.columns);
    if (kernel_begin(p->l, RT_KIND_DENSE, "dense_pack", key, 2, &kernel)) {
        Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, s->N / V), 1, 0, NULL);
        pack_square(s, block.iv, V);
        loop_end(e, &block, NULL);
        if (s->N % V) pack_square(s, emit_int(e, s->N / V), s->N % V);
        for (int64_t zero = divide_up(s->N, V); zero < p->vectors; zero++) pack_square(s, emit_int(e, zero), 0);
        kernel_end(p->l, 0);
    }
    Place places[] = {lowering_place(p->l, x), lowering_workspace(p->l, v)};
    double bytes = 4 * (double)s->Kp * (double)(s->N + p->c_row);
    kernel_call(p->l, kernel, v, places, 2, s->Kp / V, (KernelCost){0, bytes});
}

static void forward_run(void *context, LLVMValueRef from, int64_t terms, LLVMValueRef begun) {
    const Forward *s = context;
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    Loop panel = loop_begin(e, emit_int(e, 0), emit_int(e, panels_of(p)), 1, 0, NULL);
    Run run = {.p = p, .tile = p->tile, .a = emit_address(e, s->w, from), .begun = begun, .terms = terms};
    run.b = emit_address(e, s->x, emit_mul_int(e, emit_offset(e, panel.iv, s->Kp, from), p->tile.b_step));
    run.c = emit_address(e, e->scratch, emit_mul_int(e, panel.iv, p->tile.b_step));
    emit_rows(&run, s->rows);
    loop_end(e, &panel, NULL);
}

/* V outputs of V images, of which `images` are. */
static void store_square(const Forward *s, LLVMValueRef o, LLVMValueRef n, int64_t images) {
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    LLVMValueRef row[MAX_LANES], from = emit_address(e, e->scratch, emit_offset(e, o, p->c_row, n));
    for (int64_t i = 0; i < e->V; i++) row[i] = emit_load(e, from, emit_int(e, i * p->c_row));
    emit_transpose(e, row);
    LLVMValueRef to = emit_address(e, s->y, emit_offset(e, n, s->Op, emit_add_int(e, s->o, o)));
    for (int64_t i = 0; i < images; i++) emit_store(e, row[i], to, emit_int(e, i * s->Op));
}

static void forward_rows(void *context, int64_t rows) {
    Forward *s = context;
    const DenseProduct *p = &s->p;
    Emitter *e = p->e;
    const int64_t V = e->V, padded = layout_pad(e->target, rows), whole = s->N / V * V;
    s->rows = rows;
    Loop pad = loop_begin(e, emit_int(e, rows * p->c_row), emit_int(e, padded * p->c_row), V, 0, NULL);
    emit_store(e, emit_vec(e, 0), e->scratch, pad.iv);
    loop_end(e, &pad, NULL);
    emit_runs(e, p->terms, forward_run, s);
    Loop o = loop_begin(e, emit_int(e, 0), emit_int(e, padded), V, 0, NULL);
    Loop n = loop_begin(e, emit_int(e, 0), emit_int(e, whole), V, 0, NULL);
    store_square(s, o.iv, n.iv, V);
    loop_end(e, &n, NULL);
    if (whole < s->N) store_square(s, o.iv, emit_int(e, whole), s->N - whole);
    loop_end(e, &o, NULL);
}

void dense_product_forward(Lowering *l, Val v, Val x, Val w) {
    const Graph *g = lowering_graph(l);
    Type type = g->value[x].type;
    Emitter *e = lowering_emitter(l);
    Forward s = forward_of(l, e, e->target, type.dim[0], type.dim[1], g->value[v].type.dim[1]);
    DenseProduct *p = &s.p;
    Kernel *kernel;
    pack(&s, x, v);
    if (kernel_begin(l, RT_KIND_DENSE, "dense_product", value_key(l, v), 3, &kernel)) {
        s.o = emit_mul_int(e, e->piece, p->piece_rows);
        s.x = emit_buffer(e, 0);
        s.w = emit_address(e, emit_buffer(e, 1), emit_mul_int(e, s.o, s.Kp));
        s.y = emit_buffer(e, 2);
        with_rows(p, e->piece, forward_rows, &s);
        kernel_end(l, (uint64_t)(p->piece_rows * p->c_row) * sizeof(float));
    }
    Place places[] = {lowering_workspace(l, v), lowering_place(l, w), lowering_place(l, v)};
    kernel_call(l, kernel, v, places, 3, p->row_pieces, cost_of(p));
}

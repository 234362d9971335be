/* The arithmetic of convolution windows: which filter taps meet in which output lines. No code is emitted here. */
#include "codegen/conv/shared/shape.h"
#include "codegen/emit/pieces.h"

static ConvShape shape_of(const Graph *g, const Value *v, int64_t V) {
    const Type a = g->value[v->args[0]].type, b = g->value[v->args[1]].type;
    Type x = a, y = v->type;
    if (v->op == OP_CONV2D_BWD_DATA) x = v->type, y = a;
    if (v->op == OP_CONV2D_BWD_WEIGHTS) y = b;
    ConvShape s = {.N = x.dim[0], .I = x.dim[1], .O = y.dim[1], .groups = v->attrs.window.groups, .V = V};
    for (int axis = 0; axis < 2; axis++) {
        s.in[axis] = x.dim[2 + axis];
        s.out[axis] = y.dim[2 + axis];
        s.kernel[axis] = v->attrs.window.kernel[axis];
        s.stride[axis] = v->attrs.window.stride[axis];
        s.dilation[axis] = v->attrs.window.dilation[axis];
        s.pad[axis] = v->attrs.window.pad[axis];
    }
    s.in_blocks = divide_up(s.I, V);
    s.out_blocks = divide_up(s.O, V);
    return s;
}

ConvProblem conv_problem(const Target *t, const Graph *g, Val id) {
    const Value *v = &g->value[id];
    ConvDirection direction = v->op == OP_CONV2D ? CONV_FORWARD : v->op == OP_CONV2D_BWD_DATA ? CONV_DATA : CONV_WEIGHTS;
    return (ConvProblem){.t = t, .g = g, .id = id, .v = v, .direction = direction, .s = shape_of(g, v, t->lanes)};
}

bool conv_fills_blocks(const ConvShape *s) {
    return s->groups == 1 || (s->I / s->groups % s->V == 0 && s->O / s->groups % s->V == 0);
}

int64_t conv_few_pieces(const ConvProblem *p) { return few_pieces(p->g->mode, p->s.N); }

Correlation correlation_forward(const ConvShape *s) {
    Correlation c = {.N = s->N, .channels_in = s->I, .channels_out = s->O, .groups = s->groups, .V = s->V};
    for (int axis = 0; axis < 2; axis++) {
        c.in[axis] = s->in[axis];
        c.out[axis] = s->out[axis];
        c.kernel[axis] = s->kernel[axis];
        c.in_stride[axis] = s->stride[axis];
        c.phases[axis] = 1;
        c.pad[axis] = s->pad[axis];
        c.dilation[axis] = s->dilation[axis];
    }
    c.in_blocks = s->in_blocks;
    c.out_blocks = s->out_blocks;
    c.group_in_blocks = divide_up(s->I / s->groups, s->V);
    c.group_out_blocks = divide_up(s->O / s->groups, s->V);
    return c;
}

Correlation correlation_of(const ConvProblem *p) {
    const ConvShape *s = &p->s;
    Correlation c = correlation_forward(s);
    if (p->direction == CONV_FORWARD) return c;
    c.transposed = true;
    c.channels_in = s->O;
    c.channels_out = s->I;
    c.in_blocks = s->out_blocks;
    c.out_blocks = s->in_blocks;
    int64_t blocks = c.group_in_blocks;
    c.group_in_blocks = c.group_out_blocks;
    c.group_out_blocks = blocks;
    for (int axis = 0; axis < 2; axis++) {
        c.in[axis] = s->out[axis];
        c.out[axis] = s->in[axis];
        c.in_stride[axis] = 1;
        c.phases[axis] = s->stride[axis];
    }
    return c;
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

Taps correlation_taps(const Correlation *c, int axis, int64_t phase) {
    int64_t kernel = c->kernel[axis], dilation = c->dilation[axis], stride = c->phases[axis];
    if (!c->transposed) return (Taps){kernel, 0, 1, -c->pad[axis], dilation};
    int64_t step = stride / gcd(stride, dilation), first = 0;
    while (first < step && (phase + c->pad[axis] - first * dilation) % stride != 0) first++;
    if (first == step || first >= kernel) return (Taps){0};
    return (Taps){divide_up(kernel - first, step), first, step, (phase + c->pad[axis] - first * dilation) / stride,
                  -(step * dilation / stride)};
}

int64_t correlation_lines(const Correlation *c, int axis, int64_t phase) {
    return c->out[axis] > phase ? divide_up(c->out[axis] - phase, c->phases[axis]) : 0;
}

bool correlation_rows_divide(const Correlation *c, int64_t band_rows, int64_t rows) {
    for (int64_t phase = 0; phase < c->phases[0]; phase++)
        if (correlation_lines(c, 0, phase) % rows) return false;
    return band_rows % rows == 0;
}

void correlation_reach(const Correlation *c, int axis, int64_t *first, int64_t *last) {
    *first = INT64_MAX;
    *last = INT64_MIN;
    for (int64_t phase = 0; phase < c->phases[axis]; phase++) {
        Taps taps = correlation_taps(c, axis, phase);
        if (taps.count == 0) continue;
        int64_t a = taps.offset, b = taps.offset + (taps.count - 1) * taps.offset_step;
        *first = min_i64(*first, min_i64(a, b));
        *last = max_i64(*last, max_i64(a, b));
    }
}

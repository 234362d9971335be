/* Accesses of kernels checked against their buffers (CodegenOptions.check_bounds): that an access outside is seen at all, and
 * that no kernel of nets of odd shapes has one; the nets' outputs and gradients are held against the evaluator on the way. */
#include "codegen/link/jit.h"
#include "codegen_nets.h"
#include "runtime/rt.h"
#include <stdarg.h>

enum { RANDOM_NETS = 16, EXIT_FAULT = 70 };
static const double tolerance = 2e-4; /* sums of a few hundred terms, two levels of batch norm */

/* ---- an access outside ends the program ---- */

/* A kernel of one buffer of a vector: piece i stores, or loads, vector i + first of it, or of scratch of one vector. */
static void access_vector(int64_t first, bool store, bool scratch) {
    Diag *diag = diag_new();
    Target target;
    ProgramBuilder p;
    CodegenOptions options = {.check_bounds = true};
    ck_assert(jit_open(&target, &p, "access", &options, diag));
    uint64_t vector = (uint64_t)target.lanes * sizeof(float);
    Kernel *kernel;
    ck_assert(program_kernel(&p, RT_KIND_OTHER, "access", "", 1, &kernel));
    Emitter *e = p.emitter;
    LLVMValueRef base = scratch ? e->scratch : emit_buffer(e, 0), at = emit_mul_int(e, e->piece, e->V);
    at = emit_add_int(e, at, emit_int(e, first * e->V));
    if (store)
        emit_store(e, emit_vec(e, 1), base, at);
    else
        emit_store(e, emit_load(e, base, at), emit_buffer(e, 0), emit_int(e, 0));
    program_kernel_end(&p, vector);
    p.folded_bytes = 4096;
    RtRef refs[] = {{RT_FOLDED, 0, 1024}, {RT_FOLDED, 0, 1024 + vector}};
    program_call(&p, &p.train_step, kernel, (RtCall){.label = "access", .refs = refs, .nrefs = 2, .pieces = 1});
    Jit *jit = jit_finish(&target, &p, &(RtProgram){.model = "access", .batch = 1}, jit_clock());
    ck_assert_ptr_nonnull(jit);
    RtPool *pool = rt_pool_new(1);
    RtError error;
    RtMachine *m = rt_machine_new(jit_program(jit), pool, &error);
    ck_assert_msg(m != NULL, "%s", error.text);
    rt_machine_run(m, &jit_program(jit)->train_step);
    rt_machine_free(m);
    rt_pool_free(pool);
    jit_free(jit);
    diag_free(diag);
}

START_TEST(inside) {
    access_vector(0, true, false);
    access_vector(0, false, false);
    access_vector(0, true, true);
}
END_TEST
/* below and behind, stores and loads, buffers and scratch */
START_TEST(outside) { access_vector(_i & 1 ? 1 : -1, _i & 2, _i & 4); }
END_TEST

/* ---- nets ---- */

static const char *const cpus[] = {"native", "x86-64-v3", "x86-64"};

static const char *cpu_of(int which) {
#if defined(__x86_64__)
    bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return which % 3 == 1 && !wide ? "x86-64" : cpus[which % 3];
#else
    (void)cpus;
    (void)which;
    return "native";
#endif
}

static CodegenOptions option(int method, int cpu) {
    static const char *const methods[] = {"auto", "direct", "product", "gemm"};
    return (CodegenOptions){.conv = conv_method(methods[method % 4]), .cpu = cpu_of(cpu), .check_bounds = true};
}

/* Backward data in several bands, of which the last has no row of some phase; padding wider than what is staged. */
static const char *const nets[] = {
    "net n() {\n    input image: f32[3, 7, 7]\n    a = conv2d(image, 1, 2, stride = 3, bias = false)\n"
    "    b = conv2d(a, 1, 3, stride = 2, bias = false)\n    c = conv2d(b, 8, [3, 1], stride = 2, pad = [3, 2], bias = false)\n"
    "    d = conv2d(c, 8, 3, stride = 2, groups = 8, bias = false)\n    output flatten(d)\n}\n",
    "net mobile() {\n    input image: f32[3, 32, 32]\n    a = conv2d(image, 32, 3, stride = 3)\n"
    "    b = conv2d(tanh(a), 32, 3, stride = 2, groups = 8)\n    c = conv2d(tanh(b), 32, 5, stride = 2, groups = 32)\n"
    "    d = conv2d(tanh(c), 64, 3, stride = 2, groups = 8)\n    output dense(global_avg_pool(d), 4)\n}\n",
    "net wide() {\n    input image: f32[3, 3, 3]\n    a = conv2d(image, 16, 1)\n"
    "    b = conv2d(tanh(a), 16, 1, stride = 100, pad = [0, 5])\n    output dense(flatten(b), 4)\n}\n",
};
enum { NETS = sizeof nets / sizeof nets[0] };

START_TEST(bands_and_phases) {
    const char *text = nets[_i % NETS];
    for (int64_t batch = 1; batch <= 4; batch++) {
        CodegenOptions o = option(_i / NETS, (int)batch);
        net_check(text, MODE_TRAIN, batch, &o, tolerance);
    }
}
END_TEST

/* ---- random nets of convolutions ---- */

typedef struct Maker {
    uint32_t seed, count;
    char text[4000];
    size_t length;
    int64_t C, H, W;
    int layers;
} Maker;

static int64_t draw(Maker *m, int64_t lo, int64_t hi) {
    uint32_t word[4];
    philox4x32((uint32_t[]){m->count++, 0, 0, 0}, (uint32_t[]){m->seed, 24}, word);
    return lo + word[0] % (hi - lo + 1);
}

static void __attribute__((format(printf, 2, 3))) add(Maker *m, const char *format, ...) {
    va_list args;
    va_start(args, format);
    m->length += (size_t)vsnprintf(m->text + m->length, sizeof m->text - m->length, format, args);
    va_end(args);
    ck_assert_uint_lt(m->length, sizeof m->text);
}

static int64_t out_size(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
    int64_t span = in + 2 * pad - dilation * (kernel - 1) - 1;
    return span < 0 ? 0 : span / stride + 1;
}

/* A convolution that fits, else none. */
static void add_convolution(Maker *m) {
    static const int64_t channels[] = {1, 2, 3, 4, 8, 9, 16, 17, 20, 32, 48};
    int64_t k[2], s[2], p[2], d[2], O = channels[draw(m, 0, 10)], groups = 1;
    bool square = draw(m, 0, 2) == 0; /* such as Winograd takes */
    for (int axis = 0; axis < 2; axis++) {
        k[axis] = square ? 3 : draw(m, 1, 5);
        s[axis] = square ? 1 : draw(m, 1, 3);
        d[axis] = square ? 1 : draw(m, 1, 2);
        p[axis] = square ? 1 : draw(m, 0, 3);
    }
    if (draw(m, 0, 2) == 0) {
        groups = draw(m, 0, 1) || m->C % 2 ? m->C : 2;
        O = groups * draw(m, 1, 3);
    }
    int64_t H = out_size(m->H, k[0], s[0], p[0], d[0]), W = out_size(m->W, k[1], s[1], p[1], d[1]);
    if (H < 1 || W < 1) return;
    static const char *const after[] = {"tanh(x)",
                                        "batch_norm(x)",
                                        "silu(batch_norm(x))",
                                        "x * sigmoid(dense(global_avg_pool(x), channels(x)))",
                                        "tanh(x) + conv2d(x, channels(x), 1)",
                                        "x"};
    add(m,
        "    x = conv2d(x, %d, [%d, %d], stride = [%d, %d], pad = [%d, %d], dilation = [%d, %d], groups = %d, bias = %s)\n"
        "    x = %s\n",
        (int)O, (int)k[0], (int)k[1], (int)s[0], (int)s[1], (int)p[0], (int)p[1], (int)d[0], (int)d[1], (int)groups,
        draw(m, 0, 1) ? "true" : "false", after[H * W > 1 ? draw(m, 0, 5) : 5]);
    m->C = O, m->H = H, m->W = W, m->layers++;
}

static void add_pool(Maker *m) {
    int64_t k = draw(m, 2, 3), s = draw(m, 1, 3), p = draw(m, 0, 1);
    int64_t H = out_size(m->H, k, s, p, 1), W = out_size(m->W, k, s, p, 1);
    if (H < 1 || W < 1) return;
    add(m, "    x = %s(x, %d, stride = %d, pad = %d)\n", draw(m, 0, 1) ? "max_pool" : "avg_pool", (int)k, (int)s, (int)p);
    m->H = H, m->W = W;
}

static void make_net(Maker *m) {
    static const int64_t channels[] = {1, 2, 3, 4, 5, 16, 17};
    m->C = channels[draw(m, 0, 6)], m->H = draw(m, 5, 24), m->W = draw(m, 5, 24);
    add(m, "net random() {\n    input image: f32[%d, %d, %d]\n    x = image\n", (int)m->C, (int)m->H, (int)m->W);
    for (int tries = 0; tries < 6 && m->layers < 3; tries++) draw(m, 0, 4) ? add_convolution(m) : add_pool(m);
    add(m, "    output dense(flatten(x), 4)\n}\n");
}

START_TEST(random_nets) {
    Maker m = {.seed = (uint32_t)_i + 1};
    make_net(&m);
    int64_t batch = draw(&m, 1, 4);
    CodegenOptions o = option(_i, _i / 4);
    net_check(m.text, MODE_TRAIN, batch, &o, tolerance);
    o = option(_i + 1, _i / 4 + 1);
    net_check(m.text, _i % 2 ? MODE_TRAIN : MODE_INFER, batch, &o, tolerance);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("bounds");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, inside);
    tcase_add_loop_exit_test(tests, outside, EXIT_FAULT, 0, 8);
    tcase_add_loop_test(tests, bands_and_phases, 0, 4 * NETS);
    tcase_add_loop_test(tests, random_nets, 0, RANDOM_NETS);
    return run_cases("codegen_bounds", tests);
}

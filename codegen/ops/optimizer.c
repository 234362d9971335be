/* apply_update: the recipe's optimiser as sweeps over the block of parameters, exactly as PyTorch writes the formulas.
 * Parameters, gradients and moments share one layout, and tensors that are updated alike (with or without weight decay, by one
 * group of the recipe) stand side by side in it: a sweep each, none for what is frozen. Padding is zero in parameters and
 * gradients and stays zero. */
#include "codegen/emit/pieces.h"
#include "codegen/ops/ops.h"
#include <stddef.h>

enum { BUF_PARAM, BUF_GRAD, BUF_MOMENT1, BUF_MOMENT2 };

typedef struct Update {
    Emitter *e;
    const RtOptimizer *o;
    double decay;
    LLVMValueRef at, p, g; /* offset of this vector; parameter and gradient */
} Update;

static LLVMValueRef scaled_add(Update *u, double scale, LLVMValueRef x, LLVMValueRef y) {
    return scale == 0 ? y : emit_fma(u->e, emit_vec(u->e, scale), x, y);
}

/* p - scale * x */
static LLVMValueRef step_down(Update *u, LLVMValueRef scale, LLVMValueRef x) {
    return emit_fma(u->e, LLVMBuildFNeg(u->e->b, scale, ""), x, u->p);
}

/* g += decay p;  m = momentum m + g;  p -= lr (nesterov ? g + momentum m : m)      (torch.optim.SGD) */
static LLVMValueRef emit_sgd(Update *u, LLVMValueRef lr) {
    Emitter *e = u->e;
    LLVMValueRef g = scaled_add(u, u->decay, u->p, u->g);
    if (u->o->momentum == 0) return step_down(u, lr, g);
    LLVMValueRef base = emit_buffer(e, BUF_MOMENT1), momentum = emit_vec(e, u->o->momentum);
    LLVMValueRef m = emit_fma(e, momentum, emit_load(e, base, u->at), g);
    emit_store(e, m, base, u->at);
    return step_down(u, lr, u->o->nesterov ? emit_fma(e, momentum, m, g) : m);
}

/* m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr/bias1 * m / (sqrt(v)/sqrt(bias2) + eps)      (torch.optim.Adam);
 * decay is added to g, or (AdamW) taken from p beforehand: p -= lr decay p. */
static LLVMValueRef emit_adam(Update *u, LLVMValueRef lr, LLVMValueRef bias1, LLVMValueRef bias2) {
    Emitter *e = u->e;
    LLVMValueRef g = u->g;
    if (u->o->kind == RT_ADAM)
        g = scaled_add(u, u->decay, u->p, g);
    else if (u->decay != 0)
        u->p = step_down(u, LLVMBuildFMul(e->b, lr, emit_vec(e, u->decay), ""), u->p);
    LLVMValueRef base1 = emit_buffer(e, BUF_MOMENT1), base2 = emit_buffer(e, BUF_MOMENT2);
    LLVMValueRef m = LLVMBuildFMul(e->b, emit_vec(e, u->o->beta1), emit_load(e, base1, u->at), "");
    m = scaled_add(u, 1 - u->o->beta1, g, m);
    LLVMValueRef v = LLVMBuildFMul(e->b, emit_vec(e, u->o->beta2), emit_load(e, base2, u->at), "");
    v = scaled_add(u, 1 - u->o->beta2, LLVMBuildFMul(e->b, g, g, ""), v);
    emit_store(e, m, base1, u->at);
    emit_store(e, v, base2, u->at);
    LLVMValueRef root = LLVMBuildFDiv(e->b, emit_intrinsic(e, "llvm.sqrt", e->vec, &v, 1), bias2, "");
    LLVMValueRef denominator = LLVMBuildFAdd(e->b, root, emit_vec(e, u->o->eps), "");
    return step_down(u, LLVMBuildFDiv(e->b, lr, bias1, ""), LLVMBuildFDiv(e->b, m, denominator, ""));
}

/* A run of the block, and how it is updated. */
typedef struct Sweep {
    uint64_t begin, end; /* bytes */
    double lr, decay;    /* lr: a factor on the step's */
    double until;        /* of RtCall */
} Sweep;

static void emit_update(ProgramBuilder *p, const Split *split, const Sweep *s) {
    Emitter *e = p->emitter;
    Update u = {.e = e, .o = &p->recipe->optimizer, .decay = s->decay};
    LLVMValueRef lr = emit_splat(e, emit_env_f32(e, offsetof(RtStepEnv, lr)));
    if (s->lr != 1) lr = LLVMBuildFMul(e->b, lr, emit_vec(e, s->lr), "");
    LLVMValueRef bias1 = emit_splat(e, emit_env_f32(e, offsetof(RtStepEnv, bias1)));
    LLVMValueRef bias2 = emit_splat(e, emit_env_f32(e, offsetof(RtStepEnv, bias2)));
    bias2 = emit_intrinsic(e, "llvm.sqrt", e->vec, &bias2, 1);
    Loop unit = split_begin(e, split);
    u.at = emit_mul_int(e, unit.iv, e->V);
    u.p = emit_load(e, emit_buffer(e, BUF_PARAM), u.at);
    u.g = emit_load(e, emit_buffer(e, BUF_GRAD), u.at);
    LLVMValueRef next = u.o->kind == RT_SGD ? emit_sgd(&u, lr) : emit_adam(&u, lr, bias1, bias2);
    emit_store(e, next, emit_buffer(e, BUF_PARAM), u.at);
    loop_end(e, &unit, NULL);
}

static void lower_sweep(ProgramBuilder *p, const Sweep *s) {
    static const RtSpace spaces[] = {RT_PARAMS, RT_GRADS, RT_MOMENT1, RT_MOMENT2};
    static const char *const names[] = {[RT_SGD] = "sgd", [RT_ADAM] = "adam", [RT_ADAMW] = "adamw"};
    const RtOptimizer *o = &p->recipe->optimizer;
    uint32_t nbuffers = o->kind != RT_SGD ? 4 : o->momentum != 0 ? 3 : 2;
    uint64_t bytes = s->end - s->begin, vector_bytes = (uint64_t)p->target->lanes * sizeof(float);
    Split split = split_units((int64_t)(bytes / vector_bytes), (double)vector_bytes * nbuffers);
    char *key = arena_printf(p->arena, "%llu %a %a %a %a %a %a %d", (unsigned long long)bytes, s->lr, s->decay, o->momentum,
                             o->beta1, o->beta2, o->eps, o->nesterov);
    Kernel *kernel;
    if (program_kernel(p, RT_KIND_OPTIMISER, names[o->kind], key, nbuffers, &kernel)) {
        emit_update(p, &split, s);
        program_kernel_end(p, 0);
    }
    RtRef refs[8];
    for (uint32_t i = 0; i < nbuffers; i++) {
        refs[i] = (RtRef){.space = spaces[i], .offset = s->begin};
        refs[nbuffers + i] = (RtRef){.space = spaces[i], .offset = s->end};
    }
    double elements = (double)bytes / sizeof(float);
    program_call(p, &p->apply_update, kernel,
                 (RtCall){.label = "optimizer",
                          .refs = refs,
                          .nrefs = p->options->check_bounds ? 2 * nbuffers : nbuffers,
                          .pieces = split.pieces,
                          .flops = 4 * elements,
                          .bytes = 2.0 * nbuffers * sizeof(float) * elements,
                          .until = s->until});
}

static Sweep sweep_of(const ProgramBuilder *p, const UpdateRange *r) {
    double decay = r->like.decay ? p->recipe->optimizer.weight_decay * r->like.decay_factor : 0;
    return (Sweep){r->begin, r->end, r->like.lr_factor, decay, r->like.until};
}

void lower_optimizer(ProgramBuilder *p) {
    for (uint32_t i = 0; i < p->nupdates; i++) {
        Sweep s = sweep_of(p, &p->update[i]);
        for (; i + 1 < p->nupdates; i++) { /* without weight decay it does not tell tensors apart */
            Sweep next = sweep_of(p, &p->update[i + 1]);
            if (next.lr != s.lr || next.decay != s.decay || next.until != s.until) break;
            s.end = next.end;
        }
        if (s.until >= 0 && s.end > s.begin) lower_sweep(p, &s);
    }
}

/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011), and what dropout makes of it.
 */
#include "ir/eval_rules.h"

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        k[0] += 0x9E3779B9;
        k[1] += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++) out[i] = c[i];
}

bool dropout_keeps(uint64_t seed, uint64_t step, int64_t stream, int64_t index, double rate) {
    uint64_t i = (uint64_t)index;
    uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), (uint32_t)stream, (uint32_t)step}, out[4];
    philox4x32(counter, (uint32_t[]){(uint32_t)seed, (uint32_t)(seed >> 32)}, out);
    return out[0] * 0x1p-32 >= rate;
}

static double mask_at(const EvalOp *op, int64_t index) {
    double rate = op->v->attrs.dropout.rate;
    bool kept = dropout_keeps(op->options->seed, op->options->step, op->v->attrs.dropout.stream, index, rate);
    return kept ? 1 / (1 - rate) : 0;
}

bool eval_DROPOUT_MASK(const EvalOp *op) {
    for (int64_t i = 0, n = type_elements(op->v->type); i < n; i++) op->result[0].data[i] = mask_at(op, i);
    return true;
}

bool eval_DROPOUT(const EvalOp *op) {
    for (int64_t i = 0, n = type_elements(op->v->type); i < n; i++) {
        op->result[0].data[i] = op->arg[0]->data[i] * (op->g->mode == MODE_TRAIN ? mask_at(op, i) : 1);
    }
    return true;
}

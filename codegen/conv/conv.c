/* Convolutions and their gradients: on to the method that was chosen (choose.c), with the plan that was made for it. */
#include "codegen/conv/conv.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/sites.h"

static bool is_pair(const ConvSite *site) { return site->choice.pair && site->partner != NO_VAL; }

static void lower_by_choice(Lowering *l, Val v) {
    const ConvSite *site = lowering_site(l, v);
    const ConvMethod *method = site->choice.method;
    if (!is_pair(site))
        conv_way(method, site->problem)->lower(l, v, site->plan);
    else if (site->problem->direction == CONV_DATA)
        method->pair->lower(l, v, site->partner, site->plan);
}

void lower_CONV2D(Lowering *l, Val v) { lower_by_choice(l, v); }
void lower_CONV2D_BWD_DATA(Lowering *l, Val v) { lower_by_choice(l, v); }
void lower_CONV2D_BWD_WEIGHTS(Lowering *l, Val v) { lower_by_choice(l, v); }

uint64_t conv_workspace(const Lowering *l, Val v) {
    const ConvSite *site = lowering_site(l, v);
    const ConvMethod *method = site->choice.method;
    if (is_pair(site)) return site->problem->direction == CONV_DATA ? method->pair->workspace(site->plan) : 0;
    bool fixed_filters = site->problem->direction == CONV_FORWARD && lowering_is_fixed(l, site->problem->v->args[1]);
    uint64_t (*bytes)(const void *, bool) = conv_way(method, site->problem)->workspace;
    return bytes ? bytes(site->plan, fixed_filters) : 0;
}

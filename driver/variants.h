/* A model compiled several times in one process, with some of its passes or rewrites left out, and what can be said of each
 * without a clock. */
#ifndef NETC_DRIVER_VARIANTS_H
#define NETC_DRIVER_VARIANTS_H
#include "driver/session.h"
#include "verify/stages.h"

/* What follows from the graph, the code and the memory plan alone. */
typedef struct Figures {
    uint32_t kernels, calls; /* functions; calls of a step */
    uint32_t sweeps;         /* values besides convolutions that read or make a feature map */
    uint32_t maps;           /* stored feature maps */
    uint64_t map_bytes;      /* of them all, as if none took another's place */
    uint64_t arena_bytes;    /* of a step; of inference for one group of images */
    double flops, bytes;     /* of a step's calls, as netc bench counts them */
} Figures;

typedef struct Variant {
    char *label;
    const char **disabled; /* names of passes that are left out besides those of --disable-pass; borrowed */
    uint32_t ndisabled;
    const char *forbidden; /* a rewrite that is; NULL */
    Options options;
    Session session;
    const struct Variant *same; /* an earlier one that has the same graph, hence the same code; NULL */
    bool refused;               /* it does not compile, and a sentence said why */
    Figures figures;
    char *text;          /* of its graph */
    double of_tolerance; /* how far from the source, on the evaluator; negative: not known */
} Variant;

/* Through the passes. `options` are the command's; disabled and forbidden as above. Exit status, after a sentence. */
int variant_new(const Options *options, Mode mode, const char *label, const char *const *disabled, uint32_t ndisabled,
                const char *forbidden, RtPool *pool, Variant **variant);
/* Its machine code and figures, unless one of `earlier` has the same graph. Exit status, after a sentence. */
int variant_compile(Variant *v, Variant *const *earlier, uint32_t nearlier);
/* What the passes left. */
const PassResult *variant_passes(const Variant *v);
/* Of this mode, v->of_tolerance from the source that `stages` know, which is v's or smaller images of it. */
void variant_hold(Variant *v, Stages *stages, const Graph *source);
void variant_free(Variant *v);
#endif

/* The library that `netc build --infer` makes: an inference-only Program for each CPU level, and what a user needs besides,
 * behind seven functions. Here they begin with netc_infer_; netc gives them the library's own prefix when it merges the objects
 * into one and makes every other symbol local, so that several libraries go into one program. What they promise is written in the
 * header that netc generates (driver/library_header.c): keep it in step. */
#ifndef NETC_RUNTIME_INFER_H
#define NETC_RUNTIME_INFER_H
#include "runtime/view.h"

enum { RT_INFER_LEVELS = 4, RT_INFER_THREADS = 1024, RT_INFER_MESSAGE = 512 };

/* Written by netc, with the symbol netc_infer_library. What stands behind the struct is found by offsets from its start. */
typedef struct RtInferLibrary {
    uint32_t nlevels;                         /* from the least demanding to the most */
    const RtProgram *batch[RT_INFER_LEVELS];  /* for full batches */
    const RtProgram *single[RT_INFER_LEVELS]; /* for one image at a time; NULL: that is the batch */
    RtNormalizer normalizer;                  /* unless weights that are given say otherwise */
    uint32_t views;                           /* an RtViews: how many pictures are made of each image */
    uint64_t names;                           /* the names of the classes, each with a 0 behind it; 0: not known */
    uint64_t weights, nweights;               /* every tensor, logical, row-major: parameters, then states; 0: not embedded */
} RtInferLibrary;

typedef enum InferStatus {
    INFER_OK = 0,
    INFER_WEIGHTS = 1,  /* the weights are missing, damaged or another model's */
    INFER_ARGUMENT = 2, /* the caller's mistake */
    INFER_IO = 3,       /* the file of weights cannot be read */
    INFER_MEMORY = 4,   /* no memory or threads */
    INFER_CPU = 5       /* this machine is below the least level */
} InferStatus;

/* All zero: one thread, memory from the heap, embedded weights. */
typedef struct InferOptions {
    int threads; /* the caller's among them */
    void *memory;
    size_t memory_bytes;
    const char *weights_path;
    const void *weights;
    size_t weights_bytes;
    int views; /* 1, 2 or 6; 0: those of the library */
} InferOptions;

/* In the name of a library's P_init, so that a program that was compiled with the header of another interface does not link:
 * raise it when InferOptions or the arguments of a function change. 1 had no number; 2: views, and the context of normalize. */
#define RT_INFER_INTERFACE "2"
_Static_assert(sizeof(InferOptions) == 56, "another InferOptions is another RT_INFER_INTERFACE, and another number here");

typedef struct InferContext InferContext;

size_t netc_infer_bytes(int threads);
int netc_infer_init(InferContext **context, const InferOptions *options, char *message);
int netc_infer_run(InferContext *context, const float *images, int n, float *scores);
void netc_infer_free(InferContext *context);
void netc_infer_normalize(const InferContext *context, const unsigned char *pixels, int n, float *images);
void netc_infer_softmax(float *scores, int n);
const char *netc_infer_class_name(int label);
#endif

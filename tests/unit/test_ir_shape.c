/* Shape rules: a table of good and bad operands over every op. A row becomes a small textual graph, so the reader and
 * graph_infer are both in the way of every mistake. An op without a good and, where it can be refused, a bad row fails. */
#include "ir_helpers.h"

#define CONV "{kernel=[3,3], stride=[1,1], pad=[1,1,1,1], dilation=[1,1], groups=1}"
#define WINDOW(k, s, p, d, g) "{kernel=" k ", stride=" s ", pad=" p ", dilation=" d ", groups=" g "}"
#define POOL(k, s, p) "{kernel=" k ", stride=" s ", pad=" p ", dilation=[1,1]}"
#define NORM "{eps=1e-05, momentum=0.1}"
#define X "f32[2,3,8,8]"

typedef struct Row {
    const char *op;
    const char *args;  /* types, separated by spaces */
    const char *rest;  /* attributes, and "over" */
    const char *type;  /* of the result, or declared */
    const char *error; /* what the message must hold; NULL: a good row */
    const char *regions;
} Row;

static const Row table[] = {
    {"input", "", "{name=\"image\"}", "f32[128,3,32,32]"},
    {"input", "", "{name=\"labels\"}", "i32[128]"},
    {"input", "", "{name=\"\"}", "i32[128]", "needs a name"},
    {"input", "", "{name=\"x\"}", "f32[2,0]", "out of range"},
    {"input", "", "{name=\"x\"}", "f32[2,-1]", "out of range"},
    {"input", "", "{name=\"x\"}", "f32[1048576,1048576]", NULL},
    {"input", "", "{name=\"x\"}", "f32[1048576,1048577]", "out of range"},
    {"input", "", "{name=\"x\"}", "f32[9223372036854775807,9223372036854775807,2]", "out of range"},
    {"input", "f32[]", "{name=\"x\"}", "f32[]", "input: needs 0 arguments, found 1"},
    {"param", "", "{name=\"w\", init=he_normal(1), decay=true}", "f32[16,3,3,3]"},
    {"param", "", "{name=\"w\", init=uniform(0.5), decay=false}", "i32[16]", "must be f32, declared i32[16]"},
    {"param", "", "{name=\"w\", init=constant(inf), decay=false}", "f32[16]", "the initialiser's value must be finite"},
    {"state", "", "{name=\"mean\", init=constant(0)}", "f32[16]"},
    {"state", "", "{name=\"mean\", init=constant(0)}", "u8[16]", "must be f32"},
    {"constant", "", "{value=-0.25}", "f32[]"},
    {"constant", "f32[]", "{value=1}", "f32[]", "constant: needs 0 arguments, found 1"},

    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]"},
    {"conv2d", X " f32[4,3,1,1]", WINDOW("[1,1]", "[2,2]", "[0,0,0,0]", "[1,1]", "1"), "f32[2,4,4,4]"},
    {"conv2d", "f32[2,3,9,7] f32[4,3,3,5]", WINDOW("[3,5]", "[2,3]", "[1,0,2,1]", "[1,1]", "1"), "f32[2,4,5,2]"},
    {"conv2d", "f32[2,3,9,9] f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[2,2,2,2]", "[2,2]", "1"), "f32[2,4,9,9]"},
    {"conv2d", "f32[2,6,8,8] f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,1]", "2"), "f32[2,4,8,8]"},
    {"conv2d", "f32[2,3,8,8] f32[6,1,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,1]", "3"), "f32[2,6,8,8]"},
    {"conv2d", "f32[128,32,32,32] f32[64,16,3,3]", CONV, "f32[]",
     "conv2d: the weight f32[64,16,3,3] is for 16 input channels, the input f32[128,32,32,32] has 32"},
    {"conv2d", "f32[2,6,8,8] f32[4,6,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,1]", "2"), "f32[]",
     "is for 6 input channels per group, the input f32[2,6,8,8] has 3"},
    {"conv2d", "f32[2,6,8,8] f32[4,6,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,1]", "4"), "f32[]",
     "4 groups do not divide 6 input and 4 output channels"},
    {"conv2d", "f32[2,4,8,8] f32[3,2,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,1]", "2"), "f32[]",
     "2 groups do not divide 4 input and 3 output channels"},
    {"conv2d", "f32[2,3,3,5] f32[4,3,3,3]", WINDOW("[3,3]", "[9,9]", "[0,0,0,0]", "[1,2]", "1"), "f32[2,4,1,1]"},
    {"conv2d", X " f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,1]", "0"), "f32[]", "groups must be at least 1"},
    {"conv2d", X " f32[4,3,5,5]", CONV, "f32[]", "does not have the kernel's size 3x3"},
    {"conv2d", "f32[2,3] f32[4,3,3,3]", CONV, "f32[]", "the input must be a feature map f32[N,C,H,W], found f32[2,3]"},
    {"conv2d", X " f32[4,3]", CONV, "f32[]", "the weight must be"},
    {"conv2d", "i32[2,3,8,8] f32[4,3,3,3]", CONV, "f32[]", "the input must be"},
    {"conv2d", X, CONV, "f32[]", "conv2d: needs 2 to 64 arguments, found 1"},
    {"conv2d", "f32[2,3,2,2] f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[0,0,0,0]", "[1,1]", "1"), "f32[]",
     "the window of 3x3 reaches outside the padded input f32[2,3,2,2]"},
    {"conv2d", X " f32[4,3,3,3]", WINDOW("[3,3]", "[0,1]", "[1,1,1,1]", "[1,1]", "1"), "f32[]", "the stride must be"},
    {"conv2d", X " f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[1,0]", "1"), "f32[]", "the dilation must be"},
    {"conv2d", X " f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,-1]", "[1,1]", "1"), "f32[]", "the padding must be"},
    {"conv2d", X " f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,9223372036854775807]", "[1,1]", "1"), "f32[]",
     "the padding must be"},
    {"conv2d", X " f32[4,3,3,3]", WINDOW("[3,3]", "[1,1]", "[1,1,1,1]", "[9223372036854775807,1]", "1"), "f32[]",
     "the dilation must be"},
    {"conv2d", "f32[1048576,1,1,1] f32[1048576,1,1,1]", WINDOW("[1,1]", "[1,1]", "[9,9,9,9]", "[1,1]", "1"), "f32[]",
     "more than 2^40 elements"},
    {"dense", "f32[2,64] f32[10,64]", "", "f32[2,10]"},
    {"dense", "f32[2,128] f32[10,64]", "", "f32[]",
     "dense: the weight f32[10,64] is for 64 inputs, the input f32[2,128] has 128"},
    {"dense", X " f32[10,64]", "", "f32[]", "the input must be a matrix f32[N,C], found f32[2,3,8,8]"},
    {"batch_norm", X " f32[3] f32[3] f32[3] f32[3]", NORM, X},
    {"batch_norm", X " f32[3] f32[3] f32[4] f32[3]", NORM, X,
     "the running mean must be f32[3] for the input f32[2,3,8,8], found f32[4]"},
    {"batch_norm", "f32[2,3] f32[3] f32[3] f32[3] f32[3]", NORM, X, "the input must be a feature map"},
    {"batch_norm", X " f32[3] f32[3] f32[3] f32[3]", "{eps=-1, momentum=0.1}", X, "eps must be"},
    {"batch_norm", X " f32[3] f32[3] f32[3] f32[3]", "{eps=1e-05, momentum=nan}", X, "momentum must be"},
    {"relu", X, "", X},
    {"relu", "i32[2]", "", "i32[2]", "relu: the input must be f32, found i32[2]"},
    {"sigmoid", "f32[2,3]", "", "f32[2,3]"},
    {"sigmoid", "u8[2,3]", "", "u8[2,3]", "the input must be f32"},
    {"tanh", "f32[3]", "", "f32[3]"},
    {"tanh", "f32[3]", "", "f32[4]", "tanh: the type is written f32[4], its shape rule gives f32[3]"},
    {"hard_sigmoid", "f32[]", "", "f32[]"},
    {"hard_sigmoid", "f32[] f32[]", "", "f32[]", "needs 1 argument, found 2"},
    {"hard_swish", X, "", X},
    {"hard_swish", "i32[2]", "", X, "must be f32"},
    {"silu", X, "", X},
    {"silu", "i32[2]", "", X, "must be f32"},
    {"identity", X, "", X},
    {"identity", "i32[2]", "", X, "must be f32"},
    {"add", X " " X, "", X},
    {"add", X " f32[2,3]", "", X},
    {"add", "f32[3] " X, "", X},
    {"add", "f32[] f32[7]", "", "f32[7]"},
    {"add", "f32[128,16,32,32] f32[128,32,16,16]", "", X, "left is f32[128,16,32,32], right is f32[128,32,16,16]"},
    {"add", X " f32[3,2]", "", X, "add: needs equal shapes, or a [N,C] gate"},
    {"add", "f32[7] f32[8]", "", X, "left is f32[7], right is f32[8]"},
    {"sub", X " f32[3]", "", X},
    {"sub", X " i32[3]", "", X, "the right side must be f32"},
    {"mul", X " f32[2,3]", "", X},
    {"mul", "f32[2,3] f32[2]", "", X, "left is f32[2,3], right is f32[2]"},
    {"div", "f32[2,3] f32[3]", "", "f32[2,3]"},
    {"div", "f32[3,3,3] f32[3]", "", X, "needs equal shapes"},
    {"softmax", "f32[2,10]", "", "f32[2,10]"},
    {"softmax", X, "", X, "must be a matrix"},
    {"max_pool", X, POOL("[3,3]", "[2,2]", "[1,1,1,1]"), "f32[2,3,4,4]"},
    {"max_pool", "f32[2,3,7,5]", POOL("[2,2]", "[2,2]", "[0,0,0,0]"), "f32[2,3,3,2]"},
    {"max_pool", X, POOL("[3,3]", "[2,2]", "[3,1,1,1]"), X, "the padding 3 must be smaller than the window 3x3"},
    {"avg_pool", X, POOL("[2,2]", "[2,2]", "[0,0,0,0]"), "f32[2,3,4,4]"},
    {"avg_pool", X, POOL("[9,2]", "[2,2]", "[0,0,0,0]"), X, "the window of 9x2 reaches outside"},
    {"avg_pool", "f32[2,3]", POOL("[2,2]", "[2,2]", "[0,0,0,0]"), X, "must be a feature map"},
    {"global_avg_pool", X, "", "f32[2,3]"},
    {"global_avg_pool", "f32[2,3]", "", "f32[2,3]", "must be a feature map"},
    {"concat", X " f32[2,5,8,8] " X, "", "f32[2,11,8,8]"},
    {"concat", "f32[2,3] f32[2,4]", "", "f32[2,7]"},
    {"concat", X " f32[2,5,8,7]", "", X, "operand 1 is f32[2,3,8,8], operand 2 is f32[2,5,8,7]"},
    {"concat", X " f32[2,3]", "", X, "must agree in all but channels"},
    {"concat", "f32[3]", "", X, "operand 1 must be a feature map"},
    {"concat", "f32[1,1099511627776] f32[1,1099511627776]", "", X, "more than 2^40 elements"},
    {"pad_channels", X, "{count=5, stride=2}", "f32[2,5,4,4]"},
    {"pad_channels", "f32[2,3,7,5]", "{count=3, stride=2}", "f32[2,3,4,3]"},
    {"pad_channels", X, "{count=2, stride=2}", X, "cannot pad to 2 channels, the input f32[2,3,8,8] has 3"},
    {"pad_channels", X, "{count=5, stride=0}", X, "the stride must be"},
    {"pad_channels", X, "{count=9223372036854775807, stride=1}", X, "more than 2^40 elements"},
    {"flatten", X, "", "f32[2,192]"},
    {"flatten", "f32[2,3]", "", "f32[2,3]", "must be a feature map"},
    {"dropout", X, "{rate=0.5, stream=1}", X},
    {"dropout", X, "{rate=1, stream=1}", X, "the rate must be at least 0 and below 1, found 1"},
    {"cross_entropy", "f32[2,10] i32[2]", "{smoothing=0.1}", "f32[]"},
    {"cross_entropy", "f32[2,10] f32[2]", "{smoothing=0.1}", "f32[]", "the labels must be i32[2] for the logits f32[2,10]"},
    {"cross_entropy", "f32[2,10] i32[2]", "{smoothing=1}", "f32[]", "label smoothing must be"},
    {"correct", "f32[2,10] i32[2]", "", "f32[]"},
    {"correct", "f32[2,10] i32[3]", "", "f32[]", "the labels must be"},
    {"result", X, "{index=1}", "f32[]", "result: input has 1 result, there is no result 1"},
    {"map", X " f32[3]", "", X, NULL, "output { t0 = mul a0, a1; t0 } reduce { a0 }"},
    {"map", X " f32[2,3]", "over " X, "f32[2,3]", NULL, "reduce { t0 = mul a0, a1; t0 }"},
    {"map", "f32[2,3]", "", X, NULL, "output { a0 }"},
    {"map", X, "", X, "map: needs at least one region"},
    {"map", X " f32[4]", "", X, "argument 1 is f32[4], which cannot be read at each element of f32[2,3,8,8]", "output { a1 }"},
    {"map", X, "", X, "the region 'output' reads argument 1 of 1", "output { a1 }"},
    {"map", X, "", X, "the region 'output' cannot read the accumulator", "output { acc }"},
    {"map", X, "", X, "the region 'output' cannot read the op's output", "output { out }"},
    {"map", X, "", X, "cannot carry the region 'epilogue'", "output { a0 } epilogue { a0 }"},
    {"map", "f32[2,3]", "over f32[2,3]", "f32[2]", "needs an iteration space of rank 4", "reduce { a0 }"},
    {"map", "i32[2]", "", "f32[2]", "cannot be read", "output { a0 }"},
    {"map", "f32[2]", "", "i32[2]", "must be f32", "output { a0 }"},
    {"image_sum", X, "", "f32[2,3]"},
    {"image_sum", "f32[2,3]", "", "f32[2]", "must be a feature map"},
    {"batch_sum", "f32[2,3]", "", "f32[3]"},
    {"batch_sum", X, "", "f32[3]", "must be a matrix"},
    {"channel_sum", "f32[3]", "", "f32[]"},
    {"channel_sum", "f32[2,3]", "", "f32[]", "must be a vector"},
    {"sum_to", X, "", "f32[2,1,8,8]"},
    {"sum_to", X, "", "f32[2,3,8,1]"},
    {"sum_to", X, "", "f32[2,3,4,8]", "with 1 in place of C, H or W, found f32[2,3,4,8]"},
    {"sum_to", X, "", "f32[1,3,8,8]", "with 1 in place of"},
    {"sum_to", X, "", "f32[2,3]", "with 1 in place of"},
    {"max_to", X, "", "f32[2,1,1,1]"},
    {"max_to", "f32[2,3]", "", "f32[2,3]", "must be a feature map"},
    {"position", "", "{index=1}", "f32[3]"},
    {"position", "", "{index=2}", "f32[2,1,8,1]"},
    {"position", "", "{index=3}", "f32[2,1,1,8]"},
    {"position", "", "{index=2}", "f32[2,1,1,8]",
     "is [C] along 1, [N,1,H,1] along 2 and [N,1,1,W] along 3, found f32[2,1,1,8] along 2"},
    {"position", "", "{index=1}", "f32[2,3]", "found f32[2,3] along 1"},
    {"position", "", "{index=4}", "f32[3]", "along 4"},
    {"add", X " f32[2,1,8,8]", "", X},
    {"mul", "f32[2,3,8,1] " X, "", X},
    {"add", "f32[2,3,8,1] f32[2,3,1,8]", "", X, "needs equal shapes"},
    {"add", X " f32[1,3,8,8]", "", X, "needs equal shapes"},
    {"moments", "f64[4,3]", "{count=128}", "f32[3]"},
    {"moments", "f32[4,3]", "{count=128}", "f32[3]", "needs the sums f64[2N,C] of a region 'moments', found f32[4,3]"},
    {"moments", "f64[3,3]", "{count=128}", "f32[3]", "needs the sums f64[2N,C] of a region 'moments', found f64[3,3]"},
    {"moments", "f64[4,3]", "{count=0}", "f32[3]", "the count must be"},
    {"image_moments", "f64[4,3] f32[2,3]", "{count=64}", "f32[2,3]"},
    {"image_moments", "f64[4,3]", "{count=64}", "f32[2,3]"},
    {"image_moments", "f64[4,3] f32[3]", "{count=64}", "f32[2,3]", "the centre must be f32[2,3], found f32[3]"},
    {"image_moments", "f32[4,3] f32[2,3]", "{count=64}", "f32[2,3]",
     "needs the sums f64[2N,C] of a region 'moments', found f32[4,3]"},
    {"image_moments", "f64[4,3] f32[2,3]", "{count=0}", "f32[2,3]", "the count must be"},
    {"batch_sum", "f64[4,3]", "", "f32[3]", "must be a matrix"},
    {"dropout_mask", "", "{rate=0.5, stream=2}", X},
    {"dropout_mask", "", "{rate=-1, stream=2}", X, "the rate must be"},
    {"dropout_mask", "", "{rate=0, stream=2}", "i32[2]", "must be f32"},
    {"conv2d_bwd_data", "f32[2,4,8,8] f32[4,3,3,3]", CONV, X},
    {"conv2d_bwd_data", "f32[2,4,4,4] f32[4,3,3,3]", WINDOW("[3,3]", "[2,2]", "[1,1,1,1]", "[1,1]", "1"), X},
    {"conv2d_bwd_data", "f32[2,4,4,4] f32[4,3,3,3]", WINDOW("[3,3]", "[2,2]", "[1,1,1,1]", "[1,1]", "1"), "f32[2,3,7,7]"},
    {"conv2d_bwd_data", "f32[2,4,8,7] f32[4,3,3,3]", CONV, X, "the gradient must be f32[2,4,8,8], found f32[2,4,8,7]"},
    {"conv2d_bwd_data", "f32[2,4,8,8] f32[4,3,3,3]", CONV, "f32[2,3]", "the input's gradient must be f32 of rank 4"},
    {"conv2d_bwd_data", "f32[2,4,8,8] f32[4,3,3,3]", CONV, "f32[2,5,8,8]", "is for 3 input channels"},
    {"conv2d_bwd_weights", X " f32[2,4,8,8]", CONV, "f32[4,3,3,3]"},
    {"conv2d_bwd_weights", X " f32[2,4,8,8]", CONV, "f32[4,2,3,3]", "is for 2 input channels"},
    {"conv2d_bwd_weights", X " f32[3,4,8,8]", CONV, "f32[4,3,3,3]", "the gradient must be f32[2,4,8,8], found f32[3,4,8,8]"},
    {"dense_bwd_data", "f32[2,10] f32[10,64]", "", "f32[2,64]"},
    {"dense_bwd_data", "f32[2,9] f32[10,64]", "", "f32[2,64]", "makes 10 outputs, the gradient f32[2,9] has 9"},
    {"dense_bwd_weights", "f32[2,64] f32[2,10]", "", "f32[10,64]"},
    {"dense_bwd_weights", "f32[2,64] f32[3,10]", "", "f32[10,64]", "differ in batch size"},
    {"softmax_bwd", "f32[2,10] f32[2,10]", "", "f32[2,10]"},
    {"softmax_bwd", "f32[2,10] f32[2,9]", "", "f32[2,10]", "the gradient must be f32[2,10], found f32[2,9]"},
    {"max_pool_bwd", X " f32[2,3,4,4]", POOL("[3,3]", "[2,2]", "[1,1,1,1]"), X},
    {"max_pool_bwd", X " f32[2,3,4,5]", POOL("[3,3]", "[2,2]", "[1,1,1,1]"), X, "the gradient must be f32[2,3,4,4]"},
    {"avg_pool_bwd", "f32[2,3,4,4]", POOL("[2,2]", "[2,2]", "[0,0,0,0]"), X},
    {"avg_pool_bwd", "f32[2,3,4,4]", POOL("[2,2]", "[2,2]", "[0,0,0,0]"), "f32[2,3,9,9]", NULL},
    {"avg_pool_bwd", "f32[2,3,4,4]", POOL("[2,2]", "[2,2]", "[0,0,0,0]"), "f32[2,3,7,8]", "the gradient must be f32[2,3,3,4]"},
    {"slice_channels", "f32[2,11,8,8]", "{index=3}", "f32[2,5,8,8]"},
    {"slice_channels", "f32[2,11]", "{index=10}", "f32[2,1]"},
    {"slice_channels", "f32[2,11,8,8]", "{index=7}", "f32[2,5,8,8]", "5 channels from 7 on reach outside the input"},
    {"slice_channels", "f32[2,11,8,8]", "{index=-1}", "f32[2,5,8,8]", "reach outside the input"},
    {"slice_channels", "f32[2,11,8,8]", "{index=9223372036854775807}", "f32[2,5,8,8]", "reach outside the input"},
    {"slice_channels", "f32[2,11,8,8]", "{index=0}", "f32[2,5,8,7]", "must agree in all but channels"},
    {"slice_channels", "f32[11]", "{index=0}", "f32[5]", "the input must be"},
    {"place_channels", "f32[2,5,8,8]", "{index=3}", "f32[2,11,8,8]"},
    {"place_channels", "f32[2,1]", "{index=10}", "f32[2,11]"},
    {"place_channels", "f32[2,5,8,8]", "{index=7}", "f32[2,11,8,8]", "5 channels from 7 on reach outside the result"},
    {"place_channels", "f32[2,5,8,8]", "{index=-1}", "f32[2,11,8,8]", "reach outside the result"},
    {"place_channels", "f32[2,5,8,7]", "{index=0}", "f32[2,11,8,8]", "must agree in all but channels"},
    {"place_channels", "f32[5]", "{index=0}", "f32[5]", "the input must be"},
    {"channel_shuffle", "f32[2,12,8,8]", "{index=3}", "f32[2,12,8,8]"},
    {"channel_shuffle", "f32[2,12]", "{index=12}", "f32[2,12]"},
    {"channel_shuffle", "f32[2,12,8,8]", "{index=5}", "f32[2,12,8,8]", "5 groups do not divide the 12 channels"},
    {"channel_shuffle", "f32[2,12,8,8]", "{index=0}", "f32[2,12,8,8]", "0 groups do not divide"},
    {"channel_shuffle", "f32[12]", "{index=1}", "f32[12]", "the input must be"},
    {"upsample", X, "{index=2}", "f32[2,3,16,16]"},
    {"upsample", X, "{index=0}", X, "the factor must be from 1 to 65536"},
    {"upsample", X, "{index=65536}", X, "more than 2^40 elements"},
    {"upsample", "f32[1,1,1099511627776,1]", "{index=2}", X, "more than 2^40 elements"},
    {"upsample", "f32[2,3]", "{index=2}", X, "must be a feature map"},
    {"pad", X, "{pad=[1,0,2,3]}", "f32[2,3,11,11]"},
    {"pad", X, "{pad=[-1,2,-2,-7]}", "f32[2,3,5,3]"},
    {"pad", X, "{pad=[-1,0,-7,0]}", X, "8 lines cut off leave nothing of the height"},
    {"pad", X, "{pad=[0,9,0,-8]}", X, "8 lines cut off leave nothing of the width"},
    {"pad", X, "{pad=[0,0,0,1048577]}", X, "the padding at the right must be between -2^20 and 2^20"},
    {"pad", "f32[2,3]", "{pad=[0,0,0,0]}", X, "must be a feature map"},
    {"avg_pool", X, POOL("[1,1]", "[1,1]", "[-1,2,-2,-7]"), "f32[2,3,5,3]"},
    {"avg_pool", X, POOL("[2,1]", "[1,1]", "[-1,2,-2,-7]"), X, "the padding must be between 0 and 2^20, found -1"},
    {"max_pool", X, POOL("[1,1]", "[1,1]", "[-1,0,0,0]"), X, "the padding must be between 0 and 2^20, found -1"},
    {"avg_pool_bwd", "f32[2,3,5,3]", POOL("[1,1]", "[1,1]", "[-1,2,-2,-7]"), X},
    {"pad_channels_bwd", "f32[2,5,4,4]", "{count=5, stride=2}", X},
    {"pad_channels_bwd", "f32[2,5,4,4]", "{count=5, stride=1}", X, "the gradient must be f32[2,5,8,8], found f32[2,5,4,4]"},
    {"unflatten", "f32[2,192]", "", X},
    {"unflatten", "f32[2,191]", "", X, "does not hold the elements of"},
    {"unflatten", "f32[2,192]", "", "f32[2,192]", "does not hold the elements of"},
    {"cross_entropy_bwd", "f32[2,10] i32[2] f32[]", "{smoothing=0}", "f32[2,10]"},
    {"cross_entropy_bwd", "f32[2,10] i32[2] f32[2]", "{smoothing=0}", "f32[2,10]", "the loss gradient must be f32[]"},
    {"standardize", "f32[4,3,3,3]", "{eps=1e-06}", "f32[4,3,3,3]"},
    {"standardize", "f32[4,3]", "{eps=1e-06}", "f32[4,3]", "the weight must"},
    {"standardize", "f32[4,3,3,3]", "{eps=0}", "f32[4,3,3,3]", "eps must be above 0, at most 1"},
    {"standardize_bwd", "f32[4,3,3,3] f32[4,3,3,3]", "{eps=1e-06}", "f32[4,3,3,3]"},
    {"standardize_bwd", "f32[4,3,3,3] f32[4,3,3,1]", "{eps=1e-06}", "f32[4,3,3,3]",
     "the gradient of what is made of it f32[4,3,3,1]"},
    {"standardize_bwd", "f32[4,3,3,3] f32[4,3,3,3]", "{eps=2}", "f32[4,3,3,3]", "eps must be above 0, at most 1"},
    {"scale_filters", "f32[4,3,3,3] f32[4]", "", "f32[4,3,3,3]"},
    {"scale_filters", "f32[4,3,3,3] f32[3]", "", "f32[4,3,3,3]", "has 4 filters, the scale f32[3] has 3"},

    /* regions of the convolutions: result types, and what may not be */
    {"conv2d", X " f32[4,3,3,3] f32[3] f32[4]", CONV, "f32[2,4,8,8]", NULL,
     "prologue 0 { t0 = mul a0, a2; t0 } store 0 epilogue { t0 = add acc, a3; t0 } output { out } reduce { acc }"},
    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]", "cannot stand on operand 1", "prologue 1 { a1 }"},
    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]", "operand 0 is stored but has no prologue", "store 0"},
    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]", "carries the region 'epilogue' twice",
     "epilogue { acc } epilogue { acc }"},
    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]", "cannot read the accumulator", "prologue 0 { acc }"},
    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]", "cannot read the op's output", "epilogue { out }"},
    {"conv2d", X " f32[4,3,3,3] f32[3]", CONV, "f32[2,4,8,8]", "which cannot be read at each element of f32[2,4,8,8]",
     "epilogue { t0 = add acc, a2; t0 }"},
    {"conv2d", X " f32[4,3,3,3] f32[4]", CONV, "f32[2,4,8,8]", "which cannot be read at each element of f32[2,3,8,8]",
     "prologue 0 { t0 = add a0, a2; t0 }"},
    {"conv2d_bwd_weights", X " f32[2,4,8,8] f32[4]", CONV, "f32[4,3,3,3]", NULL,
     "prologue 1 { t0 = mul a1, a2; t0 } store 1 prologue 0 { a0 }"},
    {"conv2d_bwd_weights", X " f32[2,4,8,8]", CONV, "f32[4,3,3,3]", "cannot carry the region 'reduce'", "reduce { acc }"},
    {"relu", X, "", X, "relu: cannot carry regions", "epilogue { a0 }"},
    {"conv2d", X " f32[4,3,3,3]", CONV, "f32[2,4,8,8]", "cannot carry the region 'sum_to'", "sum_to 1 { acc }"},
    {"map", X, "over " X, "f32[2,1,8,8]", NULL, "max_to 1 { a0 } output { a0 } sum_to 1 { a0 } index_to 1 { a0 }"},
    {"map", X, "over " X, "f32[2,3,1,8]", NULL,
     "sum_to 2 { a0 } max_to 4 { a0 } sum_to 6 { a0 } reduce { a0 } output { a0 } index_to 6 { a0 }"},
    {"map", X, "over " X, "f32[2,1,8,1]", "is over 1 (channels), 2 (height), 4 (width) or 6 (both), found 5", "sum_to 5 { a0 }"},
    {"map", X, "over " X, "f32[2,1,8,8]", "the region 'reduce' cannot share a loop", "sum_to 1 { a0 } reduce { a0 }"},
    {"map", X, "over " X, "f32[2,1,8,8]", "the region 'max_to' cannot share a loop", "sum_to 1 { a0 } max_to 2 { a0 }"},
    {"map", X, "over " X, "f32[2,3,1,8]", "the region 'moments' cannot share a loop", "sum_to 2 { a0 } moments { a0 }"},
    {"map", "f32[2,3]", "over f32[2,3]", "f32[2,3]", "needs an iteration space of rank 4", "sum_to 1 { a0 }"},
};

static char *graph_of(const Row *row) {
    char *text = NULL, *types = strdup(row->args), *save = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    int n = 0;
    fputs("graph \"t\" train\n", out);
    for (char *t = strtok_r(types, " ", &save); t; t = strtok_r(NULL, " ", &save), n++)
        fprintf(out, "%%%d = input {name=\"operand%d\"} : %s\n", n, n, t);
    fprintf(out, "%%%d = %s ", n, row->op);
    for (int i = 0; i < n; i++) fprintf(out, "%s%%%d", i ? ", " : "", i);
    fprintf(out, " %s : %s\n%s\n", row->rest, row->type, row->regions ? row->regions : "");
    fclose(out);
    free(types);
    return text;
}

START_TEST(every_row) {
    const Row *row = &table[_i];
    char *text = graph_of(row), *message;
    Graph *g = read_text(text, strlen(text), &message);
    if (row->error) {
        ck_assert_msg(g == NULL, "accepted:\n%s", text);
        ck_assert_msg(strstr(message, row->error) != NULL, "expected '%s', found: %s", row->error, message);
    } else {
        ck_assert_msg(g != NULL, "%s\n%s", text, message);
    }
    graph_free(g);
    free(message);
    free(text);
}
END_TEST

START_TEST(every_op_has_rows) {
    for (int op = 0; op < OP_COUNT; op++) {
        bool good = op == OP_RESULT, bad = false; /* a good RESULT needs an op with results: see results_of_regions */
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            if (strcmp(table[i].op, op_text((Op)op)) != 0) continue;
            if (table[i].error)
                bad = true;
            else
                good = true;
        }
        ck_assert_msg(good && bad, "op %s lacks a %s row", op_text((Op)op), good ? "bad" : "good");
    }
}
END_TEST

static Val result_type_is(Graph *g, Val v, uint32_t i, Type t) {
    Val r = graph_result(g, v, i);
    ck_assert(type_equal(g->value[r].type, t));
    ck_assert(type_equal(value_result_type(g, v, i), t));
    return r;
}

START_TEST(results_of_regions) {
    Graph *g = must_read("graph \"t\" train\n"
                         "%0 = input {name=\"x\"} : f32[2,3,8,8]\n"
                         "%1 = input {name=\"w\"} : f32[4,3,3,3]\n"
                         "%2 = conv2d %0, %1 " CONV " : f32[2,4,8,8]\n"
                         "  reduce { acc } prologue 0 { a0 } output { out } epilogue { acc } store 0\n"
                         "%3 = map %0 over f32[2,3,8,8] : f32[2,3]\n  reduce { a0 } output { a0 } moments { a0 }\n"
                         "%4 = input {name=\"c\"} : f32[3]\n"
                         "%5 = batch_norm %0, %4, %4, %4, %4 " NORM " : f32[2,3,8,8]\n"
                         "%6 = input {name=\"s\"} : f64[4,3]\n"
                         "%7 = moments %6 {count=128} : f32[3]\n");
    ck_assert_uint_eq(value_results(g, 2), 4);
    result_type_is(g, 2, 0, type_feature(2, 4, 8, 8));
    result_type_is(g, 2, 1, type_matrix(2, 4));
    result_type_is(g, 2, 2, type_feature(2, 4, 8, 8));
    Val stored = result_type_is(g, 2, 3, type_feature(2, 3, 8, 8));
    ck_assert_uint_eq(value_results(g, 3), 3);
    result_type_is(g, 3, 0, type_matrix(2, 3));
    result_type_is(g, 3, 1, type_feature(2, 3, 8, 8));
    result_type_is(g, 3, 2, type_make(DT_F64, 2, (int64_t[]){4, 3}));
    ck_assert_uint_eq(value_results(g, 5), 3);
    result_type_is(g, 5, 2, type_vector(3));
    ck_assert_uint_eq(value_results(g, 7), 3);
    result_type_is(g, 7, 1, type_vector(3));
    result_type_is(g, 7, 2, type_matrix(2, 3));
    uint32_t index;
    ck_assert_uint_eq(value_source(g, stored, &index), 2);
    ck_assert_uint_eq(index, 3);
    graph_free(g);
}
END_TEST

/* Specs that no text can say. */
START_TEST(absurd_specs_are_refused) {
    Graph *g = graph_new("t", MODE_TRAIN);
    Type type;
    char why[256];
    Val missing = 5;
    ValueSpec specs[] = {
        {.op = OP_COUNT},
        {.op = (Op)-1},
        {.op = OP_RELU, .args = &missing, .nargs = 1},
        {.op = OP_INPUT, .declared = {DT_F32, 9, {1, 1, 1, 1}}, .attrs.param.name = "x"},
        {.op = OP_INPUT, .declared = {DT_F32, -1, {0}}, .attrs.param.name = "x"},
        {.op = OP_INPUT, .declared = {(DType)17, 0, {0}}, .attrs.param.name = "x"},
        {.op = OP_INPUT, .declared = {DT_F32, 2, {INT64_MAX, INT64_MAX}}, .attrs.param.name = "x"},
        {.op = OP_INPUT, .declared = {DT_F32, 1, {INT64_MIN}}, .attrs.param.name = "x"},
        {.op = OP_INPUT, .declared = {DT_F32, 0, {0}}},
        {.op = OP_PARAM, .attrs.param = {.name = "x", .init = {(InitKind)99, 0}}},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        why[0] = 0;
        ck_assert_msg(!graph_infer(g, &specs[i], &type, why, sizeof why), "spec %zu", i);
        ck_assert_msg(strlen(why) > 10, "spec %zu gives no reason", i);
        ck_assert(!graph_infer(g, &specs[i], &type, NULL, 0));
    }
    graph_free(g);
}
END_TEST

/* Exprs that no text can say. */
START_TEST(absurd_regions_are_refused) {
    Graph *g = must_read("graph \"t\" train\n%0 = input {name=\"x\"} : f32[2]\n");
    ExprNode self = {.op = X_NEG, .arg = {0}}, unknown = {.op = 200}, leaf = {.op = X_ARG, .arg = {0}};
    ExprNode *many = calloc(EXPR_MAX_NODES + 1, sizeof *many);
    for (int i = 0; i <= EXPR_MAX_NODES; i++) many[i] = leaf;
    Expr exprs[] = {{1, &self}, {1, &unknown}, {0, NULL}, {EXPR_MAX_NODES + 1, many}};
    Val x = 0;
    Type type;
    char why[256];
    for (int i = 0; i < 5; i++) {
        Region region = {.role = REGION_OUTPUT, .expr = i < 4 ? &exprs[i] : NULL};
        ValueSpec spec = {.op = OP_MAP, .args = &x, .nargs = 1, .declared = type_vector(2), .regions = &region, .nregions = 1};
        ck_assert_msg(!graph_infer(g, &spec, &type, why, sizeof why), "expression %d", i);
        exprs[3].count = EXPR_MAX_NODES + 1;
    }
    exprs[3].count = EXPR_MAX_NODES;
    Region fits = {.role = REGION_OUTPUT, .expr = &exprs[3]}, strange = {.role = (RegionRole)77, .expr = &exprs[3]};
    ValueSpec spec = {.op = OP_MAP, .args = &x, .nargs = 1, .declared = type_vector(2), .regions = &fits, .nregions = 1};
    ck_assert(graph_infer(g, &spec, &type, why, sizeof why));
    spec.regions = &strange;
    ck_assert(!graph_infer(g, &spec, &type, why, sizeof why));
    free(many);
    graph_free(g);
}
END_TEST

START_TEST(broadcasting_goes_by_rank) {
    Type map = type_feature(2, 3, 4, 5), gate = type_matrix(2, 3), vector = type_vector(3);
    ck_assert(type_broadcasts(map, map) && type_broadcasts(gate, map) && type_broadcasts(vector, map));
    ck_assert(type_broadcasts(type_scalar(), map) && type_broadcasts(vector, gate) && type_broadcasts(type_scalar(), vector));
    ck_assert(!type_broadcasts(type_matrix(3, 2), map) && !type_broadcasts(type_vector(2), map));
    ck_assert(!type_broadcasts(map, gate) && !type_broadcasts(gate, vector) && !type_broadcasts(vector, type_scalar()));
    ck_assert(!type_broadcasts(type_feature(2, 3, 4, 2), map) && !type_broadcasts(type_vector(2), gate));
    ck_assert(type_broadcasts(type_feature(2, 3, 4, 1), map) && type_broadcasts(type_feature(2, 1, 1, 5), map));
    ck_assert(!type_broadcasts(type_feature(1, 3, 4, 5), map) && !type_broadcasts(map, type_feature(2, 1, 4, 5)));
}
END_TEST

START_TEST(type_limits) {
    ck_assert(type_valid(type_matrix(1 << 20, 1 << 20)) && !type_valid(type_matrix((1 << 20) + 1, 1 << 20)));
    ck_assert_int_eq(type_elements(type_matrix(INT64_MAX, 2)), INT64_MAX);
    Arena *arena = arena_new();
    ck_assert_str_eq(type_text(arena, type_feature(128, 16, 32, 32)), "f32[128,16,32,32]");
    ck_assert_str_eq(type_text(arena, type_make(DT_BF16, 1, (int64_t[]){7})), "bf16[7]");
    ck_assert_str_eq(type_text(arena, type_scalar()), "f32[]");
    Type widest = {DT_BF16, 4, {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN}};
    ck_assert_uint_lt(strlen(type_text(arena, widest)), TYPE_TEXT);
    arena_free(arena);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("shape");
    tcase_add_loop_test(cases, every_row, 0, sizeof table / sizeof *table);
    tcase_add_test(cases, every_op_has_rows);
    tcase_add_test(cases, results_of_regions);
    tcase_add_test(cases, absurd_specs_are_refused);
    tcase_add_test(cases, absurd_regions_are_refused);
    tcase_add_test(cases, broadcasting_goes_by_rank);
    tcase_add_test(cases, type_limits);
    return run_cases("ir shape", cases);
}

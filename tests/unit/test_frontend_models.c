/* The model zoo: every net compiles in both modes into a sound source graph and has as many parameters as its paper says. */
#include "frontend/frontend.h"
#include "ir/text.h"
#include "run_cases.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

typedef struct Zoo {
    const char *name;
    int64_t params, states; /* elements */
    int64_t products;       /* multiply-adds of convolutions and dense layers, forward, an image; 0: not known from elsewhere */
} Zoo;

/* He et al. 2016 give 0.27 M, 0.46 M, 0.66 M, 0.85 M and 1.7 M for 20 to 110 with parameter-free shortcuts (269 722 and
 * 1 727 962 exactly); the two projections add 16*32 + 32*64. ResNet-50 and SE-ResNet-50 agree with torchvision and timm. */
static const Zoo zoo[] = {
    {"resnet20", 269722 + 2560, 1376},
    {"resnet32", 464154 + 2560, 2272},
    {"resnet44", 658586 + 2560, 3168},
    {"resnet56", 853018 + 2560, 4064},
    {"resnet110", 1727962 + 2560, 8096},
    {"resnet164", 2602906 + 2560, 12128},
    {"se_resnet20", 274655, 1376},
    {"se_resnet32", 470669, 2272},
    {"se_resnet44", 666683, 3168},
    {"se_resnet56", 862697, 4064},
    {"se_resnet110", 1744760, 8096},
    {"se_resnet164", 2626823, 12128},
    {"se_resnet110_shortcut", 1744760, 8096},
    {"se_resnet164_shortcut", 2626823, 12128},
    {"preact_resnet164", 1703258, 0},
    {"se_preact_resnet164", 1905362, 0},
    {"resnet50", 25557032, 53120},
    {"se_resnet50", 28088024, 53120},
    /* as kuangliu/pytorch-cifar, xternalz/WideResNet-pytorch and torchvision have them; multiply-adds counted in those of PyTorch
     */
    {"resnet18", 11173962, 9600, 555422720},
    {"resnet34", 21282122, 17024, 1159402496},
    {"preact_resnet18", 11171146, 0, 555422720},
    {"senet18", 11260354, 0, 555509760},
    {"vgg16", 14728266, 8448, 313201664},
    {"mobilenet", 3217226, 21888, 46354432},
    {"mobilenetv2", 2296922, 0, 91154944},
    {"resnext29_2x64d", 9128778, 0, 1409492992},
    {"regnetx_200mf", 2321946, 0, 223317600},
    {"densenet_cifar", 1000618, 0, 125341440},
    {"wrn_16_4", 2748890, 0},
    {"wrn_28_10", 36479194, 17952},
    {"lenet", 62006, 0, 651720},
    {"googlenet", 6166250, 0, 1521756160},
    {"resnet50_cifar", 23520842, 0, 1297829888},
    {"simpledla", 15142970, 0, 913495040},
    {"efficientnet_b0", 3599686 - 32 * 32 - 2 * 32, 0,
     30331392}, /* theirs has an expansion in its first block that it does not use */
    {"regnety_400mf", 5714362, 0, 467089152},
    {"resnet9", 6573120, 0, 0},
    {"airbench94", 1972792, 0, 0},
    {"resnet9_fast", 6573849, 0, 0},
    /* resnet20 and, per block of C channels: 3 weights; nothing; 2 C max(1, C / 16) + 98; 3 C; 4 C */
    {"eca_resnet20", 272282 + 9 * 3, 1376},
    {"ge_resnet20", 272282, 1376},
    {"cbam_resnet20", 272282 + 3 * 2 * (16 + 32 * 2 + 64 * 4) + 9 * 98, 1376},
    {"gct_resnet20", 272282 + 3 * 3 * (16 + 32 + 64), 1376},
    {"srm_resnet20", 272282 + 3 * 4 * (16 + 32 + 64), 1376 + 3 * 2 * (16 + 32 + 64)},
    {"ca_resnet20", 272282 + 3 * (26 * (16 + 32 + 64) + 3 * 24), 1376 + 9 * 16}, /* per block 8 channels in between */
    {"sk_resnet20", 272282 + 3 * (50 * (16 + 32 + 64) + 3 * 32), 1376 + 3 * 2 * (16 + 32 + 64) + 9 * 32}, /* 16 in between */
    {"ws_resnet20", 272282, 0},
    {"stochastic_resnet110", 1727962 + 2560, 8096},
    /* counted in PyTorch: kuangliu/pytorch-cifar; weiaicunzai/pytorch-cifar100 with 10 classes; Res2Net/Res2Net-PretrainedModels;
       timm */
    {"shufflenet_g2", 887582, 0},
    {"dpn26", 11574842, 0},
    {"dpn92", 34236634, 0},
    {"pnasnet_a", 130646, 0},
    {"pnasnet_b", 451626, 0},
    {"xception", 20829578, 0},
    {"rir", 10293634 - 901 * 450 - 451 * 100 - 3459 * 100 + 91 * 45 + 46 * 10 + 3459 * 10,
     0},                                                     /* the first number is for 100 classes */
    {"attention56", 55703780 - 2168320 - 2048 * 90 - 90, 0}, /* theirs has a unit in its last module that it does not use */
    {"res2net50", 25699120, 0},
    {"convnext_femto", 5217784, 0},
    {"convnext_tiny", 28589128, 0},
    {"googlenet_heads", 6166250 + 128 * (512 + 528) + 2 * (3 * 128 + 2049 * 1024 + 1025 * 10), 0},
    {"shufflenet_v2", 1263854, 16180}, /* kuangliu/pytorch-cifar, counted in PyTorch */
    {"convmixer", 594186, 8704},       /* locuslab/convmixer-cifar10, likewise */
    {"mlp", 14706698, 0, 3072 * 2048 + 2 * 2048 * 2048 + 20480},
    {"alexnet", 61100840, 0},
    {"squeezenet", 1235496, 0},
    {"mobilenetv3_small", 2542856, 12112},
};

static Model compile(const char *name, Mode mode, int64_t batch) {
    char path[128];
    Model model;
    FrontendOptions options = {.mode = mode, .batch = batch};
    Diag *diag = diag_new();
    snprintf(path, sizeof path, "models/%s.net", name);
    bool ok = frontend_compile(path, &options, diag, &model);
    if (!ok) diag_print(diag, stderr, false);
    diag_free(diag);
    ck_assert_msg(ok, "%s does not compile", path);
    return model;
}

static int64_t elements(const Graph *g, Op op) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->value[i].op == op) sum += type_elements(g->value[i].type);
    }
    return sum;
}

/* Of one image: an output of a convolution or dense layer takes as many multiply-adds as its filter has weights. */
static int64_t products(const Graph *g) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const Value *v = &g->value[i];
        if (v->op != OP_CONV2D && v->op != OP_DENSE) continue;
        Type weight = g->value[v->args[1]].type;
        sum += type_elements(v->type) / v->type.dim[0] * (type_elements(weight) / weight.dim[0]);
    }
    return sum;
}

static uint32_t outputs(const Graph *g, OutputKind kind) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->noutputs; i++) n += g->output[i].kind == kind;
    return n;
}

static uint32_t values(const Graph *g, Op op) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->count; i++) n += g->value[i].op == op;
    return n;
}

START_TEST(parameter_counts) {
    Model model = compile(zoo[_i].name, MODE_TRAIN, 2);
    ck_assert_str_eq(model.name, zoo[_i].name);
    ck_assert_int_eq(elements(model.graph, OP_PARAM), zoo[_i].params);
    if (zoo[_i].states) ck_assert_int_eq(elements(model.graph, OP_STATE), zoo[_i].states);
    if (zoo[_i].products) ck_assert_int_eq(products(model.graph), zoo[_i].products);
    graph_free(model.graph);
}
END_TEST

START_TEST(both_modes_are_sound) {
    for (int mode = MODE_TRAIN; mode <= MODE_INFER; mode++) {
        Model model = compile(zoo[_i].name, (Mode)mode, 3);
        const Graph *g = model.graph;
        char *unsound = graph_verify(g, TIER_SOURCE | TIER_NET);
        ck_assert_msg(!unsound, "%s: %s", zoo[_i].name, unsound);
        uint32_t train = mode == MODE_TRAIN;
        ck_assert_uint_eq(outputs(g, OUT_LOGITS), 1);
        ck_assert_uint_eq(outputs(g, OUT_LOSS), train);
        ck_assert_uint_eq(outputs(g, OUT_CORRECT), train);
        ck_assert_uint_eq(outputs(g, OUT_STATE), train * values(g, OP_STATE));
        ck_assert_uint_eq(values(g, OP_INPUT), 1 + train);
        ck_assert_int_eq(g->value[0].type.dim[0], 3);
        graph_free(model.graph);
    }
}
END_TEST

/* What weight decay applies to: the weights of convolutions and dense layers, nothing else. */
START_TEST(decay_flags) {
    Model model = compile(zoo[_i].name, MODE_TRAIN, 2);
    for (uint32_t i = 0; i < model.graph->count; i++) {
        const Value *v = &model.graph->value[i];
        if (v->op == OP_PARAM) ck_assert_int_eq(v->attrs.param.decay, v->type.rank > 1);
    }
    graph_free(model.graph);
}
END_TEST

START_TEST(batch_of_the_recipe) {
    Model model = compile("resnet20", MODE_TRAIN, 0);
    ck_assert_int_eq(model.recipe.batch, 128);
    ck_assert_int_eq(model.graph->value[0].type.dim[0], 128);
    ck_assert_int_eq(model.recipe.epochs, 200);
    ck_assert(model.recipe.optimizer.momentum == 0.9 && model.recipe.optimizer.weight_decay == 1e-4);
    ck_assert(model.recipe.schedule.kind == RT_SCHEDULE_STEPS && model.recipe.schedule.nat == 2);
    ck_assert(model.recipe.naugment == 2 && model.recipe.shuffle);
    graph_free(model.graph);
}
END_TEST

/* The gate is on the residual branch in the paper's net, on the shortcut in the replication's. */
START_TEST(where_the_gate_is) {
    const char *name[] = {"se_resnet110", "se_resnet110_shortcut"};
    for (int k = 0; k < 2; k++) {
        Model model = compile(name[k], MODE_TRAIN, 1);
        const Graph *g = model.graph;
        uint32_t after_norm = 0, after_relu_or_conv = 0;
        for (uint32_t i = 0; i < g->count; i++) {
            if (g->value[i].op != OP_GLOBAL_AVG_POOL || !strchr(g->value[i].name, '.')) continue;
            if (g->value[g->value[i].args[0]].op == OP_BATCH_NORM)
                after_norm++;
            else
                after_relu_or_conv++;
        }
        ck_assert_uint_eq(after_norm, k == 0 ? 54 : 0);
        ck_assert_uint_eq(after_relu_or_conv, k == 0 ? 0 : 54);
        graph_free(model.graph);
    }
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("models");
    tcase_set_timeout(tests, 300);
    int count = sizeof zoo / sizeof *zoo;
    tcase_add_loop_test(tests, parameter_counts, 0, count);
    tcase_add_loop_test(tests, both_modes_are_sound, 0, count);
    tcase_add_loop_test(tests, decay_flags, 0, count);
    tcase_add_test(tests, batch_of_the_recipe);
    tcase_add_test(tests, where_the_gate_is);
    return run_cases("frontend: models", tests);
}

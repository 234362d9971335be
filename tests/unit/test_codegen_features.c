/* What LLVM's code for a CPU may use, and what this machine can do: the same names, found out in two ways. */
#include "codegen/codegen.h"
#include "ir_helpers.h"
#include "runtime/cpu.h"
#include <unistd.h>

static const char *const all[] = {
#if defined(__x86_64__)
#define X86(name, ...) name,
#else
#define ARM(name, ...) name,
#endif
#include "runtime/cpu_features.def"
};
enum { FEATURES = sizeof all / sizeof all[0] };

/* For maps in bf16, whose code may use the most. */
static char *features_of(const char *target, const char *cpu) {
    Diag *diag = diag_new();
    char *features = codegen_features(target, cpu, PRECISION_BF16, diag);
    if (!features) diag_print(diag, stderr, false);
    diag_free(diag);
    return features;
}

static bool lists(const char *features, const char *name) {
    size_t length = strlen(name);
    for (const char *at = features; (at = strstr(at, name)); at += length)
        if ((at == features || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
    return false;
}

/* CPUs whose features are a matter of definition. A name that LLVM did not know would stand in every list. */
START_TEST(llvm_says_what_a_cpu_has) {
    static const struct {
        const char *target, *cpu, *features;
    } cases[] = {
        {"x86_64-linux-gnu", "x86-64", ""},
        {"x86_64-linux-gnu", "x86-64-v2", "sse3 ssse3 sse4.1 sse4.2 popcnt"},
        {"x86_64-linux-gnu", "x86-64-v3", "sse3 ssse3 sse4.1 sse4.2 popcnt lzcnt movbe bmi bmi2 avx f16c fma avx2"},
        {"x86_64-linux-gnu", "x86-64-v4",
         "sse3 ssse3 sse4.1 sse4.2 popcnt lzcnt movbe bmi bmi2 avx f16c fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl"},
        {"aarch64-linux-gnu", "generic", ""},
        {"aarch64-linux-gnu", "cortex-a53", "crc"},
        {"aarch64-linux-gnu", "cortex-a76", "crc lse fullfp16 rdm rcpc dotprod"},
    };
    char *features = features_of(cases[_i].target, cases[_i].cpu);
    ck_assert_ptr_nonnull(features);
    ck_assert_str_eq(features, cases[_i].features);
    free(features);
}
END_TEST

/* No kernel for maps in f32 has matrix tiles: a machine without them runs it. */
START_TEST(what_precision_wants) {
    const char *const cpus[] = {"sapphirerapids", "znver5"};
    for (int i = 0; i < 2; i++) {
        Diag *diag = diag_new();
        char *f32 = codegen_features("x86_64-linux-gnu", cpus[i], PRECISION_F32, diag),
             *bf16 = features_of("x86_64-linux-gnu", cpus[i]);
        ck_assert(lists(f32, "avx512bf16") && lists(bf16, "avx512bf16"));
        ck_assert(!strstr(f32, "amx"));
        ck_assert(lists(bf16, "amx-tile") == (i == 0) && lists(bf16, "amx-bf16") == (i == 0));
        free(f32);
        free(bf16);
        diag_free(diag);
    }
}
END_TEST

/* LLVM asks this machine by its own code, for the CPU "native"; ours must say the same of every feature. */
START_TEST(this_machine_has_what_llvm_finds) {
    char *native = features_of(NULL, "native"), missing[64];
    ck_assert_ptr_nonnull(native);
    for (int i = 0; i < FEATURES; i++)
        if (strncmp(all[i], "amx", 3) != 0 || !lists(native, all[i])) /* tiles are the system's to give */
            ck_assert_msg(lists(native, all[i]) != rt_cpu_lacks(all[i], missing, sizeof missing), "'%s': LLVM %s it here", all[i],
                          lists(native, all[i]) ? "finds" : "does not find");
    if (!rt_cpu_lacks(native, missing, sizeof missing))
        ck_assert_str_eq(missing, "");
    else
        ck_assert_msg(strstr(missing, "amx-") == missing, "this machine lacks its own %s", missing);
    free(native);
}
END_TEST

START_TEST(what_is_missing_is_named) {
    char missing[16];
    ck_assert(rt_cpu_lacks("teleport", missing, sizeof missing));
    ck_assert_str_eq(missing, "teleport");
    ck_assert(rt_cpu_lacks("fly teleport swim", missing, sizeof missing));
    ck_assert_str_eq(missing, "fly, teleport, ");
    ck_assert(!rt_cpu_lacks("", missing, sizeof missing));
}
END_TEST

START_TEST(unknown_names_are_refused) {
    ck_assert_ptr_null(features_of("x86_64-linux-gnu", "pentium_hundred"));
    ck_assert_ptr_null(features_of("aarch64-linux-gnu", "znver5"));
    ck_assert_ptr_null(features_of("vax-linux-gnu", NULL));
    /* known, but LLVM would abort on 64-bit code for them */
    static const char *const narrow[] = {"i386",  "i686",      "pentium-mmx", "pentium4", "prescott",
                                         "yonah", "athlon-xp", "c3-2",        "k6"};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) ck_assert_ptr_null(features_of("x86_64-linux-gnu", narrow[i]));
}
END_TEST

/* A row of architectures.def stands for a machine that LLVM makes code for: by its least CPU and its levels, and a kernel. */
START_TEST(every_architecture_can_be_opened) {
    const CodegenTarget *t = codegen_target_at((uint32_t)_i);
    char *levels = strdup(t->levels), *least = features_of(t->name, t->least);
    ck_assert_ptr_nonnull(least);
    free(least);
    for (char *cpu = strtok(levels, ","); cpu; cpu = strtok(NULL, ",")) {
        char *features = features_of(t->name, cpu);
        ck_assert_msg(features != NULL, "%s: no CPU '%s'", t->name, cpu);
        free(features);
    }
    free(levels);
    ck_assert_ptr_eq(codegen_target(t->name), t);
    ck_assert(*t->dynamic_linker == '/' && *t->debian);
    Graph *g = must_read("graph \"two\" train\n"
                         "%0 = input {name=\"x\"} : f32[2,5,3,3]\n"
                         "%1 = map %0 : f32[2,5,3,3]\n"
                         "  output { t0 = mul a0, 2; t0 }\n"
                         "return grad \"x\" %1\n");
    CodegenInput input = {.name = "two", .train = g, .recipe = &(RtRecipe){0}, .recipe_text = ""};
    CodegenOptions options = {.target = t->name};
    char path[] = "/tmp/netc-architecture-XXXXXX";
    int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    Diag *diag = diag_new();
    GemmUse gemm;
    bool made = codegen_object(&input, &options, "netc_program_0", path, &gemm, diag);
    if (!made) diag_print(diag, stderr, false);
    ck_assert(made);
    diag_free(diag);
    graph_free(g);
    close(file);
    unlink(path);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("features");
    tcase_add_loop_test(tests, llvm_says_what_a_cpu_has, 0, 7);
    tcase_add_test(tests, this_machine_has_what_llvm_finds);
    tcase_add_test(tests, what_is_missing_is_named);
    tcase_add_test(tests, unknown_names_are_refused);
    uint32_t targets = 0;
    while (codegen_target_at(targets)) targets++;
    tcase_add_loop_test(tests, every_architecture_can_be_opened, 0, (int)targets);
    tcase_add_test(tests, what_precision_wants);
    return run_cases("codegen_features", tests);
}

/* Any bytes as a checkpoint, as netc and an executable read it: into a machine, all or nothing. */
#include "tests/fuzz/fuzz.h"

#define CHECK_H /* libcheck's assertions work within its tests only */
#define ck_assert(condition) FUZZ_CHECK(condition)
#define ck_assert_msg(condition, ...) FUZZ_CHECK(condition)
#define ck_assert_ptr_nonnull(pointer) FUZZ_CHECK(pointer)
#define ck_assert_int_le(a, b) FUZZ_CHECK((a) <= (b))
#define ck_assert_uint_eq(a, b) FUZZ_CHECK((a) == (b))
#include "tests/unit/runtime_softmax.h"

static RtMachine *machine(void) {
    static Softmax softmax;
    static Bench bench;
    if (!bench.machine) {
        softmax_program(&softmax, 2, 1, 2, 2, 3);
        softmax.program.choices = "netc choices 1\ncpu/16 forward,2x1x2x2,o3,1x1 direct\n";
        bench = bench_new(&softmax, 1);
        rt_machine_init_params(bench.machine, 1);
    }
    return bench.machine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file(data, size);
    RtMachine *m = machine();
    const RtProgram *p = rt_machine_program(m);
    RtTrainState state = {.seed = 7}, before = state;
    RtError error = {{0}};
    char *params = fuzz_text(rt_machine_space(m, RT_PARAMS), p->params_bytes);
    RtStatus status = rt_checkpoint_load(path, m, &state, &error);
    if (status != RT_OK) {
        FUZZ_CHECK(*error.text && !memcmp(&state, &before, sizeof state));
        FUZZ_CHECK(!memcmp(params, rt_machine_space(m, RT_PARAMS), p->params_bytes));
    }
    free(params);
    rt_weights_load(path, m, NULL, &error);
    RtData set = {.channels = 1, .height = 2, .width = 2, .classes = 3};
    if (rt_weights_describe(path, &set, NULL)) {
        FUZZ_CHECK(set.name && isfinite(set.mean[0]) && isfinite(set.std[0]) && set.std[0] > 0 && !strpbrk(set.name, "\n\r\33"));
        for (int k = 0; k < 3 && set.class_names; k++) FUZZ_CHECK(!strpbrk(set.class_names[k], "\n\r\33"));
    } else {
        FUZZ_CHECK(!set.name && !set.class_names);
    }
    rt_data_free(&set);
    char *choices = rt_checkpoint_choices(path);
    rt_check_choices(choices, p, &error);
    free(choices);
    return 0;
}

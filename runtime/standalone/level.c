/* A Program names the CPU features that its code may use; it runs here if this machine has every one. */
#include "runtime/standalone/level.h"
#include "cli/options.h"
#include "cli/report.h"
#include "runtime/cpu.h"
#include <string.h>

extern const RtProgram netc_program_0;
extern const RtProgram netc_program_1 __attribute__((weak)), netc_program_2 __attribute__((weak)),
    netc_program_3 __attribute__((weak));

const RtProgram *level_program(int index) {
    const RtProgram *const level[MAX_LEVELS] = {&netc_program_0, &netc_program_1, &netc_program_2, &netc_program_3};
    return index < MAX_LEVELS ? level[index] : NULL;
}

static bool is_level(const RtProgram *program, const char *name) {
    size_t length = strcspn(program->target, ",");
    return strlen(name) == length && !strncmp(program->target, name, length);
}

int level_choose(const char *wanted, const RtProgram **chosen) {
    char missing[256];
    *chosen = NULL;
    for (int i = 0; level_program(i); i++) {
        const RtProgram *level = level_program(i);
        if (wanted && !is_level(level, wanted)) continue;
        if (!rt_cpu_lacks(level->features, missing, sizeof missing))
            *chosen = level;
        else if (wanted)
            return fail(EXIT_INPUT, "this machine cannot run the code for %s: its CPU lacks %s", wanted, missing);
    }
    if (*chosen) return EXIT_OK;
    if (wanted) return usage_error("", "this executable holds no code for '--cpu-level=%s'", wanted);
    const RtProgram *least = &netc_program_0;
    rt_cpu_lacks(least->features, missing, sizeof missing);
    return fail(EXIT_INPUT, "this machine is below the least that this executable was built for, %.*s: its CPU lacks %s",
                (int)strcspn(least->target, ","), least->target, missing);
}

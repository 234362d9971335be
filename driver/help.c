/* netc help: a command's help, the table of passes, or the language's library. */
#include "driver/driver.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <string.h>

static void print_passes(void) {
    printf("Passes, in the order of the default pipelines (T training, I inference, * required):\n\n");
    for (uint32_t i = 0; i < pass_count(); i++) {
        const Pass *pass = pass_at(i);
        printf("  %-18s %c%c%c  %s\n", pass->name, pass_runs_in(pass, MODE_TRAIN) ? 'T' : ' ',
               pass_runs_in(pass, MODE_INFER) ? 'I' : ' ', pass->required ? '*' : ' ', pass->summary);
        for (uint32_t k = 0; k < PASS_PARAMETERS && pass->parameters[k].name; k++) {
            const PassParameter *p = &pass->parameters[k];
            printf("  %-22s   %s=%" PRId64 " (%" PRId64 " to %" PRId64 "): %s\n", "", p->name, p->value, p->least, p->most,
                   p->summary);
        }
    }
    printf("\nLists of passes (--passes), and single ones (--disable-pass, --print-before, --print-after):\n\n"
           "  a,b                     exactly these; for training where the command trains, else for inference\n"
           "  -a -b#2                 the default without every run of a, and without the second run of b\n"
           "  default+m@before:a#2    the default and m, in front of the second run of a (also @after:, or at the end)\n"
           "  default,a{n=3}          the default with an option of a pass set; a list's a{n=3,k=2} has options too\n"
           "  train:a,b;infer:-c      a list for each mode; a mode that none is for has its default\n\n"
           "Rules (--rules=FILE) are what the pass 'rules' does, which runs only with them: LEFT => RIGHT, one behind the other, "
           "as\n"
           "  factor: add(mul(x, a), mul(y, a)) => mul(add(x, y), a)      # a name if you like; docs/passes.md has the grammar\n"
           "Each is checked on random shapes, numbers and gradients first.\n\n"
           "'netc passes MODEL' prints the passes of a model, with their numbers.\n");
}

static void print_passes_json(void) {
    printf("{\"passes\": [");
    for (uint32_t i = 0; i < pass_count(); i++) {
        const Pass *pass = pass_at(i);
        printf("%s{\"pass\": \"%s\", \"train\": %s, \"infer\": %s, \"required\": %s", i ? ", " : "", pass->name,
               pass_runs_in(pass, MODE_TRAIN) ? "true" : "false", pass_runs_in(pass, MODE_INFER) ? "true" : "false",
               pass->required ? "true" : "false");
        json_write_text(stdout, "summary", pass->summary);
        printf(", \"options\": [");
        for (uint32_t k = 0; k < PASS_PARAMETERS && pass->parameters[k].name; k++) {
            const PassParameter *p = &pass->parameters[k];
            printf("%s{\"option\": \"%s\", \"value\": %" PRId64 ", \"least\": %" PRId64 ", \"most\": %" PRId64, k ? ", " : "",
                   p->name, p->value, p->least, p->most);
            json_write_text(stdout, "summary", p->summary);
            putchar('}');
        }
        printf("]}");
    }
    puts("]}");
}

int command_help(const Options *options) {
    if (options->noperands == 0) {
        (options->json ? command_print_list_json : command_print_list)(stdout);
        return EXIT_OK;
    }
    if (options->noperands > 1) return usage_error("help", "one command at a time");
    if (!strcmp(options->operand[0], "passes")) {
        (options->json ? print_passes_json : print_passes)();
        return EXIT_OK;
    }
    if (!strcmp(options->operand[0], "library")) {
        if (!options->json) {
            fputs(library_text, stdout);
            return EXIT_OK;
        }
        printf("{\"library\": ");
        json_write_string(stdout, library_text);
        puts("}");
        return EXIT_OK;
    }
    const Command *command = command_find(options->operand[0]);
    if (!command) return usage_error("help", "there is no command '%s'", options->operand[0]);
    if (!options->json) command_print_help(command, stdout);
    if (options->json) command_print_json(command, stdout), putchar('\n');
    return EXIT_OK;
}

/* The table of commands (main.c). Each returns the exit status. */
#ifndef NETC_DRIVER_DRIVER_H
#define NETC_DRIVER_DRIVER_H
#include "cli/options.h"
#include "cli/report.h"

typedef struct Command {
    const char *name;
    unsigned bit; /* CMD_… */
    int (*run)(const Options *options);
    const char *usage, *summary, *details;
} Command;
const Command *command_find(const char *name);
void command_print_help(const Command *command, FILE *out);
void command_print_list(FILE *out);
void command_print_json(const Command *command, FILE *out);
void command_print_list_json(FILE *out);

int command_train(const Options *options);
int command_lrfind(const Options *options);
int command_init(const Options *options);
int command_eval(const Options *options);
int command_predict(const Options *options);
int command_ir(const Options *options);
int command_fmt(const Options *options);
int command_data(const Options *options);
int command_bench(const Options *options);
int command_build(const Options *options);
int command_cache(const Options *options);
int command_passes(const Options *options);
int command_verify(const Options *options);
int command_bisect(const Options *options);
int command_reduce(const Options *options);
int command_ablate(const Options *options);
int command_why(const Options *options);
int command_explore(const Options *options);
int command_lint(const Options *options);
int command_test(const Options *options);
int command_sweep(const Options *options);
int command_report(const Options *options);
int command_runs(const Options *options);
int command_help(const Options *options);
#endif

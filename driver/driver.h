/* What the subcommands share: the table of commands, exit statuses, and a model on its way through the house. */
#ifndef NETC_DRIVER_DRIVER_H
#define NETC_DRIVER_DRIVER_H
#include "codegen/codegen.h"
#include "driver/options.h"
#include "frontend/frontend.h"
#include "ir/nearest.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "runtime/rt.h"

enum { EXIT_OK = 0, EXIT_INPUT = 1, EXIT_USAGE = 2, EXIT_IO = 3, EXIT_INTERNAL = 70 };

/* ---- commands (main.c); each returns the exit status ---- */
typedef struct Command {
    const char *name;
    unsigned bit; /* CMD_… */
    int (*run)(const Options *options);
    const char *usage, *summary, *details;
} Command;
const Command *command_find(const char *name);
void command_print_help(const Command *command, FILE *out);
void command_print_list(FILE *out);

int command_train(const Options *options);
int command_init(const Options *options);
int command_eval(const Options *options);
int command_predict(const Options *options);
int command_ir(const Options *options);
int command_fmt(const Options *options);
int command_data(const Options *options);
int command_bench(const Options *options);
int command_help(const Options *options);

/* ---- saying things (report.c) ---- */
/* "netc: error: ..." on stderr; returns status. Every failure outside a .net file is said through here. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fail_rt(RtStatus status, const RtError *error);
bool use_color(FILE *stream);                                              /* a terminal, and NO_COLOR is not set */
char *join(const char *format, ...) __attribute__((format(printf, 1, 2))); /* malloc'd text; ends the program if memory is out */
void print_json_string(FILE *out, const char *text);
/* Whole file into malloc'd memory with a zero behind it; NULL with the sentence already printed and *status set. */
char *read_file(const char *path, size_t *length, int *status);

/* ---- a model on its way (session.c) ---- */
/* Owns everything from the diagnostics to the machine. Zero-initialise; session_close frees whatever was reached. */
typedef struct Session {
    const Options *options;
    char *path; /* of the .net file */
    Diag *diag;
    Model train, infer; /* graph NULL where not compiled */
    PassResult train_passes, infer_passes;
    Jit *jit;
    RtPool *pool;
    RtMachine *machine;
} Session;

/* Finds the model file: the path itself, or NAME among the models that came with netc. Sets session->path. */
int session_find_model(Session *session, const Options *options, const char *command_name);
/* One mode from text to the source graph; `through_passes` runs the passes too. Diagnostics are printed here. */
int session_graph(Session *session, Mode mode, bool through_passes);
/* The passes that the options ask for, on any graph; remarks are printed if asked for. */
int session_passes(Session *session, const Graph *graph, PassResult *result);
/* The whole way: both modes or one, passes, machine code, threads, memory. */
int session_machine(Session *session, bool train, bool infer);
void session_close(Session *session);
void session_print_diagnostics(const Session *session);
int64_t session_parameters(const Session *session); /* trainable numbers */

/* Opens the data set that --data or the recipe names, or makes one that fits the net (synthetic). */
int session_open_data(const Session *session, RtData *data);
/* Only its statistics and class names; CIFAR-10's need no files. */
int session_describe_data(const Session *session, RtData *data);
#endif

/* netc: the command. A table of subcommands, and the way into one of them. */
#include "driver/driver.h"
#include "driver/rules.h"
#include "ir/nearest.h"
#include "runtime/json.h"
#include <string.h>

static const Command commands[] = {
    {"train", CMD_TRAIN, command_train, "netc train MODEL [options]", "compile a model and train it",
     "Writes metrics.jsonl, last.safetensors (last-1: the one before) and best.safetensors into the output directory. SIGINT\n"
     "and SIGTERM save a checkpoint and exit with 130; --resume then continues with the same bits as if nothing had\n"
     "happened. A directory that holds a training is used again only with --resume or --overwrite.\n"},
    {"lrfind", CMD_LRFIND, command_lrfind, "netc lrfind MODEL [options]", "find learning rates at which a model learns",
     "A training of some steps from initial weights, or those of --init, whose rate rises exponentially; nothing of it is "
     "kept.\n"},
    {"eval", CMD_EVAL, command_eval, "netc eval MODEL --weights FILE [options]", "measure a trained model on the test set", ""},
    {"predict", CMD_PREDICT, command_predict, "netc predict MODEL --weights FILE PICTURE... [options]",
     "classify pictures (PNG, JPEG, PPM or PGM of any size)",
     "Each picture is resized to the net's input. Of a directory all pictures in it and below it are classified.\n"},
    {"init", CMD_INIT, command_init, "netc init MODEL --seed S -o FILE.safetensors [options]", "write a model's initial weights",
     "The weights are those that 'netc train MODEL --seed S' starts from.\n"},
    {"runs", CMD_RUNS, command_runs, "netc runs [DIR...] [--json]", "list trainings and compare them",
     "DIR is a training's directory, or one with such in it (default: runs). Of several that are named, the keys of the recipe "
     "in\n"
     "which they differ are printed below.\n"},
    {"report", CMD_REPORT, command_report, "netc report RUN... [-o FILE.html] [options]",
     "write a page of trainings: curves, confusion matrix, classes, reliability, wrong pictures",
     "RUN is a training's directory, or one with such in it. One file for a browser, which needs no network.\n"},
    {"sweep", CMD_SWEEP, command_sweep, "netc sweep FILE [--jobs N] [--out DIR] [options]",
     "train a table of models, settings and seeds, and print means, deviations and Welch's t",
     "A line of FILE is one of\n"
     "  model NAME [KEY=VALUE; ...]     a model, and what --set sets for it\n"
     "  setting NAME [KEY=VALUE; ...]   each model is trained with each setting\n"
     "  seeds 1 2 3                     and with each seed (default: 0)\n"
     "  options --data=DIR ...          of netc train, for all\n"
     "or begins with '#'. After any kill the same command goes on.\n"},
    {"ir", CMD_IR, command_ir, "netc ir MODEL [options], netc ir --diff MODEL MODEL [options]",
     "print a model's graph at any stage",
     "A MODEL that ends in .ir is graphs as text, here and in every command; --mode=both prints what all of them can read.\n"},
    {"passes", CMD_PASSES, command_passes, "netc passes MODEL [--mode=train|infer] [options]",
     "print the passes that a model goes through, and what each did",
     "The first line of each mode is the list as --passes takes it. A pass that runs several times has numbers: cse#1, cse#2.\n"},
    {"verify", CMD_VERIFY, command_verify,
     "netc verify MODEL [--each] [--fuzz=N] [--compiled] [options]\n       netc verify --zoo [...]",
     "hold passes, gradients and compiled code to the reference evaluator",
     "Exit status 0: all is right; 1: something is wrong, which is named. Without --batch a net is made small: few images, and\n"
     "smaller ones where that keeps it fast, as the first line says.\n"},
    {"bisect", CMD_BISECT, command_bisect, "netc bisect MODEL [--mode=train|infer] [--cmd=SCRIPT] [options]",
     "find the single rewrite that makes the passes' result wrong, or crashes them",
     "The evaluator says what is right, as in netc verify, or the shell command SCRIPT, which gets the graphs as $NETC_IR and "
     "the options\n"
     "that make them as $NETC_REWRITES. Exit status: 0 found, 1 nothing is wrong.\n"},
    {"reduce", CMD_REDUCE, command_reduce,
     "netc reduce MODEL [--mode=train|infer] [--compiled|--cmd=SCRIPT] [-o FILE.ir] [options]",
     "shrink a net that fails to the smallest graph, and list of passes, that fail in the same way",
     "It fails where the evaluator finds it wrong, as in netc verify, where a pass crashes, or where the shell command SCRIPT "
     "does on\n"
     "the graph $NETC_IR. Exit status: 0 reduced, 1 nothing fails.\n"},
    {"ablate", CMD_ABLATE, command_ablate, "netc ablate MODEL [--without|--alone|--pairs|--rewrites=PASS] [options]",
     "show what each pass, or each rewrite of one, is worth",
     "The model is compiled with each left out, and the steps of all are timed in turn. Counts are of the base, in the first "
     "row, and\n"
     "what others have more; of the change of the time, the median over the rounds and an interval. The column 'evaluator' is "
     "how far\n"
     "what the passes leave is off, as a fraction of what rounding explains (netc verify).\n"},
    {"why", CMD_WHY, command_why, "netc why MODEL [VALUE [READER]] [--mode=train|infer] [options]",
     "say why each feature map is stored: who makes and reads it, and what keeps it from being fused away",
     "VALUE and READER are names (basic3.conv_bn1, of a value or a block), ids of the final graph (%12), or places "
     "(resnet.net:12).\n"
     "With both, every question about the pair is answered.\n"},
    {"explore", CMD_EXPLORE, command_explore, "netc explore MODEL [--mode=train|infer] [--time] [-o FILE.html] [options]",
     "write a page to click through: the graph behind each pass, every rewrite, memory, cost",
     "One file for a browser, which needs no network. docs/cli.md says what is on it.\n"},
    {"lint", CMD_LINT, command_lint, "netc lint MODEL [--data=DATA] [--each] [options]",
     "say what will keep a net from training, before it is trained",
     "One step on the first batch of a training, with initial weights: no weight is trained. Exit status 0: nothing was found;\n"
     "1: something was. docs/lint.md says how each thing is decided.\n"},
    {"test", CMD_TEST, command_test, "netc test DIR|FILE... [--bless]", "run files that say what netc is to make of them",
     "A test is a file whose head has such lines, of which only the first or the last is needed:\n"
     "  # run: netc ir %s --passes=cse     a command of the shell, in the file's folder; %s is its name\n"
     "  # check: TEXT                      a line of what it prints has TEXT, behind that of the check before\n"
     "  # check-not: TEXT                  no line has\n"
     "  # verify: OPTIONS                  netc verify %s OPTIONS ends with 0\n"
     "With NAME.expect beside it, all that is printed is that, byte for byte; [exit N] where a command does not end with 0.\n"},
    {"bench", CMD_BENCH, command_bench, "netc bench MODEL [options]",
     "time a model's training step and inference, kernel by kernel",
     "The machine's arithmetic peak and memory bandwidth are measured in the same run.\n"},
    {"build", CMD_BUILD, command_build, "netc build MODEL [-o FILE] [options]",
     "make an executable that trains and predicts without netc, or a C library for inference",
     "It needs the C library only (--static: nothing), and holds the code of several CPUs, of which it runs the best.\n"
     "Its commands are train (the default), lrfind, eval, predict, init, data and help.\n"
     "With --infer: netc build --infer MODEL --weights FILE -o libNAME.a (or .so, .o) makes a library and its header, "
     "libNAME.h.\n"},
    {"fmt", CMD_FMT, command_fmt, "netc fmt FILE.net... [options]", "print .net files in the one canonical style",
     "Prints to standard output unless --write or --check is given. '-' reads standard input.\n"},
    {"data", CMD_DATA, command_data, "netc data get|check|list|path|export|stats [...]",
     "fetch, check, export and count data sets",
     "  netc data get cifar10|cifar100 [--to DIR]             fetch a data set and check its SHA-256 sums\n"
     "  netc data check [cifar10|cifar100|DIR]                check the files of a data set, or of a directory to train on\n"
     "  netc data list                                        what is here\n"
     "  netc data path [NAME]                                 where data sets are kept\n"
     "  netc data export cifar10 --to DIR [--count N]         write test pictures as PNG\n"
     "  netc data stats NAME|DIR                              classes, counts and sizes, of folders of pictures too\n"},
    {"cache", CMD_CACHE, command_cache, "netc cache info|clear",
     "show or clear the compiled kernels and decoded pictures that are kept",
     "Kernels are kept in ~/.cache/netc/kernels (XDG_CACHE_HOME is heeded); NETC_CACHE names another directory, NETC_CACHE=off\n"
     "keeps none. The least recently used go when there are more than 268 MB. Decoded pictures of directories, at most 4 GB, are "
     "beside "
     "them.\n"},
    {"help", CMD_HELP, command_help, "netc help [COMMAND|passes|library]",
     "explain a command, list the passes, or print the library of blocks", ""},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

const Command *command_find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    return NULL;
}

void command_print_help(const Command *command, FILE *out) {
    fprintf(out, "Usage: %s\n\n%c%s.\n", command->usage, command->summary[0] - 'a' + 'A', command->summary + 1);
    if (*command->details) fprintf(out, "\n%s", command->details);
    options_print_help(command->bit, out);
}

void command_print_json(const Command *command, FILE *out) {
    fprintf(out, "{\"command\": \"%s\"", command->name);
    json_write_text(out, "usage", command->usage);
    json_write_text(out, "summary", command->summary);
    json_write_text(out, "details", command->details);
    options_print_json(command->bit, out);
    fputs("}", out);
}

void command_print_list_json(FILE *out) {
    fprintf(out, "{\"version\": \"%s\", \"commands\": [", NETC_VERSION);
    for (int i = 0; i < COMMANDS; i++) {
        if (i) fputs(", ", out);
        command_print_json(&commands[i], out);
    }
    fputs("]}\n", out);
}

void command_print_list(FILE *out) {
    fprintf(out,
            "netc %s - compiles a static network description to native kernels, for training and inference on CPUs\n\n"
            "Usage: netc COMMAND [options]\n\nCommands:\n",
            NETC_VERSION);
    for (int i = 0; i < COMMANDS; i++) fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'netc help COMMAND' explains a command. Exit status: 0 done, 1 bad input, 2 bad usage, 3 input, output or\n"
                 "memory failed, 70 a mistake in netc, 130 interrupted.\n");
}

static int unknown_command(const char *name) {
    const char *names[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    const char *near = nearest_name(name, names, COMMANDS);
    if (near) return usage_error("", "there is no command '%s'; did you mean '%s'?", name, near);
    return usage_error("", "there is no command '%s'", name);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        command_print_list(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("netc %s\n", NETC_VERSION);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        command_print_list(stdout);
        return EXIT_OK;
    }
    const Command *command = command_find(argv[1]);
    if (!command) return unknown_command(argv[1]);
    Options options;
    int status = EXIT_USAGE;
    if (options_parse(&options, command->bit, command->name, argc, argv, 2)) {
        if (options.help)
            command_print_help(command, stdout), status = EXIT_OK;
        else
            status = command->run(&options), rules_close(status);
    }
    options_free(&options);
    if (fflush(stdout) || ferror(stdout)) return status ? status : fail(EXIT_IO, "cannot write to standard output");
    return status;
}

/* The table of options and its parser: --name, --name=value, --name value, -x, -x value, -- ends options.
 *
 * Invariants: a row's kind says the type of the member at its offset; a name, and a letter, stands for one row of a command. */
#include "cli/options.h"
#include "ir/nearest.h"
#include "runtime/json.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef enum OptionKind {
    KIND_FLAG,  /* bool */
    KIND_TEXT,  /* const char * */
    KIND_MAYBE, /* const char *: "" without a value, which only '=' gives */
    KIND_LIST,  /* TextList */
    KIND_COUNT, /* int64_t, 0 or more */
    KIND_SOME,  /* likewise, 1 or more */
    KIND_SEEDS, /* likewise, 0 or more, and several, split at ',': seeds and nseeds too */
    KIND_SIZE,  /* int64_t, bytes: 512M, 1.5Gi */
    KIND_CHOICE /* const char *, one of the words of `value`, split at '|' */
} OptionKind;

typedef struct OptionRow {
    const char *name;
    char letter; /* 0: none */
    OptionKind kind;
    const char *value; /* what --help shows behind the name */
    size_t offset;
    unsigned commands;
    const char *help;
} OptionRow;

enum {
    JITS = CMD_TRAIN | CMD_LRFIND | CMD_INIT | CMD_EVAL | CMD_PREDICT | CMD_BENCH,
    COMPILES = JITS | CMD_BUILD, /* through to machine code */
    READS_MODEL = COMPILES | CMD_IR | CMD_PASSES,
    RUNS_PASSES = READS_MODEL | CMD_VERIFY | CMD_BISECT | CMD_REDUCE | CMD_ABLATE | CMD_WHY | CMD_EXPLORE,
    RUNS = RUN_TRAIN | RUN_LRFIND | RUN_INIT | RUN_EVAL | RUN_PREDICT,
    EVERY = RUNS_PASSES | CMD_TEST | CMD_LINT | CMD_FMT | CMD_DATA | CMD_HELP | CMD_CACHE | CMD_RUNS | CMD_SWEEP | CMD_REPORT |
            RUNS | RUN_DATA | RUN_HELP,
    TRAIN = CMD_TRAIN | RUN_TRAIN,
    LRFIND = CMD_LRFIND | RUN_LRFIND,
    INIT = CMD_INIT | RUN_INIT,
    EVAL = CMD_EVAL | RUN_EVAL,
    PREDICT = CMD_PREDICT | RUN_PREDICT,
};

#define AT(member) offsetof(Options, member)
static const OptionRow table[] = {
    {"set", 0, KIND_LIST, "KEY=VALUE", AT(sets), RUNS_PASSES | CMD_LINT,
     "set a net's parameter or a train key; VALUE is a .net expression"},
    {"set", 0, KIND_LIST, "train.KEY=VALUE", AT(sets), RUNS,
     "set a key of the recipe that is not compiled in; VALUE is a .net expression"},
    {"net", 0, KIND_TEXT, "NAME", AT(net), RUNS_PASSES | CMD_LINT, "which net of the file (default: its last)"},
    {"batch", 0, KIND_SOME, "N", AT(batch), RUNS_PASSES | CMD_LINT,
     "images per batch; a step takes as many batches as the recipe accumulates (default: the recipe's)"},

    {"data", 0, KIND_TEXT, "DATA", AT(data), TRAIN | LRFIND | INIT | EVAL | PREDICT | CMD_LINT,
     "cifar10, cifar100, synthetic, a directory of their binary files, of the four IDX files of MNIST or its kin, or one with a "
     "folder of your own pictures for each class, or numpy's arrays: an .npz file or a directory of .npy (default: the "
     "recipe's)"},
    {"bad-pictures", 0, KIND_CHOICE, "refuse|skip", AT(bad_pictures),
     TRAIN | LRFIND | INIT | EVAL | PREDICT | CMD_BUILD | CMD_LINT,
     "what to do about pictures of a directory that cannot be read (default: refuse)"},
    {"output", 'o', KIND_TEXT, "FILE.html", AT(output), CMD_REPORT, "where the page is written (default: netc-report.html)"},
    {"plots", 0, KIND_TEXT, "DIR", AT(plots), CMD_REPORT, "write the plots into a directory too, as SVG and PNG"},
    {"curves", 0, KIND_FLAG, NULL, AT(curves), CMD_REPORT, "only curves: no weights are run on the test images"},
    {"data", 0, KIND_TEXT, "DATA", AT(data), CMD_REPORT,
     "data set whose test images are predicted (default: each training's own)"},
    {"bad-pictures", 0, KIND_CHOICE, "refuse|skip", AT(bad_pictures), CMD_REPORT, "as netc train's"},
    {"views", 0, KIND_CHOICE, "one|mirror|mirror_shift", AT(views), CMD_REPORT, "as netc eval's"},
    {"threads", 0, KIND_SOME, "T", AT(threads), CMD_REPORT, "threads (default: one per CPU)"},
    {"jobs", 'j', KIND_SOME, "N", AT(jobs), CMD_SWEEP, "how many trainings at once (default: 1)"},
    {"threads", 0, KIND_SOME, "T", AT(threads), CMD_SWEEP, "threads of each (default: the CPUs, shared out)"},
    {"out", 0, KIND_TEXT, "DIR", AT(out), CMD_SWEEP, "directory of the sweep (default: runs/ and FILE's name)"},
    {"overwrite", 0, KIND_FLAG, NULL, AT(overwrite), CMD_SWEEP, "train everything anew, and replace what the directory holds"},
    {"out", 0, KIND_TEXT, "DIR", AT(out), TRAIN,
     "directory of metrics and checkpoints (default: runs/MODEL-SEED, or with the next free -2, -3, ...)"},
    {"init", 0, KIND_TEXT, "FILE", AT(init), TRAIN | LRFIND, "start from the weights of this safetensors file"},
    {"init-map", 0, KIND_LIST, "'A.*=B.*'", AT(init_map), TRAIN | LRFIND, "of --init: what the file calls A.X is the net's B.X"},
    {"init-partial", 0, KIND_FLAG, NULL, AT(init_partial), TRAIN | LRFIND,
     "of --init: take what has a name and shape of the net's, and say what keeps its initial values"},
    {"resume", 0, KIND_FLAG, NULL, AT(resume), TRAIN, "continue from the last checkpoint in the output directory"},
    {"overwrite", 0, KIND_FLAG, NULL, AT(overwrite), TRAIN, "replace the training that the output directory holds"},
    {"steps", 0, KIND_COUNT, "N", AT(steps), TRAIN, "stop after N optimiser steps in all, at most those of the recipe's epochs"},
    {"from", 0, KIND_TEXT, "LR", AT(from), LRFIND, "the rate of the first step (default: 1e-7)"},
    {"to", 0, KIND_TEXT, "LR", AT(upto), LRFIND, "the rate of the last step (default: 10)"},
    {"steps", 0, KIND_COUNT, "N", AT(steps), LRFIND, "how many steps (default: 100)"},
    {"log-every", 0, KIND_COUNT, "N", AT(log_every), TRAIN, "steps between lines of metrics (default: 50)"},
    {"checkpoint-every", 0, KIND_COUNT, "N", AT(checkpoint_every), TRAIN, "steps between checkpoints (default: each epoch)"},
    {"eval-every", 0, KIND_COUNT, "N", AT(eval_every), TRAIN,
     "evaluate on the test set after every N-th epoch and the last; 0: never (default: 1)"},
    {"seed", 0, KIND_SEEDS, "S[,S...]", AT(seed), TRAIN,
     "seed of weights, order and augmentation (default: 0); of several each trains, and their mean and deviation are printed"},
    {"seed", 0, KIND_COUNT, "S", AT(seed), LRFIND | INIT | CMD_BENCH | CMD_LINT,
     "seed of weights, order and augmentation (default: 0)"},
    {"seed", 0, KIND_COUNT, "S", AT(seed), CMD_VERIFY | CMD_BISECT | CMD_REDUCE | CMD_ABLATE,
     "seed of inputs, weights and lists of passes (default: 0)"},
    {"tensorboard", 0, KIND_FLAG, NULL, AT(tensorboard), TRAIN,
     "write what metrics.jsonl has for TensorBoard too: tensorboard --logdir DIR"},
    {"quiet", 'q', KIND_FLAG, NULL, AT(quiet), TRAIN, "no progress line"},

    {"weights", 'w', KIND_TEXT, "FILE", AT(weights), EVAL | PREDICT, "safetensors file of the weights (required)"},
    {"classes", 0, KIND_FLAG, NULL, AT(classes), EVAL,
     "print precision, recall and F1 of each class too, and what is mistaken for what"},
    {"top", 0, KIND_SOME, "K", AT(top), PREDICT, "how many classes to print for each picture (default: 3)"},
    {"views", 0, KIND_CHOICE, "one|mirror|mirror_shift", AT(views), CMD_BUILD,
     "of --infer: the pictures that are made of each image, and their scores averaged (default: the recipe's views)"},
    {"views", 0, KIND_CHOICE, "one|mirror|mirror_shift", AT(views), EVAL | PREDICT,
     "test-time augmentation: score each image, it and its mirror image, or these moved by a pixel too, and take the mean "
     "(default: the recipe's)"},
    {"mode", 0, KIND_CHOICE, "train|infer", AT(mode), CMD_BENCH, "time only this (default: both)"},
    {"repeats", 0, KIND_COUNT, "N", AT(repeats), CMD_BENCH, "timed runs of which the median is printed (default: 9)"},
    {"mode", 0, KIND_CHOICE, "train|infer", AT(mode), CMD_ABLATE | CMD_WHY, "only this (default: both)"},
    {"without", 0, KIND_FLAG, NULL, AT(without), CMD_ABLATE, "leave each pass out, alone, and all of them (the default)"},
    {"alone", 0, KIND_FLAG, NULL, AT(alone), CMD_ABLATE, "leave all optional passes out but one, for each"},
    {"pairs", 0, KIND_FLAG, NULL, AT(pairs), CMD_ABLATE, "leave each pair out too, and say what that does beyond the two alone"},
    {"rewrites", 0, KIND_TEXT, "PASS", AT(rewrites), CMD_ABLATE, "leave each rewrite of a pass out, or of one run of it (cse#2)"},
    {"repeats", 0, KIND_COUNT, "N", AT(repeats), CMD_ABLATE, "rounds in which each is timed (default: 9)"},
    {"html", 0, KIND_FLAG, NULL, AT(html), CMD_ABLATE, "print a page"},
    {"compare", 0, KIND_TEXT, "PYTHON", AT(compare), CMD_BENCH, "time a peer in turn with netc, by this Python interpreter"},
    {"peer", 0, KIND_TEXT, "NAME", AT(peer), CMD_BENCH,
     "torch, jax, tf, onnxruntime, or the path of a script like bench/torch_peer.py (default: torch)"},
    {"peer-modes", 0, KIND_TEXT, "LIST", AT(peer_modes), CMD_BENCH,
     "modes of the peer to time (default: all of netc's precision)"},
    {"rounds", 0, KIND_COUNT, "N", AT(rounds), CMD_BENCH, "rounds of a comparison (default: 3)"},
    {"seconds", 0, KIND_COUNT, "S", AT(seconds), CMD_BENCH, "seconds that each side has in a round (default: 2)"},
    {"convolutions", 0, KIND_FLAG, NULL, AT(convolutions), CMD_BENCH,
     "time every convolution by every algorithm, beside the cost model"},
    {"output", 'o', KIND_TEXT, "FILE", AT(output), INIT | CMD_IR | CMD_BUILD, "file to write"},
    {"stage", 0, KIND_CHOICE, "source|autodiff|final", AT(stage), CMD_IR, "how far to take the graph (default: source)"},
    {"mode", 0, KIND_CHOICE, "train|infer|both", AT(mode), CMD_IR,
     "graph of training, of inference, or both with the recipe (default: train)"},
    {"mode", 0, KIND_CHOICE, "train|infer", AT(mode), CMD_EXPLORE, "of which graph (default: train)"},
    {"time", 0, KIND_FLAG, NULL, AT(time), CMD_EXPLORE, "run some steps too, so that the page can show what takes time"},
    {"mode", 0, KIND_CHOICE, "train|infer", AT(mode), CMD_PASSES, "only the passes of this mode (default: both)"},
    {"mode", 0, KIND_CHOICE, "train|infer", AT(mode), CMD_VERIFY | CMD_BISECT | CMD_REDUCE,
     "only the graph of this mode (default: both)"},
    {"each", 0, KIND_FLAG, NULL, AT(each), CMD_VERIFY, "hold every pass to its input, not only all of them to the source"},
    {"each", 0, KIND_FLAG, NULL, AT(each), CMD_LINT, "print what was measured of every layer too"},
    {"fuzz", 0, KIND_COUNT, "N", AT(fuzz), CMD_VERIFY,
     "hold N random legal orders and subsets of the passes to the source too (--zoo: N in all)"},
    {"compiled", 0, KIND_FLAG, NULL, AT(compiled), CMD_VERIFY,
     "hold compiled code to the evaluator: the whole program, and each kernel on recorded inputs"},
    {"compiled", 0, KIND_FLAG, NULL, AT(compiled), CMD_REDUCE, "compiled code is what fails, where the passes are right"},
    {"zoo", 0, KIND_FLAG, NULL, AT(zoo), CMD_VERIFY, "all models that come with netc, rather than one"},
    {"inputs", 0, KIND_TEXT, "FILE", AT(inputs), CMD_VERIFY | CMD_BISECT,
     "safetensors file of inputs and weights; what it lacks is random"},
    {"output", 'o', KIND_TEXT, "FILE.ir", AT(output), CMD_VERIFY,
     "of --compiled: write the worst kernel there, and its inputs beside it as .safetensors"},
    {"output", 'o', KIND_TEXT, "FILE.ir", AT(output), CMD_REDUCE,
     "where the smallest graph is written (default: netc-reduced.ir)"},
    {"output", 'o', KIND_TEXT, "FILE.html", AT(output), CMD_EXPLORE, "where the page is written (default: netc-explore.html)"},
    {"format", 0, KIND_CHOICE, "text|json", AT(format), CMD_IR, "how to print it (default: text)"},
    {"cmd", 0, KIND_TEXT, "SCRIPT", AT(command), CMD_BISECT,
     "what says whether a result is right (exit 0), wrong (1 to 123) or not to be judged (125): see docs/cli.md"},
    {"cmd", 0, KIND_TEXT, "SCRIPT", AT(command), CMD_REDUCE, "what fails on a graph, $NETC_IR, by any exit status but 0 and 125"},
    {"diff", 0, KIND_FLAG, NULL, AT(diff), CMD_IR, "print how the graphs of two models differ, by structure; exit 1 if they do"},
    {"bless", 0, KIND_FLAG, NULL, AT(bless), CMD_TEST, "write what is printed into .expect files: read the difference first"},
    {"check", 0, KIND_FLAG, NULL, AT(check), CMD_FMT, "only say which files are not in canonical form; exit 1 if any"},
    {"write", 'w', KIND_FLAG, NULL, AT(write), CMD_FMT, "rewrite the files in place"},
    {"to", 0, KIND_TEXT, "DIR", AT(to), CMD_DATA, "directory to write to"},
    {"shape", 0, KIND_TEXT, "CxHxW", AT(shape), CMD_DATA | RUN_DATA,
     "stats: means and deviations of pictures as images of this shape (default: as they are)"},
    {"fit", 0, KIND_CHOICE, "stretch|crop", AT(fit), CMD_DATA | RUN_DATA,
     "stats: how they are made so, as the recipe's fit (default: stretch)"},
    {"count", 0, KIND_COUNT, "N", AT(count), CMD_DATA, "export: how many pictures (default: 10)"},
    {"json", 0, KIND_FLAG, NULL, AT(json),
     LRFIND | INIT | EVAL | PREDICT | CMD_BENCH | CMD_VERIFY | CMD_BISECT | CMD_REDUCE | CMD_ABLATE | CMD_WHY | CMD_EXPLORE |
         CMD_LINT | CMD_TEST | CMD_BUILD | CMD_FMT | CMD_RUNS | CMD_SWEEP | CMD_REPORT | CMD_DATA | RUN_DATA | CMD_CACHE |
         CMD_PASSES | CMD_HELP | RUN_HELP,
     "print one line of JSON"},
    {"json", 0, KIND_FLAG, NULL, AT(json), CMD_IR, "the same as --format=json"},
    {"json", 0, KIND_FLAG, NULL, AT(json), TRAIN, "no progress; print what the training came to as a line of JSON"},

    {"emit", 0, KIND_CHOICE, "exe|obj|asm|llvm|ir", AT(emit), CMD_BUILD, "what to make (default: exe)"},
    {"compile", 'c', KIND_FLAG, NULL, AT(emit_object), CMD_BUILD, "the same as --emit=obj"},
    {"assemble", 'S', KIND_FLAG, NULL, AT(emit_assembly), CMD_BUILD, "the same as --emit=asm"},
    {"static", 0, KIND_FLAG, NULL, AT(link_static), CMD_BUILD, "link the C library in too"},
    {"target", 0, KIND_TEXT, "TRIPLE", AT(target), CMD_BUILD,
     "machine to build for: x86_64-linux-gnu or aarch64-linux-gnu (default: like this one)"},
    {"cpu", 0, KIND_TEXT, "NAME,...", AT(cpu), CMD_BUILD,
     "CPUs to hold code for (default: x86-64-v3,x86-64-v4 and this machine's)"},
    {"cpu-level", 0, KIND_TEXT, "NAME", AT(cpu_level), RUNS, "use the code for this CPU (default: the best that runs here)"},

    {"infer", 0, KIND_FLAG, NULL, AT(infer), CMD_BUILD,
     "make a C library for inference and its header, by -o's suffix: .a, .so or .o"},
    {"weights", 'w', KIND_TEXT, "FILE", AT(weights), CMD_BUILD, "of --infer: safetensors file of the weights"},
    {"embed-weights", 0, KIND_CHOICE, "yes|no", AT(embed_weights), CMD_BUILD,
     "of --infer: yes puts the weights into the library (default), no leaves them to who calls it"},
    {"prefix", 0, KIND_TEXT, "NAME", AT(prefix), CMD_BUILD,
     "of --infer: what all its names begin with (default: the net's name)"},
    {"header", 0, KIND_TEXT, "FILE", AT(header), CMD_BUILD, "of --infer: the header to write (default: -o's name with .h)"},
    {"data", 0, KIND_TEXT, "DATA", AT(data), CMD_BUILD,
     "of --infer: data set of the statistics and class names, where the weights do not say (default: the recipe's)"},

    {"threads", 0, KIND_SOME, "T", AT(threads), JITS | CMD_ABLATE | CMD_EXPLORE | RUNS | CMD_LINT,
     "threads (default: one per CPU); the results do not depend on it"},
    {"memory-limit", 0, KIND_SIZE, "SIZE", AT(memory_limit),
     CMD_TRAIN | CMD_LRFIND | CMD_BENCH | CMD_BUILD | CMD_IR | CMD_PASSES | CMD_ABLATE | CMD_WHY | CMD_EXPLORE,
     "keep a training step's activations within SIZE (512M, 1.5G), by computing some again"},
    {"recompute", 0, KIND_COUNT, "N", AT(recompute),
     CMD_TRAIN | CMD_LRFIND | CMD_BENCH | CMD_BUILD | CMD_IR | CMD_PASSES | CMD_VERIFY | CMD_BISECT | CMD_REDUCE | CMD_ABLATE |
         CMD_WHY | CMD_EXPLORE,
     "compute N activations again in backward rather than keep them, the cheapest first (default: those that cost next to "
     "nothing)"},
    {"cpu", 0, KIND_TEXT, "NAME", AT(cpu), JITS | CMD_VERIFY | CMD_EXPLORE | CMD_REDUCE | CMD_ABLATE | CMD_WHY,
     "LLVM's name of the CPU to compile for (default: native)"},
    {"conv", 0, KIND_TEXT, "METHOD", AT(conv), COMPILES | CMD_VERIFY | CMD_EXPLORE | CMD_REDUCE | CMD_ABLATE | CMD_WHY,
     "compute convolutions by amx, winograd, wide, depthwise, product, direct or gemm where it applies (default: auto)"},
    {"gemm", 0, KIND_CHOICE, "own|openblas", AT(gemm), COMPILES | CMD_VERIFY | CMD_EXPLORE | CMD_REDUCE | CMD_ABLATE | CMD_WHY,
     "who multiplies matrices of large dense layers and of --conv=gemm (default: own)"},
    {"check-bounds", 0, KIND_FLAG, NULL, AT(check_bounds), JITS | CMD_VERIFY,
     "check every load and store of the kernels against its buffer (slow: to find faults of netc)"},
    {"precision", 0, KIND_CHOICE, "f32|bf16", AT(precision),
     COMPILES | CMD_VERIFY | CMD_EXPLORE | CMD_REDUCE | CMD_ABLATE | CMD_WHY,
     "how feature maps are stored, and multiplied where the CPU can (default: f32)"},
    {"no-cache", 0, KIND_FLAG, NULL, AT(no_cache), COMPILES | CMD_VERIFY | CMD_EXPLORE | CMD_REDUCE | CMD_ABLATE | CMD_WHY,
     "compile every kernel anew, decode every picture, and keep neither (netc cache)"},
    {"tune", 0, KIND_FLAG, NULL, AT(tune), COMPILES, "measure how convolutions are best computed here, and keep it"},
    {"tune-file", 0, KIND_TEXT, "FILE", AT(tune_file), COMPILES,
     "where --tune keeps it (default: ~/.cache/netc/tune); without --tune, only read"},
    {"choices", 0, KIND_TEXT, "FILE", AT(choices), COMPILES, "compute every convolution as this file says, for the same bits"},
    {"save-choices", 0, KIND_TEXT, "FILE", AT(save_choices), COMPILES, "write how convolutions are computed, for --choices"},
    {"rechoose", 0, KIND_FLAG, NULL, AT(rechoose), TRAIN, "--resume: compute convolutions otherwise than the checkpoint says"},
    {"repass", 0, KIND_FLAG, NULL, AT(repass), TRAIN, "--resume: run other passes than the checkpoint says"},
    {"dump-llvm", 0, KIND_TEXT, "FILE", AT(dump_llvm), JITS, "write the optimised LLVM IR of the kernels"},
    {"dump-asm", 0, KIND_TEXT, "FILE", AT(dump_asm), JITS, "write the kernels' assembly"},

    {"passes", 0, KIND_TEXT, "LIST", AT(passes), RUNS_PASSES,
     "run exactly these passes, or change the default: -NAME, +NAME@before:NAME (netc help passes)"},
    {"disable-pass", 0, KIND_LIST, "NAME", AT(disable_pass), RUNS_PASSES, "leave an optional pass out"},
    {"load-pass", 0, KIND_LIST, "FILE.so", AT(load_pass), RUNS_PASSES, "add the passes of a shared object"},
    {"rules", 0, KIND_TEXT, "FILE", AT(rules), RUNS_PASSES,
     "run the pass 'rules' too, with the algebraic rewrites of this file (docs/passes.md)"},
    {"opt-bisect-limit", 0, KIND_COUNT, "N", AT(bisect_limit), READS_MODEL | CMD_VERIFY | CMD_WHY | CMD_EXPLORE,
     "do only the first N rewrites of the optional passes"},
    {"print-before-all", 0, KIND_FLAG, NULL, AT(print_before_all), READS_MODEL, "print the graph before every pass"},
    {"print-after-all", 0, KIND_FLAG, NULL, AT(print_after_all), READS_MODEL, "print the graph after every pass"},
    {"print-before", 0, KIND_LIST, "PASS", AT(print_before), READS_MODEL,
     "print the graph before one pass, or one run of it (cse#2)"},
    {"print-after", 0, KIND_LIST, "PASS", AT(print_after), READS_MODEL,
     "print the graph after one pass, or one run of it (cse#2)"},
    {"print-changed", 0, KIND_FLAG, NULL, AT(print_changed), READS_MODEL, "print how each pass changes the graph, by structure"},
    {"split-after", 0, KIND_TEXT, "DIR", AT(split_after), READS_MODEL, "write the graph behind each pass as a file in DIR"},
    {"time-passes", 0, KIND_FLAG, NULL, AT(time_passes), READS_MODEL, "print how long each pass took"},
    {"forbid", 0, KIND_LIST, "REWRITE", AT(forbid), READS_MODEL | CMD_VERIFY | CMD_WHY | CMD_EXPLORE,
     "leave out a rewrite, by the number or name that --log has"},
    {"permit", 0, KIND_LIST, "REWRITE", AT(permit), READS_MODEL | CMD_VERIFY | CMD_WHY | CMD_EXPLORE,
     "do only such rewrites of the optional passes"},
    {"remarks", 0, KIND_MAYBE, "WHAT", AT(remarks), READS_MODEL,
     "print what rewrites did, or why they did not apply (WHAT: of a pass, about FILE:LINE, about a value)"},
    {"remarks-format", 0, KIND_CHOICE, "text|json", AT(remarks_format), READS_MODEL, "how to print remarks (default: text)"},
    {"log", 0, KIND_TEXT, "FILE", AT(log), READS_MODEL, "write every rewrite, done or not, as a line of JSON"},
    {"help", 'h', KIND_FLAG, NULL, AT(help), EVERY, "print this help"},
};
enum { ROWS = sizeof table / sizeof table[0] };

int usage_error(const char *command_name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *program = program_invocation_short_name, *space = *command_name ? " " : "";
    fprintf(stderr, "%s%s%s: ", program, space, command_name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see '%s%s%s --help'\n", program, space, command_name);
    va_end(args);
    return 2;
}

static const OptionRow *find_name(unsigned command, const char *name, size_t length) {
    for (int i = 0; i < ROWS; i++)
        if ((table[i].commands & command) && strlen(table[i].name) == length && !strncmp(table[i].name, name, length))
            return &table[i];
    return NULL;
}

static const OptionRow *find_letter(unsigned command, char letter) {
    for (int i = 0; i < ROWS; i++)
        if ((table[i].commands & command) && table[i].letter == letter) return &table[i];
    return NULL;
}

static bool unknown_option(unsigned command, const char *command_name, const char *name, size_t length) {
    const char *names[ROWS];
    uint32_t count = 0;
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    for (int i = 0; i < ROWS; i++)
        if (table[i].commands & command) names[count++] = table[i].name;
    const char *near = nearest_name(word, names, count);
    if (near)
        usage_error(command_name, "there is no option '--%s'; did you mean '--%s'?", word, near);
    else
        usage_error(command_name, "there is no option '--%s'", word);
    return false;
}

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *word = choices; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL)
        if (strcspn(word, "|") == length && !strncmp(word, text, length)) return true;
    return false;
}

static bool store_count(const OptionRow *row, const char *command_name, const char *text, int64_t *out) {
    int least = row->kind == KIND_SOME;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < least) {
        usage_error(command_name, "'--%s' needs a whole number from %d up, found '%s'", row->name, least, text);
        return false;
    }
    *out = value;
    return true;
}

/* "512M": 512 000 000 bytes; "1.5Gi": 1.5 * 2^30. */
static bool store_size(const OptionRow *row, const char *command_name, const char *text, int64_t *bytes) {
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool digits = (text[0] == '.' || (text[0] >= '0' && text[0] <= '9')) && !strpbrk(text, "xX"); /* strtod reads hexadecimal */
    const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    if (unit) {
        bool binary = end[1] == 'i';
        value *= pow(binary ? 1024 : 1000, (double)(unit - units + 1));
        end += binary ? 2 : 1;
    }
    if (*end == 'B') end++;
    if (!digits || *end || errno || !(value >= 1 && value < 1e18)) {
        usage_error(command_name, "'--%s' needs a size like 512M, 1.5G or 700Mi, found '%s'", row->name, text);
        return false;
    }
    *bytes = (int64_t)value;
    return true;
}

static bool store_seeds(Options *o, const OptionRow *row, const char *command_name, const char *text) {
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        char number[32];
        snprintf(number, sizeof number, "%.*s", (int)strcspn(at, ","), at);
        if (o->nseeds == MAX_SEEDS) {
            usage_error(command_name, "'--%s' takes at most %d seeds", row->name, MAX_SEEDS);
            return false;
        }
        int64_t *seed = &o->seeds[o->nseeds++];
        if (!store_count(row, command_name, number, seed)) return false;
        for (const int64_t *other = o->seeds; other < seed; other++)
            if (*other == *seed) {
                usage_error(command_name, "'--%s' has %s twice", row->name, number);
                return false;
            }
    }
    o->seed = o->seeds[0];
    return true;
}

static bool store(Options *options, const OptionRow *row, const char *command_name, const char *text) {
    void *member = (char *)options + row->offset;
    switch (row->kind) {
    case KIND_FLAG: *(bool *)member = true; return true;
    case KIND_TEXT:
    case KIND_MAYBE: *(const char **)member = text; return true;
    case KIND_COUNT:
    case KIND_SOME: return store_count(row, command_name, text, member);
    case KIND_SEEDS: options->nseeds = 0; return store_seeds(options, row, command_name, text);
    case KIND_SIZE: return store_size(row, command_name, text, member);
    case KIND_LIST: {
        TextList *list = member; /* has room for every word of argv */
        list->item[list->count++] = text;
        return true;
    }
    case KIND_CHOICE:
        if (!is_choice(row->value, text)) {
            usage_error(command_name, "'--%s' is one of %s, found '%s'", row->name, row->value, text);
            return false;
        }
        *(const char **)member = text;
        return true;
    }
    return false;
}

/* One word that starts with '-'. Moves *i on when the value is the next word. */
static bool parse_option(Options *options, unsigned command, const char *command_name, int argc, char **argv, int *i) {
    const char *word = argv[*i], *value = NULL;
    const OptionRow *row;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        row = find_name(command, word + 2, length);
        if (!row) return unknown_option(command, command_name, word + 2, length);
        if (word[2 + length] == '=') value = word + 3 + length;
    } else {
        row = find_letter(command, word[1]);
        if (!row) {
            usage_error(command_name, "there is no option '-%c'", word[1]);
            return false;
        }
        if (word[2]) value = word + 2;
    }
    if (row->kind == KIND_FLAG && value) {
        usage_error(command_name, "'--%s' takes no value, found '%s'", row->name, value);
        return false;
    }
    if (row->kind == KIND_MAYBE && !value) value = "";
    if (row->kind != KIND_FLAG && !value) {
        if (*i + 1 >= argc) {
            usage_error(command_name, "'--%s' needs a value: --%s=%s", row->name, row->name, row->value);
            return false;
        }
        value = argv[++*i];
    }
    return store(options, row, command_name, value);
}

static const char **word_list(int words) {
    const char **list = calloc((size_t)words + 1, sizeof *list);
    if (!list) {
        fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
        exit(3); /* as EXIT_IO */
    }
    return list;
}

bool options_parse(Options *options, unsigned command, const char *command_name, int argc, char **argv, int first) {
    *options = (Options){.bisect_limit = -1,
                         .recompute = -1,
                         .seed = -1,
                         .eval_every = 1,
                         .top = 3,
                         .repeats = 9,
                         .rounds = 3,
                         .seconds = 2,
                         .count = 10};
    options->sets.item = word_list(argc);
    options->disable_pass.item = word_list(argc);
    options->load_pass.item = word_list(argc);
    options->init_map.item = word_list(argc);
    options->forbid.item = word_list(argc);
    options->permit.item = word_list(argc);
    options->print_before.item = word_list(argc);
    options->print_after.item = word_list(argc);
    options->operand = word_list(argc);
    bool only_operands = false;
    for (int i = first; i < argc; i++) {
        if (only_operands || argv[i][0] != '-' || !argv[i][1])
            options->operand[options->noperands++] = argv[i];
        else if (!strcmp(argv[i], "--"))
            only_operands = true;
        else if (!parse_option(options, command, command_name, argc, argv, &i))
            return false;
    }
    options->quiet |= options->json && (command & TRAIN);
    options->seed_given = options->seed >= 0;
    if (!options->seed_given) options->seed = 0;
    return true;
}

void options_free(Options *options) {
    free(options->sets.item);
    free(options->disable_pass.item);
    free(options->load_pass.item);
    free(options->init_map.item);
    free(options->forbid.item);
    free(options->permit.item);
    free(options->print_before.item);
    free(options->print_after.item);
    free(options->operand);
}

void options_print_help(unsigned command, FILE *out) {
    fprintf(out, "\nOptions:\n");
    for (int i = 0; i < ROWS; i++) {
        const OptionRow *row = &table[i];
        if (!(row->commands & command)) continue;
        char left[64], letter[8] = "    ";
        if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
        bool maybe = row->kind == KIND_MAYBE;
        snprintf(left, sizeof left, "%s--%s%s%s%s%s", letter, row->name, maybe ? "[" : "", row->value ? "=" : "",
                 row->value ? row->value : "", maybe ? "]" : "");
        if (strlen(left) > 30)
            fprintf(out, "  %s\n  %-30s  %s\n", left, "", row->help);
        else
            fprintf(out, "  %-30s  %s\n", left, row->help);
    }
}

void options_print_json(unsigned command, FILE *out) {
    const char *comma = "";
    fputs(", \"options\": [", out);
    for (int i = 0; i < ROWS; i++) {
        const OptionRow *row = &table[i];
        if (!(row->commands & command)) continue;
        fprintf(out, "%s{\"option\": \"--%s\"", comma, row->name);
        if (row->letter) fprintf(out, ", \"letter\": \"-%c\"", row->letter);
        json_write_text(out, "value", row->value);
        json_write_text(out, "summary", row->help);
        fputs("}", out);
        comma = ", ";
    }
    fputs("]", out);
}

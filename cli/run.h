/* What a machine is run for, the same in netc and in an executable that it built: training, evaluation, prediction, initial
 * weights. Mistakes are said where they are found and come back as exit statuses. */
#ifndef NETC_CLI_RUN_H
#define NETC_CLI_RUN_H
#include "cli/names.h"
#include "cli/options.h"
#include "runtime/rt.h"

/* What a training needs besides a machine. Opened before anything is compiled: what cannot be is said then. */
typedef struct Training {
    RtData data;
    RtDirectory *directory; /* --out, or its default; of rank 0 alone */
    RtRanks *ranks;         /* NULL: this process trains alone */
    char *choices;          /* of convolutions, of the checkpoint that --resume continues; NULL: none */
    bool resumes;           /* what that directory holds */
} Training;
/* Joins the ranks that were started together, if there are several. From here on rank 0 alone is heard: what others print is kept
 * until it is known whether all fail alike. */
int training_join(Training *t);
/* All ranks have come so far, each with a status of its own: returns the status of all. */
int training_ready(const Training *t, int status);
bool training_speaks(const Training *t); /* rank 0, or alone */
/* "4 ranks x 2 threads", "2 threads" */
const char *training_size(const Training *t, int threads, char text[64]);
int training_options(const Options *o); /* those that exclude each other */
/* The program may be one without code, as of driver/shape.h. training_close either way. */
int training_open(Training *t, const RtProgram *program, const Options *o);
void training_close(Training *t);
int run_train(RtMachine *m, const Options *o, Training *t);

int check_weights(const RtProgram *program, const Options *o); /* do --weights fit it? */
/* Images as the weights of o know them: normalised by the statistics of the set that they were trained on, which `data` need not
 * be, and classes in its order, or it is said. */
RtData run_as_trained(const Options *o, const RtData *data);
int run_eval(RtMachine *m, const Options *o, const RtData *data);
int run_init(RtMachine *m, const Options *o);
/* The pictures that o's operands from `first` on name, those below directories among them. names_free in any case. */
int predict_pictures(const Options *o, uint32_t first, Names *pictures);
/* data is of describe_data. */
int run_predict(RtMachine *m, const Options *o, const Names *pictures, const RtData *data);
int check_predict(const RtProgram *program); /* does it take pictures? */

int64_t count_parameters(const RtProgram *program);           /* trainable numbers */
const char *recipe_data_name(RtDataset data);                 /* "cifar10" */
RtViews views_of(const RtProgram *program, const Options *o); /* --views, or the recipe's */
/* Opens the data set that --data or the recipe names, or makes one that fits the net (synthetic). */
int open_data(const RtProgram *program, const Options *o, RtData *data);
/* Only statistics and class names: what the weights of o say of the set that they were trained on, and where they do not, of the
 * set that --data or the recipe names; CIFAR-10's need no files. */
int describe_data(const RtProgram *program, const Options *o, RtData *data);
#endif

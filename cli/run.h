/* What a machine is run for, the same in netc and in an executable that it built: training, evaluation, prediction, initial
 * weights. Mistakes are said where they are found and come back as exit statuses. */
#ifndef NETC_CLI_RUN_H
#define NETC_CLI_RUN_H
#include "cli/options.h"
#include "cli/picture.h"
#include "runtime/rt.h"

char *output_directory(const char *model, const Options *o); /* --out, or its default; malloc'd */
int run_train(RtMachine *m, const Options *o);
int run_eval(RtMachine *m, const Options *o);
int run_init(RtMachine *m, const Options *o);
/* The pictures are o's operands from `first` on, read by `read`. */
int run_predict(RtMachine *m, const Options *o, uint32_t first, PictureReader read);

int64_t count_parameters(const RtProgram *program); /* trainable numbers */
const char *recipe_data_name(RtDataset data);       /* "cifar10" */
/* Opens the data set that --data or the recipe names, or makes one that fits the net (synthetic). */
int open_data(const RtProgram *program, const Options *o, RtData *data);
/* Only its statistics and class names; CIFAR-10's need no files. */
int describe_data(const RtProgram *program, const Options *o, RtData *data);
#endif

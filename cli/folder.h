/* A directory of pictures as a data set: a folder for each class, in DIR/train and DIR/test, or in DIR alone. */
#ifndef NETC_CLI_FOLDER_H
#define NETC_CLI_FOLDER_H
#include "cli/names.h"
#include "cli/options.h"
#include "cli/picture.h"
#include "runtime/rt.h"

/* Is this a directory of folders, and neither a known data set's name nor a directory of its files? */
bool folder_is(const char *where);

/* Reads every picture into memory, on o->threads threads. Classes are the folders by name, and so are pictures in them. Without
 * train/ and test/ (or val/, valid/) each tenth picture of a class, from its tenth on, is for testing. A picture that cannot be
 * read is named; with --bad-pictures=skip it is left out, else the exit status is 1. Returns an exit status, after saying what is
 * wrong. classes: how many there must be, or 0. */
int folder_open(const char *directory, const PictureShape *shape, int64_t classes, const Options *o, RtData *data);
/* data stats: counts, formats and sizes of the pictures in DIRECTORY. */
int folder_stats(const char *directory, const Options *o);
/* data check: can every picture be read? A line of how many. */
int folder_check(const char *directory, const Options *o);
/* What normalisation is made of: `, "mean": [...], "std": [...]`, or a line for each channel. */
void statistics_print(int64_t channels, const double *mean, const double *std, bool json);
/* The line of a check as JSON. */
void counts_print_json(const char *name, int64_t train, int64_t test, int64_t classes);

/* Shared with arrays.c. The last part of a path, malloc'd. Names of classes into one block of memory, which data owns; false: out
 * of it. */
char *folder_base_name(const char *directory);
bool folder_keep_names(const Names *classes, RtData *data);
#endif

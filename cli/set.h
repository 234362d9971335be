/* Of a data set by name, of known files, or of folders of pictures: can it be read, and what is in it? Both print, and return an
 * exit status. */
#ifndef NETC_CLI_SET_H
#define NETC_CLI_SET_H
#include "cli/options.h"

int set_check(const char *where, const Options *o);    /* reads all of it; a line of how many images there are */
int set_stats(const char *where, const Options *o);    /* counts of classes, sizes of pictures, what normalisation is made of */
int set_home(const char *directory, const Options *o); /* where data sets, or one, are: a line, or JSON */
#endif

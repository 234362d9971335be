/* Arrays of numpy as a data set: an .npz file, or a directory of .npy files. */
#ifndef NETC_CLI_ARRAYS_H
#define NETC_CLI_ARRAYS_H
#include "cli/folder.h"

/* Is this an .npz file, by its name, or a directory with arrays of such names, and no known data set? */
bool arrays_is(const char *where);

/* Images are u8[N,H,W], [N,H,W,C] or [N,C,H,W], labels whole numbers [N] or [N,1]. Their names are x_train, y_train, x_test,
 * y_test, or train_images, train_labels, test_images, test_labels (or val_… without these), or one pair of images and labels, or
 * x and y, of which each tenth image of a class is for testing. Texts class_names name the classes. Images of another size than
 * shape's are fitted as pictures are; shape NULL: as they are. classes: how many there must be, or 0. Exit status, after a
 * sentence. */
int arrays_open(const char *where, const PictureShape *shape, int64_t classes, const Options *o, RtData *data);
#endif

/* PNG files in and out. */
#ifndef NETC_DRIVER_PICTURE_H
#define NETC_DRIVER_PICTURE_H
#include "cli/picture.h"

/* Any PNG: gray, palette, 16 bits, interlaced; transparency is laid on white. False with a reason in why. */
bool picture_read(const char *path, Picture *picture, char *why, size_t why_size);
bool picture_write(const char *path, const Picture *picture, char *why, size_t why_size);
#endif

/* PNG files out; reading them is cli/picture.h's. */
#ifndef NETC_DRIVER_PICTURE_H
#define NETC_DRIVER_PICTURE_H
#include "cli/picture.h"

/* False with a reason in why. */
bool picture_write(const char *path, const Picture *picture, char *why, size_t why_size);
#endif

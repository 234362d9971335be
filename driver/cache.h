/* Where compiled kernels are kept between runs. */
#ifndef NETC_DRIVER_CACHE_H
#define NETC_DRIVER_CACHE_H
#include "cli/options.h"

/* NETC_CACHE, or netc/kernels in the user's cache directory; malloc'd. NULL if NETC_CACHE=off, or if there is no home. */
char *cache_directory(void);
/* The same, made if need be; NULL also with --no-cache, and where it cannot be made. */
char *cache_open(const Options *options);
#endif

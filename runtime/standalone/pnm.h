/* Pictures without a library: PPM and PGM in their binary forms. */
#ifndef NETC_STANDALONE_PNM_H
#define NETC_STANDALONE_PNM_H
#include "cli/picture.h"

/* A PictureReader for P5 and P6 with up to 8 bits. */
bool pnm_read(const char *path, Picture *picture, char *why, size_t why_size);
#endif

/* Pictures as 8-bit RGB, interleaved, and their resizing. Who reads files of which kind is the program's affair. */
#ifndef NETC_CLI_PICTURE_H
#define NETC_CLI_PICTURE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Picture {
    int64_t width, height;
    uint8_t *rgb; /* [height][width][3], malloc'd */
} Picture;

/* False with a reason in why. */
typedef bool (*PictureReader)(const char *path, Picture *picture, char *why, size_t why_size);
void picture_free(Picture *picture);

/* Resized to planes[3][height][width]. Shrinking averages over the area that a pixel covers (a triangle filter as wide as
 * the scale, so nothing aliases), growing is bilinear. A picture of that very size is copied unchanged. */
bool picture_resize(const Picture *picture, int64_t width, int64_t height, uint8_t *planes);
#endif

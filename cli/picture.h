/* Pictures as 8-bit RGB, interleaved: reading PNG, JPEG, PPM and PGM, and resizing. */
#ifndef NETC_CLI_PICTURE_H
#define NETC_CLI_PICTURE_H
#include "runtime/recipe.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Picture {
    int64_t width, height;
    uint8_t *rgb; /* [height][width][3], malloc'd */
} Picture;

/* What pictures are made: channels is 1 or 3. */
typedef struct PictureShape {
    int64_t channels, height, width;
    RtFit fit;
} PictureShape;

enum { PICTURE_PIXELS = 1 << 26 }; /* the most that are read: 64 megapixels, 192 MB */

/* A file of any of these kinds, told apart by their first bytes:
 *     PNG        every kind, by libpng: gray, palette, 1 to 16 bits, interlaced. Levels are brought from the file's gAMA to
 * 1/2.2; without one they stand as they are, those of 16 bits too, of which the upper 8 are kept (rounded). Colour profiles
 * (iCCP, cHRM) are not applied. Transparency is laid on white, in linear light.
 *     JPEG       gray, YCbCr or RGB, and CMYK or YCCK, baseline and progressive, by libjpeg-turbo. Neither colour profiles nor
 * the turn that Exif may ask for are applied; a file that ends early or is damaged is refused. PPM, PGM   binary (P6, P5), up to
 * 8 bits, scaled to 255. False with a reason in why. */
bool picture_read(const char *path, Picture *picture, char *why, size_t why_size);
void picture_free(Picture *picture);

/* Resized to planes[3][height][width]. Shrinking averages over the area that a pixel covers (a triangle filter as wide as
 * the scale, so nothing aliases), growing is bilinear. A picture of that very size is copied unchanged. Memory beyond the
 * picture: a row of it, and the result. */
bool picture_resize(const Picture *picture, int64_t width, int64_t height, uint8_t *planes);

/* The same as one has it that the picture should be `fit` into: with RT_FIT_CROP only its middle, of that proportion, is left.
 * For one channel planes[1][height][width] of luma (ITU-R 601); channels is 1 or 3. */
bool picture_fit(Picture *picture, RtFit fit, int64_t channels, int64_t width, int64_t height, uint8_t *planes);

typedef enum PictureLoad { PICTURE_LOADED, PICTURE_BAD, PICTURE_NO_MEMORY } PictureLoad;
/* A file read and made that shape, into planes[channels][height][width]; its own width and height to size. Either may be NULL. If
 * it is not PICTURE_LOADED, with a reason in why. */
PictureLoad picture_load(const char *path, const PictureShape *shape, uint8_t *planes, int64_t *size, char *why, size_t why_size);

/* What decides the pixels of a JPEG or a PNG besides the file: which libraries decode it here. */
void picture_libraries(char *text, size_t size);

/* Inside picture_read: one kind, from its first byte on; the file has `size` bytes. After a failure picture->rgb may still need
 * picture_free. */
bool pnm_read(FILE *file, int64_t size, Picture *picture, char *why, size_t why_size);
bool jpeg_read(FILE *file, Picture *picture, char *why, size_t why_size);
bool png_read(FILE *file, Picture *picture, char *why, size_t why_size);
void jpeg_library(char *text, size_t size);
void png_library(char *text, size_t size);
#endif

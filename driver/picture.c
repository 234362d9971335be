/* PNG through libpng's simplified interface, which brings every kind of PNG to 8-bit sRGB. */
#include "driver/picture.h"
#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 1 << 28 };

bool picture_read(const char *path, Picture *picture, char *why, size_t why_size) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    *picture = (Picture){0};
    errno = 0;
    if (!png_image_begin_read_from_file(&image, path)) {
        snprintf(why, why_size, "%s", errno == ENOENT || errno == EACCES ? strerror(errno) : image.message);
        return false;
    }
    image.format = PNG_FORMAT_RGB;
    image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* as every viewer does; libpng would take 16 bits without a gAMA chunk as linear */
    if ((uint64_t)image.width * image.height > MAX_PIXELS) {
        snprintf(why, why_size, "a picture of %ux%u pixels is too large", (unsigned)image.width, (unsigned)image.height);
        png_image_free(&image);
        return false;
    }
    picture->width = image.width;
    picture->height = image.height;
    picture->rgb = malloc(PNG_IMAGE_SIZE(image));
    png_color white = {255, 255, 255};
    if (!picture->rgb || !png_image_finish_read(&image, &white, picture->rgb, 0, NULL)) {
        snprintf(why, why_size, "%s", picture->rgb ? image.message : "out of memory");
        png_image_free(&image);
        picture_free(picture);
        return false;
    }
    return true;
}

bool picture_write(const char *path, const Picture *picture, char *why, size_t why_size) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)picture->width,
                       .height = (png_uint_32)picture->height,
                       .format = PNG_FORMAT_RGB};
    if (png_image_write_to_file(&image, path, 0, picture->rgb, 0, NULL)) return true;
    snprintf(why, why_size, "%s", image.message);
    return false;
}

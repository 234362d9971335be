/* PNG through libpng's simplified interface, which brings every kind of PNG to 8-bit sRGB. */
#include "cli/picture.h"
#include <png.h>
#include <stdlib.h>
#include <string.h>

bool png_read(FILE *file, Picture *picture, char *why, size_t why_size) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    const png_color white = {255, 255, 255};
    bool ok = png_image_begin_read_from_stdio(&image, file);
    image.format = PNG_FORMAT_RGB;
    image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* libpng would take 16 bits without a gAMA chunk as linear */
    if (ok && (uint64_t)image.width * image.height > PICTURE_PIXELS)
        ok = false, snprintf(why, why_size, "%ux%u pixels are too many", (unsigned)image.width, (unsigned)image.height);
    else if (ok && !(picture->rgb = malloc(PNG_IMAGE_SIZE(image))))
        ok = false, snprintf(why, why_size, "out of memory");
    else if (!ok || !png_image_finish_read(&image, &white, picture->rgb, 0, NULL))
        ok = false, snprintf(why, why_size, "%s", image.message);
    picture->width = image.width;
    picture->height = image.height;
    png_image_free(&image);
    return ok;
}

void png_library(char *text, size_t size) { snprintf(text, size, "libpng %u", (unsigned)png_access_version_number()); }

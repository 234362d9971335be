/* PNG through libpng's simplified interface. */
#include "driver/picture.h"
#include <png.h>

bool picture_write(const char *path, const Picture *picture, char *why, size_t why_size) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)picture->width,
                       .height = (png_uint_32)picture->height,
                       .format = PNG_FORMAT_RGB};
    if (png_image_write_to_file(&image, path, 0, picture->rgb, 0, NULL)) return true;
    snprintf(why, why_size, "%s", image.message);
    return false;
}

/* PPM and PGM in their binary forms. The header is words split by white space, with comments from '#' to the end of the line;
 * pixels follow the one byte after it. */
#include "cli/picture.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The next number of the header, or -1. Consumes the one byte behind it. */
static int64_t read_number(FILE *file) {
    int c = getc(file);
    for (bool comment = c == '#'; comment || isspace(c); comment = c == '#' || (comment && c != '\n' && c != EOF)) c = getc(file);
    if (!isdigit(c)) return -1;
    int64_t value = 0;
    for (; isdigit(c); c = getc(file))
        if (value <= PICTURE_PIXELS) value = value * 10 + (c - '0');
    return isspace(c) ? value : -1;
}

static const char *read_pixels(FILE *file, Picture *picture, int channels, int64_t white) {
    size_t pixels = (size_t)(picture->width * picture->height), bytes = pixels * (size_t)channels;
    uint8_t *rgb = malloc(pixels * 3);
    if (!rgb) return "out of memory";
    picture->rgb = rgb;
    uint8_t *raw = rgb + pixels * 3 - bytes; /* gray is spread from the end of the same memory */
    if (fread(raw, 1, bytes, file) != bytes) return "the file is too short";
    for (size_t i = 0; i < pixels; i++) {
        uint8_t pixel[3];
        for (int c = 0; c < 3; c++) {
            int64_t level = raw[i * (size_t)channels + (channels == 3 ? (size_t)c : 0)];
            pixel[c] = (uint8_t)(level >= white ? 255 : (level * 255 + white / 2) / white);
        }
        memcpy(rgb + i * 3, pixel, 3);
    }
    return NULL;
}

static const char *read_any(FILE *file, int64_t size, Picture *picture) {
    int magic = getc(file), channels = getc(file) == '6' ? 3 : 1;
    int64_t width = read_number(file), height = read_number(file), white = read_number(file);
    if (magic != 'P' || width < 1 || height < 1 || white < 1) return "its header is broken";
    if (width > PICTURE_PIXELS || height > PICTURE_PIXELS || width * height > PICTURE_PIXELS) return "it is too large";
    if (white > 255) return "it has more than 8 bits";
    if (width * height * channels > size) return "the file is too short"; /* before memory is taken for it */
    picture->width = width;
    picture->height = height;
    return read_pixels(file, picture, channels, white);
}

bool pnm_read(FILE *file, int64_t size, Picture *picture, char *why, size_t why_size) {
    const char *reason = read_any(file, size, picture);
    if (reason) snprintf(why, why_size, "%s", reason);
    return !reason;
}

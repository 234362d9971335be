/* JPEG through libjpeg-turbo: baseline and progressive, gray, colour, and inks (CMYK, YCCK), brought to RGB. */
#include "cli/picture.h"
#include <dlfcn.h>
#include <jpeglib.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h> /* behind jpeglib.h, which says what libjpeg was built with */

enum { MAX_SCANS = 200 };

/* libjpeg calls back on an error and must not be returned to. */
typedef struct Reader {
    struct jpeg_error_mgr errors; /* first: what libjpeg hands back */
    jmp_buf failed;
    char *why;
    size_t why_size;
} Reader;

static void fail_by(j_common_ptr jpeg) {
    Reader *r = (Reader *)jpeg->err;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    snprintf(r->why, r->why_size, "%s", text);
    longjmp(r->failed, 1);
}

/* A file that ends early, or whose data are damaged, would be filled up with gray. Other warnings cost no pixel: bytes too many
 * before a marker, a version of JFIF that is not known. */
static void warn_by(j_common_ptr jpeg, int level) {
    static const int lost[] = {
#ifdef D_ARITH_CODING_SUPPORTED
        JWRN_ARITH_BAD_CODE,
#endif
        JWRN_JPEG_EOF, JWRN_HIT_MARKER, JWRN_MUST_RESYNC, JWRN_HUFF_BAD_CODE};
    for (size_t i = 0; level < 0 && i < sizeof lost / sizeof *lost; i++)
        if (jpeg->err->msg_code == lost[i]) fail_by(jpeg);
}

/* A few bytes of a progressive file may ask for scan after scan of millions of pixels. */
static void watch(j_common_ptr jpeg) {
    Reader *r = (Reader *)jpeg->err;
    if (((j_decompress_ptr)jpeg)->input_scan_number <= MAX_SCANS) return;
    snprintf(r->why, r->why_size, "it has more than %d scans", MAX_SCANS);
    longjmp(r->failed, 1);
}

/* A line of inks as light that they leave: each channel what its own ink and black let through. Files with Adobe's marker have
 * the light itself. */
static void inks_to_rgb(const JSAMPLE *ink, bool adobe, int64_t width, uint8_t *rgb) {
    for (int64_t i = 0; i < width; i++, ink += 4)
        for (int c = 0; c < 3; c++) {
            int own = adobe ? ink[c] : 255 - ink[c], black = adobe ? ink[3] : 255 - ink[3];
            *rgb++ = (uint8_t)((own * black + 127) / 255);
        }
}

static bool decode(struct jpeg_decompress_struct *jpeg, FILE *file, Picture *picture, const Reader *r) {
    jpeg_stdio_src(jpeg, file);
    jpeg_read_header(jpeg, TRUE);
    if ((uint64_t)jpeg->image_width * jpeg->image_height > PICTURE_PIXELS) {
        snprintf(r->why, r->why_size, "%ux%u pixels are too many", jpeg->image_width, jpeg->image_height);
        return false;
    }
    bool inks = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(jpeg);
    picture->width = jpeg->output_width;
    picture->height = jpeg->output_height;
    picture->rgb = malloc((size_t)(picture->width * picture->height) * 3);
    if (!picture->rgb) {
        snprintf(r->why, r->why_size, "out of memory");
        return false;
    }
    JSAMPARRAY line = inks ? jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, 4 * jpeg->output_width, 1) : NULL;
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = picture->rgb + (size_t)jpeg->output_scanline * (size_t)picture->width * 3;
        jpeg_read_scanlines(jpeg, inks ? line : &row, 1);
        if (inks) inks_to_rgb(line[0], jpeg->saw_Adobe_marker, picture->width, row);
    }
    jpeg_finish_decompress(jpeg);
    return true;
}

bool jpeg_read(FILE *file, Picture *picture, char *why, size_t why_size) {
    struct jpeg_decompress_struct jpeg = {0}; /* destroyed also where creating it failed */
    Reader r = {.why = why, .why_size = why_size};
    struct jpeg_progress_mgr progress = {.progress_monitor = watch};
    volatile bool ok = false;
    jpeg.err = jpeg_std_error(&r.errors);
    r.errors.error_exit = fail_by;
    r.errors.emit_message = warn_by;
    if (!setjmp(r.failed)) {
        jpeg_create_decompress(&jpeg);
        jpeg.progress = &progress;
        ok = decode(&jpeg, file, picture, &r);
    }
    jpeg_destroy_decompress(&jpeg);
    return ok;
}

/* libjpeg does not say its version where it runs; the name of its shared object does (libjpeg.so.62.3.0). Linked in, it is the
 * one that its header is of. */
void jpeg_library(char *text, size_t size) {
    Dl_info info;
    struct jpeg_error_mgr *(*place)(struct jpeg_error_mgr *) = jpeg_std_error;
    void *address;
    memcpy(&address, &place, sizeof address);
    char *path = dladdr(address, &info) && info.dli_fname ? realpath(info.dli_fname, NULL) : NULL;
    const char *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : "";
    bool shared = !strncmp(name, "libjpeg", 7);
    snprintf(text, size, "libjpeg-turbo %d%s%s", LIBJPEG_TURBO_VERSION_NUMBER, shared ? " " : "", shared ? name : "");
    free(path);
}

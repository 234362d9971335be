/* Inside runtime/: a curve as it grows, drawn with the dots of Unicode's Braille patterns: two across and four down a character.
 */
#ifndef NETC_RUNTIME_CURVE_H
#define NETC_RUNTIME_CURVE_H
#include <stdint.h>

enum { RT_CURVE_POINTS = 512, RT_CURVE_ROW = 1024, RT_CURVE_WIDTH = 200, RT_CURVE_LABEL = 9 };

/* Means of what was added, by where on the axis. */
typedef struct RtCurve {
    double sum[RT_CURVE_POINTS];
    uint32_t count[RT_CURVE_POINTS];
} RtCurve;

void rt_curve_add(RtCurve *c, double x, double y); /* x in [0, 1]; what is not finite is left out */
/* Draws into `height` rows of `width` characters of UTF-8, RT_CURVE_LABEL of which are the axis: its greatest value at the top,
 * its least at the bottom, the name between. At most RT_CURVE_WIDTH wide. Returns 0 if there are fewer than two points. */
int rt_curve_draw(const RtCurve *c, const char *name, double factor, int width, int height, char row[][RT_CURVE_ROW]);
#endif

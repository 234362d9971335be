/* Inside runtime/: operations on the pixels of one image u8[C][H][W], by torchvision's formulas for bytes. */
#ifndef NETC_RUNTIME_OPERATE_H
#define NETC_RUNTIME_OPERATE_H
#include "runtime/rt.h"

/* The operations of RandAugment (Cubuk et al., 2020), in torchvision's order. */
#define RT_OPERATIONS(ROW)                                                                                                       \
    ROW(IDENTITY)                                                                                                                \
    ROW(SHEAR_X)                                                                                                                 \
    ROW(SHEAR_Y)                                                                                                                 \
    ROW(TRANSLATE_X)                                                                                                             \
    ROW(TRANSLATE_Y)                                                                                                             \
    ROW(ROTATE)                                                                                                                  \
    ROW(BRIGHTNESS)                                                                                                              \
    ROW(COLOR)                                                                                                                   \
    ROW(CONTRAST)                                                                                                                \
    ROW(SHARPNESS)                                                                                                               \
    ROW(POSTERIZE)                                                                                                               \
    ROW(SOLARIZE)                                                                                                                \
    ROW(AUTO_CONTRAST)                                                                                                           \
    ROW(EQUALIZE)
typedef enum RtOperation {
#define ROW(name) RT_OPERATE_##name,
    RT_OPERATIONS(ROW)
#undef ROW
        RT_OPERATION_COUNT
} RtOperation;

enum { RT_STRENGTHS = 31 };
/* The magnitude of strength 0 to RT_STRENGTHS - 1: as in torchvision's RandAugment, or, wide, its TrivialAugmentWide. *sign: it
 * may as well be negative. */
double rt_operation_magnitude(RtOperation operation, bool wide, int strength, const RtData *data, bool *sign);
void rt_operate(RtOperation operation, double magnitude, const RtData *data, const uint8_t *src, uint8_t *dst);

/* Turned about its middle against the clock, between pixels bilinear, black outside. */
void rt_turn(const RtData *data, const uint8_t *src, uint8_t *dst, double degrees);
#endif

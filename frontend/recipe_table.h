/* What a recipe may say, as data: the forms that each key's value can take and their arguments. One table serves reading
 * (recipe.c) and printing (recipe_text.c). Private to these two. */
#ifndef NETC_FRONTEND_RECIPE_TABLE_H
#define NETC_FRONTEND_RECIPE_TABLE_H
#include "runtime/recipe.h"
#include <stddef.h>

typedef enum FieldKind { FIELD_NUMBER, FIELD_WHOLE, FIELD_FLAG, FIELD_TIMES, FIELD_LEVELS, FIELD_PATTERN } FieldKind;

typedef struct Field {
    const char *name;
    FieldKind kind;
    size_t offset;   /* of a double, bool (FLAG), char[RT_PATTERN] (PATTERN), or of RtSchedule's at and level (TIMES in rising
                        order, LEVELS in any) in the struct of its key */
    double standard; /* value if left out; NAN: must be given */
    double lo, hi;
    bool lo_open, hi_open;
} Field;

typedef struct Form {
    const char *name;
    int kind; /* of the enum that the key stores */
    uint32_t nfields;
    Field field[8];
} Form;

typedef struct KeyForms {
    const char *what; /* "optimizer", for messages */
    const Form *form;
    uint32_t count;
} KeyForms;

extern const KeyForms recipe_data_forms, recipe_fit_forms, recipe_normalize_forms, recipe_augment_forms, recipe_mix_forms,
    recipe_loss_forms, recipe_optimizer_forms, recipe_group_forms, recipe_schedule_forms, recipe_average_forms,
    recipe_views_forms;
#endif

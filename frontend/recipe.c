/* Reading recipes. A value that has forms (sgd(lr = 0.1), flip, cifar10) is read as syntax, its arguments are evaluated. */
#include "frontend/recipe.h"
#include "frontend/foreign.h"
#include "frontend/recipe_table.h"
#include "ir/pattern.h"
#include <math.h>
#include <string.h>

enum { MAX_EPOCHS = 1000000, MAX_BATCH = 65536 };

/* ---- fields ---- */

static const char *range_text(Eval *ev, const Field *f) {
    if (isinf(f->hi)) return f->lo_open ? "above 0" : "of at least 0";
    return arena_printf(ev->arena, "%s %g and %s %g", f->lo_open ? "above" : "of at least", f->lo,
                        f->hi_open ? "below" : "at most", f->hi);
}

static bool in_range(const Field *f, double v) {
    return (f->lo_open ? v > f->lo : v >= f->lo) && (f->hi_open ? v < f->hi : v <= f->hi);
}

static const char *list_text(Eval *ev, const Field *f) {
    const char *what = f->kind == FIELD_LEVELS ? "fractions of lr" : f->hi <= 1 ? "fractions of the run" : "epochs";
    return arena_printf(ev->arena, "'%s' is a list of 1 to %d %s", f->name, RT_MAX_STEPS, what);
}

static void set_times(Eval *ev, const AstExpr *at, Datum d, const Field *f, RtSchedule *schedule) {
    if (d.kind != DATUM_LIST || d.list->count < 1 || d.list->count > RT_MAX_STEPS) {
        eval_error(ev, at->span, "%s, found %s", list_text(ev, f), eval_describe(ev, d));
        return;
    }
    double *list = (double *)(void *)((char *)schedule + f->offset);
    bool rising = f->kind == FIELD_TIMES;
    for (uint32_t i = 0; i < d.list->count; i++) {
        Datum item = d.list->item[i];
        bool good = datum_is_number(item) && in_range(f, datum_number(item));
        if (!good || (rising && i > 0 && datum_number(item) <= list[i - 1])) {
            eval_error(ev, at->span, "%s: numbers %s%s, found %s", list_text(ev, f), range_text(ev, f),
                       rising ? " in rising order" : "", eval_describe(ev, d));
            return;
        }
        list[i] = datum_number(item);
    }
    for (uint32_t i = d.list->count; i < RT_MAX_STEPS; i++) list[i] = 0;
    *(rising ? &schedule->nat : &schedule->nlevel) = d.list->count;
}

static void set_pattern(Eval *ev, const AstExpr *at, Datum d, const Field *f, char *place) {
    static const char known[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.*?";
    size_t length = d.kind == DATUM_STRING ? strlen(d.text) : 0;
    if (length > 0 && length < RT_PATTERN && strspn(d.text, known) == length)
        memcpy(place, d.text, length + 1);
    else
        eval_error(
            ev, at->span,
            "'%s' is a string of at most %d letters, digits, '_', '-' and '.', '*' for any of them and '?' for one, found %s",
            f->name, RT_PATTERN - 1, eval_describe(ev, d));
}

static void set_field(Eval *ev, const AstExpr *at, Datum d, const Field *f, void *base) {
    void *place = (char *)base + f->offset;
    if (f->kind == FIELD_TIMES || f->kind == FIELD_LEVELS) {
        set_times(ev, at, d, f, base);
    } else if (f->kind == FIELD_PATTERN) {
        set_pattern(ev, at, d, f, place);
    } else if (f->kind == FIELD_FLAG) {
        if (d.kind == DATUM_BOOL)
            memcpy(place, &d.boolean, sizeof d.boolean);
        else
            eval_error(ev, at->span, "'%s' is true or false, found %s", f->name, eval_describe(ev, d));
    } else {
        bool kind = f->kind == FIELD_WHOLE ? d.kind == DATUM_INTEGER : datum_is_number(d);
        double v = kind ? datum_number(d) : 0;
        if (kind && in_range(f, v))
            memcpy(place, &v, sizeof v);
        else
            eval_error(ev, at->span, "'%s' is %s %s, found %s", f->name, f->kind == FIELD_WHOLE ? "an integer" : "a number",
                       range_text(ev, f), eval_describe(ev, d));
    }
}

static void set_standard(const Field *f, void *base) {
    void *place = (char *)base + f->offset;
    bool flag = f->standard != 0;
    if (f->kind == FIELD_FLAG)
        memcpy(place, &flag, sizeof flag);
    else if (f->kind == FIELD_NUMBER || f->kind == FIELD_WHOLE)
        memcpy(place, &f->standard, sizeof f->standard);
}

/* ---- forms ---- */

static const char *form_names(Eval *ev, const KeyForms *forms) {
    const char *text = forms->form[0].name;
    for (uint32_t i = 1; i < forms->count; i++) text = arena_printf(ev->arena, "%s, %s", text, forms->form[i].name);
    return text;
}

static const Form *find_form(Eval *ev, const KeyForms *forms, const AstExpr *e) {
    const Name *name = e->kind == EXPR_NAME ? e->name : e->kind == EXPR_CALL ? e->call.callee : NULL;
    for (uint32_t i = 0; name && i < forms->count; i++) {
        if (!strcmp(forms->form[i].name, name->text)) return &forms->form[i];
    }
    Span span = e->kind == EXPR_CALL ? e->call.callee_span : e->span;
    if (name)
        eval_error(ev, span, "there is no %s '%s'; known: %s", forms->what, name->text, form_names(ev, forms));
    else
        eval_error(ev, span, "expected the name of a %s; known: %s", forms->what, form_names(ev, forms));
    return NULL;
}

/* Reads `e` as one of the forms and stores its fields at base. NULL after a report. */
static const Form *read_form(Eval *ev, const KeyForms *forms, const AstExpr *e, void *base) {
    const Form *form = find_form(ev, forms, e);
    if (!form) return NULL;
    const char *param[8];
    Datum value[8];
    const AstExpr *given[8] = {NULL};
    Signature s = {forms->what, form->name, param, form->nfields, 0};
    for (uint32_t i = 0; i < form->nfields; i++) {
        param[i] = form->field[i].name;
        s.required += isnan(form->field[i].standard); /* these stand first */
        set_standard(&form->field[i], base);
    }
    uint32_t mistakes = ev->nreported;
    AstExpr bare = {.kind = EXPR_CALL, .span = e->span};
    if (!eval_arguments(ev, e->kind == EXPR_CALL ? e : &bare, &s, value, given)) return NULL;
    for (uint32_t i = 0; i < form->nfields; i++) {
        if (given[i]) set_field(ev, given[i], value[i], &form->field[i], base);
    }
    return mistakes == ev->nreported ? form : NULL;
}

/* ---- keys ---- */

static void set_data(Eval *ev, RtRecipe *r, const AstExpr *e) {
    const Form *form = read_form(ev, &recipe_data_forms, e, r);
    if (form) r->data = (RtDataset)form->kind;
}

static void set_fit(Eval *ev, RtRecipe *r, const AstExpr *e) {
    const Form *form = read_form(ev, &recipe_fit_forms, e, r);
    if (form) r->fit = (RtFit)form->kind;
}

static void set_normalize(Eval *ev, RtRecipe *r, const AstExpr *e) {
    const Form *form = read_form(ev, &recipe_normalize_forms, e, r);
    if (form) r->normalize = (RtNormalize)form->kind;
}

/* A key that is a list of forms. */
typedef struct FormList {
    const char *key, *what, *such_as;
    const KeyForms *forms;
    uint32_t most;
    size_t size; /* of an item */
} FormList;

/* Reads `e` as such a list into items, one behind the other, the others zero, and says of which form each is; those that are
 * reported are left out. How many there are; -1 after a report that it is no such list. */
static int64_t read_list(Eval *ev, const FormList *l, const AstExpr *e, void *items, uint32_t *kind) {
    if (e->kind != EXPR_LIST || e->list.count > l->most) {
        eval_error(ev, e->span, "'%s' is a list of at most %u %s, such as [%s]", l->key, l->most, l->what, l->such_as);
        return -1;
    }
    int64_t n = 0;
    memset(items, 0, l->most * l->size);
    for (uint32_t i = 0; i < e->list.count; i++) {
        char *item = (char *)items + (size_t)n * l->size;
        const Form *form = read_form(ev, l->forms, e->list.item[i], item);
        if (form)
            kind[n++] = (uint32_t)form->kind;
        else
            memset(item, 0, l->size);
    }
    return n;
}

static void set_augment(Eval *ev, RtRecipe *r, const AstExpr *e) {
    static const FormList list = {"augment",      "augmentations",   "pad_crop(4), flip", &recipe_augment_forms,
                                  RT_MAX_AUGMENT, sizeof *r->augment};
    uint32_t kind[RT_MAX_AUGMENT];
    int64_t n = read_list(ev, &list, e, r->augment, kind);
    if (n < 0) return;
    r->naugment = (uint32_t)n;
    for (int64_t i = 0; i < n; i++) r->augment[i].kind = (RtAugmentKind)kind[i];
}

static void set_mix(Eval *ev, RtRecipe *r, const AstExpr *e) {
    static const FormList list = {"mix",      "ways to mix images", "mixup(0.2), cutmix(1)", &recipe_mix_forms,
                                  RT_MAX_MIX, sizeof *r->mix};
    uint32_t kind[RT_MAX_MIX];
    int64_t n = read_list(ev, &list, e, r->mix, kind);
    if (n < 0) return;
    r->nmix = (uint32_t)n;
    for (int64_t i = 0; i < n; i++) r->mix[i].kind = (RtMixKind)kind[i];
}

static void set_loss(Eval *ev, RtRecipe *r, const AstExpr *e) { read_form(ev, &recipe_loss_forms, e, r); }

static void set_optimizer(Eval *ev, RtRecipe *r, const AstExpr *e) {
    RtOptimizer o = {0};
    const Form *form = read_form(ev, &recipe_optimizer_forms, e, &o);
    if (!form) return;
    o.kind = (RtOptimizerKind)form->kind;
    r->optimizer = o;
}

static void set_groups(Eval *ev, RtRecipe *r, const AstExpr *e) {
    static const FormList list = {"groups",      "groups",        "group(\"*.bias\", weight_decay = 0)", &recipe_group_forms,
                                  RT_MAX_GROUPS, sizeof *r->group};
    uint32_t kind[RT_MAX_GROUPS];
    int64_t n = read_list(ev, &list, e, r->group, kind);
    if (n >= 0) r->ngroups = (uint32_t)n;
}

static void set_schedule(Eval *ev, RtRecipe *r, const AstExpr *e) {
    RtSchedule s = {0};
    const Form *form = read_form(ev, &recipe_schedule_forms, e, &s);
    if (!form) return;
    s.kind = (RtScheduleKind)form->kind;
    r->schedule = s;
}

static void set_average(Eval *ev, RtRecipe *r, const AstExpr *e) {
    RtAverage a = {0};
    const Form *form = read_form(ev, &recipe_average_forms, e, &a);
    if (!form) return;
    a.kind = (RtAverageKind)form->kind;
    r->average = a;
}

static void set_views(Eval *ev, RtRecipe *r, const AstExpr *e) {
    const Form *form = read_form(ev, &recipe_views_forms, e, r);
    if (form) r->views = (RtViews)form->kind;
}

static void set_count(Eval *ev, const char *key, const AstExpr *e, int64_t hi, int64_t *out) {
    Datum d = eval_expr(ev, e);
    if (d.kind == DATUM_POISON) return;
    if (d.kind == DATUM_INTEGER && d.integer >= 1 && d.integer <= hi)
        *out = d.integer;
    else
        eval_error(ev, e->span, "'%s' is an integer from 1 to %lld, found %s", key, (long long)hi, eval_describe(ev, d));
}

static void set_batch(Eval *ev, RtRecipe *r, const AstExpr *e) { set_count(ev, "batch", e, MAX_BATCH, &r->batch); }

static void set_shards(Eval *ev, RtRecipe *r, const AstExpr *e) { set_count(ev, "shards", e, RT_MAX_SHARDS, &r->shards); }

static void set_plain(Eval *ev, RtRecipe *r, const AstExpr *e, const Field *f) {
    Datum d = eval_expr(ev, e);
    if (d.kind != DATUM_POISON) set_field(ev, e, d, f, r);
}

static void set_accumulate(Eval *ev, RtRecipe *r, const AstExpr *e) {
    set_plain(ev, r, e, &(Field){"accumulate", FIELD_WHOLE, offsetof(RtRecipe, accumulate), 1, 1, MAX_BATCH, false, false});
}

static void set_clip(Eval *ev, RtRecipe *r, const AstExpr *e) {
    set_plain(ev, r, e, &(Field){"clip", FIELD_NUMBER, offsetof(RtRecipe, clip), 0, 0, INFINITY, false, false});
}

static void set_validation(Eval *ev, RtRecipe *r, const AstExpr *e) {
    set_plain(ev, r, e, &(Field){"validation", FIELD_NUMBER, offsetof(RtRecipe, validation), 0, 0, 1e9, false, false});
}

static void set_patience(Eval *ev, RtRecipe *r, const AstExpr *e) {
    set_plain(ev, r, e, &(Field){"patience", FIELD_WHOLE, offsetof(RtRecipe, patience), 0, 0, MAX_EPOCHS, false, false});
}

static void set_shuffle(Eval *ev, RtRecipe *r, const AstExpr *e) {
    set_plain(ev, r, e, &(Field){"shuffle", FIELD_FLAG, offsetof(RtRecipe, shuffle), 1, 0, 1, false, false});
}

static void set_epochs(Eval *ev, RtRecipe *r, const AstExpr *e) {
    set_plain(ev, r, e, &(Field){"epochs", FIELD_NUMBER, offsetof(RtRecipe, epochs), 0, 0, MAX_EPOCHS, true, false});
}

/* ema = d is average = ema(d), and 0 none. */
static void set_ema(Eval *ev, RtRecipe *r, const AstExpr *e) {
    RtAverage a = {.kind = RT_AVERAGE_EMA, .every = 1};
    uint32_t mistakes = ev->nreported;
    Datum d = eval_expr(ev, e);
    if (d.kind == DATUM_POISON) return;
    set_field(ev, e, d, &(Field){"ema", FIELD_NUMBER, offsetof(RtAverage, decay), 0, 0, 1, false, true}, &a);
    if (mistakes == ev->nreported) r->average = a.decay > 0 ? a : (RtAverage){.kind = RT_AVERAGE_NONE};
}

static const char *const key_names[] = {"data",       "fit",      "normalize", "augment", "mix",        "loss",   "optimizer",
                                        "groups",     "schedule", "epochs",    "batch",   "accumulate", "shards", "clip",
                                        "validation", "patience", "shuffle",   "average", "views",      "ema"};
static void (*const key_set[])(Eval *, RtRecipe *, const AstExpr *) = {
    set_data,       set_fit,      set_normalize, set_augment, set_mix,        set_loss,   set_optimizer,
    set_groups,     set_schedule, set_epochs,    set_batch,   set_accumulate, set_shards, set_clip,
    set_validation, set_patience, set_shuffle,   set_average, set_views,      set_ema};
enum { KEYS = sizeof key_names / sizeof *key_names };

/* train.optimizer.lr = value: one argument of the form that the key has now. */
static void set_part(Eval *ev, RtRecipe *r, const char *key, const char *part, Span span, const AstExpr *e) {
    const KeyForms *forms = NULL;
    void *base = r;
    int kind = 0;
    if (!strcmp(key, "optimizer")) forms = &recipe_optimizer_forms, base = &r->optimizer, kind = (int)r->optimizer.kind;
    if (!strcmp(key, "schedule")) forms = &recipe_schedule_forms, base = &r->schedule, kind = (int)r->schedule.kind;
    if (!strcmp(key, "average")) forms = &recipe_average_forms, base = &r->average, kind = (int)r->average.kind;
    if (!strcmp(key, "loss")) forms = &recipe_loss_forms;
    for (uint32_t i = 0; forms && i < forms->count; i++) {
        for (uint32_t k = 0; forms->form[i].kind == kind && k < forms->form[i].nfields; k++) {
            const Field *f = &forms->form[i].field[k];
            if (strcmp(f->name, part)) continue;
            Datum d = eval_expr(ev, e);
            if (d.kind != DATUM_POISON) set_field(ev, e, d, f, base);
            return;
        }
    }
    const char *value =
        forms && forms->form[0].kind != kind ? arena_printf(ev->arena, " (now '%s')", forms->form[kind].name) : "";
    eval_error(ev, span, "the recipe's '%s'%s has no part '%s'", key, value, part);
}

void recipe_set(Eval *ev, RtRecipe *r, const char *key, const char *part, Span key_span, const AstExpr *value) {
    for (int i = 0; i < KEYS; i++) {
        if (strcmp(key_names[i], key)) continue;
        if (part)
            set_part(ev, r, key, part, key_span, value);
        else
            key_set[i](ev, r, value);
        return;
    }
    const char *remark, *near = foreign_key(key, &remark);
    if (remark) {
        eval_error(ev, key_span, "the recipe has no key '%s': %s", key, remark);
        return;
    }
    if (!near) near = nearest_name(key, key_names, KEYS);
    if (near) {
        eval_error(ev, key_span, "the recipe has no key '%s'; did you mean '%s'?", key, near);
        return;
    }
    const char *known = key_names[0];
    for (int i = 1; i < KEYS; i++) known = arena_printf(ev->arena, "%s, %s", known, key_names[i]);
    eval_error(ev, key_span, "the recipe has no key '%s'; known: %s", key, known);
}

/* The first group that a parameter is of; NULL: none. */
static const RtGroup *group_of(const RtRecipe *r, const char *name) {
    for (uint32_t i = 0; i < r->ngroups; i++)
        if (pattern_matches(r->group[i].pattern, name)) return &r->group[i];
    return NULL;
}

void recipe_apply_groups(Eval *ev, const RtRecipe *r, Graph *g, bool further, Span at) {
    uint32_t params = 0, frozen = 0;
    for (uint32_t i = 0; i < r->ngroups; i++) {
        bool any = false;
        for (Val v = 0; v < g->count && !any; v++)
            any = g->value[v].op == OP_PARAM && pattern_matches(r->group[i].pattern, g->value[v].attrs.param.name);
        if (!any) eval_error(ev, at, "the group \"%s\" is of no parameter; 'netc ir' shows their names", r->group[i].pattern);
    }
    for (Val v = 0; v < g->count && g->mode == MODE_TRAIN; v++) {
        if (g->value[v].op != OP_PARAM) continue;
        const RtGroup *group = group_of(r, g->value[v].attrs.param.name);
        g->value[v].attrs.param.frozen = (further && g->value[v].attrs.param.frozen) || (group && group->frozen);
        params++;
        frozen += g->value[v].attrs.param.frozen;
    }
    if (frozen && frozen == params && !further) eval_error(ev, at, "all parameters are frozen, so that nothing is left to train");
}

void recipe_check(Eval *ev, const RtRecipe *r, RecipeSpans at) {
    const RtSchedule *s = &r->schedule;
    if (r->optimizer.nesterov && r->optimizer.momentum == 0)
        eval_error(ev, at.optimizer, "the optimizer's 'nesterov' needs a momentum above 0");
    for (uint32_t i = 0; i < r->naugment; i++)
        if (r->augment[i].kind == RT_AUGMENT_ERASE && r->augment[i].least > r->augment[i].most)
            eval_error(ev, at.augment, "'random_erasing' takes areas from %g to %g of the image, which are none",
                       r->augment[i].least, r->augment[i].most);
    if (r->validation > 1 && r->validation != floor(r->validation))
        eval_error(ev, at.validation, "'validation' is a number of images, or below 1 a part of the training images, found %g",
                   r->validation);
    else if (r->validation == 1)
        eval_error(ev, at.validation,
                   "'validation' of 1 is no part to choose by: a number of images from 2 on, or a part below 1");
    if (r->patience > 0 && r->validation == 0)
        eval_error(ev, at.validation, "'patience' stops by the accuracy on validation images: 'validation' says how many");
    if (s->kind == RT_SCHEDULE_LINEAR && s->nat != s->nlevel)
        eval_error(ev, at.schedule, "'linear' needs a factor for each point: %u points, %u factors", s->nat, s->nlevel);
    if (s->warmup > 0 && s->warmup >= r->epochs)
        eval_error(ev, at.schedule,
                   "a warm-up of %g epochs leaves nothing of the %.10g epochs of training; "
                   "'train.schedule.warmup' and 'train.epochs' set them",
                   s->warmup, r->epochs);
    else if (s->kind == RT_SCHEDULE_STEPS && s->warmup > 0 && s->at[0] <= s->warmup)
        eval_error(ev, at.schedule, "the learning rate cannot fall at epoch %g, within its warm-up of %g epochs", s->at[0],
                   s->warmup);
}

RtRecipe recipe_defaults(void) {
    RtRecipe r = {.data = RT_DATA_CIFAR10,
                  .normalize = RT_NORMALIZE_MEAN_STD,
                  .epochs = 200,
                  .batch = 128,
                  .accumulate = 1,
                  .shards = 1,
                  .shuffle = true};
    r.optimizer = (RtOptimizer){.kind = RT_SGD, .lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4, .decay_bn = true};
    return r;
}

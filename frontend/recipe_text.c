/* Recipes as canonical text: every key, every argument, in the order of the tables; the same recipe always prints the same. */
#include "frontend/recipe.h"
#include "frontend/recipe_table.h"
#include "ir/stream.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_number(FILE *out, double v) {
    char buffer[64];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buffer, sizeof buffer, "%.*g", digits, v);
        if (strtod(buffer, NULL) == v) break;
    }
    /* %g writes 100 as 1e+02 when asked for few digits */
    if (v == floor(v) && fabs(v) < 1e15) snprintf(buffer, sizeof buffer, "%.0f", v);
    fputs(buffer, out);
}

static void print_field(FILE *out, const Field *f, const void *base) {
    const char *place = (const char *)base + f->offset;
    if (f->kind == FIELD_FLAG) {
        bool flag;
        memcpy(&flag, place, sizeof flag);
        fputs(flag ? "true" : "false", out);
    } else if (f->kind == FIELD_PATTERN) {
        fprintf(out, "\"%s\"", place);
    } else if (f->kind == FIELD_TIMES || f->kind == FIELD_LEVELS) {
        const RtSchedule *s = base;
        uint32_t count = f->kind == FIELD_TIMES ? s->nat : s->nlevel;
        fputc('[', out);
        for (uint32_t i = 0; i < count; i++) {
            if (i) fputs(", ", out);
            print_number(out, (f->kind == FIELD_TIMES ? s->at : s->level)[i]);
        }
        fputc(']', out);
    } else {
        double v;
        memcpy(&v, place, sizeof v);
        print_number(out, v);
    }
}

static void print_form(FILE *out, const KeyForms *forms, int kind, const void *base) {
    for (uint32_t i = 0; i < forms->count; i++) {
        const Form *form = &forms->form[i];
        if (form->kind != kind) continue;
        fputs(form->name, out);
        for (uint32_t k = 0; k < form->nfields; k++) {
            fprintf(out, "%s%s = ", k ? ", " : "(", form->field[k].name);
            print_field(out, &form->field[k], base);
        }
        if (form->nfields) fputc(')', out);
    }
}

static void print_key(FILE *out, const char *key) { fprintf(out, "    %-10s = ", key); }

/* A key whose value is one form. */
static void print_value(FILE *out, const char *key, const KeyForms *forms, int kind, const void *base) {
    print_key(out, key);
    print_form(out, forms, kind, base);
    fputc('\n', out);
}

/* A key whose value is a list of forms, each of which begins with the number of its kind if there are several. */
static void print_list(FILE *out, const char *key, const KeyForms *forms, const void *items, size_t size, uint32_t count) {
    print_key(out, key);
    fputc('[', out);
    for (uint32_t i = 0; i < count; i++) {
        const void *item = (const char *)items + i * size;
        int kind = forms->form[0].kind;
        if (forms->count > 1) memcpy(&kind, item, sizeof kind);
        if (i) fputs(", ", out);
        print_form(out, forms, kind, item);
    }
    fputs("]\n", out);
}

static void print_recipe(FILE *out, const RtRecipe *r) {
    fputs("train {\n", out);
    print_value(out, "data", &recipe_data_forms, (int)r->data, r);
    print_value(out, "fit", &recipe_fit_forms, (int)r->fit, r);
    print_value(out, "normalize", &recipe_normalize_forms, (int)r->normalize, r);
    print_list(out, "augment", &recipe_augment_forms, r->augment, sizeof *r->augment, r->naugment);
    print_list(out, "mix", &recipe_mix_forms, r->mix, sizeof *r->mix, r->nmix);
    print_value(out, "loss", &recipe_loss_forms, 0, r);
    print_value(out, "optimizer", &recipe_optimizer_forms, (int)r->optimizer.kind, &r->optimizer);
    print_list(out, "groups", &recipe_group_forms, r->group, sizeof *r->group, r->ngroups);
    print_value(out, "schedule", &recipe_schedule_forms, (int)r->schedule.kind, &r->schedule);
    print_key(out, "epochs");
    print_number(out, r->epochs);
    fputc('\n', out);
    print_key(out, "batch");
    fprintf(out, "%lld\n", (long long)r->batch);
    print_key(out, "accumulate");
    print_number(out, r->accumulate);
    fputc('\n', out);
    print_key(out, "shards");
    fprintf(out, "%lld\n", (long long)r->shards);
    print_key(out, "clip");
    print_number(out, r->clip);
    fputc('\n', out);
    print_key(out, "validation");
    print_number(out, r->validation);
    fputc('\n', out);
    print_key(out, "patience");
    print_number(out, r->patience);
    fputc('\n', out);
    print_key(out, "shuffle");
    fputs(r->shuffle ? "true\n" : "false\n", out);
    print_value(out, "average", &recipe_average_forms, (int)r->average.kind, &r->average);
    print_value(out, "views", &recipe_views_forms, (int)r->views, r);
    fputs("}\n", out);
}

char *recipe_text(Arena *arena, const RtRecipe *recipe) {
    TextStream out;
    text_open(&out);
    print_recipe(out.file, recipe);
    char *kept = arena_strdup(arena, text_close(&out));
    free(out.text);
    return kept;
}

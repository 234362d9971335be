/* What a file of weights says of the set that they were trained on, as checkpoint.c writes it. */
#include "runtime/weights.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool rt_name_is_plain(const char *name) {
    for (; *name; name++)
        if (iscntrl((unsigned char)*name)) return false;
    return true;
}

static bool read_numbers(const char *text, int64_t count, double *out) {
    char *end = NULL;
    for (int64_t i = 0; i < count; i++, text = end) {
        out[i] = strtod(text, &end);
        if (end == text || !isfinite(out[i])) return false;
    }
    return !*end;
}

/* Exactly `classes` lines, into one block. */
static void *read_names(const char *text, int64_t classes) {
    int64_t lines = 0;
    for (const char *at = text; *at; at++) lines += *at == '\n';
    if (lines != classes) return NULL;
    char **names = malloc((size_t)classes * sizeof *names + strlen(text) + 1);
    if (!names) return NULL;
    char *at = (char *)(names + classes);
    strcpy(at, text);
    for (int64_t k = 0; k < classes; k++) {
        names[k] = at;
        at = strchr(at, '\n');
        *at++ = 0;
        if (rt_name_is_plain(names[k])) continue;
        free(names);
        return NULL;
    }
    return names;
}

bool rt_weights_trained_on(const StFile *f, RtData *data) {
    bool ok = data->channels <= 4;
    const char *set = ok ? st_metadata(f, "set") : NULL, *mean = ok ? st_metadata(f, "mean") : NULL;
    const char *std = ok ? st_metadata(f, "std") : NULL, *classes = ok ? st_metadata(f, "classes") : NULL;
    ok = set && mean && std && read_numbers(mean, data->channels, data->mean) && read_numbers(std, data->channels, data->std);
    for (int64_t c = 0; ok && c < data->channels; c++) ok = data->std[c] > 0;
    if (ok) ok = (data->name = strdup(set)) != NULL;
    if (ok && classes) data->class_names = data->owned_names = read_names(classes, data->classes);
    if (!ok) rt_data_free(data);
    return ok;
}

bool rt_weights_describe(const char *path, RtData *data) {
    StFile f;
    RtError ignored;
    bool ok = st_open(path, &f, &ignored) == RT_OK && rt_weights_trained_on(&f, data);
    if (!ok) rt_data_free(data);
    st_close(&f);
    return ok;
}

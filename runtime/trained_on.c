/* What a file of weights says of the set that they were trained on, as checkpoint.c writes it. */
#include "runtime/weights.h"
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Not iscntrl, which asks the program's locale. */
static bool is_control(char c) { return (unsigned char)c < 0x20 || c == 0x7f; }

bool rt_name_is_plain(const char *name) {
    for (; *name; name++)
        if (is_control(*name)) return false;
    return true;
}

/* Libraries go into programs that may have called setlocale: a point is a point. */
static bool read_numbers(const char *text, int64_t count, double *out) {
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    bool ok = c != (locale_t)0;
    char *end = NULL;
    for (int64_t i = 0; ok && i < count; i++, text = end) {
        out[i] = strtod_l(text, &end, c);
        ok = end != text && isfinite(out[i]);
    }
    if (c) freelocale(c);
    return ok && !*text;
}

static char *plain_copy(const char *name) {
    char *copy = strdup(name);
    for (char *at = copy; at && *at; at++)
        if (is_control(*at)) *at = '?';
    return copy;
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

bool rt_weights_trained_on(const StFile *f, RtData *data, RtError *why) {
    const char *set = st_metadata(f, "set"), *mean = st_metadata(f, "mean"), *std = st_metadata(f, "std");
    const char *classes = st_metadata(f, "classes");
    if ((!mean && !std) || data->channels > 4) return false;
    bool ok =
        set && mean && std && read_numbers(mean, data->channels, data->mean) && read_numbers(std, data->channels, data->std);
    for (int64_t c = 0; ok && c < data->channels; c++) ok = data->std[c] > 0;
    if (ok) ok = (data->name = plain_copy(set)) != NULL;
    if (ok && classes) data->class_names = data->owned_names = read_names(classes, data->classes);
    if (ok) return true;
    rt_fail(why, RT_OK,
            "%s: what it says of the images that it was trained on is not %lld means and deviations above 0, and is not heeded",
            f->path, (long long)data->channels);
    rt_data_free(data);
    return false;
}

bool rt_weights_describe(const char *path, RtData *data, RtSay say) {
    StFile f;
    RtError ignored, why = {{0}};
    bool ok = st_open(path, &f, &ignored) == RT_OK && rt_weights_trained_on(&f, data, &why);
    if (!ok) rt_data_free(data);
    if (*why.text && say) say(RT_WARNING, why.text);
    st_close(&f);
    return ok;
}

/* See init.h. A rule "a.*=b.*" gives what the file calls a.X the net's name b.X; of several rules the first that matches counts.
 */
#include "runtime/init.h"
#include "runtime/machine.h"
#include "runtime/weights.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

/* One side of a rule: what stands before its star, and behind it. */
typedef struct Side {
    const char *text;
    size_t length, star; /* star == length: none */
} Side;

static Side side_of(const char *text, size_t length) {
    const char *star = memchr(text, '*', length);
    return (Side){text, length, star ? (size_t)(star - text) : length};
}

static bool split(const char *rule, Side *from, Side *to) {
    const char *equals = strchr(rule, '=');
    if (!equals || equals == rule || !equals[1] || strchr(equals + 1, '=')) return false;
    *from = side_of(rule, (size_t)(equals - rule));
    *to = side_of(equals + 1, strlen(equals + 1));
    bool one = from->star < from->length, other = to->star < to->length;
    if (one && memchr(from->text + from->star + 1, '*', from->length - from->star - 1)) return false;
    if (other && memchr(to->text + to->star + 1, '*', to->length - to->star - 1)) return false;
    return one == other;
}

bool rt_init_map_is(const char *rule) {
    Side from, to;
    return split(rule, &from, &to);
}

/* What the net calls a tensor of the file; false: as the file does. */
static bool rename_by(const char *rule, const char *name, char out[ST_NAME]) {
    Side from, to;
    size_t length = strlen(name);
    if (!split(rule, &from, &to)) return false;
    if (from.star == from.length) {
        if (length != from.length || strncmp(name, from.text, length) != 0) return false;
        snprintf(out, ST_NAME, "%.*s", (int)to.length, to.text);
        return true;
    }
    size_t behind = from.length - from.star - 1;
    if (length < from.star + behind || strncmp(name, from.text, from.star) != 0 ||
        strncmp(name + length - behind, from.text + from.star + 1, behind) != 0)
        return false;
    snprintf(out, ST_NAME, "%.*s%.*s%.*s", (int)to.star, to.text, (int)(length - from.star - behind), name + from.star,
             (int)(to.length - to.star - 1), to.text + to.star + 1);
    return true;
}

static void net_name(const RtTrainOptions *o, const char *name, char out[ST_NAME]) {
    snprintf(out, ST_NAME, "%s", name);
    for (uint32_t i = 0; i < o->ninit_map; i++)
        if (rename_by(o->init_map[i], name, out)) return;
}

/* ---- what is said ---- */

/* Names, as many as have room. */
typedef struct Names {
    char text[900];
    int64_t count, shown;
} Names;

static void add_name(Names *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_name(Names *n, const char *format, ...) {
    char name[400];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    size_t used = strlen(n->text);
    n->count++;
    if (n->shown + 1 < n->count || used + strlen(name) + 3 > sizeof n->text) return;
    n->shown++;
    snprintf(n->text + used, sizeof n->text - used, "%s%s", used ? ", " : ": ", name);
}

static void tell(const RtTrainOptions *o, const char *what, const Names *n) {
    char text[1400], more[48] = "";
    if (!n->count || !o->say) return;
    if (n->count > n->shown) snprintf(more, sizeof more, " and %lld more", (long long)(n->count - n->shown));
    snprintf(text, sizeof text, "%s: %lld tensors %s%s%s", o->init_path, (long long)n->count, what, n->text, more);
    o->say(RT_NOTE, text);
}

/* ---- reading ---- */

typedef struct Init {
    const RtTrainOptions *o;
    const StFile *f;
    const RtProgram *p;
    char (*name)[ST_NAME]; /* by tensor of the file: what the net calls it */
    bool *used;
    Names taken, kept, left;
    RtError *error;
} Init;

/* The file's tensor for one of the net; NULL: none. Two of one name are a mistake. */
static RtStatus find(Init *x, const char *name, const StTensor **found) {
    *found = NULL;
    for (uint32_t i = 0; i < x->f->ntensors; i++) {
        if (strcmp(x->name[i], name) != 0) continue;
        if (*found)
            return rt_fail(x->error, RT_INPUT, "%s: '%s' and '%s' both become the net's '%s'", x->f->path, (*found)->name,
                           x->f->tensor[i].name, name);
        *found = &x->f->tensor[i];
        x->used[i] = true;
    }
    return RT_OK;
}

/* Into a copy of the part's block. */
static RtStatus take_tensor(Init *x, const RtTensor *t, char *block) {
    const StTensor *found;
    char why[ST_NAME];
    RtStatus status = find(x, t->name, &found);
    if (status != RT_OK) return status;
    float *logical = malloc((size_t)rt_tensor_elements(t) * sizeof *logical + 1);
    if (!logical) return rt_fail(x->error, RT_MEMORY, "out of memory: cannot read %s", x->f->path);
    if (rt_tensor_takes(x->f, found, t, logical, why, sizeof why)) {
        rt_tensor_pack(x->p, t, logical, block);
        add_name(&x->taken, "%s", t->name);
    } else if (x->o->init_partial) {
        add_name(&x->kept, "%s (%s)", t->name, why);
    } else {
        status = rt_fail(x->error, RT_INPUT, "%s: %s: %s; --init-partial takes what fits", x->f->path, t->name, why);
    }
    free(logical);
    return status;
}

static RtStatus take_parts(Init *x, RtPart *parts, int nparts) {
    char *copy[RT_MAX_PARTS] = {0};
    RtStatus status = RT_OK;
    for (int i = 0; status == RT_OK && i < nparts; i++) {
        copy[i] = calloc(1, parts[i].bytes + 1);
        if (!copy[i]) status = rt_fail(x->error, RT_MEMORY, "out of memory: cannot read %s", x->f->path);
        if (copy[i] && parts[i].block) memcpy(copy[i], parts[i].block, parts[i].bytes);
        for (uint32_t k = 0; status == RT_OK && k < parts[i].count; k++) status = take_tensor(x, &parts[i].tensors[k], copy[i]);
    }
    if (status == RT_OK && !x->taken.count)
        status = rt_fail(x->error, RT_INPUT, "no tensor of %s has a name and shape of %s", x->f->path, x->p->model);
    rt_parts_settle(parts, nparts, copy, status);
    return status;
}

static RtStatus take_file(Init *x, RtMachine *m) {
    RtPart parts[RT_MAX_PARTS];
    int nparts = rt_weights_parts(x->p, m, parts);
    x->name = calloc(x->f->ntensors + 1, sizeof *x->name);
    x->used = calloc(x->f->ntensors + 1, sizeof *x->used);
    if (!x->name || !x->used) return rt_fail(x->error, RT_MEMORY, "out of memory: cannot read %s", x->f->path);
    for (uint32_t i = 0; i < x->f->ntensors; i++) net_name(x->o, x->f->tensor[i].name, x->name[i]);
    RtStatus status = take_parts(x, parts, nparts);
    for (uint32_t i = 0; i < x->f->ntensors; i++)
        if (!x->used[i]) add_name(&x->left, "%s", x->f->tensor[i].name);
    if (status != RT_OK || !m) return status;
    rt_parts_warn(x->f->path, parts, nparts, x->o->say);
    tell(x->o, "taken", &x->taken);
    tell(x->o, "of the net keep their initial values", &x->kept);
    tell(x->o, "of the file are left", &x->left);
    return RT_OK;
}

RtStatus rt_init_load(const RtProgram *p, RtMachine *m, const RtTrainOptions *o, RtError *error) {
    StFile f;
    if (!o->ninit_map && !o->init_partial)
        return m ? rt_weights_load(o->init_path, m, o->say, error) : rt_weights_check(o->init_path, p, error);
    Init x = {.o = o, .f = &f, .p = p, .error = error};
    RtStatus status = st_open(o->init_path, &f, error);
    if (status == RT_OK) status = take_file(&x, m);
    free(x.name);
    free(x.used);
    st_close(&f);
    return status;
}

RtStatus rt_init_weights(RtMachine *m, const RtData *part, const RtTrainOptions *o, RtError *error) {
    RtStatus status = RT_OK;
    rt_machine_init_params(m, o->seed);
    if (!o->init_path || o->init_partial) status = rt_whiten(m, part, error);
    if (status == RT_OK && o->init_path) status = rt_init_load(rt_machine_program(m), m, o, error);
    return status;
}

/* From options to the list of passes to run: the mode's default, a list that replaces it (--passes=a,b), names that are taken
 * out (--passes=-a, or disabled), and passes from shared objects. Mistakes are user mistakes: they go into diag. */
#include "passes/driver.h"
#include "passes/plugin.h"
#include <dlfcn.h>
#include <string.h>

static void insert(Pipeline *p, uint32_t at, const Pass *pass) {
    ARENA_GROW(p->arena, p->pass, p->count, &p->capacity);
    memmove(&p->pass[at + 1], &p->pass[at], (p->count - at) * sizeof *p->pass);
    p->pass[at] = pass;
    p->count++;
}

/* ---- shared objects ---- */

typedef struct Loaded {
    const NetcPlugin *plugin;
    struct Loaded *next;
} Loaded;

static const NetcPlugin *load(Pipeline *p, const char *path, Diag *diag) {
    /* A name without a slash would be searched for in the system's library path. */
    const char *file = strchr(path, '/') ? path : arena_printf(p->arena, "./%s", path);
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        diag_error(diag, (Span){0}, "cannot load the passes of '%s': %s", path, dlerror());
        return NULL;
    }
    p->library[p->nlibraries++] = library;
    const NetcPlugin *plugin = dlsym(library, "netc_plugin");
    if (!plugin) {
        diag_error(diag, (Span){0}, "'%s' is no plugin for netc: it does not export 'netc_plugin'", path);
        return NULL;
    }
    if (plugin->version != NETC_PLUGIN_VERSION) {
        diag_error(diag, (Span){0}, "'%s' was built for version %u of netc's plugins, this is version %d", path, plugin->version,
                   NETC_PLUGIN_VERSION);
        return NULL;
    }
    return plugin;
}

static bool load_all(Pipeline *p, const PassOptions *o, Loaded **loaded, Diag *diag) {
    p->library = ARENA_ARRAY(p->arena, void *, o->nload);
    for (uint32_t i = 0; i < o->nload; i++) {
        const NetcPlugin *plugin = load(p, o->load[i], diag);
        if (!plugin) return false;
        Loaded *entry = ARENA_NEW(p->arena, Loaded);
        *entry = (Loaded){plugin, NULL};
        *loaded = entry;
        loaded = &entry->next;
    }
    return true;
}

static const Pass *find(const Loaded *loaded, const char *name) {
    for (; loaded; loaded = loaded->next) {
        for (uint32_t i = 0; i < loaded->plugin->count; i++) {
            if (strcmp(loaded->plugin->passes[i].name, name) == 0) return &loaded->plugin->passes[i];
        }
    }
    return pass_find(name);
}

/* Places loaded passes into a default pipeline. */
static bool place(Pipeline *p, const Loaded *loaded, Mode mode, Diag *diag) {
    for (; loaded; loaded = loaded->next) {
        const NetcPlugin *plugin = loaded->plugin;
        uint32_t at = p->count;
        if (plugin->after) {
            while (at > 0 && strcmp(p->pass[at - 1]->name, plugin->after) != 0) at--;
            if (at == 0 && !find(loaded, plugin->after)) {
                diag_error(diag, (Span){0}, "a loaded pass wants to run after '%s', but there is no such pass", plugin->after);
                return false;
            }
            if (at == 0) at = p->count;
        }
        for (uint32_t i = 0; i < plugin->count; i++) {
            if (pass_runs_in(&plugin->passes[i], mode)) insert(p, at++, &plugin->passes[i]);
        }
    }
    return true;
}

/* ---- names ---- */

/* The next name of a comma-separated list, copied; NULL at its end. */
static const char *next_name(Arena *arena, const char **list) {
    if (!*list) return NULL;
    const char *comma = strchr(*list, ',');
    const char *name = arena_strndup(arena, *list, comma ? (size_t)(comma - *list) : strlen(*list));
    *list = comma ? comma + 1 : NULL;
    return name;
}

static bool unknown(const char *name, Diag *diag) {
    diag_error(diag, (Span){0}, "there is no pass '%s'; 'netc help passes' lists them", name);
    return false;
}

static bool append_list(Pipeline *p, const Loaded *loaded, const char *list, Diag *diag) {
    if (!*list) return true;
    for (const char *name; (name = next_name(p->arena, &list));) {
        const Pass *pass = find(loaded, name);
        if (name[0] == '-') {
            diag_error(diag, (Span){0},
                       "a list of passes either names passes to run or, with '-', passes to leave out; '%s' mixes them", name);
            return false;
        }
        if (!pass) return unknown(name, diag);
        insert(p, p->count, pass);
    }
    return true;
}

static bool leave_out(Pipeline *p, const Loaded *loaded, const char *name, Diag *diag) {
    const Pass *pass = find(loaded, name);
    if (!pass) return unknown(name, diag);
    if (pass->required) {
        diag_error(diag, (Span){0}, "the pass '%s' is required and cannot be left out", name);
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->pass[i] != pass) p->pass[kept++] = p->pass[i];
    }
    p->count = kept;
    return true;
}

static bool leave_out_list(Pipeline *p, const Loaded *loaded, const char *list, Diag *diag) {
    for (const char *name; (name = next_name(p->arena, &list));) {
        if (name[0] != '-') {
            diag_error(diag, (Span){0},
                       "a list of passes either names passes to run or, with '-', passes to leave out; '%s' mixes them", name);
            return false;
        }
        if (!leave_out(p, loaded, name + 1, diag)) return false;
    }
    return true;
}

/* A default pipeline as it will run, loaded passes included. A list of names is the user's own order. */
static bool in_order(const Pipeline *p, Diag *diag) {
    const Pass *first, *second;
    if (pass_order(p->pass, p->count, &first, &second)) return true;
    diag_error(diag, (Span){0}, "the pass '%s' has to run after '%s', which the default pipeline runs behind it", first->name,
               second->name);
    return false;
}

static bool fill(Pipeline *p, Mode mode, const PassOptions *o, Diag *diag) {
    Loaded *loaded = NULL;
    if (!load_all(p, o, &loaded, diag)) return false;
    bool listed = o->pipeline && o->pipeline[0] != '-';
    if (listed) {
        if (!append_list(p, loaded, o->pipeline, diag)) return false;
    } else {
        if (!append_list(p, loaded, pass_default_pipeline(mode), diag) || !place(p, loaded, mode, diag) || !in_order(p, diag))
            return false;
        if (o->pipeline && !leave_out_list(p, loaded, o->pipeline, diag)) return false;
    }
    for (uint32_t i = 0; i < o->ndisable; i++) {
        if (!leave_out(p, loaded, o->disable[i], diag)) return false;
    }
    return true;
}

bool pipeline_open(Pipeline *p, Arena *arena, Mode mode, const PassOptions *options, Diag *diag) {
    *p = (Pipeline){.arena = arena};
    if (fill(p, mode, options, diag)) return true;
    pipeline_close(p);
    return false;
}

void pipeline_close(Pipeline *p) {
    while (p->nlibraries > 0) dlclose(p->library[--p->nlibraries]);
}

/* Shared objects with further passes (--load-pass). What one of them may break by being loaded is found here: its version, and
 * names that are none, or that another pass has. */
#include "ir/nearest.h"
#include "passes/driver.h"
#include "passes/plugin.h"
#include "runtime/file.h"
#include <dlfcn.h>
#include <string.h>

static bool refuse(Diag *diag, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(Diag *diag, const char *format, ...) {
    va_list args;
    va_start(args, format);
    diag_vreport(diag, SEV_ERROR, (Span){0}, format, args);
    va_end(args);
    return false;
}

static bool load(Plugins *p, Arena *arena, const char *path, Diag *diag) {
    /* A name without a slash would be searched for in the system's library path. */
    const char *file = strchr(path, '/') ? path : arena_printf(arena, "./%s", path);
    int64_t size;
    const char *why;
    FILE *regular = file_open(file, &size, &why); /* dlopen would wait for a pipe's writer */
    if (regular) fclose(regular);
    void *library = regular ? dlopen(file, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) return refuse(diag, "cannot load the passes of '%s': %s", path, regular ? dlerror() : why);
    uint32_t i = p->count++;
    p->library[i] = library;
    p->path[i] = path;
    p->plugin[i] = dlsym(library, "netc_plugin");
    if (!p->plugin[i]) return refuse(diag, "'%s' is no plugin for netc: it does not export 'netc_plugin'", path);
    if (p->plugin[i]->version != NETC_PLUGIN_VERSION)
        return refuse(diag, "'%s' was built for version %08x of netc's plugins, this is version %08x", path,
                      p->plugin[i]->version, NETC_PLUGIN_VERSION);
    if (!p->plugin[i]->passes || p->plugin[i]->count == 0) return refuse(diag, "'%s' has no passes", path);
    return true;
}

/* A name that a list of passes can say. */
static bool is_name(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return name && *name && !(name[0] >= '0' && name[0] <= '9') && strspn(name, letters) == strlen(name) &&
           strcmp(name, "default");
}

/* Pass `index` of the newest plugin, among all that are loaded. */
static bool check_pass(const Plugins *p, uint32_t index, Diag *diag) {
    uint32_t newest = p->count - 1;
    const char *path = p->path[newest];
    const Pass *pass = &p->plugin[newest]->passes[index];
    if (!is_name(pass->name))
        return refuse(diag, "pass %u of '%s' has no name of letters, digits and '_'%s", index + 1, path,
                      pass->name && *pass->name ? " (and not 'default')" : "");
    if (!pass->run) return refuse(diag, "the pass '%s' of '%s' has no function", pass->name, path);
    bool ours = pass_find(pass->name) != NULL;
    if (ours && !pass->replaces)
        return refuse(diag, "'%s' has a pass '%s', and so has netc; '.replaces = true' in its row takes the place of netc's",
                      path, pass->name);
    if (!ours && pass->replaces) return refuse(diag, "'%s' replaces the pass '%s', which netc does not have", path, pass->name);
    for (uint32_t i = 0; i <= newest; i++) {
        uint32_t before = i == newest ? index : p->plugin[i]->count;
        for (uint32_t k = 0; k < before; k++) {
            if (!strcmp(p->plugin[i]->passes[k].name, pass->name))
                return refuse(diag, "the pass '%s' is loaded twice, from '%s' and '%s'", pass->name, p->path[i], path);
        }
    }
    return true;
}

bool plugins_open(Plugins *p, Arena *arena, const PassOptions *o, Diag *diag) {
    *p = (Plugins){0};
    p->plugin = ARENA_ARRAY(arena, const NetcPlugin *, o->nload);
    p->path = ARENA_ARRAY(arena, const char *, o->nload);
    p->library = ARENA_ARRAY(arena, void *, o->nload);
    for (uint32_t i = 0; i < o->nload; i++) {
        if (!load(p, arena, o->load[i], diag)) return false;
        for (uint32_t k = 0; k < p->plugin[i]->count; k++) {
            if (!check_pass(p, k, diag)) return false;
        }
    }
    return true;
}

void plugins_close(Plugins *p) {
    while (p->count > 0) dlclose(p->library[--p->count]);
}

const Pass *plugins_find(const Plugins *p, const char *name, Mode mode) {
    for (uint32_t i = 0; i < p->count; i++) {
        for (uint32_t k = 0; k < p->plugin[i]->count; k++) {
            const Pass *pass = &p->plugin[i]->passes[k];
            if (!strcmp(pass->name, name) && (!pass->replaces || pass_runs_in(pass, mode))) return pass;
        }
    }
    return pass_find(name);
}

const char *plugins_path(const Plugins *p, const Pass *pass) {
    for (uint32_t i = 0; i < p->count; i++)
        if (pass >= p->plugin[i]->passes && pass < p->plugin[i]->passes + p->plugin[i]->count) return p->path[i];
    return NULL;
}

const char *plugins_nearest(const Plugins *p, Arena *arena, const char *name) {
    uint32_t most = pass_count(), count = 0;
    for (uint32_t i = 0; i < p->count; i++) most += p->plugin[i]->count;
    const char **names = ARENA_ARRAY(arena, const char *, most);
    for (uint32_t i = 0; i < pass_count(); i++) names[count++] = pass_at(i)->name;
    for (uint32_t i = 0; i < p->count; i++) {
        for (uint32_t k = 0; k < p->plugin[i]->count; k++) names[count++] = p->plugin[i]->passes[k].name;
    }
    return nearest_name(name, names, count);
}

/* netc data: get, check, list, path, export, stats. */
#include "cli/set.h"
#include "driver/datasets.h"
#include "driver/driver.h"
#include "driver/picture.h"
#include "ir/nearest.h"
#include "runtime/json.h"
#include "runtime/kept.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *default_directory(const char *name) {
    char *home = rt_data_home(), *directory = join("%s/%s", home, name);
    free(home);
    return directory;
}

static int unknown_set(const char *name) {
    const char *names[8];
    for (int i = 0; i < data_set_count; i++) names[i] = data_sets[i].name;
    const char *near = nearest_name(name, names, (uint32_t)data_set_count);
    if (near) return usage_error("data", "there is no data set '%s'; did you mean '%s'?", name, near);
    return usage_error("data", "there is no data set '%s'; there are cifar10 and cifar100", name);
}

static int get(const Options *o) {
    if (o->noperands != 2) return usage_error("data", "'get' needs the name of one data set: cifar10 or cifar100");
    const DataSet *set = data_set_find(o->operand[1]);
    if (!set) return unknown_set(o->operand[1]);
    char *directory = o->to ? join("%s", o->to) : default_directory(set->name);
    int status = data_get(set, directory);
    if (!status && o->json) {
        printf("{\"data\": ");
        json_write_string(stdout, set->name);
        json_write_text(stdout, "directory", directory);
        puts("}");
    } else if (!status) {
        printf("%s is complete in %s\n", set->name, directory);
    }
    free(directory);
    return status;
}

static int check_directory(const DataSet *set, const char *directory, bool json) {
    static const char *const verdict[] = {[FILE_GOOD] = "good",
                                          [FILE_MISSING] = "missing",
                                          [FILE_SIZE] = "wrong size",
                                          [FILE_SUM] = "SHA-256 sum is not the official file's",
                                          [FILE_UNREADABLE] = "cannot be read"};
    int bad = 0;
    for (int i = 0; i < set->nfiles; i++) {
        FileState state = data_file_check(directory, &set->files[i]);
        char *path = join("%s/%s", directory, set->files[i].name);
        if (json) {
            printf("%s{\"file\": ", i ? ", " : "[");
            json_write_string(stdout, path);
            printf(", \"state\": ");
            json_write_string(stdout, verdict[state]);
            putchar('}');
        } else {
            printf("%s: %s\n", path, verdict[state]);
        }
        free(path);
        bad += state != FILE_GOOD;
    }
    if (json) puts("]");
    return bad ? fail(EXIT_INPUT, "%d of %d files of %s %s not as %s should be", bad, set->nfiles, set->name,
                      bad == 1 ? "is" : "are", bad == 1 ? "it" : "they")
               : EXIT_OK;
}

static int check(const Options *o) {
    if (o->noperands > 2) return usage_error("data", "'check' takes one data set or directory");
    const char *what = o->noperands == 2 ? o->operand[1] : "cifar10";
    const DataSet *set = data_set_find(what);
    char *directory = set ? default_directory(set->name) : join("%s", what);
    if (!set) set = data_set_in(directory);
    int status = set ? check_directory(set, directory, o->json) : set_check(directory, o);
    free(directory);
    return status;
}

static void print_listed(const char *name, const char *state, const char *directory, bool json, bool first) {
    if (!json) {
        printf("%-9s  %-10s  %s\n", name, state, directory);
        return;
    }
    printf("%s{\"data\": ", first ? "[" : ", ");
    json_write_string(stdout, name);
    printf(", \"state\": ");
    json_write_string(stdout, state);
    printf(", \"directory\": ");
    json_write_string(stdout, directory);
    putchar('}');
}

static int list(const Options *o) {
    if (o->noperands > 1) return usage_error("data", "'list' takes nothing, found '%s'", o->operand[1]);
    for (int i = 0; i < data_set_count; i++) {
        char *directory = default_directory(data_sets[i].name);
        int here = 0;
        for (int f = 0; f < data_sets[i].nfiles; f++) {
            char *path = join("%s/%s", directory, data_sets[i].files[f].name);
            here += !access(path, R_OK);
            free(path);
        }
        const char *state = here == data_sets[i].nfiles ? "here" : here ? "incomplete" : "not here";
        print_listed(data_sets[i].name, state, directory, o->json, i == 0);
        free(directory);
    }
    if (o->json)
        puts("]");
    else
        print_listed("synthetic", "built in", "made by netc itself, ten classes of procedural images", false, false);
    return EXIT_OK;
}

static int path(const Options *o) {
    if (o->noperands > 2) return usage_error("data", "'path' takes one data set");
    if (o->noperands == 2 && !data_set_find(o->operand[1])) return unknown_set(o->operand[1]);
    char *directory = o->noperands == 2 ? default_directory(o->operand[1]) : rt_data_home();
    int status = set_home(directory, o);
    free(directory);
    return status;
}

/* One test picture as DIR/00012-ship.png. */
static int export_picture(const RtData *data, int64_t index, const Options *o) {
    const char *directory = o->to;
    int64_t pixels = data->height * data->width;
    const uint8_t *planes = data->test_images + index * 3 * pixels;
    int label = data->test_labels[index];
    Picture picture = {data->width, data->height, malloc((size_t)pixels * 3)};
    if (!picture.rgb) return fail(EXIT_IO, "out of memory");
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) picture.rgb[i * 3 + c] = planes[c * pixels + i];
    char *file = data->class_names ? join("%s/%05" PRId64 "-%s.png", directory, index, data->class_names[label])
                                   : join("%s/%05" PRId64 "-%d.png", directory, index, label);
    char why[256];
    int status = EXIT_OK;
    if (!picture_write(file, &picture, why, sizeof why)) {
        status = fail(EXIT_IO, "cannot write '%s': %s", file, why);
    } else if (o->json) {
        printf("%s", index ? ", " : "");
        json_write_string(stdout, file);
    } else {
        printf("%s\n", file);
    }
    free(file);
    picture_free(&picture);
    return status;
}

static int export(const Options *o) {
    if (o->noperands != 2 || !o->to)
        return usage_error("data", "'export' needs a data set and a directory: netc data export cifar10 --to=DIR");
    RtData data = {0};
    RtError error = {{0}};
    RtStatus opened = rt_data_open(o->operand[1], &data, &error);
    if (opened) return fail_rt(opened, &error);
    int status = EXIT_OK;
    if (data.channels != 3)
        status = fail(EXIT_INPUT, "only RGB pictures can be exported");
    else if (!rt_make_directories(o->to))
        status = fail(EXIT_IO, "cannot make the directory '%s': %s", o->to, strerror(errno));
    bool lists = !status && o->json;
    if (lists) printf("{\"files\": [");
    for (int64_t i = 0; !status && i < o->count && i < data.ntest; i++) status = export_picture(&data, i, o);
    if (lists) puts("]}");
    rt_data_free(&data);
    return status;
}

static int stats(const Options *o) {
    if (o->noperands != 2) return usage_error("data", "'stats' takes one data set or directory");
    return set_stats(o->operand[1], o);
}

int command_data(const Options *o) {
    static const char *const actions[] = {"get", "check", "list", "path", "export", "stats"};
    if (o->noperands == 0) return usage_error("data", "what to do: get, check, list, path, export or stats");
    const char *action = o->operand[0];
    if (!strcmp(action, "get")) return get(o);
    if (!strcmp(action, "check")) return check(o);
    if (!strcmp(action, "list")) return list(o);
    if (!strcmp(action, "path")) return path(o);
    if (!strcmp(action, "export")) return export(o);
    if (!strcmp(action, "stats")) return stats(o);
    const char *near = nearest_name(action, actions, 6);
    if (near) return usage_error("data", "there is no '%s'; did you mean '%s'?", action, near);
    return usage_error("data", "there is no '%s'; there are get, check, list, path, export and stats", action);
}

#include "driver/zoo.h"
#include "driver/session.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static int is_model(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 4 && !strcmp(entry->d_name + length - 4, ".net");
}

/* A file of blocks only is no model. */
static bool has_net(const char *path) {
    size_t length;
    int status;
    char *text = read_file(path, &length, &status);
    bool has = text && (!strncmp(text, "net ", 4) || strstr(text, "\nnet "));
    free(text);
    return has;
}

int zoo_open(Zoo *zoo) {
    *zoo = (Zoo){0};
    char *first = session_shipped_file("models", "resnet20.net");
    if (!first) return fail(EXIT_IO, "the models that come with netc are not there");
    *strrchr(first, '/') = 0;
    struct dirent **found;
    int count = scandir(first, &found, is_model, alphasort);
    zoo->path = calloc(count > 0 ? (size_t)count : 1, sizeof *zoo->path);
    if (count < 0 || !zoo->path) {
        free(first);
        return fail(EXIT_IO, "cannot list the models that come with netc");
    }
    for (int i = 0; i < count; i++) {
        char *path = join("%s/%s", first, found[i]->d_name);
        if (has_net(path))
            zoo->path[zoo->count++] = path;
        else
            free(path);
        free(found[i]);
    }
    free(found);
    free(first);
    return EXIT_OK;
}

void zoo_close(Zoo *zoo) {
    for (uint32_t i = 0; i < zoo->count; i++) free(zoo->path[i]);
    free(zoo->path);
}

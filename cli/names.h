/* Sorted lists of names in directories: of folders, of pictures. */
#ifndef NETC_CLI_NAMES_H
#define NETC_CLI_NAMES_H
#include <stdbool.h>
#include <stdint.h>

typedef struct Names {
    char **name; /* malloc'd, each too */
    uint32_t count;
    uint32_t others; /* files in a list of pictures that are none by their names */
} Names;

void names_free(Names *n);
void names_add(Names *n, char *name);             /* takes it */
int names_by_bytes(const void *a, const void *b); /* the order of all lists, of char * */
bool names_is_directory(const char *path);        /* or a link to one */
/* The folders of a directory by name, or its pictures (.png, .jpg, .jpeg, .ppm, .pgm) with the directory in front; hidden ones
 * are not looked at. False: errno. */
bool names_list(const char *directory, bool folders, Names *names);
/* Adds the pictures in and below a directory: its own, then those of its folders, each in order. Links are followed, but not
 * back to a directory that one is in. Exit status, after a sentence. */
int names_pictures_below(const char *directory, Names *names);
#endif

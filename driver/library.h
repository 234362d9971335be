/* `netc build --infer`: a C library for inference and the header of its users. */
#ifndef NETC_DRIVER_LIBRARY_H
#define NETC_DRIVER_LIBRARY_H
#include "driver/levels.h"
#include "driver/session.h"

/* What the header tells (library_header.c). */
typedef struct LibraryHeader {
    const char *prefix, *model, *library; /* library: the file's name */
    RtProgram shape;                      /* batch, channels, height, width, classes */
    RtNormalize normalize;
    RtViews views;
    RtData data; /* name, statistics and class names; name NULL: not known */
    bool embedded, needs_gemm;
} LibraryHeader;

/* Returns the exit status. */
int library_header_write(const LibraryHeader *h, const char *path);

/* The objects of a library (library_link.c). */
typedef struct LibraryLink {
    const char *target, *prefix, *directory; /* directory: for what is made on the way */
    char *const *object;
    int nobjects;
    bool needs_gemm;
} LibraryLink;

/* Makes `output`, a .a, .so or .o as its suffix says. Returns the exit status. */
int library_link(const LibraryLink *l, const char *output, const char *suffix);

/* --header, or -o's name with .h, malloc'd. The options are those of a library that was made. */
char *library_header_path(const Options *o);

/* The command, from a session whose model is found. */
int build_library(Session *session, const char *target, const Levels *levels);
#endif

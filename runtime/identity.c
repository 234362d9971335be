/* See identity.h. */
#include "runtime/identity.h"
#include "runtime/kept.h"
#include "runtime/sha256.h"
#include <string.h>

static void identify(const RtData *data, bool whole, const char *mark, char text[160]) {
    enum { SOME = 32 };
    size_t image = (size_t)(data->channels * data->height * data->width), some = image < SOME ? image : SOME;
    RtSha256 sum;
    char hex[65];
    rt_sha256_init(&sum);
    rt_sha256_update(&sum, data->train_labels, (size_t)data->ntrain);
    for (int64_t i = 0; i < data->ntrain; i++) {
        const uint8_t *pixels = data->train_images + (size_t)i * image;
        uint64_t hash = whole ? rt_checksum(image, pixels, image) : 0;
        rt_sha256_update(&sum, whole ? (const void *)&hash : pixels, whole ? sizeof hash : some);
    }
    rt_sha256_final(&sum, hex);
    snprintf(text, 160, "%.64s (%lld images of %lldx%lldx%lld, %s%.16s)", data->name, (long long)data->ntrain,
             (long long)data->channels, (long long)data->height, (long long)data->width, mark, hex);
}

static const char whole_mark[] = "whole ";

/* Size and kind, and a hash of the labels and of every image: the same set in another place is the same. */
void rt_data_identity(const RtData *data, char text[160]) { identify(data, true, whole_mark, text); }

bool rt_data_is(const RtData *data, const char *saved, char now[160]) {
    const char *behind = strrchr(saved, '('); /* the name may hold anything */
    if (behind && strstr(behind, whole_mark))
        rt_data_identity(data, now);
    else
        identify(data, false, "", now);
    return !strcmp(saved, now);
}

/* A kernel's name holds a hash of what it computes. */
void rt_code_identity(const RtProgram *p, char text[65]) {
    const RtEntry *entries[] = {&p->train_step, &p->apply_update};
    RtSha256 sum;
    rt_sha256_init(&sum);
    rt_sha256_update(&sum, p->target, strlen(p->target));
    rt_sha256_update(&sum, &p->arena_bytes, sizeof p->arena_bytes);
    for (int e = 0; e < 2; e++)
        for (uint32_t c = 0; c < entries[e]->ncalls; c++)
            rt_sha256_update(&sum, entries[e]->calls[c].name, strlen(entries[e]->calls[c].name) + 1);
    rt_sha256_update(&sum, NETC_VERSION, sizeof NETC_VERSION);
    rt_sha256_final(&sum, text);
}

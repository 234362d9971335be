#include "driver/shown.h"

void show_option(FILE *out, const char *option, const char *value) {
    fprintf(out, " %s", option);
    if (!value) return;
    fputs("='", out);
    for (; *value; value++) fputs(*value == '\'' ? "'\\''" : (const char[]){*value, 0}, out);
    fputc('\'', out);
}

void show_list(FILE *out, const char *option, const TextList *list) {
    for (uint32_t i = 0; i < list->count; i++) show_option(out, option, list->item[i]);
}

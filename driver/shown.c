#include "driver/shown.h"
#include <stdio.h>

void show_option(const char *option, const char *value) {
    printf(" %s", option);
    if (!value) return;
    fputs("='", stdout);
    for (; *value; value++) fputs(*value == '\'' ? "'\\''" : (const char[]){*value, 0}, stdout);
    putchar('\'');
}

void show_list(const char *option, const TextList *list) {
    for (uint32_t i = 0; i < list->count; i++) show_option(option, list->item[i]);
}

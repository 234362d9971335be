/* Pages for a browser that need no network: an HTML file of driver/ with its data in it. */
#ifndef NETC_DRIVER_PAGE_H
#define NETC_DRIVER_PAGE_H

/* Writes the page with `data`, JSON, where it says @DATA@. Exit status, after a sentence. */
int page_write(const char *page, const char *path, const char *data);
#endif

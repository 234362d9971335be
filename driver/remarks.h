/* What is printed of the event log (passes/passes.h): --remarks, --remarks-format, --log. */
#ifndef NETC_DRIVER_REMARKS_H
#define NETC_DRIVER_REMARKS_H
#include "passes/passes.h"

typedef struct Remarks {
    const char *about; /* --remarks: NULL for none, "" for all, or a pass, FILE:LINE, a value's name */
    bool json;
    const char *log;       /* --log: a file; NULL */
    const Diag *diag;      /* where spans are */
    bool logged, remarked; /* is the file begun, and was anything printed? */
} Remarks;

/* Of one mode that has run: prints the remarks that are asked for on stderr, and appends to the log file. Exit status. */
int remarks_write(Remarks *remarks, Mode mode, const PassResult *result);
/* A remark of the choosing pass of codegen, whose context this is. */
void remarks_choice(void *remarks, Span span, const char *text);
#endif

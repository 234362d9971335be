/* What a net makes of the images of each class: precision, recall, F1 and the confusion matrix. */
#ifndef NETC_CLI_CLASSES_H
#define NETC_CLI_CLASSES_H
#include "runtime/rt.h"

char *class_name(const RtData *data, int64_t label); /* malloc'd; "class 3" where they have no names */

void class_print_name(const char *name, int width); /* filled up with spaces, as a terminal counts columns */

/* confusion: i64[K][K] of rt_evaluate_classes. As text, a line of each class and one of their means, and below 25 classes the
 * matrix; as members of a JSON object, ", "classes": [...], "confusion": [[...], ...]". */
void classes_print(const RtData *data, const int64_t *confusion);
void classes_print_json(const RtData *data, const int64_t *confusion);
#endif

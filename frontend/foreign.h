/* What a name of another framework is called here, for messages. */
#ifndef NETC_FRONTEND_FOREIGN_H
#define NETC_FRONTEND_FOREIGN_H

/* Our name of it, or NULL; *remark then says what is done instead, or is NULL too if the name is not known. */
const char *foreign_param(const char *operation, const char *name, const char **remark);
const char *foreign_operation(const char *name, const char **remark);
const char *foreign_key(const char *name, const char **remark); /* of a recipe */
#endif

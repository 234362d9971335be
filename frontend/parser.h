/* Tokens -> syntax tree. */
#ifndef NETC_FRONTEND_PARSER_H
#define NETC_FRONTEND_PARSER_H
#include "frontend/ast.h"

/* Parses a whole file; mistakes are reported, and what could be understood is returned. */
AstFile *parse_file(Names *names, Diag *diag, uint32_t file, const char *text, size_t length);

/* Parses a lone expression, the value of a --set option. NULL after a report. */
AstExpr *parse_setting(Names *names, Diag *diag, uint32_t file, const char *text, size_t length);
#endif

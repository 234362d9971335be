/* The syntax tree of .net files. Nodes live in the arena of the program that they belong to and are never changed after
 * parsing. Names are interned: equal names are the same pointer, and what a name denotes hangs off it. */
#ifndef NETC_FRONTEND_AST_H
#define NETC_FRONTEND_AST_H
#include "frontend/lexer.h"

typedef struct AstExpr AstExpr;
typedef struct AstStatement AstStatement;
typedef struct AstCallable AstCallable;
struct Builtin;

typedef struct Name {
    const char *text;
    const struct Builtin *builtin; /* the operation of this name, or NULL */
    AstCallable *callable;         /* the block or net of this name, or NULL */
    AstCallable *library;          /* the library's block of this name, or NULL */
    uint32_t body, calls;          /* the parser's: calls of this name in function body number `body` */
} Name;

typedef struct Names {
    Arena *arena;
    Name **slot;
    uint32_t count, capacity;
} Names;

Name *name_intern(Names *names, const char *text);

typedef enum ExprKind {
    EXPR_INTEGER,
    EXPR_REAL,
    EXPR_STRING,
    EXPR_BOOL,
    EXPR_NAME,
    EXPR_LIST,
    EXPR_INDEX,
    EXPR_UNARY,
    EXPR_BINARY,
    EXPR_IF,
    EXPR_CALL,
    EXPR_AS
} ExprKind;

typedef struct AstArg {
    Name *name; /* NULL: positional */
    Span name_span;
    AstExpr *value;
} AstArg;

struct AstExpr {
    ExprKind kind;
    uint32_t height; /* of the tree below, bounded by MAX_NESTING so that recursion is */
    Span span;
    union {
        int64_t integer;
        double real;
        bool boolean;
        const char *text;
        Name *name;
        struct {
            AstExpr **item;
            uint32_t count;
        } list;
        struct {
            TokenKind op;
            AstExpr *a, *b; /* UNARY: b is NULL. INDEX: a[b] */
        } pair;
        struct {
            AstExpr *condition, *yes, *no;
        } choice;
        struct {
            Name *callee;
            Span callee_span;
            AstArg *arg;
            uint32_t nargs;
            bool numbered; /* the naming rule gives this call an ordinal: see docs/language.md */
        } call;
        struct {
            AstExpr *call, *name;
            bool shared;
        } as;
    };
};

typedef enum StatementKind {
    STATEMENT_ASSIGN,
    STATEMENT_IF,
    STATEMENT_FOR,
    STATEMENT_ASSERT,
    STATEMENT_RETURN,
    STATEMENT_INPUT,
    STATEMENT_OUTPUT
} StatementKind;

typedef struct AstBody {
    AstStatement **statement;
    uint32_t count;
} AstBody;

struct AstStatement {
    StatementKind kind;
    Span span;
    Name *name; /* ASSIGN, FOR, INPUT */
    Span name_span;
    AstExpr *value; /* ASSIGN, RETURN, OUTPUT; IF and ASSERT: the condition; FOR: first of the range, or the list */
    AstExpr *end; /* FOR: end of the range or NULL; ASSERT: the message or NULL; INPUT: the dimensions, a list; OUTPUT: the weight
                     or NULL */
    AstBody yes, no;
};

typedef struct AstParam {
    Name *name;
    Span span;
    AstExpr *init; /* default value or NULL */
} AstParam;

/* A block, a net, or a bound net. */
struct AstCallable {
    Name *name;
    Span span;         /* of the name where declared */
    bool net, library; /* library: a block of library.net */
    AstExpr *bound;    /* `net a = b(...)`: the call; else NULL */
    AstParam *param;
    uint32_t nparams;
    AstBody body;
};

typedef struct AstSetting { /* key = value of a train block */
    Name *key;
    Span span;
    AstExpr *value;
} AstSetting;

typedef struct AstImport {
    const char *path;
    Span span;
} AstImport;

typedef struct AstFile {
    AstImport *import;
    AstCallable **callable;
    AstSetting *setting;
    uint32_t nimports, ncallables, nsettings;
} AstFile;

enum { MAX_NESTING = 200, MAX_CALL_ARGS = 64, MAX_SETTINGS = 256 };
#endif

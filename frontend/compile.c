/* frontend_compile: loads the program, chooses the net, settles its parameters and the recipe, evaluates, and states the
 * outputs of the graph.
 *
 * A parameter's value comes from --set, else from the outermost binding that names it (`net a = b(depth = 110)`), else
 * from its default. A key of the recipe comes from --set, else from the file itself, else from the last import that sets
 * it, else from recipe_defaults. */
#include "frontend/builtin.h"
#include "frontend/eval.h"
#include "frontend/frontend.h"
#include "frontend/parser.h"
#include "frontend/recipe.h"
#include <string.h>

typedef struct Compiler {
    Program program;
    const FrontendOptions *options;
    Eval ev;
    RtRecipe recipe;
    RecipeSpans at;                  /* where its keys were set */
    const AstCallable *named, *net;  /* what was asked for, and the net that it binds in the end */
    Val labels, labels_mixed, share; /* inputs of training; the latter two where the recipe mixes images */
    Datum *value;                    /* of the net's parameters */
    const AstExpr **given;
    int mistakes; /* of diag before we began */
} Compiler;

/* ---- which net ---- */

static bool choose_net(Compiler *c) {
    const AstFile *root = c->program.root;
    Span top = {c->program.root_file, 0, 1};
    if (c->options->net) {
        const Name *name = name_intern(&c->program.names, c->options->net);
        if (name->callable && name->callable->net) {
            c->named = name->callable;
            return true;
        }
        eval_error(&c->ev, (Span){0}, "'%s' has no net '%s'", diag_file_path(c->program.diag, c->program.root_file),
                   c->options->net);
        return false;
    }
    for (uint32_t i = 0; i < root->ncallables; i++) {
        if (root->callable[i]->net) c->named = root->callable[i];
    }
    if (!c->named) eval_error(&c->ev, top, "this file declares no net; 'net name(...) { ... }' or 'net name = other(...)' does");
    return c->named != NULL;
}

/* Follows `net a = b(...)` down to a net with a body. */
static bool find_body(Compiler *c) {
    uint32_t links = 0;
    const AstCallable *net = c->named;
    for (; net->bound; net = net->bound->call.callee->callable) {
        const AstCallable *next = net->bound->call.callee->callable;
        if (!next || !next->net) {
            eval_error(&c->ev, net->bound->call.callee_span, "there is no net '%s'", net->bound->call.callee->text);
            return false;
        }
        if (++links > MAX_CALL_DEPTH || next == net) {
            eval_error(&c->ev, net->bound->span, "net '%s' is bound to itself, or through more than %d others",
                       c->named->name->text, MAX_CALL_DEPTH);
            return false;
        }
    }
    c->net = net;
    return true;
}

/* ---- parameters ---- */

static Signature net_signature(Compiler *c) {
    const char **name = ARENA_ARRAY(c->ev.arena, const char *, c->net->nparams);
    for (uint32_t i = 0; i < c->net->nparams; i++) name[i] = c->net->param[i].name->text;
    return (Signature){"net", c->net->name->text, name, c->net->nparams, 0};
}

static void bind(Compiler *c, const AstCallable *net) {
    if (!net->bound) return;
    Signature s = net_signature(c);
    Datum *value = ARENA_ARRAY(c->ev.arena, Datum, s.nparams);
    const AstExpr **given = ARENA_ARRAY(c->ev.arena, const AstExpr *, s.nparams);
    bind(c, net->bound->call.callee->callable); /* inner ones first: ours win */
    eval_arguments(&c->ev, net->bound, &s, value, given);
    for (uint32_t i = 0; i < s.nparams; i++) {
        if (!given[i]) continue;
        c->value[i] = value[i];
        c->given[i] = given[i];
    }
}

static void set_parameter(Compiler *c, const char *key, Span span, const AstExpr *value) {
    Signature s = net_signature(c);
    for (uint32_t i = 0; i < s.nparams; i++) {
        if (strcmp(s.param[i], key)) continue;
        c->value[i] = eval_expr(&c->ev, value);
        c->given[i] = value;
        return;
    }
    const char *near = nearest_name(key, s.param, s.nparams);
    if (near)
        eval_error(&c->ev, span, "net '%s' has no parameter '%s'; did you mean '%s'?", s.name, key, near);
    else
        eval_error(&c->ev, span, "net '%s' has no parameter '%s'; keys of the recipe are set as train.%s", s.name, key, key);
}

/* ---- --set ---- */

typedef struct Setting {
    char *key;
    AstExpr *value;
    Span span; /* of the value */
} Setting;

/* "key=value"; in messages the option is a file of its own, named "--set key", holding the value. */
static bool read_setting(Compiler *c, const char *text, Setting *setting) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || strlen(text) > MAX_STRING_BYTES) {
        eval_error(&c->ev, (Span){0}, "'--set %.60s' is not of the form key=value", text);
        return false;
    }
    size_t length = (size_t)(equals - text);
    while (length > 1 && text[length - 1] == ' ') length--;
    setting->key = arena_strndup(c->ev.arena, text, length);
    const char *label = arena_printf(c->ev.arena, "--set %s", setting->key);
    uint32_t file = diag_add_file(c->program.diag, label, equals + 1, strlen(equals + 1));
    setting->span = (Span){file, 0, (uint32_t)strlen(equals + 1)};
    setting->value = parse_setting(&c->program.names, c->program.diag, file, equals + 1, strlen(equals + 1));
    return setting->value != NULL;
}

static void apply_setting(Compiler *c, const Setting *s) {
    if (strncmp(s->key, "train.", 6)) {
        if (c->net)
            set_parameter(c, s->key, s->span, s->value);
        else
            eval_error(&c->ev, s->span, "a graph has no parameter '%s'; keys of the recipe are set as train.%s", s->key, s->key);
        return;
    }
    char *key = s->key + 6, *dot = strchr(key, '.');
    if (dot) *dot = '\0';
    recipe_set(&c->ev, &c->recipe, key, dot ? dot + 1 : NULL, s->span, s->value);
}

/* What the files say. */
static void settle_recipe(Compiler *c) {
    Span top = {c->program.root_file, 0, 1};
    c->at = (RecipeSpans){top, top, top, top, top};
    c->recipe = recipe_defaults();
    for (uint32_t i = 0; i < c->program.nfiles; i++) {
        for (uint32_t k = 0; k < c->program.file[i]->nsettings; k++) {
            const AstSetting *s = &c->program.file[i]->setting[k];
            if (!strcmp(s->key->text, "augment")) c->at.augment = s->value->span;
            if (!strcmp(s->key->text, "optimizer")) c->at.optimizer = s->value->span;
            if (!strcmp(s->key->text, "schedule")) c->at.schedule = s->value->span;
            if (!strcmp(s->key->text, "groups")) c->at.groups = s->value->span;
            if (!strcmp(s->key->text, "validation") || !strcmp(s->key->text, "patience")) c->at.validation = s->value->span;
            recipe_set(&c->ev, &c->recipe, s->key->text, NULL, s->span, s->value);
        }
    }
}

/* And --set; then the recipe is whole. */
static void apply_settings(Compiler *c) {
    for (uint32_t i = 0; i < c->options->nsets; i++) {
        Setting s;
        if (!read_setting(c, c->options->sets[i], &s)) continue;
        if (!strcmp(s.key, "train.augment")) c->at.augment = s.span;
        if (!strncmp(s.key, "train.optimizer", 15)) c->at.optimizer = s.span;
        if (!strncmp(s.key, "train.schedule", 14) || !strcmp(s.key, "train.epochs")) c->at.schedule = s.span;
        if (!strcmp(s.key, "train.groups")) c->at.groups = s.span;
        if (!strcmp(s.key, "train.validation") || !strcmp(s.key, "train.patience")) c->at.validation = s.span;
        apply_setting(c, &s);
    }
    recipe_check(&c->ev, &c->recipe, c->at);
    if (c->options->alike) c->recipe.ngroups = c->recipe.nmix = 0;
}

static void settle(Compiler *c) {
    c->value = ARENA_ARRAY(c->ev.arena, Datum, c->net->nparams);
    c->given = ARENA_ARRAY(c->ev.arena, const AstExpr *, c->net->nparams);
    settle_recipe(c);
    bind(c, c->named);
    apply_settings(c);
    for (uint32_t i = 0; i < c->net->nparams; i++) {
        const AstParam *p = &c->net->param[i];
        if (!c->given[i] && !p->init) {
            eval_error(&c->ev, p->span, "parameter '%s' of net '%s' has no value; '--set %s=...' gives one", p->name->text,
                       c->net->name->text, p->name->text);
        }
    }
}

/* ---- the graph's ends ---- */

static void state_outputs(Compiler *c) {
    Graph *g = c->ev.graph;
    for (uint32_t i = 0; i < c->ev.nbatch_norms; i++) {
        Val v = c->ev.batch_norm[i];
        for (uint32_t k = 1; k <= 2; k++) {
            const char *state = g->value[g->value[v].args[2 + k]].attrs.param.name;
            graph_output(g, OUT_STATE, graph_result(g, v, k), state);
        }
    }
}

/* A value is its own mean: what batch_norm gives is its bias. Said of the first; a net of many such has one cause. */
static void warn_of_single_values(const Compiler *c) {
    const Graph *g = c->ev.graph;
    uint32_t found = 0;
    Val first = NO_VAL;
    for (uint32_t i = 0; i < c->ev.nbatch_norms; i++) {
        Type type = g->value[c->ev.batch_norm[i]].type;
        if (type_elements(type) == type.dim[1] && found++ == 0) first = c->ev.batch_norm[i];
    }
    if (!found) return;
    const char *others = found == 1 ? "" : arena_printf(c->ev.arena, " (the first of %u such)", found);
    diag_report(
        c->ev.diag, SEV_WARNING, g->value[first].span,
        "'batch_norm' of %s%s has a single value per channel: in training its result is its bias, whatever the input, and "
        "nothing in front of it learns; a larger batch has more",
        type_text(c->ev.arena, g->value[first].type), others);
}

static Val loss_of(Compiler *c, Val logits, Val labels, Span span, const char *name) {
    ValueSpec spec = {.op = OP_CROSS_ENTROPY, .args = (Val[]){logits, labels}, .nargs = 2, .name = name};
    spec.attrs.loss.smoothing = c->recipe.label_smoothing;
    return eval_add(&c->ev, span, &spec);
}

static Val binary(Compiler *c, Op op, Val a, Val b, Span span) {
    if (a == NO_VAL || b == NO_VAL) return NO_VAL;
    return eval_add(&c->ev, span, &(ValueSpec){.op = op, .args = (Val[]){a, b}, .nargs = 2, .name = "loss"});
}

static Val input(Compiler *c, const char *name, Type type) {
    return eval_add(&c->ev, c->ev.output, &(ValueSpec){.op = OP_INPUT, .attrs.param.name = name, .declared = type, .name = name});
}

/* share * the loss of the labels + (1 - share) * that of the labels of the images that were mixed in */
static Val mixed_loss_of(Compiler *c, Val logits, Span span) {
    Val loss = loss_of(c, logits, c->labels, span, "loss");
    if (!c->recipe.nmix) return loss;
    Val one = eval_add(&c->ev, span, &(ValueSpec){.op = OP_CONSTANT, .attrs.constant = 1, .name = "loss"});
    Val other = loss_of(c, logits, c->labels_mixed, span, "loss"), rest = binary(c, OP_SUB, one, c->share, span);
    Val own = binary(c, OP_MUL, loss, c->share, span), others = binary(c, OP_MUL, other, rest, span);
    return binary(c, OP_ADD, own, others, span);
}

/* loss + weight * the loss of a further output */
static Val add_auxiliary(Compiler *c, const struct Auxiliary *a, Val loss) {
    Eval *ev = &c->ev;
    int64_t classes = ev->graph->value[ev->logits].type.dim[1], own = ev->graph->value[a->logits].type.dim[1];
    if (own != classes) {
        eval_error(ev, a->span, "this output has %lld classes, the net's output has %lld", (long long)own, (long long)classes);
        return NO_VAL;
    }
    ValueSpec weight = {.op = OP_CONSTANT, .attrs.constant = a->weight, .name = "loss"};
    Val further = mixed_loss_of(c, a->logits, a->span), factor = eval_add(ev, a->span, &weight);
    return binary(c, OP_ADD, loss, binary(c, OP_MUL, further, factor, a->span), a->span);
}

static void train_outputs(Compiler *c) {
    Eval *ev = &c->ev;
    Type type = {DT_I32, 1, {ev->batch}};
    c->labels = input(c, "labels", type);
    if (c->recipe.nmix) c->labels_mixed = input(c, INPUT_LABELS_MIXED, type), c->share = input(c, INPUT_SHARE, type_scalar());
    if (c->labels == NO_VAL) return;
    Val loss = mixed_loss_of(c, ev->logits, ev->output);
    for (uint32_t i = 0; i < ev->nauxiliary; i++) loss = add_auxiliary(c, &ev->auxiliary[i], loss);
    Val pair[2] = {ev->logits, c->labels};
    Val correct = eval_add(ev, ev->output, &(ValueSpec){.op = OP_CORRECT, .args = pair, .nargs = 2, .name = "correct"});
    if (loss == NO_VAL || correct == NO_VAL) return;
    graph_output(ev->graph, OUT_LOSS, loss, NULL);
    graph_output(ev->graph, OUT_CORRECT, correct, NULL);
    state_outputs(c);
    warn_of_single_values(c);
}

static void finish(Compiler *c) {
    Eval *ev = &c->ev;
    bool clean = ev->nreported == 0;
    if (clean && !ev->has_input)
        eval_error(ev, c->net->span, "net '%s' has no input; 'input image: f32[3, 32, 32]' states one", c->net->name->text);
    if (clean && !ev->has_output)
        eval_error(ev, c->net->span, "net '%s' has no output; 'output x' states one", c->net->name->text);
    if (ev->nreported || ev->logits == NO_VAL) return;
    recipe_apply_groups(ev, &c->recipe, ev->graph, false, c->at.groups);
    graph_output(ev->graph, OUT_LOGITS, ev->logits, NULL);
    if (c->options->mode == MODE_TRAIN) train_outputs(c);
}

/* ---- all of it ---- */

static bool evaluate(Compiler *c) {
    Eval *ev = &c->ev;
    if (!choose_net(c) || !find_body(c)) return false;
    settle(c);
    if (diag_error_count(ev->diag) > c->mistakes) return false;
    ev->batch = c->options->batch ? c->options->batch : c->recipe.batch;
    ev->graph = graph_new(c->named->name->text, c->options->mode);
    eval_net(ev, c->net, c->value, c->given);
    finish(c);
    return ev->nreported == 0;
}

bool frontend_compile(const char *path, const FrontendOptions *options, Diag *diag, Model *model) {
    Arena *arena = arena_new();
    Compiler c = {.options = options, .mistakes = diag_error_count(diag)};
    *model = (Model){0};
    bool ok = program_load(&c.program, arena, diag, path);
    if (ok) {
        c.ev = (Eval){.arena = arena, .diag = diag, .names = &c.program.names, .image = NO_VAL, .logits = NO_VAL};
        c.ev.parsed = arena_bytes(arena);
        ok = evaluate(&c);
    }
    if (ok) {
        Arena *kept = c.ev.graph->arena;
        *model = (Model){c.ev.graph, c.recipe, recipe_text(kept, &c.recipe), arena_strdup(kept, c.named->name->text)};
    } else if (c.ev.graph) {
        graph_free(c.ev.graph);
    }
    arena_free(arena);
    return ok;
}

/* A `train` block alone and what is set; then *c has the recipe. False after a report. */
static bool recipe_alone(Compiler *c, Arena *arena, Diag *diag, uint32_t file, const char *text, size_t length) {
    c->mistakes = diag_error_count(diag);
    c->program = (Program){.arena = arena, .diag = diag, .names = {.arena = arena}, .root_file = file};
    builtins_enter(&c->program.names);
    const AstFile *root = parse_file(&c->program.names, diag, file, text, length);
    c->program.file = ARENA_ARRAY(arena, const AstFile *, 1);
    c->program.file[0] = root;
    c->program.nfiles = 1;
    c->program.root = root;
    c->ev = (Eval){.arena = arena, .diag = diag, .names = &c->program.names, .image = NO_VAL, .logits = NO_VAL};
    if (root->nimports || root->ncallables)
        eval_error(&c->ev, (Span){file, 0, 1}, "beside its graphs a graph's text has a 'train' block and nothing else");
    settle_recipe(c);
    apply_settings(c);
    return diag_error_count(diag) == c->mistakes;
}

/* A graph's text has its loss. */
static void check_mix(Compiler *c, const Graph *g) {
    bool mixes = g->mode != MODE_TRAIN || !c->recipe.nmix;
    for (Val v = 0; v < g->count; v++)
        mixes |= g->value[v].op == OP_INPUT && !strcmp(g->value[v].attrs.param.name, INPUT_LABELS_MIXED);
    if (!mixes)
        eval_error(&c->ev, (Span){0},
                   "the recipe's 'mix' needs a graph with the input '%s', which it has where it is made with 'mix'",
                   INPUT_LABELS_MIXED);
}

bool frontend_recipe(const char *text, size_t length, uint32_t file, const FrontendOptions *options, Diag *diag, Model *model) {
    Arena *arena = arena_new();
    Compiler c = {.options = options};
    recipe_alone(&c, arena, diag, file, text, length);
    /* What is frozen is what the graph says, unless it is set; no groups say nothing of a graph that came without a recipe. */
    bool set = options->alike || (c.at.groups.file != file && (length || c.recipe.ngroups));
    recipe_apply_groups(&c.ev, &c.recipe, model->graph, !set, c.at.groups);
    check_mix(&c, model->graph);
    bool ok = diag_error_count(diag) == c.mistakes;
    if (ok) {
        model->recipe = c.recipe;
        model->recipe_text = recipe_text(model->graph->arena, &c.recipe);
    }
    arena_free(arena);
    return ok;
}

bool frontend_settings(const char *text, const char *const *sets, uint32_t nsets, Diag *diag, RtRecipe *recipe, char **changed) {
    Arena *arena = arena_new();
    FrontendOptions options = {.sets = sets, .nsets = nsets};
    Compiler c = {.options = &options};
    bool ok = recipe_alone(&c, arena, diag, diag_add_file(diag, "the recipe built in", text, strlen(text)), text, strlen(text));
    if (ok) {
        *recipe = c.recipe;
        *changed = strdup(recipe_text(arena, &c.recipe));
    }
    arena_free(arena);
    return ok && *changed;
}

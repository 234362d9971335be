#!/usr/bin/env python3
"""Twenty faults planted into netc's own passes, each a shared object that stands for the pass: netc verify finds every one, netc bisect names a
rewrite of that pass (or the pass, where it cannot be left out), netc reduce leaves fewer than 15 values of at least 18."""
import os
import re
import subprocess
import sys

from e2e import GATED_NET, Workspace, check

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = "net n() {\n    input image: f32[3, 8, 10]\n"
NETS = {  # each has what some faults need
    "gated": GATED_NET.replace("[3, 8, 8]", "[3, 8, 10]"),
    "branches": HEAD + """    x = conv2d(image, 8, 3)
    y = conv2d(x * 2 + 0.5, 8, 1) + conv2d(x * 3, 8, 1, bias = false)
    y = relu(batch_norm(y)) + max_pool(y, 3, stride = 1, pad = 1) * max_pool(y, 5, stride = 1, pad = 2)
    y = dropout(y, 0.5) + dropout(y, 0.5)
    z = batch_norm(conv2d(0.5 - conv2d(y, 8, 3), 8, 3))
    z = max_pool(relu(z) + y, 1, stride = 2)
    s = global_avg_pool(conv2d(z, 8, 1) * sigmoid(conv2d(z, 8, 1)) + tanh(z))
    output dense(s, 5)
}
""",
}


# A fault: its kind, the pass, the file of passes/ that has it, the text and what becomes of it.
FAULTS = [
    ("an epilogue that was there is dropped", "fuse_epilogues", "fuse_epilogues.c",
     "e = expr_finish(&s.b, scope_splice(&s, kernel, e, NULL, acc, out));", "e = expr_finish(&s.b, scope_splice(&s, kernel, e, NULL, acc, acc));"),
    ("a region reads the raw result where it meant what the epilogue makes of it", "fuse_epilogues", "fuse_epilogues.c",
     "NULL, acc, out) : out;", "NULL, acc, acc) : acc;"),
    ("a mask keeps the wrong side", "fuse_maps", "fuse_maps.c", "scope_leaf(s, r) : a, b, c);", "scope_leaf(s, r) : a, c, b);"),
    ("a mean is added where it is subtracted", "fuse_maps", "fuse_maps.c", "constant = expr_unary(b, X_NEG, scope_leaf(l->scope, mean));",
     "constant = scope_leaf(l->scope, mean);"),
    ("a sum is taken twice", "squeeze", "squeeze.c", "*total = i ? expr_binary(b, X_ADD, *total, value) : value;",
     "*total = expr_binary(b, X_ADD, i ? *total : value, value);"),
    ("a coefficient is forgotten", "squeeze", "squeeze.c", "value = expr_binary(b, X_MUL, value, t->coefficient);", ";"),
    ("readers of a stored map read what it was computed from", "fuse_prologues", "fuse_prologues.c", "draft_redirect(d, map, stored);",
     "draft_redirect(d, map, d->node[p->node].args[p->arg]);"),
    ("a reader of several outputs reads the first", "share_sweeps", "share_sweeps.c", "draft_region(d, b->args[i])->expr, NULL, 0, 0)",
     "d->node[into].regions[0].expr, NULL, 0, 0)"),
    ("windows of any size are one", "cse", "cse.c", "case ATTR_WINDOW: return memcmp(&a->window, &b->window, sizeof a->window) == 0;", "case ATTR_WINDOW: return true;"),
    ("constants of any value are one", "cse", "cse.c", "case ATTR_CONSTANT: return same_bits(a->constant, b->constant);", "case ATTR_CONSTANT: return true;"),
    ("two dropout layers share a mask", "cse", "cse.c", "return a->dropout.stream == b->dropout.stream && same_bits(a->dropout.rate, b->dropout.rate);",
     "return same_bits(a->dropout.rate, b->dropout.rate);"),
    ("a window with a stride changes nothing", "canonicalise", "canonicalise.c", "a->window.kernel[i] != 1 || a->window.stride[i] != 1", "a->window.kernel[i] != 1"),
    ("the shift behind a convolution is scaled twice", "fold_batch_norm", "fold_batch_norm.c", "(Affine){times(e, c.a, k.b), times(e, c.b, k.b), true}",
     "(Affine){times(e, c.a, k.b), times(e, times(e, c.b, k.b), k.b), true}"),
    ("a shift is added where it is subtracted", "fold_batch_norm", "fold_batch_norm.c", "add(e, l.b, negate(e, r.b)), true}", "add(e, l.b, r.b), true}"),
    ("what other regions meant by the result of an epilogue is forgotten", "fuse_epilogues", "fuse_epilogues.c",
     "scope_splice(&s, kernel, region->expr, NULL, acc, out)", "scope_splice(&s, kernel, region->expr, NULL, acc, acc)"),
    ("a prologue is dropped", "fuse_prologues", "fuse_prologues.c", "const Expr *e = expr_finish(&s.b, scope_splice(&s, map.node, body, NULL, 0, 0));",
     "const Expr *e = expr_finish(&s.b, scope_leaf(&s, s.leaf[p.arg]));"),
    ("a prologue is at another operand", "fuse_prologues", "fuse_prologues.c", ".role = REGION_PROLOGUE, .operand = (int)p.arg,", ".role = REGION_PROLOGUE, .operand = 0,"),
    ("a gate is taken out of its loop as a vector", "fuse_maps", "fuse_maps.c",
     "rank == 2 ? type_matrix(space.dim[0], space.dim[1]) : rank == 1 ? type_vector(space.dim[1])", "rank >= 1 ? type_vector(space.dim[1])"),
    ("a gradient passes where it is masked", "autodiff", "gradients.c", "expr_select(b, n.arg[0], yes, times(b, n.arg[2], dy))",
     "expr_select(b, n.arg[0], times(b, n.arg[2], dy), yes)"),
    ("a variance without eps", "split_batch_norm", "split_batch_norm.c", "map_read(&m, var), expr_const(&m.expr, v->attrs.norm.eps)", "map_read(&m, var), expr_const(&m.expr, 0)"),
]
FILES = {"autodiff": ["autodiff.c", "gradients.c"]}


GLUE = """#include "passes/plugin.h"
enum { LOWERED = PASS_ANY & ~TIER_SOURCE };
static const Pass rows[] = {
#define PASS(NAME, ...) {#NAME, pass_##NAME, .replaces = true, __VA_ARGS__},
#define PIPELINE(mode, names)
#include "passes/passes.def"
};
enum {
#undef PASS
#define PASS(NAME, ...) ROW_##NAME,
#include "passes/passes.def"
};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, rows + ROW_%s, 1, NULL};
"""


def build(at, compiler, include, fault):
    """The pass with the fault, of all files that it is made of."""
    kind, name, wrong, old, new = fault
    folder = at(kind.replace(" ", "_"))
    os.makedirs(folder)
    sources = [os.path.join(folder, "glue.c")]
    with open(sources[0], "w", encoding="utf-8") as file:
        file.write(GLUE % name)
    for part in FILES.get(name, [wrong]):
        with open(os.path.join(SOURCE, "passes", part), encoding="utf-8") as file:
            text = file.read()
        check(part != wrong or text.count(old) == 1, f"the fault '{kind}' has no place: '{old}' is {text.count(old)} times in passes/{part}")
        sources.append(os.path.join(folder, part))
        with open(sources[-1], "w", encoding="utf-8") as file:
            file.write(text.replace(old, new) if part == wrong else text)
    out = os.path.join(folder, "wrong.so")
    # Its own functions, not those of the same names that netc exports.
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-Wl,-Bsymbolic", *[f"-I{i}" for i in include], *sources, "-o", out], check=True)
    return out


REQUIRED = ["lower", "split_batch_norm", "autodiff"]  # they ask nobody before a rewrite
BISECTED = re.compile(r": rewrite \d+(?: of \d+)? (?:is wrong|crashes): \S+, of the pass (\w+?)(?:#\d+)? of '(.*)'$", re.M)
LEFT = re.compile(r"^(\d+) values? (?:is|are) left of (\d+)", re.M)


def try_fault(at, fault, so):
    """How many values are left; checks all that is promised of the fault."""
    kind, name = fault[:2]
    for net in NETS:
        process = at.start("verify", at(net + ".net"), f"--load-pass={so}")
        out, err = process.communicate()
        if process.returncode:
            break
    check(process.returncode in (1, 70), f"{kind}: netc verify finds nothing")
    if process.returncode == 1:
        check(re.search(rf"the pass '{name}(#\d+)?' of '{so}' is wrong", err), f"{kind}: {err}")
    else:
        check(f"'{name}' is a pass of '{so}'" in err or f"pass '{name}" in err, f"{kind}: {err}")
    mode = "--mode=infer" if "inference: " in err else "--mode=train"
    if name in REQUIRED:
        _, err = at.run("bisect", at(net + ".net"), mode, f"--load-pass={so}", status=1)
        check(f"it is wrong already, by the pass '{name}' of '{so}'" in err, f"{kind}: {err}")
    else:
        out, _ = at.run("bisect", at(net + ".net"), mode, f"--load-pass={so}")
        found = BISECTED.findall(out)
        check(found and all(f == (name, so) for f in found), f"{kind}: {out}")
    out, _ = at.run("reduce", at(net + ".net"), mode, f"--load-pass={so}", "-o", at("reduced.ir"))
    check(f"the pass '{name}' of '{so}' " in out, f"{kind}: {out}")
    left = int(LEFT.search(out).group(1))
    print(f"{kind}: {left} values are left", flush=True)
    return left


def main(at):
    compiler, include = sys.argv[2], sys.argv[3:]
    for net, text in NETS.items():
        with open(at(net + ".net"), "w", encoding="utf-8") as file:
            file.write(text)
    left = [try_fault(at, fault, build(at, compiler, include, fault)) for fault in FAULTS]
    check(len(left) == 20 and sum(n < 15 for n in left) >= 18, f"values that are left: {left}")


with Workspace() as workspace:
    main(workspace)

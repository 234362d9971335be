#!/usr/bin/env python3
"""netc reduce: a net that a wrong pass makes wrong, or that crashes one, becomes a few values that fail in the same way by the command
that it prints; a command may judge instead; what is right is not reduced. And what a crash leaves: netc-repro-PASS.ir."""
import os
import re
import sys

from e2e import GATED_NET, Workspace, check, shown_words

LEFT = re.compile(r"^(\d+) values? (?:is|are) left of (\d+)", re.M)


def shown(out):
    """The command that shows it again."""
    line = next(line for line in out.split("\n") if line.startswith("    netc verify "))
    return shown_words(line)[1:]


def main(at):
    wrong, autodiff, broken = sys.argv[2:5]
    net = at("small.net")
    with open(net, "w", encoding="utf-8") as file:
        file.write(GATED_NET)
    path = at("reduced.ir")
    _, err = at.run("reduce", net, "-o", path, status=1)
    check("nothing fails: " in err and not os.path.exists(path), err)

    def reduce(*options, values):
        out, _ = at.run("reduce", net, "-o", path, *options)
        left, of = map(int, LEFT.search(out).groups())
        check(left <= values and of > 60, f"{options}: {out}")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        check(text.startswith(f"# reduced by netc from {of} values of small\n"), text)
        return out, text

    # Wrong, by the evaluator: the pass and its file stay to blame, and the command shows it.
    for fault, place, values in [("wrong_sign", "after:share_sweeps", 8), ("wrong_mask", "after:share_sweeps", 8), ("wrong_side", "after:share_sweeps", 13),
                                 ("wrong_term", "after:share_sweeps", 13), ("wrong_user", "after:share_sweeps", 13), ("wrong_maximum", "before:autodiff", 8)]:
        out, _ = reduce("--mode=train", f"--load-pass={wrong}", f"--passes=train:default+{fault}@{place}", values=values)
        check(f"the pass '{fault}' of '{wrong}' is wrong: " in out, out)
        command = shown(out)
        check(sum(word.startswith("--passes=train:") and word.count(",") < 5 for word in command) == 1, f"few passes are left: {command}")
        _, err = at.run(*command, status=1)
        check(f"the pass '{fault}'" in err, err)
    # A graph as text, in both modes; the first that fails.
    at.run("ir", net, "--mode=both", "-o", at("both.ir"))
    out, _ = at.run("reduce", at("both.ir"), "-o", path, f"--load-pass={wrong}", "--passes=default+wrong_sign@before:fuse_maps")
    check("small, training: the pass 'wrong_sign'" in out, out)
    # An option of a kind that has been fused already, whose regions and Exprs are taken apart.
    at.run("ir", net, "--mode=infer", "--stage=final", "-o", at("final.ir"))
    out, _ = at.run("reduce", at("final.ir"), "-o", path, "--mode=infer", f"--load-pass={wrong}", "--passes=infer:wrong_sign")
    check(int(LEFT.search(out).group(1)) <= 12, out)
    _, err = at.run(*shown(out), status=1)
    check("the pass 'wrong_sign'" in err, err)
    # A wrong gradient.
    out, _ = reduce("--mode=train", f"--load-pass={autodiff}", values=12)
    check(f"the pass 'autodiff' of '{autodiff}' is wrong: " in out, out)

    # Crashes, and graphs that are not sound.
    for fault in ["crash", "unsound", "drops_output"]:
        out, _ = reduce("--mode=infer", f"--load-pass={broken}", f"--passes=infer:lower,split_batch_norm,cse,{fault}", values=3)
        check(f"the pass '{fault}' of '{broken}' crashes, or what it leaves is unsound" in out, out)
        _, err = at.run(*shown(out), status=70)
        check(f"the pass '{fault}'" in err, err)
    # Where it happens the graph is kept, and the file to blame is named.
    _, err = at.run("ir", net, "--mode=infer", "--stage=final", f"--load-pass={broken}", "--passes=infer:lower,split_batch_norm,crash", status=70)
    check(f"'crash' is a pass of '{broken}'" in err and len(err.split("\n")) == 4, err)
    again = err.split("it shows again with: netc ")[1].split()
    check(os.path.exists(at("netc-repro-crash.ir")), "the graph is kept")
    _, err = at.run(*again, status=70)
    check("the pass 'crash' crashed" in err, err)

    # A command judges.
    out, text = reduce("--mode=infer", "--cmd=test $(grep -c '= conv2d' $NETC_IR) -lt 2 || exit 7", values=6)
    check(text.count("= conv2d") == 2 and "the command exits with 7" in out, text)
    _, err = at.run("reduce", net, "--cmd=no-such-command-here", status=2)
    check("cannot be run" in err, err)
    _, err = at.run("reduce", net, "--mode=infer", "--cmd=echo >>" + at("tries") + "; false", "-o", at("no", "where.ir"), status=3)
    check("cannot write" in err and open(at("tries")).read() == "\n", "where nothing can be written, nothing is reduced first")
    for options, says in [(["--cpu=native"], "without '--compiled'"), (["--cmd=false", "--compiled"], "'--compiled' has no effect"), (["-o", "x.txt"], "NAME.ir"),
                          ([net], "one model at a time")]:
        _, err = at.run("reduce", net, *options, status=2)
        check(says in err, err)


with Workspace() as workspace:
    main(workspace)

#!/usr/bin/env python3
"""netc bisect: the one wrong rewrite among many is named, with its place, what it changes and commands that show it and leave it out; two
wrong ones are both found; a crash is found; a command judges instead of the evaluator, and may not be able to."""
import re
import sys

from e2e import GATED_NET, NETC, Workspace, check, shown_words

FOUND = re.compile(r"^small, (training|inference): rewrite (\d+)(?: of \d+)? (is wrong|crashes): (\S+), of the pass (\w+) of '(.*)'$", re.M)


def main(at):
    wrong, autodiff = sys.argv[2:4]
    net = at("small.net")
    with open(net, "w", encoding="utf-8") as file:
        file.write(GATED_NET)
    _, err = at.run("bisect", net, status=1)
    check("nothing is wrong: with all rewrites" in err, err)

    def bisect(fault, *options, status=0, at_end=False):
        place = f"--passes=default+{fault}@{'after:share_sweeps' if at_end else 'before:fuse_maps'}"
        return at.run("bisect", net, f"--load-pass={wrong}", place, *options, status=status)

    # One wrong rewrite of many: what is said of it is true.
    out, _ = bisect("wrong_third")
    found = FOUND.findall(out)
    check([(f[0], f[2], f[4], f[5]) for f in found] == [("training", "is wrong", "wrong_third", wrong), ("inference", "is wrong", "wrong_third", wrong)], out)
    check("small.net:3:14: remark: the sum 3 of batch_norm1 is turned round" in out and "small.net:5:13: remark: the sum 3 of batch_norm3" in out, out)
    check(out.count("= sub ") == 2 and out.count("\n- %") == 2 and out.count("\n+ %") == 2, f"what it changes, and nothing else:\n{out}")
    check(out.count("It is wrong without any other rewrite too.") == 2 and out.count("Without it alone all is right") == 2, out)
    shows = [shown_words(line) for line in out.split("\n") if line.startswith("    netc verify ")]
    without = [shown_words(line)[-1] for line in out.split("\n") if line.startswith("and is left out by ")]
    for i in range(2):
        _, err = at.run(*shows[i][1:], status=1)
        check("the pass 'wrong_third'" in err, err)
        fewer = [word if not word.startswith("--opt-bisect-limit=") else f"--opt-bisect-limit={int(word.split('=')[1]) - 1}" for word in shows[i][1:]]
        at.run(*fewer)
        at.run(*[word for word in shows[i][1:] if "limit" not in word], without[i])

    # A graph as text still knows the lines of the model.
    at.run("ir", net, "--mode=infer", "--batch=2", "-o", at("small.ir"))
    out, _ = at.run("bisect", at("small.ir"), f"--load-pass={wrong}", "--passes=default+wrong_third@before:fuse_maps")
    check("small.net:5:13: remark: the sum 3 of batch_norm3" in out, out)

    # Two; and a crash.
    out, _ = bisect("wrong_twice", "--mode=infer")
    found = FOUND.findall(out)
    check(len(found) == 2 and found[0][3] != found[1][3] and "the sum 2 of" in out and "the sum 5 of" in out and "Without these alone all is right" in out, out)
    out, _ = bisect("wrong_always", "--mode=infer")
    found = FOUND.findall(out)
    check(len(found) == 3 and "Without these 3 it is still wrong, and without any rewrite of the pass wrong_always it is right" in out, out)
    out, _ = bisect("wrong_crash", "--mode=train")
    found = FOUND.findall(out)
    check(len(found) == 1 and found[0][2] == "crashes" and "Without it alone all is right" in out, out)

    # What cannot be left out is wrong.
    _, err = at.run("bisect", net, "--mode=train", f"--load-pass={autodiff}", status=1)
    check("without any rewrite that could be left out it is wrong already, by the pass 'autodiff' of '" + autodiff in err, err)

    # A command judges: the graphs of both modes, and the options that make them.
    out, _ = bisect("wrong_third", "--cmd", "sed /infer$/q $NETC_IR | grep -q 't0 = sub a1, a0' && exit 1; exit 0", at_end=True)
    found = FOUND.findall(out)
    check([(f[0], f[4]) for f in found] == [("training", "wrong_third")] and "netc ir" in out, out)
    by_options = f"'{NETC}' ir '{net}' --mode=train --load-pass='{wrong}' --passes=default+wrong_third@after:share_sweeps $NETC_REWRITES --stage=final"
    out, _ = bisect("wrong_third", "--mode=train", "--cmd", f"! {by_options} | grep -q 't0 = sub a1, a0'", at_end=True)
    check(FOUND.findall(out) == found, f"by the graph: {found}, by the options: {out}")
    _, err = bisect("wrong_third", "--cmd", "exit 0", status=1)
    check("nothing is wrong" in err, err)
    _, err = bisect("wrong_third", "--cmd", "exit 1", status=1)
    check("the command fails without any rewrite" in err, err)
    _, err = bisect("wrong_third", "--cmd", "exit 125", status=1)
    check("cannot judge" in err, err)
    _, err = bisect("wrong_third", "--mode=infer", "--cmd", "case $NETC_REWRITES in '') exit 1;; *=0) exit 0;; esac; exit 125", status=1)
    check("it is one of the rewrites 1 to " in err, err)
    _, err = bisect("wrong_third", "--cmd", "/nowhere/at/all", status=1)
    check("cannot be run" in err, err)
    at.run("bisect", net, "--cmd", "true", "--inputs=x", status=2)


with Workspace() as workspace:
    main(workspace)

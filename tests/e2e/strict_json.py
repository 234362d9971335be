"""Every writer of JSON writes JSON, also about numbers that are not finite: NaN, Infinity and -Infinity are no words of it."""
import json
import os
import struct

from e2e import SMALL, Workspace, check, read_safetensors, write_png, write_safetensors


def strict(text):
    def refuse(word):
        check(False, f"'{word}' is no JSON: {text[:300]}")

    return json.loads(text, parse_constant=refuse)


def damaged(at, value):
    """Weights of small.net with one that is not finite."""
    at.run("init", SMALL, "-o", at("good.safetensors"))
    tensors = read_safetensors(at("good.safetensors"))
    dtype, shape, data = tensors["dense.weight"]
    tensors["dense.weight"] = (dtype, shape, struct.pack("<f", value) + data[4:])
    write_safetensors(at("bad.safetensors"), tensors)
    return at("bad.safetensors")


def every_command(at):
    """`--json` of every command that `netc help` lists: JSON alone on standard output, one value a line (of ir, a value)."""

    def lines(*words, **more):
        out = at.run(*words, "--json", **more)[0]
        check(out.endswith("\n"), f"{words}: {out}")
        return [strict(line) for line in out.splitlines()]

    def one(*words, **more):
        got = lines(*words, **more)
        check(len(got) == 1, f"{words}: {len(got)} lines")
        return got[0]

    commands = {c["command"]: c for c in one("help")["commands"]}
    lacking = [name for name, c in commands.items() if not any(o["option"] == "--json" for o in c["options"])]
    check(not lacking, f"no --json: {lacking}")
    check({o["option"]: o["value"] for o in one("help", "eval")["options"]}["--weights"] == "FILE", "help eval")
    check(any(p["pass"] == "cse" and p["train"] for p in one("help", "passes")["passes"]) and "block" in one("help", "library")["library"], "help of passes")

    weights = at("w.safetensors")
    made = one("init", SMALL, "--seed", 5, "-o", weights)
    check(made["file"] == weights and made["seed"] == 5 and made["parameters"] > 1000 and len(made["weights_sha256"]) == 64, f"{made}")
    trained = one("train", SMALL, "--steps", 1, "--batch", 8, "--out", at("first"))
    one("eval", SMALL, "--weights", weights, "--classes")
    one("predict", SMALL, "--weights", weights, at("p.png"))
    one("lrfind", SMALL, "--steps", 20, "--batch", 8)
    check(one("runs", at("first"))[0]["step"] == 1 and trained["step"] == 1, "runs")
    one("report", at("first"), "--curves", "-o", at("r.html"))
    with open(at("few.sweep"), "w") as file:
        file.write(f"model {SMALL}\nseeds 1\noptions --steps=1 --batch=8\n")
    one("sweep", at("few.sweep"), "--out", at("swept"))

    graph = at.run("ir", SMALL, "--json")[0]
    check(strict(graph) and graph == at.run("ir", SMALL, "--format=json")[0], "ir")
    one("passes", SMALL, "--mode=infer")
    one("verify", SMALL, "--mode=infer")
    one("ablate", SMALL, "--mode=infer", "--repeats", 1, "--batch", 2)
    one("why", SMALL, "--mode=infer")
    one("lint", SMALL, "--batch", 8)
    explored = one("explore", SMALL, "--mode=infer", "-o", at("x.html"))
    check(explored["file"] == at("x.html") and explored["passes"] > 3, f"{explored}")
    reduced = one("reduce", SMALL, "--mode=infer", "--cmd=echo not this; ! grep -q pool $NETC_IR", "-o", at("less.ir"))
    check(reduced["fails"] == "command" and reduced["values"] < reduced["values_before"] and "graph" in reduced["graph"], f"{reduced}")
    script = "echo not this; case \"$NETC_REWRITES\" in *limit=[0-2]) exit 0;; *--forbid*) exit 0;; *) exit 1;; esac"
    found = one("bisect", SMALL, "--mode=infer", f"--cmd={script}")
    check(found["right_without"] and found["failed"] is None and found["found"][0]["number"] == 3 and found["found"][0]["again"].startswith("netc ir "), f"{found}")
    # The search ends before its end: what was found is said, and why it ended.
    for rest, why in (("*limit*--forbid*", "it is one of the rewrites 4 to "), ("--forbid*", "the command cannot judge what is left without it")):
        script = f"case \"$NETC_REWRITES\" in {rest}) exit 125;; *limit=[0-2]) exit 0;; *) exit 1;; esac"
        found = one("bisect", SMALL, "--mode=infer", f"--cmd={script}", status=1)
        check([c["number"] for c in found["found"]] == [3] and not found["right_without"] and why in found["failed"], f"{found}")
    built = one("build", SMALL, "--emit=obj", "-o", at("small.o"))
    check(built["kind"] == "obj" and built["bytes"] == os.path.getsize(at("small.o")) and built["cpus"], f"{built}")

    with open(at("ugly.net"), "w") as file:
        with open(SMALL) as small:
            file.write(small.read().replace(" = ", "  = ", 1))
    formatted = one("fmt", at("ugly.net"))
    check(not formatted["canonical"] and formatted["text"] == at.run("fmt", at("ugly.net"))[0], "fmt")
    check(not one("fmt", "--check", at("ugly.net"), status=1)["written"] and one("fmt", "--write", at("ugly.net"))["written"], "fmt --write")
    check(one("fmt", at("ugly.net"))["canonical"], "it is not rewritten")
    os.makedirs(at("cases"))
    for name, want in ("good", "values"), ("bad", "no such \\"):
        with open(at("cases", name + ".net"), "w") as file:
            file.write(f"# run: netc passes {SMALL} --mode=infer\n# check: {want}\n")
    tested = one("test", at("cases"), status=1)
    check((tested["passed"], tested["failed"]) == (1, 1) and tested["tests"][0]["outcome"] == "failed" and tested["tests"][0]["printed"], f"{tested}")

    one("data", "list")
    one("data", "path")
    one("data", "stats", "synthetic")
    one("data", "check", "synthetic")
    one("data", "check", "cifar10", status=1)
    one("cache", "info")
    one("cache", "clear")
    files = one("data", "export", "synthetic", "--to", at("pictures"), "--count", 3)["files"]
    check(len(files) == 3 and all(os.path.exists(f) for f in files), f"{files}")


with Workspace() as at:
    write_png(at("p.png"), 4, 4, kind=0, pixel=lambda x, y: [60 * x])
    for value in (float("nan"), float("inf")):
        weights = damaged(at, value)
        result = strict(at.run("eval", SMALL, "--weights", weights, "--json")[0])
        check(result["loss"] is None, f"eval with {value}: {result}")
        top = strict(at.run("predict", SMALL, "--weights", weights, "--json", at("p.png"))[0])["top"]
        check(top[0]["probability"] is None, f"predict with {value}: {top}")
    # The loss overflows while the step goes on: --init with weights that are too large.
    at.run("train", SMALL, "--steps", 2, "--batch", 8, "--log-every", 1, "--out", at("run"), "--init", weights, status=1)
    for name in os.listdir(at("run")):
        if name.endswith(".jsonl"):
            with open(at("run", name)) as file:
                for line in file:
                    strict(line)
    strict(at.run("bench", SMALL, "--repeats", 1, "--json")[0])
    strict(at.run("bench", SMALL, "--repeats", 1, "--mode", "train", "--convolutions", "--json")[0])
    for stage in ("source", "autodiff", "final"):
        strict(at.run("ir", SMALL, "--stage", stage, "--format", "json")[0])
    every_command(at)
    print("every command, eval, predict, bench, ir and metrics write JSON that a strict reader takes")

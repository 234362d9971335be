"""Passes from the command line: initial weights do not depend on them, a list for training never reaches inference, and a checkpoint
knows by which passes its steps were computed."""
import json
import os
import struct

from e2e import HERE, SMALL, Workspace, check, read_safetensors

LIST = "lower,split_batch_norm,autodiff,canonicalise,dce"
TRAIN = ["--data", "synthetic", "--log-every", 1, "-q", "--threads", 1]


def initial(at, *options):
    at.run("init", "se_resnet20", "-o", at("w.safetensors"), *options)
    return read_safetensors(at("w.safetensors"))


with Workspace() as at:
    default = initial(at)
    for options in (["--disable-pass=fuse_epilogues"], ["--passes", LIST], ["--opt-bisect-limit", 100]):
        found = initial(at, *options)
        check(list(found) == list(default) and found == default, f"{options} gives other initial weights, or another order")
    check(initial(at, "--seed", 1) != default, "another seed gives the same weights")

    # The list of training, where both are compiled, is training's only.
    out, _ = at.run("bench", SMALL, "--repeats", 1, "--json", "--passes", LIST)
    both = json.loads(out)
    check("train" in both and "infer" in both, f"bench timed {list(both)}")
    at.run("train", SMALL, *TRAIN, "--steps", 2, "--out", at("run"), "--passes", "train:" + LIST + ";infer:-fuse_maps")
    _, err = at.run("eval", SMALL, "--data", "synthetic", "--weights", at("run", "last.safetensors"), "--passes", LIST, status=2)
    check("'autodiff' does not rewrite graphs of inference" in err, err)

    # A checkpoint knows its passes.
    run = ["train", SMALL, *TRAIN, "--out", at("resumed")]
    mine = ["--passes", "-share_sweeps", "--recompute", 1]
    at.run(*run, *mine, "--steps", 2)
    with open(at("resumed", "last.safetensors"), "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))["__metadata__"]
    out, _ = at.run("passes", SMALL, "--passes", "-share_sweeps", "--recompute", 1)
    lists = [line.removeprefix("--passes='").removesuffix("'") for line in out.split("\n") if line.startswith("--passes=")]
    check(head["pipeline"] == ";".join(lists), f"{head['pipeline']} is not what 'netc passes' prints: {lists}")
    check(len(head["pipeline_sha256"]) == 64, "no hash")
    for others in ([], [*mine, "--disable-pass", "cse#1"], [*mine, "--opt-bisect-limit", 9]):
        _, err = at.run(*run, *others, "--steps", 4, "--resume", status=1)
        check("made by other passes" in err.strip().split("\n")[-1], err)
    at.run(*run, *mine, "--steps", 3, "--resume")
    at.run(*run, "--steps", 4, "--resume", "--repass")

    for command in (["train", "--data", "synthetic"], ["bench"], ["init", "-o", at("never")], ["build", "-o", at("never")]):
        _, err = at.run(command[0], SMALL, *command[1:], "--passes", "lower,split_batch_norm", status=2)
        check("no gradient of" in err and len(err.strip().split("\n")) == 1, err)

    # Rules are passes: a checkpoint has them, however they are written; what they do is verified in any order, and can be bisected.
    examples = os.path.join(HERE, "..", "..", "docs", "examples", "passes")
    gated, rules = os.path.join(examples, "gated.net"), os.path.join(examples, "gated.rules")
    with open(rules, encoding="utf-8") as file, open(at("spread.rules"), "w", encoding="utf-8") as other:
        other.write(file.read().replace(",", " ,\n").replace("=>", "# is\n=>"))
    run = ["train", gated, *TRAIN, "--out", at("ruled"), "--set", "train.batch=16"]
    at.run(*run, "--rules", rules, "--steps", 2)
    with open(at("ruled", "last.safetensors"), "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))["__metadata__"]
    check(" rules=factor: add(mul(x, a), mul(" in head["pipeline"] and ",rules," in head["pipeline"], head["pipeline"])
    at.run(*run, "--rules", at("spread.rules"), "--steps", 3, "--resume")
    with open(at("spread.rules"), "a", encoding="utf-8") as file:
        file.write("more: neg(neg(neg(x))) => sub(0, x)\n")
    for others in ([], ["--rules", at("spread.rules")]):
        _, err = at.run(*run, *others, "--steps", 4, "--resume", status=1)
        check("made by other passes" in err, err)
    out, _ = at.run("verify", gated, "--rules", rules, "--each", "--fuzz", 12, "--compiled")
    check("WRONG" not in out and out.count("ok    the pass rules#1: ") == 2 and out.count("orders and subsets") == 2, out)
    _, err = at.run("bisect", gated, "--rules", rules, status=1)
    check("nothing is wrong" in err, err)
    out, _ = at.run("why", gated, "--rules", rules, "--mode=infer")
    check("feature maps are stored" in out, out)
    for stage in ("source", "autodiff"):
        at.run("ir", gated, "--mode=both", "--stage", stage, "-o", at("gated.ir"))
        plain, ruled = (at.run("ir", at("gated.ir"), "--mode=both", "--stage=final", *o)[0] for o in ([], ["--rules", rules]))
        direct = at.run("ir", gated, "--mode=both", "--stage=final", "--rules", rules)[0]
        check(plain != ruled and (ruled == direct) == (stage == "source"), f"rules on a graph of the stage {stage}")
    run = ["train", SMALL, *TRAIN, "--out", at("resumed")]

    # The log: a line of JSON for each rewrite, done or not, of both modes; and what it names can be forbidden.
    at.run("ir", SMALL, "--mode=both", "--stage=final", "--log", at("log.jsonl"), "-o", at("all.ir"))
    with open(at("log.jsonl"), encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    check({event["mode"] for event in events} == {"train", "infer"} and {event["event"] for event in events} >= {"done", "refused"}, "kinds")
    for event in events:
        check(event["reason"] and event["pass"] and event["ordinal"] >= 1 and event["file"].endswith(".net") and event["line"], str(event))
    done = [event for event in events if event["event"] == "done" and event["mode"] == "train"]
    check([event["number"] for event in done] == list(range(1, len(done) + 1)), "numbers")
    one = done[len(done) // 2]
    at.run("ir", SMALL, "--stage=final", "--log", at("less.jsonl"), "--forbid", "train:" + one["name"], "-o", at("less.ir"))
    with open(at("less.jsonl"), encoding="utf-8") as file:
        less = [json.loads(line) for line in file]
    found = [event for event in less if event["event"] == "forbidden"]
    check([(event["number"], event["name"]) for event in found] == [(one["number"], one["name"])], f"{found} instead of {one}")
    check(open(at("less.ir")).read() != open(at("all.ir")).read(), "a rewrite that is forbidden changes nothing")
    _, err = at.run("bench", SMALL, "--repeats", 1, "--forbid", one["name"] + "x", status=2)
    check("names no rewrite" in err and "did you mean '" + one["name"] + "'?" in err, err)
    _, err = at.run(*run, "--steps", 5, "--resume", "--forbid=3", status=1)
    check("made by other passes" in err, err)

    # Remarks about a pass, a line, a value; as JSON.
    def remarks(about, *options):
        return at.run("ir", SMALL, "--stage=final", "--remarks" + about, *options, "-o", "/dev/null")[1].strip().split("\n")
    everything = remarks("")
    check(all(": remark: fuse_maps" in line for line in remarks("=fuse_maps")), "of a pass")
    line = f"small.net:{one['line']}"
    check(all(line + ":" in text for text in remarks("=" + line)) and 0 < len(remarks("=" + line)) < len(everything), "about a line")
    value = one["name"].split("@")[1].split("/")[0].split(":")[0].split("~")[0]
    check(all(value in text for text in remarks("=" + value)), "about a value")
    check(len([json.loads(text) for text in remarks("=" + value, "--remarks-format=json")]) == len(remarks("=" + value)), "JSON")
    check(remarks("=nothing_such") == ["netc: warning: no remark is about 'nothing_such'"], str(remarks("=nothing_such")))

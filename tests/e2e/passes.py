"""Passes from the command line: initial weights do not depend on them, a list for training never reaches inference, and a checkpoint
knows by which passes its steps were computed."""
import json
import struct

from e2e import SMALL, Workspace, check, read_safetensors

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

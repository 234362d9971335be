"""netc ablate: what it counts is what netc bench says of each variant compiled alone; "the same code" where the graphs are the same; medians lie in
their intervals, whose probability is the binomial one; rewrites, pairs and single passes; passes that are wrong are said to be; bad input."""
import json
import sys

from e2e import SMALL, Workspace, check

BATCH = ("--batch=4", "--set", "se=true")


def ablate(at, *options, model=SMALL):
    out, _ = at.run("ablate", model, *BATCH, "--json", *options)
    return [json.loads(line) for line in out.splitlines()]


def bench(at, mode, variant, *options):
    """The same from a netc of its own."""
    left_out = [f"--disable-pass={name}" for name in variant["disabled"]] + [f"--forbid={name}" for name in variant.get("forbidden", [])]
    out, _ = at.run("bench", SMALL, *BATCH, f"--mode={mode}", "--json", "--repeats=1", *left_out, *options)
    b = json.loads(out)
    kernels = b[mode]["kernels"]
    figures = {"kernels": b["kernels"]}
    if mode == "train":
        figures["arena_bytes"] = b["arena_bytes"]
    for key in ("calls", "flops", "bytes"):
        figures[key] = sum(kernel[key] for kernel in kernels)
    final, _ = at.run("ir", SMALL, *BATCH, f"--mode={mode}", "--stage=final", *left_out, *[o for o in options if not o.startswith("--precision")])
    return figures, final


def agrees(at, found, *options):
    """Every variant's figures are netc bench's; what is said to be the base's code has the base's graph, of inference too."""
    graphs = {}
    for variant in found["variants"]:
        check(variant["compiles"] and variant["agrees"] is True, variant)
        figures, graphs[variant["name"]] = bench(at, found["mode"], variant, *options)
        for key, value in figures.items():
            check(abs(variant[key] - value) <= 1e-6 * abs(value), f"{variant['name']}: {key} is {variant[key]}, of netc bench {value}")
        change = variant["change"]
        check(change["low"] <= change["median"] <= change["high"] and change["shows"] == (change["low"] > 0 or change["high"] < 0), change)
    if found["mode"] == "train": # a graph of inference is for a group
        for variant in found["variants"]:
            same = graphs[variant["name"]] == graphs[found["base"]]
            check(variant["same_code"] == same, f"{variant['name']}: the same graph: {same}")
            check(not same or (variant["change"]["low"], variant["change"]["high"]) == (0, 0), variant)


def names(found):
    return [variant["name"] for variant in found["variants"]]


def main(at):
    wrong = sys.argv[2]
    optional = ["canonicalise", "cse", "dce", "squeeze", "fuse_maps", "recompute", "fuse_epilogues", "fuse_prologues", "share_sweeps"]

    # Each pass left out; both modes.
    train, infer = ablate(at, "--repeats=2")
    check((train["mode"], infer["mode"], train["base"]) == ("train", "infer", "all passes"), train)
    check(names(train) == ["all passes", *optional, "none of them"], names(train))
    check(names(infer) == ["all passes", "fold_batch_norm", *[p for p in optional if p != "recompute"], "none of them"], names(infer))
    agrees(at, train)
    agrees(at, infer)
    of = {variant["name"]: variant for variant in train["variants"]}
    check(of["squeeze"]["sweeps"] > of["all passes"]["sweeps"] and of["fuse_maps"]["maps"] > of["all passes"]["maps"], of)
    check(of["fuse_maps"]["map_bytes"] > of["all passes"]["map_bytes"] and of["none of them"]["bytes"] > 2 * of["all passes"]["bytes"], of)

    # One alone, with an option of code; pairs; rewrites.
    alone, = ablate(at, "--alone", "--mode=train", "--repeats=1", "--precision=bf16")
    check(alone["base"] == "none of them" and alone["coverage"] == 0, alone["base"])
    agrees(at, alone, "--precision=bf16")
    pairs, = ablate(at, "--pairs", "--mode=infer", "--repeats=2")
    both = {v["name"]: v for v in pairs["variants"] if "beyond" in v}
    check(len(both) == 36 and both["fuse_maps, share_sweeps"]["disabled"] == ["fuse_maps", "share_sweeps"], list(both))
    at.run("ir", SMALL, *BATCH, "--mode=train", "--stage=final", "--log", at("log"))
    with open(at("log"), encoding="utf-8") as file:
        done = [e["name"] for e in map(json.loads, file) if e["pass"] == "fuse_prologues" and e["event"] == "done"]
    rewrites, = ablate(at, "--rewrites=fuse_prologues", "--mode=train", "--repeats=1")
    check(done and names(rewrites) == ["all passes", *done], f"{names(rewrites)} of {done}")
    agrees(at, rewrites)

    # Of n rounds: an interval of the n-th, or of those next to it, while that is 95 %.
    for rounds, coverage in ((3, 0.75), (6, 0.96875), (9, 1 - 20 / 512), (12, 1 - 2 * 79 / 4096)):
        found, = ablate(at, "--mode=infer", f"--repeats={rounds}", "--passes=default-cse-dce-canonicalise-squeeze-fold_batch_norm-share_sweeps")
        check(abs(found["coverage"] - coverage) < 1e-9, f"{rounds} rounds: {found['coverage']}")

    # A wrong pass is said to be wrong, and all is right without it.
    found, = ablate(at, "--mode=train", "--repeats=1", f"--load-pass={wrong}", "--passes=default+wrong_third@before:fuse_maps")
    of = {variant["name"]: variant for variant in found["variants"]}
    check(of["all passes"]["agrees"] is False and of["wrong_third"]["agrees"] is True, of)

    # Text, a page, graphs as text.
    out, _ = at.run("ablate", SMALL, *BATCH, "--repeats=1", "--mode=infer")
    check("small, inference, batch 4" in out and "the same code" in out and "1 round in turn" in out, out)
    page, _ = at.run("ablate", SMALL, *BATCH, "--repeats=1", "--html")
    check(page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") and page.count("<table>") == 2 and "http" not in page, page)
    at.run("ir", SMALL, *BATCH, "--mode=both", "-o", at("small.ir"))
    out, _ = at.run("ablate", at("small.ir"), "--json", "--repeats=1", "--mode=train")
    text = json.loads(out)
    check([v["kernels"] for v in text["variants"]] == [v["kernels"] for v in train["variants"]] and text["variants"][0]["agrees"] is True, text)

    at.refuses("ablate", SMALL, "--alone", "--pairs", status=2, says="at a time")
    at.refuses("ablate", SMALL, "--repeats=0", status=2, says="'--repeats' is from 1")
    at.refuses("ablate", SMALL, "--rewrites=autodiff", status=2, says="the pass 'autodiff' rewrites nothing here")
    at.refuses("ablate", SMALL, "--passes=train:lower,split_batch_norm,autodiff", "--mode=train", status=1, says="no pass runs here that could be left out")
    at.refuses("ablate", SMALL, SMALL, status=2, says="one model at a time")
    at.refuses("ablate", at("none.net"), status=1, says="there is no model file")


with Workspace() as workspace:
    main(workspace)

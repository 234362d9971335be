#!/usr/bin/env python3
"""netc verify: what is right is found right, and each of seven wrong passes is found wrong and named, by itself and among random orders; a
wrong gradient is found by differences of the loss; kernels are held on recorded inputs, and what it writes of one runs again."""
import json
import os
import sys

from e2e import GATED_NET, Workspace, check

FAULTS = ["wrong_sign", "wrong_maximum", "wrong_mask", "wrong_side", "wrong_term", "wrong_user"]


def held(out):
    return [json.loads(line) for line in out.splitlines()]


def main(at):
    wrong, autodiff = sys.argv[2:4]
    net = at("small.net")
    with open(net, "w", encoding="utf-8") as file:
        file.write(GATED_NET)

    # what is right
    for options in ([], ["--each"], ["--compiled"], ["--mode=infer", "--compiled", "--precision=bf16"], ["--seed=7", "--recompute=1", "--mode=train"],
                    ["--fuzz=12", "--seed=3"], [f"--load-pass={wrong}", "--passes=default+right@before:fuse_maps", "--each"]):
        out, err = at.run("verify", net, "--json", *options)
        verdicts = held(out)
        check(len(verdicts) == (1 if any(o.startswith("--mode") for o in options) else 2), f"{options}: a verdict per mode")
        check(all(v["right"] for v in verdicts), f"{options}: all is right")
        check(all(item["of_tolerance"] < 0.5 for v in verdicts for item in v["held"]), f"{options}: far from the tolerance: {out}")
    # The same concatenation is cut in two for two images of a training step, but not for inference: two kernels, also for the cache of them.
    joined = at("joined.net")
    with open(joined, "w", encoding="utf-8") as file:
        file.write("net joined() {\n    input image: f32[3, 56, 56]\n    a = conv2d(image, 64, 1)\n    output dense(global_avg_pool(relu(concat(a, tanh(a)))), 4)\n}\n")
    for mode in ("train", "infer"):
        at.run("verify", joined, "--compiled", f"--mode={mode}")

    # A relu over more elements than what it is of, whose sign others ask: they cannot ask the relu.
    spread = at("spread.net")
    with open(spread, "w", encoding="utf-8") as file:
        file.write("block f(x, m) { return max(0, select(x, m, m)) }\n"
                   "net spread() {\n    input image: f32[3, 8, 8]\n    x = conv2d(image, 8, 3)\n"
                   "    m = mean_over(conv2d(image, 8, 1), \"height\")\n    y = f(x, m) + relu(m)\n    output dense(global_avg_pool(y), 4)\n}\n")
    # A map of as many arguments as a map may have, whose derivative needs them all and the adjoint.
    many = at("many.net")
    with open(many, "w", encoding="utf-8") as file:
        file.write("block many(xs) {\n    s = xs[0]\n    for i in 1..64 { s = s + xs[i] }\n    return exp(0.1 * s)\n}\n"
                   "net widely() {\n    input image: f32[3, 8, 8]\n    xs = split(conv2d(image, 64, 1), 64)\n"
                   "    output dense(global_avg_pool(many(xs)), 4)\n}\n")
    for full in (spread, many):
        at.run("verify", full, "--each", "--compiled", "--batch=2")

    each = held(at.run("verify", net, "--json", "--each", "--mode=train")[0])[0]
    names = [item["what"] for item in each["held"]]
    check("the pass cse#2" in names and "gradients against differences of the loss" in names, f"each pass is named: {names}")
    check(each["images"] == [2, 3, 8, 8], "images are as verified")

    # what is wrong, by its name and file
    for fault, place in [*((f, "after:share_sweeps") for f in FAULTS), *((f, "before:autodiff") for f in FAULTS[:2]), ("wrong_side", "after:autodiff")]:
        where = [f"--load-pass={wrong}", f"--passes=train:default+{fault}@{place}"]
        for each_option in ([], ["--each"]):
            out, err = at.run("verify", net, "--mode=train", "--json", *where, *each_option, status=1)
            verdict = held(out)[0]
            bad = [item for item in verdict["held"] if not item["right"]]
            check(not verdict["right"] and [item["what"] for item in bad] == [f"the pass {fault}"], f"{fault} is named: {out}")
            check(bad[0]["file"] == wrong, f"{fault}: its file is named")
            check(f"the pass '{fault}' of '{wrong}' is wrong: " in err and "should be" in err, f"{fault}: {err}")
    out, err = at.run("verify", net, "--mode=train", f"--load-pass={autodiff}", status=1)
    check("is not the loss's" in err and "the pass 'autodiff'" in err, f"a gradient: {err}")
    check("of 'small.net'" not in err and autodiff in err, f"of the object: {err}")

    # A net that is chaotic: the loss is noise within 1e-6, which differences of it must keep above, and a gradient that is wrong still shows.
    out, _ = at.run("verify", "se_resnet164_shortcut", "--mode=train")
    check("ok    gradients against differences of the loss" in out and "WRONG" not in out, out)
    _, err = at.run("verify", "se_resnet164_shortcut", "--mode=train", f"--load-pass={autodiff}", "--passes=default,autodiff{thousandths=1000}", status=1)
    check("gradient dense.bias is not the loss's" in err, err)

    # in another order only, with a list that shows it
    here = ["--mode=train", f"--load-pass={wrong}", "--passes=train:default+wrong_early"]
    at.run("verify", net, *here, "--each")
    out, err = at.run("verify", net, *here, "--fuzz=8", "--json", status=1)
    bad = [item for item in held(out)[0]["held"] if not item["right"]]
    check(len(bad) == 1 and bad[0]["what"].startswith("the pass wrong_early in --passes='train:"), f"the list: {out}")
    found = bad[0]["what"].split("'")[1]
    check(found.count(",") < 8, f"it is short: {found}")
    _, err = at.run("verify", net, "--mode=train", f"--load-pass={wrong}", f"--passes={found}", status=1)
    check("the pass 'wrong_early'" in err, f"the list shows it again: {err}")
    out, _ = at.run("verify", net, *here, "--opt-bisect-limit=0", "--fuzz=3")
    check("WRONG" not in out, "a rewrite that is not allowed is none")

    # kernels
    kept = at("kernel.ir")
    out, err = at.run("verify", net, "--mode=train", "--compiled", "-o", kept)
    check(os.path.exists(kept) and os.path.exists(at("kernel.safetensors")), "the worst kernel is kept")
    again, _ = at.run("verify", kept, "--inputs", at("kernel.safetensors"), "--compiled", "--json")
    kernel = held(again)[0]
    check(kernel["right"] and any("compiled program" in item["what"] for item in kernel["held"]), f"it runs again: {again}")
    worst = max(item["of_tolerance"] for item in held(at.run("verify", net, "--mode=train", "--compiled", "--json")[0])[0]["held"] if "kernels" in item["what"])
    check(abs(max(item["of_tolerance"] for item in kernel["held"]) / worst - 1) < 1e-6, "and is as far off as it was")

    # sentences
    at.refuses("verify", net, "--cpu=x86-64", status=2, says="without '--compiled'")
    at.refuses("verify", "--zoo", net, status=2, says="all models")
    at.refuses("verify", kept, "--mode=infer", status=1, says="no graph of inference")
    at.refuses("verify", net, "--inputs", kept, status=1, says=kept)
    at.refuses("verify", status=2, says="no model given")
    _, err = at.run("verify", net, "--passes=train:default+nonsense", status=2)
    check("there is no pass 'nonsense'" in err, err)


with Workspace() as workspace:
    main(workspace)

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
    print("eval, predict, bench, ir and metrics write JSON that a strict reader takes")

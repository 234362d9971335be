"""netc lint: gradients are those of the first training step, sound nets are passed in silence, and each thing that can be found is found
in a net made to have it, with its place."""
import json
import math
import os
import re
import struct
import sys

from e2e import HERE, Workspace, check, read_safetensors

MODELS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "models")
SOUND = ["resnet20", "se_resnet20", "resnet110", "lenet", "mlp", "mobilenet"]
BODY = "x = relu(batch_norm(conv2d(image, 16, 3, bias = false)))"
NET = """net n() {{
    input image: f32[3, 16, 16]
    {body}
    output {logits}
}}
train {{
    data = synthetic
    batch = 32
    optimizer = {optimizer}
}}
"""


def tensors(path):
    return {name: struct.unpack(f"<{len(data) // 4}f", data) for name, (_, _, data) in read_safetensors(path).items()}


def norm(values):
    return math.sqrt(sum(v * v for v in values))


def write(at, name, body=BODY, logits="dense(global_avg_pool(x), 10)", optimizer="sgd(lr = 0.1)"):
    with open(at(name), "w", encoding="utf-8") as file:
        file.write(NET.format(body=body, logits=logits, optimizer=optimizer))
    return at(name)


def gradients_are_a_steps(at):
    """A step of plain gradient descent moves the weights by lr times what lint says of the first batch."""
    recipe = ["--set=train.optimizer=sgd(lr = 0.5, momentum = 0.0, weight_decay = 0.0)", "--set=train.schedule=constant", "--set=train.batch=16",
              "--set=train.data=synthetic", "--seed=5"]
    model = os.path.join(MODELS, "se_resnet20.net")
    at.run("init", model, *recipe[:-1], "--seed=5", "-o", at("before.safetensors"))
    at.run("train", model, *recipe, "-q", "--steps=1", "--out", at("run"))
    before, after = tensors(at("before.safetensors")), tensors(at("run", "last.safetensors"))
    lint = json.loads(at.run("lint", model, *recipe, "--json")[0])
    check(len(lint["layers"]) == 20 + 2 * 9 + 2, f"se_resnet20 has {len(lint['layers'])} layers")
    for layer in lint["layers"]:
        name = layer["name"]
        step = norm([a - b for a, b in zip(after[name], before[name])]) / 0.5
        check(abs(step - layer["gradient"]) < 1e-3 * step + 1e-6, f"{name}: a step of {step}, a gradient of {layer['gradient']}")
        check(abs(norm(before[name]) - layer["weights"]) < 1e-5 * layer["weights"], f"{name}: weights of {norm(before[name])} are said to be {layer['weights']}")
        check(layer["output"] > 0 and layer["backward"] > 0 and layer["file"].endswith(".net") and layer["line"] > 0, layer)
    loss = json.loads(open(at("run", "metrics.jsonl")).readline())["loss"]
    check(abs(loss - lint["loss"]) < 1e-5, f"the loss is {loss}, lint says {lint['loss']}")
    again = json.loads(at.run("lint", model, *recipe, "--json", "--threads=1")[0])
    check(again == lint, "another number of threads, other figures")


def sound_nets(at):
    for name in SOUND:
        out, err = at.run("lint", name, "--data=synthetic", "--batch=32")
        check(len(out.splitlines()) == 1 and not err, f"{name}:\n{out}{err}")


def shortcut_nets(at):
    for name, blocks in (("se_resnet110_shortcut", 54), ("se_resnet164_shortcut", 81)):
        out = json.loads(at.run("lint", name, "--data=synthetic", "--batch=32", "--json", status=1)[0])
        kinds = {f["kind"]: f for f in out["findings"]}
        check({"gate-on-shortcut", "exploding-gradient", "learning-rate"} <= set(kinds), f"{name}: {kinds}")
        check(f"in {blocks} blocks, first basic1" in kinds["gate-on-shortcut"]["text"], kinds)
        with open(kinds["gate-on-shortcut"]["file"]) as file:
            line = file.read().split("\n")[kinds["gate-on-shortcut"]["line"] - 1]
        check("relu(x + y)" in line, line)
    out, _ = at.run("lint", "se_resnet110_shortcut", "--set=depth=20", "--data=synthetic", "--batch=32", status=1)
    check(re.findall(r"\[([a-z-]+)\]$", out, re.M) == ["gate-on-shortcut"], f"at depth 20 the gate alone:\n{out}")


GATED = "\n    ".join([BODY, "s = sigmoid(dense(global_avg_pool(x), 16))", "t = softmax(s)",
                       "y = batch_norm(conv2d(x, 16, 3, bias = false))", "x = {}"])


def gates(at):
    """Sums whose shortest way is gated, however that is written; and sums which keep a way as short without a gate."""
    shortcut = ["y + s * x", "x * s + y", "x * identity(s) + y", "x * (s * t) + y", "y + batch_norm(x * t)", "y + max_pool(x * s, 3, 1, 1)", "x * s + y * s",
                "x * s + y * (1 - s)", "conv2d(y, 16, 3) + conv2d(x, 16, 1) * s", "conv2d(y, 16, 3) + conv2d(x * s, 16, 1)", "y + conv2d(x, 16, 3) + x * s",
                "y + x * hard_sigmoid(s)", "x * s + relu(y + conv2d(y, 16, 3))"]
    sound = ["x + y * s", "(x * s + y) + x", "x + (conv2d(x, 16, 1) * s + conv2d(y, 16, 3))", "conv2d(x, 16, 1) * s + conv2d(y, 16, 3) * t", "concat(x * s, y)",
             "x * s + relu(x + y)", "x + y * (1 - s)", "x * (2 * s) + y", "batch_norm(y * s)"]
    for case in shortcut + sound:
        found = case in shortcut
        out, _ = at.run("lint", write(at, "gate.net", body=GATED.format(case)), "--batch=8", "--json", status=int(found))
        kinds = [f["kind"] for f in json.loads(out)["findings"]]
        check(kinds == ["gate-on-shortcut"] * found, f"{case}: {kinds}")


def each_kind(at):
    deep = "\n    ".join(["x = conv2d(image, 16, 3)", "for i in 0..8 {{ x = conv2d(x, 16, 3) * {} }}"])
    cases = {
        "gate-on-shortcut": dict(body=GATED.format("y + x * s")),
        "silent-units": dict(body=BODY + "\n    x = relu(conv2d(x, 32, 3) - 1000)"),
        "saturated-softmax": dict(logits="dense(global_avg_pool(x), 10) * 1000"),
        "learning-rate": dict(optimizer="sgd(lr = 10000.0)"),
        "exploding-signal": dict(body=deep.format("20")),
        "vanishing-signal": dict(body=deep.format("0.05")),
        "no-gradient": dict(logits="dense(softmax(dense(global_avg_pool(x), 1)), 10)"),
        "not-finite": dict(body=BODY + "\n    x = conv2d(conv2d(x, 16, 3), 16, 3)", logits="dense(global_avg_pool(x) * 1e38 * 1e38, 10)"),
    }
    for kind, net in cases.items():
        out, _ = at.run("lint", write(at, kind + ".net", **net), status=1)
        check(f"[{kind}]" in out, f"{kind} is not found:\n{out}")
        check(kind != "not-finite" or ("the loss is nan before" in out and "gradient]" not in out), f"a loss of NaN is said once:\n{out}")
    # small is not zero
    out, _ = at.run("lint", write(at, "small.net", body="x = conv2d(image, 16, 3) * 1e-18\n    x = relu(conv2d(x * 1e-8, 16, 3, bias = false))"), "--json")
    check([u["silent"] for u in json.loads(out)["units"]] == [0] and "silent-units" not in out, out)
    # the loss is finite, and its gradient is not
    out, _ = at.run("lint", write(at, "overflow.net", logits="dense(global_avg_pool(batch_norm(x * 1e-30)) * 1e38, 10)"), status=1)
    check("its gradient is not finite" in out and "loss inf" not in out and "loss nan" not in out, out)
    # a gate on the residual branch, or on what both branches read, is none on the shortcut; nor is a rate of Adam one of sgd
    for name, net in {"residual": dict(body=GATED.format("y * s + x")), "adam": dict(optimizer="adam(lr = 10000.0)"),
                      "both": dict(body=BODY + "\n    x = x * sigmoid(dense(global_avg_pool(x), 16))\n    x = x + conv2d(x, 16, 3)")}.items():
        at.run("lint", write(at, name + ".net", **net))


with Workspace() as at:
    gradients_are_a_steps(at)
    each_kind(at)
    gates(at)
    shortcut_nets(at)
    sound_nets(at)
    net = write(at, "whole.net")
    at.run("ir", net, "-o", at("source.ir"))
    at.run("ir", net, "--stage=final", "-o", at("final.ir"))
    out, _ = at.run("lint", at("source.ir"), "--data=synthetic", "--each")
    check("conv2d.weight" in out, out)
    at.refuses("lint", at("final.ir"), "--data=synthetic", status=1, says="has been through passes")
    with open(at("source.ir")) as file:
        text = file.read()
    with open(at("taken.ir"), "w") as file:
        file.write(text.replace("conv2d.weight", "lint/7"))
    at.refuses("lint", at("taken.ir"), "--data=synthetic", status=1, says="a parameter is named 'lint/7'")
    for end in ("loss", "logits", "correct"):
        with open(at("without.ir"), "w") as file:
            file.write(re.sub(f"return {end} .*\n", "", text))
        at.refuses("lint", at("without.ir"), "--data=synthetic", status=1, says=f"has no output '{end}'")
    at.refuses("lint", net, net, status=2, says="one model at a time")
    at.refuses("lint", net, "--data", at("nowhere"), status=1, says="nowhere")
    at.refuses("lint", net, "--batch=100000", status=1, says="a batch 100000")

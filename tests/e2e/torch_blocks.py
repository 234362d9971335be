"""Norms of the library and the attention of models/attention_blocks.net are PyTorch's, or what their papers say written out in PyTorch: logits, loss and
gradients of the reference evaluator against float64, from the same leaves.

torch_blocks.py NETC CHECK_NET"""
import os
import subprocess
import sys

from e2e import HERE, NETC, Workspace, check, skip

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")
sys.path.insert(0, os.path.join(HERE, ".."))
from random_nets import read_tensors

CHECK_NET = sys.argv[2]
C, H, W, BATCH = 16, 6, 6, 3


def gate(s):
    return s[:, :, None, None]


def cbam(x, p):
    def perceptron(s):
        return F.conv2d(F.relu(F.conv2d(gate(s), p["conv2d1.weight"])), p["conv2d2.weight"])
    x = x * torch.sigmoid(perceptron(x.mean((2, 3))) + perceptron(x.amax((2, 3))))
    s = torch.cat((x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)), 1)
    return x * torch.sigmoid(F.conv2d(s, p["conv2d3.weight"], padding=3))


def gct(x, p):
    s = p["alpha"][None] * (x.pow(2).sum((2, 3)) + 1e-5).sqrt()
    s = p["gamma"][None] * s / (s.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
    return x * gate(1 + torch.tanh(s + p["beta"][None]))


def srm(x, p):
    s = p["mean"][None] * x.mean((2, 3)) + p["deviation"][None] * (x.var((2, 3), unbiased=False) + 1e-5).sqrt()
    s = F.batch_norm(gate(s), None, None, p["batch_norm.weight"], p["batch_norm.bias"], training=True)
    return x * torch.sigmoid(s)


def eca(x, p):
    s = F.conv1d(x.mean((2, 3))[:, None], p["channel_conv.weight"].squeeze(-1), padding=1)[:, 0]
    return x * gate(torch.sigmoid(s))


FAR = 1e20  # beside it x vanishes: all elements are equal, and each has a gradient of its own
TIES = """block most_channel(x) { return x + (max_over(x + 1e20, "channels") - 1e20) }
block most_line(x) { return x + (max_over(x + 1e20, "height") - 1e20) }
block most_column(x) { return x + (max_over(x + 1e20, "width") - 1e20) }
block most_pixel(x) { return x + (global_max_pool(x + 1e20) - 1e20) }
block most_of_four(x) { return x + upsample(max_pool(x + 1e20, 2) - 1e20, 2) }
"""

BLOCKS = {
    "most_channel(x)": lambda x, p: x + ((x + FAR).max(1, keepdim=True)[0] - FAR),
    "most_line(x)": lambda x, p: x + ((x + FAR).max(2, keepdim=True)[0] - FAR),
    "most_column(x)": lambda x, p: x + ((x + FAR).max(3, keepdim=True)[0] - FAR),
    "most_pixel(x)": lambda x, p: x + (F.adaptive_max_pool2d(x + FAR, 1) - FAR),
    "most_of_four(x)": lambda x, p: x + F.interpolate(F.max_pool2d(x + FAR, 2) - FAR, scale_factor=2),
    "group_norm(x, 4)": lambda x, p: F.group_norm(x, 4, p["weight"], p["bias"]),
    "group_norm(x, 1, scale = false, shift = false)": lambda x, p: F.group_norm(x, 1),
    "instance_norm(x)": lambda x, p: F.instance_norm(x),
    "instance_norm(x, scale = true, shift = true)": lambda x, p: F.instance_norm(x, weight=p["weight"], bias=p["bias"]),
    "layer_norm(x)": lambda x, p: F.layer_norm(x.permute(0, 2, 3, 1), (C,), p["weight"], p["bias"]).permute(0, 3, 1, 2),
    "layer_norm(x, eps = 1e-3, scale = false)": lambda x, p: F.layer_norm(x.permute(0, 2, 3, 1), (C,), None, p["bias"], 1e-3).permute(0, 3, 1, 2),
    "eca(x)": eca,
    "cbam(x, 4)": cbam,
    "gct(x)": gct,
    "srm(x)": srm,
    "gather_excite(x)": lambda x, p: x * gate(torch.sigmoid(x.mean((2, 3)))),
    "gather_excite(x, 3)": lambda x, p: x * torch.sigmoid(F.interpolate(F.avg_pool2d(x, 3), scale_factor=3)),
}


def compare(at, call, block):
    with open(at("b.net"), "w") as file:
        file.write(f'import "{os.path.abspath(os.path.join(HERE, "..", "..", "models", "attention_blocks.net"))}"\n{TIES}net b() {{\n input image: f32[{C}, {H}, {W}]\n'
                   f' x = image * (param([{C}], 1) as "first")\n x = {call} as "block"\n output dense(flatten(x), 5)\n}}\n')
    done = subprocess.run([CHECK_NET, at("b.net"), "--batch", str(BATCH), "--mode", "train", "--seed", "5", "--run", "default", "--run", "precision=bf16", "--write", at("values")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(done.returncode == 0, f"{call}: compiled code and the evaluator differ: {done.stdout}")
    tensors = read_tensors(at("values"))
    leaf = {name: torch.tensor(values, dtype=torch.float64) for (kind, name), values in tensors.items() if kind == "leaf"}
    shapes = {"image": (BATCH, C, H, W), "dense.weight": (5, C * H * W), "block.channel_conv.weight": (1, 1, 3, 1), "block.conv2d1.weight": (C // 4, C, 1, 1),
              "block.conv2d2.weight": (C, C // 4, 1, 1), "block.conv2d3.weight": (1, 2, 7, 7)}
    leaf = {name: x.reshape(shapes.get(name, x.shape)) for name, x in leaf.items()}
    params = [name for name in leaf if ("gradient", name) in tensors]
    for name in params:
        leaf[name].requires_grad_()
    x = leaf["image"] * leaf["first"][None, :, None, None]
    x = block(x, {name[len("block."):]: value for name, value in leaf.items() if name.startswith("block.")})
    logits = F.linear(x.flatten(1), leaf["dense.weight"], leaf["dense.bias"])
    found = {("logits", "-"): logits, ("loss", "-"): F.cross_entropy(logits, leaf["labels"].long())}
    gradients = torch.autograd.grad(found["loss", "-"], [leaf[name] for name in params])
    found.update({("gradient", name): g for name, g in zip(params, gradients)})
    for key, theirs in found.items():
        ours, theirs = torch.tensor(tensors[key], dtype=torch.float64), theirs.detach().flatten()
        error = (ours - theirs).norm().item()
        check(error <= 1e-8 + 1e-7 * theirs.norm().item(), f"{call}: {key} differs from PyTorch's by {error}, of norm {theirs.norm().item()}")


def compare_heads(at):
    """Two heads with weighted losses over convolutions that share their filters: gradients are added."""
    with open(at("h.net"), "w") as file:
        file.write(f"block features(x) {{ return tanh(conv2d(x, 3, 3, pad = 1)) }}\nnet h() {{\n input image: f32[3, {H}, {W}]\n"
                   ' x = features(image) as shared "f"\n output dense(flatten(x), 5) as "aux", 0.3\n x = features(x) as shared "f"\n'
                   ' output dense(flatten(x), 5)\n}\n')
    done = subprocess.run([CHECK_NET, at("h.net"), "--batch", str(BATCH), "--mode", "train", "--seed", "5", "--run", "default", "--run", "conv=direct", "--write",
                           at("values")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(done.returncode == 0, f"heads: compiled code and the evaluator differ: {done.stdout}")
    tensors = read_tensors(at("values"))
    leaf = {name: torch.tensor(values, dtype=torch.float64) for (kind, name), values in tensors.items() if kind == "leaf"}
    shapes = {"image": (BATCH, 3, H, W), "f.conv2d.weight": (3, 3, 3, 3), "aux.weight": (5, 3 * H * W), "dense.weight": (5, 3 * H * W)}
    leaf = {name: x.reshape(shapes.get(name, x.shape)) for name, x in leaf.items()}
    params = [name for name in leaf if ("gradient", name) in tensors]
    check(sorted(params) == ["aux.bias", "aux.weight", "dense.bias", "dense.weight", "f.conv2d.bias", "f.conv2d.weight"], f"heads: parameters {params}")
    for name in params:
        leaf[name].requires_grad_()
    x = torch.tanh(F.conv2d(leaf["image"], leaf["f.conv2d.weight"], leaf["f.conv2d.bias"], padding=1))
    aux = F.linear(x.flatten(1), leaf["aux.weight"], leaf["aux.bias"])
    x = torch.tanh(F.conv2d(x, leaf["f.conv2d.weight"], leaf["f.conv2d.bias"], padding=1))
    logits = F.linear(x.flatten(1), leaf["dense.weight"], leaf["dense.bias"])
    labels = leaf["labels"].long()
    loss = F.cross_entropy(logits, labels) + 0.3 * F.cross_entropy(aux, labels)
    found = {("logits", "-"): logits, ("loss", "-"): loss}
    found.update({("gradient", name): g for name, g in zip(params, torch.autograd.grad(loss, [leaf[name] for name in params]))})
    for key, theirs in found.items():
        ours, theirs = torch.tensor(tensors[key], dtype=torch.float64), theirs.detach().flatten()
        check(torch.allclose(ours, theirs, rtol=1e-8, atol=1e-10), f"heads: {key} differs from PyTorch's")


with Workspace() as at:
    compare_heads(at)
    for call, block in BLOCKS.items():
        compare(at, call, block)

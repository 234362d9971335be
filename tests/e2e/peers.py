"""The peers of netc bench --compare compute netc's nets: the same first losses in training, which depend on the gradients, and the same
scores after it; for small nets of everything the language says, and for a model of each family. A peer that errs is refused.

peers.py NETC [MODEL...]: these models alone; `all`: every model that comes with netc (some ten minutes)."""
import glob
import json
import os
import re
import subprocess
import sys

from e2e import HERE, NETC, Workspace, check, skip

ROOT = os.path.join(HERE, "..", "..")
# The nets' own sensitivity: f32 in another order, three steps. Small nets are smooth or nearly so; deep ones have ReLUs that fall on the other side.
SMALL_TOLERANCE, MODEL_TOLERANCE = 1e-5, 1e-3

FAMILIES = ["resnet20", "se_resnet20", "resnet18", "wrn_16_4", "mobilenetv2", "regnetx_200mf", "lenet", "ws_resnet20"]  # in the suite
INFERRED = ["cbam_resnet20", "ca_resnet20", "shufflenet_v2", "convmixer"]  # by ONNX Runtime too: what is summed, shuffled, mapped

SMALL = {
    "pads": "x = silu(conv2d(image, 6, [2, 4], stride = [2, 1]))\n x = conv2d(x, 4, [4, 2], pad = same)",
    "dilation": "x = tanh(conv2d(image, 6, [3, 2], dilation = [1, 2]))\n x = conv2d(x, 4, 2, dilation = 3, stride = [1, 2])",
    "groups": "x = silu(conv2d(image, 12, 3, bias = false))\n x = silu(conv2d(x, 12, 3, groups = 4, stride = 2))\n"
              " x = conv2d(x, 24, 3, groups = 12)",
    "scalars": "x = conv2d(image, 6, 3)\n x = 2 - x * 0.5 + 1 / (3 + x * x) - 0.25\n x = -x / 3",
    "pools": "x = conv2d(image, 6, 3)\n x = avg_pool(x, [2, 3], stride = 1, pad = same) + max_pool(x, [4, 2], stride = 1, pad = same)\n"
             " x = avg_pool(x, 3, stride = 2, pad = 2) * max_pool(x, 3, stride = 2, pad = 2)",
    "norms": "x = hard_swish(batch_norm(conv2d(image, 6, 3), momentum = 0.3, eps = 1e-3, gamma = 0.5))\n"
             " x = batch_norm(x) - hard_sigmoid(x)",
    "gates": "x = conv2d(image, 6, 3)\n g = sigmoid(dense(global_avg_pool(x), 6))\n x = x * g + g - x / (1 + g)",
    "channels": "x = tanh(conv2d(image, 6, 3))\n x = concat(x, pad_channels(x, 9), x)\n x = pad_channels(x, 30, stride = 2)\n x = identity(x)",
    "flat": "x = conv2d(image, 3, 3)\n x = concat(dense(flatten(x), 5), global_avg_pool(x))\n x = softmax(x) * 3",
    "heads": "x = tanh(conv2d(image, 6, 3))\n output dense(global_avg_pool(x), 7), 0.3\n x = conv2d(x, 6, 3, stride = 2)\n"
             " output dense(flatten(tanh(x)), 7), 2\n x = x + crop(pad(x, [3, 0, 1, 2]), height(x), width(x), top = 1, left = 1)",
    "maps": "x = conv2d(image, 6, 3)\n x = softplus(x) * mish(x) + leaky_relu(x) - abs(x) + pow(2 + sigmoid(x), 1.5)\n"
            " x = upsample(x, 2) + mean_over(upsample(x, 2), \"channels\")\n s = unflatten(global_avg_pool(x), 3, 2, 1)\n x = x * sigmoid(max_over(s, [\"channels\", \"height\"]))\n"
            " x = channel_shuffle(layer_norm(x), 3)\n x = concat(slice(x, 1, 4), batch_norm(conv2d(x, 6, 3, groups = 2, bias = false)))",
    "dropout": "x = dropout(tanh(conv2d(image, 6, 3)), 0.4)",
}
RECIPES = ["sgd(lr = 0.1, momentum = 0.9, weight_decay = 0.01)", "sgd(lr = 0.1)", "sgd(lr = 0.1, momentum = 0.8, nesterov = true, weight_decay = 0.1, decay_bn = false)",
           "adam(lr = 1e-3, weight_decay = 0.1)", "adamw(lr = 1e-3, weight_decay = 1)"]


def write_small(at, name):
    head = "x" if name == "flat" else "dense(flatten(x), 7)"
    with open(at(name + ".net"), "w") as file:
        file.write(f"net small_{name}() {{\n input image: f32[3, 13, 10]\n {SMALL[name]}\n output {head}\n}}\ntrain {{ loss = cross_entropy(0.1)\n }}\n")
    return at(name + ".net")


def can_import(python, module):
    return subprocess.run([python, "-c", f"import {module}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def compare(at, python, peer, model, *more, mode=None, batch=3):
    words = ["bench", model, "--batch", batch, "--compare", python, "--peer", peer, "--seconds", 0, "--rounds", 1, "--threads", 1, "--json"]
    return json.loads(at.run(*words, *(["--peer-modes", mode] if mode else []), *more, timeout=1200)[0])["modes"]


def agrees(modes, tolerance, what, training=True, losses=True):
    for m in modes:
        loss, score = m["loss_difference"], m["score_difference"]
        check((loss is not None) == (training and losses), f"{what}, {m['mode']}: losses {'not ' if loss is None else ''}compared")
        check(score is not None, f"{what}, {m['mode']}: scores not compared")
        check((loss or 0) <= tolerance and score <= 10 * tolerance, f"{what}, {m['mode']}: losses differ by {loss}, scores by {score}")
        print(f"{what}, {m['mode']}: losses within {loss or 0:.1e}, scores within {score:.1e}, memory {m['memory_bytes'] / 1e6:.1f} MB", flush=True)


def small_nets(at, python, peer, mode=None, refuses=()):
    for name in SMALL:
        net = write_small(at, name)
        words = ["bench", net, "--batch", 3, "--compare", python, "--peer", peer, "--seconds", 0]
        if name in refuses:
            at.refuses(*words, status=1, says=refuses[name])
            continue
        agrees(compare(at, python, peer, net, mode=mode), SMALL_TOLERANCE, f"{peer} {name}", losses=name != "dropout")
    for name in ("maps", "dropout"):  # not norms: PyTorch 1.13's optimize_for_inference computes something else for hard_swish
        agrees(compare(at, python, peer, at(name + ".net"), "--mode=infer", mode=mode, batch=37), SMALL_TOLERANCE, f"{peer} {name}, inference of 37", training=False)


def inference_alone(at, python):
    """Of ONNX Runtime, which does not train: the small nets, and the families with ops that those do not have."""
    for net in [*(write_small(at, name) for name in SMALL), *FAMILIES, *INFERRED]:
        agrees(compare(at, python, "onnxruntime", net, "--mode=infer"), SMALL_TOLERANCE, f"onnxruntime {os.path.basename(net)}", training=False)
    at.refuses("bench", at("norms.net"), "--batch", 3, "--compare", python, "--peer=onnxruntime", status=1, says="ONNX Runtime does not train")


def optimisers(at, python, peer, mode, only=""):
    for recipe in RECIPES:
        if recipe.startswith(only):
            agrees(compare(at, python, peer, at("norms.net"), "--set", "train.optimizer=" + recipe, mode=mode), SMALL_TOLERANCE, f"{peer} {recipe}")


def wrong_peers(at, python):
    """Each error in a net that shows it: netc refuses to time the peer, or says that it differs by far more than rounding does."""
    wrong = os.path.join(HERE, "wrong_peer.py")
    for error, name, says in (("pads", "pads", "computes another net: the first 3 losses"), ("gradient", "channels", "number 2 is"),
                              ("decay", "norms", "computes another net"), ("momentum", "norms", "computes another net"),
                              ("statistics", "norms", "computes another net: the first 16 scores"), ("op", "norms", "does not know the op 'hard_swish'")):
        os.environ["WRONG"] = error
        netc = at.start("bench", at(name + ".net"), "--batch", 3, "--compare", python, "--peer", wrong, "--peer-modes", "eager", "--seconds", 0,
                        "--rounds", 1, "--threads", 1, "--json")
        out, err = netc.communicate(timeout=300)
        differs = json.loads(out)["modes"][0]["loss_difference"] if netc.returncode == 0 else 0
        check(netc.returncode == 1 and says in err or differs > 5 * SMALL_TOLERANCE, f"wrong {error}: exit status {netc.returncode}, {differs}\n{err}")
        print(f"wrong {error}: {err.strip() or f'losses differ by {differs:.1e}'}", flush=True)


def dropout_is_alike():
    """Of each framework here: as many zeros as the rate says, the rest scaled up."""
    sys.path.insert(0, os.path.join(ROOT, "bench"))
    import torch
    import torch_peer
    x = torch_peer.load().ops().dropout(torch.ones(200, 500), 0.3, 0)
    zeros = (x == 0).double().mean().item()
    check(abs(zeros - 0.3) < 0.01 and abs(x.max().item() - 1 / 0.7) < 1e-6, f"dropout(0.3) zeroes {zeros}, keeps {x.max()}")


def models(at, python, wanted):
    """Of models/, all but those that others import; without dropout, so that losses can be compared."""
    text = {path: open(path).read() for path in sorted(glob.glob(os.path.join(ROOT, "models", "*.net")))}
    imported = {name for t in text.values() for name in re.findall(r'import "(.*)"', t)}
    large = {path for path, t in text.items() if "224, 224" in t or "resnet_imagenet.net" in t}
    for path, t in text.items():
        name = os.path.basename(path)
        if name not in imported and (wanted == ["all"] or name[:-4] in wanted):
            options = ["--set", "rate=0.0"] if "dropout(" in t else []
            if name.endswith("_shortcut.net"):  # at their depth PyTorch's own f32 is 1.5 % off its float64 (docs/reliability.md)
                options += ["--set", "depth=20"]
            agrees(compare(at, python, "torch", path, *options, mode="eager", batch=1 if path in large else 4), MODEL_TOLERANCE, name)


with Workspace() as at:
    if sys.argv[2:]:  # only these models
        models(at, sys.executable, sys.argv[2:])
        sys.exit()
    ran = False
    pythons = [sys.executable, *filter(None, os.environ.get("NETC_PEER_PYTHON", "").split(":"))]  # other interpreters to try
    for python in pythons:
        if can_import(python, "torch"):
            ran = True
            small_nets(at, python, "torch")
            optimisers(at, python, "torch", "eager")
        if can_import(python, "jax"):
            ran = True
            small_nets(at, python, "jax", mode="nchw,nhwc")
            optimisers(at, python, "jax", "nchw")
        if can_import(python, "tensorflow"):
            ran = True
            small_nets(at, python, "tf", mode="graph", refuses={"groups": "TensorFlow has no grouped convolution on a CPU"})
            optimisers(at, python, "tf", "graph", only="sgd")
            at.refuses("bench", at("norms.net"), "--set", "train.optimizer=adam", "--compare", python, "--peer=tf", status=1, says="no optimizer 'adam'")
        if can_import(python, "onnxruntime") and can_import(python, "onnx"):
            ran = True
            inference_alone(at, python)
    if can_import(sys.executable, "torch"):
        wrong_peers(at, sys.executable)
        dropout_is_alike()
        models(at, sys.executable, FAMILIES)
    elif not ran:
        skip("PyTorch is not installed (apt-get install python3-torch)")

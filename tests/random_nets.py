#!/usr/bin/env python3
"""Random nets: whatever the language can say, compiled code computes what the reference evaluator does, and the evaluator what PyTorch does.

    tests/random_nets.py build/dev/driver/netc build/dev/tests/check_net --count 30 --seed 1
    tests/random_nets.py build/dev/driver/netc build/dev/tests/check_net --only 17 --seed 1          that one net again

Net i of a seed is always the same. Each is written as a .net file: any op of docs/language.md, odd sizes, groups, asymmetric pads, gates,
several readers of a value, constants, dropout, batches from one image on. check_net compiles it in a few ways drawn at random (CPU level,
algorithm of convolutions, passes left out, activations computed again, OpenBLAS or not, bf16, threads) for training or inference and
compares every output and gradient; where this interpreter has PyTorch, loss, logits, statistics and gradients of the evaluator are
compared with it in float64 too. A net that fails is shrunk: statements are dropped while it still fails; the rest is kept in --keep,
and the command that shows the fault again is printed. Exit status 1 if any failed.
"""
import argparse
import array
import atexit
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CHANNELS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 48]
SMOOTH = ["sigmoid", "tanh", "silu", "gelu", "softplus", "mish", "softsign", "celu", "prelu"]
KINKED = ["relu", "relu", "hard_sigmoid", "hard_swish", "leaky_relu", "relu6", "selu", "hard_shrink", "soft_shrink"]
PRIMITIVES = ["exp(-abs({0}))", "log(1 + {0} * {0})", "sqrt(0.1 + abs({0}))", "pow(1 + abs({0}), 1.7)", "pow({0}, 3)", "erf({0})", "expm1(-abs({0}))",
              "log1p(exp({0}))", "gelu({0}, \"tanh\")", "min({0}, 0.5)", "max(-0.3, {0}, -{0})", "select({0} > 0.1, {0}, 0.5)", "{0} * ({0} <= 0.3)"]
PAIRS = ["max({0}, {1})", "min({0}, {1})", "select({0} < {1}, {0}, 2 * {1})", "pow(1 + abs({0}), {1})", "exp(-abs({0} - {1}))"]
MAX_ELEMENTS, MAX_MULTIPLICATIONS = 6000, 1500000  # of a value per image; of a convolution for the batch: the evaluator is naive
OPTIMISED = {"cpu": ["", "", "", "x86-64", "x86-64", "x86-64-v3", "x86-64-v4"], "conv": ["", "", "", "direct", "gemm"],
             "recompute": ["", "", "", "1", "3", "1000"], "threads": ["", "", "", "2", "3", "5"], "precision": [""] * 6 + ["bf16"]}
MAX_SECONDS = 300  # of CPU time for a net
AGREES, DIFFERS, NO_GOOD = 0, 1, 2  # exit statuses of check_net


class Net:
    """Statements `name = text`, in which {0}, {1} stand for the names in `args`; the last is the output."""

    def __init__(self, image, batch, statements):
        self.image, self.batch, self.statements = image, batch, statements

    def text(self):
        lines = [f"    {name} = {text.format(*args)}" for name, text, args in self.statements]
        return "\n".join(["net random() {", f"    input image: f32[{self.image[0]}, {self.image[1]}, {self.image[2]}]", *lines,
                          f"    output {self.statements[-1][0]}", "}", ""])


class Generator:
    def __init__(self, source):
        self.source, self.statements = source, []
        self.batch = source.choice([1, 2, 2, 3, 4, 5])
        self.image = (source.choice([1, 2, 3, 3, 3, 4, 5]), source.randint(3, 17), source.randint(3, 17))
        self.shapes = {"image": self.image}

    def put(self, shape, text, *args):
        name = f"v{len(self.statements)}"
        self.statements.append((name, text, args))
        self.shapes[name] = shape
        return name

    def any(self, rank, fits=lambda shape: True):
        """A value of this rank, a late one more often; None if there is none."""
        names = [n for n, s in self.shapes.items() if len(s) == rank and fits(s)]
        if not names:
            return None
        return names[-1 - min(int(self.source.expovariate(0.7)), len(names) - 1)]

    def alike(self, x):
        return self.any(len(self.shapes[x]), lambda shape: shape == self.shapes[x])

    # ---- windows ----

    def pair(self, choices):
        a = self.source.choice(choices)
        return (a, a) if self.source.random() < 0.6 else (a, self.source.choice(choices))

    @staticmethod
    def pair_text(pair):
        return str(pair[0]) if pair[0] == pair[1] else f"[{pair[0]}, {pair[1]}]"

    def window(self, shape, kernel, stride, dilation, pool):
        """(output height and width, the text of pad), or None."""
        kind = self.source.choice(["same", "same", "valid", "pixels"])
        reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
        if kind == "same":
            total, text = reach, "same"
        elif kind == "valid":
            total, text = [0, 0], "valid"
        else:
            pad = [self.source.randint(0, min(3, k - 1) if pool else 3) for k in kernel]
            total, text = [2 * p for p in pad], self.pair_text(pad)
        size = [(n + t - r - 1) // s + 1 for n, t, r, s in zip(shape[1:], total, reach, stride)]
        fits = all(n + t > r for n, t, r in zip(shape[1:], total, reach)) and min(size) >= 1 and max(size) <= 24
        return (tuple(size), text) if fits else None

    def conv(self, x=None, channels=None):
        x = x or self.any(3)
        shape, source = self.shapes[x], self.source
        kernel, stride = self.pair([1, 1, 2, 3, 3, 3, 3, 4, 5, 7]), self.pair([1, 1, 1, 2, 2, 3])
        dilation = self.pair([1, 1, 1, 1, 2, 3])
        if source.random() < 0.3:
            kernel, stride, dilation = (3, 3), (1, 1), (1, 1)  # Winograd's
        filters, groups = channels or source.choice(CHANNELS), 1
        if source.random() < 0.35:
            groups = source.choice([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])
            filters = groups * source.choice([1, 1, 2, 3, 4])
        window = self.window(shape, kernel, stride, dilation, False)
        if not window or filters > 64:
            return None
        (height, width), pad = window
        work = self.batch * filters * shape[0] // groups * kernel[0] * kernel[1] * height * width
        if filters * height * width > MAX_ELEMENTS or work > MAX_MULTIPLICATIONS:
            return None
        bias = source.choice(["true", "false"])
        if source.random() < 0.15 and shape[0] // groups * kernel[0] * kernel[1] > 3:
            bias += ", standardize = true"
        return self.put((filters, height, width), f"conv2d({{0}}, {filters}, {self.pair_text(kernel)}, stride = {self.pair_text(stride)}, pad = {pad}, "
                        f"dilation = {self.pair_text(dilation)}, groups = {groups}, bias = {bias})", x)

    def norm(self, x=None):
        x = x or self.any(3)
        shape = self.shapes[x]
        if self.batch * shape[1] * shape[2] < 4:
            return None
        return self.put(shape, self.source.choice(["batch_norm({0})", "batch_norm({0}, momentum = 0.3, eps = 1e-3)", "batch_norm({0}, gamma = 0.5)", "batch_norm({0}, scale = false)",
                                                    "batch_norm({0}, shift = false)", "batch_norm({0}, scale = false, shift = false)"]), x)

    def activation(self, x=None):
        x = x or self.any(self.source.choice([1, 3, 3, 3]))
        return x and self.put(self.shapes[x], self.source.choice(SMOOTH + KINKED + ["identity"]) + "({0})", x)

    def primitive(self):
        x = self.any(self.source.choice([1, 3, 3]))
        return x and self.put(self.shapes[x], self.source.choice(PRIMITIVES), x)

    def primitive_of_two(self):
        x = self.any(self.source.choice([1, 3, 3]))
        y = x and (self.alike(x) if self.source.random() < 0.7 else self.any(1, lambda shape: shape[0] == self.shapes[x][0]))
        return y and self.put(self.shapes[x], self.source.choice(PAIRS), x, y)

    def conv_norm_act(self):
        y = self.conv()
        return y and self.activation(self.norm(y) or y)

    def pool(self):
        x = self.any(3)
        kernel, stride = self.pair([1, 2, 2, 3, 3, 4, 5]), self.pair([1, 1, 2, 2, 3])
        window = self.window(self.shapes[x], kernel, stride, (1, 1), True)
        op = self.source.choice(["max_pool", "avg_pool"])
        return window and self.put((self.shapes[x][0], *window[0]), f"{op}({{0}}, {self.pair_text(kernel)}, stride = {self.pair_text(stride)}, pad = {window[1]})", x)

    # ---- elementwise ----

    def binary(self):
        x = self.any(self.source.choice([1, 3, 3]))
        if not x:
            return None
        text = self.source.choice(["{0} + {1}", "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / (2 + sigmoid({1}))", "relu({0} + {1})", "{0} * sigmoid({1})"])
        return self.put(self.shapes[x], text, x, self.alike(x))

    def residual(self):
        """y + f(x), with f a convolution that keeps the shape."""
        x = self.any(3)
        channels, height, width = self.shapes[x]
        if self.batch * channels * channels * 9 * height * width > MAX_MULTIPLICATIONS or self.batch * height * width < 4:
            return None
        y = self.put(self.shapes[x], f"conv2d({{0}}, {channels}, 3, bias = false)", self.activation(self.norm(x) or x) if self.source.random() < 0.4 else x)
        y = self.norm(y)
        if self.source.random() < 0.5:
            y = self.gate(y, y) or y
        y = self.put(self.shapes[x], self.source.choice(["{0} + {1}", "{1} + {0}"]), x, y)
        return self.activation(y) if self.source.random() < 0.7 else y

    def gate(self, x=None, of=None):
        x = x or self.any(3)
        channels = self.shapes[x][0]
        g = self.any(1, lambda shape: shape == (channels,)) if self.source.random() < 0.4 else None
        if not g:
            g = self.put((self.shapes[of or x][0],), "global_avg_pool({0})", of or self.any(3, lambda shape: shape[0] == channels))
            g = self.put((channels,), f"dense({self.source.choice(['{0}', 'relu(dense({0}, 3))'])}, {channels})", g)
        text = self.source.choice(["{0} * sigmoid({1})", "{0} * sigmoid({1})", "hard_sigmoid({1}) * {0}", "{0} + {1}", "{1} - {0}", "{0} / (1.5 + sigmoid({1}))"])
        return self.put(self.shapes[x], text, x, g)

    def scalars(self):
        x = self.any(self.source.choice([1, 3, 3, 3]))
        text = self.source.choice(["{0} * 0.5", "2 - {0}", "{0} + 1", "{0} / 3", "1 / (2 + {0} * {0})", "-{0}", "{0} - {0}", "0 * {0} + 0.5", "-{0} + {0}",
                                   "{0} * {0}", "0.25 * {0} - 1"])
        return x and self.put(self.shapes[x], text, x)

    def dropout(self):
        x = self.any(self.source.choice([1, 3]))
        return x and self.put(self.shapes[x], f"dropout({{0}}, {self.source.choice(['0.1', '0.5', '0.0'])})", x)

    # ---- shapes ----

    def concat(self):
        x = self.any(self.source.choice([1, 3, 3]))
        if not x:
            return None
        rank = len(self.shapes[x])
        parts = [x] + [self.any(rank, lambda shape: shape[1:] == self.shapes[x][1:]) for _ in range(self.source.randint(1, 2))]
        channels = sum(self.shapes[p][0] for p in parts)
        shape = (channels, *self.shapes[x][1:])
        if channels > 96 or rank == 3 and channels * shape[1] * shape[2] > MAX_ELEMENTS:
            return None
        return self.put(shape, "concat(" + ", ".join(f"{{{i}}}" for i in range(len(parts))) + ")", *parts)

    def slice_channels(self):
        x = self.any(self.source.choice([1, 3, 3]), lambda shape: shape[0] > 1)
        if not x:
            return None
        channels, *rest = self.shapes[x]
        start = self.source.randrange(channels)
        end = self.source.randint(start + 1, channels)
        return self.put((end - start, *rest), f"slice({{0}}, {start}, {end})", x)

    def split(self):
        """In parts that are put together again in another order, one of them computed on."""
        x = self.any(self.source.choice([1, 3, 3]), lambda shape: shape[0] > 2)
        if not x:
            return None
        channels = self.shapes[x][0]
        first, second = sorted(self.source.sample(range(1, channels), 2))
        sizes = f"[{first}, {second - first}, {channels - second}]"
        return self.put(self.shapes[x], f"concat(split({{0}}, {sizes})[2], tanh(split({{0}}, {sizes})[0]), split({{0}}, {sizes})[1])", x)

    def shuffle(self):
        x = self.any(self.source.choice([1, 3, 3]))
        groups = x and [k for k in range(1, self.shapes[x][0] + 1) if self.shapes[x][0] % k == 0]
        return x and self.put(self.shapes[x], f"channel_shuffle({{0}}, {self.source.choice(groups)})", x)

    def upsample(self):
        times = self.source.choice([1, 2, 2, 3])
        x = self.any(3, lambda shape: shape[0] * shape[1] * shape[2] * times**2 <= MAX_ELEMENTS)
        return x and self.put((self.shapes[x][0], times * self.shapes[x][1], times * self.shapes[x][2]), f"upsample({{0}}, {times})", x)

    def pad(self):
        x = self.any(3)
        if not x:
            return None
        channels, height, width = self.shapes[x]
        if self.source.random() < 0.5:
            h, w = self.source.randint(1, height), self.source.randint(1, width)
            return self.put((channels, h, w), f"crop({{0}}, {h}, {w}, {self.source.randint(0, height - h)}, {self.source.randint(0, width - w)})", x)
        top, left, bottom, right = (self.source.choice([0, 0, 1, 3]) for _ in range(4))
        if channels * (height + top + bottom) * (width + left + right) > MAX_ELEMENTS:
            return None
        return self.put((channels, height + top + bottom, width + left + right), f"pad({{0}}, [{top}, {left}, {bottom}, {right}])", x)

    def over(self):
        """A sum, mean or maximum over some dimensions; beside what it is of, more often than not."""
        x = self.any(3)
        axes = self.source.sample(["channels", "height", "width"], self.source.choice([1, 1, 1, 2, 3]))
        shape = tuple(1 if axis in axes else size for axis, size in zip(("channels", "height", "width"), self.shapes[x]))
        text = self.source.choice(["sum_over", "mean_over", "mean_over", "max_over"]) + "({0}, [" + ", ".join(f'"{axis}"' for axis in axes) + "])"
        y = self.put(shape, text, x)
        beside = self.alike(x)
        text = self.source.choice(["{0} * sigmoid({1})", "{1} - {0}", "{0} + {1}", "max({0}, {1})", "select({1} > {0}, {1}, {0})"])
        return self.put(self.shapes[x], text, beside, y) if self.source.random() < 0.8 else y

    def spatial(self):
        """A value per image and pixel by a convolution, as spatial attention has it."""
        x = self.any(3)
        pair = 'concat(mean_over({0}, "channels"), max_over({0}, "channels"))'
        s = self.put((1, *self.shapes[x][1:]), f"sigmoid(conv2d({pair}, 1, {self.source.choice([1, 3, 7])}))", x)
        return self.put(self.shapes[x], "{0} * {1}", x, s)

    def normed(self):
        x = self.any(3)
        channels, height, width = self.shapes[x]
        groups = [k for k in range(1, channels + 1) if channels % k == 0 and channels // k * height * width > 3]
        texts = [f"group_norm({{0}}, {self.source.choice(groups)})"] if groups else []
        texts += ["layer_norm({0})"] if channels > 3 else []
        texts += ["instance_norm({0})", "instance_norm({0}, scale = true, shift = true)"] if height * width > 3 else []
        return texts and self.put(self.shapes[x], self.source.choice(texts), x)

    def drop_path(self):
        x = self.any(3)
        return self.put(self.shapes[x], f"drop_path({{0}}, {self.source.choice([0, 0.3, 0.6])}, per = \"{self.source.choice(['image', 'batch'])}\")", x)

    def channel_conv(self):
        x = self.any(1)
        return x and self.put(self.shapes[x], f"channel_conv({{0}}, {self.source.choice([1, 3, 5])})", x)

    def unflatten(self):
        x = self.any(1)
        size = x and self.shapes[x][0]
        pairs = x and [(a, size // a) for a in range(1, size + 1) if size % a == 0]
        a, b = self.source.choice(pairs) if x else (0, 0)
        shape = self.source.choice([(a, b, 1), (a, 1, b), (1, a, b)])
        return x and self.put(shape, f"unflatten({{0}}, {shape[0]}, {shape[1]}, {shape[2]})", x)

    def global_max(self):
        x = self.any(3)
        return self.put((self.shapes[x][0],), "global_max_pool({0})", x)

    def pad_channels(self):
        x = self.any(3)
        channels, height, width = self.shapes[x]
        stride, count = self.source.choice([1, 2, 2, 3]), channels + self.source.randint(0, 9)
        shape = (count, (height - 1) // stride + 1, (width - 1) // stride + 1)
        return self.put(shape, f"pad_channels({{0}}, {count}, stride = {stride})", x) if count <= 64 else None

    def squeeze(self):
        x = self.any(3)
        return self.put((self.shapes[x][0],), "global_avg_pool({0})", x)

    def flatten(self):
        x = self.any(3)
        size = self.shapes[x][0] * self.shapes[x][1] * self.shapes[x][2]
        return self.put((size,), "flatten({0})", x) if size <= 600 else None

    def dense(self):
        x = self.any(1)
        units = self.source.choice(CHANNELS)
        return x and self.put((units,), f"dense({{0}}, {units}, bias = {self.source.choice(['true', 'false'])})", x)

    def softmax(self):
        x = self.any(1)
        return x and self.put(self.shapes[x], "softmax({0})", x)

    def net(self):
        steps = [(self.conv, 4), (self.conv_norm_act, 5), (self.residual, 3), (self.norm, 1), (self.activation, 2), (self.primitive, 1.5), (self.primitive_of_two, 1.5), (self.pool, 2), (self.binary, 3),
                 (self.gate, 2), (self.scalars, 2), (self.dropout, 1), (self.concat, 2), (self.slice_channels, 0.7), (self.split, 0.7), (self.shuffle, 0.7), (self.upsample, 0.7), (self.pad, 0.7),
                 (self.global_max, 0.5), (self.over, 1.5), (self.spatial, 0.7), (self.normed, 1), (self.drop_path, 0.7),
                 (self.channel_conv, 0.5), (self.unflatten, 0.5), (self.pad_channels, 1), (self.squeeze, 1), (self.flatten, 1),
                 (self.dense, 1), (self.softmax, 0.5)]
        functions, weights = zip(*steps)
        for _ in range(self.source.randint(2, 9)):
            self.source.choices(functions, weights)[0]()
        last = self.any(3)
        if last != "image" or not self.any(1):
            self.put((self.shapes[last][0],), "global_avg_pool({0})", last)
        parts = [self.any(1), self.any(1)]
        head = parts[0] if parts[0] == parts[1] or self.source.random() < 0.5 else self.put(
            (self.shapes[parts[0]][0] + self.shapes[parts[1]][0],), "concat({0}, {1})", *parts)
        if self.shapes[head][0] < 2 or self.source.random() < 0.7:
            head = self.put((7,), f"dense({{0}}, {self.source.randint(2, 12)})", head)
        self.put(self.shapes[head], "identity({0})", head)
        return Net(self.image, self.batch, self.statements)


def draw_run(source, passes):
    words = [f"{key}={value}" for key, values in OPTIMISED.items() for value in [source.choice(values)] if value]
    if "precision=bf16" in words:  # on this machine by what it has, half of the time by the method that only bf16 has
        words = [w for w in words if not w.startswith(("cpu=", "conv="))] + source.choice([[], ["conv=amx"]])
    if source.random() < 0.25:
        words.append("openblas")
    if source.random() < 0.1:
        words.append("disable=all")
    elif source.random() < 0.4:
        words.append("disable=" + "+".join(source.sample(passes, source.randint(1, 3))))
    return ",".join(words) or "default"


# ---- against PyTorch ----


def read_tensors(path):
    """(kind, name) -> doubles, of check_net --write."""
    found = {}
    with open(path, "rb") as file:
        while line := file.readline():
            kind, name, count = line.decode().rsplit(maxsplit=2)
            found[kind, name] = array.array("d")
            found[kind, name].fromfile(file, int(count))
    return found


def dropout_mask(shape, rate, stream):
    """ir/eval.h: dropout_keeps for seed 11, step 3, by Philox4x32-10."""
    import numpy
    index = numpy.arange(numpy.prod(shape), dtype=numpy.uint64)
    low = numpy.uint64(0xFFFFFFFF)
    c = [index & low, index >> numpy.uint64(32), numpy.full_like(index, stream), numpy.full_like(index, 3)]
    key = [11, 0]
    for _ in range(10):
        p0, p1 = c[0] * numpy.uint64(0xD2511F53), c[2] * numpy.uint64(0xCD9E8D57)
        c = [(p1 >> numpy.uint64(32)) ^ c[1] ^ numpy.uint64(key[0]), p1 & low, (p0 >> numpy.uint64(32)) ^ c[3] ^ numpy.uint64(key[1]), p0 & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return numpy.where(c[0] * 2.0**-32 >= rate, 1 / (1 - rate), 0.0).reshape(shape)


class Torch:
    """PyTorch in float64, if this interpreter has it."""

    def __init__(self):
        sys.path.insert(0, os.path.join(HERE, "..", "bench"))
        import torch
        import peer
        import torch_peer
        self.torch, self.peer = torch, peer
        torch.set_num_threads(1)

        class Ops(torch_peer.load().ops):
            def dropout(self, x, rate, stream):
                return x * torch.from_numpy(dropout_mask(tuple(x.shape), rate, stream)).to(x.dtype)

        self.ops = Ops

    def compute(self, graph_text, tensors, dtype):
        """What evaluators compute, of the same leaves, in this precision: (kind, name) -> doubles."""
        torch, net = self.torch, self.peer.Net(graph_text)
        given = {value["attrs"]["name"]: value for value in net.values if value["op"] in ("input", "param", "state")}
        leaf = {name: torch.tensor(tensors["leaf", name], dtype=dtype).reshape(value["type"]["shape"])
                for name, value in given.items() if ("leaf", name) in tensors}
        for value in net.leaves:  # one that nothing reads has no number
            leaf.setdefault(value["attrs"]["name"], torch.ones(value["type"]["shape"], dtype=dtype))
        params = [value["attrs"]["name"] for value in net.params]
        for name in params:
            leaf[name].requires_grad_()
        training = ("loss", "-") in tensors
        image = next(name for name, value in given.items() if value is net.images)
        if image not in leaf:
            leaf[image] = torch.zeros(net.image_shape, dtype=dtype)
        logits = net.forward(self.ops(), leaf, leaf[image], training)[0]
        found = {("logits", "-"): logits}
        if training:
            labels = next(leaf[name] for name, value in given.items() if value["type"]["dtype"] == "i32")
            loss = torch.nn.functional.cross_entropy(logits, labels.long(), label_smoothing=net.smoothing)
            gradients = torch.autograd.grad(loss, [leaf[name] for name in params], allow_unused=True) if params and loss.requires_grad else [None] * len(params)
            found["loss", "-"] = loss
            found.update({("gradient", name): g if g is not None else torch.zeros_like(leaf[name]) for name, g in zip(params, gradients)})
            found.update({("state", value["attrs"]["name"]): leaf[value["attrs"]["name"]] for value in net.leaves if value["op"] == "state"})
        return {key: value.detach().flatten().double() for key, value in found.items()}

    def disagrees(self, graph_text, tensors):
        """A sentence, or None."""
        found = self.compute(graph_text, tensors, self.torch.float64)
        scale = max((g.abs().max().item() for g in found.values() if self.torch.isfinite(g).all()), default=1)
        for key, theirs in found.items():
            ours = self.torch.tensor(tensors[key], dtype=self.torch.float64)
            error = (ours - theirs).norm().item()
            if not error <= 1e-6 * theirs.norm().item() + 1e-9 * scale:
                return f"{key[0]} {key[1]}: evaluator and PyTorch differ by {error:.3g}, of norm {theirs.norm().item():.3g}"
        return None

    def beside_f32(self, graph_text, tensors):
        """How far the first run is from the evaluator in units of how far PyTorch's f32 is: (ratio, of what). Errors in norm, of each output; that of
        PyTorch with a unit of rounding of the output's norm, and of the largest gradient's where it is one."""
        theirs = self.compute(graph_text, tensors, self.torch.float32)
        exact = {key: self.torch.tensor(tensors[key], dtype=self.torch.float64) for key in theirs}
        largest = max((x.norm().item() for key, x in exact.items() if key[0] == "gradient"), default=0)
        worst = (0, "")
        for key, x in exact.items():
            unit = 2**-24 * max(x.norm().item(), largest if key[0] == "gradient" else 0)
            ours, f32 = (self.torch.tensor(tensors["run " + key[0], key[1]]) - x).norm().item(), (theirs[key] - x).norm().item()
            if ours > unit:
                worst = max(worst, (ours / (f32 + unit), f"{key[0]} {key[1]}: {ours:.3g}, PyTorch's f32 {f32:.3g}, norm {x.norm().item():.3g}"))
        return worst


# ---- checking ----


def limit_cpu():
    """Of CPU time: a busy machine is no fault."""
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS + 5))


class Checker:
    def __init__(self, args):
        self.args, self.work, self.ratios = args, tempfile.mkdtemp(prefix="netc-random-"), []
        atexit.register(shutil.rmtree, self.work, True)
        said = subprocess.run([args.netc, "help", "passes"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.passes = [name for name in ("canonicalise", "cse", "dce", "squeeze", "fuse_maps", "fuse_epilogues", "fuse_prologues", "share_sweeps")
                       if re.search(rf"\b{name}\b", said)]
        try:
            self.torch = None if args.no_torch else Torch()
        except ImportError:
            self.torch = None

    def command(self, net, path, seed, mode, runs, *more):
        with open(path, "w") as file:
            file.write(net.text())
        return [self.args.check_net, path, "--batch", str(net.batch), "--mode", mode, "--seed", str(seed), *(w for r in runs for w in ("--run", r)), *more]

    def failure(self, net, seed, mode, runs):
        """What is wrong, with the status, or None: (status, text)."""
        path, values = os.path.join(self.work, "random.net"), os.path.join(self.work, "values")
        command = self.command(net, path, seed, mode, runs, *(["--write", values] if self.torch else []))
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=limit_cpu)
        if done.returncode == -signal.SIGXCPU:
            return DIFFERS, f"no end after {MAX_SECONDS} s"
        if done.returncode != AGREES:
            return done.returncode, done.stdout.strip() + (f"\nended by signal {-done.returncode}" if done.returncode < 0 else "")
        if self.torch:
            graph = subprocess.run([self.args.netc, "ir", path, "--format", "json", "--batch", str(net.batch), "--mode", mode], stdout=subprocess.PIPE,
                                   text=True, check=True).stdout
            tensors = read_tensors(values)
            wrong = self.torch.disagrees(graph, tensors)
            if wrong:
                return DIFFERS, wrong
            if self.args.f32:
                self.ratios.append(self.torch.beside_f32(graph, tensors))
        return None

    def shrink(self, net, seed, mode, runs, failed):
        """A smaller net, and fewer runs, that fail too, though perhaps by another fault."""
        end = time.monotonic() + self.args.shrink_seconds

        def fails(net, runs):
            found = time.monotonic() < end and self.failure(net, seed, mode, runs)
            return bool(found) and found[0] != NO_GOOD

        if len(runs) > 1 or failed[0] == DIFFERS and "PyTorch" in failed[1]:
            runs = next(([r] for r in runs if fails(net, [r])), runs)
        progress = True
        while progress and time.monotonic() < end:
            progress = False
            for smaller in self.smaller(net):
                if fails(smaller, runs):
                    net, progress = smaller, True
                    break
        return net, runs

    @staticmethod
    def smaller(net):
        """Nets with one statement less, its readers given one of its operands instead; one of fewer images. Most are no good."""
        for i in reversed(range(len(net.statements))):
            name, _, args = net.statements[i]
            rest = net.statements[:i] + net.statements[i + 1 :]
            if not any(name in a for _, _, a in rest):
                if i < len(net.statements) - 1:
                    yield Net(net.image, net.batch, rest)
                elif rest:
                    yield Net(net.image, net.batch, rest)
                continue
            for other in dict.fromkeys(args):
                yield Net(net.image, net.batch, [(n, t, tuple(other if a == name else a for a in b)) for n, t, b in rest])
        if net.batch > 1:
            yield Net(net.image, net.batch - 1, net.statements)

    def check(self, index):
        source = random.Random(f"{self.args.seed}.{index}")
        net = Generator(source).net()
        mode = "infer" if source.random() < 0.2 else "train"
        runs = [draw_run(source, self.passes) for _ in range(self.args.runs)]
        runs = self.args.way or runs
        seed = source.randint(1, 10**6)
        failed = self.failure(net, seed, mode, runs)
        if not failed:
            return True
        print(f"net {index} of seed {self.args.seed} FAILED:\n{failed[1]}", flush=True)
        if failed[0] != NO_GOOD and not self.args.no_shrink:
            net, runs = self.shrink(net, seed, mode, runs, failed)
        os.makedirs(self.args.keep, exist_ok=True)
        kept = os.path.join(self.args.keep, f"random-{self.args.seed}-{index}.net")
        print(net.text() + " ".join(self.command(net, kept, seed, mode, runs)), flush=True)
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("netc")
    parser.add_argument("check_net")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--first", type=int, default=0, help="number of the first net")
    parser.add_argument("--only", type=int, help="this net alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=2, help="ways to compile each net")
    parser.add_argument("--way", action="append", help="compile each net this way, rather than as drawn: a --run of check_net's")
    parser.add_argument("--f32", action="store_true", help="say how far the first way is off beside PyTorch in f32")
    parser.add_argument("--keep", default="random-nets", metavar="DIR", help="for nets that fail")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--shrink-seconds", type=int, default=120)
    args = parser.parse_args()
    checker = Checker(args)
    numbers = [args.only] if args.only is not None else range(args.first, args.first + args.count)
    failed, start = [], time.monotonic()
    for done, index in enumerate(numbers, 1):
        if not checker.check(index):
            failed.append(index)
        elif args.f32 and checker.ratios[-1][0] > 2:
            print(f"net {index}: {checker.ratios[-1][0]:.3g} times PyTorch's f32: {checker.ratios[-1][1]}", flush=True)
        if done % 50 == 0:
            print(f"{done} nets in {time.monotonic() - start:.0f} s, {len(failed)} failed: {failed}", flush=True)
    if checker.ratios:
        ratios = sorted(ratio for ratio, _ in checker.ratios)
        print(f"the worst output's error in units of PyTorch's f32: median {ratios[len(ratios) // 2]:.2g}, 90 % {ratios[len(ratios) * 9 // 10]:.2g}, worst {ratios[-1]:.3g}")
    print(f"{len(numbers)} nets, {len(args.way or [0] * args.runs)} ways each, {'and PyTorch' if checker.torch else 'without PyTorch'}: {len(failed)} failed {failed or ''}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

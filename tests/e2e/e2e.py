"""What the end-to-end tests share: running netc, reading its files, fabricating data. Standard library only."""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "models")
SMALL = os.path.join(HERE, "small.net")
NETC = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "netc"
SKIPPED = 77  # ctest's SKIP_RETURN_CODE
RECORD = 3073
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


# A gated residual net, small enough to be verified often, on which what judges passes is tried.
GATED_NET = """net small(blocks = 2) {
    input image: f32[3, 8, 8]
    x = relu(batch_norm(conv2d(image, 8, 3, bias = false)))
    for i in 0..blocks {
        y = batch_norm(conv2d(relu(batch_norm(conv2d(x, 8, 3, bias = false))), 8, 3, bias = false))
        g = sigmoid(dense(relu(dense(global_avg_pool(y), 4)), 8))
        x = relu(x + y * g)
    }
    output dense(global_avg_pool(x), 5)
}
"""


def shown_words(line):
    """The words of a command line that netc printed, whose values are quoted for a shell."""
    return [word.strip("'").replace("='", "=") for word in line.split()]


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


class Workspace:
    """A temporary directory that is also the home of the runs in it, so that no test sees the user's data."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="netc-e2e-")
        return self

    def __exit__(self, *exception):
        shutil.rmtree(self.path, ignore_errors=True)

    def __call__(self, *parts):
        return os.path.join(self.path, *parts)

    def environment(self):
        clean = {k: v for k, v in os.environ.items() if k not in ("NETC_DATA", "NETC_CACHE", "XDG_CACHE_HOME")}
        return dict(clean, HOME=self.path, LC_ALL="C")

    def start(self, *args, path=None, temporary=None, **options):
        environment = dict(self.environment(), **({"PATH": path} if path else {}), **({"TMPDIR": temporary} if temporary else {}))
        return subprocess.Popen([NETC, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=environment, cwd=self.path, **options)

    def run(self, *args, status=0, timeout=300, **options):
        """Runs netc; any other exit status fails the test. Returns (stdout, stderr)."""
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=timeout)
        shown = " ".join(map(str, args))
        check(process.returncode == status, f"netc {shown}: exit status {process.returncode}, expected {status}\n{out}{err}")
        return out, err

    def refuses(self, *args, status, says, **options):
        """netc must end with this status and exactly one sentence on stderr, which contains `says`: an error, or one of usage."""
        _, err = self.run(*args, status=status, **options)
        lines = err.strip().split("\n")
        shown = " ".join(map(str, args))
        usage = status == 2 and lines[0].endswith(" --help'")
        check(len(lines) == 1 and (lines[0].startswith("netc: error: ") or usage), f"netc {shown}: not one sentence:\n{err}")
        check(says in lines[0], f"netc {shown}: '{says}' is not in:\n{err}")
        print(f"  ok: {lines[0]}")


def page_commands(page):
    """Of docs/PAGE: the commands in its indented blocks, each with the lines that it is shown to print (behind "$ "). A synopsis, which has words in
    capitals or brackets, is none."""
    with open(os.path.join(HERE, "..", "..", "docs", page)) as file:
        lines = file.read().split("\n")
    commands = []
    for line in lines:
        words = line[4:].removeprefix("$ ").split()
        synopsis = any(word.isupper() or word.startswith("[") for word in words)
        if line.startswith("    ") and words and words[0] in ("netc", "cc", "cmake") and not synopsis:
            commands.append((line[4:].removeprefix("$ "), []))
            shown = line.startswith("    $ ")
        elif commands and shown and line.startswith("    "):
            commands[-1][1].append(line[4:])
        else:
            shown = False
    return commands


def page_spans(page):
    """Of docs/PAGE: what its sentences say in `…` that can be run: commands with an operand, and options with a value. Names in capitals stand for others."""
    with open(os.path.join(HERE, "..", "..", "docs", page)) as file:
        prose = "\n".join(line for line in file.read().split("\n") if not line.startswith("    "))
    spans = re.findall(r"`((?:netc |--[a-z-]+=)[^`]+)`", prose)
    return [s for s in spans if not re.search(r"\b[A-Z]+\b", s) and (s.startswith("--") or any(not word.startswith("-") for word in s.split()[2:]) or "--zoo" in s)]


def recomputable(at, *model):
    """The largest --recompute of a model."""
    _, err = at.run("ir", *model, "--stage=final", "--recompute", 10**9, status=2)
    return int(err.split("at most ")[1].split()[0])


def small_images(at):
    """small.net with its gates and with images of 8x8, for machines that are emulated."""
    with open(SMALL) as file:
        text = file.read().replace("f32[3, 32, 32]", "f32[3, 8, 8]").replace("se = false", "se = true")
    with open(at("small8.net"), "w") as file:
        file.write(text)
    return at("small8.net")


def practice_net(at):
    """small.net, narrower, begun and trained as fast trainings of CIFAR-10 are: everything in the recipe that a run's state could lose, in 20 steps."""
    with open(SMALL) as file:
        text = file.read()
    text = text.replace("relu(conv_bn(image, width, stride = 2))", 'relu(conv2d(image, 24, 2, stride = 2, pad = valid, init = whiten) as "whiten")')
    text = text.replace("kernel, stride = stride, bias = false)", "kernel, stride = stride, bias = false, init = dirac)")
    text = text[: text.index("train {")] + """
train {
    data      = synthetic
    augment   = [pad_crop(2, reflect = true), flip(alternate = true), rand_augment(2, 9), trivial_augment, random_erasing, cutout(6, inside = true)]
    mix       = [mixup(0.4), cutmix(1, probability = 0.5)]
    clip      = 2
    loss      = cross_entropy(label_smoothing = 0.2)
    optimizer = sgd(lr = 0.2, momentum = 0.85, nesterov = true, weight_decay = 1e-3)
    groups    = [
        group("whiten.weight", frozen = true),
        group("whiten.bias", frozen_from = 6 / EPOCH),
        group("*batch_norm*.bias", lr = 4, weight_decay = 1 / 4.0)
    ]
    schedule  = linear(at = [0, 0.23, 1], factors = [0.2, 1, 0.07])
    epochs    = 19.5 / EPOCH
    batch     = 32
    average   = lookahead(decay = 0.95, every = 3, power = 3)
    views     = mirror_shift
}
""".replace("EPOCH", "312.0")
    with open(at("practice.net"), "w") as file:
        file.write(text)
    return at("practice.net")


def zoo(at):
    """The names of the models that come with netc; files of blocks alone are none."""
    names = []
    for file in sorted(os.listdir(MODELS)):
        _, said = at.start("ir", file.removesuffix(".net"), "--mode=infer", "--stage=source", "-o", os.devnull).communicate()
        if "this file declares no net" not in said:
            names.append(file.removesuffix(".net"))
    return names


def metrics(directory):
    """The lines of metrics.jsonl."""
    with open(os.path.join(directory, "metrics.jsonl")) as file:
        return [json.loads(line) for line in file]


def step_losses(directory):
    return {m["step"]: m["loss"] for m in metrics(directory) if "train_accuracy" not in m}


def read_safetensors(path):
    """name -> (dtype, shape, bytes), in file order."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    base = 8 + length
    return {name: (t["dtype"], t["shape"], data[base + t["data_offsets"][0] : base + t["data_offsets"][1]]) for name, t in tensors}


def write_safetensors(path, tensors):
    """The inverse."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def lively_weights(at, model, path, seed):
    """Initial weights of a model, its vectors and running statistics (which begin as zeros and ones) moved at random."""
    at.run("init", *model, "--seed", seed, "-o", path)
    source, tensors = random.Random(seed), read_safetensors(path)
    for name, (dtype, shape, data) in tensors.items():
        if len(shape) == 1:
            low, high = (0.5, 1.5) if "var" in name or struct.unpack("<f", data[:4])[0] == 1 else (-0.3, 0.3)
            data = struct.pack(f"<{shape[0]}f", *(source.uniform(low, high) for _ in range(shape[0])))
        tensors[name] = (dtype, shape, data)
    write_safetensors(path, tensors)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path, width, height, pixel, kind, depth=8, palette=None, interlace=False, gamma=None, raw=None):
    """pixel(x, y) gives the samples of one pixel, for depths under 8 a single one; or raw has them all, filter bytes too. kind is PNG's
    colour type, gamma its gAMA chunk."""

    def rows(xs, ys):
        raw = b""
        for y in ys:
            samples = [s for x in xs for s in pixel(x, y)]
            if depth == 16:
                row = b"".join(struct.pack(">H", s) for s in samples)
            elif depth == 8:
                row = bytes(samples)
            else:
                bits = "".join(format(s, f"0{depth}b") for s in samples)
                bits += "0" * (-len(bits) % 8)
                row = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
            raw += b"\0" + row
        return raw

    if raw is not None:
        pass
    elif interlace:
        starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        passes = [(range(x, width, dx), range(y, height, dy)) for x, y, dx, dy in starts]
        raw = b"".join(rows(xs, ys) for xs, ys in passes if len(xs) and len(ys))
    else:
        raw = rows(range(width), range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header))
        if gamma:
            file.write(png_chunk(b"gAMA", struct.pack(">I", gamma)))
        if palette:
            file.write(png_chunk(b"PLTE", bytes(palette)))
        file.write(png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b""))


def npy(kind, shape, data, version=1):
    """An array as numpy writes it to a file."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''}), }}"
    length = 2 if version == 1 else 4
    head += " " * (-(8 + length + len(head) + 1) % 64) + "\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(head).to_bytes(length, "little") + head.encode() + data


def labels(values, kind="<i8"):
    return npy(kind, [len(values)], struct.pack({"<i8": "<", ">i2": ">", "|u1": "<"}[kind] + {"8": "q", "2": "h", "1": "B"}[kind[-1]] * len(values), *values))


def fabricate_cifar10(directory, seed=1, distinct=1000):
    """Six files of the right size: `distinct` noisy images whose brightness follows the label, over and over."""
    os.makedirs(directory, exist_ok=True)
    source = random.Random(seed)
    records = []
    for _ in range(distinct):
        label = source.randrange(10)
        noise = source.randbytes(3072)
        records.append(bytes([label]) + bytes(12 * label + (b >> 1) for b in noise))
    block = b"".join(records)
    for name in BATCHES:
        with open(os.path.join(directory, name), "wb") as file:
            for _ in range(10000 // distinct):
                file.write(block)
    return block

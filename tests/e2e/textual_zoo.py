"""Models of the zoo as text: every stage of each through bench, train, eval, build and verify computes what the .net file does, bit for bit and with its
kernels; the text behind every pass, in both modes, is read and printed as itself.

    python3 tests/e2e/textual_zoo.py NETC                       lenet
    python3 tests/e2e/textual_zoo.py NETC [--log=FILE] all      models/, the cheap ones first; those that FILE calls ok are done already
    python3 tests/e2e/textual_zoo.py NETC [--log=FILE] MODEL...
    python3 tests/e2e/textual_zoo.py NETC --texts all           only what is read and printed, and that the final graph of each stage is that of the .net file

Two images a batch, sixteen to train and eight to test with; nets of more classes than data have are made with ten. All commands share one cache of
kernels. netc verify takes the small images that it takes of the net for the source's text, and texts of later stages are made for those, since the
evaluator is in double. The seconds of FILE are, of all commands of a model together, of the processor, and by the clock. Models can be held side by side,
by two runs with one FILE.
"""
import json
import math
import os
import random
import re
import subprocess
import sys
import time

from e2e import MODELS, NETC, Workspace, check, labels, npy, read_safetensors, zoo

STAGES = ["source", "autodiff", "final"]
BATCH = 2
CLASSES = 256  # at most, of data
LONG = 7200  # seconds that a command may take: the largest nets, on a machine that does something else


def shape_of(line):
    """Of a line of text: the dimensions of the value's type."""
    return [int(d) for d in re.search(r"\} : \w+\[([\d,]*)\]|: \w+\[([\d,]*)\]", line).group(0).split("[")[1][:-1].split(",") if d]


def survey(at, model):
    """(multiplications of an image, forward; [height, width, channels] of it; classes), from the text of a net."""
    text, _ = at.run("ir", model, "--mode=infer", "--batch=1", "--stage=source", timeout=LONG)
    shapes, work, image = {}, 0, None
    for line in text.split("\n"):
        value = re.match(r"(%\d+) = (\w+) (.*)", line)
        if not value:
            continue
        shapes[value[1]] = shape_of(line)
        if value[2] in ("conv2d", "dense"):
            work += math.prod(shapes[value[1]]) * math.prod(shapes[re.findall(r"%\d+", value[3])[1]][1:])
        if value[2] == "input" and image is None:
            image = shapes[value[1]]
    return work, [image[2], image[3], image[1]], shapes[re.search(r"^return logits (%\d+)", text, re.M)[1]][1]


def make_data(at, image, classes):
    """Arrays of numpy, of noise: sixteen images, and eight."""
    where, source = at("data-" + "x".join(map(str, [*image, classes]))), random.Random(7)
    os.makedirs(where, exist_ok=True)
    for split, count in (("train", 16), ("test", 8)):
        for name, data in ((f"x_{split}", npy("|u1", [count, *image], source.randbytes(count * math.prod(image)))),
                           (f"y_{split}", labels([classes - 1] + [source.randrange(classes) for _ in range(count - 1)]))):
            with open(os.path.join(where, name + ".npy"), "wb") as file:
                file.write(data)
    return where


def smaller(at, size):
    """The directory of models/ with images of this size."""
    directory = at(f"models-{size}")
    if not os.path.exists(directory):
        os.makedirs(directory)
        for name in os.listdir(MODELS):
            with open(os.path.join(MODELS, name)) as file, open(os.path.join(directory, name), "w") as copy:
                copy.write(re.sub(r"(input image: f32\[3, )[^\]]+\]", rf"\g<1>{size}, {size}]", file.read()))
    return directory


def kernels(at, *net):
    """Names, with the hashes of their code, and calls."""
    timed = json.loads(at.run("bench", *net, "--repeats=1", "--json", timeout=LONG)[0])
    return {mode: sorted((k["name"], k["calls"]) for k in timed[mode]["kernels"]) for mode in ("train", "infer")}


def scores(at, net, weights, data):
    line = json.loads(at.run("eval", *net, "--weights", weights, "--data", data, "--json", timeout=LONG)[0])
    return line["accuracy"], line["loss"]


def same(at, net, data):
    """What is computed from the text of each stage."""
    model, train = net[0], ["--data", data, "--steps", "2", "--eval-every", "0", "-q"]

    def trained(name, *net):
        at.run("train", *net, *train, "--out", at(name), "--overwrite", timeout=LONG)
        return read_safetensors(at(name, "last.safetensors"))
    tensors, weights = trained("net", *net), at("net", "last.safetensors")
    scored, called = scores(at, net, weights, data), kernels(at, *net)
    for stage in STAGES:
        file = at(stage + ".ir")
        check(trained("ir", file) == tensors, f"{model}, {stage}: other weights after training")
        again = scores(at, [file], weights, data)
        check(again == scored, f"{model}, {stage}: eval says {again}, not {scored}")
        check(kernels(at, file) == called, f"{model}, {stage}: other kernels")
        at.run("build", file, "--cpu=native", "-o", at("exe"), timeout=LONG)
        subprocess.run([at("exe"), *train, "--out", at("built"), "--overwrite"], check=True, env=at.environment(), cwd=at.path, timeout=LONG)
        check(read_safetensors(at("built", "last.safetensors")) == tensors, f"{model}, {stage}: other weights of the executable")


def every_stage(at, net):
    """The text of a stage is read and printed as itself, and the passes that are still to come, none behind `final`, leave what they leave of the .net file."""
    model, (final, _) = net[0], at.run("ir", *net, "--mode=both", "--stage=final")
    for stage in STAGES:
        file = at(stage + ".ir")
        at.run("ir", *net, "--mode=both", "--stage", stage, "-o", file)
        with open(file) as text:
            check(at.run("ir", file, "--mode=both")[0] == text.read(), f"{model}, {stage}: reading and printing is no identity")
        check(at.run("ir", file, "--mode=both", "--stage=final")[0] == final, f"{model}, {stage}: another final graph")


def verified(at, net):
    """The source's text, and those of later stages with images of the size that the former was verified with: such a text can be made no smaller."""
    said, _ = at.run("verify", at("source.ir"), timeout=LONG)
    size = re.match(r"\S+, training: \d+ images? of \d+x(\d+)x", said)[1]
    for stage in STAGES[1:]:
        at.run("ir", os.path.join(smaller(at, size), net[0] + ".net"), *net[1:], "--mode=both", "--stage", stage, "-o", at("small.ir"))
        at.run("verify", at("small.ir"), timeout=LONG)


def every_pass(at, net):
    """The graph behind each pass, of both modes, as --split-after writes it and --print-after-all prints it. Returns how many."""
    model, directory = net[0], at("stages-" + net[0])
    _, printed = at.run("ir", *net, "--mode=both", "--stage=final", "--print-after-all", "--split-after", directory, "-o", "/dev/null")
    names = sorted(os.listdir(directory), key=lambda name: (name.startswith("infer"), name))
    for name in names:
        with open(os.path.join(directory, name)) as file:
            whole = file.read()
        if "-00-" not in name:
            check(printed.startswith(whole), f"{model}: --print-after-all has another text than {name}")
            printed = printed[len(whole) :]
        heading, text = whole.split("\n", 1)
        check(heading.startswith("# ") and at.run("ir", os.path.join(directory, name))[0] == text, f"{model}: {name} reads and prints otherwise")
    check(not printed, f"{model}: --print-after-all prints more than the passes")
    return len(names)


def whole_model(at, model, image, classes, only_texts):
    begin, cpu = time.monotonic(), used()
    net = [model, f"--batch={BATCH}"] + (["--set=classes=10"] if classes > CLASSES else [])
    texts = every_pass(at, net)
    every_stage(at, net)
    if only_texts:
        return f"ok: {model}, {texts} texts of passes"
    same(at, net, make_data(at, image, 10 if classes > CLASSES else classes))
    verified(at, net)
    return f"ok: {model}, {texts} texts of passes, {used() - cpu:.0f} s of the processor, {time.monotonic() - begin:.0f} s"


def used():
    """Seconds of the processor that commands took."""
    spent = os.times()
    return spent.children_user + spent.children_system


def done_already(log, only_texts):
    """All commands are more than texts."""
    if not log or not os.path.exists(log):
        return set()
    with open(log) as file:
        return {line.split()[1].rstrip(",") for line in file if line.startswith("ok: ") and (only_texts or line.endswith(" s\n"))}


def main(models, log, only_texts):
    failed = 0
    with Workspace() as at:
        if models == ["all"]:
            models = zoo(at)
        surveyed = {model: survey(at, model) for model in models if model not in done_already(log, only_texts)}
        for model in sorted(surveyed, key=lambda m: surveyed[m][0]):
            if model in done_already(log, only_texts):  # by a run beside this one
                continue
            try:
                line = whole_model(at, model, *surveyed[model][1:], only_texts)
            except (SystemExit, subprocess.SubprocessError) as fault:
                line, failed = f"FAILED: {model}: {str(fault).removeprefix('FAILED: ')[:2000]}", failed + 1
            print(line, flush=True)
            if log:
                with open(log, "a") as file:
                    file.write(line + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    if NETC == "netc":
        sys.exit(__doc__)
    options = [word.removeprefix("--log=") for word in sys.argv[2:] if word.startswith("--log=")]
    sys.exit(main([word for word in sys.argv[2:] if not word.startswith("--")] or ["lenet"], options[-1] if options else None, "--texts" in sys.argv))

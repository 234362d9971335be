"""Graphs as text are models: what is printed at any stage trains, evaluates, predicts, is timed and built with the bits of the .net file
that it came from; reading and printing is identity; what a file lacks is said. textual_zoo.py does it with models."""
import os
import re

from e2e import SMALL, Workspace, check, read_safetensors

GATED = [SMALL, "--set", "se=true"]
TRAIN = ["--data", "synthetic", "--steps", 3, "-q"]
STAGES = ["source", "autodiff", "final"]


def trained(at, name, *model):
    at.run("train", *model, *TRAIN, "--out", at(name))
    return read_safetensors(at(name, "last.safetensors"))


def same_bits(at):
    whole = trained(at, "net", *GATED)
    at.run("init", *GATED, "--seed", 4, "-o", at("net.init"))
    weights = ["--weights", at("net", "best.safetensors"), "--data", "synthetic"]
    scored = at.run("eval", *GATED, *weights, "--json")[0]
    for stage in STAGES:
        file = at(stage + ".ir")
        at.run("ir", *GATED, "--mode=both", "--stage", stage, "-o", file)
        check(trained(at, stage, file) == whole, f"{stage}: other weights after training")
        at.run("init", file, "--seed", 4, "-o", at("ir.init"))
        with open(at("ir.init"), "rb") as ours, open(at("net.init"), "rb") as theirs:
            check(ours.read() == theirs.read(), f"{stage}: other initial weights")
        again = at.run("eval", file, *weights, "--json")[0]
        for key in ('"accuracy"', '"loss"'):
            check(value(again, key) == value(scored, key), f"{stage}: eval says {again}, not {scored}")
        read, _ = at.run("ir", file, "--mode=both")
        with open(file) as text:
            check(read == text.read(), f"{stage}: reading and printing is no identity")
        print(f"ok: {stage}")


def without_convolutions(at):
    """Passes that have run are known to have, though no convolution shows what was fused."""
    with open(at("dense.net"), "w") as file:
        file.write("net dense_only() {\n    input image: f32[3, 8, 8]\n    x = relu(dense(flatten(image), 16))\n    output dense(relu(dense(x, 16)), 10)\n}\n")
    at.run("ir", at("dense.net"), "--batch=2", "--mode=both", "--stage=final", "-o", at("dense.ir"))
    with open(at("dense.ir")) as text:
        check(at.run("ir", at("dense.ir"), "--mode=both", "--stage=final")[0] == text.read(), "passes run on a graph that has been through all of them")


def frozen(at):
    """What is not trained stays so in a text, with a recipe and without, unless groups are set."""
    net = ('%0 = input {name="image"} : f32[2,3,1,1]\n%1 = flatten %0 : f32[2,3]\n%2 = param {name="w", init=constant(1), decay=true, frozen=true} : f32[3,3]\n'
           '%3 = dense %1, %2 : f32[2,3]\n%4 = param {name="b", init=constant(0), decay=false} : f32[3]\n%5 = add %3, %4 : f32[2,3]\n')
    train = ('graph "g" train\n' + net + '%6 = input {name="labels"} : i32[2]\n%7 = cross_entropy %5, %6 {smoothing=0} : f32[]\n%8 = correct %5, %6 : f32[]\n'
             'return logits %5\nreturn loss %7\nreturn correct %8\n')
    infer = '\ngraph "g" infer\n' + net.replace(", frozen=true", "") + "return logits %5\n"

    def marked(*args):
        return [name for name in "wb" if re.search(rf'name="{name}"[^}}]*frozen=true', at.run("ir", *args, "--mode=both")[0])]
    for name, text in (("frozen", train), ("two", train + infer), ("all", train.replace("decay=false", "decay=false, frozen=true") + infer)):
        with open(at(name + ".ir"), "w") as file:
            file.write(text)
    with open(at("frozen.ir")) as text:
        check(at.run("ir", at("frozen.ir"))[0] == text.read(), "a frozen parameter is read and printed otherwise")
    check(marked(at("two.ir"), "--set=train.groups=[]") == ["w"], "no groups free what a graph without a recipe says is frozen")
    at.run("ir", at("two.ir"), "--mode=both", "--set=train.epochs=3", "-o", at("recipe.ir"))
    check(marked(at("recipe.ir")) == ["w"], "a frozen parameter is not read back with a recipe that has no groups")
    check(marked(at("recipe.ir"), "--set=train.groups=[]") == [], "no groups do not free")
    for name in ("two", "recipe"):
        check(marked(at(name + ".ir"), '--set=train.groups=[group("b", frozen = true)]') == ["b"], "what is set is not what is frozen")
    at.refuses("train", at("all.ir"), "--steps=1", status=1, says="all parameters of 'g' are frozen, so that nothing is left to train")


def value(text, key):
    return text.split(key + ":")[1].split(",")[0].strip(" }\n")


def batches(at):
    """A graph of inference is for any number of images, one of training for its own."""
    for stage, file in (("source", "seven.ir"), ("final", "final7.ir")):
        at.run("ir", *GATED, "--mode=infer", "--batch=7", "--stage", stage, "-o", at(file))
        at.run("ir", *GATED, "--mode=infer", "--batch=3", "--stage", stage, "-o", at("three.ir"))
        resized, _ = at.run("ir", at("three.ir"), "--batch=7")
        with open(at(file)) as text:
            check(resized == text.read(), f"{stage}: a graph for 3 images does not become that for 7")
    at.refuses("train", at("source.ir"), *TRAIN, "--batch=8", status=2, says="for as many images as its text says")


def places(at):
    """Values know the line of the .net file that they came from, whatever text they went through."""
    def remarks(*model):
        return at.run("ir", *model, "--mode=train", "--stage=final", "--remarks", "-o", "/dev/null")[1]

    def whys(*model):
        return [line for line in at.run("why", *model, "--mode=train")[0].split("\n") if "small.net:" in line]
    check("small.net:" in remarks(*GATED) and remarks(at("source.ir")) == remarks(*GATED), "remarks about a graph name lines of the model")
    check(len(whys(*GATED)) > 3 and whys(at("source.ir")) == whys(*GATED) == whys(at("final.ir")), "why names lines of the model")
    at.run("ir", *GATED, "--mode=train", "--stage=final", "--split-after", at("stages"), "-o", "/dev/null")
    for name in sorted(os.listdir(at("stages"))):
        with open(at("stages", name)) as file:
            heading, text = file.read().split("\n", 1)
        check(heading.startswith("# ") and " at 1:" in text and at.run("ir", at("stages", name))[0] == text, f"{name} reads and prints otherwise")
    at.run("explore", at("source.ir"), "-o", at("page.html"))
    with open(at("page.html")) as file, open(SMALL) as net:
        page = file.read()
        check("small.net" in page and net.read().split("\n")[0] in page, "the page shows the model's text")
    for edit, says in ((" at 2:1:1", "there is no source 2, of 1"), (" at 1:0:1", "count from 1"), (" at 1:1", "expected ':'")):
        with open(at("odd.ir"), "w") as file:
            file.write('graph "g" infer\nsource "a.net"\n%0 = input {name="x"} : f32[2,4]' + edit + "\nreturn logits %0\n")
        _, err = at.run("ir", at("odd.ir"), status=1)
        check("odd.ir:" in err and says in err.split("\n")[0], err)
    with open(at("odd.ir"), "w") as file:
        file.write('graph "g" infer\nsource "not there.net" source "b\\"\\xff.net"\n%x = input {name="x"} : f32[2,4] at 2:3:4\nreturn logits %x\n')
    odd, _ = at.run("ir", at("odd.ir"))
    check(odd == 'graph "g" infer\nsource "b\\"\\xff.net"\n%0 = input {name="x"} : f32[2,4] at 1:3:4\nreturn logits %0\n', odd)
    print("ok: places")


def all_commands(at):
    file = at("final.ir")
    at.run("bench", file, "--repeats=1", "--json")
    at.run("passes", file)
    at.run("build", file, "-o", at("exe"))
    check(os.path.getsize(at("exe")) > 100000, "an executable")
    at.run("build", "--infer", at("source.ir"), "--weights", at("net", "best.safetensors"), "--data", "synthetic", "-o", at("lib.a"))
    at.run("train", at("source.ir"), *TRAIN, "--memory-limit=15M", "--out", at("limited"))
    check(read_safetensors(at("limited", "last.safetensors")) == read_safetensors(at("net", "last.safetensors")), "limited memory: other bits")


def by_content(at):
    """A file of another name, and standard input, by what is in them."""
    with open(at("final.ir")) as text, open(at("final.txt"), "w") as other:
        whole = text.read()
        other.write("# of another name\n" + whole)
    check(at.run("ir", at("final.txt"), "--mode=both")[0] == whole, "by what is in it")
    with open(at("final.ir")) as text:
        check(at.run("ir", "-", "--mode=both", stdin=text)[0] == whole, "standard input")
    with open(at("final.ir")) as text:
        at.run("train", "-", *TRAIN, "--out", at("piped"), stdin=text)
    check(read_safetensors(at("piped", "last.safetensors")) == read_safetensors(at("net", "last.safetensors")), "standard input: other bits")
    with open(at("source.ir")) as text:
        at.run("verify", "-", "--mode=train", stdin=text)
    with open(SMALL) as text:
        at.refuses("ir", "-", status=1, says="standard input holds no graph as text", stdin=text)


def mistakes(at):
    at.run("ir", *GATED, "-o", at("train.ir"))
    at.refuses("train", at("train.ir"), *TRAIN, status=1, says="has no graph of inference: 'netc ir MODEL --mode=both' writes both")
    at.refuses("eval", at("train.ir"), "--weights", "x", status=1, says="has no graph of inference")
    at.refuses("ir", at("train.ir"), "--net=small", status=2, says="'--net' is about a .net model")
    with open(at("train.ir")) as text, open(at("twice.ir"), "w") as twice:
        graph = text.read()
        twice.write(graph + graph)
    at.refuses("ir", at("twice.ir"), status=1, says="has two graphs of one mode")
    with open(at("source.ir")) as text:
        whole = text.read()
    cut = whole.index('graph "small" infer')
    for name, text, says in [
        ("logits", whole[:cut] + whole[cut:].replace("return logits", "# "), "the graph of inference of 'small' has no output 'logits'"),
        ("correct", whole.replace("return correct", "# "), "the graph of training of 'small' has no output 'correct'"),
        ("other", whole[:cut] + whole[cut:].replace('"conv_bn.conv2d.weight"', '"conv_bn.other"'), "no param 'conv_bn.other' like that of inference"),
        ("place", whole[:cut] + whole[cut:].replace("decay=true}", "decay=true, position=40}", 1), "no param 'conv_bn.conv2d.weight' like that"),
    ]:
        with open(at(name + ".ir"), "w") as file:
            file.write(text)
        at.refuses("train", at(name + ".ir"), *TRAIN, status=1, says=says)
    with open(at("inputs.ir"), "w") as file:
        file.write('graph "g" infer\n%0 = input {name="image"} : f32[2,3,1,1]\n%1 = input {name="more"} : f32[2,3,1,1]\n%2 = add %0, %1 : f32[2,3,1,1]\n'
                   '%3 = flatten %2 : f32[2,3]\nreturn logits %3\n')
    at.refuses("bench", at("inputs.ir"), "--mode=infer", status=1, says="one input of images f32[N,C,H,W]; 'g' has 2")
    with open(at("fixed.ir"), "w") as file:  # a parameter with a value for each image
        file.write('graph "g" infer\n%0 = input {name="image"} : f32[2,3,1,1]\n%1 = flatten %0 : f32[2,3]\n'
                   '%2 = param {name="p", init=constant(0), decay=false} : f32[2,3]\n%3 = add %1, %2 : f32[2,3]\nreturn logits %3\n')
    at.run("ir", at("fixed.ir"))
    at.refuses("ir", at("fixed.ir"), "--batch=4", status=1, says="is not a graph for any number of images: %3: with 4 images add")
    _, err = at.run("ir", at("final.ir"), "--mode=both", "--set", "width=3", status=1)
    check("a graph has no parameter 'width'; keys of the recipe are set as train.width" in err, err)
    for key in ("train.loss=cross_entropy(label_smoothing = 0.1)", "train.loss.label_smoothing=0.1", "train.batch = 8"):
        at.refuses("train", at("final.ir"), *TRAIN, "--set", key, status=2, says="a graph's text has its loss and its batch")
    out, _ = at.run("ir", at("final.ir"), "--mode=both", "--set", "train.epochs=7")
    check("epochs     = 7" in out, "--set train.epochs")


def file_and_line(at):
    """A mistake is pointed at where it stands in the file, behind the recipe too."""
    with open(at("broken.ir"), "w") as file:
        file.write('train {\n    epochs = 3\n}\n\ngraph "g" train\n%0 = nonsense\n')
    _, err = at.run("ir", at("broken.ir"), status=1)
    check("broken.ir:6:" in err, err)
    with open(at("broken.ir"), "w") as file:
        file.write('graph "g" infer\n%0 = input {name="image"} : f32[2,3,1,1]\n%1 = flatten %0 : f32[2,3]\nreturn logits %1\ntrain {\n    epoch = 3\n}\n')
    _, err = at.run("ir", at("broken.ir"), status=1)
    check("broken.ir:6:" in err and "epoch" in err, err)


with Workspace() as at:
    file_and_line(at)
    without_convolutions(at)
    frozen(at)
    same_bits(at)
    places(at)
    batches(at)
    all_commands(at)
    by_content(at)
    mistakes(at)

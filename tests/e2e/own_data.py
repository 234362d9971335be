"""Training on one's own pictures: a folder for each class, of PNG, JPEG, PPM of any size; names of classes in predictions by netc and by an
executable, bad pictures named, mistakes said before anything is compiled."""
import json
import os
import random
import shutil
import subprocess
import time

from e2e import HERE, NETC, SMALL, Workspace, check, metrics, read_safetensors, write_png, write_safetensors

JPEG = {"blue": "blue", "green": "green_progressive", "red": "red"}
EACH = 40


def write_ppm(path, width, height, pixel):
    with open(path, "wb") as file:
        file.write(f"P6\n{width} {height}\n255\n".encode() + bytes(s for y in range(height) for x in range(width) for s in pixel(x, y)))


def make_pictures(root, each=EACH):
    """Red, green and blue pictures with noise, of many sizes; a third of each kind."""
    source = random.Random(5)
    for channel, name in enumerate(("red", "green", "blue")):
        os.makedirs(os.path.join(root, name))
        for i in range(each):
            width, height = source.randint(5, 40), source.randint(5, 40)
            noise = source.randint(0, 120)
            colour = lambda x, y: [min(255, (150 if c == channel else 20) + (x * 31 + y * 57 + c * 11) % (noise + 1)) for c in range(3)]  # noqa: B023
            path = os.path.join(root, name, f"{i:03d}")
            if i % 3 == 0:
                write_png(path + ".png", width, height, colour, kind=2)
            elif i % 3 == 1:
                write_ppm(path + ".ppm", width, height, colour)
            else:
                shutil.copy(os.path.join(HERE, "..", "fuzz", "corpus", "picture", JPEG[name] + ".jpg"), path + ".JPG")


def write_model(at, classes=3, channels=3, fit="stretch"):
    with open(SMALL) as file:
        text = file.read().replace("dense(global_avg_pool(x), 10)", f"dense(global_avg_pool(x), {classes})")
    text = text.replace("[3, 32, 32]", f"[{channels}, 24, 20]").replace("data      = synthetic", f"fit       = {fit}")
    with open(at(f"own{classes}{channels}{fit}.net"), "w") as file:
        file.write(text)
    return at(f"own{classes}{channels}{fit}.net")


def weights_metadata(path):
    with open(path, "rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]


def run(at, *words, status=0):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=at.environment(), cwd=at.path, timeout=120)
    check(done.returncode == status, f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_idx(directory, name, sizes, values):
    head = bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(head + bytes(values))


def make_idx(directory, train=24, test=6):
    os.makedirs(directory)
    for name, n in ("train", train), ("t10k", test):
        write_idx(directory, name + "-images-idx3-ubyte", [n, 24, 20], (i * 7 % 251 for i in range(n * 24 * 20)))
        write_idx(directory, name + "-labels-idx1-ubyte", [n], (i % 3 for i in range(n)))


def check_cifar100(at):
    """Files of CIFAR-100's layout, where they are put: a coarse and a fine label before each image; nearly all are black apples."""
    wide = at("wide.net")
    with open(SMALL) as file:
        text = file.read().replace("dense(global_avg_pool(x), 10)", "dense(global_avg_pool(x), 100)")
    with open(wide, "w") as file:
        file.write(text)
    os.makedirs(at(".cache", "netc", "cifar100"))
    for name, n in ("train.bin", 50000), ("test.bin", 10000):
        with open(at(".cache", "netc", "cifar100", name), "wb") as file:
            file.write(b"".join(bytes([19, label]) + bytes([label]) * 3072 for label in range(100)))
            file.truncate(n * 3074)
    at.refuses("train", SMALL, "--data", "cifar100", status=1, says="in 100 classes, the net takes 3x32x32 and has 10 classes")
    at.run("train", wide, "--data", "cifar100", "--batch", 100, "--steps", 1, "--eval-every", 0, "--out", at("hundred"), "-q")
    names = weights_metadata(at("hundred", "last.safetensors"))["classes"].splitlines()
    check(len(names) == 100 and names[0] == "apple" and names[97] == "wolf", f"{names}")
    stats = json.loads(at.run("data", "stats", "cifar100", "--json")[0])
    check(stats["classes"][99] == {"class": "worm", "train": 1, "test": 1} and stats["classes"][0]["train"] == 49901, f"{stats['classes'][99]}")


def check_known_sets(at, gray):
    """The names of known sets, and directories of their files, are not folders of pictures, whatever folders are there."""
    os.makedirs(at("cifar10", "batch", "cat"))
    at.refuses("train", SMALL, "--data", "cifar10", status=1, says="no cifar10 data in")
    at.refuses("data", "stats", "cifar100", status=1, says="no cifar100 data in")
    os.makedirs(at("synthetic", "raw"))
    at.run("train", SMALL, "--data", "synthetic", "--batch", 4, "--steps", 1, "--out", at("of_synthetic"), "-q")
    make_idx(at("mnist"))
    os.makedirs(at("mnist", "raw"))
    at.run("train", gray, "--data", at("mnist"), "--batch", 4, "--steps", 2, "--out", at("of_idx"), "-q")
    check("24 images to train with, 6 to test with, 1x24x20" in at.run("data", "stats", at("mnist"))[0], "stats of IDX files")
    check(at.run("data", "check", at("mnist"))[0] == "idx: 24 training and 6 test images, 3 classes\n", "check of IDX files")
    check_cifar100(at)
    os.makedirs(at("bins", "raw"))
    with open(at("bins", "data_batch_1.bin"), "wb") as file:
        file.write(bytes(3073))
    at.refuses("train", SMALL, "--data", at("bins"), status=1, says="data_batch_1.bin is truncated")


def check_cache(at, model):
    """Decoded pictures are kept, and used as long as no picture changed; what is damaged is decoded again."""
    kept = lambda: json.loads(at.run("cache", "info", "--json")[0])["pictures"]
    folder = at(".cache", "netc", "pictures")
    make_pictures(at("few"), each=10)
    with open(at("few", "red", "bad.png"), "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
    time.sleep(0.1)  # a file that was changed in this moment is not kept
    words = ["train", model, "--data", at("few"), "--bad-pictures=skip", "--batch", 12, "--steps", 2, "-q", "--out"]
    before = set(os.listdir(folder))
    _, said = at.run(*words, at("few0"))
    (name,) = set(os.listdir(folder)) - before
    want = read_safetensors(at("few0", "last.safetensors"))
    check("red/bad.png' is left out" in said and kept()["files"] == len(before) + 1, said)
    os.utime(os.path.join(folder, name), (1, 1))
    _, again = at.run(*words, at("few1"))
    check(again == said and os.stat(os.path.join(folder, name)).st_mtime > 1, f"it was not used, or says otherwise: {again}")
    check(read_safetensors(at("few1", "last.safetensors")) == want, "what was kept trains otherwise")
    size = os.path.getsize(os.path.join(folder, name))
    for at_byte, cut in ((size - 5000, False), (40, False), (size // 2, True), (0, False)):
        with open(os.path.join(folder, name), "r+b") as file:
            if cut:
                file.truncate(at_byte)
            else:
                file.seek(at_byte)
                byte = file.read(1)[0]
                file.seek(at_byte)
                file.write(bytes([byte ^ 16]))
        _, again = at.run(*words, at("few2"), "--overwrite")
        check("is damaged: they are decoded again" in again and again.replace(said, "").count("\n") == 1, again)
        check(read_safetensors(at("few2", "last.safetensors")) == want, "damaged pictures were trained with")
    check(at.run(*words, at("few2"), "--overwrite")[1] == said, "what was damaged is not replaced")
    with open(at("few", "red", "001.ppm"), "r+b") as file:  # the same length
        file.seek(30)
        file.write(b"changed")
    time.sleep(0.1)
    at.run(*words, at("few3"))
    check(read_safetensors(at("few3", "last.safetensors")) != want and kept()["files"] == len(before) + 2, "a changed picture")
    at.run("cache", "clear")
    check(kept()["files"] == 0 and not os.listdir(folder), "cache clear")
    at.run(*words, at("few4"), "--no-cache")
    check(kept()["files"] == 0, "--no-cache keeps pictures")


def check_changes(at, model):
    """What changes behind a training's back: a pixel of one picture, names of classes, classes without pictures; and what is no picture by its name."""
    make_pictures(at("moving"), each=12)
    words = ["train", model, "--data", at("moving"), "--batch", 12, "--set", "train.epochs=4", "-q", "--out", at("moved")]
    at.run(*words, "--steps", 2)
    at.run(*words, "--steps", 3, "--resume")
    with open(at("moving", "red", "010.ppm"), "r+b") as file:  # 1, 4, 7, 10
        file.seek(-4, 2)
        file.write(b"\xff\0\xff\0")
    at.refuses(*words, "--steps", 4, "--resume", status=1, says="was trained with data = moving (")
    os.rename(at("moving", "blue"), at("moving", "zebra"))
    weights = ["--weights", at("moved", "last.safetensors")]
    _, said = at.run("eval", model, *weights, "--data", at("moving"))
    check("class 0 of the data is 'green', but 'blue' is what the weights were trained on" in said, said)
    for i in range(12):
        for suffix in ".png", ".ppm", ".JPG":
            if os.path.exists(at("moving", "zebra", f"{i:03d}{suffix}")):
                os.rename(at("moving", "zebra", f"{i:03d}{suffix}"), at("moving", "zebra", f"{i:03d}.webp"))
    _, said = at.run("eval", model, *weights, "--data", at("moving"))
    check("no picture of the class 'zebra' to train with" in said and "12 files in " in said and "are not looked at" in said, said)
    check("12 files are no pictures" in at.run("data", "stats", at("moving"))[0], "stats")


def check_executable(at, model, weights, examples, theirs):
    at.run("build", model, "--cpu", "native", "-o", at("own"))
    check(run(at, at("own"), "predict", "--weights", weights, *examples) == theirs, "the executable predicts otherwise")
    below = run(at, at("own"), "predict", "--weights", weights, at("pictures", "red"), examples[1])
    check(below == at.run("predict", model, "--weights", weights, at("pictures", "red"), examples[1])[0] and len(below.splitlines()) == EACH + 1, below)
    run(at, at("own"), "--data", at("pictures"), "--seed", 1, "--steps", 3, "--out", at("exe"))
    at.run("train", model, "--data", at("pictures"), "--seed", 1, "--steps", 3, "--out", at("three"), "-q")
    check(read_safetensors(at("exe", "last.safetensors")) == read_safetensors(at("three", "last.safetensors")), "the executable trains otherwise")
    out = run(at, at("own"), "data", "check", at("pictures"))
    check(out == f"{at('pictures')}: 108 training and 12 test pictures, 3 classes\n", out)
    check(out == at.run("data", "check", at("pictures"))[0], "netc checks otherwise than the executable")
    out = run(at, at("own"), "data", "stats", at("pictures"))
    check("train: 108 pictures" in out and "    2  red" in out, out)
    check(out == at.run("data", "stats", at("pictures"))[0], "netc counts otherwise than the executable")


def check_normalisation(at, model, weights, sanitized):
    """Pictures are normalised as those were that the weights were trained on, whatever set is named; without such words of the weights, as the set's."""
    dark = at("dark")
    for name in JPEG:
        os.makedirs(os.path.join(dark, name))
        for i in range(10):
            write_png(os.path.join(dark, name, f"{i}.png"), 8, 8, lambda x, y: [9, 3, x % 8], kind=2)  # noqa: B023
    picture, own = at("pictures", "red", "000.png"), ["--weights", weights, "--top", 3, "--json"]
    told = [at.run("predict", model, *own, *data, picture)[0] for data in ([], ["--data", dark], ["--data", at("pictures")])]
    check(told[0] == told[1] == told[2], f"{told}")
    tensors = read_safetensors(weights)
    write_safetensors(at("bare.safetensors"), tensors)
    bare = [at.run("predict", model, "--weights", at("bare.safetensors"), "--top", 3, "--json", "--data", data, picture)[0] for data in (at("pictures"), dark)]
    check(bare[0] == told[0] != bare[1], f"{bare}")
    if sanitized:
        return
    for data in [], ["--data", dark]:
        at.run("build", model, "--infer", "--cpu", "native", "--weights", weights, *data, "-o", at("libone.a"))
        with open(at("libone.h")) as file:
            header = [line for line in file.read().splitlines() if "_MEAN {" in line or "_STD {" in line]
        if not data:
            without = header
    check(header == without and len(header) == 2, f"{header}, {without}")
    at.run("build", model, "--cpu", "native", "-o", at("small"))
    theirs = [run(at, at("small"), "predict", *own, *data, picture) for data in ([], ["--data", dark])]
    probability = [json.loads(text)["top"][0]["probability"] for text in (theirs[1], told[0])]
    check(theirs[0] == theirs[1] and abs(probability[0] - probability[1]) < 1e-5, f"an executable predicts otherwise: {theirs}, {told[0]}")


def check_classes(at, model, weights):
    """The report of classes against what predict says of each picture, and against its own definition."""
    words = ["eval", model, "--weights", weights, "--data", at("mixed"), "--classes"]
    os.makedirs(at("mixed", "train"))
    make_pictures(at("mixed", "test"), each=4)
    for name in JPEG:  # of each class some are another's
        os.symlink(at("pictures", name), at("mixed", "train", name))
        shutil.copy(at("pictures", "blue", "002.JPG"), at("mixed", "test", name, "stray.jpg"))
    out = json.loads(at.run(*words, "--json")[0])
    predicted = [json.loads(line) for line in at.run("predict", model, "--weights", weights, "--top", 1, "--json", at("mixed", "test"))[0].splitlines()]
    names, matrix = sorted(JPEG), [[0] * 3 for _ in JPEG]
    check([p["file"] for p in predicted] == sorted(p["file"] for p in predicted) and len(predicted) == 15, "pictures of a directory, in order")
    for p in predicted:
        matrix[names.index(p["file"].split("/")[-2])][p["top"][0]["label"]] += 1
    check(out["confusion"] == matrix and matrix[2] == [1, 0, 4], f"{out['confusion']}, by predict {matrix}")
    for k, c in enumerate(out["classes"]):
        right, taken = matrix[k][k], sum(row[k] for row in matrix)
        want = [names[k], 5, taken, right / taken, right / 5, 2 * right / (5 + taken)]
        got = [c["class"], c["images"], c["predicted"], c["precision"], c["recall"], c["f1"]]
        check(got[:3] == want[:3] and all(abs(a - b) < 1e-6 for a, b in zip(got[3:], want[3:])), f"{got}, not {want}")
    check(abs(out["mean_of_classes"]["recall"] - out["accuracy"]) < 1e-6, f"{out}")
    text = at.run(*words)[0]
    check("    2  red                     5   100.00 %    80.00 %    88.89 %  blue (1)\n" in text and "    2     1     0     4  red\n" in text, text)


with Workspace() as at:
    make_pictures(at("pictures"))
    model = write_model(at)
    words = ["train", model, "--data", at("pictures"), "--batch", 12, "--set", "train.epochs=4", "--seed", 1, "-q"]
    _, said = at.run(*words, "--out", at("run"), "--threads", 2)
    best, weights = max(m["test_accuracy"] for m in metrics(at("run")) if "test_accuracy" in m), at("run", "best.safetensors")
    check(best == 1, f"a test accuracy of {best}")
    at.run(*words, "--out", at("one"), "--threads", 1)
    check(read_safetensors(at("one", "last.safetensors")) == read_safetensors(at("run", "last.safetensors")), "one thread, two threads")
    out = json.loads(at.run("eval", model, "--weights", weights, "--data", at("pictures"), "--json")[0])
    check(out["accuracy"] == best and out["images"] == 12 and out["data"] == "pictures", f"eval: {out}")
    _, said = at.run("eval", model, "--weights", weights, "--data", at("pictures") + "/")
    check("each tenth picture of a class is for testing, 12 beside 108 for training" in said, said)

    examples = [at("pictures", name, "002.JPG") for name in ("red", "green", "blue")]
    theirs = at.run("predict", model, "--weights", weights, *examples)[0]
    check([line.split(": ")[1].split()[0] for line in theirs.splitlines()] == ["red", "green", "blue"], f"predictions:\n{theirs}")
    with open(NETC, "rb") as file:
        sanitized = b"__asan_init" in file.read()
    if not sanitized:  # whose archive of the runtime cannot be linked without the sanitizer
        check_executable(at, model, weights, examples, theirs)
        for normalize in "mean_std", "none":
            at.run("build", model, "--set", f"train.normalize={normalize}", "--infer", "--cpu", "native", "--weights", weights, "-o", at("libnamed.a"))
            with open(at("libnamed.h")) as file:
                header = file.read()
            check(all(name in header.split("The classes: ")[-1].split("*/")[0] for name in JPEG), f"{normalize}: no names of classes in\n{header}")
    check_classes(at, model, weights)
    check_normalisation(at, model, weights, sanitized)
    check_cache(at, model)
    check_changes(at, model)
    os.makedirs(at("bare", "folder"))
    at.refuses("predict", model, "--weights", weights, at("bare"), status=1, says="there is no picture in the directory")
    os.symlink("..", at("bare", "folder", "up"))  # round and round
    shutil.copy(examples[0], at("bare", "folder", "é \n.jpg"))
    check(at.run("predict", model, "--weights", weights, at("bare") + "/")[0].startswith(at("bare", "folder", "é \n.jpg") + ": red"), "a directory within itself")
    stats = json.loads(at.run("data", "stats", at("pictures"), "--json")[0])
    check(stats["classes"] == [{"class": name, "train": 36, "test": 4} for name in sorted(JPEG)] and stats["train"]["pictures"] == 108 and
          stats["test"]["width"]["least"] >= 5 and stats["each_tenth"], f"{stats}")
    check(json.loads(at.run("data", "check", at("pictures"), "--json")[0]) == {"data": at("pictures"), "train": 108, "test": 12, "classes": 3}, "check as JSON")
    fitted = json.loads(at.run("data", "stats", at("pictures"), "--json", "--shape=3x24x20")[0])
    told = [[float.fromhex(x) for x in weights_metadata(weights)[key].split()] for key in ("mean", "std")]
    check(fitted["shape"] == [3, 24, 20] and all(abs(a - b) < 1e-8 for k in (0, 1) for a, b in zip(fitted[("mean", "std")[k]], told[k])), f"{fitted}, {told}")
    check(stats["shape"] is None and all(abs(a - b) < 0.02 for a, b in zip(stats["mean"], told[0])), f"{stats['mean']}, {told[0]}")
    at.refuses("data", "stats", at("pictures"), "--shape=2x8x8", status=2, says="'--shape' is that of a net's images")
    out = at.run("data", "stats", at("pictures"), "--shape=1x9x7", "--fit=crop")[0]
    check("as images of 1x9x7 (crop):\nchannel 0: mean 0." in out and "channel 1" not in out, out)
    out = at.run("data", "stats", at("pictures"))[0]
    check("test (each tenth): 12 pictures, width" in out, out)
    check(all(f"{name:24s}      36 train       4 test" in out for name in JPEG), out)

    gray, cropped = write_model(at, channels=1), write_model(at, fit="crop")
    at.run("train", gray, *words[2:], "--steps", 2, "--out", at("gray"))
    at.run("predict", gray, "--weights", at("gray", "last.safetensors"), *examples)
    at.run("train", cropped, *words[2:], "--steps", 2, "--out", at("cropped"))
    check_known_sets(at, gray)

    # Folders train and val, without the tenths; a class too many there is a mistake.
    os.makedirs(at("split"))
    shutil.copytree(at("pictures"), at("split", "train"))
    at.refuses("train", model, "--data", at("split"), status=1, says="none named test, val or valid")
    make_pictures(at("split", "val"), each=3)
    out = json.loads(at.run("eval", model, "--weights", weights, "--data", at("split"), "--json")[0])
    check(out["images"] == 9 and out["accuracy"] == 1, f"eval of val: {out}")
    os.makedirs(at("split", "val", "violet"))
    at.refuses("train", model, "--data", at("split"), status=1, says="is a class that the training pictures do not have")
    at.refuses("train", write_model(at, classes=4), "--data", at("pictures"), status=1, says="has 3 classes, the net has 4")
    os.makedirs(at("lines", "a\nb"))
    os.makedirs(at("lines", "c"))
    at.refuses("train", model, "--data", at("lines"), status=1, says="lines/a?b' has a control character in its name")
    os.makedirs(at("empty", "cat"))
    at.refuses("train", model, "--data", at("empty"), status=1, says="0 pictures to train with")
    at.refuses("train", model, "--data", at("nowhere"), status=1, says="cannot open the directory")

    # What cannot be read is named, and left out if that is said.
    for name in "000.png", "001.ppm", "002.JPG":
        with open(at("pictures", "green", name), "r+b") as file:
            file.truncate(200)
    with open(at("pictures", "green", "notes.txt"), "w") as file:
        file.write("not a picture, by its name\n")
    _, said = at.run("train", model, "--data", at("pictures"), "--out", at("bad"), status=1)
    check(all(f"green/{name}'" in said for name in ("000.png", "001.ppm", "002.JPG")) and "3 of 108 pictures cannot be read" in said, said)
    check(not os.path.exists(at("bad")), "a directory was made")
    _, said = at.run("train", model, "--data", at("pictures"), "--bad-pictures=skip", "--batch", 12, "--steps", 2, "--out", at("bad"))
    check(said.count("is left out: ") == 3, said)
    own = ["predict", model, "--weights", weights, "--data", at("pictures"), examples[0]]
    check("--bad-pictures=skip leaves such out" in at.run(*own, status=1)[1], "bad pictures at a prediction")
    check(": red " in at.run(*own, "--bad-pictures=skip")[0], "a prediction beside bad pictures")
    if not sanitized:
        library = ["build", model, "--infer", "--cpu", "native", "--weights", weights, "--data", at("pictures"), "-o", at("libown.a")]
        check("--bad-pictures=skip leaves such out" in at.run(*library, status=1)[1], "bad pictures at a build")
        at.run(*library, "--bad-pictures=skip")
    _, said = at.run("data", "stats", at("pictures"), status=1)
    check("3 pictures cannot be read" in said, said)
    out, said = at.run("data", "check", at("pictures"), status=1)
    check("3 pictures cannot be read" in said and not out, out + said)
    print(f"own pictures: {best:.0%} of 12 right; names, bad pictures and mistakes are said")

"""Training on numpy's arrays: .npz, stored or deflated, and directories of .npy, in either order of dimensions, are the pictures that a folder of them
is, bit for bit; names of classes, each tenth for testing, and what is refused."""
import io
import json
import os
import random
import struct
import zipfile

from e2e import SMALL, Workspace, check, labels, npy, read_safetensors, write_png

SIDE, COLOURS = 8, ("blue", "green", "red")


def pixels(images, first=False):
    """u8[N,H,W,C], or channels first."""
    if first:
        data = bytes(image[y][x][c] for image in images for c in range(3) for y in range(SIDE) for x in range(SIDE))
        return npy("|u1", [len(images), 3, SIDE, SIDE], data)
    return npy("|u1", [len(images), SIDE, SIDE, 3], bytes(v for image in images for row in image for pixel in row for v in pixel), version=2)


def texts(words):
    longest = max(map(len, words))
    return npy(f"<U{longest}", [len(words)], b"".join(w.ljust(longest, "\0").encode("utf-32-le") for w in words))


def make_npz(path, arrays, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in arrays.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as file:  # as numpy writes them
                file.write(data)


def make_images(n, seed):
    """(images, classes), of one colour each, with noise."""
    source = random.Random(seed)
    classes = [i % 3 for i in range(n)]
    return [[[[min(255, (160 if c == 2 - k else 20) + source.randint(0, 60)) for c in range(3)] for _ in range(SIDE)] for _ in range(SIDE)] for k in classes], classes


def damaged(path, to, at, byte=None):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if byte is None:
        del data[at:]
    else:
        data[at] ^= byte
    with open(to, "wb") as file:
        file.write(data)


with Workspace() as at:
    with open(SMALL) as file:
        text = file.read().replace("[3, 32, 32]", f"[3, {SIDE}, {SIDE}]").replace("dense(global_avg_pool(x), 10)", "dense(global_avg_pool(x), 3)")
    model = at("arrays.net")
    with open(model, "w") as file:
        file.write(text)
    (train, y_train), (test, y_test) = make_images(60, 1), make_images(12, 2)
    for part, images, y in ("train", train, y_train), ("test", test, y_test):
        for k, name in enumerate(COLOURS):
            os.makedirs(at("pictures", part, name))
            for i, image in enumerate(image for image, label in zip(images, y) if label == k):
                write_png(at("pictures", part, name, f"{i:03d}.png"), SIDE, SIDE, lambda x, y: image[y][x], kind=2)  # noqa: B023
    by_class = sorted(range(60), key=lambda i: (y_train[i], i))  # as folders have them
    ordered, y_ordered = [train[i] for i in by_class], [y_train[i] for i in by_class]
    keras = {"x_train": pixels(ordered), "y_train": labels(y_ordered), "x_test": pixels(test, first=True), "y_test": labels(y_test, ">i2"), "class_names": texts(COLOURS)}
    make_npz(at("keras.npz"), keras)
    medmnist = {"train_images": pixels(ordered, first=True), "train_labels": npy("|u1", [60, 1], bytes(y_ordered)), "test_images": pixels(test), "test_labels": labels(y_test, "|u1")}
    make_npz(at("med.npz"), medmnist, zipfile.ZIP_STORED)
    os.makedirs(at("plain"))
    for name, data in keras.items():
        with open(at("plain", name + ".npy"), "wb") as file:
            file.write(data)

    words = ["train", model, "--batch", 12, "--set", "train.epochs=3", "--seed", 1, "-q"]
    for data in "pictures", "keras.npz", "med.npz", "plain":
        at.run(*words, "--data", at(data), "--out", at("of-" + data))
    want = read_safetensors(at("of-pictures", "best.safetensors"))
    for data in "keras.npz", "med.npz", "plain":
        check(read_safetensors(at("of-" + data, "best.safetensors")) == want, f"{data} trains otherwise than the folder")
    weights = ["--weights", at("of-keras.npz", "best.safetensors")]
    out = json.loads(at.run("eval", model, *weights, "--data", at("keras.npz"), "--classes", "--json")[0])
    check(out["data"] == "keras.npz" and out["images"] == 12 and [c["class"] for c in out["classes"]] == list(COLOURS), f"{out}")
    check(at.run("predict", model, *weights, at("pictures", "test", "red", "000.png"))[0].count(" red ") == 1, "names of classes in weights")
    check(at.run("data", "check", at("keras.npz"))[0] == "keras.npz: 60 training and 12 test images, 3 classes\n", "data check")
    stats = json.loads(at.run("data", "stats", at("med.npz"), "--json")[0])
    check(stats["shape"] == [3, SIDE, SIDE] and stats["classes"][1] == {"class": "class 1", "train": 20, "test": 4}, f"{stats}")

    make_npz(at("one.npz"), {"images": pixels(train), "labels": labels(y_train)})
    _, said = at.run("eval", model, *weights, "--data", at("one.npz"))
    check("each tenth image of a class is for testing, 6 beside 54 for training" in said, said)
    gray = npy("|u1", [20, 5, 7], bytes(range(35)) * 20)  # another size, one channel: fitted as a picture is
    make_npz(at("gray.npz"), {"x": gray, "y": labels([i % 2 for i in range(20)]), "class_names": texts(COLOURS)})
    at.run("eval", model, *weights, "--data", at("gray.npz"))
    check(json.loads(at.run("data", "stats", at("gray.npz"), "--json")[0])["shape"] == [1, 5, 7], "a shape of its own")

    bad = {"no.npz": ({"x_train": pixels(test)}, "has no arrays x_train"), "float.npz": ({"x": npy("<f4", [2], bytes(8)), "y": labels([0, 1])}, "'x' of"),
           "few.npz": ({"x": pixels(test), "y": labels(y_test[1:])}, "12 images in 'x' and 11 labels in 'y'"),
           "negative.npz": ({"x": pixels(test), "y": labels([-1] * 12)}, "label 0 of 'y' in"), "names.npz": ({"x": pixels(train), "y": labels(y_train), "class_names": texts("ab")}, "the label 2 and 2 names"),
           "four.npz": ({"x": pixels(train), "y": labels([i % 4 for i in range(60)])}, "has 4 classes, the net has 3"), "short.npz": ({"x": pixels(train)[:-1], "y": labels(y_train)}, "it is cut short"),
           "order.npz": ({"x": pixels(train).replace(b"False", b"True "), "y": labels(y_train)}, "in Fortran's order"), "head.npz": ({"x": pixels(train).replace(b"'shape'", b"'shope'"), "y": labels(y_train)}, "its head is broken")}
    for name, (arrays, says) in bad.items():
        make_npz(at(name), arrays)
        at.refuses("train", model, "--data", at(name), "--out", at("never"), status=1, says=says)
    size = os.path.getsize(at("one.npz"))
    for i, (where, byte, says) in enumerate(((size - 30, None, "it is no zip archive, or cut short"), (300, 1, "cannot read 'images' of"), (10, None, "it is no zip archive"))):
        damaged(at("one.npz"), at(f"damaged{i}.npz"), where, byte)
        at.refuses("data", "check", at(f"damaged{i}.npz"), status=1, says=says)
    at.refuses("train", model, "--data", at("nowhere.npz"), status=1, says="No such file")
    check(not os.path.exists(at("never")), "a directory was made")
    buffer = io.BytesIO()
    make_npz(buffer, {"x": npy("|u1", [4000, 64, 64], bytes(4000 * 64 * 64)), "y": labels([0] * 4000)})
    with open(at("bomb.npz"), "wb") as file:  # 16 MB of zeros in a few kB, that say to be 4 GB
        file.write(buffer.getvalue().replace(struct.pack("<I", 4000 * 64 * 64 + 128), struct.pack("<I", 0xfffffff0)))
    at.refuses("data", "check", at("bomb.npz"), status=1, says="it is broken")
    print("arrays of numpy: the folder's bits, by three layouts; names, sizes and mistakes")

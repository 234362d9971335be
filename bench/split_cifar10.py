#!/usr/bin/env python3
"""CIFAR-10 as two data sets of pictures, for fine-tuning from one to the other:

    bench/split_cifar10.py CIFAR DIR [--few N]

CIFAR is a directory of the binary files (netc data path cifar10). DIR/seven gets seven of the classes, DIR/three the others, cat,
deer and dog: folders train and test, a folder for each class, PPM files. Of DIR/three the first N training pictures of each class (default 300), since one
fine-tunes where pictures are few; its test pictures are all 1000 of each."""
import argparse
import os

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
THREE = {"cat", "deer", "dog"}
RECORD, PLANE = 3073, 1024


def records(path):
    with open(path, "rb") as file:
        data = file.read()
    assert len(data) % RECORD == 0, f"{path} is no file of CIFAR-10"
    for at in range(0, len(data), RECORD):
        yield NAMES[data[at]], data[at + 1 : at + RECORD]


def split(files, folder, few):
    written = dict.fromkeys(NAMES, 0)
    for path in files:
        for name, planes in records(path):
            if name in THREE and few and written[name] == few:
                continue
            directory = os.path.join(folder[name in THREE], name)
            os.makedirs(directory, exist_ok=True)
            pixels = bytearray(3 * PLANE)
            for c in range(3):
                pixels[c::3] = planes[c * PLANE : (c + 1) * PLANE]
            with open(os.path.join(directory, f"{written[name]:05d}.ppm"), "wb") as file:
                file.write(b"P6\n32 32\n255\n" + pixels)
            written[name] += 1


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cifar")
parser.add_argument("dir")
parser.add_argument("--few", type=int, default=300, help="training pictures of each of the three classes; 0: all")
o = parser.parse_args()
folders = {kind: [os.path.join(o.dir, part, kind) for part in ("seven", "three")] for kind in ("train", "test")}
split([os.path.join(o.cifar, f"data_batch_{i}.bin") for i in range(1, 6)], folders["train"], o.few)
split([os.path.join(o.cifar, "test_batch.bin")], folders["test"], 0)

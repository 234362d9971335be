"""netc train --tensorboard: its event files have what metrics.jsonl has, by a reader of this test's own, and by the real TensorBoard's where one is
installed: importable here, or by the interpreter $NETC_TENSORBOARD, or the one of the command `tensorboard`. Also behind a resume from an
earlier checkpoint, whose later steps are void."""
import glob
import json
import math
import os
import shutil
import struct
import subprocess
import sys

from e2e import SMALL, Workspace, check, metrics

READER = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({t: [[e.step, e.value] for e in a.Scalars(t)] for t in a.Tags()["scalars"]}))
"""


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        body = data[at + 12 : at + 12 + length]
        sums = struct.unpack_from("<I", data, at + 8) + struct.unpack_from("<I", data, at + 12 + length)
        check(len(body) == length and sums == (crc32c(data[at : at + 8]), crc32c(body)), f"a record of {path} at {at}")
        yield body
        at += length + 16


def fields(message):
    """(number, value) of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        size = {0: 0, 1: 8, 2: None, 5: 4}[key & 7]
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = varint() if size is None else size
        yield key >> 3, message[at : at + size]
        at += size


def own_reader(directory):
    """{tag: [[step, value]]}, as TensorBoard has it: what a later file voids is gone."""
    scalars = {}
    for path in sorted(glob.glob(os.path.join(directory, "events.out.tfevents.*"))):
        for i, body in enumerate(records(path)):
            event = dict(fields(body))
            check(struct.unpack("<d", event[1])[0] > 1.7e9 and (i > 0 or event[3] == b"brain.Event:2"), f"{event}")
            if 7 in event:
                check(event[7] == b"\x08\x01", f"{event}")
                scalars = {tag: [e for e in events if e[0] < event[2]] for tag, events in scalars.items()}
            for number, value in fields(event.get(5, b"")):
                check(number == 1, "a summary")
                scalar = dict(fields(value))
                scalars.setdefault(scalar[1].decode(), []).append([event[2], struct.unpack("<f", scalar[2])[0]])
    return scalars


def wanted(directory):
    scalars = {}
    for line in metrics(directory):
        kind = "epoch" if "train_accuracy" in line else "step"
        for key, value in line.items():
            if key not in ("epoch", "step") and isinstance(value, (int, float)):
                scalars.setdefault(f"{kind}/{key}", []).append([line["step"], value])
    return scalars


def same(found, want, by):
    check(set(found) == set(want) and all(tag in want for tag in ("step/loss", "epoch/test_accuracy", "epoch/seconds")), f"{by}: tags {sorted(found)}, not {sorted(want)}")
    for tag, values in want.items():
        near = len(found[tag]) == len(values) and all(a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=1e-6, abs_tol=1e-30) for a, b in zip(found[tag], values))
        check(near, f"{by}: {tag} is {found[tag]}, not {values}")


def interpreters():
    command = shutil.which("tensorboard")
    if command:
        with open(command, "rb") as file:
            first = file.readline().decode(errors="replace").strip()
        yield first[2:] if first.startswith("#!") else sys.executable
    yield os.environ.get("NETC_TENSORBOARD", sys.executable)


with Workspace() as at:
    run, words = at("run"), ["train", SMALL, "--log-every", 5, "-q", "--out", at("run")]
    at.run(*words, "--steps", 10)
    check(not glob.glob(at("run", "events*")), "event files that nobody asked for")
    at.run(*words, "--steps", 20, "--checkpoint-every", 10, "--tensorboard", "--overwrite")
    same(own_reader(run), wanted(run), "this test's reader")
    shutil.copy(at("run", "last-1.safetensors"), at("run", "last.safetensors"))
    at.run(*words, "--steps", 25, "--resume")  # it is remembered
    check(len(glob.glob(at("run", "events*"))) == 2 and [m["step"] for m in metrics(run)] == [5, 10, 15, 20, 25, 25], f"{metrics(run)}")
    same(own_reader(run), wanted(run), "this test's reader, resumed")
    real = False
    for python in interpreters():
        found = subprocess.run([python, "-c", READER, run], capture_output=True, text=True)
        if found.returncode == 0:
            same(json.loads(found.stdout), wanted(run), "TensorBoard")
            real = True
            break
    at.run(*words, "--steps", 5, "--overwrite")
    check(not glob.glob(at("run", "events*")), "--overwrite leaves event files")
    print("event files have the metrics" + (", TensorBoard says so too" if real else "; there is no TensorBoard here to ask"))

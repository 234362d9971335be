"""Damaged checkpoints and data, a full disk, unwritable places: one sentence, the right exit status, old checkpoints intact."""
import json
import os
import resource
import shutil
import stat
import struct
import subprocess

from e2e import BATCHES, NETC, RECORD, SMALL, Workspace, check, fabricate_cifar10, read_safetensors, write_safetensors

INPUT, IO = 1, 3


def train(out, *more):
    return ["train", SMALL, "--steps", 4, "--batch", 8, "--out", out, *more]


def rewrite(source, target, change):
    with open(source, "rb") as file:
        data = file.read()
    with open(target, "wb") as file:
        file.write(change(data))


def edit_header(data, change):
    (length,) = struct.unpack("<Q", data[:8])
    text = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def rename_first(header):
    tensors = [name for name in header if name != "__metadata__"]
    header["somebody.elses.weight"] = header.pop(tensors[0])
    return header


def overlap(header):
    a, b = [name for name in header if name != "__metadata__"][:2]
    header[b]["data_offsets"] = header[a]["data_offsets"]
    return header


def grow(header):
    name = next(n for n in header if n != "__metadata__")
    header[name]["shape"] = [1 << 40, 1 << 40]
    return header


DAMAGE = {
    "empty": lambda d: b"",
    "truncated": lambda d: d[: len(d) // 2],
    "header_truncated": lambda d: d[:20],
    "huge_header": lambda d: struct.pack("<Q", 1 << 62) + d[8:],
    "not_json": lambda d: d[:8] + b"{" * 40 + d[48:],
    "trailing": lambda d: d + b"x",
    "foreign": lambda d: b"\x89PNG\r\n\x1a\n" + d[8:],
    "renamed": lambda d: edit_header(d, rename_first),
    "overlapping": lambda d: edit_header(d, overlap),
    "huge_shape": lambda d: edit_header(d, grow),
}


def checkpoints(at):
    print("damaged checkpoints")
    at.run(*train(at("run")))
    good = at("run", "last.safetensors")
    for name, change in DAMAGE.items():
        out = at("damaged-" + name)
        shutil.copytree(at("run"), out)
        last = os.path.join(out, "last.safetensors")
        rewrite(good, last, change)
        before = open(last, "rb").read()
        at.refuses(*train(out, "--resume", "--steps", 8), status=INPUT, says="last.safetensors")
        check(open(last, "rb").read() == before, f"{name}: a refused checkpoint was changed")
        if name != "trailing":
            at.refuses("eval", SMALL, "--weights", last, status=INPUT, says="last.safetensors")
    at.refuses("eval", SMALL, "--weights", at("nowhere.safetensors"), status=INPUT, says="nowhere.safetensors")
    at.refuses("eval", SMALL, "--set", "width=4", "--weights", good, status=INPUT, says="last.safetensors")
    at.refuses(*train(at("none"), "--resume"), status=INPUT, says="last.safetensors")
    at.refuses(*train(at("run"), "--resume", "--set", "width=4"), status=INPUT, says="last.safetensors")
    at.refuses(*train(at("x"), "--init", at("nowhere.safetensors")), status=INPUT, says="nowhere.safetensors")


def foreign(at):
    """Files that others write: gates as convolutions of 1x1, tensors of types and ranks that netc lacks, metadata of any size."""
    print("others' checkpoints")
    model = [SMALL, "--set", "se=true"]
    at.run("init", *model, "--seed", 3, "-o", at("ours.safetensors"))
    ours = read_safetensors(at("ours.safetensors"))
    theirs = {n: (t, shape + [1, 1] if len(shape) == 2 else shape, data) for n, (t, shape, data) in ours.items()}
    theirs.update({"a": ("F8_E4M3", [4], bytes(4)), "b": ("U16", [1] * 12, bytes(2)), "c": ("C64", [2], bytes(16))})
    write_safetensors(at("theirs.safetensors"), theirs)
    rewrite(at("theirs.safetensors"), at("theirs.safetensors"),
            lambda d: edit_header(d, lambda h: {"__metadata__": {"k" * 100: "v" * 50000, **{f"{i}": "" for i in range(500)}}, **h}))
    says = [at.run("eval", *model, "--weights", at(f))[0].split(";")[0] for f in ("ours.safetensors", "theirs.safetensors")]
    check(says[0] == says[1], f"others' weights give another result: {says}")
    theirs["dense.weight"] = ("U16", theirs["dense.weight"][1], theirs["dense.weight"][2][::2])
    write_safetensors(at("theirs.safetensors"), theirs)
    at.refuses("eval", *model, "--weights", at("theirs.safetensors"), status=INPUT, says="'dense.weight' is of type U16; F32, F16")


def data(at):
    print("damaged data")
    fabricate_cifar10(at("good"))
    at.run(*train(at("cifar"), "--data", at("good")))
    wrong_label = b"\x0a" + bytes(RECORD - 1)
    damage = {
        "truncated": lambda d: d[:-1],
        "oversized": lambda d: d + b"x",
        "one_record_more": lambda d: d + d[:RECORD],
        "mislabelled": lambda d: wrong_label + d[RECORD:],
        "empty": lambda d: b"",
    }
    for file in (BATCHES[2], BATCHES[5]):
        for name, change in damage.items():
            os.makedirs(at("bad"))
            for other in BATCHES:
                os.symlink(at("good", other), at("bad", other))
            os.remove(at("bad", file))
            rewrite(at("good", file), at("bad", file), change)
            at.refuses(*train(at("cifar2"), "--data", at("bad")), status=INPUT, says=file)
            shutil.rmtree(at("bad"))
    os.makedirs(at("bad"))
    os.symlink(at("good", BATCHES[0]), at("bad", BATCHES[0]))
    at.refuses(*train(at("cifar2"), "--data", at("bad")), status=INPUT, says="data_batch_2.bin")
    at.refuses(*train(at("cifar2"), "--data", at("nothing")), status=INPUT, says="nothing")


def no_room(at):
    print("no room, no permission")
    at.run(*train(at("full")))
    last = at("full", "last.safetensors")
    before, size, names = open(last, "rb").read(), os.path.getsize(last), sorted(os.listdir(at("full")))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 4, size // 4))  # less than bare weights, too

    # Python ignores SIGXFSZ; handed on, a write beyond the limit fails with an error, as on a full disk.
    at.refuses(*train(at("full"), "--resume", "--steps", 8), status=IO, says=".safetensors", preexec_fn=limit, restore_signals=False)
    check(open(last, "rb").read() == before, "the checkpoint was damaged by a failed write")
    check(sorted(os.listdir(at("full"))) == names, f"a failed write left other files: {os.listdir(at('full'))}")
    at.refuses("init", SMALL, "-o", at("w.safetensors"), status=IO, says="w.safetensors", preexec_fn=limit, restore_signals=False)
    check(not os.path.exists(at("w.safetensors")), "half a file was left")
    open(at("file"), "w").close()
    at.refuses(*train(at("file", "run")), status=IO, says="file/run")
    at.refuses("init", SMALL, "-o", at("file", "w.safetensors"), status=IO, says="file/w.safetensors")
    at.refuses("ir", SMALL, "-o", at("file", "x.ir"), status=IO, says="file/x.ir")
    os.mkfifo(at("pipe"))
    at.refuses("init", SMALL, "-o", at("pipe"), status=IO, says="not a regular file")
    at.refuses("build", SMALL, "-S", "-o", at("x.s"), "--save-choices", at("pipe"), status=IO, says="not a regular file")
    check(stat.S_ISFIFO(os.stat(at("pipe")).st_mode), "a pipe was replaced by a file")
    if os.geteuid() != 0:
        os.makedirs(at("locked"), mode=0o555)
        at.refuses(*train(at("locked", "run")), status=IO, says="locked/run")
    with open("/dev/full", "w") as full:
        result = subprocess.run([NETC, "ir", SMALL], stdout=full, stderr=subprocess.PIPE, text=True)
        check(result.returncode == IO and result.stderr.count("\n") == 1, f"a full standard output: {result}")


def no_room_for_code(at):
    print("no room for objects, assembly and LLVM IR")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    def fails(path, reason, *command, **options):
        _, err = at.run(*command, status=IO, **options)
        check(err.count("error: ") == 1 and f"'{path}': {reason}" in err, f"{command}: not one sentence: {err}")

    for kind in ("obj", "asm", "llvm", "ir"):
        out = at("code." + kind)
        build = ["build", SMALL, "--cpu", "native", "--emit", kind, "-o"]
        fails("/dev/full", "No space left on device", *build, "/dev/full")
        fails(out, "File too large", *build, out, preexec_fn=limit, restore_signals=False)
        check(kind == "ir" or not os.path.exists(out), f"half of '{out}' was left")
    check(stat.S_ISCHR(os.stat("/dev/full").st_mode), "/dev/full was removed")
    fails("/dev/full", "No space left on device", *train(at("dumped")), "--dump-asm", "/dev/full")
    _, err = at.run("build", SMALL, "-o", at("exe"), status=IO, preexec_fn=limit, restore_signals=False)
    check(err.count("error: ") == 1 and "File too large" in err, f"an executable's objects: {err}")


def full_disk(at):
    """A real one, where mounting is allowed."""
    disk = at("disk")
    os.makedirs(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], stderr=subprocess.DEVNULL).returncode:
        print("no full disk: mounting a tmpfs is not allowed here")
        return
    try:
        out = os.path.join(disk, "run")
        at.run(*train(out))
        last = os.path.join(out, "last.safetensors")
        before, names = open(last, "rb").read(), sorted(os.listdir(out))
        with open(os.path.join(disk, "filler"), "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(65536))
            except OSError:
                pass
        at.refuses(*train(out, "--resume", "--steps", 8), status=IO, says="No space left on device")
        check(open(last, "rb").read() == before, "the checkpoint was damaged by a full disk")
        check(sorted(os.listdir(out)) == names, f"a full disk left other files: {os.listdir(out)}")
        os.remove(os.path.join(disk, "filler"))
        at.run(*train(out, "--resume", "--steps", 8))
    finally:
        subprocess.run(["umount", disk], check=True)


def diverges(at):
    print("a loss that is not finite")
    out = at("diverged")
    at.refuses("train", SMALL, "--out", out, "--set", "train.optimizer=sgd(lr = 1e30)", "--steps", 50, status=INPUT, says="step")


with Workspace() as at:
    checkpoints(at)
    foreign(at)
    data(at)
    no_room(at)
    no_room_for_code(at)
    full_disk(at)
    diverges(at)
    check(read_safetensors(at("run", "last.safetensors")), "the first checkpoint is gone")

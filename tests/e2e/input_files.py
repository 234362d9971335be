"""Pipes, directories, devices and sockets given where a file is read: a sentence at once, never a wait for a writer that does not come."""
import os
import shutil
import socket
import subprocess

from e2e import BATCHES, NETC, SMALL, Workspace, check, fabricate_cifar10

INPUT, IO = 1, 3
SECONDS = 30


def refused(at, *args, says, status=INPUT):
    """One error that says what it is, and soon: a reader that waits is ended by the timeout."""
    shown = " ".join(map(str, args))
    try:
        done = subprocess.run(list(map(str, args)), capture_output=True, text=True, cwd=at.path, env=at.environment(), timeout=SECONDS)
    except subprocess.TimeoutExpired:
        check(False, f"{shown}: waits")
    check(done.returncode == status and done.stderr.count("error: ") == 1 and says in done.stderr,
          f"{shown}: exit status {done.returncode}, said\n{done.stderr}")


def strange_files(at):
    """name -> what is said of it"""
    os.mkfifo(at("pipe"))
    os.makedirs(at("folder"))
    kept = socket.socket(socket.AF_UNIX)
    kept.bind(at("socket"))
    kept.close()
    return {at("pipe"): "it is not a regular file", at("folder"): "it is a directory", at("socket"): "it is not a regular file",
            "/dev/zero": "it is not a regular file", "/dev/tty": "it is not a regular file"}


def nets(at, pipe):
    with open(at("importing.net"), "w") as file:
        file.write('import "pipe"\n' + open(SMALL).read())
    refused(at, NETC, "ir", at("importing.net"), says="cannot read")


def data(at, pipe):
    """In place of a training and of the test file of CIFAR-10."""
    fabricate_cifar10(at("good"))
    for name in (BATCHES[1], BATCHES[5]):
        os.makedirs(at("bad"))
        for other in BATCHES:
            os.symlink(pipe if other == name else at("good", other), at("bad", other))
        refused(at, NETC, "train", SMALL, "--steps", 1, "--data", at("bad"), says=name)
        shutil.rmtree(at("bad"))


def cache(at, weights):
    """A cache whose every kernel is a pipe is no cache: kernels are compiled."""
    kernels = at(".cache", "netc", "kernels")
    names = os.listdir(kernels)
    check(len(names) > 5, f"only {len(names)} kernels were kept")
    for name in names:
        os.remove(os.path.join(kernels, name))
        os.mkfifo(os.path.join(kernels, name))
    at.run("eval", SMALL, "--weights", weights)


with Workspace() as at:
    weights = at("w.safetensors")
    at.run("init", SMALL, "-o", weights)
    strange = strange_files(at)
    at.run("eval", SMALL, "--weights", weights)
    for path, what in strange.items():
        refused(at, NETC, "fmt", path, says=what)
        refused(at, NETC, "eval", SMALL, "--weights", path, says=what)
        refused(at, NETC, "predict", SMALL, "--weights", weights, path, says="there is no picture in" if path == at("folder") else what)
    pipe, what, train = at("pipe"), "it is not a regular file", [NETC, "train", SMALL, "--steps", 1]
    refused(at, NETC, "ir", pipe, says=what)
    refused(at, NETC, "ir", SMALL, "--stage", "final", "--load-pass", pipe, says=what, status=2)
    refused(at, NETC, "build", SMALL, "--infer", "--weights", pipe, "-o", at("x.o"), says=what)
    refused(at, *train, "--init", pipe, "--out", at("init"), says=what)
    refused(at, *train, "--choices", pipe, says=what)
    refused(at, *train, "--tune-file", pipe, says=what)
    os.makedirs(at("run"))
    os.symlink(pipe, at("run", "last.safetensors"))
    refused(at, *train, "--out", at("run"), "--resume", says=what)
    nets(at, at("pipe"))
    data(at, at("pipe"))
    cache(at, weights)
    at.run("train", SMALL, "--steps", 1, "--batch", 8, "--out", at("metrics"))
    os.remove(at("metrics", "metrics.jsonl"))
    os.mkfifo(at("metrics", "metrics.jsonl"))
    refused(at, NETC, "train", SMALL, "--steps", 2, "--batch", 8, "--out", at("metrics"), "--resume", says="not a regular file", status=IO)
    print(f"{len(strange)} kinds of files that are none, before every reader")

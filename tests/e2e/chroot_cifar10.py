"""An executable of netc build, alone in an empty root with its C library and CIFAR-10, trains an epoch of the real images.

Needs root and the data set; skipped without. Any net can stand in for the small one:
    python3 tests/e2e/chroot_cifar10.py build/release/driver/netc models/resnet20.net"""
import os
import re
import shutil
import subprocess
import sys

from e2e import BATCHES, SMALL, Workspace, check, metrics, skip


def find_data():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    home = os.environ.get("NETC_DATA") or os.path.join(cache, "netc")
    for directory in os.path.join(home, "cifar10"), os.path.join(home, "cifar10", "cifar-10-batches-bin"):
        if all(os.path.exists(os.path.join(directory, name)) for name in BATCHES):
            return directory
    return skip("CIFAR-10 is not here (netc data get cifar10)")


def copy_libraries(program, root):
    """What ldd names, and the loader: the C library and nothing else."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = re.findall(r"(/\S+) \(0x", listed)
    check(paths and all(re.search(r"/(libc|libm|ld-linux[^/]*)\.so", path) for path in paths), f"more than the C library:\n{listed}")
    for path in paths:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.realpath(path), root + path)


def enter(root):
    os.chroot(root)
    os.chdir("/")


if os.geteuid() != 0:
    skip("chroot needs root")
data = find_data()
model = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else SMALL
with Workspace() as at:
    root = at("root")
    os.makedirs(os.path.join(root, "data"))
    for name in BATCHES:
        shutil.copy(os.path.join(data, name), os.path.join(root, "data"))
    at.run("build", model, "--set", "train.epochs=1", "-o", os.path.join(root, "train"))
    copy_libraries(os.path.join(root, "train"), root)
    command = ["/train", "--data", "/data", "--out", "/run"]
    done = subprocess.run(command, capture_output=True, text=True, env={}, preexec_fn=lambda: enter(root))
    check(done.returncode == 0, f"in the empty root:\n{done.stdout}{done.stderr}")
    last = metrics(os.path.join(root, "run"))[-1]
    check(last.get("test_accuracy", 0) > 0.2, f"it did not learn: {last}")
    print(f"one epoch of CIFAR-10 in an empty root: test accuracy {100 * last['test_accuracy']:.2f} %")

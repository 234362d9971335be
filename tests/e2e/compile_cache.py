"""Compiled kernels are kept and found again: the same bits, damaged files replaced, options heeded, equal names hold equal code."""
import os
import subprocess

from e2e import NETC, SMALL, Workspace, check, read_safetensors


def train(at, out, *more, cache=None, says=""):
    environment = dict(at.environment(), **({"NETC_CACHE": cache} if cache else {}))
    command = [NETC, "train", SMALL, "--data", "synthetic", "--steps", "2", "--out", at(out), "--batch", "8", *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    check(done.returncode == 0, f"{command}: {done.stderr}")
    check(says in done.stdout, f"{command} did not say '{says}':\n{done.stdout}")
    return read_safetensors(at(out, "last.safetensors"))


def files(directory):
    return {name: open(os.path.join(directory, name), "rb").read() for name in os.listdir(directory)}


def check_damage(at, want, kernels):
    """A byte changed, a file cut short, an empty one, those that the group or others may write: compiled again, and put right."""
    good, names = files(kernels), sorted(os.listdir(kernels))[:5]
    os.chmod(os.path.join(kernels, names[3]), 0o664)
    os.chmod(os.path.join(kernels, names[4]), 0o646)
    for name, data in zip(names, (good[names[0]][:-9] + b"netc....." , good[names[1]][:50], b"")):
        with open(os.path.join(kernels, name), "wb") as file:
            file.write(data)
    check(train(at, "damaged", says=f"{len(good) - 5} from the cache") == want, "damaged files changed the weights")
    check(files(kernels) == good, "damaged files were not replaced")


with Workspace() as at:
    kernels = at(".cache", "netc", "kernels")
    want = train(at, "none", "--no-cache")
    check(not os.path.exists(kernels), "--no-cache kept kernels")
    check(train(at, "off", cache="off") == want and not os.path.exists(kernels), "NETC_CACHE=off kept kernels")
    check(train(at, "cold") == want, "weights differ with an empty cache")
    check(train(at, "warm", says="all from the cache") == want, "weights differ with cached kernels")
    check_damage(at, want, kernels)

    other = ["--set", "train.optimizer=adam(lr=0.01,beta2=0.9)"]
    adam = train(at, "adam", *other)
    check(adam == train(at, "adam-none", *other, "--no-cache"), "a kernel of another optimiser was taken from the cache")
    train(at, "elsewhere", "--set", "train.optimizer=adam(lr=0.01,beta2=0.8)", cache=at("elsewhere-kernels"))
    here, there = files(kernels), files(at("elsewhere-kernels"))
    shared = here.keys() & there.keys()
    check(len(shared) > 10 and all(here[name] == there[name] for name in shared), "files of one name hold different code")
    print(f"{len(here)} kernels kept; {len(shared)} shared with another recipe")

    check(f"{len(here)} compiled kernels" in at.run("cache", "info")[0], "netc cache info")
    for left in ("new-a1b2c3", "0" * 32):  # by a killed process, by a power cut
        open(os.path.join(kernels, left), "wb").close()
    at.run("cache", "clear")
    check(not os.listdir(kernels), "netc cache clear left files")
    at.run("cache", status=2)
    os.rmdir(kernels)
    with open(kernels, "w"):
        pass
    check(train(at, "blocked") == want, "a cache that cannot be made is in the way")

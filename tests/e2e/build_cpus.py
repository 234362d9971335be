"""Several CPUs in one executable: every level has the bits that netc has for that CPU, levels are put in order, the best that runs is
taken, and a machine that lacks something is told what (by qemu, where it is installed)."""
import os
import re
import shutil
import subprocess

from e2e import NETC, Workspace, check, read_safetensors, skip, small_images

LEVELS = ["x86-64-v3", "x86-64-v4"]
STEPS = ["--seed", "5", "--steps", "3", "--log-every", "1"]


def start(at, *command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=at.environment(), cwd=at.path, timeout=120)


def says(at, status, text, *command):
    done = start(at, *command)
    check(done.returncode == status and text in done.stderr, f"{command}: status {done.returncode}, '{text}' not in:\n{done.stderr}")
    print(f"  ok: {done.stderr.strip().splitlines()[-1]}")


def levels_of(at, program):
    """In the order in which they are tried, from the last."""
    first = start(at, program, "help").stdout.splitlines()[0]
    return re.search(r"compiled by netc for (.*)$", first).group(1).split(", ")


def check_bits(at, model, program):
    levels = levels_of(at, program)
    check(set(LEVELS) <= set(levels), f"an executable by default holds {levels}")
    ran = []
    for level in levels:
        done = start(at, program, *STEPS, "--out", at(level), "--cpu-level", level)
        if done.returncode:
            check("this machine cannot run the code" in done.stderr, done.stderr)
            continue
        check(f"for {level}," in done.stdout, done.stdout)
        at.run("train", model, *STEPS, "--out", at("netc"), "--overwrite", "--cpu", level)
        check(read_safetensors(at(level, "last.safetensors")) == read_safetensors(at("netc", "last.safetensors")),
              f"the bits of {level} are not those of netc --cpu {level}")
        ran.append(level)
    best = start(at, program, *STEPS, "--out", at("best"), "--threads", 2)
    check(f"for {ran[-1]}," in best.stdout, f"of {ran} not the last one was taken:\n{best.stdout}")
    check(read_safetensors(at("best", "last.safetensors")) == read_safetensors(at(ran[-1], "last.safetensors")), "the best level's bits")
    print(f"levels {', '.join(ran)}: the bits of netc")


def check_order(at, model):
    at.run("build", model, "--cpu", "znver5,sapphirerapids,x86-64,haswell", "-o", at("order"))
    levels = levels_of(at, at("order"))
    check(levels == ["x86-64", "haswell", "znver5", "sapphirerapids"], f"levels in the order {levels}")
    # No machine has both what only znver5 has (sse4a) and what only sapphirerapids has (avx512fp16).
    tried = [start(at, at("order"), *STEPS, "--out", at("tried"), "--overwrite", "--cpu-level", level) for level in levels[2:]]
    refused = [t.stderr for t in tried if t.returncode == 1]
    check(refused and all("its CPU lacks" in r for r in refused), f"a CPU that this machine is not was not refused: {tried}")


def check_qemu(at, program):
    qemu = shutil.which("qemu-x86_64-static")
    if not qemu:
        print("not checked: other x86 machines, which take qemu-user-static")
        return
    says(at, 1, "below the least that this executable was built for, x86-64-v3: its CPU lacks", qemu, "-cpu", "qemu64", program)
    says(at, 1, "lacks avx512f", qemu, "-cpu", "Haswell", program, "--cpu-level", "x86-64-v4")
    haswell = start(at, qemu, "-cpu", "Haswell", program, *STEPS, "--out", at("haswell"))
    check("for x86-64-v3, 8 lanes" in haswell.stdout, f"Haswell:\n{haswell.stdout}{haswell.stderr}")
    check(read_safetensors(at("haswell", "last.safetensors")) == read_safetensors(at("x86-64-v3", "last.safetensors")),
          "the bits of x86-64-v3 are others on a Haswell")


def check_refusals(at, model):
    says(at, 2, "names 'x86-64-v3' twice", NETC, "build", model, "-o", "x", "--cpu", "x86-64-v3,x86-64-v3")
    says(at, 2, "at most 4 CPUs", NETC, "build", model, "-o", "x", "--cpu", "x86-64,x86-64-v2,x86-64-v3,x86-64-v4,znver5")
    for names in "x86-64,,znver5", "x86-64,", "":
        says(at, 2, "names an empty CPU", NETC, "build", model, "-o", "x", "--cpu", names)
    says(at, 1, "unknown CPU 'znver99'", NETC, "build", model, "-o", "x", "--cpu", "znver99")
    check(not os.path.exists(at("x")), "a refused build left a file")


if os.uname().machine != "x86_64":
    skip("the levels are those of x86-64")
with Workspace() as at:
    model = small_images(at)
    at.run("build", model, "-o", at("exe"))
    check_bits(at, model, at("exe"))
    check_order(at, model)
    check_qemu(at, at("exe"))
    check_refusals(at, model)

"""netc build --target=aarch64-linux-gnu: the executable trains under qemu as netc does here, to rounding, with the same bits on any
number of threads; evaluates, predicts and continues netc's checkpoints; and refusals are sentences."""
import json
import math
import os
import re
import shutil
import struct
import subprocess

from e2e import NETC, Workspace, check, read_safetensors, skip, small_images, step_losses

TARGET = "aarch64-linux-gnu"
QEMU = shutil.which("qemu-aarch64-static")
STEPS = 6


def train(steps, out, *more):
    return ["--seed", 5, "--steps", steps, "--log-every", 1, "--out", out, *more]


def emulate(at, cpu, program, *args):
    return subprocess.run([QEMU, "-L", f"/usr/{TARGET}", "-cpu", cpu, program, *map(str, args)], capture_output=True, text=True,
                          env=at.environment(), cwd=at.path, timeout=120)


def run(at, program, *args, cpu="cortex-a72"):
    done = emulate(at, cpu, program, *args)
    check(done.returncode == 0, f"{program} {args}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def floats(tensor):
    return struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2])


def close(at, a, b, tolerance):
    """Every tensor's difference, as a norm, against its own norm."""
    ours, theirs = read_safetensors(a), read_safetensors(b)
    check(list(ours) == list(theirs) and ours, "the checkpoints hold other tensors")
    for name in ours:
        if ours[name][0] != "F32":
            continue
        x, y = floats(ours[name]), floats(theirs[name])
        error, norm = math.dist(x, y), math.hypot(*y)
        check(error <= tolerance * (norm + 1e-4), f"{name}: differs by {error} of norm {norm}")


def check_training(at, model, program):
    at.run("train", model, *train(STEPS, at("x86")))
    for threads in (1, 2):
        run(at, program, *train(STEPS, at(f"arm{threads}"), "--threads", threads))
    one, two = (read_safetensors(at(f"arm{threads}", "last.safetensors")) for threads in (1, 2))
    check(one == two and step_losses(at("arm1")) == step_losses(at("arm2")), "two threads train other bits than one")
    ours, theirs = step_losses(at("arm1")), step_losses(at("x86"))
    check(len(ours) == STEPS and all(abs(ours[s] - theirs[s]) <= 1e-4 * abs(theirs[s]) for s in theirs),
          f"losses {ours}, on x86 {theirs}")
    close(at, at("arm1", "last.safetensors"), at("x86", "last.safetensors"), 1e-3)
    at.run("train", model, *train(STEPS // 2, at("moved")))
    run(at, program, *train(STEPS, at("moved"), "--resume"))
    close(at, at("moved", "last.safetensors"), at("x86", "last.safetensors"), 1e-3)
    print("trains as on x86 to rounding, with one set of bits, and continues netc's checkpoint")


def check_commands(at, model, program):
    run(at, program, "init", "--seed", 3, "-o", at("arm.safetensors"))
    at.run("init", model, "--seed", 3, "-o", at("x86.safetensors"))
    close(at, at("arm.safetensors"), at("x86.safetensors"), 1e-6)  # the C libraries' log and cos may round differently
    weights = at("x86", "last.safetensors")
    there = json.loads(run(at, program, "eval", "--weights", weights, "--json"))
    here = json.loads(at.run("eval", model, "--weights", weights, "--json")[0])
    check(abs(there["loss"] - here["loss"]) <= 1e-4 * here["loss"] and abs(there["accuracy"] - here["accuracy"]) <= 2e-3,
          f"eval there: {there}, here: {here}")
    with open(at("picture.ppm"), "wb") as file:
        file.write(b"P6\n8 8\n255\n" + bytes(i % 251 for i in range(192)))
    out = run(at, program, "predict", "--weights", weights, "picture.ppm")
    check(out.startswith("picture.ppm: "), f"predict printed:\n{out}")


def check_levels(at, model):
    at.run("build", model, "--target", TARGET, "--cpu", "neoverse-v1,generic", "-o", at("levels"))
    check_file(at("levels"), False)
    refused = emulate(at, "cortex-a53", at("levels"), "init", "-o", "x", "--cpu-level", "neoverse-v1")
    check(refused.returncode == 1 and "its CPU lacks lse, fullfp16" in refused.stderr, f"neoverse-v1 on a cortex-a53: {refused.stderr}")
    run(at, at("levels"), "init", "-o", "x", cpu="cortex-a53")
    out = run(at, at("levels"), *train(1, at("v1")), cpu="max")
    check("for neoverse-v1, 4 lanes" in out, f"on a CPU with SVE:\n{out}")


def check_file(program, static):
    shown = subprocess.run(["readelf", "-hdlW", program], capture_output=True, text=True).stdout
    check("AArch64" in shown and "DYN (Position-Independent" in shown and "GNU_RELRO" in shown, f"{program}: not PIE with RELRO for ARM")
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", shown))
    check(not needed if static else needed <= {"libc.so.6", "libm.so.6", "ld-linux-aarch64.so.1"}, f"{program} needs {needed}")


def check_refusals(at, model):
    build = ("build", model, "--target", TARGET, "-o", at("x"))
    check("no target 'arm64'" in at.run("build", model, "--target", "arm64", "-o", "x", status=2)[1], "an unknown target")
    check("'native' is this machine's" in at.run(*build, "--cpu", "native", status=1)[1], "this machine's CPU for another target")
    check("unknown CPU 'znver5'" in at.run(*build, "--cpu", "znver5", status=1)[1], "another target's CPU")
    at.refuses(*build, "--conv", "gemm", "--gemm", "openblas", status=1, says="OpenBLAS, which netc cannot link")
    path = os.environ["PATH"]
    os.environ["PATH"] = at("nothing")
    at.refuses(*build, status=1, says="'aarch64-linux-gnu-gcc' (Debian's package gcc-aarch64-linux-gnu)")
    os.environ["PATH"] = path
    os.makedirs(at("bin"))
    shutil.copy(NETC, at("bin", "netc"))
    alone = subprocess.run([at("bin", "netc"), *build], capture_output=True, text=True)
    check(alone.returncode == 1 and f"no runtime for '{TARGET}'" in alone.stderr, f"without an archive: {alone.stderr}")


archive = os.path.join(os.path.dirname(NETC), "..", "lib", "netc", TARGET, "libnetc_standalone.a")
if os.uname().machine == "aarch64" or not os.path.exists(archive) or not shutil.which(f"{TARGET}-gcc"):
    skip("it takes gcc-aarch64-linux-gnu, when netc is configured")
with Workspace() as at:
    model = small_images(at)
    at.run("build", model, "--target", TARGET, "--static", "-o", at("arm"))
    check_file(at("arm"), True)
    check_refusals(at, model)
    if not QEMU:
        skip("running what was built takes qemu-user-static")
    check_training(at, model, at("arm"))
    check_commands(at, model, at("arm"))
    check_levels(at, model)

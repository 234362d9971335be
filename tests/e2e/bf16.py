"""--precision=bf16: half the memory, nearly the same losses, the same bits on any number of threads, and checkpoints that either
precision reads and continues from. (Executables: build_executable.py.)"""
import re

from e2e import SMALL, Workspace, check, read_safetensors, step_losses

BF16 = ["--precision", "bf16"]
MODEL = [SMALL, "--set", "se=true"]


def train(steps, out, *more):
    return ["train", *MODEL, "--seed", 5, "--steps", steps, "--log-every", 1, "--checkpoint-every", steps, "--out", out, *more]


def weights(at, name):
    return read_safetensors(at(name, "last.safetensors"))


def activations(at, *more):
    out, _ = at.run("bench", *MODEL, "--repeats", 1, "--threads", 1, *more)
    return float(re.search(r"([\d.]+) MB of activations", out).group(1))


def accuracy(at, *more):
    out, _ = at.run("eval", *MODEL, "--weights", at("f32", "last.safetensors"), "--json", *more)
    return float(re.search(r'"accuracy": *([\d.]+)', out).group(1))


def close(got, want, tolerance, what):
    check(got.keys() == want.keys() and got, f"{what}: steps {sorted(got)}, expected {sorted(want)}")
    worst = max(abs(got[s] - want[s]) / abs(want[s]) for s in want)
    check(worst < tolerance, f"{what}: losses {worst:.2%} apart: {got}, expected about {want}")
    print(f"{what}: losses within {worst:.3%}")


with Workspace() as at:
    at.run(*train(12, at("f32")))
    for threads in (1, 2, 4):
        at.run(*train(12, at(f"t{threads}"), "--threads", threads, *BF16))
    check(weights(at, "t1") != weights(at, "f32"), "bf16 trains the same weights as f32: is it on?")
    check(weights(at, "t1") == weights(at, "t2") == weights(at, "t4"), "weights depend on the number of threads")
    close(step_losses(at("t1")), step_losses(at("f32")), 0.005, "bf16 and f32")

    at.run(*train(16, at("f32"), "--resume", *BF16))
    at.run(*train(16, at("t1"), "--resume"))
    check(max(step_losses(at("f32"))) == max(step_losses(at("t1"))) == 16, "a resume in the other precision")
    close(step_losses(at("f32")), step_losses(at("t1")), 0.01, "changed in the middle")
    check(abs(accuracy(at) - accuracy(at, *BF16)) < 0.02, "eval differs between the precisions")

    whole, half = activations(at), activations(at, *BF16)
    check(half < 0.7 * whole, f"activations take {half} MB, with f32 {whole} MB")
    print(f"activations {half} MB, f32 {whole} MB")

"""The same seed gives the same bits on 1, 2, 4 and 64 threads (far more than there are processors), and after SIGTERM and --resume."""
import os
import signal
import time

from e2e import SMALL, Workspace, check, metrics, read_safetensors, step_losses

STEPS = 60


def arguments(out, *more):
    return ["train", SMALL, "--set", "se=true", "--seed", 5, "--steps", STEPS, "--log-every", 1, "--out", out, *more]


def lines(directory):
    try:
        return len(metrics(directory))
    except (OSError, ValueError):  # not there yet, or a line half written
        return 0


def interrupt_and_resume(at, out):
    process = at.start(*arguments(out, "--threads", 2))
    deadline = time.time() + 120
    while lines(out) < 15 and process.poll() is None and time.time() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    done = max(step_losses(out), default=0)
    check(process.returncode == 130, f"interrupted training ended with {process.returncode}, expected 130")
    check(done < STEPS, "training ended before the signal")
    print(f"interrupted after step {done}")
    at.run(*arguments(out, "--threads", 1, "--resume"))


with Workspace() as at:
    for threads in (1, 2, 4, 64):
        at.run(*arguments(at(f"t{threads}"), "--threads", threads))
    reference = read_safetensors(at("t1", "last.safetensors"))
    losses = step_losses(at("t1"))
    check(len(losses) == STEPS, f"{len(losses)} losses logged, expected {STEPS}")
    interrupt_and_resume(at, at("resumed"))
    for other in ("t2", "t4", "t64", "resumed"):
        check(read_safetensors(at(other, "last.safetensors")) == reference, f"{other}: tensors differ from one thread's")
        check(step_losses(at(other)) == losses, f"{other}: losses differ from one thread's")
    hashes = {name: [m["weights_sha256"] for m in metrics(at(name)) if "weights_sha256" in m] for name in ("t1", "t2", "t4", "t64", "resumed")}
    check(all(h == hashes["t1"] for h in hashes.values()), f"weight hashes differ: {hashes}")
    print(f"{len(reference)} tensors equal on 1, 2, 4 and 64 threads and after a resume; hashes {hashes['t1']}")

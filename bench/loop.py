#!/usr/bin/env python3
"""Is the training loop as fast as its steps? Trains on real data with augmentation and times the bare step, in turn.

    bench/loop.py build/release/driver/netc --models resnet20,resnet110

Prints images/s of the bare step (netc bench), of the loop (netc train: the median of its log lines, the first left out), both
medians over the rounds, and the median and range of their ratio.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile


def bare_step(args, model):
    command = [args.netc, "bench", model, "--mode=train", "--json", f"--threads={args.threads}", f"--repeats={args.repeats}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)["train"]["images_per_s"]


def loop(args, model):
    with tempfile.TemporaryDirectory() as out:
        command = [args.netc, "train", model, f"--data={args.data}", f"--threads={args.threads}", "--steps", str(5 * args.repeats), "--log-every=5",
                   "--quiet", "--out", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file]
    return statistics.median(line["images_per_s"] for line in lines[1:] if "test_accuracy" not in line)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # killed, it takes its children along, as subprocess.run does of an exception
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("netc")
    parser.add_argument("--models", default="resnet20")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=30, help="steps of a round; the loop does five times as many")
    args = parser.parse_args()
    for model in args.models.split(","):
        steps, loops = zip(*((bare_step(args, model), loop(args, model)) for _ in range(args.rounds)))
        ratios = [b / a for a, b in zip(steps, loops)]
        print(f"{model}: bare step {statistics.median(steps):.0f} images/s, loop {statistics.median(loops):.0f} images/s, "
              f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)


if __name__ == "__main__":
    main()

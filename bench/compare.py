#!/usr/bin/env python3
"""netc against PyTorch on this machine, interleaved: each round times netc, then torch, so that both see the same machine.

    bench/compare.py build/release/driver/netc --models resnet20,se_resnet20,resnet110 --rounds 3

Prints images/s of both (medians over the rounds; for torch the best of its modes) and the ratio. Torch is timed by
torch_train.py with the interpreter given by --python (Debian's python3-torch by default).
"""
import argparse
import json
import os
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "models")


def netc_round(args, model):
    command = [args.netc, "bench", os.path.join(MODELS, model + ".net"), "--json", "--batch", str(args.batch), "--threads", str(args.threads)]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return result["train"]["images_per_s"], result["infer"]["images_per_s"], result["compile_seconds"]


def torch_round(args, model):
    """Best train and best infer over torch's modes, from lines 'resnet20 nchw train 840 img/s infer 2100 img/s'."""
    clean = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [args.python, os.path.join(HERE, "torch_train.py"), "--models", model, "--batch", str(args.batch), "--threads",
               str(args.threads), "--seconds", str(args.seconds)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=clean).stdout.splitlines()
    words = [line.split() for line in lines if not line.startswith("#")]
    return max(float(w[3]) for w in words), max(float(w[6]) for w in words)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("netc")
    parser.add_argument("--models", default="resnet20,se_resnet20,resnet110")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--python", default="/usr/bin/python3")
    args = parser.parse_args()
    print("| model | netc train | torch train | ratio | netc infer | torch infer | ratio | compile |")
    print("|---|---|---|---|---|---|---|---|")
    for model in args.models.split(","):
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(netc_round(args, model))
            theirs.append(torch_round(args, model))
        train, infer, compiled = (statistics.median(column) for column in zip(*ours))
        torch_train, torch_infer = (statistics.median(column) for column in zip(*theirs))
        print(f"| {model} | {train:.0f} | {torch_train:.0f} | {train / torch_train:.2f}x | {infer:.0f} | {torch_infer:.0f} | "
              f"{infer / torch_infer:.2f}x | {compiled:.2f} s |", flush=True)


if __name__ == "__main__":
    main()

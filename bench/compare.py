#!/usr/bin/env python3
"""The tables of docs/performance.md: netc bench --compare over several models and peers, as Markdown.

    bench/compare.py build/release/driver/netc --models resnet20,se_resnet20 --peers torch=/usr/bin/python3,jax=/path/to/python

For each model and each mode of each peer: images/s of both, the median ratio and its range over the rounds, and the memory of a
training step on both sides. What follows `--` goes to netc bench as it is (--batch=1 --mode=infer).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models")


def run(args, model, peer, python):
    command = [args.netc, "bench", os.path.join(MODELS, model + ".net"), "--json", f"--compare={python}", f"--peer={peer}",
               f"--rounds={args.rounds}", f"--seconds={args.seconds}", f"--threads={args.threads}"]
    if args.modes:
        command.append(f"--peer-modes={args.modes}")
    result = subprocess.run(command + args.more, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout) if result.returncode == 0 else None  # netc has said why


def compare(args, model, peer, python):
    """The rounds of all processes together: a peer's speed may depend on where its memory came to lie, which is drawn once a process."""
    results = [run(args, model, peer, python) for _ in range(args.processes)]
    if None in results:
        return None
    first = results[0]
    for result in results[1:]:
        for mode, more in zip(first["modes"], result["modes"]):
            for what in ("train", "infer"):
                for side in ("netc", "peer"):
                    if what in mode:
                        mode[what][side] += more[what][side]
    return first


def cell(times):
    ratios = [ours / theirs for ours, theirs in zip(times["netc"], times["peer"])]
    return (f"{statistics.median(times['netc']):.0f} | {statistics.median(times['peer']):.0f} | {statistics.median(ratios):.2f}x | "
            f"{min(ratios):.2f}-{max(ratios):.2f}")


def row(model, result, mode):
    cells = [cell(mode[what]) if what in mode else "- | - | - | -" for what in ("train", "infer")]
    memory = " / ".join(f"{m / 1e6:.0f} MB" if m else "-" for m in (result["memory_bytes"], mode["memory_bytes"]))
    return f"| {model} | {result['peer']} {mode['mode']} | {cells[0]} | {cells[1]} | {memory} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("netc")
    parser.add_argument("--models", default="resnet20,se_resnet20,resnet110,se_resnet110")
    parser.add_argument("--peers", default="torch=/usr/bin/python3", help="PEER=PYTHON,...")
    parser.add_argument("--modes", help="modes of the peers (default: netc's choice)")
    parser.add_argument("--rounds", type=int, default=3, help="of each process")
    parser.add_argument("--processes", type=int, default=1, help="of netc and of each mode of the peer, one after the other")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:end])
    args.more = words[end + 1 :]
    print("| model | peer | netc train | peer | ratio | range | netc infer | peer | ratio | range | memory of a step |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    failed = False
    for model in args.models.split(","):
        for pair in args.peers.split(","):
            result = compare(args, model, *pair.split("=", 1))
            failed = failed or result is None
            for mode in result["modes"] if result else []:
                print(row(model, result, mode), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()

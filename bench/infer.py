#!/usr/bin/env python3
"""Inference by a library of `netc build --infer` against ONNX Runtime and PyTorch, on the same weights and images.

    bench/infer.py build/release/driver/netc --model se_resnet20 --weights runs/x/best.safetensors \\
        --onnxruntime ~/venv/bin/python --torch /usr/bin/python3 --rounds 5

Each round times every engine in a process of its own (infer_worker.py), one after the other, so that all see the same machine;
the medians over the rounds are printed, and the largest difference of any score from netc's. The others get the net as netc's
own graph (`netc ir --format json`), so their weights are not a copy made by hand. An engine whose interpreter is not given is left out:
--onnxruntime needs one with onnxruntime and onnx (pip install onnxruntime onnx), --torch one with torch. Without --weights they
are initial ones of seed 0.
"""
import argparse
import array
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile

TOLERANCE = 1e-4  # of a score, or of the largest if that is above 1
HERE = os.path.dirname(os.path.abspath(__file__))


def netc(args, *words):
    return subprocess.run([args.netc, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def prepare(args, work):
    """The library, the graph, weights and images of the largest batch, in the directory `work`."""
    largest = max(args.batches)
    weights = args.weights
    if not weights:
        weights = os.path.join(work, "w.safetensors")
        netc(args, "init", args.model, "--seed", 0, "-o", weights)
    netc(args, "build", "--infer", args.model, "--weights", weights, "--batch", largest, "--cpu", "native", "--prefix", "net",
         "-o", os.path.join(work, "libnet.so"))
    with open(os.path.join(work, "graph.json"), "w") as file:
        file.write(netc(args, "ir", args.model, "--mode", "infer", "--format", "json", "--batch", largest))
    graph = json.load(open(os.path.join(work, "graph.json")))
    shape = next(v["type"]["shape"] for v in graph["values"] if v["op"] == "input")
    source = random.Random(1)
    with open(os.path.join(work, "images"), "wb") as file:
        array.array("f", (source.gauss(0, 1) for _ in range(shape[0] * shape[1] * shape[2] * shape[3]))).tofile(file)
    return weights


def run_worker(args, work, weights, engine, python):
    clean = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [python, "-W", "ignore", os.path.join(HERE, "infer_worker.py"), engine, work, weights, ",".join(map(str, args.batches)), str(args.threads),
               str(args.seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=clean)
    if done.returncode:
        raise SystemExit(f"{engine} failed: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1])


def scores(work, engine, batch):
    values = array.array("f")
    path = os.path.join(work, f"scores.{engine}.{batch}")
    with open(path, "rb") as file:
        values.fromfile(file, os.path.getsize(path) // 4)
    return values


def report(args, work, engines, rounds):
    print(f"{args.model}, {args.threads} threads, medians of {args.rounds} interleaved rounds")
    print("| engine | batch | images/s | netc is | largest difference of a score |")
    print("|---|---|---|---|---|")
    for batch in args.batches:
        speed = {e: statistics.median(r[e][str(batch)]["images_per_s"] for r in rounds) for e in engines}
        ours = scores(work, "netc", batch)
        for engine in engines:
            worst = max(abs(a - b) for a, b in zip(ours, scores(work, engine, batch)))
            if worst > TOLERANCE * max(1, *map(abs, ours)):
                raise SystemExit(f"scores of {engine} differ from netc's by {worst:.1e}, batch {batch}")
            mode = rounds[-1][engine][str(batch)]["mode"]
            difference = "" if engine == "netc" else f"{worst:.1e} (scores up to {max(map(abs, ours)):.1f})"
            print(f"| {mode} | {batch} | {speed[engine]:.0f} | {speed['netc'] / speed[engine]:.2f}x | {difference} |")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # killed, it takes its children along, as subprocess.run does of an exception
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("netc")
    parser.add_argument("--model", default="se_resnet20")
    parser.add_argument("--weights", help="safetensors file")
    parser.add_argument("--onnxruntime", metavar="PYTHON", help="an interpreter that has onnxruntime and onnx")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has torch")
    parser.add_argument("--batches", default="1,128", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of timing, for each engine, batch and mode in a round")
    args = parser.parse_args()
    engines = {"netc": "python3"}
    if args.onnxruntime:
        engines["onnxruntime"] = args.onnxruntime
    if args.torch:
        engines["torch"] = args.torch
    with tempfile.TemporaryDirectory() as work:
        weights = prepare(args, work)
        rounds = [{e: run_worker(args, work, weights, e, python) for e, python in engines.items()} for _ in range(args.rounds)]
        report(args, work, engines, rounds)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""All models that come with netc against their peers: measures, keeps every measurement, and makes docs/performance.md's tables and chart.

    bench/zoo.py run NETC --peers torch=/usr/bin/python3,torch=VENV/bin/python      whatever is not measured yet, in turn
    bench/zoo.py list                                                               what is measured and what is not
    bench/zoo.py report                                                             rewrite the page's tables and the chart
    bench/zoo.py json                                                               the same rows as JSON

A measurement is a model, training or inference, a batch, a peer, an instruction set and a machine: `netc bench --compare`, which times netc and each mode of
the peer in turn and refuses a peer that computes other numbers, then `netc bench` for the share of the machine's peak, the time by kind of
kernel and the time of a cold compilation. It becomes a line of JSON in docs/results/zoo.jsonl, with date and commit, as soon as it is taken; `run`
takes the others, so it may be stopped at any time; --again takes those asked for once more, and the newest counts. The ratio of a row is to the fastest
mode of all its peers, the median over the rounds. Standard library only.
"""
import argparse
import glob
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FAMILIES = {"blocks", "attention_blocks", "attention_resnet", "resnet_v1", "preact_resnet", "resnet_wide", "wide_resnet", "resnet_imagenet", "regnet", "convnext",
            "dpn", "pnasnet"}  # files that hold no model of their own
LARGE = {"resnet50", "se_resnet50", "alexnet", "squeezenet", "mobilenetv3_small", "convnext_tiny", "convnext_femto", "res2net50"}  # 224x224
BATCHES = {("train", False): [32, 128], ("train", True): [8, 32], ("infer", False): [1, 128], ("infer", True): [1, 32]}
WHAT = {"train": "Training", "infer": "Inference"}
INFERENCE_ONLY = {"onnxruntime"}  # peers
OWN_CHOICE = {"onnxruntime", "jax", "tf"}  # of instructions: what ISA sets does not reach these
# What tells each peer to keep to an instruction set, and netc's --cpu.
ISA = {"native": ("native", {}),
       "avx2": ("x86-64-v3", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"})}
KEY = ("model", "what", "batch", "peer", "python", "isa", "threads", "machine")
FIRST_MACHINE = "Intel Xeon"  # of the measurements taken before they said where; its tables come first


def machine():
    """This machine's CPU as Linux names it, without marks and clock rates."""
    with open("/proc/cpuinfo") as lines:
        names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return " ".join(re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|@.*", " ", names[0]).split()) if names else os.uname().machine


# ---- measurements ----
def models(args):
    names = sorted(os.path.basename(path)[:-4] for path in glob.glob(os.path.join(args.models_directory, "*.net")))
    names = [name for name in names if name not in FAMILIES]
    if not args.models:
        return names
    wanted = args.models.split(",")
    for name in wanted:
        if name not in names:
            sys.exit(f"there is no model '{name}'; there are: {', '.join(names)}")
    return wanted


def wanted(args):
    """The measurements asked for, as tuples of KEY."""
    for model in models(args):
        for what in args.what.split(","):
            for batch in args.batches or BATCHES[what, model in LARGE]:
                for pair in args.peers.split(","):
                    peer, _, python = pair.partition("=")
                    if not python:
                        sys.exit(f"--peers is a list of PEER=PYTHON, found '{pair}'")
                    if what == "train" and peer in INFERENCE_ONLY:
                        continue
                    for isa in args.isa.split(","):
                        if isa != "native" and peer in OWN_CHOICE:
                            sys.exit(f"{peer} cannot be told to keep to {isa}")
                        yield model, what, batch, peer, python, isa, args.threads, args.machine


def read(args):
    """The measurements taken, the newest of each."""
    taken = {}
    if os.path.exists(args.results):
        with open(args.results) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = {"machine": FIRST_MACHINE, **json.loads(line)}
                    taken[tuple(entry[k] for k in KEY)] = entry
                except (ValueError, KeyError):
                    sys.exit(f"{args.results}:{number}: not a measurement")
    return taken


def bench(args, key, *words):
    """One line of `netc bench --json`; None: refused, and netc has said why."""
    model, what, batch, _, _, isa, threads, _ = key
    cpu, environment = ISA[isa]
    # What is preset where netc is developed must decide nothing.
    clean = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [args.netc, "bench", os.path.join(args.models_directory, model + ".net"), "--json", f"--mode={what}", f"--batch={batch}",
               f"--threads={threads}", f"--cpu={cpu}", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**clean, **environment})
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return None
    result["refused"] = done.returncode != 0  # a mode, or some; the others are worth having
    return result if not result["refused"] or result.get("modes") else None


def compare(args, key):
    """The rounds of all processes together: a peer's speed may depend on where its memory came to lie, which is drawn once a process."""
    _, what, _, peer, python, *_ = key
    words = [f"--compare={python}", f"--peer={peer}", f"--rounds={args.rounds}", f"--seconds={args.seconds}"]
    if args.peer_modes:
        words.append(f"--peer-modes={args.peer_modes}")
    results = [bench(args, key, *words) for _ in range(args.processes)]
    if None in results:
        return None
    first, others = results[0], [{m["mode"]: m for m in more["modes"]} for more in results[1:]]
    first["modes"] = [m for m in first["modes"] if all(m["mode"] in more for more in others)]
    first["refused"] = any(r["refused"] for r in results)
    for mode in first["modes"]:
        for more in others:
            for side in ("netc", "peer"):
                mode[what][side] += more[mode["mode"]][what][side]
    return first


def measure(args, key):
    compared = compare(args, key)
    profile = compared and bench(args, key, "--no-cache", f"--repeats={args.repeats}")
    if not profile:
        return None
    what = key[KEY.index("what")]
    own = profile[what]
    return {**dict(zip(KEY, key)), "version": compared["peer"], "target": compared["target"], "parameters": compared["parameters"],
            "date": time.strftime("%Y-%m-%d"), "commit": args.commit, "rounds": args.rounds * args.processes, "seconds": args.seconds,
            "refused": compared["refused"],
            "memory_bytes": compared["memory_bytes"],
            "modes": [{"mode": m["mode"], "memory_bytes": m["memory_bytes"], **m[what]} for m in compared["modes"]],
            "compile_seconds": profile["compile_seconds"], "ms": own["ms"], "gflops": own["gflops"], "peak_gflops": profile["peak_gflops"],
            "bandwidth_gb": profile["bandwidth_gb"], "kinds": own["kinds"]}


def run(args):
    # Killed, it takes netc along, as subprocess.run does of an exception: a netc left behind would measure on, beside whatever is next.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.commit = args.commit or subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True).stdout.strip()
    taken, failed = read(args), False
    for key in list(wanted(args)):  # what cannot be asked for is said before anything is measured
        if key in taken and not args.again:
            continue
        print(time.strftime("%H:%M"), *key, flush=True)
        entry = measure(args, key)
        if entry is None or entry["refused"]:
            failed = True
        if entry is None:
            continue
        with open(args.results, "a") as out:
            out.write(json.dumps(entry) + "\n")
    sys.exit(failed)


def show_list(args):
    taken = read(args)
    for key in wanted(args):
        print("measured" if key in taken else "        ", *key)


# ---- rows ----
def ratios_of(mode):
    return [ours / theirs for ours, theirs in zip(mode["netc"], mode["peer"])]


def row(entries):
    """A row of the tables: all peers of one model, task, batch, instruction set and machine."""
    # By the ratio, which is of one run: how fast the machine is changes from run to run.
    best, of = min(((m, e) for e in entries for m in e["modes"]), key=lambda pair: statistics.median(ratios_of(pair[0])))
    ratios = ratios_of(best)
    sum_ms = sum(of["kinds"].values())
    kinds = sorted(of["kinds"].items(), key=lambda item: -item[1])[:3]
    return {"model": of["model"], "what": of["what"], "batch": of["batch"], "isa": of["isa"], "threads": of["threads"], "machine": of["machine"],
            "netc": statistics.median(best["netc"]), "peer": statistics.median(best["peer"]), "best": f"{of['version']} {best['mode']}{', others refused' if of.get('refused') else ''}",
            "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "memory": of["memory_bytes"], "peer_memory": best["memory_bytes"],
            "peak": of["gflops"] / of["peak_gflops"], "compile_seconds": of["compile_seconds"], "date": of["date"], "commit": of["commit"],
            "kinds": {kind: ms / sum_ms for kind, ms in kinds}}


def rows(args):
    groups = {}
    for key, entry in read(args).items():
        groups.setdefault(tuple(entry[k] for k in ("what", "isa", "threads", "model", "batch", "machine")), []).append(entry)
    return [row(groups[k]) for k in sorted(groups, key=lambda k: (k[5] != FIRST_MACHINE, k[5], k[1] != "native", k[0] != "train", *k[2:]))]


def table(some):
    training = some[0]["what"] == "train"
    head = ["model", "batch", "netc, images/s", "the fastest peer", "images/s", "**ratio**", "range", *(["memory of a step, netc / peer"] if training else []),
            "of the FMA peak", "compiles in", "where its time goes"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in some:
        memory = f"{r['memory'] / 1e6:.0f} / {r['peer_memory'] / 1e6:.0f} MB" if r["memory"] and r["peer_memory"] else ""
        kinds = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in r["kinds"].items())
        cells = [r["model"], r["batch"], f"{r['netc']:.0f}", r["best"], f"{r['peer']:.0f}", f"**{r['ratio']:.2f}**", f"{r['least']:.2f} to {r['most']:.2f}",
                 *([memory] if training else []), f"{100 * r['peak']:.0f} %", f"{r['compile_seconds']:.2f} s", kinds]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


# ---- the page ----
WIDTH, LEFT, STEP, TOP = 760, 190, 18, 44


def chart(some):
    """An SVG of bars, a row each: how many times the fastest peer's speed, with the range over the rounds, and a line at 1."""
    right, most = WIDTH - 60, max(r["most"] for r in some)
    height = TOP + STEP * len(some) + 16

    def x(ratio):
        return LEFT + (right - LEFT) * ratio / most

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
           f'<title>netc against its fastest peer</title><rect width="{WIDTH}" height="{height}" fill="white"/>',
           f'<text x="{LEFT}" y="16">{WHAT[some[0]["what"]]}: times the speed of the fastest peer</text>']
    for whole in range(int(most) + 1):
        colour = "#333" if whole == 1 else "#ddd"
        out.append(f'<path d="M{x(whole):.1f} {TOP - 6}V{height - 12}" stroke="{colour}"/><text x="{x(whole):.1f}" y="{TOP - 10}" text-anchor="middle">{whole}</text>')
    for i, r in enumerate(some):
        y = TOP + STEP * i
        colour = "#1f77b4" if r["ratio"] >= 1 else "#d62728"
        out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{r["model"]}, {r["batch"]}</text>'
                   f'<rect x="{LEFT}" y="{y + 2}" width="{x(r["ratio"]) - LEFT:.1f}" height="{STEP - 5}" fill="{colour}"/>'
                   f'<path d="M{x(r["least"]):.1f} {y + STEP / 2}H{x(r["most"]):.1f}" stroke="#000"/>'
                   f'<text x="{x(r["most"]) + 6:.1f}" y="{y + 12}">{r["ratio"]:.2f}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def title(r):
    return f"{WHAT[r['what']]}, {r['threads']} thread{'s' if r['threads'] > 1 else ''}{', AVX2 on both sides' if r['isa'] == 'avx2' else ''}" \
        f"{', ' + r['machine'] if r['machine'] != FIRST_MACHINE else ''}"


def report(args):
    begin, end = "<!-- made by bench/zoo.py report -->", "<!-- end of bench/zoo.py report -->"
    with open(args.page) as page:
        old = page.read()
    if begin not in old or end not in old:
        sys.exit(f"{args.page} has no lines {begin} and {end}")
    every = rows(args)
    if not every:
        sys.exit(f"{args.results} has no measurement")
    text, titles = [""], list(dict.fromkeys(map(title, every)))
    for head in titles:
        some = [r for r in every if title(r) == head]
        when = sorted({f"{r['date']} at {r['commit']}" for r in some})
        text.append(f"### {head}")
        if head == titles[0]:
            with open(args.chart, "w") as out:
                out.write(chart(some))
            text.append(f"![{head}]({os.path.relpath(args.chart, os.path.dirname(args.page) or '.')})")
        text += [table(some), f"Measured {', '.join(when)}."]
    with open(args.page, "w") as page:
        page.write(old[:old.index(begin) + len(begin)] + "\n" + "\n\n".join(text) + "\n\n" + old[old.index(end):])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=os.path.join(ROOT, "docs", "results", "zoo.jsonl"), help="the measurements")
    parser.add_argument("--models-directory", default=os.path.join(ROOT, "models"))
    commands = parser.add_subparsers(dest="command", required=True)
    choice = argparse.ArgumentParser(add_help=False)
    choice.add_argument("--models", help="these alone: A,B,... (default: all)")
    choice.add_argument("--what", default="train,infer")
    choice.add_argument("--batches", type=lambda text: [int(word) for word in text.split(",")],
                        help="(default: training 32,128, inference 1,128; 8,32 and 1,32 for images of 224x224)")
    choice.add_argument("--peers", default="torch=/usr/bin/python3", help="PEER=PYTHON,... (netc bench --peer, --compare)")
    choice.add_argument("--isa", default="native", help="native, avx2: --cpu x86-64-v3, and the peers told the same")
    choice.add_argument("--machine", default=machine(), help="what it is called in the tables (default: its CPU, %(default)s)")
    choice.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    one = commands.add_parser("run", parents=[choice])
    one.add_argument("netc")
    one.add_argument("--peer-modes", help="modes of the peers (default: all of f32)")
    one.add_argument("--rounds", type=int, default=3, help="of each process")
    one.add_argument("--processes", type=int, default=1, help="of netc and of each mode of the peer, one after the other")
    one.add_argument("--seconds", type=int, default=2, help="of each side in a round")
    one.add_argument("--repeats", type=int, default=3, help="of the profile")
    one.add_argument("--again", action="store_true", help="measure what is measured already")
    one.add_argument("--commit", help="of netc (default: this tree's)")
    one.set_defaults(call=run)
    commands.add_parser("list", parents=[choice]).set_defaults(call=show_list)
    page = commands.add_parser("report")
    page.add_argument("--page", default=os.path.join(ROOT, "docs", "performance.md"))
    page.add_argument("--chart", default=os.path.join(ROOT, "docs", "results", "zoo.svg"))
    page.set_defaults(call=report)
    commands.add_parser("json").set_defaults(call=lambda args: print(json.dumps(rows(args), indent=1)))
    args = parser.parse_args()
    if hasattr(args, "isa") and any(isa not in ISA for isa in args.isa.split(",")):
        parser.error(f"--isa is one of {', '.join(ISA)}")
    if hasattr(args, "what") and any(what not in WHAT for what in args.what.split(",")):
        parser.error("--what is one or both of train,infer")
    args.call(args)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How long does a step of many ranks take over a line? A model of it, from what netc measures on one machine.

    bench/ranks.py measure build/release/driver/netc --models resnet20,resnet18 -o ranks.json
    bench/ranks.py table ranks.json
    bench/ranks.py check build/release/driver/netc ranks.json --model resnet20 --ranks 2

measure: what a rank of one thread and --batch images does in a step, call by call: milliseconds (netc bench), and at each sum over
the batch its bytes. table: efficiency in per cent, the step without messages over the step with them, each rank on a machine of
its own. check, as root: ranks in network namespaces of this machine, each on a veth that tbf limits to --rates; needs Open MPI, ip, tc
and nsenter. What is checked is the line's part: the calls are scaled such that a step is as long as measured on an unlimited line.

The model (step_time): all ranks do the same at the same time; a rank's line carries a rate each way. Sums of up to 16 kB, and those
that a later call reads, go whole to every rank and are waited for. Other gradients are cut: slices of partial sums go round, then
slices of the sum, one list of each at a time, begun and asked about behind each call. A message of more than EAGER bytes moves
from the second asking on, and while nobody asks no more than BUFFER bytes of it do. How long a rank waits for a slower one is not in it.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

SMALL = 1 << 14  # runtime/shards.c: bytes up to which all ranks finish a whole sum
AGREEMENT = 516  # bytes to each other rank behind a step
EAGER, BUFFER = 1 << 16, 4 << 20  # of Open MPI by TCP; of what Linux takes of a connection
SUMS = ("batch_sum", "moments", "cross_entropy", "correct", "conv2d_bwd_weights", "dense_bwd_weights")


# ---- measure ----

def numbers(shape):
    product = 1
    for n in shape:
        product *= n
    return product


def sums_of(graph):
    """Of values that are summed over the batch: bytes, and whether only the optimiser reads them."""
    values = {v["id"]: v for v in graph["values"]}
    read = {a for v in graph["values"] for a in v["args"]}
    sums = {}
    for v in values.values():
        if v["op"] in SUMS:
            wide = v["op"] == "moments"
            size = (16 if wide else 4) * numbers(v["type"]["shape"])
            sums[v["id"]] = [size, size > SMALL and not wide and v["id"] not in read]
    return sums


def measure(netc, model, batch, repeats):
    """Calls in their order: [milliseconds, bytes of the sum behind it or 0, whether only the optimiser reads that]."""
    options = [model, "--mode=train", "--batch", str(batch), "--set", "train.shards=2"]
    run = subprocess.run([netc, "bench", *options, "--threads=1", f"--repeats={repeats}", "--json"], check=True, stdout=subprocess.PIPE, text=True)
    timed = json.loads(run.stdout)
    run = subprocess.run([netc, "ir", *options, "--stage=final", "--json"], check=True, stdout=subprocess.PIPE, text=True)
    sums = sums_of(json.loads(run.stdout))
    at, last = {}, 0.0
    for kernel in timed["train"]["kernels"]:
        if kernel["name"] == "sum_shards":
            summed = kernel["values"]
            continue
        for v in kernel["values"]:
            at[v] = at.get(v, 0) + kernel["ms"] / len(kernel["values"])
        if not kernel["values"]:
            last += kernel["ms"]
    missing = [v for v in summed if v not in sums]
    if missing:
        sys.exit(f"ranks.py: of what is summed over the batch, these values are of no known op: {missing}")
    calls = [[round(at.get(v, 0), 4), *(sums[v] if v in summed else [0, False])] for v in sorted({*at, *summed})]
    return {"model": model, "batch": batch, "target": timed["target"], "calls": calls, "behind": round(last, 4)}


# ---- the model ----

def bytes_sent(profile, ranks):
    """By one rank, in a step."""
    others = sum(size for _, size, later in profile["calls"] if not later)
    later = sum(size for _, size, later in profile["calls"] if later)
    return (ranks - 1) * (others + AGREEMENT) + 2 * (ranks - 1) / ranks * later


class Line:
    """What is on its way: lists of [bytes, askings until they move], of which the first goes first."""

    def __init__(self, rate):
        self.rate, self.lists = rate, []

    def begin(self, size, message):
        entry = [size, 1 if message > EAGER else 0]
        self.lists.append(entry)
        return entry

    def carry(self, milliseconds, most=float("inf")):
        left = min(self.rate * milliseconds, most)
        for entry in self.lists:
            if entry[1] or left <= 0:
                break
            part = min(entry[0], left)
            entry[0] -= part
            left -= part

    def ask(self):
        for entry in self.lists:
            entry[1] = max(0, entry[1] - 1)
        self.lists = [entry for entry in self.lists if entry[0] > 1e-9 or entry[1]]

    def standing(self):
        return sum(entry[0] for entry in self.lists if not entry[1])


def step_time(profile, ranks, rate, latency=0.05, scale=1.0):
    """Milliseconds of a step; rate: bytes a millisecond, latency: milliseconds of each message that is waited for."""
    line, time = Line(rate), 0.0
    waiting, nodes, finished, slices = [], None, [], None  # sums: begun by nobody yet, on their way; their slices: to go, on their way

    def ask():
        nonlocal nodes, slices
        line.ask()
        moved = True
        while moved:
            moved = False
            if nodes is None and waiting:
                size = waiting.pop(0)
                nodes = size, line.begin((ranks - 1) / ranks * size, size / ranks)
            if nodes and nodes[1] not in line.lists:
                finished.append(nodes[0])
                nodes, moved = None, True
            if slices is None and finished:
                size = finished.pop(0)
                slices = line.begin((ranks - 1) / ranks * size, size / ranks)
            if slices and slices not in line.lists:
                slices, moved = None, True

    def wait(size):
        nonlocal time
        took = latency + ((ranks - 1) * size + min(line.standing(), BUFFER)) / rate
        line.carry(took - (ranks - 1) * size / rate)
        time += took

    for call, size, later in profile["calls"]:
        time += call * scale
        line.carry(call * scale, BUFFER)
        if ranks == 1:
            continue
        if later:
            waiting.append(size)
        elif size:
            wait(size)
        ask()
    while line.lists or waiting or finished:
        left = line.standing()
        line.carry(left / rate)
        time += left / rate + latency
        ask()
    if ranks > 1:
        wait(AGREEMENT)
    return time + profile["behind"] * scale


def efficiency(profile, ranks, rate, latency):
    alone = step_time(profile, 1, rate)
    return 100 * alone / step_time(profile, ranks, rate, latency)


RANKS = (2, 4, 8, 16, 32, 64)


def table(profiles, latency, out=sys.stdout):
    for profile in profiles:
        alone = step_time(profile, 1, 1)
        print(f"\n{profile['model']}, {profile['batch']} images a rank, {alone:.0f} ms without messages, {len([c for c in profile['calls'] if c[1]])} sums\n", file=out)
        print("| ranks |" + "".join(f" {r} |" for r in RANKS) + "\n|---|" + "---|" * len(RANKS), file=out)
        print("| MB that each sends in a step |" + "".join(f" {bytes_sent(profile, r) / 1e6:.2f} |" for r in RANKS), file=out)
        for gigabit in (1, 10, 25):
            cells = (f" {efficiency(profile, r, gigabit * 125e3, latency):.0f} |" for r in RANKS)
            print(f"| {gigabit} Gbit/s |" + "".join(cells), file=out)


# ---- check ----

PATIENCE = 300  # seconds of one training
AGENT = """#!/bin/sh
host=$1; shift
exec nsenter --net=/run/netns/netc-$host --uts=%s/$host sh -c "$*"
"""


def shell(*command, check=True):
    subprocess.run(list(map(str, command)), check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


class Cluster:
    """A namespace a rank, of network and of host name, on a bridge in one more; mpirun starts there."""

    def __init__(self, ranks, directory):
        self.ranks, self.directory = ranks, directory
        self.hosts = [f"10.99.0.{k + 1}" for k in range(ranks)]

    def __enter__(self):
        self.remove()
        shell("ip", "netns", "add", "netc-hub")
        shell("mount", "--bind", self.directory, self.directory)
        shell("mount", "--make-private", self.directory)
        self.hub("ip", "link", "add", "hub", "type", "bridge")
        self.hub("ip", "addr", "add", "10.99.0.254/24", "dev", "hub")
        for link in "lo", "hub":
            self.hub("ip", "link", "set", link, "up")
        for k, host in enumerate(self.hosts):
            name = f"netc-{host}"
            with open(os.path.join(self.directory, host), "w"):
                pass
            shell("unshare", f"--uts={self.directory}/{host}", "hostname", f"node{k}")
            shell("ip", "netns", "add", name)
            self.hub("ip", "link", "add", f"port{k}", "type", "veth", "peer", "name", "line", "netns", name)
            self.hub("ip", "link", "set", f"port{k}", "master", "hub", "up")
            shell("ip", "-n", name, "addr", "add", f"{host}/24", "dev", "line")
            for link in "lo", "line":
                shell("ip", "-n", name, "link", "set", link, "up")
        self.agent = os.path.join(self.directory, "agent")
        with open(self.agent, "w") as file:
            file.write(AGENT % self.directory)
        os.chmod(self.agent, 0o755)
        return self

    def __exit__(self, *_):
        self.remove()
        for host in self.hosts:
            shell("umount", os.path.join(self.directory, host), check=False)
        shell("umount", self.directory, check=False)

    def remove(self):
        for name in [f"netc-{host}" for host in self.hosts] + ["netc-hub"]:  # what a training that failed has left
            left = subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split()
            if left:
                shell("kill", "-9", *left, check=False)
        for host in [f"netc-{host}" for host in self.hosts] + ["netc-hub"]:
            shell("ip", "netns", "del", host, check=False)

    def hub(self, *command):
        shell("ip", "netns", "exec", "netc-hub", *command)

    def limit(self, megabits):
        """Each way; None: as fast as it goes."""
        for k, host in enumerate(self.hosts):
            for name, link in (("netc-hub", f"port{k}"), (f"netc-{host}", "line")):
                shell("tc", "-n", name, "qdisc", "del", "dev", link, "root", check=False)
                if megabits:
                    shell("tc", "-n", name, "qdisc", "add", "dev", link, "root", "tbf", "rate", f"{megabits}mbit", "burst", "20kb", "latency", "200ms")

    def train(self, netc, profile, steps, under, more):
        out = os.path.join(self.directory, "run")
        command = ["ip", "netns", "exec", "netc-hub", *under.split(), "mpirun.openmpi", "--allow-run-as-root", "--mca", "plm_rsh_agent", self.agent, "--mca", "btl", "tcp,self",
                   "--mca", "btl_tcp_if_include", "10.99.0.0/24", "--mca", "oob_tcp_if_include", "10.99.0.0/24", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
                   "--host", ",".join(self.hosts), "-n", str(self.ranks), "-x", "NETC_RANK_MEMORY=0",
                   netc, "train", profile["model"], "--data=synthetic", "--batch", str(profile["batch"] * self.ranks), "--steps", str(steps), "--set",
                   f"train.shards={2 * self.ranks}", "--eval-every=0", f"--log-every={steps // 4}", "--threads=1", "-q", "--overwrite", "--out", out, *more]
        try:
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            sys.exit(f"ranks.py: the training has not ended after {PATIENCE} s")
        if run.returncode:
            sys.exit(f"ranks.py: the training ended with {run.returncode}\n{run.stdout}")
        with open(os.path.join(out, "metrics.jsonl")) as file:
            lines = [line for line in map(json.loads, file) if "images_per_s" in line and "step" in line]
        lines = {line["step"]: line for line in reversed(lines)}
        rest = [line for step, line in lines.items() if step > steps // 4]  # the first quarter warms up
        sent = (lines[steps]["bytes_sent"] - lines[steps // 4]["bytes_sent"]) / (steps - steps // 4)
        return 1e3 * profile["batch"] * self.ranks / statistics.median(line["images_per_s"] for line in rest), sent


def check(args, profile):
    alone = step_time(profile, 1, 1)
    with tempfile.TemporaryDirectory() as directory, Cluster(args.ranks, directory) as cluster:
        for _ in range(args.rounds):
            cluster.limit(None)
            base, sent = cluster.train(args.netc, profile, args.steps, args.under, args.option)
            print(f"{profile['model']} {args.ranks} ranks: {base:.1f} ms on an unlimited line, {sent / 1e6:.3f} MB a step (model {bytes_sent(profile, args.ranks) / 1e6:.3f})", flush=True)
            for rate in args.rates.split(","):
                cluster.limit(rate)
                measured, _ = cluster.train(args.netc, profile, args.steps, args.under, args.option)
                predicted = step_time(profile, args.ranks, float(rate) * 125, 0, base / alone)
                print(f"{profile['model']} {args.ranks} ranks {rate} Mbit/s: measured {measured:.1f} ms, predicted {predicted:.1f}, {100 * (predicted / measured - 1):+.0f} %", flush=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # killed, it takes its children along, as subprocess.run does of an exception
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("netc")
    one.add_argument("--models", default="resnet20,resnet18")
    one.add_argument("--batch", type=int, default=64, help="images of a rank")
    one.add_argument("--repeats", type=int, default=9)
    one.add_argument("-o", "--output", required=True)
    one = commands.add_parser("table")
    one.add_argument("file")
    one.add_argument("--latency", type=float, default=0.05, help="milliseconds of a message that is waited for")
    one = commands.add_parser("check")
    one.add_argument("netc")
    one.add_argument("file")
    one.add_argument("--model", default="resnet20")
    one.add_argument("--ranks", type=int, default=2)
    one.add_argument("--rates", default="1000,200,100", help="of a line, Mbit/s")
    one.add_argument("--steps", type=int, default=40)
    one.add_argument("--rounds", type=int, default=1)
    one.add_argument("--under", default="", help="a command that runs mpirun, as 'chrt -r 10'; not SCHED_FIFO, where ranks starve each other")
    one.add_argument("--option", action="append", default=[], help="one more of netc train")
    args = parser.parse_args()
    if args.command == "measure":
        profiles = [measure(args.netc, model, args.batch, args.repeats) for model in args.models.split(",")]
        with open(args.output, "w") as file:
            json.dump(profiles, file)
            file.write("\n")
        return
    with open(args.file) as file:
        profiles = json.load(file)
    if args.command == "table":
        table(profiles, args.latency)
        return
    missing = [tool for tool in ("mpirun.openmpi", "ip", "tc", "nsenter", "unshare") if not shutil.which(tool)]
    if missing or os.getuid():
        sys.exit(f"ranks.py: check needs root, and {', '.join(missing) or 'all its tools are there'}")
    profile = [p for p in profiles if p["model"] == args.model]
    if not profile:
        sys.exit(f"ranks.py: {args.file} has no {args.model}, but {', '.join(p['model'] for p in profiles)}")
    check(args, profile[0])


if __name__ == "__main__":
    main()

"""What the peers of `netc bench --compare` share: the net, and the conversation with netc.

A peer is a script that trains and runs a net in another framework. netc starts it twice: with --list, to hear its name and modes,
and then once for each mode, with the net's graph (netc ir --format=json) on standard input. So every peer computes the same
network, from any .net file, and none of them knows a ResNet. The conversation is lines:

    netc                             peer
    (--list)                         peer torch 2.15.0
                                     modes eager channels_last compile eager-bf16 ...
    (--mode=eager) the graph, `go`   ready PARAMETERS BYTES     parameters of the net; peak memory of a training step, 0: unknown
    train SECONDS                    ms MEDIAN                  of the steps that fit into that time, three at least
    infer SECONDS                    ms MEDIAN
    (end of file)                                               the peer ends

or, instead of any answer, `error SENTENCE`.

A framework is a class with `name`, `version`, `modes`, and a constructor (net, mode, threads, training, inference) that leaves
`train` and `infer`, functions of no argument that do one step to its very end, and `compiles_late`, true if the first step also
compiles, so that its memory says nothing about training.
"""
import argparse
import json
import os
import statistics
import sys
import time

# Set where netc is developed; a peer's OpenBLAS shall choose for itself. Before any framework is imported.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

LR, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 1e-4  # one SGD step costs the same whatever they are; these do not diverge


class Missing(Exception):
    """What this peer cannot do, as a sentence for netc's user."""


class Net:
    """The graph that the frontend made of a .net file."""

    def __init__(self, text):
        graph = json.loads(text)
        self.name, self.values = graph["name"], graph["values"]
        self.leaves = [v for v in self.values if v["op"] in ("param", "state")]
        self.params = [v for v in self.leaves if v["op"] == "param"]
        self.image_shape = next(v["type"]["shape"] for v in self.values if v["op"] == "input" and v["type"]["dtype"] == "f32")
        self.logits = next(o["value"] for o in graph["outputs"] if o["kind"] == "logits")
        self.classes = self.values[self.logits]["type"]["shape"][1]
        self.smoothing = next((v["attrs"]["smoothing"] for v in self.values if v["op"] == "cross_entropy"), 0)

    def parameters(self):
        return sum(elements(v) for v in self.params)

    def forward(self, ops, leaf, images, training):
        """The logits, and what batch norms and the like return as next state; `leaf` maps names to tensors, `ops` is the framework.

        Elementwise ops broadcast by rank: [N,C] over feature maps, [C] over either; ops.spread makes of them what broadcasts."""
        result, state = {}, {}
        for value in self.values[: self.logits + 1]:
            op, attrs = value["op"], value.get("attrs")
            args = [result.get(a) for a in value["args"]]
            if op == "input":
                out = images
            elif op in ("param", "state"):
                out = leaf[attrs["name"]]
            elif op == "batch_norm":
                mean, var = (self.values[a]["attrs"]["name"] for a in value["args"][3:])
                out, state[mean], state[var] = ops.batch_norm(*args, attrs["eps"], attrs["momentum"], training)
            elif op in ("add", "sub", "mul", "div"):
                rank = len(value["type"]["shape"])
                ranks = [len(self.values[a]["type"]["shape"]) for a in value["args"]]
                left, right = (a if r == rank or r == 0 else ops.spread(a, r, rank) for a, r in zip(args, ranks))
                out = left + right if op == "add" else left - right if op == "sub" else left * right if op == "mul" else left / right
            elif op == "constant":
                out = value["attrs"]["constant"] if isinstance(attrs, dict) else attrs
            elif op in ("identity", "dropout"):
                out = args[0]
            elif op == "result":
                continue
            elif hasattr(ops, op):
                out = getattr(ops, op)(*args, **(attrs or {}))
            else:
                raise Missing(f"this peer does not know the op '{op}'")
            result[value["id"]] = out
        return result[self.logits], state


def elements(value):
    count = 1
    for d in value["type"]["shape"]:
        count *= d
    return count


def initial(value, random):
    """Roughly netc's initial weights; only their size matters here. `random` makes normal numbers of a shape."""
    shape, init = value["type"]["shape"], value["attrs"]["init"]
    if init["kind"] == "constant":
        return init["value"] + 0 * random(shape)
    return random(shape) * (2 * shape[0] / elements(value)) ** 0.5  # He et al. 2015, fan in


# ---- measuring ----


def status_bytes(key):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def peak_of(step):
    """Peak memory while `step` runs, less what was there before."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts afresh
    before = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - before


def median_ms(step, seconds):
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


# ---- the conversation ----


def converse(framework, args, say):
    net = Net("".join(iter(sys.stdin.readline, "go\n")))
    if args.mode not in framework.modes:
        raise Missing(f"there is no mode '{args.mode}'")
    training, inference = args.what != "infer", args.what != "train"
    runs = framework(net, args.mode, args.threads, training, inference)
    memory = 0
    if training:
        memory = peak_of(runs.train)
        runs.train()
    if inference:
        runs.infer()
    say(f"ready {net.parameters()} {0 if runs.compiles_late else memory}")
    for line in sys.stdin:
        what, seconds = line.split()
        say(f"ms {median_ms(runs.train if what == 'train' else runs.infer, float(seconds)):.6g}")


def main(load):
    """`load` imports the framework and returns its class; it is called when the threads are set."""
    parser = argparse.ArgumentParser(description="A peer for netc bench --compare; see bench/peer.py.")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--mode")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--what", choices=("train", "infer", "both"), default="both")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a framework prints must not stand between the answers

    def say(line):
        answers.write(line + "\n")

    cpus = sorted(os.sched_getaffinity(0))
    if args.threads < len(cpus):
        os.sched_setaffinity(0, cpus[: args.threads])  # frameworks count their threads by it
    try:
        framework = load()
        if args.list:
            say(f"peer {framework.name} {framework.version}")
            say("modes " + " ".join(framework.modes))
        else:
            converse(framework, args, say)
    except ImportError as error:
        say(f"error {sys.executable} cannot import {error.name or error}")
    except Missing as error:
        say(f"error {error}")

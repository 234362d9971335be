"""What the peers of `netc bench --compare` share: the net, and the conversation with netc.

A peer is a script that trains or runs a net in another framework. netc starts it twice: with --list, to hear its name and modes,
and then once for each mode, with the net's graph (netc ir --format=json) on standard input. So every peer computes the same
network, from any .net file, and none of them knows a ResNet. The conversation is lines:

    netc                              peer
    (--list --what=both)              peer torch 2.15.0
                                      modes eager channels_last compile eager-bf16 ...
    (--mode=eager) a job, the graph,  ready PARAMETERS BYTES    parameters of the net; memory of a training step, 0: unknown
      and `go`                        losses L1 L2 L3           (if it trains) of the first steps
                                      scores S1 S2 ...          (if it infers) some of the logits
    train SECONDS                     ms MEDIAN                 of the steps that fit into that time, three at least
    infer SECONDS                     ms MEDIAN
    (end of file)                                               the peer ends

or, instead of any answer, `error SENTENCE`. The job is one line of JSON:

    inputs       path of a file of 32-bit words: the images, the labels (if it trains), then every `param` and `state` in the graph's
                 order, all in logical row-major order
    optimizer    kind, lr, momentum, nesterov, weight_decay, decay_bn, beta1, beta2, eps
    steps        how many losses are asked for: of that many training steps from the weights given
    scores       how many logits are asked for, evenly spread over [batch, classes]: element i * total / scores, in inference; of the
                 weights after those steps, or of those given if it does not train or the net has dropout

netc holds losses and scores against its own and refuses to time a peer that computes another function. A peer that cannot say
answers `losses unknown` and `scores unknown`. Losses of a net with dropout are not compared: masks are each framework's own.

A framework is a class with `name`, `version`, `modes`, and a constructor (job, net, mode, threads, training, inference) that leaves
`train` and `infer`, functions of no argument that do one step to its very end and return the loss (a number) and the logits (rows of
an array); and `held`, a function: the bytes of the tensors that live between steps, images, weights, and what training keeps for them.
`inference_modes`, if it has them, are further modes, that do not train; `trains = False` says that none does. What it cannot do it says by raising Missing.
"""
import argparse
import array
import ctypes
import json
import operator
import os
import statistics
import sys
import time

# Set where netc is developed; a peer's OpenBLAS shall choose for itself. Before any framework is imported.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)


class Missing(Exception):
    """What this peer cannot do, as a sentence for netc's user."""


class Net:
    """The graph that the frontend made of a .net file."""

    def __init__(self, text):
        graph = json.loads(text)
        self.name, self.values = graph["name"], graph["values"]
        self.leaves = [v for v in self.values if v["op"] in ("param", "state")]
        self.params = [v for v in self.leaves if v["op"] == "param"]
        self.images = next(v for v in self.values if v["op"] == "input" and v["type"]["dtype"] == "f32")
        self.image_shape = self.images["type"]["shape"]
        self.logits = next(o["value"] for o in graph["outputs"] if o["kind"] == "logits")
        self.classes = self.values[self.logits]["type"]["shape"][1]
        self.smoothing = next((v["attrs"]["smoothing"] for v in self.values if v["op"] == "cross_entropy"), 0)
        losses = [v for v in self.values if v["op"] == "cross_entropy"]
        self.further = [(v["args"][0], self.weight(v)) for v in losses[1:]]  # heads that training alone has, and the weights of their losses
        self.drops = any(v["op"] in ("dropout", "dropout_mask") and v["attrs"]["rate"] > 0 for v in self.values)

    def weight(self, loss):
        """The constant that a further head's loss is multiplied by."""
        product = next(v for v in self.values if v["op"] == "mul" and loss["id"] in v["args"])
        return next(self.values[a]["attrs"]["value"] for a in product["args"] if self.values[a]["op"] == "constant")

    def total(self, loss, logits, further):
        """`loss` of the logits, and of further heads by their weights."""
        return loss(logits) + sum(weight * loss(head) for head, (_, weight) in zip(further, self.further))

    def parameters(self):
        return sum(elements(v) for v in self.params)

    def forward(self, ops, leaf, images, training):
        """The logits, what batch norms return as next state, and, in training, the logits of further heads; `leaf` maps names to tensors,
        `ops` is the framework.

        Windows have pads top, left, bottom, right. Elementwise ops broadcast by rank: [N,C] over feature maps, [C] over either;
        ops.spread makes of them what broadcasts. A constant is a number."""
        result, state = {}, {}
        further = [head for head, _ in self.further] if training else []
        for value in self.values[: max([self.logits, *further]) + 1]:
            op, attrs = value["op"], value.get("attrs", {})
            args = [result.get(a) for a in value["args"]]
            if op == "input":
                out = images
            elif op in ("param", "state"):
                out = leaf[attrs["name"]]
            elif op == "batch_norm":
                mean, var = (self.values[a]["attrs"]["name"] for a in value["args"][3:])
                args[1:3] = (None if isinstance(a, float) else a for a in args[1:3])  # without scale, without shift
                out, state[mean], state[var] = ops.batch_norm(*args, attrs["eps"], attrs["momentum"], training)
            elif op in ("add", "sub", "mul", "div"):
                rank = len(value["type"]["shape"])
                ranks = [len(self.values[a]["type"]["shape"]) for a in value["args"]]
                left, right = (a if r == rank or r == 0 else ops.spread(a, r, rank) for a, r in zip(args, ranks))
                out = left + right if op == "add" else left - right if op == "sub" else left * right if op == "mul" else left / right
            elif op == "map":
                out = self.elementwise(ops, value, args)
            elif op == "constant":
                out = float(attrs["value"])
            elif op == "identity" or op == "dropout" and not (training and attrs["rate"]):
                out = args[0]
            elif op == "dropout_mask":
                out = ops.dropout(ops.ones(value["type"]["shape"]), attrs["rate"], attrs["stream"])
            elif op == "unflatten":
                out = ops.unflatten(args[0], value["type"]["shape"][1:])
            elif op == "dropout":
                out = ops.dropout(args[0], attrs["rate"], attrs["stream"])
            elif op == "slice_channels":
                out = ops.slice_channels(args[0], attrs["index"], value["type"]["shape"][1])
            elif op in ("sum_to", "max_to"):  # over the dimensions N, C, H, W that are 1 in the result
                shape = self.values[value["args"][0]]["type"]["shape"]
                out = getattr(ops, op)(args[0], [i for i, size in enumerate(value["type"]["shape"]) if size != shape[i]])
            elif op in ("channel_shuffle", "upsample"):
                out = getattr(ops, op)(args[0], attrs["index"])
            elif op in ("result", "cross_entropy"):  # of a batch norm: its next statistics, which `state` has; of a head: `total`
                out = None
            elif op == "pad":  # lines of zeros at the top, left, bottom, right; below 0: lines cut off
                out = ops.pad(ops.crop(args[0], [max(0, -p) for p in attrs["pad"]]), [max(0, p) for p in attrs["pad"]])
            elif hasattr(ops, op):
                out = getattr(ops, op)(*args, **attrs)
            else:
                raise Missing(f"this peer does not know the op '{op}'")
            result[value["id"]] = out
        return result[self.logits], state, [result[head] for head in further]

    def elementwise(self, ops, value, args):
        """A map. A number beside a tensor stays a number; gradients where operands are equal are netc's, which are PyTorch's."""
        rank, node = len(value["type"]["shape"]), []
        for step in value["regions"][0]["expr"]:
            op, x = step["op"], [node[k] for k in step.get("operands", [])]
            if op == "arg":
                out, own = args[step["arg"]], len(self.values[value["args"][step["arg"]]]["type"]["shape"])
                out = out if own in (0, rank) else ops.spread(out, own, rank)
            elif op == "const":
                out = float(step["value"])
            elif op in ("max", "min"):  # of a number and a tensor: a NaN survives, and the number wins
                number, tensor = x if isinstance(x[0], float) else x[::-1]
                out = ops.where(tensor <= number if op == "max" else tensor >= number, number, tensor)
            elif op in ("less", "less_equal", "equal"):
                out = ops.where(x[0] < x[1] if op == "less" else x[0] <= x[1] if op == "less_equal" else x[0] == x[1], 1.0, 0.0)
            elif op == "select":
                out = ops.where(x[0] <= 0, x[2], x[1])
            elif op in ARITHMETIC:
                out = ARITHMETIC[op](*x)
            elif hasattr(ops, op):
                out = getattr(ops, op)(*x)
            else:
                raise Missing(f"this peer does not know the elementwise operation '{op}'")
            node.append(out)
        return node[-1]


ARITHMETIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow, "neg": operator.neg}


def elements(value):
    count = 1
    for d in value["type"]["shape"]:
        count *= d
    return count


class Job:
    """What netc wants computed; see above. `images`, `labels` (None without training) and `leaf`, by name, are arrays of numbers."""

    def __init__(self, line, net, training):
        job = json.loads(line)
        self.steps, self.scores, self.optimizer = job["steps"], job["scores"], job["optimizer"]
        with open(job["inputs"], "rb") as file:
            self.images = read_words(file, "f", net.images)
            self.labels = read_words(file, "i", {"type": {"shape": net.image_shape[:1]}}) if training else None
            self.leaf = {v["attrs"]["name"]: read_words(file, "f", v) for v in net.leaves}

    def decay(self, param):
        """Of weights, for one parameter."""
        return self.optimizer["weight_decay"] if param["attrs"]["decay"] or self.optimizer["decay_bn"] else 0


def read_words(file, kind, value):
    words = array.array(kind)
    words.fromfile(file, elements(value))
    return words


# ---- measuring ----


def status_bytes(key):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def watch_peak():
    """The peak starts afresh; what there is now."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return status_bytes("VmRSS")


def median_ms(step, seconds):
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


# ---- the conversation ----


def some_scores(job, logits):
    rows, classes = len(logits), len(logits[0])
    places = (i * rows * classes // job.scores for i in range(job.scores))
    return [float(logits[place // classes][place % classes]) for place in places]


def modes_for(framework, what):
    if what != "infer" and not getattr(framework, "trains", True):
        raise Missing(f"{framework.name} does not train; --mode=infer compares inference")
    return framework.modes + (getattr(framework, "inference_modes", []) if what == "infer" else [])


def converse(framework, args, say):
    job_line = sys.stdin.readline()
    net = Net("".join(iter(sys.stdin.readline, "go\n")))
    if args.mode not in modes_for(framework, args.what):
        raise Missing(f"there is no mode '{args.mode}'")
    training, inference = args.what != "infer", args.what != "train"
    job = Job(job_line, net, training)
    runs = framework(job, net, args.mode, args.threads, training, inference)
    job.images = job.labels = job.leaf = None  # the framework has them
    losses, scores, memory = [], [], 0
    if inference and (net.drops or not training):
        scores = some_scores(job, runs.infer())
    if training:
        losses = [runs.train() for _ in range(job.steps)]
    if inference and not scores:
        scores = some_scores(job, runs.infer())
    if training:  # a step when all is compiled and every library's code is in memory: neither is what a net needs
        before = watch_peak()
        runs.train()
        memory = runs.held() + status_bytes("VmHWM") - before
    say(f"ready {net.parameters()} {memory}")
    for name, numbers in ("losses", losses), ("scores", scores):
        if numbers:
            say(f"{name} " + " ".join(f"{number:.9g}" for number in numbers))
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
    name = os.path.basename(sys.argv[0])
    try:
        framework = load()
        name = framework.name
        if args.list:
            modes = modes_for(framework, args.what)
            say(f"peer {framework.name} {framework.version}")
            say("modes " + " ".join(modes))
        else:
            converse(framework, args, say)
    except ImportError as error:
        say(f"error {sys.executable} cannot import {error.name or error}")
    except Missing as error:
        say(f"error {error}")
    except Exception as error:  # the framework's own refusals, which come in many shapes
        say(f"error {name} fails: {type(error).__name__}: " + " ".join(str(error).split())[:300])

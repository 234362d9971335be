"""netc sweep: a table of trainings, each as it is alone; means, deviations and Welch's t as others compute them; whatever kills it, it goes on."""
import json
import math
import os
import re
import signal
import statistics
import time

from e2e import SMALL, Workspace, check, metrics

TABLE = f"""# two nets, two seeds
model {SMALL}
model {SMALL} width=4; se=true
seeds 3, 4
options --batch=8 --steps=3
"""


def write(at, name, text):
    with open(at(name), "w") as file:
        file.write(text)
    return at(name)


def t_tail(t, freedom):
    """Of Student's distribution, both tails: Simpson's rule over its density from 0 to |t|."""
    front = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    n, h = 20000, abs(t) / 20000
    density = [front * (1 + (i * h) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(n + 1)]
    return 1 - 2 * h / 3 * (density[0] + density[-1] + 4 * sum(density[1:-1:2]) + 2 * sum(density[2:-1:2]))


def as_alone(at):
    out, _ = at.run("sweep", write(at, "table", TABLE), "-j", 2)
    check(out.count(", seed ") == 4 and "small width=4 se=true, seed 4: test " in out, f"what was trained: {out}")
    with open(at("runs", "table", "table.json")) as file:
        rows, pairs = (lambda t: (t["rows"], t["pairs"]))(json.load(file))
    for row, more in zip(rows, ([], ["--set", "width=4", "--set", "se=true"])):
        values = []
        for run in row["runs"]:
            at.run("train", SMALL, "--batch", 8, "--steps", 3, "-q", "--seed", run["seed"], *more, "--out", at("alone"), "--overwrite")
            ours, alone = metrics(at(run["directory"]))[-1], metrics(at("alone"))[-1]
            check(ours["weights_sha256"] == alone["weights_sha256"], f"{run['directory']} is not what it is alone")
            check(abs(run["test"] - 100 * alone["test_accuracy"]) < 1e-6, f"{run}: {alone}")
            values.append(run["test"])
        check(abs(row["mean"] - statistics.mean(values)) < 1e-6 and abs(row["deviation"] - statistics.stdev(values)) < 1e-6, f"{row}")
        check(row["best"] == max(values) and row["seeds"] == row["done"] == 2, f"{row}")
    a, b = ([run["test"] for run in row["runs"]] for row in rows)
    u, v = statistics.variance(a) / 2, statistics.variance(b) / 2
    t, freedom = (statistics.mean(b) - statistics.mean(a)) / math.sqrt(u + v), (u + v) ** 2 / (u * u + v * v)
    check(len(pairs) == 1 and abs(pairs[0]["t"] - t) < 1e-6 and abs(pairs[0]["freedom"] - freedom) < 1e-6, f"{pairs}: t = {t}, {freedom}")
    check(abs(pairs[0]["p"] - t_tail(t, freedom)) < 1e-6, f"{pairs}: p = {t_tail(t, freedom)}")
    with open(at("runs", "table", "table.md")) as file:
        page = file.read()
    check(page in out and page.count("\n") == 4 and f"{t:.2f} ({freedom:.1f}) | {pairs[0]['p']:.2g} |" in page, f"{page}")

    before = {d: os.stat(at("runs", "table", d, "last.safetensors")).st_mtime_ns for d in os.listdir(at("runs", "table")) if "." not in d}
    out, _ = at.run("sweep", at("table"))
    check(out == page and all(os.stat(at("runs", "table", d, "last.safetensors")).st_mtime_ns == t for d, t in before.items()), f"trained again: {out}")
    check(json.loads(at.run("sweep", at("table"), "--json")[0])["pairs"] == pairs, "--json")
    write(at, "table", TABLE.replace("--steps=3", "--steps=2"))
    at.refuses("sweep", at("table"), status=2, says="was made by another model, other settings or options: --overwrite")
    out, _ = at.run("sweep", at("table"), "--overwrite", "--out", "runs/table")
    check(metrics(at("runs", "table", "small-3"))[-1]["step"] == 2, "--overwrite did not train anew")


LONG = f"model {SMALL}\nmodel {SMALL} se=true\noptions --batch=8 --eval-every=0 --checkpoint-every=5 --log-every=1 --init start.safetensors --init-partial\nsetting short train.epochs=0.2\n"


def wait_for(path, before, process):
    """Until the file is there and another than before."""
    until = time.monotonic() + 60
    while not (os.path.exists(path) and os.stat(path).st_mtime_ns != before) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    check(process.poll() is None, f"the sweep ended by itself, before '{path}' was written")


def killed(at):
    at.run("init", SMALL, "--seed", 9, "-o", at("start.safetensors"))  # which a training that goes on has had
    table, last = write(at, "long", LONG), at("runs", "long", "small-short-0", "last.safetensors")
    for end, status in (signal.SIGKILL, -9), (signal.SIGTERM, 130):
        before = os.stat(last).st_mtime_ns if os.path.exists(last) else 0
        process = at.start("sweep", table, "-j", 2, "--threads", 1)
        wait_for(last, before, process)
        process.send_signal(end)
        _, err = process.communicate(timeout=60)
        check(process.returncode == status, f"{end}: {process.returncode} {err}")
        check(end == signal.SIGKILL or "the same command goes on" in err, f"{end}: {err}")
        until = time.monotonic() + 60
        while os.path.exists(at("runs", "long", "small-short-0", "lock")) and time.monotonic() < until:
            time.sleep(0.01)
        check(not os.path.exists(at("runs", "long", "small-short-0", "lock")), "a training outlived its sweep")
    out, _ = at.run("sweep", table, "-j", 2)
    check("small short, seed 0: done, not tested" in out, f"{out}")
    at.run("train", SMALL, "--batch", 8, "--eval-every", 0, "-q", "--init", at("start.safetensors"), "--set", "train.epochs=0.2", "--out", at("whole"))
    check(metrics(at("whole"))[-1]["weights_sha256"] == metrics(at("runs", "long", "small-short-0"))[-1]["weights_sha256"], "a killed sweep has other bits")


def failing(at):
    """A training that diverges is a cell without a number; the others have theirs."""
    table = write(at, "bad", f"model {SMALL}\nsetting good\nsetting wild train.optimizer.lr=1e30\noptions --batch=8 --steps=3\n")
    out, err = at.run("sweep", table, status=1)
    check("small-wild, seed 0: " in err and "not finite" in err and err.count("\n") == 1, f"{err}")
    check(re.search(r"\| small \| good \| 1 \| [\d.]+ % \|", out) and "| small | wild | 0 of 1 | | | | | |" in out, f"{out}")


def mistakes(at):
    for text, says in (("", "names no model"), ("model\n", "bad:1: a model has a name"), ("\nmodle x\n", "bad:2: a line is"), ("model x y\n", "expected KEY=VALUE"),
                       ("model x\nseeds 1 1\n", "bad:2: a seed stands here twice"), ("model x\nseeds one\n", "whole number"),
                       ("model x\nmodel x\n", "has the row x twice"), ("options --seed=1\n", "the sweep's own")):
        at.refuses("sweep", write(at, "bad", text), status=1, says=says)
    at.refuses("sweep", at("nothing"), status=1, says="nothing")
    keys = "; ".join(f"train.epochs={i + 1}" for i in range(40))
    at.refuses("sweep", write(at, "bad", f"model x {keys}\nsetting y {keys}\n"), status=1, says="sets more than 64 things")
    # a training of another's is not replaced unasked
    at.run("train", SMALL, "--steps", 1, "--batch", 4, "--seed", 3, "-q", "--out", "mine/small-3")
    kept = os.stat(at("mine", "small-3", "last.safetensors")).st_mtime_ns
    at.refuses("sweep", write(at, "one", f"model {SMALL}\nseeds 3\noptions --steps=1 --batch=4\n"), "--out", "mine", status=2, says="holds a training that is not of this table")
    check(os.stat(at("mine", "small-3", "last.safetensors")).st_mtime_ns == kept, "a sweep trained over another training")
    at.refuses("sweep", status=2, says="no file given")


with Workspace() as at:
    as_alone(at)
    killed(at)
    failing(at)
    mistakes(at)

#!/usr/bin/env python3
"""The trainings behind docs/results.md: runs what docs/results/trainings.list names, and makes the tables and curves of it.

    bench/trainings.py run NETC [--work DIR] [--most N]     train in the list's order, at the lowest priority
    bench/trainings.py list                                 what is finished and what is not
    bench/trainings.py report                               rewrite the tables of docs/results.md and docs/results/*.svg

A finished training is a file docs/results/NAME.jsonl, meant to be committed: its first line says how it was made (model, what was set,
seed, precision, command, netc's version and commit, date), then comes a line per epoch. `run` never repeats what is finished, and goes on from the
last checkpoint in DIR/NAME after a kill. Standard library only.
"""
import argparse
import glob
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "docs", "results")
PAGE = os.path.join(ROOT, "docs", "results.md")
REPLICATION = {"resnet20": 91.30, "resnet32": 92.16, "resnet110": 92.10, "resnet164": 91.74, "se_resnet20": 91.70, "se_resnet32": 92.44,
               "se_resnet110_shortcut": 86.56, "se_resnet164_shortcut": 55.25}  # best of five, gate on the shortcut


class Training:
    def __init__(self, model, recipe, settings, epochs, seed, precision):
        self.model, self.recipe, self.settings, self.epochs, self.seed = model, recipe, settings, int(epochs), int(seed)
        self.precision = precision
        self.name = f"{model}-{recipe}-{epochs}e-{precision}-s{seed}"

    def file(self, args):
        return os.path.join(args.results, self.name + ".jsonl")

    def options(self, data):
        sets = [f"train.epochs={self.epochs}", *self.settings]
        return [f"--data={data}", f"--seed={self.seed}", f"--precision={self.precision}", *(f"--set={s}" for s in sets)]


def read_list(path):
    """The trainings of a list; a line that cannot be read ends the program with its number."""
    recipes, trainings = {}, []
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            word = line.split()
            if not word or word[0].startswith("#"):
                continue
            if word[0] == "recipe" and len(word) > 2:
                recipes[word[1]] = [s.strip() for s in line.split(None, 2)[2].split(";")]
            elif word[0] == "train" and len(word) == 6 and word[2] in recipes:
                trainings.append(Training(word[1], word[2], recipes[word[2]], *word[3:]))
            else:
                sys.exit(f"{path}:{number}: neither `recipe NAME KEY=VALUE; ...` nor `train MODEL RECIPE EPOCHS SEED PRECISION` of a recipe above")
    return trainings


# ---- run ----
def epoch_lines(path):
    """The lines of metrics.jsonl that end an epoch, the last one of each."""
    lines = {}
    with open(path) as text:
        for line in text:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut short by a kill
            if "train_accuracy" in entry:
                lines[entry["epoch"]] = entry
    return [lines[epoch] for epoch in sorted(lines)]


def commit_of_tree():
    result = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True)
    return result.stdout.strip() or "unknown"


def note_start(directory, commit):
    """A run may be continued by another build: all that took part are kept beside its checkpoints. Returns them."""
    path, commits = os.path.join(directory, "commits"), []
    if os.path.exists(path):
        with open(path) as text:
            commits = text.read().split()
    if commit not in commits:
        commits.append(commit)
    with open(path, "w") as text:
        text.write("\n".join(commits) + "\n")
    return commits


def finish(args, training, directory, commits):
    entries = epoch_lines(os.path.join(directory, "metrics.jsonl"))
    if [entry["epoch"] for entry in entries] != list(range(training.epochs)):
        sys.exit(f"{directory}/metrics.jsonl does not have the epochs 0 to {training.epochs - 1}")
    quoted = " ".join(f"'{o}'" if re.search(r"[\s(\[]", o) else o for o in training.options(args.data))
    head = {"model": training.model, "recipe": training.recipe, "settings": training.settings, "epochs": training.epochs, "seed": training.seed,
            "precision": training.precision, "commits": commits, "date": time.strftime("%Y-%m-%d"),
            "command": f"netc train models/{training.model}.net {quoted}"}
    path = training.file(args)
    with open(path + ".tmp", "w") as out:
        for entry in [head, *entries]:
            out.write(json.dumps(entry) + "\n")
    os.replace(path + ".tmp", path)


def run_one(args, training):
    directory = os.path.join(args.work, training.name)
    os.makedirs(directory, exist_ok=True)
    commits = note_start(directory, args.commit)
    command = [args.netc, "train", os.path.join(args.models, training.model + ".net"), *training.options(args.data), "--log-every=1000", "--out=" + directory]
    command.append("--resume" if os.path.exists(os.path.join(directory, "last.safetensors")) else "--overwrite")
    print(time.strftime("%H:%M"), training.name, "resumed" if command[-1] == "--resume" else "started", flush=True)
    with open(os.path.join(directory, "log"), "a") as log:
        netc = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=lambda: os.nice(19))
        try:
            status = netc.wait()
        except BaseException:  # killed, it has netc leave a checkpoint first
            netc.send_signal(signal.SIGINT)
            netc.wait()
            raise
    if status != 0:
        sys.exit(f"{training.name}: netc ended with status {status}; {directory}/log says why")
    finish(args, training, directory, commits)
    print(time.strftime("%H:%M"), training.name, "finished", flush=True)


def run(args):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.commit = args.commit or commit_of_tree()
    left = [t for t in read_list(args.list) if not os.path.exists(t.file(args))]
    for training in left[:args.most]:
        run_one(args, training)


def show_list(args):
    for training in read_list(args.list):
        print("finished" if os.path.exists(training.file(args)) else "        ", training.name)


# ---- report ----
def read_results(args):
    """Of the files named as Training.name says; zoo.jsonl beside them is another script's."""
    results = []
    for path in sorted(glob.glob(os.path.join(args.results, "*-s*.jsonl"))):
        with open(path) as lines:
            head, *epochs = map(json.loads, lines)
        results.append(dict(head, test=[100 * e["test_accuracy"] for e in epochs], train=[100 * e["train_accuracy"] for e in epochs], name=os.path.basename(path)))
    return results


def welch(a, b):
    """Welch's t of mean(a) - mean(b), and its degrees of freedom (Welch 1947, Satterthwaite); None for fewer than two each."""
    if len(a) < 2 or len(b) < 2:
        return None
    u, v = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if u + v == 0:
        return None
    return ((statistics.mean(a) - statistics.mean(b)) / math.sqrt(u + v),
            (u + v) ** 2 / (u * u / (len(a) - 1) + v * v / (len(b) - 1)))


def groups_of(results):
    """Trainings that differ by their seed alone, in the order model, recipe."""
    groups = {}
    for r in results:
        groups.setdefault((r["model"], r["recipe"], r["epochs"], r["precision"]), []).append(r)
    return dict(sorted(groups.items(), key=lambda item: (item[0][2], item[0][1], int(re.sub(r"\D", "", item[0][0]) or 0), item[0][0])))


def plain_of(model):
    return re.sub("_shortcut$", "", re.sub("^se_", "", model)) if model.startswith("se_") else None


def table(groups):
    rows = ["| model | recipe | epochs | seeds | last epoch, mean ± deviation | best epoch | SE minus plain | Welch's t | replication |", "|---|---|---|---|---|---|---|---|---|"]
    for (model, recipe, epochs, precision), runs in groups.items():
        last = [r["test"][-1] for r in runs]
        mean = f"**{statistics.mean(last):.2f} %**" + (f" ± {statistics.stdev(last):.2f}" if len(last) > 1 else "")
        plain = groups.get((plain_of(model), recipe, epochs, precision), [])
        other = [r["test"][-1] for r in plain]
        gain = f"{statistics.mean(last) - statistics.mean(other):+.2f}" if other else ""
        t = welch(last, other)
        replication = f"{REPLICATION[model]:.2f} %" if model in REPLICATION else ""
        seeds = ", ".join(str(r["seed"]) for r in runs)
        rows.append(f"| {model} | {recipe}{'' if precision == 'f32' else ', ' + precision} | {epochs} | {seeds} | {mean} | {max(max(r['test']) for r in runs):.2f} % | {gain} | "
                    f"{f'{t[0]:.1f} ({t[1]:.1f} d.f.)' if t else ''} | {replication} |")
    return "\n".join(rows)


def commands(groups):
    """The command of each group, for its seeds, with dates and commits."""
    rows = []
    for runs in groups.values():
        what = re.sub(r"--seed=\d+", "--seed=" + "|".join(str(r["seed"]) for r in runs), runs[0]["command"])
        when = ", ".join(sorted({r["date"] for r in runs}))
        commits = ", ".join(sorted({c for r in runs for c in r["commits"]}))
        rows.append(f"    {what}    # {when}, {commits}")
    return "\n".join(rows)


WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 400, 50, 40, 20
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f"]


def curves(title, groups):
    """An SVG of test accuracy by epoch, a line per training, a colour per group. The axis is cut at the 10th percentile, so that the end can be read."""
    epochs = max(len(r["test"]) for runs in groups.values() for r in runs)
    values = sorted(v for runs in groups.values() for r in runs for v in r["test"])
    low = math.floor(values[len(values) // 10] / 5) * 5
    high = min(100, math.ceil(values[-1] / 5) * 5)
    right = WIDTH - 20

    def x(epoch):
        return LEFT + (right - LEFT) * epoch / epochs

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (max(value, low) - low) / max(high - low, 1)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<title>{title}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for value in range(low, high + 1, 5):
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{right}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value} %</text>')
    for epoch in range(0, epochs + 1, max(1, epochs // 10)):
        out.append(f'<text x="{x(epoch):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{epoch}</text>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{title}: test accuracy by epoch</text>')
    for i, (key, runs) in enumerate(groups.items()):
        colour = COLOURS[i % len(COLOURS)]
        for r in runs:
            points = " ".join(f"{x(e + 1):.1f},{y(v):.1f}" for e, v in enumerate(r["test"]))
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
        out.append(f'<text x="{right - 4}" y="{HEIGHT - BOTTOM - 10 - 16 * (len(groups) - 1 - i)}" text-anchor="end" fill="{colour}">{key[0]}, {key[1]}{"" if key[3] == "f32" else ", " + key[3]}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def replace_section(page, text):
    begin, end = "<!-- made by bench/trainings.py report -->", "<!-- end -->"
    if begin not in page or end not in page:
        sys.exit(f"the page has no lines {begin} and {end}")
    return page[:page.index(begin) + len(begin)] + "\n" + text + "\n" + page[page.index(end):]


def report(args):
    groups = groups_of(read_results(args))
    lengths, pictures = sorted({key[2] for key in groups}), []
    for length in lengths:
        name = f"curves-{length}.svg"
        with open(os.path.join(args.results, name), "w") as out:
            out.write(curves(f"{length} epochs", {k: v for k, v in groups.items() if k[2] == length}))
        pictures.append(f"![test accuracy, {length} epochs](results/{name})")
    text = "\n\n".join(["", table(groups), *pictures, "The commands, with dates and the commits of netc that took part:", commands(groups), ""])
    with open(args.page) as page:
        old = page.read()
    with open(args.page, "w") as page:
        page.write(replace_section(old, text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", default=os.path.join(RESULTS, "trainings.list"), help="the list of trainings")
    parser.add_argument("--results", default=RESULTS, help="directory of the finished trainings' metrics and of the curves")
    parser.add_argument("--page", default=PAGE, help="the page whose tables `report` rewrites")
    parser.add_argument("--models", default=os.path.join(ROOT, "models"), help="directory of the models")
    parser.add_argument("--data", default="cifar10", help="as netc train's")
    commands_ = parser.add_subparsers(dest="what", required=True)
    one = commands_.add_parser("run")
    one.add_argument("netc")
    one.add_argument("--work", default=os.path.join(ROOT, "runs", "trainings"), help="directory of checkpoints and logs")
    one.add_argument("--most", type=int, default=None, help="stop after so many trainings")
    one.add_argument("--commit", help="of the netc that trains (default: this tree's)")
    one.set_defaults(call=run)
    commands_.add_parser("list").set_defaults(call=show_list)
    commands_.add_parser("report").set_defaults(call=report)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()

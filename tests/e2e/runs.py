"""Run directories and what is known before compiling: no training is lost without a word, two do not share a directory, a resume says what is
another, and what cannot be is said before a kernel is compiled. netc and an executable that it built."""
import json
import os
import shutil
import signal
import statistics
import subprocess
import time

from e2e import SMALL, Workspace, check, fabricate_cifar10, metrics, read_safetensors, write_safetensors

SHORT = ["--batch", 8, "--steps", 3, "-q"]


def content(directory):
    return {name: open(os.path.join(directory, name), "rb").read() for name in os.listdir(directory)}


def said(at, *args, **options):
    return at.run("train", SMALL, *SHORT, *args, **options)[1]


def names(at):
    """By default a training has a directory of its own; --resume and --overwrite mean the latest."""
    said(at)
    first = content(at("runs", "small-0"))
    check("holds a training; this one goes to runs/small-0-2" in said(at), "the next number was not said")
    said(at, "--seed", 1)
    said(at)
    check(sorted(os.listdir(at("runs"))) == ["small-0", "small-0-2", "small-0-3", "small-1"], f"runs: {os.listdir(at('runs'))}")
    check("resuming runs/small-0-3" in said(at, "--resume", "--steps", 4), "what was resumed was not said")
    check(metrics(at("runs", "small-0-3"))[-1]["step"] == 4, "the latest was not resumed")
    check("overwriting runs/small-0-3" in said(at, "--overwrite"), "what was overwritten was not said")
    check(metrics(at("runs", "small-0-3"))[-1]["step"] == 3, "the latest was not overwritten")
    check(content(at("runs", "small-0")) == first, "the first training was touched")
    out = at("runs", "small-0")
    at.refuses("train", SMALL, *SHORT, "--out", out, status=2, says="holds a training: --resume continues it, --overwrite replaces it")
    at.refuses("train", SMALL, *SHORT, "--out", out, "--init", at("nowhere"), "--overwrite", status=1, says="nowhere")
    check(content(out) == first, "a refused training changed the directory")
    at.run("train", SMALL, *SHORT, "--out", out, "--overwrite", "--steps", 1)
    check("last-1.safetensors" not in os.listdir(out) and metrics(out)[-1]["step"] == 1, "something of the old training is left")


def several_seeds(at):
    """Each seed is the run that it is alone; --resume goes on where some were; netc runs lists what there is, and says how recipes differ."""
    train = ["train", SMALL, *SHORT, "--out", at("seeds")]
    out, _ = at.run(*train, "--seed", "5,6")
    at.run("train", SMALL, *SHORT, "--seed", 6, "--out", at("alone"))
    same = [metrics(directory)[-1] for directory in (at("seeds", "seed-6"), at("alone"))]
    check(same[0]["weights_sha256"] == same[1]["weights_sha256"], "the second of two seeds is not what it is alone")
    tested = [metrics(at("seeds", f"seed-{seed}"))[-1]["test_accuracy"] for seed in (5, 6)]
    mean, deviation = 100 * statistics.mean(tested), 100 * statistics.stdev(tested)
    check(out.strip().split("\n")[-1] == f"2 seeds: test {mean:.2f} % ± {deviation:.2f}", f"mean and deviation of {tested}: {out}")
    at.refuses(*train, "--seed", "5,6", status=2, says="holds a training")
    before = content(at("seeds", "seed-6"))
    at.run(*train, "--seed", "6,7", "--resume")
    after = content(at("seeds", "seed-6"))
    check(all(after[name] == before[name] for name in before if name != "run.jsonl"), "a finished seed was trained again")
    for seeds, says in ("5,5", "has 5 twice"), ("5,", "found ''"), (",".join(map(str, range(65))), "at most 64 seeds"):
        at.refuses("train", SMALL, "--seed", seeds, status=2, says=says)

    listed = json.loads(at.run("runs", at("seeds"), "--json")[0])
    check([(r["seed"], r["step"], r["finished"]) for r in listed] == [(5, 3, False), (6, 3, False), (7, 3, False)], f"listed: {listed}")
    check([r["test_accuracy"] for r in listed[:2]] == tested, f"listed: {listed}")
    at.run("train", SMALL, "-q", "--out", at("whole"), "--set", "train.epochs=0.01", "--set", "train.clip=2")
    out, _ = at.run("runs", at("alone"), at("whole"))
    lines = out.split("\n")
    check(lines[1].endswith("at step 3 of 1250") and lines[2].endswith("  finished"), f"states: {out}")
    differ = [line.split()[0] for line in lines if line and not line.startswith(("run", " ", at("")))]
    check(differ == ["epochs", "clip"] and lines[-2].split()[-1] == "2", f"differences: {out}")
    at.refuses("runs", at("nothing"), status=1, says="there is no training in")
    # the run can be looked at without the .net file: its graphs and recipe are beside it, and give the same bits
    at.run("train", at("seeds", "seed-5", "model.ir"), *SHORT[2:], "--seed", 5, "--out", at("again"))
    check(metrics(at("again"))[-1]["weights_sha256"] == metrics(at("seeds", "seed-5"))[-1]["weights_sha256"], "model.ir trains otherwise")
    with open(at("seeds", "seed-6", "run.jsonl")) as file:
        starts = [json.loads(line) for line in file]
    check([s["resumed"] for s in starts] == [False, True] and starts[1]["command"][-1] == "--resume", f"run.jsonl: {starts}")


def wait_for(path, process):
    until = time.monotonic() + 60
    while not os.path.exists(path) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    check(os.path.exists(path), f"'{path}' did not appear")


def locks(at):
    """The second of two is told of the first; a killed one does not block, and what it left goes."""
    long = ["train", SMALL, "--batch", 8, "--log-every", 1, "--checkpoint-every", 1, "-q", "--eval-every", 0, "--set", "train.epochs=1000"]
    first = at.start(*long, "--out", at("shared"))
    wait_for(at("shared", "last-1.safetensors"), first)
    for way in [], ["--resume"], ["--overwrite"]:
        at.refuses(*long, "--out", at("shared"), *way, status=3, says=f"process {first.pid} is training in")
    at.refuses("train", SMALL, *SHORT, "--resume", "--out", at("shared"), status=3, says=str(first.pid))
    half = at("shared", "last.safetensors.new.tmp-4194303")
    open(half, "w").close()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    at.run(*long, "--out", at("shared"), "--resume", "--steps", 1)
    check(not os.path.exists(half) and not os.path.exists(at("shared", "lock")), f"left: {os.listdir(at('shared'))}")
    default = at.start(*long, "--seed", 9)
    wait_for(at("runs", "small-9", "lock"), default)
    said(at, "--seed", 9)  # begins while the other one still compiles, or trains
    check(metrics(at("runs", "small-9-2"))[-1]["step"] == 3, "the second of two at once has no directory of its own")
    default.send_signal(signal.SIGTERM)
    default.communicate(timeout=60)


def resume(at):
    """docs/cli.md has the table; tests/unit/test_runtime_resume.c goes through all of it."""
    out = at("resume")
    train = ["train", SMALL, "-q", "--out", out, "--batch", 8, "--steps", 5]
    at.run(*train)
    again = [*train, "--resume", "--steps", 6]
    before = content(out)
    for more, says in (["--batch", 4], "batch = 8, not 4"), (["--seed", 3], "seed 0, not 3"), (["--set", "train.shuffle=false"], "shuffle = true"), \
                      (["--set", "train.optimizer=adam"], "optimizer = sgd"), (["--set", "train.ema=0.9"], "average = none, not ema(decay = 0.9"), \
                      (["--set", "width=4"], "has the shape"):
        at.refuses(*again, *more, status=1, says=says)
        check(content(out) == before, f"{more}: a refused resume changed the directory")
    _, err = at.run(*again, "--set", "train.schedule=cosine", "--set", "train.epochs=2", "--set", "train.augment=[]")
    check(err.count("netc: note: resumed with ") == 3 and "schedule = cosine(final_lr = 0, warmup = 0)" in err, f"a changed recipe: {err}")
    _, err = at.run(*again, "--steps", 7, "--set", "train.schedule=cosine", "--set", "train.epochs=2", "--set", "train.augment=[]", "--threads", 1)
    check(not err, f"nothing is another, but netc says: {err}")
    _, err = at.run(*again, "--steps", 8, "--set", "train.schedule=cosine", "--set", "train.epochs=2", "--set", "train.augment=[]", "--precision=bf16")
    check("computed otherwise" in err, f"another precision: {err}")
    at.refuses(*again, "--steps", 5000, status=2, says="beyond the recipe's 1 epochs")
    losses = [m for m in metrics(out) if "train_accuracy" in m]
    check(all(0 < m["loss"] < 10 for m in losses), f"losses of an epoch: {losses}")


def not_compiled(at, *args, status, says):
    kernels = at(".cache", "netc", "kernels")
    shutil.rmtree(kernels, ignore_errors=True)
    at.refuses(*args, status=status, says=says)
    check(not os.path.exists(kernels), f"netc {args} compiled before it said so")


def before_compiling(at):
    w = at("w.safetensors")
    at.run("init", SMALL, "-o", w)
    other, renamed = at("other.safetensors"), at("renamed.safetensors")
    at.run("init", SMALL, "--set", "width=4", "-o", other)
    tensors = read_safetensors(w)
    first = next(iter(tensors))
    write_safetensors(renamed, {"x." + first if name == first else name: t for name, t in tensors.items()})
    hundred = at("hundred.net")
    with open(SMALL) as source, open(hundred, "w") as file:
        file.write(source.read().replace(", 10)", ", 100)"))
    picture = at("a.png")
    open(picture, "w").close()
    out = ["-q", "--out", at("never")]
    for data in ["--data", "cifar10"], ["--data", at("nothing")]:
        not_compiled(at, "train", SMALL, *out, *data, status=1, says=data[1])
        not_compiled(at, "eval", SMALL, "-w", w, *data, status=1, says=data[1])
    for weights, says in (at("none.safetensors"), "none.safetensors"), (other, "has the shape"), (renamed, f"has no tensor '{first}'"):
        not_compiled(at, "train", SMALL, *out, "--init", weights, status=1, says=says)
        not_compiled(at, "eval", SMALL, "-w", weights, status=1, says=says)
        not_compiled(at, "predict", SMALL, "-w", weights, picture, status=1, says=says)
        not_compiled(at, "build", "--infer", SMALL, "-w", weights, "-o", at("lib.a"), status=1, says=says)
    not_compiled(at, "predict", SMALL, "-w", w, "--data", at("nothing"), picture, status=1, says="nothing")
    not_compiled(at, "train", SMALL, *out, "--batch", 20000, status=1, says="a batch of 20000 is more than")
    not_compiled(at, "train", SMALL, *out, "--resume", status=1, says="to resume from")
    at.run("init", hundred, "-o", at("h.safetensors"))
    fabricate_cifar10(at("ten"))
    not_compiled(at, "train", hundred, *out, "--data", at("ten"), status=1, says="100 classes")
    not_compiled(at, "eval", hundred, "-w", at("h.safetensors"), "--data", at("ten"), status=1, says="100 classes")
    check(not os.path.exists(at("never")), "a training that could not begin left its directory")


def not_finite(at):
    """NaN and infinity in weights are named wherever weights are read, and do not stop anything."""
    w, bad = at("w.safetensors"), at("bad.safetensors")
    at.run("init", SMALL, "-o", w)
    tensors = read_safetensors(w)
    name = next(iter(tensors))
    kind, shape, data = tensors[name]
    write_safetensors(bad, dict(tensors, **{name: (kind, shape, b"\x00\x00\xc0\x7f\x00\x00\x80\xff" + data[8:])}))
    says = f"warning: {bad}: 2 of the {len(data) // 4} numbers of tensor '{name}' are NaN or infinite"
    at.run("data", "export", "synthetic", "--count", 1, "--to", at("pictures"))
    picture = at("pictures", os.listdir(at("pictures"))[0])
    for command in ["eval", SMALL, "-w", bad], ["predict", SMALL, "-w", bad, picture], ["build", "--infer", SMALL, "-w", bad, "-o", at("lib.a"), "--cpu=native"]:
        _, err = at.run(*command)
        expected = 2 if command[0] == "eval" else 1  # whose loss is then not finite, which it says too
        check(err.count("warning:") == expected and says in err, f"{command}: {err}")
    _, err = at.run("train", SMALL, *SHORT, "--init", bad, "--out", at("sick"), status=1)
    check(says in err and "not finite" in err and "no checkpoint yet" in err, f"--init of NaN: {err}")


def executable(at):
    at.run("build", SMALL, "--batch", 8, "--cpu=native", "-o", at("exe"))

    def run(*args, status=0):
        done = subprocess.run([at("exe"), *map(str, args)], capture_output=True, text=True, cwd=at("there"), env=at.environment(), timeout=120)
        check(done.returncode == status, f"exe {args}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stderr

    os.mkdir(at("there"))
    run("--steps", 3, "-q")
    check("goes to runs/small-0-2" in run("--steps", 3, "-q"), "an executable's next number was not said")
    check("holds a training" in run("--steps", 3, "-q", "--out", "runs/small-0", status=2), "an executable overwrote a training")
    check("seed 0, not 4" in run("--out", "runs/small-0", "--resume", "--seed", 4, "--steps", 4, status=1), "another seed")
    check("resuming" in run("--resume", "--steps", 4, "-q"), "an executable did not say what it resumes")
    check("note" not in run("--out", "runs/small-0", "--resume", "--steps", 4, "-q"), "nothing is another")
    _, err = at.run("train", SMALL, "--batch", 8, "--steps", 5, "-q", "--resume", "--out", at("there", "runs", "small-0"))
    check(not err, f"netc resumes an executable's training of this CPU: {err}")
    check("has no tensor" in run("--init", at("renamed.safetensors"), status=1), "an executable's --init")
    check("no cifar10 data" in run("eval", "-w", at("w.safetensors"), "--data", "cifar10", status=1), "an executable without data")
    check("NaN or infinite" in run("eval", "-w", at("bad.safetensors")), "an executable's weights")


with Workspace() as at:
    names(at)
    several_seeds(at)
    locks(at)
    resume(at)
    before_compiling(at)
    not_finite(at)
    executable(at)

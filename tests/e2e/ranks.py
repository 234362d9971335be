"""Training on ranks: the bits of one, whatever their number and their MPI; what fails on one ends all. Without a launcher, that processes that
were started together do not train side by side."""
import os
import shutil
import signal
import subprocess
import sys
import time

from e2e import NETC, SMALL, Workspace, check, metrics, read_safetensors, step_losses

# Open MPI will not run as root, nor more ranks than there are processors, unless it is told to.
# Its leaks are its own, of objects that it has unloaded by the end, so that no suppression can name them.
ALLOW = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
LAUNCHERS = [name for name in ("mpirun.openmpi", "mpirun.mpich") if shutil.which(name)]


def start(at, launcher, ranks, *args, program=None):
    command = [launcher, "-n", str(ranks), program or NETC, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(at.environment(), **ALLOW), cwd=at.path)


def together(at, launcher, ranks, *args, status=0, **options):
    process = start(at, launcher, ranks, *args, **options)
    out, err = process.communicate(timeout=300)
    check(process.returncode == status, f"{launcher} -n {ranks} {' '.join(map(str, args))}: exit status {process.returncode}, expected {status}\n{out}{err}")
    return out, err


# What a batch has in common, and what each image has of its own: batch norm, dropout of elements and of images, biases, a gate.
MIXED = """net mixed(width = 8) {
    input image: f32[3, 8, 8]
    x = relu(batch_norm(conv2d(image, width, 3)))
    y = dropout(batch_norm(conv2d(x, width, 3, bias = false)), 0.3)
    x = relu(x + y * sigmoid(dense(global_avg_pool(y), width)))
    output dense(dropout(relu(dense(flatten(x), 16)), 0.5), 5)
}
train {
    data = synthetic
    optimizer = sgd(lr = 0.01)
    epochs = 1
}
"""


def not_joined(at):
    """As mpirun, mpiexec and srun mark the processes that they start, but nobody answers; alone in a job, and in a batch script, one may train."""
    train = ["train", MIXED_NET, "--batch", 24, "--steps", 1, "-q"]
    kept, os.environ["NETC_MPI"] = os.environ["NETC_MPI"], at.path  # where there is no object of MPI's
    for library in "openmpi", "mpich":
        with open(at(f"netc_{library}.so"), "w") as file:
            file.write("not one")
    for name in "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS":
        os.environ[name] = "3"
        at.refuses(*train, "--out", at("none"), status=2, says=f"3 processes were started to train together ({name} says so), which this program cannot do")
        check(not os.path.exists(at("none")), f"{name}: a directory was made")
        os.environ[name] = "1"
        at.run(*train, "--out", at(name))
        del os.environ[name]
    os.environ["SLURM_NTASKS"] = "3"
    at.run(*train, "--out", at("script"))
    del os.environ["SLURM_NTASKS"]
    os.environ["NETC_MPI"] = kept


def outcome(directory):
    return read_safetensors(os.path.join(directory, "last.safetensors")), step_losses(directory), [m["weights_sha256"] for m in metrics(directory) if "weights_sha256" in m]


def same_bits(at, steps):
    """Of one process, and of ranks: of a small net, or, in more steps than the suite takes, of a ResNet too."""
    forms = [("mixed", [MIXED_NET]), ("bf16", [MIXED_NET, "--precision", "bf16"]), ("wide", [MIXED_NET, "--set", "width=32"])]  # wide: several gradients on their way
    if steps > 8:
        forms += [("plain", [SMALL]), ("se", [SMALL, "--set", "se=true"]), ("se-bf16", [SMALL, "--set", "se=true", "--precision", "bf16"])]
    for form, model in forms:
        train = ["train", *model, "--batch", 24, "--seed", 5, "--steps", steps, "--log-every", 1, "--set", "train.shards=4"]
        at.run(*train, "--out", at(form, "1"), "--threads", 2)
        reference = outcome(at(form, "1"))
        check(len(reference[1]) == steps, "not every step was logged")
        for ranks in (2, 3, 4):
            launcher, threads = LAUNCHERS[ranks % len(LAUNCHERS)], 4 - ranks or 1
            out, _ = together(at, launcher, ranks, *train, "--out", at(form, str(ranks)), "--threads", threads)
            check(f"{ranks} ranks x {threads} thread{'s' * (threads > 1)}" in out.splitlines()[0], f"the first line does not say how many train: {out}")
            check(outcome(at(form, str(ranks))) == reference, f"{form}: {ranks} ranks of {launcher} have other bits than one process")
            last = metrics(at(form, str(ranks)))[-1]
            check((last["ranks"], last["threads"]) == (ranks, threads), "metrics do not say how many trained")


def sent_by(directory):
    """Bytes of rank 0 in steps 2 to 4."""
    at = {m["step"]: m["bytes_sent"] for m in reversed(metrics(directory))}  # lines of steps stand before that of the epoch
    return at[4] - at[1]


def near(at):
    """Ranks of one machine add gradients where they stand; those that cannot reach each other's memory send them, with the same bits, and so do
    ranks of which only some can."""
    train = ["train", MIXED_NET, "--set", "width=64", "--batch", "24", "--seed", "5", "--steps", "4", "--log-every", "1", "-q", "--set", "train.shards=6"]
    at.run(*train, "--out", at("near-alone"))
    for launcher in LAUNCHERS:
        reached, apart, mixed = (at(f"{kind}-{launcher}") for kind in ("near", "apart", "mixed"))
        together(at, launcher, 4, *train, "--out", reached)
        os.environ["NETC_RANK_MEMORY"] = "0"
        together(at, launcher, 4, *train, "--out", apart)
        del os.environ["NETC_RANK_MEMORY"]
        command = [launcher, "-n", "2", "env", "NETC_RANK_MEMORY=0", NETC, *train, "--out", mixed, ":", "-n", "2", NETC, *train, "--out", mixed]
        subprocess.run(command, capture_output=True, check=True, env=dict(at.environment(), **ALLOW), cwd=at.path, timeout=300)
        for out in reached, apart, mixed:
            check(outcome(out) == outcome(at("near-alone")), f"{out}: other bits than one process")
        check(4 * sent_by(reached) < sent_by(apart), f"{launcher}: near ranks sent {sent_by(reached)} bytes, others {sent_by(apart)}")
        check(sent_by(mixed) == sent_by(apart), f"{launcher}: a rank that reaches nobody sent {sent_by(mixed)} bytes rather than {sent_by(apart)}")


def whole_batch(at):
    """Shards are the same training as a whole batch, to rounding."""
    losses = []
    for shards in (1, 4):
        at.run("train", MIXED_NET, "--batch", 24, "--steps", 4, "--log-every", 1, "-q", "--out", at(f"cut{shards}"), "--set", f"train.shards={shards}")
        losses.append(step_losses(at(f"cut{shards}")))
    whole, cut = losses
    check(all(abs(whole[s] - cut[s]) < 1e-5 * whole[s] for s in whole), f"losses of a whole batch {whole}, in shards {cut}")
    hits = [[m["train_accuracy"] for m in metrics(at(f"cut{shards}")) if "train_accuracy" in m] for shards in (1, 4)]
    check(hits[0] == hits[1], f"accuracy in training {hits[0]} of a whole batch, {hits[1]} in shards")
    at.run("eval", MIXED_NET, "--set", "train.shards=4", "--batch", 7, "-w", at("cut4", "last.safetensors"))  # inference knows no shards
    for shards in (1, 4):  # kernels of shards and of a whole batch share one cache
        at.run("verify", MIXED_NET, "--compiled", "--mode=train", "--set", f"train.shards={shards}")
    at.refuses("train", MIXED_NET, "--batch", 24, "--set", "train.shards=5", "-q", status=1, says="a batch of 24 images cannot be cut into 5 equal shards")


def resumed(at):
    """By another number of ranks, after a signal to all."""
    train = ["train", MIXED_NET, "--batch", 24, "--seed", 5, "--log-every", 1, "--set", "train.shards=4", "--eval-every", 0, "-q"]
    at.run(*train, "--out", at("alone"), "--steps", 9)
    together(at, LAUNCHERS[0], 2, *train, "--out", at("resumed"), "--steps", 3)
    together(at, LAUNCHERS[-1], 3, *train, "--out", at("resumed"), "--steps", 6, "--resume")
    at.run(*train, "--out", at("resumed"), "--steps", 9, "--resume")
    check(outcome(at("resumed"))[:2] == outcome(at("alone"))[:2], "a training that ranks of other numbers continued has other bits")


def refused(at):
    train = ["train", MIXED_NET, "--batch", 24, "--steps", 1, "-q", "--out", at("refused")]
    _, err = together(at, LAUNCHERS[0], 2, *train, status=2)
    check(err.count("2 ranks cannot share a batch that is cut into 1") == 1, f"more ranks than shards: {err}")
    _, err = together(at, LAUNCHERS[0], 2, *train, "--set", "train.shards=2", "--data", at("nothing"), status=1)
    check(err.count("error:") == 1 and "nothing" in err, f"data that all lack: {err}")
    check(not os.path.exists(at("refused")), "a refused training left its directory")


def disagree(at):
    """Ranks of other seeds, of other nets: nothing is trained, and the rank is named."""
    command = [LAUNCHERS[0]]
    for seed in (1, 2):
        command += ["-n", "1", NETC, "train", MIXED_NET, "--batch", "24", "--steps", "1", "-q", "--set", "train.shards=4", "--out", at("disagree"), "--seed", str(seed), ":"]
    process = subprocess.run(command[:-1], capture_output=True, text=True, env=dict(at.environment(), **ALLOW), cwd=at.path, timeout=300)
    check(process.returncode == 1, f"ranks that disagree ended with {process.returncode}: {process.stderr}")
    check("rank 1 (" in process.stderr and "disagrees: the options of training is '--seed 2" in process.stderr, f"who disagrees, and in what: {process.stderr}")
    check(not os.path.exists(at("disagree", "last.safetensors")), "ranks that disagree have trained")


def executables(at):
    """What netc build made is started in the same way, has the same bits, and each resumes the other's checkpoints."""
    options = ["--batch", 24, "--set", "train.shards=4"]
    at.run("build", MIXED_NET, *options, "--cpu", "native", "-o", at("train_mixed"))
    train = ["--seed", 5, "--log-every", 1, "--eval-every", 0, "-q"]
    at.run("train", MIXED_NET, *options, *train, "--steps", 6, "--out", at("by-netc"))
    together(at, LAUNCHERS[0], 3, "train", *train, "--steps", 4, "--out", at("by-itself"), program=at("train_mixed"))
    together(at, LAUNCHERS[-1], 2, "train", MIXED_NET, *options, *train, "--steps", 5, "--out", at("by-itself"), "--resume")
    together(at, LAUNCHERS[-1], 4, "train", *train, "--steps", 6, "--out", at("by-itself"), "--resume", program=at("train_mixed"))
    check(outcome(at("by-itself"))[:2] == outcome(at("by-netc"))[:2], "an executable on ranks has other bits than netc alone")


def process_of(at, rank):
    """The process that is this rank of a training in our directory."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as words, open(f"/proc/{pid}/environ", "rb") as environment:
                command, variables = words.read(), environment.read().split(b"\0")
        except OSError:
            continue
        if command.startswith(NETC.encode() + b"\0") and at.path.encode() in command and any(f"{name}={rank}".encode() in variables for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK")):
            return int(pid)
    return None


def lost(at, times):
    """A rank that is killed, or hangs, ends all within bounded time, and what was saved goes on with the bits of an undisturbed training."""
    os.environ["NETC_RANK_TIMEOUT"] = "3"
    train = ["train", MIXED_NET, "--batch", 24, "--seed", 5, "--set", "train.shards=4", "--eval-every", 0, "-q", "--set", "train.epochs=1000"]
    for i in range(times):
        launcher, rank, how = LAUNCHERS[i % len(LAUNCHERS)], i % 3, signal.SIGSTOP if i % 4 == 1 else signal.SIGKILL
        out = at("lost", str(i))
        process = start(at, launcher, 3, *train, "--checkpoint-every", 2, "--out", out)
        until = time.monotonic() + 100
        while not os.path.exists(os.path.join(out, "last-1.safetensors")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        pid = process_of(at, rank)
        check(pid is not None, f"there is no rank {rank} of {launcher}")
        began = time.monotonic()
        os.kill(pid, how)
        try:
            _, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            sys.exit(f"FAILED: {launcher} did not end after rank {rank} got {how.name}")
        check(process.returncode != 0, f"{launcher} ended with 0 after rank {rank} got {how.name}")
        if how == signal.SIGSTOP:
            check(f"rank {rank} (" in err and "has not answered for 3 s" in err, f"a rank that hangs is not named: {err}")
        print(f"{launcher}: rank {rank} got {how.name}, all ended after {time.monotonic() - began:.1f} s with {process.returncode}")
        last = metrics(out)[-1]["step"] if os.path.getsize(os.path.join(out, "metrics.jsonl")) else 0
        steps = last + 50
        at.run(*train, "--out", out, "--resume", "--steps", steps, "--checkpoint-every", 1000)
        at.run(*train, "--out", at("undisturbed", str(i)), "--steps", steps, "--checkpoint-every", 1000)
        check(outcome(out)[0] == outcome(at("undisturbed", str(i)))[0], f"after {how.name} of rank {rank} a resumed training has other bits")
    del os.environ["NETC_RANK_TIMEOUT"]


with Workspace() as at:
    os.environ["NETC_MPI"] = os.path.join(os.path.dirname(NETC), "..", "lib", "netc")
    MIXED_NET = at("mixed.net")
    with open(MIXED_NET, "w") as file:
        file.write(MIXED)
    not_joined(at)
    whole_batch(at)
    if LAUNCHERS:
        same_bits(at, int(sys.argv[2]) if sys.argv[2:3] and sys.argv[2].isdigit() else 8)
        near(at)
        resumed(at)
        refused(at)
        disagree(at)
        if "sanitized" not in sys.argv:  # whose archive needs the sanitizer's runtime
            executables(at)
        lost(at, int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    else:
        print("no mpirun: nothing was tried on ranks")

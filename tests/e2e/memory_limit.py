"""--memory-limit and --recompute: a step's activations fit, the losses are those of a step that keeps everything, and they do not depend
on threads or on an interruption. Limits that cannot be met and sizes that are none are said."""
import json
import os

from e2e import SMALL, Workspace, check, read_safetensors, recomputable, step_losses

TRAIN = ["--data", "synthetic", "--log-every", 1, "--steps", 6, "-q"]


ROW = """net row() {
    input image: f32[3, 16, 16]
    x = image
    for i in 0..8 { x = relu(batch_norm(conv2d(x, 16, 3, bias = false))) }
    output dense(global_avg_pool(x), 10)
}
"""


def measured(at, *options, model="resnet20"):
    out, _ = at.run("bench", model, "--mode=train", "--batch", 16, "--repeats", 1, "--json", *options)
    return json.loads(out)


def arena(at, *options, model="resnet20"):
    return measured(at, *options, model=model)["arena_bytes"]


def weights(directory):
    return read_safetensors(os.path.join(directory, "last.safetensors"))


def needed(err):
    """The least that the message says a step needs, in MB."""
    return float(err.split("at least ")[1].split(" MB")[0])


with Workspace() as at:
    kept, least = arena(at), arena(at, "--recompute", recomputable(at, "resnet20"))
    print(f"kept {kept}, least {least} bytes")
    # Of what is kept by default, which computes some again: code of 8 lanes has 0.71 in f32, 0.75 in bf16.
    wide = "16 lanes" in measured(at)["target"]
    f32, half = (0.6, 0.7) if wide else (0.72, 0.8)
    check(least < f32 * kept, "computing everything again saves too little")
    for share in (0.9, 0.75, f32):
        limit = int(share * kept)
        found = arena(at, "--memory-limit", limit)
        check(found <= limit, f"limit {limit}, {found} bytes")
        check(found > 0.8 * limit, f"limit {limit}, but only {found} bytes are used")
    check(arena(at, "--memory-limit", "10G") == kept, "a limit that nothing exceeds must change nothing")
    size = f"{kept / 2**20 + 1e-3:.3f}"  # in Mi just enough, in M not
    check(arena(at, "--memory-limit", size + "Mi") == kept, f"{size}Mi are {kept} bytes")
    check(arena(at, "--memory-limit", size + "M") <= 1e6 * float(size), f"{size}M are fewer than {kept} bytes")
    bf16 = arena(at, "--memory-limit", "1Gi", "--precision=bf16")
    check(bf16 < 0.6 * kept and arena(at, "--precision=bf16", "--memory-limit", int(half * bf16)) <= half * bf16, "bf16 does not fit")

    _, err = at.run("train", "resnet20", "--batch", 16, "--memory-limit", "1M", *TRAIN, status=1)
    check(0 < needed(err) <= 1e-6 * least + 0.1 and len(err.strip().split("\n")) == 1, f"not one sentence that says the least:\n{err}")
    at.run("bench", "resnet20", "--mode=train", "--batch", 16, "--repeats", 1, "--memory-limit", f"{needed(err) + 0.1}M")

    # A net without blocks, where to compute everything again does not keep least: what the message says is needed can be had.
    with open(at("row.net"), "w") as file:
        file.write(ROW)
    row = {n: arena(at, "--recompute", n, model=at("row.net")) for n in (0, 4, 5, 6, 7)}
    _, err = at.run("bench", at("row.net"), "--mode=train", "--memory-limit", "10k", "--batch", 16, status=1)
    check(min(row.values()) < min(row[0], row[7]), f"not the net for this: {row}")
    check(needed(err) <= 1e-6 * min(row.values()) + 0.1, f"{row}, but {err}")
    check(arena(at, "--memory-limit", min(row.values()), model=at("row.net")) <= min(row.values()), "the least does not fit")

    for bad in ("much", "12Q", "-5M", "0", "1e400", "nan", "5Mx", "0x10M"):
        at.refuses("train", SMALL, "--memory-limit=" + bad, *TRAIN, status=2, says="needs a size like")
    at.refuses("bench", SMALL, "--mode=infer", "--memory-limit", "much", status=2, says="needs a size like")
    at.refuses("train", SMALL, "--memory-limit", "1G", "--recompute", 2, *TRAIN, status=2, says="give one of them")
    check(not os.path.exists(at("runs")), "a refused training must leave nothing")

    # The same training, but for rounding; and with the same number the same bits.
    losses, most = {}, recomputable(at, SMALL)
    for name, options in (("kept", []), ("all", ["--recompute", most]), ("four", ["--recompute", most, "--threads", 4])):
        at.run("train", SMALL, *TRAIN, "--threads", 1, "--out", at(name), *options)
        losses[name] = step_losses(at(name))
    check(losses["all"] == losses["four"] and weights(at("all")) == weights(at("four")), "threads change bits")
    check(all(abs(a - b) <= 1e-4 * abs(a) for a, b in zip(losses["kept"].values(), losses["all"].values())), f"other losses: {losses}")

    at.run("train", SMALL, *TRAIN[:-3], "--steps", 3, "-q", "--out", at("resumed"), "--recompute", most)
    at.run("train", SMALL, *TRAIN, "--out", at("resumed"), "--recompute", most, "--resume")
    check(weights(at("resumed")) == weights(at("all")) and step_losses(at("resumed")) == losses["all"], "an interruption changes bits")

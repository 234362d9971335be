"""netc bench: every kernel has a kind, the kinds add up to the kernels, and --mode times one thing only; --compare talks with peers,
good ones and bad ones."""
import importlib.util
import json
import os
import platform
import subprocess
import sys

from e2e import HERE, NETC, SMALL, Workspace, check


def bench(at, *more):
    return json.loads(at.run("bench", SMALL, "--set", "se=true", "--batch", 8, "--repeats", 1, "--json", *more)[0])


with Workspace() as at:
    both = bench(at)
    for mode in ("train", "infer"):
        kernels, kinds = both[mode]["kernels"], both[mode]["kinds"]
        check("other" not in kinds, f"{mode}: kernels of no known kind among {[k['name'] for k in kernels]}")
        total, sum_of_kinds = sum(k["ms"] for k in kernels), sum(kinds.values())
        check(abs(total - sum_of_kinds) <= 1e-3 * total, f"{mode}: kinds take {sum_of_kinds} ms, kernels {total} ms")
    for kind in ("convolution, forward", "weight reduction across pieces", "optimiser", "loss"):
        check(kind in both["train"]["kinds"], f"no {kind} in {both['train']['kinds']}")
    for mode, other in (("train", "infer"), ("infer", "train")):
        one = bench(at, f"--mode={mode}")
        check(mode in one and other not in one, f"--mode={mode} timed {sorted(one)}")
    # the peak is that of vectors like the code's: of four lanes and no fused multiply-add a fraction of AVX2's and AVX-512's
    check(f" {both['peak_lanes']} lanes" in both["target"], f"a peak of {both['peak_lanes']} lanes for {both['target']}")
    if platform.machine() == "x86_64":
        least = bench(at, "--cpu=x86-64", "--mode=infer")
        check(least["peak_lanes"] == 4, least["peak_lanes"])
        wider = both["peak_lanes"] > 4
        check(not wider or least["peak_gflops_one"] < 0.6 * both["peak_gflops_one"], f"{least['peak_gflops_one']} of {both['peak_gflops_one']} GFLOP/s")
    print(f"kinds of training: {both['train']['kinds']}")


# ---- --compare, with a peer that computes nothing (fake_peer.py) ----

BENCH = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench")
FAKE = os.path.join(HERE, "fake_peer.py")
SMALL_AND_FAKE = ["bench", SMALL, "--batch", 8, "--compare", sys.executable, "--peer", FAKE, "--seconds", 0]


def bare_python(at):
    """An interpreter that sees no installed package."""
    path = at("python-bare")
    with open(path, "w") as file:
        file.write(f'#!/bin/sh\nexec "{sys.executable}" -S -s "$@"\n')
    os.chmod(path, 0o755)
    return path


def comparison(at, *more):
    return json.loads(at.run(*SMALL_AND_FAKE, "--json", *more)[0])


with Workspace() as at:
    result = comparison(at, "--peer-modes=fast,slow", "--rounds", 2, "--threads", 1)
    check(result["peer"] == "fake 1.0" and result["threads"] == 1 and result["batch"] == 8, f"header {result}")
    check([m["mode"] for m in result["modes"]] == ["fast", "slow"], f"modes {result['modes']}")
    for mode, slower in zip(result["modes"], (1, 2)):
        check(mode["memory_bytes"] == 1000000000, f"memory {mode['memory_bytes']}")
        check(mode["loss_difference"] is None and mode["score_difference"] is None, f"the fake peer agrees: {mode}")
        for what, ms in (("train", 1000), ("infer", 500)):
            check(mode[what]["peer"] == [8000 / ms / slower] * 2, f"{mode['mode']} {what}: peer's rates {mode[what]['peer']}")
            check(len(mode[what]["netc"]) == 2 and min(mode[what]["netc"]) > 0, f"{mode['mode']} {what}: netc's rates {mode[what]['netc']}")
    check(1e5 < result["memory_bytes"] < 1e9, f"netc's memory {result['memory_bytes']}")
    one = comparison(at, "--peer-modes=fast", "--mode=infer", "--rounds", 1)["modes"][0]
    check("infer" in one and "train" not in one, f"--mode=infer compared {one}")
    one = comparison(at, "--peer-modes=frozen", "--mode=infer", "--rounds", 1)["modes"]
    check([m["mode"] for m in one] == ["frozen"], f"a mode of inference alone: {one}")
    at.refuses(*SMALL_AND_FAKE, "--peer-modes=frozen", status=1, says="fake 1.0 has no mode 'frozen'")
    out = at.run(*SMALL_AND_FAKE, "--json", "--peer-modes=fast,errs,slow", "--rounds", 1, status=1)[0]
    check([m["mode"] for m in json.loads(out)["modes"]] == ["fast", "slow"], f"beside a mode that errs: {out}")
    one = comparison(at, "--precision=bf16", "--rounds", 1)["modes"]
    check([m["mode"] for m in one] == ["fast-bf16"], f"--precision=bf16 compared {one}")
    text = at.run(*SMALL_AND_FAKE, "--peer-modes=slow,fast")[0]
    check("x the best mode, fast\n" in text and "memory" in text, f"no best mode, or no memory, in\n{text}")

    for mode, says in (("dies", "ended without an answer"), ("lies", "20601 parameters, netc one of 20600"), ("babbles", "but said: hello"),
                       ("errs", "computes another net: the first 3 losses differ"), ("stops", "differ"),
                       ("none", "fake 1.0 has no mode 'none'; it has: fast slow")):
        at.refuses(*SMALL_AND_FAKE, "--set", "se=true", "--json", "--peer-modes", mode, status=1, says=says)
    at.refuses("bench", SMALL, "--compare", "no-such-python", status=1, says="cannot run the interpreter 'no-such-python'")
    at.refuses("bench", SMALL, "--compare", sys.executable, "--peer=./none.py", status=1, says="cannot open the peer's script './none.py'")
    for name in ("torch", "jax", "tf", "onnxruntime"):
        at.refuses("bench", SMALL, "--compare", bare_python(at), "--peer", name, status=1, says="cannot import")
    with open(at("broken_peer.py"), "w") as file:
        file.write("import sys\nsys.path.insert(0, %r)\nimport peer\n\ndef load():\n    raise RuntimeError('no such device')\n\npeer.main(load)\n" % BENCH)
    at.refuses("bench", SMALL, "--compare", sys.executable, "--peer", at("broken_peer.py"), status=1, says="broken_peer.py fails: RuntimeError: no such device")
    usage = at.run("bench", SMALL, "--compare", sys.executable, "--peer=mxnet", status=2)[1]
    check("there is no peer 'mxnet'" in usage, f"usage error {usage}")

    if importlib.util.find_spec("torch"):
        real = json.loads(at.run("bench", SMALL, "--set", "se=true", "--batch", 8, "--compare", sys.executable, "--peer-modes=eager", "--seconds", 0,
                                 "--rounds", 1, "--threads", 1, "--json")[0])
        check(real["peer"].startswith("torch ") and real["modes"][0]["train"]["peer"][0] > 0, f"with PyTorch: {real}")
        print(f"with PyTorch: {real['modes']}")


# ---- bench/ranks.py: its arithmetic, on numbers that are easily added, and what it measures ----

RANKS = os.path.join(BENCH, "ranks.py")
spec = importlib.util.spec_from_file_location("ranks", RANKS)
ranks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ranks)


def near(a, b):
    return abs(a - b) < 1e-9 * b


def profile(*calls):
    return {"model": "made", "batch": 1, "calls": calls, "behind": 1.0}


waited, hidden = profile([10, 1000, False], [10, 0, False]), profile([10, 40000, True], [10, 0, False], [10, 0, False])
check(ranks.bytes_sent(waited, 3) == 2 * (1000 + ranks.AGREEMENT) and ranks.bytes_sent(hidden, 4) == 3 * ranks.AGREEMENT + 60000, "bytes of a step")
check(near(ranks.step_time(waited, 1, 1000), 21) and near(ranks.step_time(hidden, 1, 1000), 31), "a rank alone sends nothing")
check(near(ranks.step_time(waited, 3, 1000, 0.5), 21 + (2000 + 2 * ranks.AGREEMENT) / 1000 + 1), "a sum that is waited for takes its bytes and its latency")
check(near(ranks.step_time(hidden, 2, 4000, 0), 31 + ranks.AGREEMENT / 4000), "two halves of 20 kB hide behind two calls of 10 ms")
check(near(ranks.step_time(hidden, 2, 500, 0), 31 + 60 + ranks.AGREEMENT / 500), "of 80 ms of a narrow line 20 are hidden")
with Workspace() as at:
    subprocess.run([sys.executable, RANKS, "measure", NETC, "--models", SMALL, "--batch", "8", "--repeats", "1", "-o", at("ranks.json")], check=True)
    with open(at("ranks.json")) as file:
        measured = json.load(file)[0]
    check(any(size for _, size, _ in measured["calls"]) and measured["behind"] > 0, f"no sums, or no optimiser, in {measured}")
    text = subprocess.run([sys.executable, RANKS, "table", at("ranks.json")], check=True, stdout=subprocess.PIPE, text=True).stdout
    check(text.count("Gbit/s |") == 3, text)

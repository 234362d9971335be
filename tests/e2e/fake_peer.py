"""A peer for tests/e2e/bench.py: speaks as bench/peer.py says, and computes nothing. Its modes are what it can do wrong."""
import json
import signal
import sys

MODES = "fast slow fast-bf16 dies lies babbles errs stops"

if "--list" in sys.argv:
    print(f"peer fake 1.0\nmodes {MODES}{' frozen' if '--what=infer' in sys.argv else ''}", flush=True)
    sys.exit()
mode = next(a.split("=")[1] for a in sys.argv if a.startswith("--mode="))
if mode == "dies":
    sys.exit(1)
job = json.loads(sys.stdin.readline())
graph = json.loads("".join(iter(sys.stdin.readline, "go\n")))
parameters = 0
for value in graph["values"]:
    if value["op"] == "param":
        count = 1
        for d in value["type"]["shape"]:
            count *= d
        parameters += count
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # netc does not listen any more to one that it has found out
print("hello" if mode == "babbles" else f"ready {parameters + (mode == 'lies')} 1000000000", flush=True)
what = next(a.split("=")[1] for a in sys.argv if a.startswith("--what="))
for kind, wanted, count in ("losses", what != "infer", job["steps"]), ("scores", what != "train", job["scores"]):
    if wanted:
        print(kind, " ".join(["1e9"] * count) if mode == "errs" else "1" if mode == "stops" else "unknown", flush=True)
for line in sys.stdin:
    what, seconds = line.split()
    print("ms", {"train": 1000, "infer": 500}[what] * (2 if mode == "slow" else 1), flush=True)

"""netc bench: every kernel has a kind, the kinds add up to the kernels, and --mode times one thing only."""
import json

from e2e import SMALL, Workspace, check


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
    print(f"kinds of training: {both['train']['kinds']}")

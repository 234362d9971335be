"""netc lrfind: a training whose rate rises, from the weights and batches that netc train begins with; what it suggests is what fastai's rules say of its curve."""
import json
import math

from e2e import SMALL, Workspace, check, step_losses


def valley(lrs, losses):
    """Half the second third of the longest falling subsequence, whose first place counts as the one before it."""
    length = []
    for i, loss in enumerate(losses):
        length.append(1 + max((length[j] for j in range(i) if losses[j] > loss), default=0))
    longest = max(length)
    return lrs[length.index(longest) - longest + longest // 3 + int(longest / 3 / 2)]


def steep(lrs, losses):
    grads = [(losses[i + 1] - losses[i]) / (math.log(lrs[i + 1]) - math.log(lrs[i])) for i in range(len(lrs) - 1)]
    return lrs[min(range(len(grads)), key=grads.__getitem__)]


def find(at, *args):
    return json.loads(at.run("lrfind", SMALL, "--json", *args)[0])


with Workspace() as at:
    found = find(at, "--steps", 60, "--seed", 4, "--from", "1e-4", "--to", "20", "--threads", 1)
    check(found == find(at, "--steps", 60, "--seed", 4, "--from", "1e-4", "--to", "20", "--threads", 2), "threads change the curve")
    lrs, losses, smoothed = found["lr"], found["loss"], found["smoothed"]
    check(len(lrs) == len(losses) == len(smoothed) == found["steps"] <= 60 and lrs[0] == 1e-4, found)
    check(all(math.isclose(b / a, 2e5 ** (1 / 59), rel_tol=1e-6) for a, b in zip(lrs, lrs[1:])), lrs)
    mean = 0
    for i, loss in enumerate(losses):
        mean = 0.98 * mean + 0.02 * loss
        check(math.isclose(smoothed[i], mean / (1 - 0.98 ** (i + 1)), rel_tol=1e-6), f"step {i}: {smoothed[i]}")
    for name, want in (("valley", valley(lrs[6:-5], smoothed[6:-5])), ("steepest", steep(lrs[6:-5], smoothed[6:-5])),
                       ("minimum_tenth", lrs[6:-5][smoothed[6:-5].index(min(smoothed[6:-5]))] / 10)):
        check(math.isclose(found[name], want, rel_tol=1e-6), f"{name}: {found[name]}, fastai {want}")

    # The first losses are those of a training that begins so: the rate hardly moves the weights yet.
    at.run("train", SMALL, "--seed", 4, "--steps", 2, "--log-every", 1, "--eval-every", 0, "--set", "train.optimizer.lr=1e-4", "--out", at("run"))
    check(all(math.isclose(step_losses(at("run"))[i + 1], losses[i], rel_tol=1e-3) for i in range(2)) and step_losses(at("run"))[1] == losses[0], "it begins otherwise")
    at.run("train", SMALL, "--seed", 9, "--steps", 40, "-q", "--eval-every", 0, "--out", at("trained"))
    tuned = find(at, "--steps", 20, "--seed", 4, "--init", at("trained", "last.safetensors"), "--set", "train.accumulate=2", "--set", "train.mix=[mixup(1)]")
    at.run("train", SMALL, "--seed", 4, "--steps", 1, "--log-every", 1, "--eval-every", 0, "--set", "train.accumulate=2", "--set", "train.mix=[mixup(1)]",
           "--init", at("trained", "last.safetensors"), "--out", at("tuned"))
    check(math.isclose(tuned["loss"][0], step_losses(at("tuned"))[1], rel_tol=1e-6) and tuned["steps"] == 20, (tuned["loss"][0], step_losses(at("tuned"))))
    out, _ = at.run("lrfind", SMALL, "--steps", 30)
    check("<- valley" in out and "suggestion: --set train.optimizer.lr=" in out, out)

    diverging = ["lrfind", SMALL, "--from", "1e20", "--to", "1e30"]
    at.refuses(*diverging, status=1, says="begin below it")
    for args, says in ((["--from", "0"], "a learning rate above 0"), (["--from", "2", "--to", "1"], "'--from' is below '--to'"), (["--steps", "3"], "from 20 to 100000"),
                       (["--init-partial"], "is about '--init'"), (["--to", "x"], "found 'x'")):
        at.refuses("lrfind", SMALL, *args, status=2, says=says)

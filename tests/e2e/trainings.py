"""bench/trainings.py: runs a list in order, never repeats what is finished, goes on after a kill, and makes tables and curves of it."""
import filecmp
import glob
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import xml.dom.minidom

from e2e import HERE, NETC, SMALL, Workspace, check

ROOT = os.path.dirname(os.path.dirname(HERE))
SCRIPT = os.path.join(ROOT, "bench", "trainings.py")



def running_with(word):
    """Is there a process whose arguments have the word?"""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path) as file:
                if word in file.read():
                    return True
        except OSError:
            pass  # it has ended
    return False


with Workspace() as at:
    os.makedirs(at("results"))
    os.makedirs(at("models"))
    with open(SMALL) as file:
        text = file.read()
    for name, se in (("tiny8", "false"), ("se_tiny8", "true")):
        with open(at("models", name + ".net"), "w") as file:
            file.write(text.replace("se = false", f"se = {se}"))
    with open(at("list"), "w") as file:
        file.write("# two seeds of each\nrecipe quick train.optimizer=sgd(lr = 0.05, momentum = 0.9); train.schedule=cosine(warmup = 0.5)\n")
        for seed in (1, 2):
            file.write(f"train tiny8 quick 2 {seed} f32\ntrain se_tiny8 quick 2 {seed} f32\n")
    with open(at("page.md"), "w") as file:
        file.write("before\n<!-- made by bench/trainings.py report -->\nold\n<!-- end -->\nafter\n")
    common = [sys.executable, SCRIPT, "--list", at("list"), "--results", at("results"), "--page", at("page.md"), "--models", at("models"), "--data", "synthetic"]

    def script(*args):
        return subprocess.run([*common, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=at.environment())

    # killed in the middle of a training, it goes on from the checkpoint
    first = "tiny8-quick-2e-f32-s1"
    process = subprocess.Popen([*common, "run", NETC, "--work", at("work"), "--most", "1"], env=at.environment(), start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not os.path.exists(at("work", first, "last.safetensors")) and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # asked to end, it has netc end first, with a checkpoint
    process = subprocess.Popen([*common, "run", NETC, "--work", at("work"), "--commit", "abc"], env=at.environment(), stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    process.terminate()
    check(process.wait() == 143, f"terminated, it ended with {process.returncode}")
    check(not running_with(at("work")), "it left a training behind")

    result = script("run", NETC, "--work", at("work"), "--commit", "abc")
    check(result.returncode == 0, result.stdout + result.stderr)
    check(" resumed\n" in result.stdout and " finished\n" in result.stdout, result.stdout)

    # what is finished is not repeated
    check(script("run", NETC, "--work", at("work")).stdout == "", "a finished training ran again")
    check(script("list").stdout.count("finished") == 4, "list does not show four finished trainings")

    tests = {}
    for name in ("tiny8", "se_tiny8"):
        for seed in (1, 2):
            with open(at("results", f"{name}-quick-2e-f32-s{seed}.jsonl")) as file:
                head, *epochs = map(json.loads, file)
            check(head["seed"] == seed and head["precision"] == "f32" and "abc" in head["commits"] and "--seed" in head["command"], head)
            check([e["epoch"] for e in epochs] == [0, 1], epochs)
            tests.setdefault(name, []).append(100 * epochs[-1]["test_accuracy"])

    with open(at("results", "zoo.jsonl"), "w") as file:
        file.write('{"model": "resnet18", "ms": 9}\n')  # bench/zoo.py's, which keeps its own beside them
    result = script("report")
    check(result.returncode == 0, result.stderr)
    with open(at("page.md")) as file:
        page = file.read()
    check(page.startswith("before\n") and page.endswith("after\n") and "old" not in page, page)
    row = next(line for line in page.split("\n") if line.startswith("| se_tiny8 "))
    check(f"**{statistics.mean(tests['se_tiny8']):.2f} %** ± {statistics.stdev(tests['se_tiny8']):.2f}" in row, row)
    check(f"{statistics.mean(tests['se_tiny8']) - statistics.mean(tests['tiny8']):+.2f}" in row, row)
    picture = xml.dom.minidom.parse(at("results", "curves-2.svg"))
    check(len(picture.getElementsByTagName("polyline")) == 4, "a curve per training")
    again = script("report")
    with open(at("page.md")) as file:
        check(again.returncode == 0 and file.read() == page, "a second report changes the page")

    # the page of the repository is what its own results make
    shutil.copytree(os.path.join(ROOT, "docs", "results"), at("docs", "results"))
    shutil.copy(os.path.join(ROOT, "docs", "results.md"), at("docs"))
    ours = subprocess.run([sys.executable, SCRIPT, "--results", at("docs", "results"), "--page", at("docs", "results.md"), "report"], stderr=subprocess.PIPE, text=True)
    check(ours.returncode == 0, ours.stderr)
    check(filecmp.cmp(at("docs", "results.md"), os.path.join(ROOT, "docs", "results.md"), shallow=False), "docs/results.md: bench/trainings.py report has not been run")

    # a line that cannot be read is named
    with open(at("list"), "a") as file:
        file.write("train tiny8 unknown 2 1 f32\n")
    result = script("list")
    check(result.returncode == 1 and "list:7:" in result.stderr, result.stderr)

sys.path.insert(0, os.path.dirname(SCRIPT))
import trainings

# With equal numbers and variances Welch's t is Student's: t = -1 / sqrt(2/3) with 4 degrees of freedom; unequal ones have fewer.
t, freedom = trainings.welch([1, 2, 3], [2, 3, 4])
check(abs(t + 1.5**0.5) < 1e-12 and abs(freedom - 4) < 1e-12, f"welch: {t}, {freedom}")
t, freedom = trainings.welch([1, 2, 3], [20, 30, 40])
check(abs(t + 28 / ((1 + 100) / 3) ** 0.5) < 1e-12 and 2 < freedom < 2.1, f"welch: {t}, {freedom}")
check(trainings.welch([1], [2, 3]) is None, "welch of a single value")

"""bench/zoo.py: measures what is not measured, keeps it line by line, and makes the page's tables and chart of it."""
import json
import os
import subprocess
import sys
import time
import xml.dom.minidom

from e2e import HERE, NETC, SMALL, Workspace, check

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench", "zoo.py")

with Workspace() as at:
    os.makedirs(at("models"))
    with open(SMALL) as file:
        text = file.read()
    for name in ("tiny8", "other8", "blocks"):
        with open(at("models", name + ".net"), "w") as file:
            file.write(text)
    with open(at("page.md"), "w") as file:
        file.write("before\n<!-- made by bench/zoo.py report -->\nold\n<!-- end of bench/zoo.py report -->\nafter\n")
    common = [sys.executable, SCRIPT, "--results", at("results.jsonl"), "--models-directory", at("models")]
    fake = ["--peers", f"{os.path.join(HERE, 'fake_peer.py')}={sys.executable}", "--threads", "1", "--machine", "Intel Xeon"]  # whose tables have no name
    quick = ["--peer-modes", "fast,slow", "--rounds", "2", "--seconds", "0", "--repeats", "1", "--commit", "abc"]

    def script(*args, status=0):
        done = subprocess.run([*common, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=at.environment())
        check(done.returncode == status, f"zoo.py {' '.join(args)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def measured():
        with open(at("results.jsonl")) as lines:
            return [json.loads(line) for line in lines]

    check(len(script("list", *fake).stdout.splitlines()) == 8, "two models, two tasks, two batches; blocks is a family")
    only = script("list", "--peers", f"onnxruntime={sys.executable}").stdout
    check("infer" in only and "train" not in only, f"ONNX Runtime does not train: {only}")
    script("run", NETC, *fake, *quick, "--models", "tiny8", "--batches", "8")
    check([(m["what"], m["batch"], m["commit"]) for m in measured()] == [("train", 8, "abc"), ("infer", 8, "abc")], measured())
    script("run", NETC, *fake, *quick, "--batches", "8", "--what", "train", "--processes", "2")
    check([m["model"] for m in measured()] == ["tiny8", "tiny8", "other8"], "what is measured is measured again, or what is not is not")
    check(measured()[2]["rounds"] == 4 and len(measured()[2]["modes"][0]["peer"]) == 4, f"two processes of two rounds: {measured()[2]}")
    check(sum(line.startswith("measured") for line in script("list", *fake, "--batches", "8").stdout.splitlines()) == 3, "list")
    # a measurement cut short, and a peer that cannot be run: the others are kept, and the status says so
    done = script("run", NETC, "--peers", "torch=no-such-python", *quick, "--batches", "8", "--what", "train", "--threads", "1", status=1)
    check("cannot run the interpreter" in done.stderr and len(measured()) == 3, done.stderr)

    # killed, it takes the measurement along
    with open(at("sleeper"), "w") as file:
        file.write(f"#!/bin/sh\necho $$ > {at('pid')}.new\nmv {at('pid')}.new {at('pid')}\nexec sleep 60\n")
    os.chmod(at("sleeper"), 0o755)
    killed = subprocess.Popen([*common, "run", at("sleeper"), *fake, *quick, "--batches", "8", "--what", "train", "--again"],
                              stdout=subprocess.DEVNULL, env=at.environment())
    until = time.monotonic() + 60
    while not os.path.exists(at("pid")) and time.monotonic() < until:
        time.sleep(0.01)
    killed.terminate()
    check(killed.wait() == 143, f"killed: exit status {killed.returncode}")
    with open(at("pid")) as file:
        check(not os.path.exists(f"/proc/{file.read().strip()}"), "zoo.py left netc behind")
    check(len(measured()) == 3, "what was cut short is kept")

    rows = json.loads(script("json").stdout)
    check([(r["model"], r["what"], r["best"]) for r in rows] ==
          [("other8", "train", "fake 1.0 fast"), ("tiny8", "train", "fake 1.0 fast"), ("tiny8", "infer", "fake 1.0 fast")], f"rows {rows}")
    for r in rows:
        check(r["peer"] == (8 if r["what"] == "train" else 16) and r["least"] <= r["ratio"] <= r["most"], f"the fastest mode's rates: {r}")
        check(0 < r["peak"] < 10 and r["compile_seconds"] > 0 and 0 < sum(r["kinds"].values()) <= 1, f"the profile: {r}")
    script("report", "--page", at("page.md"), "--chart", at("chart.svg"))
    with open(at("page.md")) as file:
        page = file.read()
    check(page.startswith("before\n") and page.endswith("after\n") and "old" not in page, page)
    check(f"**{rows[1]['ratio']:.2f}**" in next(line for line in page.split("\n") if line.startswith("| tiny8 ")), page)
    check("### Inference, 1 thread\n" in page and "at abc" in page, page)
    check(len(xml.dom.minidom.parse(at("chart.svg")).getElementsByTagName("rect")) == 1 + 2, "a bar for each training")
    script("report", "--page", at("page.md"), "--chart", at("chart.svg"))
    with open(at("page.md")) as file:
        check(file.read() == page, "a second report changes the page")

    # the newest measurement counts
    script("run", NETC, *fake, *quick, "--models", "tiny8", "--batches", "8", "--what", "infer", "--again", "--commit", "new")
    check(len(measured()) == 4 and json.loads(script("json").stdout)[2]["commit"] == "new", "--again")

    # another machine measures anew, for tables of its own; lines of before machines were named are the first's
    with open(at("results.jsonl")) as file:
        lines = file.read().replace(', "machine": "Intel Xeon"', "")
    check("Xeon" not in lines, lines)
    with open(at("results.jsonl"), "w") as file:
        file.write(lines)
    other = [*fake[:-1], "Some Chip"]
    check(script("list", *other, "--models", "tiny8", "--batches", "8", "--what", "train").stdout.startswith("     "), "measured elsewhere")
    check(script("list", *fake, "--models", "tiny8", "--batches", "8", "--what", "train").stdout.startswith("measured"), "measured here")
    script("run", NETC, *other, *quick, "--models", "tiny8", "--batches", "8", "--what", "train")
    script("report", "--page", at("page.md"), "--chart", at("chart.svg"))
    with open(at("page.md")) as file:
        page = file.read()
    check(page.index("### Training, 1 thread\n") < page.index("### Training, 1 thread, Some Chip\n"), page)
    check(len(json.loads(script("json").stdout)) == 4, "a row for each machine")

    for words, says in ((["list", "--models", "none"], "there is no model 'none'"), (["list", "--isa", "avx9"], "--isa is one of"),
                        (["list", "--what", "fly"], "--what is one or both"), (["list", "--peers", "torch"], "PEER=PYTHON"),
                        (["list", "--peers", "onnxruntime=python3", "--isa", "native,avx2", "--models", "tiny8", "--batches", "8"], "keep to avx2")):
        check(says in script(*words, status=2 if "avx9" in words or "--what" in words else 1).stderr, f"{words}: no '{says}'")
    with open(at("results.jsonl"), "a") as file:
        file.write('{"model": "cut sh')
    check("results.jsonl:6: not a measurement" in script("json", status=1).stderr, "a line cut short")

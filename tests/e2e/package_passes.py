"""Passes from the installed package, in an empty directory with the C compiler: the three examples of docs/examples/passes build by pkg-config and by CMake;
the right one verifies, also in other orders; the wrong one is found, and its file named; the one that pays is right. And the tests that the
manual shows run by `netc test`."""
import json
import os
import shutil
import subprocess

from e2e import HERE, NETC, Workspace, check, page_commands, page_spans, skip

BUILD = os.path.join(os.path.dirname(NETC), "..")
EXAMPLES = ("double", "drop_beta", "pool_first")
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(passes LANGUAGES C)
find_package(netc 0.1 REQUIRED)
foreach(name double drop_beta pool_first)
  netc_add_pass(${name} ${EXAMPLES}/${name}.c)
endforeach()
"""


def run(command, at, status=0, **options):
    done = subprocess.run(command, capture_output=True, text=True, env=dict(at.environment(), **options), timeout=300, cwd=at.path)
    check(done.returncode == status, f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def pkg_config(at, prefix, *words):
    return run(["pkg-config", *words, "netc-pass"], at, PKG_CONFIG_PATH=os.path.join(prefix, "lib", "pkgconfig")).split()


def build(at, prefix):
    """With nothing of the tree; warnings are errors."""
    flags, examples = pkg_config(at, prefix, "--cflags"), pkg_config(at, prefix, "--variable=examples")[0]
    check(not any(os.path.dirname(HERE) in flag for flag in flags), f"flags point into the tree: {flags}")
    for name in EXAMPLES:
        run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *flags, "-o", at(f"{name}.so"), os.path.join(examples, f"{name}.c")], at)
    return pkg_config(at, prefix, "--variable=netc")[0], examples


def build_by_cmake(at, prefix, examples):
    os.mkdir(at("project"))
    with open(at("project", "CMakeLists.txt"), "w") as file:
        file.write(PROJECT)
    run(["cmake", "-S", at("project"), "-B", at("build"), f"-DCMAKE_PREFIX_PATH={prefix}", f"-DEXAMPLES={examples}"], at)
    run(["cmake", "--build", at("build")], at)
    return [at("build", f"{name}.so") for name in EXAMPLES]


def use(at, netc, examples, objects):
    double, beta, pool = objects
    check("WRONG" not in run([netc, "verify", "resnet20", f"--load-pass={double}", "--each", "--fuzz=20"], at), "double is right")
    for mode in ("train", "infer"):
        out = run([netc, "verify", "resnet20", f"--load-pass={beta}", f"--mode={mode}"], at, status=1)
        check(f"the pass 'drop_beta' of '{beta}' is wrong: " in out, f"drop_beta is named: {out}")
    net = os.path.join(examples, "pooled.net")
    out = run([netc, "verify", net, f"--load-pass={pool}", "--each", "--fuzz=20"], at)
    check("ok    the pass pool_first" in out, out)
    found = json.loads(run([netc, "ablate", net, f"--load-pass={pool}", "--mode=train", "--repeats=3", "--json"], at))
    of = {v["name"]: v for v in found["variants"]}
    with_it, without = of["all passes"], of["pool_first"]
    check(without["flops"] > 1.1 * with_it["flops"] and without["bytes"] > 1.1 * with_it["bytes"], f"pool_first pays: {with_it}, without it {without}")
    check(without["change"]["median"] > 0 and with_it["agrees"] and without["agrees"], f"and shows it: {without}")


def use_zoo(at, prefix, netc, objects):
    """All models, of which a few are left: each is verified, in their order, and a wrong one hides no other."""
    models, keep = os.path.join(prefix, "share", "netc", "models"), ["lenet", "resnet20", "resnet_v1"]
    for file in os.listdir(models):
        if file.removesuffix(".net") not in [*keep, "blocks"]:
            os.remove(os.path.join(models, file))
    out = run([netc, "verify", "--zoo", f"--load-pass={objects[0]}", "--fuzz=6", "--json"], at)
    found = [json.loads(line) for line in out.splitlines()]
    check([v["model"] for v in found] == [name for name in keep for mode in range(2)] and all(v["right"] for v in found), out)
    out = run([netc, "verify", "--zoo", f"--load-pass={objects[1]}"], at, status=1)
    check(out.count("WRONG the pass drop_beta") == 6 and out.index("lenet, inference") < out.index("resnet20, training") < out.index("resnet_v1, training"), out)


def use_tests(at, netc, examples, double):
    """The manual's tests, and what fails: a check that does not hold, an exact text that has changed, and a file of which nothing is expected."""
    shutil.copytree(os.path.join(examples, "tests"), at("tests"))
    shutil.copy(double, at("tests", "double.so"))
    out = run([netc, "test", at("tests")], at)
    check("2 passed, 0 failed" in out, out)
    for name, edit, says in [("double.ir", ("mul", "div"), "no line"), ("whole.expect", ("mul", "div"), "and should be"), ("double.ir", ("check", "chuck"), "nothing is expected")]:
        path = at("tests", name)
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write("\n".join(line.replace(*edit) if line.startswith("# check") or name.endswith("expect") else line for line in text.split("\n")))
        out = run([netc, "test", at("tests")], at, status=1)
        check(says in out and "1 passed, 1 failed" in out, f"{name}: {out}")
        with open(path, "w") as file:
            file.write(text)
    with open(at("tests", "whole.expect"), "a") as file:
        file.write("more\n")
    run([netc, "test", "--bless", at("tests")], at)
    check("2 passed, 0 failed" in run([netc, "test", at("tests")], at), "--bless writes what is printed")
    check("there is no test" in run([netc, "test", at("project")], at, status=1), "a folder without tests")


def use_manual(at, prefix, examples):
    """Every command of docs/passes.md, with the examples at hand. What one is shown to print it prints, up to "..."."""
    where = at("manual")
    shutil.copytree(examples, where)
    path = f"{os.path.join(prefix, 'bin')}:{os.environ['PATH']}"
    for name in EXAMPLES:
        shutil.copy(at(f"{name}.so"), where)
    commands = page_commands("passes.md")
    check(len(commands) >= 4, f"docs/passes.md has the commands {commands}")
    spans = page_spans("passes.md")
    check(len(spans) >= 7, f"docs/passes.md says {spans}")
    for span in spans:
        if span.startswith("netc verify --zoo"):
            continue  # minutes; use_zoo has it for a few models
        if span.startswith("--"):
            example = "gated.net --rules=gated.rules" if "rules" in span else "pooled.net --load-pass=pool_first.so" if "pool_first" in span else "resnet20 --load-pass=double.so"
            span = f"netc ablate {example} {span} --mode=infer --repeats=1" if "rewrites" in span else f"netc passes {example} {span}"
        commands.append((span, []))
    for command, shown in commands:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=where, timeout=600,
                              env=dict(at.environment(), PATH=path, PKG_CONFIG_PATH=os.path.join(prefix, "lib", "pkgconfig")))
        failed = any(": error: " in line for line in shown)
        check(done.returncode == failed, f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        for line in shown:
            check(line.split("...")[0].strip() in done.stdout + done.stderr, f"{command}: does not print '{line}', but\n{done.stdout}{done.stderr}")


if not shutil.which("cmake") or not shutil.which("pkg-config"):
    skip("cmake or pkg-config is not installed")
with Workspace() as at:
    run(["cmake", "--install", BUILD, "--prefix", at("first")], at)
    os.rename(at("first"), at("moved"))
    netc, examples = build(at, at("moved"))
    use(at, netc, examples, [at(f"{name}.so") for name in EXAMPLES])
    use_manual(at, at("moved"), examples)
    use_tests(at, netc, examples, build_by_cmake(at, at("moved"), examples)[0])
    use_zoo(at, at("moved"), netc, [at(f"{name}.so") for name in EXAMPLES])

#!/usr/bin/env python3
"""Holds the sources against .clang-tidy and .clang-format.

    tests/tidy.py BUILD                clang-tidy over every file that BUILD compiles, as many at once as there are cores; no function of a
                                       script may be defined twice, since the first would never run
    tests/tidy.py --format [--fix]     clang-format over every .c and .h file; --fix writes

Of misc-include-cleaner only includes that nobody needs are faults: a header promises what it includes (passes/draft.h brings ir/ir.h),
which the check in this version would forbid. Exit status 77: the tool is not installed."""
import ast
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROMISED = "no header providing"
# What a rule cannot be asked of: the signature is BLAS's.
EXCEPTIONS = [("runtime/gemm.c", "rt_sgemm")]


def tool(name):
    for candidate in (name + "-19", name):
        if shutil.which(candidate):
            return candidate
    print(f"{name} is not installed")
    sys.exit(77)


def tracked(pattern):
    names = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in names if re.search(pattern, name)]


def tidy(clang_tidy, build, source):
    done = subprocess.run([clang_tidy, "--quiet", "-p", build, os.path.join(ROOT, source)], capture_output=True, text=True, cwd=ROOT)
    findings, keep = [], False
    for line in done.stdout.splitlines():
        found = re.match(r"(\S+?):\d+:\d+: (warning|error|note): (.*)", line)
        if found and found[2] != "note":
            name = os.path.relpath(found[1], ROOT)
            keep = PROMISED not in line and not any(name == file and word in line for file, word in EXCEPTIONS)
        if keep:
            findings.append(line.replace(ROOT + "/", ""))
    if done.returncode and not done.stdout:
        findings.append(f"{source}: {done.stderr.strip()}")
    return findings


def scripts():
    """The tracked files in Python: by their names, or by their first lines."""
    for name in tracked(r"\.py$|/run$"):
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            text = file.read()
        if name.endswith(".py") or "python" in text.split("\n", 1)[0]:
            yield name, text


def shadowed(text):
    """Of a script: (line, name, line of the first) of each function or class that has the name of one before it in the same body."""
    for scope in ast.walk(ast.parse(text)):
        first = {}
        for node in scope.body if isinstance(scope, (ast.Module, ast.ClassDef, ast.FunctionDef)) else []:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and first.setdefault(node.name, node.lineno) != node.lineno:
                yield node.lineno, node.name, first[node.name]


def check_scripts():
    """How many functions never run. The check is tried first on a script that has one."""
    if list(shadowed("def one(): pass\ndef two(): pass\nclass C:\n  def one(self): pass\ndef one(): pass\n")) != [(5, "one", 1)]:
        sys.exit("a function that is defined twice is not found")
    found = [f"{name}:{line}: '{word}' stands in line {first} already, and that one never runs"
             for name, text in scripts() for line, word, first in shadowed(text)]
    print("\n".join(found) if found else "no script defines a function twice")
    return len(found)


def check_tidy(build):
    if check_scripts():
        return 1
    clang_tidy = tool("clang-tidy")
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as commands:
        compiled = {os.path.relpath(entry["file"], ROOT) for entry in json.load(commands)}
    sources = sorted(name for name in compiled if not name.startswith(("tests/", "docs/", "..")))
    faults = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for findings in pool.map(lambda source: tidy(clang_tidy, build, source), sources):
            faults += len(findings) > 0
            for line in findings:
                print(line)
    print(f"{len(sources)} files, {faults} with findings")
    return 1 if faults else 0


def check_format(fix):
    clang_format = tool("clang-format")
    sources = tracked(r"\.(c|h)$")
    mode = ["-i"] if fix else ["--dry-run", "--Werror"]
    done = subprocess.run([clang_format, *mode, *sources], capture_output=True, text=True, cwd=ROOT)
    bad = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "clang-format-violations" in line})
    for name in bad:
        print(f"{name}: not as clang-format writes it; tests/tidy.py --format --fix does")
    print(f"{len(sources)} files, {len(bad)} not formatted")
    return done.returncode


if __name__ == "__main__":
    if "--format" in sys.argv:
        sys.exit(check_format("--fix" in sys.argv))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(check_tidy(os.path.abspath(sys.argv[1])))

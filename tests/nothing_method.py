#!/usr/bin/env python3
"""Adding a convolution method touches its own folder and one line: a method that refuses everything is added to a copy of the sources,
and what it changes is compiled and linked with the objects of a build.

    tests/nothing_method.py CMAKE BUILD      BUILD: made by Ninja. Exit status 77: by something else.

The copy is configured, since CMake must find the folder by itself; only the method and the list are compiled. Then netc knows --conv=nothing,
names it in the list of methods, and makes the same object as without, because the method never applies."""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIST = "codegen/conv/methods.def"
NEW = "codegen/conv/nothing/nothing.c"
METHOD = """/* A method that refuses everything. */
#include "codegen/conv/shared/method.h"

static const void *plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)arena, (void)p, (void)choice;
    return NULL;
}
extern const ConvMethod conv_nothing;
const ConvMethod conv_nothing = {.name = "nothing", .correlation = {.plan = plan}, .weights = {.plan = plan}};
"""
NET = """net tiny(classes = 4) {
    input image: f32[3, 8, 8]
    x = relu(conv2d(image, 8, 3) as "conv")
    output dense(flatten(x), classes) as "fc"
}
train {
    optimizer = sgd(lr = 0.1)
    schedule  = cosine
    epochs    = 1
}
"""


def run(*command, cwd=None, status=0):
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode != status:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def copy_tree(to):
    """Links to every file; the list with one line more, and the folder."""
    for name in run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard").split("\n"):
        if name and os.path.exists(os.path.join(ROOT, name)):
            os.makedirs(os.path.join(to, os.path.dirname(name)), exist_ok=True)
            if name != LIST:
                os.symlink(os.path.join(ROOT, name), os.path.join(to, name))
    with open(os.path.join(ROOT, LIST), encoding="utf-8") as text:
        lines = text.readlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("METHOD("))
    with open(os.path.join(to, LIST), "w", encoding="utf-8") as text:
        text.writelines([*lines[: last + 1], "METHOD(nothing)\n", *lines[last + 1 :]])
    os.mkdir(os.path.join(to, os.path.dirname(NEW)))
    with open(os.path.join(to, NEW), "w", encoding="utf-8") as text:
        text.write(METHOD)


def compile_new(tree, build):
    """The object files of the method and of what reads the list, by the commands of the tree's own configuration."""
    objects = []
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as commands:
        entries = {os.path.relpath(entry["file"], tree): entry for entry in json.load(commands)}
    if NEW not in entries:
        sys.exit(f"CMake has not found {NEW}")
    for source in (NEW, "codegen/conv/methods.c"):
        to = os.path.join(tree, os.path.basename(source) + ".o")
        command = re.sub(r" -o \S+ -c \S+$", f" -o {to} -c {os.path.join(tree, source)}", entries[source]["command"])
        run("sh", "-c", command, cwd=entries[source]["directory"])
        objects.append(to)
    return objects


def link(build, objects, to):
    """netc of the build, with objects in front of its libraries."""
    command = run("ninja", "-C", build, "-t", "commands", "netc").strip().split("\n")[-1]
    command = re.sub(r" -o driver/netc ", f" -o {to} {' '.join(objects)} ", command)
    if to not in command:
        sys.exit(f"unknown way to link netc: {command}")
    run("sh", "-c", command, cwd=build)


def check(netc, plain, at):
    net = os.path.join(at, "tiny.net")
    with open(net, "w", encoding="utf-8") as text:
        text.write(NET)
    said = run(netc, "build", net, "--conv", "anything", "-c", status=2)
    assert re.search(r"\|gemm\|nothing\b", said), said
    objects = []
    for name, program, more in (("plain", plain, ()), ("new", netc, ()), ("nothing", netc, ("--conv", "nothing"))):
        objects.append(os.path.join(at, name + ".o"))
        run(program, "build", net, "--no-cache", "-c", "-o", objects[-1], *more)
    bytes_of = [open(o, "rb").read() for o in objects]
    assert bytes_of[0] == bytes_of[1] == bytes_of[2], "a method that never applies changes an object"
    said = run(plain, "build", net, "--conv", "nothing", "-c", "-o", objects[0], status=2)
    assert "'--conv' is one of" in said, said


def main():
    cmake, build = sys.argv[1], os.path.abspath(sys.argv[2])
    if not os.path.exists(os.path.join(build, "build.ninja")):
        sys.exit(77)
    with tempfile.TemporaryDirectory() as at:
        tree = os.path.join(at, "tree")
        os.mkdir(tree)
        copy_tree(tree)
        with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as cache:
            kept = re.findall(r"^(CMAKE_BUILD_TYPE|CMAKE_C_COMPILER|NETC_WERROR|NETC_SANITIZE):\w+=(.*)$", cache.read(), re.M)
        run(cmake, "-G", "Ninja", "-Wno-dev", "-S", tree, "-B", os.path.join(tree, "build"), *(f"-D{k}={v}" for k, v in kept))
        netc = os.path.join(at, "netc")
        link(build, compile_new(tree, os.path.join(tree, "build")), netc)
        check(netc, os.path.join(build, "driver/netc"), at)
    print("a folder and one line: netc knows --conv=nothing")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The version of pass plug-ins follows every header that they include, and nothing else: tests/plugin_version.py CMAKE BUILD."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def version(source, at):
    subprocess.run([sys.argv[1], f"-DSOURCE={source}", f"-DOUTPUT={at}", "-P", os.path.join(ROOT, "cmake", "plugin_version.cmake")], check=True)
    with open(at) as file:
        return file.read()


with tempfile.TemporaryDirectory() as top:
    for folder in ("ir", "passes"):
        shutil.copytree(os.path.join(ROOT, folder), os.path.join(top, folder))
    first = version(top, os.path.join(top, "version.h"))
    with open(os.path.join(sys.argv[2], "netc_plugin_version.h")) as file:
        built = file.read()
    assert first == built, f"the build has {built}, its headers {first}"
    seen = {first}
    for name, same in [("passes/plugin.h", False), ("passes/passes.h", False), ("ir/ir.h", False), ("ir/expr.h", False), ("ir/ops.def", False), ("passes/draft.h", False),
                       ("passes/rewrite.h", False), ("ir/eval.h", False),
                       ("ir/graph.c", True), ("passes/driver.h", True)]:
        with open(os.path.join(top, name), "a") as file:
            file.write("\n/* another */\n")
        now = version(top, os.path.join(top, "version.h"))
        assert (now in seen) == same, f"{name}: {now}"
        seen.add(now)
print("follows the headers")

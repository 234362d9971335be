"""docs/ir.md is true: its graphs read and print as they stand, its commands run, and every op of graphs and of regions is there."""
import os
import re
import subprocess

from e2e import HERE, NETC, Workspace, check, page_commands, page_spans

ROOT = os.path.join(HERE, "..", "..")


def text(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def graphs(page):
    blocks = re.findall(r"(?:^    .*\n)+", page, re.M)
    return ["".join(line[4:] + "\n" for line in block.splitlines()) for block in blocks if block.startswith('    graph "')]


page = text("docs", "ir.md")
named = set(re.findall(r"`([a-z0-9_]+)[`,. ]", page))
ops = set(re.findall(r'^OP\([A-Z0-9_]+, *"(\w+)"', text("ir", "ops.def"), re.M))
leaves = {"arg", "const"}  # a0, 1.5
expressions = set(re.findall(r'^ +X\(X_[A-Z]+, "(\w+)"', text("ir", "expr.h"), re.M)) - leaves
check(len(ops) > 40 and len(expressions) > 15, f"found {len(ops)} ops, {len(expressions)} of Exprs")
check(ops <= named, f"docs/ir.md lacks the ops {sorted(ops - named)}")
check(expressions <= named, f"docs/ir.md lacks the ops of regions {sorted(expressions - named)}")

with Workspace() as at:
    check(len(graphs(page)) == 2, "docs/ir.md has two graphs")
    for graph in graphs(page):
        with open(at("page.ir"), "w", encoding="utf-8") as file:
            file.write(graph)
        out, _ = at.run("ir", at("page.ir"))
        check(out == graph, f"docs/ir.md shows\n{graph}which prints as\n{out}")
    os.mkdir(at("bin"))
    os.symlink(NETC, at("bin", "netc"))
    commands = page_commands("ir.md")
    check(len(commands) >= 10, f"docs/ir.md has the commands {commands}")
    spans = page_spans("ir.md")
    check("netc ir x.ir" in spans, f"docs/ir.md says {spans}")
    at.run("ir", "lenet", "--mode=both", "-o", at("x.ir"))
    for command, _ in [*commands, *((span, None) for span in spans)]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=at.path, timeout=300,
                              env=dict(at.environment(), PATH=f"{at('bin')}:{os.environ['PATH']}"))
        check(done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")

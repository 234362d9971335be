"""netc why accounts for every stored feature map: those that the final graph has and the memory plan places, neither more nor fewer, each with a reason
for every reader; the bytes add up to the plan's and the plan's arena is netc bench's; what lives at once stands apart. Selections, bad input.

    python3 tests/e2e/why.py NETC MODEL...      the same of each model as its file says it, but for what netc bench says; all: of models/
"""
import json
import os
import sys

from e2e import SMALL, Workspace, check, zoo

CONVOLUTIONS = ("conv2d", "conv2d_bwd_data", "conv2d_bwd_weights")


def graph(at, mode, *model):
    out, _ = at.run("ir", *model, f"--mode={mode}", "--stage=final", "--format=json")
    return json.loads(out)


def sources(values):
    """id -> (the value that makes it, which result)"""
    return [(v["args"][0], v["attrs"]["index"]) if v["op"] == "result" else (i, 0) for i, v in enumerate(values)]


def feature_maps(g):
    """From the graph alone: what has rank 4 and is read, or an output, but is neither filters or their gradient nor images that convolutions alone read,
    which they do as the runtime has them."""
    values = g["values"]
    source = sources(values)
    others = {a for v in values if v["op"] not in CONVOLUTIONS for a in v["args"]}
    read = {a for v in values if v["op"] != "result" for a in v["args"]} | {o["value"] for o in g["outputs"]}
    maps, of_filters = set(), set()  # the gradients of filters that calls share are added by a map
    for i in sorted(read):
        maker, result = source[i]
        large = [a for a in values[maker]["args"] if len(values[a]["type"]["shape"]) == 4]
        filters = values[maker]["op"] in ("param", "scale_filters", "standardize", "standardize_bwd") or (values[maker]["op"] == "conv2d_bwd_weights" and result == 0)
        filters = filters or (values[maker]["op"] == "map" and large and all(a in of_filters for a in large))
        if filters:
            of_filters.add(i)
        if len(values[i]["type"]["shape"]) == 4 and not filters and (values[maker]["op"] != "input" or i in others):
            maps.add(i)
    return maps, source


def holds(at, *model, all_run=True, timed=True):
    out, _ = at.run("why", *model, "--json", timeout=3000)
    for line in out.splitlines():
        account = json.loads(line)
        mode = account["mode"]
        g = graph(at, mode, *model) if mode == "train" else None
        maps = {m["value"]: m for m in account["maps"]}
        name = f"{model[0]}, {mode}"
        check(len(maps) == len(account["maps"]) and all(m["readers"] for m in maps.values()), name)
        check(not all_run or all(m["explained"] for m in maps.values()), f"{name}: a map has no reason")
        check(all_run or mode == "infer" or (not all(m["explained"] for m in maps.values()) and "fuse_maps" in account["not_run"]), f"{name}: what would fuse has not run")
        for m in maps.values():
            check(m["maker"]["kernel"], f"{name}: %{m['value']} has no kernel")
            for reader in m["readers"]:
                check("bwd_weights" not in reader.get("op", "") or reader["kernel"].startswith(("conv2d_bwd", "winograd")), f"{name}: the kernel of {reader}")
                blocked = {q["way"] for q in reader["questions"] if not q["yes"]}
                check(blocked == {"join", "recompute"} or m["not_done"] or not m["explained"], f"{name}: nothing keeps {reader} from %{m['value']}")
                check(all(bool(q["why"]) != q["yes"] for q in reader["questions"]), reader)
        # Bytes.
        check(sum(m["bytes"] for m in maps.values()) == account["map_bytes"], f"{name}: bytes of maps")
        parts = sum(account[part] for part in ("map_bytes", "filter_bytes", "vector_bytes", "workspace_bytes"))
        check(parts == account["plan_bytes"], f"{name}: {parts} bytes, planned {account['plan_bytes']}")
        top = max(m["offset"] + m["bytes"] for m in maps.values())
        check(top <= account["arena_bytes"] <= account["plan_bytes"], f"{name}: {top}, {account['arena_bytes']}")
        ordered = sorted(maps.values(), key=lambda m: m["first"])
        for i, a in enumerate(ordered):
            for b in ordered[i + 1:]:
                if b["first"] > a["last"]:
                    break
                apart = a["offset"] + a["bytes"] <= b["offset"] or b["offset"] + b["bytes"] <= a["offset"]
                check(apart, f"{name}: %{a['value']} and %{b['value']} live at once in one place")
        if not g:
            print(f"  ok: {name}: {len(maps)} maps stored", flush=True)
            continue
        # Against the graph: the same maps, but for those that two kernels in one hand to each other; and the same readers.
        wanted, source = feature_maps(g)
        missing = wanted - set(maps)
        users = {v: [u for u, value in enumerate(g["values"]) if v in value["args"] and value["op"] != "result"] for v in wanted}
        check(set(maps) <= wanted, f"{name}: not in the graph: {set(maps) - wanted}")
        for v in missing:
            ops = [g["values"][u]["op"] for u in users[v]]
            check(source[v][1] > 0 and g["values"][source[v][0]]["op"] == "conv2d_bwd_data" and ops == ["conv2d_bwd_weights"], f"{name}: %{v} is not accounted for")
        for v, m in maps.items():
            check([r["value"] for r in m["readers"] if r["value"] is not None] == users[v], f"{name}: readers of %{v}")
            shape = g["values"][v]["type"]["shape"]
            elements = shape[0] * shape[1] * shape[2] * shape[3]
            check(4 * elements <= m["bytes"], f"{name}: bytes of %{v}")
        print(f"  ok: {name}: {len(maps)} maps stored, {len(missing)} handed on within a kernel", flush=True)
        if not timed:
            continue
        out, _ = at.run("bench", *model, "--mode=train", "--repeats=1", "--json")
        bench = json.loads(out)
        check(bench["arena_bytes"] == account["arena_bytes"], f"{name}: the arena of netc bench")
        kernels = {k["name"]: k["values"] for k in bench["train"]["kernels"]}
        check(all(m["maker"]["value"] in kernels[m["maker"]["kernel"]] for m in maps.values()), f"{name}: the kernels of netc bench")
        check(all(0 <= v < account["values"] for values in kernels.values() for v in values), f"{name}: values of kernels")


IMAGES = """net images() {
    input image: f32[3, 8, 8]
    x = relu(conv2d(image, 8, 3, init = he_normal, standardize = true))
    output dense(flatten(image), 5) + dense(global_avg_pool(x), 5)
}
"""
SHARED = """net shared(depth = 3) {
    input image: f32[3, 8, 8]
    x = conv2d(image, 8, 3)
    for i in 0..depth { x = drop_path(group_norm(relu(conv2d(x, 8, 3) as shared "w"), 2) as shared "gn", 0.2) + x }
    output dense(global_avg_pool(x), 5)
}
"""


def main(at):
    for model in ("se_resnet20", "se_resnet110_shortcut", "preact_resnet164"):
        holds(at, model, "--batch=4")
    with open(at("shared.net"), "w", encoding="utf-8") as file:
        file.write(SHARED)
    with open(at("images.net"), "w", encoding="utf-8") as file:
        file.write(IMAGES)
    holds(at, at("images.net"), "--batch=4")  # standardised filters, and images that others than convolutions read
    for model in (at("shared.net"), "ca_resnet20"):  # sums along lines, maps with 1 in place of an extent, and filters that calls share
        holds(at, model, "--batch=4")
    holds(at, SMALL, "--set", "se=true", "--batch=8", "--passes=default-fuse_maps", all_run=False)
    holds(at, "se_resnet20", "--batch=4", "--passes=train:lower,split_batch_norm,autodiff;infer:lower,split_batch_norm", all_run=False)

    # One map, one reader, a block, a place; text.
    def maps(*which):
        out, _ = at.run("why", SMALL, *which, "--mode=train", "--json")
        return json.loads(out)["maps"]

    everything = maps()
    one = maps(f"%{everything[2]['value']}")
    check(one == everything[2:3], one)
    block = maps("basic1")
    check(0 < len(block) < len(everything) and all(m["name"].startswith("basic1.") or m["maker"]["name"].startswith("basic1.") for m in block), block)
    first = everything[0]
    check(first in maps(f"{first['file']}:{first['line']}"), first)
    reader = first["readers"][0]
    pair = maps(f"%{first['value']}", f"%{reader['value']}")
    check(len(pair) == 1 and pair[0]["readers"] == [reader], pair)
    out, _ = at.run("why", SMALL, f"%{first['value']}", f"%{reader['value']}", "--mode=train")
    check(out.count("yes ") + out.count("NO ") >= 6 and "it joins the loop that makes the map?" in out and "planned into" in out, out)
    at.run("ir", SMALL, "--mode=both", "-o", at("small.ir"))
    out, _ = at.run("why", at("small.ir"), "--mode=train", "--json")
    check([m["bytes"] for m in json.loads(out)["maps"]] == [m["bytes"] for m in everything], "the same of a graph as text")
    name = next(m["name"] for m in everything if m["not_done"])
    out, _ = at.run("why", SMALL, name, "--mode=train")
    check("not done by fuse_" in out, out)

    out, _ = at.run("why", SMALL, "--passes=default-fuse_maps", "--mode=train")
    check("nothing is against it, and no pass says why it is stored; did not run: fuse_maps\n" in out and "of them need not be" in out, out)
    at.refuses("why", SMALL, "basic1.conv_bm1", status=1, says="nothing is called 'basic1.conv_bm1'")
    at.refuses("why", SMALL, "basic1.conv_bn1.conv2d.weight", status=1, says="is a stored feature map")
    at.refuses("why", SMALL, f"%{first['value']}", "dense", "--mode=train", status=1, says="is stored and read by 'dense'")
    at.refuses("why", SMALL, "a", "b", "c", status=2, says="a model, a value and one that reads it")
    at.refuses("why", at("none.net"), status=1, says="there is no model file")


def survey(at, models):
    failed = 0
    for name in models if models != ["all"] else zoo(at):
        try:
            holds(at, name, timed=False)
        except SystemExit as fault:
            print(f"{name}: {str(fault)[:2000]}", flush=True)
            failed += 1
    return 1 if failed else 0


with Workspace() as workspace:
    if len(sys.argv) > 2:
        sys.exit(survey(workspace, sys.argv[2:]))
    main(workspace)

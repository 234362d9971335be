"""--init with --init-map and --init-partial: what is taken is the file's, bit for bit, what is not begins as without it, and netc says which is which."""
import struct

from e2e import SMALL, Workspace, check, metrics, read_safetensors, write_safetensors

STILL = ["--batch", 8, "--steps", 1, "-q", "--set", "train.optimizer=sgd(lr = 0)", "--eval-every", 0]  # weights stay as they are


def three_classes(at):
    with open(SMALL) as source, open(at("three.net"), "w") as file:
        file.write(source.read().replace(", 10)", ", 3)"))
    return at("three.net")


def parameters(path):
    return {n: t for n, t in read_safetensors(path).items() if not n.startswith("optimizer.") and "running" not in n}


def begin(at, model, *args):
    _, err = at.run("train", model, *STILL, "--out", at("out"), "--overwrite", *args)
    return parameters(at("out", "last.safetensors")), err


with Workspace() as at:
    three = three_classes(at)
    at.run("train", SMALL, "--batch", 8, "--steps", 5, "-q", "--seed", 3, "--out", at("first"))
    source, fresh = parameters(at("first", "best.safetensors")), begin(at, three, "--seed", 9)[0]
    everything = read_safetensors(at("first", "best.safetensors"))

    # Another number of classes: the body is the file's, the head begins anew.
    at.refuses("train", three, *STILL, "--init", at("first", "best.safetensors"), status=1, says="has the shape [10,32]")
    ours, err = begin(at, three, "--seed", 9, "--init", at("first", "best.safetensors"), "--init-partial")
    for name in fresh:
        check(ours[name] == (fresh if name.startswith("dense.") else source)[name], f"{name} is another")
    check(f"{len(everything) - 2} tensors taken: " in err and "2 tensors of the net keep their initial values: dense.weight ([10,32] there, [3,32] here), dense.bias ([10] there, [3] here)" in err, err)
    check("are left" not in err, err)

    # Other names, other types, ones at the end of a shape, and tensors that the net does not have.
    renamed = {}
    for name, (kind, shape, data) in everything.items():
        numbers = struct.unpack(f"<{len(data) // 4}f", data)
        wide = name == "dense.weight"
        renamed["model.head.weight" if wide else "model.body." + name] = (kind, shape + [1, 1], data) if wide else ("F64", shape, struct.pack(f"<{len(numbers)}d", *numbers))
    renamed["model.steps"] = ("I64", [], struct.pack("<q", 5))
    write_safetensors(at("renamed.safetensors"), renamed)
    maps = ["--init-map", "model.body.*=*", "--init-map=model.head.weight=dense.weight"]
    ours, err = begin(at, SMALL, "--init", at("renamed.safetensors"), *maps)
    check(all(ours[name][2] == source[name][2] for name in source), "what was renamed was not taken")
    check("1 tensors of the file are left: model.steps" in err and "keep their initial" not in err, err)
    at.refuses("train", SMALL, *STILL, "--init", at("renamed.safetensors"), *maps[:2], status=1, says="dense.weight: not there; --init-partial takes what fits")
    ours, err = begin(at, three, "--init", at("renamed.safetensors"), *maps, "--init-partial", "--seed", 9)
    check(ours["dense.weight"] == fresh["dense.weight"] and "2 tensors of the net keep their initial values" in err, err)

    # A frozen body stays; the head moves.
    body = "train.groups=[group(\"dense.*\"), group(\"*\", frozen = true)]"
    tune = ["train", three, "--batch", 8, "--steps", 5, "--set", body, "--init", at("first", "best.safetensors"), "--init-partial", "--seed", 9]
    out, _ = at.run(*tune, "--out", at("tuned"))
    check("from step 1 on 99 of " in out, out)
    check(metrics(at("tuned"))[-1]["trained_parameters"] == 99, metrics(at("tuned"))[-1])
    tuned = parameters(at("tuned", "last.safetensors"))
    check(all((tuned[n] != fresh[n]) if n.startswith("dense.") else (tuned[n] == source[n]) for n in tuned), "the body moved, or the head did not")

    first = ["--init", at("first", "best.safetensors")]
    for args, status, says in ((["--init-partial"], 2, "is about '--init'"), ([*first, "--init-map", "a.*=b"], 2, "found 'a.*=b'"), ([*first, "--init-map", "a"], 2, "found 'a'"),
                               ([*first, "--init-partial", "--init-map", "*=x.*"], 1, "no tensor of"), ([*first, "--init-map", "dense.*=dense.bias"], 2, "found"),
                               ([*first, "--init-partial", "--init-map", "dense.weight=dense.bias"], 1, "both become the net's 'dense.bias'")):
        at.refuses("train", SMALL, *STILL, *args, status=status, says=says)

"""A net that has diverged shows it: NaN and infinite weights reach the loss, and eval and train say so. And the numbers that
tests/unit/test_passes_nonfinite.c holds the evaluator against are PyTorch's, where that is installed."""
import json
import os
import re
import struct

from e2e import HERE, NETC, Workspace, check, skip

NET = """net m() {
    input image: f32[3, 32, 32]
    x = max_pool(conv2d(image, 16, 3), 3, stride = 2, pad = 1)
    output dense(flatten(relu(x)), 10)
}
"""
DIVERGED = 1


def poison(source, target, value):
    """conv2d.weight[2, 0, 1, 1] = value"""
    with open(source, "rb") as file:
        data = bytearray(file.read())
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    header["__metadata__"].pop("data_sha256")
    at = header["conv2d.weight"]["data_offsets"][0] + 4 * (2 * 27 + 4)
    body[at:at + 4] = struct.pack("<f", value)
    text = json.dumps(header).encode()
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def check_command(at):
    with open(at("m.net"), "w") as file:
        file.write(NET)
    at.run("init", "m.net", "-o", at("sound.safetensors"))
    out, err = at.run("eval", "m.net", "--weights", at("sound.safetensors"), "--data", "synthetic")
    check("not finite" not in err and "nan" not in out, f"a sound net is said to have diverged: {out}{err}")
    for value in float("nan"), float("inf"), float("-inf"):
        at_value = at(f"{value}.safetensors")
        poison(at("sound.safetensors"), at_value, value)
        out, err = at.run("eval", "m.net", "--weights", at_value, "--data", "synthetic")
        check(re.search(r"loss -?(nan|inf)", out), f"weight {value}: eval says {out}")
        check("the loss is not finite" in err, f"weight {value}: eval does not say so: {err}")
        _, err = at.run("train", "m.net", "--init", at_value, "--data", "synthetic", "--steps", 5, "--out", at(f"run{value}"),
                        status=DIVERGED)
        check("the loss is not finite at step 1" in err, f"weight {value}: train says {err}")


def numbers(text):
    names = {"NAN": float("nan"), "INFINITY": float("inf")}
    return [eval(item, {"__builtins__": {}}, names) for item in text.split(",")]  # C's own arithmetic, from our own file


def same(a, b):
    return len(a) == len(b) and all(x == y or (x != x and y != y) or abs(x - y) < 1e-6 for x, y in zip(a, b))


def check_table():
    try:
        import torch
        import torch.nn.functional as F
    except ImportError:
        skip("the table is not compared: PyTorch is not installed (apt-get install python3-torch)")
    with open(os.path.join(HERE, "..", "unit", "test_passes_nonfinite.c")) as file:
        source = file.read()
    inputs = numbers(re.search(r"inputs\[INPUTS\] = \{([^}]*)\}", source)[1])
    table = re.findall(r'\{"(\w+)",\s*\{([^}]*)\},\s*\{([^}]*)\}\}', source)
    functions = {"relu": F.relu, "hard_sigmoid": F.hardsigmoid, "hard_swish": F.hardswish, "silu": F.silu, "sigmoid": torch.sigmoid,
                 "tanh": torch.tanh}
    check(len(table) == len(functions), f"{len(table)} activations in the table")
    for name, forward, backward in table:
        x = torch.tensor(inputs * 16, dtype=torch.float32, requires_grad=True)  # long enough for PyTorch's vector code
        y = functions[name](x)
        y.backward(torch.ones_like(y))
        count = len(inputs)
        check(same(y[:count].tolist(), numbers(forward)), f"{name}: PyTorch has {y[:count].tolist()}")
        check(same(x.grad[:count].tolist(), numbers(backward)), f"{name}': PyTorch has {x.grad[:count].tolist()}")
    pool = [numbers(re.search(rf"double [^;]*\b{name}\[\] = \{{([^}}]*)\}}", source)[1].replace("inf", "INFINITY"))
            for name in ("x", "y", "dx")]
    x = torch.tensor(pool[0]).reshape(1, 2, 3, 3).requires_grad_()
    y = F.max_pool2d(x, 3, 1, 1)
    y.backward(torch.ones_like(y))
    check(same(y.flatten().tolist(), pool[1]), f"max_pool: PyTorch has {y.flatten().tolist()}")
    check(same(x.grad.flatten().tolist(), pool[2]), f"max_pool': PyTorch has {x.grad.flatten().tolist()}")
    rows = re.findall(r"\{\{([^{}]*)\}, \{([^{}]*)\}, ([\w.]+), \{([^{}]*)\}\}", source)
    check(len(rows) == 7, f"{len(rows)} rows of logits in the table")
    for z, softmax, loss, dz in rows:
        t = torch.tensor([numbers(z)], dtype=torch.float64, requires_grad=True)
        value = F.cross_entropy(t, torch.tensor([0]))
        value.backward()
        found = [F.softmax(t, 1)[0].tolist(), [value.item()], t.grad[0].tolist()]
        check(all(same(a, b) for a, b in zip(found, (numbers(softmax), numbers(loss), numbers(dz)))), f"{z}: PyTorch has {found}")


with Workspace() as at:
    check_command(at)
check_table()

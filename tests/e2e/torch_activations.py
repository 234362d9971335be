"""The numbers that tests/unit/test_codegen_activations.c holds the library's activations against are PyTorch's, and every block of the library
that is an activation stands there."""
import os
import re
import subprocess

from e2e import HERE, NETC, check, skip

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")

FUNCTIONS = {"relu6": F.relu6, "leaky_relu": F.leaky_relu, "prelu": lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)), "elu": F.elu,
             "celu": F.celu, "selu": F.selu, "gelu": F.gelu, "softplus": F.softplus, "log_sigmoid": F.logsigmoid, "mish": F.mish, "softsign": F.softsign,
             "tanh_shrink": F.tanhshrink, "hard_tanh": F.hardtanh, "hard_shrink": F.hardshrink, "soft_shrink": F.softshrink, "threshold": F.threshold}
FOREIGN = {"slope": "negative_slope"}  # what PyTorch calls an argument
NO_ACTIVATIONS = {"global_max_pool", "adaptive_avg_pool", "norm_affine", "layer_norm", "instance_norm", "group_norm", "group_mean", "channel_conv"}  # blocks of the library that are none


def numbers(text):
    return [float(item) for item in text.split(",")]


def arguments(text):
    """Of a call behind its x: (positions, names)."""
    places, names = [], {}
    for item in filter(None, (part.strip() for part in text.split(",")[1:])):
        name, equals, value = item.rpartition(" = ")
        value = value.strip('\\"') if '"' in value else float(value)
        if equals:
            names[FOREIGN.get(name, name)] = value
        else:
            places.append(value)
    return places, names


with open(os.path.join(HERE, "..", "unit", "test_codegen_activations.c")) as file:
    source = file.read()
inputs = torch.tensor(numbers(re.search(r"inputs\[INPUTS\] = \{([^}]*)\}", source)[1]), dtype=torch.float64)
table = re.findall(r'\{"(\w+)\((.*)\)",\s*\{([^}]*)\},\s*\{([^}]*)\}\}', source)
for name, given, *rows in table:
    places, names = arguments(given)
    x = inputs.clone().requires_grad_()
    y = FUNCTIONS[name](x, *places, **names)
    y.sum().backward()
    for found, row in zip((y.detach(), x.grad), rows):
        check(torch.allclose(found, torch.tensor(numbers(row), dtype=torch.float64), rtol=1e-8, atol=1e-9), f"{name}({given}): PyTorch has {found.tolist()}")
library = subprocess.run([NETC, "help", "library"], stdout=subprocess.PIPE, text=True, check=True).stdout
blocks = set(re.findall(r"^block (\w+)", library, re.M))
check(blocks - NO_ACTIVATIONS == {name for name, *_ in table}, f"the library has {sorted(blocks)}, the table {sorted({name for name, *_ in table})}")

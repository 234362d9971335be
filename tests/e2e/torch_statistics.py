"""Batch norm of values whose mean is 10 to 10000 times their deviation: variances within 1e-4 of PyTorch's in double, from the first
step on, and gradients as near to PyTorch's in double as PyTorch's in f32 are.

A step of plain SGD shows the gradients; with a momentum of 1 the running statistics are the batch's."""
import struct

from e2e import Workspace, check, fabricate_cifar10, read_safetensors, skip, write_safetensors

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")

BATCH, LR = 16, 100
RECIPE = {"augment": "[]", "shuffle": "false", "normalize": "none", "optimizer": f"sgd(lr = {LR})", "schedule": "constant",
          "loss": "cross_entropy"}
NET = """block norm(x) { return silu(batch_norm(x, momentum = 1)) }
net offset(kernel = 1) {
    input image: f32[3, 32, 32]
    x = norm(conv2d(image, 16, kernel))
    x = x + norm(conv2d(x, 16, 3)) * sigmoid(dense(global_avg_pool(batch_norm(conv2d(x, 16, 1))), 16))
    output dense(global_avg_pool(x), 10)
}
train { data = synthetic }
"""


def tensors_of(path, dtype):
    return {name: torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape).to(dtype)
            for name, (_, shape, data) in read_safetensors(path).items()}


def forward(w, x):
    """Logits and the three inputs of batch norm. Parameters in the order of the file, without statistics."""
    rest, seen = iter(w), []

    def conv(x):
        weight, bias = next(rest), next(rest)
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)

    def norm(x):
        seen.append(x)
        return F.batch_norm(x, None, None, next(rest), next(rest), training=True)

    x = F.silu(norm(conv(x)))
    y = F.silu(norm(conv(x)))
    gate = F.linear(norm(conv(x)).mean((2, 3)), next(rest), next(rest))
    x = x + y * torch.sigmoid(gate)[:, :, None, None]
    x = F.linear(x.mean((2, 3)), next(rest), next(rest))
    check(next(rest, None) is None, "the file holds more parameters than the network has")
    return x, seen


def gradients(path, images, labels, dtype):
    """name -> gradient, and the batch's variances."""
    named = {n: t.requires_grad_() for n, t in tensors_of(path, dtype).items() if "running" not in n}
    logits, seen = forward(named.values(), images.to(dtype))
    F.cross_entropy(logits, labels).backward()
    return {n: t.grad.double() for n, t in named.items()}, [x.detach().double().var((0, 2, 3)) for x in seen]


def is_offset(name):
    return "conv2d" in name and name.endswith(".bias")


def offset(path, images, ratio):
    """Every convolution gets biases of `ratio` times what its outputs deviate."""
    tensors = read_safetensors(path)
    biases = [n for n in tensors if is_offset(n)]
    named = [t for n, t in tensors_of(path, torch.float64).items() if "running" not in n]
    with torch.no_grad():
        deviation = [x.std((0, 2, 3)) for x in forward(named, images.double())[1]]
    check(len(biases) == len(deviation), f"{len(biases)} biases of convolutions, expected {len(deviation)}")
    for name, values in zip(biases, deviation):
        dtype, shape, _ = tensors[name]
        signed = [ratio * v * (-1) ** i for i, v in enumerate(values.tolist())]
        tensors[name] = (dtype, shape, struct.pack(f"<{len(signed)}f", *signed))
    write_safetensors(path, tensors)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def compare(at, images, labels, kernel, ratio):
    name = f"kernel {kernel}, ratio {ratio}"
    weights, out = at(f"{kernel}-{ratio}.safetensors"), at(f"{kernel}-{ratio}")
    model = [at("offset.net"), "--set", f"kernel={kernel}", "--batch", BATCH]
    recipe = [word for key, value in RECIPE.items() for word in ("--set", f"train.{key}={value}")]
    at.run("init", *model, "--seed", 5, "-o", weights)
    offset(weights, images, ratio)
    at.run("train", *model, *recipe, "--data", at("data"), "--init", weights, "--steps", 1, "--out", out)
    before, after = tensors_of(weights, torch.float64), tensors_of(out + "/last.safetensors", torch.float64)
    exact, variances = gradients(weights, images, labels, torch.float64)
    theirs, _ = gradients(weights, images, labels, torch.float32)
    running = [t for n, t in after.items() if n.endswith("running_var")]
    worst = ((running[0] - variances[0]).abs() / variances[0]).max().item()  # further on, rounding in front counts too
    check(worst < 1e-4, f"{name}: a batch variance is off by {worst:.1e}")
    ours, f32 = {}, {}
    for n in exact:
        if is_offset(n):
            continue  # zero but for rounding: batch norm takes it out again
        ours[n], f32[n] = relative((before[n] - after[n]) / LR, exact[n]), relative(theirs[n], exact[n])
    print(f"{name}: variances within {worst:.1e}; gradients within {max(ours.values()):.1e}, PyTorch's f32 within {max(f32.values()):.1e}")
    for n in ours:
        check(ours[n] <= 3 * f32[n] + 1e-5 + 2 * ratio * 2**-24, f"{name}: the gradient of {n} is off by {ours[n]:.1e}, in PyTorch's f32 by {f32[n]:.1e}")


torch.set_num_threads(2)
with Workspace() as at:
    with open(at("offset.net"), "w") as file:
        file.write(NET)
    records = torch.frombuffer(bytearray(fabricate_cifar10(at("data"))), dtype=torch.uint8).reshape(-1, 3073)[:BATCH]
    images, labels = records[:, 1:].reshape(-1, 3, 32, 32).float() / 255, records[:, 0].long()
    for kernel in (1, 3):
        for ratio in (10, 100, 1000, 10000):
            compare(at, images, labels, kernel, ratio)

"""The first 20 losses of training are PyTorch's, from the same weights, on the same images, in the same order.

A ReLU whose argument is nearly zero may fall on the other side in another order of summation, and from then on two correct
trajectories part by what that one element was worth. So the step is small, and of three seeds the median counts. A wrong
factor anywhere shows in all of them."""
from e2e import SMALL, Workspace, check, fabricate_cifar10, read_safetensors, skip, step_losses

try:
    import torch
    import torch.nn.functional as F
    from torch_small import small_resnet
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")

STEPS, BATCH, TOLERANCE, LR, DECAY = 20, 16, 1e-4, 0.01, 0.02
RECIPE = {"augment": "[]", "shuffle": "false", "normalize": "none", "optimizer": f"sgd(lr = {LR}, momentum = 0.9, weight_decay = {DECAY})",
          "schedule": "constant", "loss": "cross_entropy"}


def load_parameters(path):
    tensors = read_safetensors(path)
    return [torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape).clone().requires_grad_()
            for name, (_, shape, data) in tensors.items() if "running" not in name]


def torch_losses(parameters, block, se):
    records = torch.frombuffer(bytearray(block), dtype=torch.uint8).reshape(-1, 3073)
    images, labels = records[:, 1:].reshape(-1, 3, 32, 32).float() / 255, records[:, 0].long()
    optimizer = torch.optim.SGD(parameters, LR, momentum=0.9, weight_decay=DECAY)
    losses = []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        loss = F.cross_entropy(small_resnet(parameters, images[batch], se), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def worst_difference(at, block, se, seed):
    name = f"{'se' if se else 'plain'}-{seed}"
    model = [SMALL, "--set", f"se={'true' if se else 'false'}", "--batch", BATCH, "--seed", seed]
    recipe = [word for key, value in RECIPE.items() for word in ("--set", f"train.{key}={value}")]
    weights = at(name + ".safetensors")
    at.run("init", *model, "-o", weights)
    at.run("train", *model, *recipe, "--data", at("data"), "--init", weights, "--steps", STEPS, "--log-every", 1, "--out", at(name))
    ours = [loss for _, loss in sorted(step_losses(at(name)).items())]
    check(len(ours) == STEPS, f"{len(ours)} losses logged, expected {STEPS}")
    theirs = torch_losses(load_parameters(weights), block, se)
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs))
    print(f"{name}: losses {theirs[0]:.6f} to {theirs[-1]:.6f}, largest relative difference {worst:.2e}")
    return worst


torch.set_num_threads(2)
with Workspace() as at:
    block = fabricate_cifar10(at("data"))
    for se in (False, True):
        middle = sorted(worst_difference(at, block, se, seed) for seed in (11, 12, 13))[1]
        check(middle < TOLERANCE, f"losses differ from PyTorch's by {middle:.2e}, se={se}")

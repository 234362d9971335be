"""models/airbench94.net trains as the public recipe does: from the same weights, on the same images in the same order, the losses of the first 15
steps are those of the net, the optimiser, the schedule and the lookahead as cifar10-airbench writes them (legacy/airbench94.py, KellerJordan/
cifar10-airbench; what is quoted from there says so), but that learning rate and decay are for the mean loss, and so is the whitening layer.

Augmentation is off, since its random numbers are others. The whole run has 20 steps, of 64 images, and an epoch counts as four of them: so the learning rate's
peak, the lookahead with a weight that counts, and the bias that is frozen from the fourth epoch on all are in the 15."""
import os
from math import ceil

from e2e import HERE, Workspace, check, fabricate_cifar10, read_safetensors, skip, step_losses

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")

STEPS, BATCH, PER_EPOCH = 15, 64, 4
# Of the millions of windows that max pools see in 15 steps some have two pixels that are equal but for rounding; which of them is greater then
# moves all losses behind it. So the first losses are held closely, and all to some times what PyTorch's own move by where its weights are rounded once more.
FIRM, ROUNDED = 6, 3
NETC_PER_EPOCH = 50000 // BATCH
CALM = 20  # of the learning rate, which with batches of 64 is so large that the last bits of a sum move the tenth loss by 1e-3
HYP = {"epochs": 4.9, "lr": 11.5 / CALM, "momentum": 0.85, "weight_decay": 0.0153 / CALM, "bias_scaler": 64.0, "label_smoothing": 0.2, "whiten_bias_epochs": 3}


class BatchNorm(nn.BatchNorm2d):  # quoted
    def __init__(self, num_features, momentum, eps=1e-12, weight=False, bias=True):
        super().__init__(num_features, eps=eps, momentum=1 - momentum)
        self.weight.requires_grad = weight
        self.bias.requires_grad = bias


class ConvGroup(nn.Module):  # quoted
    def __init__(self, channels_in, channels_out, batchnorm_momentum):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding="same", bias=False)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = BatchNorm(channels_out, batchnorm_momentum)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding="same", bias=False)
        self.norm2 = BatchNorm(channels_out, batchnorm_momentum)
        self.activ = nn.GELU()

    def forward(self, x):
        x = self.activ(self.norm1(self.pool(self.conv1(x))))
        return self.activ(self.norm2(self.conv2(x)))


class Mul(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale


def make_net():  # quoted
    net = nn.Sequential(nn.Conv2d(3, 24, 2, padding=0, bias=True), nn.GELU(), ConvGroup(24, 64, 0.6), ConvGroup(64, 256, 0.6),
                        ConvGroup(256, 256, 0.6), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False), Mul(1 / 9))
    net[0].weight.requires_grad = False
    return net


def get_patches(x, patch_shape):  # quoted
    c, (h, w) = x.shape[1], patch_shape
    return x.unfold(2, h, 1).unfold(3, w, 1).transpose(1, 3).reshape(-1, c, h, w).float()


def get_whitening_parameters(patches):  # quoted
    n, c, h, w = patches.shape
    patches_flat = patches.view(n, -1)
    est_patch_covariance = (patches_flat.T @ patches_flat) / n
    eigenvalues, eigenvectors = torch.linalg.eigh(est_patch_covariance, UPLO="U")
    return eigenvalues.flip(0).view(-1, 1, 1, 1), eigenvectors.T.reshape(c * h * w, c, h, w).flip(0)


class LookaheadState:  # quoted
    def __init__(self, net):
        self.net_ema = {k: v.clone() for k, v in net.state_dict().items()}

    def update(self, net, decay):
        for ema_param, net_param in zip(self.net_ema.values(), net.state_dict().values()):
            if net_param.dtype in (torch.half, torch.float):
                ema_param.lerp_(net_param, 1 - decay)
                net_param.copy_(ema_param)


def load(net, path):
    theirs = net.state_dict()
    for name, (_, shape, data) in read_safetensors(path).items():
        theirs[name].copy_(torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape))


def check_start(net, images):
    """The whitening layer is the source's, up to the sign of an eigenvector; filters that pass channels on are nn.init.dirac_'s."""
    weight = net[0].weight.data
    eigenvalues, eigenvectors = get_whitening_parameters(get_patches(images[:5000], (2, 2)).double())
    scaled = (eigenvectors / torch.sqrt(eigenvalues + 5e-4)).float()
    signs = (scaled * weight[:12]).sum((1, 2, 3)).sign().view(-1, 1, 1, 1)
    worst = ((weight[:12] - signs * scaled).abs().amax() / scaled.abs().amax()).item()
    print(f"whitening filters: largest difference {worst:.1e} of the largest number")
    check(worst < 1e-4 and torch.equal(weight[12:], -weight[:12]), "the whitening layer is another")
    for group in net[2], net[3], net[4]:
        for conv in group.conv1, group.conv2:
            w = conv.weight.data
            check(torch.equal(w[: w.size(1)], nn.init.dirac_(torch.empty_like(w[: w.size(1)]))), "the filters begin otherwise")


def torch_losses(net, images, labels):
    """main() of the source; lr and wd are for the mean of the losses."""
    total_train_steps = ceil(PER_EPOCH * HYP["epochs"])
    scale = 1 + 1 / (1 - HYP["momentum"])
    lr, wd = HYP["lr"] / scale, HYP["weight_decay"] / scale
    lr_biases = lr * HYP["bias_scaler"]
    norm_biases = [p for k, p in net.named_parameters() if "norm" in k and p.requires_grad]
    other_params = [p for k, p in net.named_parameters() if "norm" not in k and p.requires_grad]
    optimizer = torch.optim.SGD([dict(params=norm_biases, lr=lr_biases, weight_decay=wd / lr_biases),
                                 dict(params=other_params, lr=lr, weight_decay=wd / lr)], lr=lr, momentum=HYP["momentum"], nesterov=True)

    def get_lr(step):  # quoted
        warmup_steps = int(total_train_steps * 0.23)
        warmdown_steps = total_train_steps - warmup_steps
        if step < warmup_steps:
            frac = step / warmup_steps
            return 0.2 * (1 - frac) + 1.0 * frac
        frac = (step - warmup_steps) / warmdown_steps
        return 1.0 * (1 - frac) + 0.07 * frac

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, get_lr)
    alpha_schedule = 0.95**5 * (torch.arange(total_train_steps + 1) / total_train_steps) ** 3
    lookahead_state = LookaheadState(net)
    losses, current_steps = [], 0
    for epoch in range(ceil(HYP["epochs"])):
        net[0].bias.requires_grad = epoch < HYP["whiten_bias_epochs"]
        net.train()
        for _ in range(PER_EPOCH):
            if current_steps == STEPS:
                return losses
            batch = slice(current_steps * BATCH, (current_steps + 1) * BATCH)
            loss = F.cross_entropy(net(images[batch]), labels[batch], label_smoothing=HYP["label_smoothing"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            current_steps += 1
            if current_steps % 5 == 0:
                lookahead_state.update(net, decay=alpha_schedule[current_steps].item())


def difference(losses, wanted):
    """Of themselves, the largest of the losses so far."""
    return [max(abs(a - b) / b for a, b in zip(losses[:k + 1], wanted)) for k in range(len(wanted))]


def rounded(path, seed):
    """PyTorch's net from weights that differ by up to a unit of rounding."""
    net = make_net()
    load(net, path)
    generator = torch.Generator().manual_seed(seed)
    for tensor in net.state_dict().values():
        if tensor.dtype == torch.float:
            tensor.mul_(1 + (2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1) * 2**-23)
    return net


def write_model(at):
    """The model, its epochs being of PER_EPOCH steps."""
    with open(os.path.join(HERE, "..", "..", "models", "airbench94.net")) as file:
        text = file.read()
    for old, new in ("sgd(lr = 11.5 /", f"sgd(lr = 11.5 / {CALM} /"), ("frozen_from = 3", f"frozen_from = {3 * PER_EPOCH} / {NETC_PER_EPOCH}.0"), \
                    ("epochs    = 9.9", f"epochs = {HYP['epochs'] * PER_EPOCH} / {NETC_PER_EPOCH}.0"), \
                    ("[pad_crop(2, reflect = true), flip(alternate = true)]", "[]"):
        check(text.count(old) == 1, f"the model has no '{old}'")
        text = text.replace(old, new)
    with open(at("airbench.net"), "w") as file:
        file.write(text)
    return [at("airbench.net"), "--batch", BATCH, "--data", at("data")]


torch.set_num_threads(2)
with Workspace() as at:
    block = fabricate_cifar10(at("data"))
    records = torch.frombuffer(bytearray(block), dtype=torch.uint8).reshape(-1, 3073)
    pixels, labels = records[:, 1:].reshape(-1, 3, 32, 32).double() / 255, records[:, 0].long()
    mean, std = torch.tensor([0.49140, 0.48216, 0.44653]), torch.tensor([0.24703, 0.24349, 0.26159])  # netc's, of CIFAR-10
    images = ((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)).float()
    model = write_model(at)
    at.run("init", *[word for word in model if word not in ("--batch", BATCH)], "--seed", 4, "-o", at("first.safetensors"))
    at.run("train", *model, "--init", at("first.safetensors"), "--set", "train.shuffle=false", "--steps", STEPS, "--log-every", 1, "--eval-every", 0,
           "--out", at("run"))
    ours = [loss for _, loss in sorted(step_losses(at("run")).items())]
    net = make_net()
    load(net, at("first.safetensors"))
    check_start(net, images)
    theirs = torch_losses(net, images, labels)
    spread = max(difference(torch_losses(rounded(at("first.safetensors"), seed), images, labels), theirs)[-1] for seed in range(ROUNDED))
    check(len(ours) == len(theirs) == STEPS, f"{len(ours)} losses, expected {STEPS}")
    differences = difference(ours, theirs)
    for step, (a, b, d) in enumerate(zip(ours, theirs, differences)):
        print(f"step {step + 1}: {a:.6f}, PyTorch {b:.6f}, {d:.1e} at most so far; PyTorch from rounded weights: {spread:.1e}")
    check(differences[FIRM - 1] < 1e-6, f"the first {FIRM} losses differ from PyTorch's by {differences[FIRM - 1]:.2e}")
    check(differences[-1] < 8 * spread, f"losses differ from PyTorch's by {differences[-1]:.2e}, and those of rounded weights by {spread:.2e}")

"""Augmentation against torchvision, and training on mixed images against PyTorch.

The operations of RandAugment and TrivialAugmentWide, their magnitudes, and rotation, are torchvision's of the same bytes; a pixel in some hundred may take the
other of two neighbours that are equally near, or be cut off to the next level, where rounding decides. The loss of mixed images is that of the soft labels
that torchvision's MixUp and CutMix make, in the first steps of a training, whole and in shards."""
import math
import subprocess
import sys

from e2e import SMALL, Workspace, check, read_safetensors, skip, step_losses

try:
    import torch
    import torch.nn.functional as F
    from torch_small import small_resnet
    from torchvision.transforms import InterpolationMode, functional
    from torchvision.transforms.autoaugment import RandAugment, TrivialAugmentWide, _apply_op
except ImportError:
    skip("PyTorch and torchvision are not installed (apt-get install python3-torch python3-torchvision)")

AUGMENTED = sys.argv[2]
NAMES = ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"]
BATCH, STEPS = 32, 5


def augmented(*args, data=b""):
    done = subprocess.run([AUGMENTED, *map(str, args)], input=data, stdout=subprocess.PIPE, check=True)
    return done.stdout


def ours(operation, magnitude, image):
    return torch.frombuffer(bytearray(augmented(operation, magnitude, *image.shape, data=bytes(image.flatten().tolist()))), dtype=torch.uint8).reshape(image.shape)


def compare(name, got, want, others, levels):
    """`others`: the part of the pixels that may be any; `levels`: how far the others may be off."""
    far = (got.int() - want.int()).abs() > levels
    check(far.float().mean() <= others, f"{name}: {far.sum()} of {far.numel()} pixels are others than torchvision's")


def smooth_image(seed, channels, height, width):
    generator = torch.Generator().manual_seed(seed)
    noise = F.avg_pool2d(torch.rand((1, channels, height + 4, width + 4), generator=generator), 5, stride=1)[0]
    return ((noise - noise.amin()) / (noise.amax() - noise.amin()) * 230 + 10).to(torch.uint8)


def check_magnitudes():
    for wide, space in ((False, RandAugment()._augmentation_space(31, (20, 33))), (True, TrivialAugmentWide()._augmentation_space(31))):
        check(list(space) == NAMES, f"torchvision has {list(space)}")
        for i, (magnitudes, signed) in enumerate(space.values()):
            for strength in range(31):
                value, sign = augmented("magnitude", i, "trivial" if wide else "rand", strength, 20, 33).split()
                want = float(magnitudes[strength]) if magnitudes.ndim else 0
                exact = NAMES[i] in ("Solarize", "Posterize")  # a pixel may be equal to it; it counts bits
                check(abs(float(value) - want) < (1e-9 if exact else 1e-4) and bool(int(sign)) == signed, f"{NAMES[i]} of strength {strength}: {value}, torchvision {want}")


def check_operations():
    images = [smooth_image(1, 3, 32, 32), smooth_image(2, 3, 20, 33), smooth_image(3, 1, 28, 28), torch.full((3, 8, 8), 77, dtype=torch.uint8)]
    images.append((torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(4)) * 256).to(torch.uint8))
    for i, name in enumerate(NAMES):
        magnitudes = [m for m, _ in (RandAugment()._augmentation_space(31, (32, 32))[name], TrivialAugmentWide()._augmentation_space(31)[name])]
        values = {float(m[k]) for m in magnitudes for k in (1, 9, 22, 30) if m.ndim} | ({0.0} if not magnitudes[0].ndim else set())
        places = name.startswith(("Shear", "Translate")) or name == "Rotate"
        for value in sorted(values | ({-v for v in values} if i in range(1, 10) else set())):
            for image in images:
                want = _apply_op(image, name, value, InterpolationMode.NEAREST, None)
                compare(f"{name} {value:.3f}", ours(i, repr(value), image), want, 0.03 if places else 0, 0 if places else 1)
    for degrees in (-170.0, -30.5, 0.0, 7.0, 90.0):
        for image in images[:3]:
            compare(f"turned by {degrees}", ours(-1, degrees, image), functional.rotate(image, degrees, InterpolationMode.BILINEAR), 0.002, 1)


def net(at, name, mix, shards):
    with open(SMALL) as file:
        text = file.read()
    text = text.replace("augment   = [pad_crop(4), flip]", f"augment = [pad_crop(4), flip, rand_augment(2, 9), trivial_augment]\n    mix = {mix}\n    shards = {shards}")
    text = text.replace("loss      = cross_entropy", "loss = cross_entropy(label_smoothing = 0.1)").replace("lr = 0.1", "lr = 0.01")
    with open(at(name), "w") as file:
        file.write(text)
    return at(name)


def batch_of(path, number, seed):
    data = bytearray(augmented("batch", path, seed, number))
    floats = BATCH * 3 * 32 * 32
    labels = torch.frombuffer(data, dtype=torch.int32, offset=4 * floats, count=2 * BATCH).long()
    share = torch.frombuffer(data, dtype=torch.float32, offset=4 * (floats + 2 * BATCH)).item()
    return torch.frombuffer(data, dtype=torch.float32, count=floats).reshape(BATCH, 3, 32, 32), labels[:BATCH], labels[BATCH:], share


def check_images(path, plain, number, seed):
    """The mixed batch is torchvision's of the plain one; what was drawn is found in it."""
    x, labels, others, share = batch_of(path, number, seed)
    before, own, _, _ = batch_of(plain, number, seed)
    rolled, lam = before.roll(1, 0), share if torch.equal(labels, own) else 1 - share
    check(sorted((labels[0].item(), others[0].item())) == sorted((own[0].item(), own[-1].item())), "the labels are of other images")
    mixed = rolled * (1 - lam) + before * lam
    replaced = (x == rolled) & (x != before)
    if (x - mixed).abs().amax() < 1e-5:
        return "mixup"
    check(((x == before) | (x == rolled)).all(), "neither mixed nor cut")
    rows, columns = replaced.any(1).any(0).any(1).nonzero(), replaced.any(1).any(0).any(0).nonzero()
    area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    check(math.isclose(lam, 1 - area.item() / 1024, abs_tol=1e-6), f"{lam}, but {area} pixels are replaced")
    return "cutmix"


def torch_losses(parameters, path, seed):
    optimizer, losses = torch.optim.SGD(parameters, 0.01, momentum=0.9, weight_decay=1e-4), []
    for step in range(STEPS):
        x, labels, others, share = batch_of(path, step, seed)
        target = F.one_hot(labels, 10) * share + F.one_hot(others, 10) * (1 - share)
        loss = F.cross_entropy(small_resnet(parameters, x, False), target, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


torch.set_num_threads(1)
check_magnitudes()
check_operations()
with Workspace() as at:
    plain, found = net(at, "plain.net", "[]", 1), []
    for shards, seed in ((1, 5), (4, 6)):
        model = net(at, f"mixed{shards}.net", "[mixup(1), cutmix(1)]", shards)
        found += [check_images(model, plain, step, seed) for step in range(STEPS)]
        at.run("init", model, "--seed", seed, "-o", at("first.safetensors"))
        at.run("train", model, "--init", at("first.safetensors"), "--seed", seed, "--steps", STEPS, "--log-every", 1, "--eval-every", 0, "--out", at(f"run{shards}"))
        losses = [loss for _, loss in sorted(step_losses(at(f"run{shards}")).items())]
        first = [torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape).clone().requires_grad_()
                 for name, (_, shape, data) in read_safetensors(at("first.safetensors")).items() if "running" not in name]
        theirs = torch_losses(first, model, seed)
        worst = max(abs(a - b) / b for a, b in zip(losses, theirs))
        print(f"{shards} shards: losses {theirs[0]:.5f} to {theirs[-1]:.5f}, largest relative difference {worst:.1e}")
        check(len(losses) == STEPS and worst < 1e-4, f"{losses}, PyTorch {theirs}")
    check(set(found) == {"mixup", "cutmix"}, found)

#!/usr/bin/env python3
"""Training and inference throughput of the CIFAR ResNets in PyTorch, the figure netc is held against (see compare.py).

Prints one line per (model, mode): images/s for a full training step (forward, loss, backward, SGD with
momentum and weight decay) and for inference, batch 128, fp32 unless --bf16, on --threads threads.
Modes: eager NCHW, eager channels_last, and torch.compile (PyTorch 2 only, --compile).

Works with Debian's python3-torch (apt-get install python3-torch; run with /usr/bin/python3) and with any newer one.
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE should be unset for a fair figure:
    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE /usr/bin/python3 torch_train.py --models resnet20,se_resnet20
"""
import argparse
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class SqueezeExcite(nn.Module):
    def __init__(self, channels, ratio=16):
        super().__init__()
        hidden = max(1, channels // ratio)
        self.down, self.up = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class Basic(nn.Module):
    def __init__(self, cin, cout, stride, se):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.se = SqueezeExcite(cout) if se else nn.Identity()
        self.short = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.se(self.bn2(self.conv2(y)))
        return F.relu(y + self.short(x))


def resnet(depth, se):
    n = (depth - 2) // 6
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    cin = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(n):
            layers.append(Basic(cin, width, 2 if stage and not block else 1, se))
            cin = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def median_seconds(step, seconds):
    step(), step()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    times.sort()
    return times[len(times) // 2]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--models", default="resnet20,se_resnet20,resnet110,se_resnet110")
    ap.add_argument("--batch", type=int, default=128)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seconds", type=float, default=4)
    ap.add_argument("--bf16", action="store_true")
    ap.add_argument("--compile", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    print(f"# torch {torch.__version__}, {args.threads} threads, batch {args.batch}")
    modes = ["nchw", "channels_last"] + (["compile"] if args.compile else [])
    for name in args.models.split(","):
        depth = int("".join(c for c in name if c.isdigit()))
        for mode in modes:
            torch.manual_seed(0)
            model = resnet(depth, name.startswith("se"))
            x = torch.randn(args.batch, 3, 32, 32)
            y = torch.randint(0, 10, (args.batch,))
            if mode != "nchw":
                model = model.to(memory_format=torch.channels_last)
                x = x.contiguous(memory_format=torch.channels_last)
            run = torch.compile(model) if mode == "compile" else model
            opt = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-4)

            def train():
                opt.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                    loss = F.cross_entropy(run(x), y)
                loss.backward()
                opt.step()

            def infer():
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                    run(x)

            model.train()
            t = median_seconds(train, args.seconds)
            model.eval()
            i = median_seconds(infer, args.seconds / 2)
            print(f"{name} {mode} train {args.batch / t:.0f} img/s infer {args.batch / i:.0f} img/s", flush=True)


if __name__ == "__main__":
    main()

"""Nets of models/ as their papers and public repositories define them, in PyTorch: what tests/e2e/public_peer.py trains beside netc.

A net is a function of its sizes (those of the .net file, by the same names) that returns a module. In training a module may return
(logits, logits of a further head, ...)."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import BatchNorm2d, Conv2d, Linear, Module, ModuleList, Sequential


def conv_bn_relu(cin, cout, k, stride=1, groups=1, bias=False):
    return Sequential(Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=bias), BatchNorm2d(cout), nn.ReLU())


def gate(s):
    return s[:, :, None, None]


# ---- attention on ResNet-20 ----


class SqueezeExcite(Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = Linear(c, max(1, c // 16)), Linear(max(1, c // 16), c)

    def forward(self, x):
        return x * gate(torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3)))))))


class ECA(Module):  # BangguWu/ECANet
    def __init__(self, c, k=3):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x):
        return x * gate(torch.sigmoid(self.conv(x.mean((2, 3))[:, None])[:, 0]))


class GatherExcite(Module):
    def __init__(self, c, extent=0):
        super().__init__()
        self.extent = extent

    def forward(self, x):
        if not self.extent:
            return x * gate(torch.sigmoid(x.mean((2, 3))))
        return x * torch.sigmoid(F.interpolate(F.avg_pool2d(x, self.extent), scale_factor=self.extent))


class CBAM(Module):  # Jongchan/attention-module, the spatial gate without its batch norm, as in the paper
    def __init__(self, c):
        super().__init__()
        self.mlp = Sequential(Linear(c, max(1, c // 16), bias=False), nn.ReLU(), Linear(max(1, c // 16), c, bias=False))
        self.spatial = Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        x = x * gate(torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1).flatten(1)) + self.mlp(F.adaptive_max_pool2d(x, 1).flatten(1))))
        return x * torch.sigmoid(self.spatial(torch.cat((x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)), 1)))


class GCT(Module):  # z-x-yang/GCT
    def __init__(self, c, eps=1e-5):
        super().__init__()
        self.alpha, self.gamma, self.beta = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))
        self.eps = eps

    def forward(self, x):
        embedding = (x.pow(2).sum((2, 3)) + self.eps).sqrt() * self.alpha
        norm = self.gamma / (embedding.pow(2).mean(1, keepdim=True) + self.eps).sqrt()
        return x * gate(1 + torch.tanh(embedding * norm + self.beta))


class SRM(Module):  # hyunjaelee410/style-based-recalibration-module
    class Style(Module):
        def __init__(self, c):
            super().__init__()
            self.mean, self.deviation = nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))

        def forward(self, x):
            x = x.flatten(2)
            return self.mean * x.mean(2) + self.deviation * (x.var(2, unbiased=False) + 1e-5).sqrt()

    def __init__(self, c):
        super().__init__()
        self.style, self.bn = self.Style(c), BatchNorm2d(c)

    def forward(self, x):
        return x * torch.sigmoid(self.bn(gate(self.style(x))))


class CoordinateAttention(Module):  # houqb/CoordAttention
    def __init__(self, c, reduction=32):
        super().__init__()
        mid = max(8, c // reduction)
        self.conv1, self.bn1 = Conv2d(c, mid, 1), BatchNorm2d(mid)
        self.conv_h, self.conv_w = Conv2d(mid, c, 1), Conv2d(mid, c, 1)

    def forward(self, x):
        h, w = x.shape[2:]
        y = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)], 2)
        y_h, y_w = torch.split(F.hardswish(self.bn1(self.conv1(y))), [h, w], 2)
        return x * self.conv_h(y_h).sigmoid() * self.conv_w(y_w.permute(0, 1, 3, 2)).sigmoid()


class SelectiveKernel(Module):  # timm, split_input, rd_ratio 1/8, rd_divisor 16: what skresnet18 has
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.paths = ModuleList(Sequential(Conv2d(cin // 2, cout, 3, stride, d, d, bias=False), BatchNorm2d(cout), nn.ReLU()) for d in (1, 2))
        mid = max(16, int(cout / 8 + 8) // 16 * 16)
        self.reduce, self.bn, self.select = Conv2d(cout, mid, 1, bias=False), BatchNorm2d(mid), Conv2d(mid, 2 * cout, 1, bias=False)

    def forward(self, x):
        parts = torch.split(x, x.shape[1] // 2, 1)
        x = torch.stack([path(part) for path, part in zip(self.paths, parts)], 1)
        attention = self.select(F.relu(self.bn(self.reduce(x.sum(1).mean((2, 3), keepdim=True)))))
        attention = attention.view(len(x), 2, -1, 1, 1).softmax(1)
        return (x * attention).sum(1)


class Basic(Module):
    def __init__(self, cin, cout, stride, attention):
        super().__init__()
        sk = attention is SelectiveKernel
        self.first = SelectiveKernel(cin, cout, stride) if sk else conv_bn_relu(cin, cout, 3, stride)
        self.conv, self.bn = Conv2d(cout, cout, 3, padding=1, bias=False), BatchNorm2d(cout)
        self.attention = nn.Identity() if sk or not attention else attention(cout)
        self.shortcut = Conv2d(cin, cout, 1, stride, bias=False) if stride != 1 or cin != cout else nn.Identity()

    def forward(self, x):
        y = self.attention(self.bn(self.conv(self.first(x))))
        return F.relu(y + self.shortcut(x))


def attention_resnet(attention, depth=20, **options):
    blocks, c = [], 16
    for stage in range(3):
        for i in range((depth - 2) // 6):
            made = (lambda channels: attention(channels, **options)) if options else attention
            blocks.append(Basic(c, 16 << stage, 2 if stage and not i else 1, made))
            c = 16 << stage
    return Sequential(conv_bn_relu(3, 16, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(c, 10))


def stochastic_resnet110(depth=110, survive=1.0):
    assert survive == 1, "without dropping: masks are each framework's own"
    return attention_resnet(None, depth)


# ---- kuangliu/pytorch-cifar ----


def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)


class ShuffleUnit(Module):
    def __init__(self, cin, cout, stride, groups):
        super().__init__()
        mid, self.g, self.stride = cout // 4, 1 if cin == 24 else groups, stride
        self.conv1, self.bn1 = Conv2d(cin, mid, 1, groups=self.g, bias=False), BatchNorm2d(mid)
        self.conv2, self.bn2 = Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False), BatchNorm2d(mid)
        self.conv3, self.bn3 = Conv2d(mid, cout, 1, groups=groups, bias=False), BatchNorm2d(cout)

    def forward(self, x):
        out = shuffle(F.relu(self.bn1(self.conv1(x))), self.g)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1) if self.stride == 2 else out + x)


def shufflenet_g2(filters=(200, 400, 800), blocks=(4, 8, 4), groups=2):
    layers, c = [conv_bn_relu(3, 24, 1)], 24
    for planes, count in zip(filters, blocks):
        for i in range(count):
            layers.append(ShuffleUnit(c, planes if i else planes - c, 1 if i else 2, groups))
            c = planes
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(c, 10))


class ShuffleV2(Module):
    def __init__(self, cin, cout, down):
        super().__init__()
        half = cout // 2
        depthwise = lambda c, stride: Sequential(Conv2d(c, c, 3, stride, 1, groups=c, bias=False), BatchNorm2d(c))
        self.down = down
        if down:
            self.left = Sequential(depthwise(cin, 2), conv_bn_relu(cin, half, 1))
        self.right = Sequential(conv_bn_relu(cin if down else half, half, 1), depthwise(half, 2 if down else 1), conv_bn_relu(half, half, 1))

    def forward(self, x):
        a, b = (self.left(x), x) if self.down else x.split(x.shape[1] // 2, 1)
        return shuffle(torch.cat([a, self.right(b)], 1), 2)


def shufflenet_v2(width=1.0):
    filters, c = {0.5: (48, 96, 192, 1024), 1: (116, 232, 464, 1024)}[width], 24
    layers = [conv_bn_relu(3, 24, 3)]
    for planes, count in zip(filters, (3, 7, 3)):
        layers += [ShuffleV2(c, planes, True), *(ShuffleV2(planes, planes, False) for _ in range(count))]
        c = planes
    return Sequential(*layers, conv_bn_relu(c, filters[3], 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(filters[3], 10))


class DualPath(Module):
    def __init__(self, last, width, cout, depth, stride, first):
        super().__init__()
        self.d = cout
        self.residual = Sequential(conv_bn_relu(last, width, 1), conv_bn_relu(width, width, 3, stride, 32),
                                   Conv2d(width, cout + depth, 1, bias=False), BatchNorm2d(cout + depth))
        self.shortcut = Sequential(*([Conv2d(last, cout + depth, 1, stride, bias=False), BatchNorm2d(cout + depth)] if first else []))

    def forward(self, x):
        out, d = self.residual(x), self.d
        x = self.shortcut(x)
        return F.relu(torch.cat([x[:, :d] + out[:, :d], x[:, d:], out[:, d:]], 1))


def dpn(blocks=(2, 2, 2, 2), growth=(16, 32, 24, 128)):
    layers, last = [conv_bn_relu(3, 64, 3)], 64
    for stage, (count, depth) in enumerate(zip(blocks, growth)):
        for i in range(count):
            layers.append(DualPath(last, 96 << stage, 256 << stage, depth, 2 if stage and not i else 1, i == 0))
            last = (256 << stage) + (i + 2) * depth
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(last, 10))


class Cell(Module):
    def __init__(self, cin, cout, stride, b):
        super().__init__()
        self.stride, self.b = stride, b
        separable = lambda k: Sequential(Conv2d(cin, cout, k, stride, k // 2, bias=False, groups=cin), BatchNorm2d(cout))
        self.sep1 = separable(7)
        self.sep2, self.sep3 = (separable(3), separable(5)) if b else (None, None)
        self.pooled = Sequential(Conv2d(cin, cout, 1, bias=False), BatchNorm2d(cout)) if stride == 2 else nn.Identity()
        self.reduce = Sequential(Conv2d(2 * cout, cout, 1, bias=False), BatchNorm2d(cout)) if b else None

    def forward(self, x):
        y1 = self.sep1(x)
        if self.b:
            y1 = y1 + self.sep2(x)
        y3 = self.pooled(F.max_pool2d(x, 3, self.stride, 1))
        if not self.b:
            return F.relu(y1 + y3)
        return F.relu(self.reduce(torch.cat([F.relu(y1), F.relu(y3 + self.sep3(x))], 1)))


def pnasnet(cell, filters, cells=6):
    layers, c = [conv_bn_relu(3, filters, 3)], filters
    for stage in range(3):
        for stride in ([2] if stage else []) + [1] * cells:
            layers.append(Cell(c, filters << stage, stride, cell == "b"))
            c = filters << stage
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(c, 10))


class MBConv(Module):
    def __init__(self, cin, cout, k, stride, expansion):
        super().__init__()
        wide = expansion * cin
        self.expand = Sequential(Conv2d(cin, wide, 1, bias=False), BatchNorm2d(wide), nn.SiLU()) if expansion != 1 else nn.Identity()
        self.depthwise = Sequential(Conv2d(wide, wide, k, stride, k // 2, groups=wide, bias=False), BatchNorm2d(wide), nn.SiLU())
        self.se1, self.se2 = Conv2d(wide, cin // 4, 1), Conv2d(cin // 4, wide, 1)
        self.project = Sequential(Conv2d(wide, cout, 1, bias=False), BatchNorm2d(cout))
        self.skip = stride == 1 and cin == cout

    def forward(self, x):
        y = self.depthwise(self.expand(x))
        y = self.project(y * self.se2(F.silu(self.se1(F.adaptive_avg_pool2d(y, 1)))).sigmoid())
        return y + x if self.skip else y


def efficientnet_b0(stages=((1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2), (6, 112, 3, 5, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)), rate=0.0):
    layers, c = [Conv2d(3, 32, 3, 1, 1, bias=False), BatchNorm2d(32), nn.SiLU()], 32
    for expansion, filters, count, k, stride in stages:
        for i in range(count):
            layers.append(MBConv(c, filters, k, 1 if i else stride, expansion))
            c = filters
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(c, 10))


class Inception(Module):
    def __init__(self, cin, n1, r3, n3, r5, n5, pool):
        super().__init__()
        conv = lambda a, b, k: conv_bn_relu(a, b, k, bias=True)
        self.branches = ModuleList([conv(cin, n1, 1), Sequential(conv(cin, r3, 1), conv(r3, n3, 3)),
                                    Sequential(conv(cin, r5, 1), conv(r5, n5, 3), conv(n5, n5, 3)), Sequential(nn.MaxPool2d(3, 1, 1), conv(cin, pool, 1))])

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class GoogLeNetHeads(Module):  # the heads are torchvision's InceptionAux
    def __init__(self):
        super().__init__()
        self.stem = conv_bn_relu(3, 192, 3, bias=True)
        self.cells = ModuleList([Inception(*sizes) for sizes in (
            (192, 64, 96, 128, 16, 32, 32), (256, 128, 128, 192, 32, 96, 64), (480, 192, 96, 208, 16, 48, 64), (512, 160, 112, 224, 24, 64, 64),
            (512, 128, 128, 256, 24, 64, 64), (512, 112, 144, 288, 32, 64, 64), (528, 256, 160, 320, 32, 128, 128), (832, 256, 160, 320, 32, 128, 128),
            (832, 384, 192, 384, 48, 128, 128))])
        self.aux = ModuleList([Sequential(nn.AdaptiveAvgPool2d(4), conv_bn_relu(c, 128, 1, bias=True), nn.Flatten(), Linear(2048, 1024), nn.ReLU(), Linear(1024, 10))
                               for c in (512, 528)])
        self.linear = Linear(1024, 10)

    def forward(self, x):
        x, further = self.stem(x), []
        for i, cell in enumerate(self.cells):
            x = cell(x)
            if i in (1, 6):
                x = F.max_pool2d(x, 3, 2, 1)
            if i in (2, 5) and self.training:
                further.append(self.aux[i // 5](x))
        logits = self.linear(x.mean((2, 3)))
        return (logits, *further) if self.training else logits


# ---- weiaicunzai/pytorch-cifar100 ----


def separable(cin, cout):
    return Sequential(Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False), Conv2d(cin, cout, 1, bias=False), BatchNorm2d(cout))


class Residual(Module):
    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def xception(width=728, middles=8):
    def down(cin, first, cout, stride, activate=True):
        body = [nn.ReLU()] * activate + [separable(cin, first), nn.ReLU(), separable(first, cout), nn.MaxPool2d(3, stride, 1)]
        return Residual(Sequential(*body), Sequential(Conv2d(cin, cout, 1, stride), BatchNorm2d(cout)))

    middle = [Residual(Sequential(*[layer for _ in range(3) for layer in (nn.ReLU(), separable(width, width))])) for _ in range(middles)]
    return Sequential(conv_bn_relu(3, 32, 3), conv_bn_relu(32, 64, 3), down(64, 128, 128, 2, False), down(128, 256, 256, 2), down(256, width, width, 1), *middle,
                      down(width, width, 1024, 2), separable(1024, 1536), nn.ReLU(), separable(1536, 2048), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                      Linear(2048, 10))


class Generalized(Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        conv = lambda: Conv2d(cin, cout, 3, stride, 1)
        self.r_r, self.r_t, self.t_t, self.t_r = conv(), conv(), conv(), conv()
        self.shortcut = Conv2d(cin, cout, 1, stride) if cin != cout or stride != 1 else nn.Identity()
        self.residual, self.transient = Sequential(BatchNorm2d(cout), nn.ReLU()), Sequential(BatchNorm2d(cout), nn.ReLU())

    def forward(self, streams):
        r, t = streams
        r_r, r_t, shortcut, t_t, t_r = self.r_r(r), self.r_t(r), self.shortcut(r), self.t_t(t), self.t_r(t)
        return self.residual(r_r + t_r + shortcut), self.transient(r_t + t_t)


class RiR(Module):
    def __init__(self, width=48, rate=0.0):
        super().__init__()
        self.pre = ModuleList(conv_bn_relu(3, width, 3, bias=True) for _ in range(2))
        layers, c = [], width
        for layer in range(16):
            wide = width << (layer >= 4) + (layer >= 10)
            layers.append(Generalized(c, wide, 2 if layer in (4, 10) else 1))
            c = wide
        self.layers = Sequential(*layers)
        self.end = Sequential(Conv2d(2 * c, 10, 3, 2), BatchNorm2d(10), nn.ReLU(), nn.Flatten(), Linear(90, 45), nn.ReLU(), Linear(45, 10))

    def forward(self, x):
        return self.end(torch.cat(self.layers([pre(x) for pre in self.pre]), 1))


def attention_unit(cin, cout, stride=1):
    mid = cout // 4
    return Residual(Sequential(BatchNorm2d(cin), nn.ReLU(), Conv2d(cin, mid, 1, stride), BatchNorm2d(mid), nn.ReLU(), Conv2d(mid, mid, 3, padding=1),
                               BatchNorm2d(mid), nn.ReLU(), Conv2d(mid, cout, 1)), Conv2d(cin, cout, 1, stride))


class AttentionModule(Module):
    """AttentionModule1 to 3 of depth 3 to 1, the second and third pool reading what is above them, as in the paper."""

    def __init__(self, c, depth):
        super().__init__()
        self.pre, self.trunk = attention_unit(c, c), Sequential(attention_unit(c, c), attention_unit(c, c))
        self.down = ModuleList(attention_unit(c, c) for _ in range(depth + 1))
        self.up = ModuleList(attention_unit(c, c) for _ in range(depth + 1))
        self.shortcuts = ModuleList(attention_unit(c, c) for _ in range(depth - 1))
        self.end = Sequential(*[layer for _ in range(2) for layer in (BatchNorm2d(c), nn.ReLU(), Conv2d(c, c, 1))], nn.Sigmoid())
        self.last = attention_unit(c, c)

    def forward(self, x):
        x = self.pre(x)
        trunk, sizes, above = self.trunk(x), [], []
        for level in range(len(self.down) - 1):
            sizes.append(x.shape[2:])
            x = self.down[level](F.max_pool2d(x, 3, 2, 1))
            if level < len(self.shortcuts):
                above.append(self.shortcuts[level](x))
        x = self.up[0](self.down[-1](x))
        for level, size in enumerate(reversed(sizes)):
            x = F.interpolate(self.up[level + 1](x), size=size)
            if above:
                x = x + above.pop()
        return self.last((1 + self.end(x)) * trunk)


def attention56(modules=(1, 1, 1), width=64):
    layers, c = [conv_bn_relu(3, width, 3, bias=True)], width
    for stage, count in enumerate(modules):
        wide = width * 4 << stage
        layers += [attention_unit(c, wide, 2), *(AttentionModule(wide, 3 - stage) for _ in range(count))]
        c = wide
    layers += [attention_unit(c, width * 32, 2), attention_unit(width * 32, width * 32), attention_unit(width * 32, width * 32)]
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(width * 32, 10))


# ---- others ----


class Bottle2neck(Module):  # Res2Net/Res2Net-PretrainedModels
    def __init__(self, cin, planes, stride, width, scale, stage):
        super().__init__()
        self.width, self.stage = width, stage
        self.first = conv_bn_relu(cin, width * scale, 1)
        self.convs = ModuleList(conv_bn_relu(width, width, 3, stride) for _ in range(scale - 1))
        self.pool = nn.AvgPool2d(3, stride, 1)
        self.last = Sequential(Conv2d(width * scale, 4 * planes, 1, bias=False), BatchNorm2d(4 * planes))
        self.downsample = Sequential(Conv2d(cin, 4 * planes, 1, stride, bias=False), BatchNorm2d(4 * planes)) if stage else nn.Identity()

    def forward(self, x):
        parts, out = torch.split(self.first(x), self.width, 1), []
        for i, conv in enumerate(self.convs):
            out.append(conv(parts[i] if i == 0 or self.stage else out[-1] + parts[i]))
        out.append(self.pool(parts[-1]) if self.stage else parts[-1])
        return F.relu(self.last(torch.cat(out, 1)) + self.downsample(x))


def res2net50(blocks=(3, 4, 6, 3), width=26, scales=4, size=224, classes=1000):
    layers, c = [conv_bn_relu(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(blocks):
        planes = 64 << stage
        for i in range(count):
            layers.append(Bottle2neck(c, planes, 2 if stage and not i else 1, planes * width // 64, scales, i == 0))
            c = 4 * planes
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(c, classes))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(Module):  # facebookresearch/ConvNeXt
    def __init__(self, c):
        super().__init__()
        self.dwconv, self.norm = Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=1e-6)
        self.pwconv1, self.pwconv2, self.gamma = Linear(c, 4 * c), Linear(4 * c, c), nn.Parameter(torch.ones(c))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext(blocks, width, patch=4, size=224, classes=1000, drop=0.0):
    layers = [Conv2d(3, width, patch, patch), LayerNorm2d(width, 1e-6)]
    for stage, count in enumerate(blocks):
        c = width << stage
        if stage:
            layers += [LayerNorm2d(c // 2, 1e-6), Conv2d(c // 2, c, 2, 2)]
        layers += [ConvNeXtBlock(c) for _ in range(count)]
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(c, 1e-6), Linear(c, classes))


class ConvMixer(Module):  # locuslab/convmixer-cifar10
    def __init__(self, c, k):
        super().__init__()
        self.depthwise = Residual(Sequential(Conv2d(c, c, k, groups=c, padding="same"), nn.GELU(), BatchNorm2d(c)))
        self.pointwise = Sequential(Conv2d(c, c, 1), nn.GELU(), BatchNorm2d(c))

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


def convmixer(width=256, depth=8, kernel=5, patch=2):
    return Sequential(Conv2d(3, width, patch, patch), nn.GELU(), BatchNorm2d(width), *(ConvMixer(width, kernel) for _ in range(depth)),
                      nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(width, 10))


class StdConv2d(Conv2d):  # google-research/big_transfer, bit_pytorch/models.py
    def forward(self, x):
        v, m = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        return F.conv2d(x, (self.weight - m) / torch.sqrt(v + 1e-10), None, self.stride, self.padding)


class StandardBasic(Module):
    def __init__(self, cin, c, stride, groups):
        super().__init__()
        self.branch = Sequential(StdConv2d(cin, c, 3, stride, 1, bias=False), nn.GroupNorm(groups, c), nn.ReLU(), StdConv2d(c, c, 3, 1, 1, bias=False),
                                 nn.GroupNorm(groups, c))
        self.shortcut = StdConv2d(cin, c, 1, stride, bias=False) if stride != 1 or cin != c else nn.Identity()

    def forward(self, x):
        y = self.branch(x)
        return F.relu(self.shortcut(x) + y)


def ws_resnet20(depth=20, groups=8):
    blocks, layers, c = (depth - 2) // 6, [StdConv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(groups, 16), nn.ReLU()], 16
    for stage in range(3):
        for i in range(blocks):
            layers.append(StandardBasic(c, 16 << stage, 2 if stage and not i else 1, groups))
            c = 16 << stage
    return Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(c, 10))


NETS = {
    "ws_resnet20": ws_resnet20,
    "eca_resnet20": lambda **sizes: attention_resnet(ECA, **sizes),
    "ge_resnet20": lambda **sizes: attention_resnet(GatherExcite, **sizes),
    "cbam_resnet20": lambda **sizes: attention_resnet(CBAM, **sizes),
    "ca_resnet20": lambda **sizes: attention_resnet(CoordinateAttention, **sizes),
    "sk_resnet20": lambda **sizes: attention_resnet(SelectiveKernel, **sizes),
    "gct_resnet20": lambda **sizes: attention_resnet(GCT, **sizes),
    "srm_resnet20": lambda **sizes: attention_resnet(SRM, **sizes),
    "stochastic_resnet110": stochastic_resnet110,
    "shufflenet_g2": shufflenet_g2,
    "shufflenet_v2": shufflenet_v2,
    "dpn26": dpn,
    "dpn92": lambda blocks=(3, 4, 20, 3), **sizes: dpn(blocks, **sizes),
    "pnasnet_a": lambda filters=44, **sizes: pnasnet("a", filters, **sizes),
    "pnasnet_b": lambda filters=32, **sizes: pnasnet("b", filters, **sizes),
    "efficientnet_b0": efficientnet_b0,
    "googlenet_heads": lambda rate: GoogLeNetHeads(),
    "xception": xception,
    "rir": RiR,
    "attention56": attention56,
    "res2net50": res2net50,
    "convnext_femto": lambda blocks=(2, 2, 6, 2), width=48, layer_scale=0, **sizes: convnext(blocks, width, **sizes),
    "convnext_tiny": lambda blocks=(3, 3, 9, 3), width=96, layer_scale=0, **sizes: convnext(blocks, width, **sizes),
    "convmixer": convmixer,
}

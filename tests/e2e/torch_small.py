"""The network of small.net in PyTorch."""
import torch
import torch.nn.functional as F

from e2e import check


def small_resnet(parameters, x, se, statistics=None):
    """Parameters stand in the order of creation, which is the order of use. With statistics (mean, variance, mean, ...) it infers."""
    rest, running = iter(parameters), iter(statistics or [])

    def conv_bn(x, stride=1):
        weight = next(rest)
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)
        mean, variance = (next(running), next(running)) if statistics else (None, None)
        return F.batch_norm(x, mean, variance, next(rest), next(rest), training=statistics is None)

    def gate(x):
        s = F.relu(F.linear(x.mean((2, 3)), next(rest), next(rest)))
        return x * torch.sigmoid(F.linear(s, next(rest), next(rest)))[:, :, None, None]

    x = F.relu(conv_bn(x, 2))
    for stage in range(3):
        stride = 2 if stage else 1
        y = conv_bn(F.relu(conv_bn(x, stride)))
        if se:
            y = gate(y)
        if stage:
            x = F.conv2d(x, next(rest), stride=stride)
        x = F.relu(x + y)
    x = F.linear(x.mean((2, 3)), next(rest), next(rest))
    check(next(rest, None) is None and next(running, None) is None, "the file holds more parameters than the network has")
    return x

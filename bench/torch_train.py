#!/usr/bin/env python3
"""PyTorch as a peer of `netc bench --compare`: Debian's python3-torch or any newer one. See peer.py.

Modes: eager (NCHW), channels_last, and, from PyTorch 2 on, compile (channels_last too); each also with bf16 autocast."""
import peer


def load():
    import torch
    import torch.fx
    import torch.nn.functional as F

    class Ops:
        """How PyTorch says the ops of a graph."""

        def conv2d(self, x, w, stride, pad, dilation, groups, **_):
            if pad[0] != pad[1] or pad[2] != pad[3]:
                x, pad = F.pad(x, (pad[2], pad[3], pad[0], pad[1])), (0, 0, 0, 0)
            return F.conv2d(x, w, None, stride, (pad[0], pad[2]), dilation, groups)

        def batch_norm(self, x, gamma, beta, mean, var, eps, momentum, training):
            return F.batch_norm(x, mean, var, gamma, beta, training, momentum, eps), None, None  # the state is updated in place

        def spread(self, x, rank, to):
            return x[:, :, None, None] if (rank, to) == (2, 4) else x[:, None, None] if (rank, to) == (1, 4) else x

        def max_pool(self, x, kernel, stride, pad, **_):
            return F.max_pool2d(x, kernel, stride, (pad[0], pad[2]))

        def avg_pool(self, x, kernel, stride, pad, **_):
            return F.avg_pool2d(x, kernel, stride, (pad[0], pad[2]))

        def global_avg_pool(self, x):
            return x.mean((2, 3))

        dense = staticmethod(F.linear)
        relu, sigmoid, tanh, silu = (staticmethod(f) for f in (F.relu, torch.sigmoid, torch.tanh, F.silu))
        hard_sigmoid, hard_swish = staticmethod(F.hardsigmoid), staticmethod(F.hardswish)

        def flatten(self, x):
            return x.flatten(1)

        def concat(self, *x):
            return torch.cat(x, 1)

    class Module(torch.nn.Module):
        def __init__(self, net, leaves, training):
            super().__init__()
            self.net, self.leaf_names, self.is_training = net, {}, training
            for number, (value, tensor) in enumerate(leaves):
                self.leaf_names[value["attrs"]["name"]] = f"leaf{number}"
                put = self.register_parameter if value["op"] == "param" else self.register_buffer
                put(f"leaf{number}", tensor)

        def forward(self, images):
            leaf = {name: getattr(self, attribute) for name, attribute in self.leaf_names.items()}
            return self.net.forward(Ops(), leaf, images, self.is_training)[0]

    def optimiser(parameters):
        for fast in ({"fused": True}, {"foreach": True}):
            try:
                return torch.optim.SGD(parameters, peer.LR, peer.MOMENTUM, weight_decay=peer.WEIGHT_DECAY, **fast)
            except (TypeError, RuntimeError):  # this version does not have it on a CPU
                pass
        raise peer.Missing("torch.optim.SGD is too old")

    class Torch:
        name, version = "torch", torch.__version__
        modes = ["eager", "channels_last"] + (["compile"] if hasattr(torch, "compile") else [])
        modes += [mode + "-bf16" for mode in modes]

        def __init__(self, net, mode, threads, training, inference):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            kind, bf16 = mode.split("-")[0], mode.endswith("-bf16")
            self.compiles_late = kind == "compile"
            layout = torch.contiguous_format if kind == "eager" else torch.channels_last

            def leaf(value):
                tensor = peer.initial(value, torch.randn)
                if tensor.dim() == 4:
                    tensor = tensor.contiguous(memory_format=layout)
                return torch.nn.Parameter(tensor) if value["op"] == "param" else tensor

            def module(is_training):  # traced, so that what runs is straight-line code, as if written by hand
                traced = torch.fx.symbolic_trace(Module(net, leaves, is_training))
                return torch.compile(traced) if kind == "compile" else traced

            leaves = [(value, leaf(value)) for value in net.leaves]
            images = torch.randn(net.image_shape).contiguous(memory_format=layout)
            labels = torch.randint(0, net.classes, (net.image_shape[0],))
            if training:
                forward = module(True)
                sgd = optimiser([tensor for value, tensor in leaves if value["op"] == "param"])
            if inference:
                predict = module(False)

            def train():
                sgd.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = F.cross_entropy(forward(images), labels, label_smoothing=net.smoothing)
                loss.backward()
                sgd.step()
                return loss.item()

            def infer():
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    predict(images)

            self.train, self.infer = train, infer

    return Torch


if __name__ == "__main__":
    peer.main(load)

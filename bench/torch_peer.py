#!/usr/bin/env python3
"""PyTorch as a peer of `netc bench --compare`: Debian's python3-torch or any newer one. See peer.py.

Modes: eager (NCHW), channels_last, and, from PyTorch 2 on, compile (channels_last too); each also with bf16 autocast. For inference alone also frozen (traced and
frozen), frozen_channels_last, and optimized (torch.jit.optimize_for_inference), in f32."""
import peer


def optimiser(job, parameters):
    """`parameters` are (value, tensor)s."""
    import torch

    o = job.optimizer
    groups = [{"params": [p for v, p in parameters if job.decay(v) == decay], "weight_decay": decay} for decay in {job.decay(v) for v, _ in parameters}]
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[o["kind"]]
    options = {"momentum": o["momentum"], "nesterov": o["nesterov"]} if o["kind"] == "sgd" else {"betas": (o["beta1"], o["beta2"]), "eps": o["eps"]}
    for fast in ({"fused": True}, {"foreach": True}):
        try:  # in one step of a spare weight: some versions refuse only there what they do not have on a CPU
            spare = torch.zeros(1, requires_grad=True)
            spare.grad = torch.zeros(1)
            make([spare], lr=o["lr"], **options, **fast).step()
            return make(groups, lr=o["lr"], **options, **fast)
        except (TypeError, RuntimeError):
            pass
    raise peer.Missing(f"torch.optim of this version is too old for {o['kind']}")


def loss_of(net, logits, labels):
    """A training's, of what the net gives: logits, or these and those of its further heads."""
    from torch.nn.functional import cross_entropy

    logits, *further = logits if net.further else (logits,)
    return net.total(lambda x: cross_entropy(x, labels, label_smoothing=net.smoothing), logits, further)


def load():
    import torch
    import torch.fx
    import torch.nn.functional as F

    class Ops:
        """How PyTorch says the ops of a graph."""

        @staticmethod
        def padded(x, pad, value=0.0):
            """x with pads top, left, bottom, right."""
            top, left, bottom, right = pad
            return F.pad(x, (left, right, top, bottom), value=value)

        def conv2d(self, x, w, stride, pad, dilation, groups, **_):
            if pad[:2] != pad[2:]:
                x, pad = self.padded(x, pad), (0, 0)
            return F.conv2d(x, w, None, stride, pad[:2], dilation, groups)

        def standardize(self, w, eps):
            both = torch.var_mean(w, (1, 2, 3), unbiased=False, keepdim=True)  # not unpacked: PyTorch 1.13 cannot trace that
            return (w - both[1]) * torch.rsqrt(both[0] + eps)

        def batch_norm(self, x, gamma, beta, mean, var, eps, momentum, training):
            return F.batch_norm(x, mean, var, gamma, beta, training, momentum, eps), None, None  # the state is updated in place

        def spread(self, x, rank, to):
            return x[:, :, None, None] if (rank, to) == (2, 4) else x[:, None, None] if (rank, to) == (1, 4) else x

        def pool(self, function, x, kernel, stride, pad, value):
            if pad[:2] != pad[2:] or any(2 * p > k for p, k in zip(pad, kernel)):  # PyTorch's pools pad at most half of the kernel
                x, pad = self.padded(x, pad, value), (0, 0)
            return function(x, kernel, stride, pad[:2])

        def max_pool(self, x, kernel, stride, pad, **_):
            return self.pool(F.max_pool2d, x, kernel, stride, pad, float("-inf"))

        def avg_pool(self, x, kernel, stride, pad, **_):
            return self.pool(F.avg_pool2d, x, kernel, stride, pad, 0.0)

        def global_avg_pool(self, x):
            return x.mean((2, 3))

        dense = staticmethod(F.linear)
        relu, sigmoid, tanh, silu = (staticmethod(f) for f in (F.relu, torch.sigmoid, torch.tanh, F.silu))
        exp, log, sqrt, rsqrt, abs = (staticmethod(f) for f in (torch.exp, torch.log, torch.sqrt, torch.rsqrt, torch.abs))
        expm1, log1p, erf, where = (staticmethod(f) for f in (torch.expm1, torch.log1p, torch.erf, torch.where))
        hard_sigmoid, hard_swish = staticmethod(F.hardsigmoid), staticmethod(F.hardswish)

        def softmax(self, x):
            return F.softmax(x, 1)

        def dropout(self, x, rate, stream):
            return F.dropout(x, rate)

        def ones(self, shape):
            return torch.ones(shape)

        def unflatten(self, x, shape):
            return x.unflatten(1, shape)

        def flatten(self, x):
            return x.flatten(1)

        def concat(self, *x):
            return torch.cat(x, 1)

        def slice_channels(self, x, first, count):
            return x[:, first:first + count]

        def sum_to(self, x, axes):
            return x.sum(axes, keepdim=True) if axes else x

        def max_to(self, x, axes):
            """The first of equal maxima has the gradient; of channels and pixels, of each pixel's first channel."""
            if 1 in axes:
                x = torch.max(x, 1, keepdim=True).values
            if 2 in axes and 3 in axes:
                return torch.max(x.flatten(2), 2, keepdim=True).values[..., None]
            for axis in set(axes) & {2, 3}:
                x = torch.max(x, axis, keepdim=True).values
            return x

        def channel_shuffle(self, x, groups):
            return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)

        def upsample(self, x, times):
            return F.interpolate(x, scale_factor=times)

        def pad(self, x, pad):
            return self.padded(x, pad)

        def crop(self, x, cut):
            return x[:, :, cut[0]:x.shape[2] - cut[2], cut[1]:x.shape[3] - cut[3]]

        def pad_channels(self, x, count, stride):
            channels = x.shape[1]
            x = x[:, :, ::stride, ::stride]
            return F.pad(x, (0, 0, 0, 0, 0, count - channels))

    class Module(torch.nn.Module):
        """A net whose leaves are (value, tensor)s."""

        def __init__(self, net, leaves, training):
            super().__init__()
            self.net, self.leaf_names, self.is_training = net, {}, training
            for number, (value, tensor) in enumerate(leaves):
                self.leaf_names[value["attrs"]["name"]] = f"leaf{number}"
                put = self.register_parameter if value["op"] == "param" else self.register_buffer
                put(f"leaf{number}", tensor)

        def forward(self, images):
            leaf = {name: getattr(self, attribute) for name, attribute in self.leaf_names.items()}
            logits, _, further = self.net.forward(Ops(), leaf, images, self.is_training)
            return (logits, *further) if further else logits

    def freeze(mode, module, images):
        """The module as TorchScript with its weights in it."""
        traced = torch.jit.trace(module.eval(), images)
        return torch.jit.optimize_for_inference(traced) if mode == "optimized" else torch.jit.freeze(traced)

    class Torch:
        name, version = "torch", torch.__version__
        modes = ["eager", "channels_last"] + (["compile"] if hasattr(torch, "compile") else [])
        modes += [mode + "-bf16" for mode in modes]
        inference_modes = ["frozen", "frozen_channels_last", "optimized"]
        module, ops, frozen = Module, Ops, staticmethod(freeze)  # for whoever wants the net alone (infer_worker.py, tests/random_nets.py)

        def __init__(self, job, net, mode, threads, training, inference):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            kind, bf16 = mode.split("-")[0], mode.endswith("-bf16")
            layout = torch.contiguous_format if kind in ("eager", "frozen", "optimized") else torch.channels_last

            def tensor(words, value):
                made = torch.frombuffer(words, dtype=torch.float32).reshape(value["type"]["shape"])
                return made.clone(memory_format=layout if made.dim() == 4 else torch.contiguous_format)

            def leaf(value):
                made = tensor(job.leaf[value["attrs"]["name"]], value)
                return torch.nn.Parameter(made) if value["op"] == "param" else made

            def module(is_training):  # traced, so that what runs is straight-line code, as if written by hand
                traced = torch.fx.symbolic_trace(Module(net, leaves, is_training))
                return torch.compile(traced) if kind == "compile" else traced

            leaves = [(value, leaf(value)) for value in net.leaves]
            images = tensor(job.images, net.images)
            if training:
                labels = torch.frombuffer(job.labels, dtype=torch.int32).long()
                forward = module(True)
                updates = optimiser(job, [(value, made) for value, made in leaves if value["op"] == "param"])
            if inference:
                predict = module(False)
                if mode in self.inference_modes:
                    predict = self.frozen(mode, predict, images)

            def train():
                updates.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = loss_of(net, forward(images), labels)
                loss.backward()
                updates.step()
                return loss.item()

            def infer():
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    return predict(images)

            def held():
                made = [images, *(tensor for _, tensor in leaves), *(tensor.grad for _, tensor in leaves if tensor.grad is not None)]
                made += [state for states in updates.state.values() for state in states.values() if torch.is_tensor(state)]
                return sum(tensor.numel() * tensor.element_size() for tensor in made)

            self.train, self.infer, self.held = train, infer, held

    return Torch


if __name__ == "__main__":
    peer.main(load)

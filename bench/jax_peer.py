#!/usr/bin/env python3
"""JAX as a peer of `netc bench --compare`, without a library of layers. See peer.py.

Modes: nchw and nhwc, the layout that convolutions are given; each also with bf16 activations and weights, f32 master copies."""
import peer


def load():
    import jax
    import jax.numpy as jnp
    import numpy

    class Ops:
        """How JAX says the ops of a graph; feature maps stand in `layout`, filters as the graph has them."""

        def __init__(self, layout):
            self.layout = layout
            self.space = (2, 3) if layout == "NCHW" else (1, 2)
            self.channel = layout.index("C")

        def per_space(self, values, fill):
            out = [fill] * 4
            out[self.space[0]], out[self.space[1]] = values
            return tuple(out)

        @staticmethod
        def pairs(pad):
            """Pads top, left, bottom, right as JAX has them."""
            return ((pad[0], pad[2]), (pad[1], pad[3]))

        def conv2d(self, x, w, stride, pad, dilation, groups, **_):
            return jax.lax.conv_general_dilated(x, w.astype(x.dtype), tuple(stride), self.pairs(pad), rhs_dilation=tuple(dilation),
                                                dimension_numbers=(self.layout, "OIHW", self.layout), feature_group_count=groups)

        def spread(self, x, rank, to):
            if to != 4:
                return x
            shape = [1] * 4
            shape[self.channel] = x.shape[-1]
            if rank == 2:
                shape[0] = x.shape[0]
            return x.reshape(shape)

        def batch_norm(self, x, gamma, beta, mean, var, eps, momentum, training):
            axes = tuple(i for i in range(x.ndim) if i != (self.channel if x.ndim == 4 else 1))
            spread = (lambda v: self.spread(v, 1, 4)) if x.ndim == 4 else (lambda v: v)
            if training:
                x32 = x.astype(jnp.float32)
                count = x.size // mean.size
                now = x32.mean(axes)
                spot = (x32 * x32).mean(axes) - now * now
                mean, var, now_mean, now_var = (mean + momentum * (now - mean), var + momentum * (spot * count / max(1, count - 1) - var), now, spot)
            else:
                now_mean, now_var = mean, var
            scale = (1 if gamma is None else gamma) * jax.lax.rsqrt(now_var + eps)
            shift = (0 if beta is None else beta) - now_mean * scale
            return x * spread(scale).astype(x.dtype) + spread(shift).astype(x.dtype), mean, var

        def pool(self, x, start, reduce, kernel, stride, pad):
            pads = self.per_space(self.pairs(pad), (0, 0))
            return jax.lax.reduce_window(x, numpy.asarray(start, x.dtype), reduce, self.per_space(kernel, 1), self.per_space(stride, 1), pads)

        def max_pool(self, x, kernel, stride, pad, **_):
            return self.pool(x, -numpy.inf, jax.lax.max, kernel, stride, pad)

        def avg_pool(self, x, kernel, stride, pad, **_):
            return self.pool(x, 0, jax.lax.add, kernel, stride, pad) / (kernel[0] * kernel[1])

        def global_avg_pool(self, x):
            return x.mean(self.space)

        def dense(self, x, w):
            return x @ w.T.astype(x.dtype)

        relu, sigmoid, tanh, silu = (staticmethod(f) for f in (jax.nn.relu, jax.nn.sigmoid, jnp.tanh, jax.nn.silu))
        exp, log, sqrt, rsqrt, abs = (staticmethod(f) for f in (jnp.exp, jnp.log, jnp.sqrt, jax.lax.rsqrt, jnp.abs))
        expm1, log1p, erf, where = (staticmethod(f) for f in (jnp.expm1, jnp.log1p, jax.scipy.special.erf, jnp.where))
        hard_sigmoid, hard_swish = staticmethod(jax.nn.hard_sigmoid), staticmethod(jax.nn.hard_swish)

        def softmax(self, x):
            return jax.nn.softmax(x, 1)

        def dropout(self, x, rate, stream):
            kept = jax.random.bernoulli(jax.random.fold_in(self.key, stream), 1 - rate, x.shape)
            return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)

        def ones(self, shape):
            return jnp.ones(shape)  # one channel and pixel, or a number: in any layout

        def unflatten(self, x, shape):
            x = x.reshape(len(x), *shape)
            return x if self.layout == "NCHW" else x.transpose(0, 2, 3, 1)

        def flatten(self, x):
            x = x if self.layout == "NCHW" else x.transpose(0, 3, 1, 2)  # the order of the graph's, whatever the layout
            return x.reshape(len(x), -1)

        def sum_to(self, x, axes):
            return x.sum(tuple(self.layout.index("NCHW"[i]) for i in axes), keepdims=True)

        def max_to(self, x, axes):
            return x.max(tuple(self.layout.index("NCHW"[i]) for i in axes), keepdims=True)

        def along(self, x):
            """The axis of channels."""
            return self.channel if x.ndim == 4 else 1

        def slice_channels(self, x, first, count):
            return jax.lax.slice_in_dim(x, first, first + count, axis=self.along(x))

        def channel_shuffle(self, x, groups):
            axis = self.along(x)
            apart = x.reshape(*x.shape[:axis], groups, -1, *x.shape[axis + 1:])
            return jnp.swapaxes(apart, axis, axis + 1).reshape(x.shape)

        def upsample(self, x, times):
            for axis in self.space:
                x = jnp.repeat(x, times, axis)
            return x

        def pad(self, x, pad):
            return jnp.pad(x, self.per_space(self.pairs(pad), (0, 0)))

        def crop(self, x, cut):
            return x[self.per_space([slice(a, x.shape[axis] - b) for axis, (a, b) in zip(self.space, self.pairs(cut))], slice(None))]

        def pad_channels(self, x, count, stride):
            pads = [(0, 0)] * 4
            pads[self.channel] = (0, count - x.shape[self.channel])
            return jnp.pad(x[tuple(slice(None, None, step) for step in self.per_space((stride, stride), 1))], pads)

        def concat(self, *x):
            return jnp.concatenate(x, self.channel if x[0].ndim == 4 else 1)

    def updated(job, value, w, grad, moments, t):
        """One parameter after step t, which counts from 1, and its moments: as PyTorch does it."""
        o, decay = job.optimizer, job.decay(value)
        if o["kind"] == "sgd":
            grad = grad + decay * w
            moment = o["momentum"] * moments[0] + grad
            return w - o["lr"] * (grad + o["momentum"] * moment if o["nesterov"] else moment), (moment,)
        if o["kind"] == "adam":
            grad = grad + decay * w
        else:
            w = w * (1 - o["lr"] * decay)
        first = o["beta1"] * moments[0] + (1 - o["beta1"]) * grad
        second = o["beta2"] * moments[1] + (1 - o["beta2"]) * grad * grad
        root = jnp.sqrt(second / (1 - o["beta2"] ** t)) + o["eps"]
        return w - o["lr"] / (1 - o["beta1"] ** t) * first / root, (first, second)

    class Jax:
        name, version = "jax", jax.__version__
        modes = ["nchw", "nhwc", "nchw-bf16", "nhwc-bf16"]

        def __init__(self, job, net, mode, threads, training, inference):
            ops, dtype = Ops(mode[:4].upper()), jnp.bfloat16 if mode.endswith("-bf16") else jnp.float32
            values = {v["attrs"]["name"]: v for v in net.params}

            def tensor(words, value):
                return numpy.array(words, "f4").reshape(value["type"]["shape"])

            leaf = {v["attrs"]["name"]: jnp.asarray(tensor(job.leaf[v["attrs"]["name"]], v)) for v in net.leaves}
            params = {name: leaf.pop(name) for name in values}
            images = tensor(job.images, net.images)
            images = jnp.asarray(images if ops.layout == "NCHW" else images.transpose(0, 2, 3, 1))
            labels = jnp.asarray(numpy.array(job.labels or [], "i4"))

            def loss_of(params, state, images, labels, t):
                ops.key = jax.random.fold_in(jax.random.key(0), t)  # of dropout
                logits, new, further = net.forward(ops, {**params, **state}, images.astype(dtype), True)
                target = jax.nn.one_hot(labels, net.classes) * (1 - net.smoothing) + net.smoothing / net.classes
                return net.total(lambda x: -(target * jax.nn.log_softmax(x.astype(jnp.float32))).sum(1).mean(), logits, further), new

            def step(params, state, moments, t, images, labels):
                t = t + 1
                (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params, state, images, labels, t)
                for name, w in params.items():
                    params[name], moments[name] = updated(job, values[name], w, grads[name], moments[name], t)
                return params, state, moments, t, loss

            def scores(params, state, images):
                return net.forward(ops, {**params, **state}, images.astype(dtype), False)[0]

            each = 0 if not training else 1 if job.optimizer["kind"] == "sgd" else 2  # moments of a parameter
            moments = {name: tuple(jnp.zeros_like(w) for _ in range(each)) for name, w in params.items()}
            self.now = (params, leaf, moments, jnp.zeros((), jnp.int32))
            if training:
                compiled_step = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*self.now, images, labels).compile()
            if inference:
                compiled_scores = jax.jit(scores).lower(*self.now[:2], images).compile()

            def train():
                *self.now, loss = compiled_step(*self.now, images, labels)
                jax.block_until_ready((self.now, loss))
                return float(loss)

            def infer():
                return jax.block_until_ready(compiled_scores(*self.now[:2], images))

            self.train, self.infer = train, infer
            self.held = lambda: images.nbytes + sum(array.nbytes for array in jax.tree.leaves(self.now))

    return Jax


if __name__ == "__main__":
    peer.main(load)

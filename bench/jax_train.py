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

        def conv2d(self, x, w, stride, pad, dilation, groups, **_):
            return jax.lax.conv_general_dilated(x, w.astype(x.dtype), tuple(stride), [tuple(pad[:2]), tuple(pad[2:])], rhs_dilation=tuple(dilation),
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
                count = x.size // gamma.size
                now = x32.mean(axes)
                spot = (x32 * x32).mean(axes) - now * now
                mean, var, now_mean, now_var = (mean + momentum * (now - mean), var + momentum * (spot * count / max(1, count - 1) - var), now, spot)
            else:
                now_mean, now_var = mean, var
            scale = gamma * jax.lax.rsqrt(now_var + eps)
            return x * spread(scale).astype(x.dtype) + spread(beta - now_mean * scale).astype(x.dtype), mean, var

        def pool(self, x, start, reduce, kernel, stride, pad):
            pads = self.per_space((tuple(pad[:2]), tuple(pad[2:])), (0, 0))
            return jax.lax.reduce_window(x, jnp.asarray(start, x.dtype), reduce, self.per_space(kernel, 1), self.per_space(stride, 1), pads)

        def max_pool(self, x, kernel, stride, pad, **_):
            return self.pool(x, -numpy.inf, jax.lax.max, kernel, stride, pad)

        def avg_pool(self, x, kernel, stride, pad, **_):
            return self.pool(x, 0, jax.lax.add, kernel, stride, pad) / (kernel[0] * kernel[1])

        def global_avg_pool(self, x):
            return x.mean(self.space)

        def dense(self, x, w):
            return x @ w.T.astype(x.dtype)

        relu, sigmoid, tanh, silu = (staticmethod(f) for f in (jax.nn.relu, jax.nn.sigmoid, jnp.tanh, jax.nn.silu))
        hard_sigmoid, hard_swish = staticmethod(jax.nn.hard_sigmoid), staticmethod(jax.nn.hard_swish)

        def concat(self, *x):
            return jnp.concatenate(x, self.channel if x[0].ndim == 4 else 1)

    class Jax:
        name, version = "jax", jax.__version__
        modes = ["nchw", "nhwc", "nchw-bf16", "nhwc-bf16"]
        compiles_late = False

        def __init__(self, net, mode, threads, training, inference):
            ops, dtype = Ops(mode[:4].upper()), jnp.bfloat16 if mode.endswith("-bf16") else jnp.float32
            random = numpy.random.default_rng(0)
            leaf = {v["attrs"]["name"]: jnp.asarray(peer.initial(v, lambda s: random.standard_normal(s, dtype="f4")), jnp.float32) for v in net.leaves}
            params = {v["attrs"]["name"]: leaf.pop(v["attrs"]["name"]) for v in net.params}
            images = random.standard_normal(net.image_shape, dtype="f4")
            images = jnp.asarray(images if ops.layout == "NCHW" else images.transpose(0, 2, 3, 1))
            labels = jnp.asarray(random.integers(0, net.classes, net.image_shape[0]))
            decayed = {v["attrs"]["name"] for v in net.params if v["attrs"]["decay"]}

            def loss_of(params, state, images, labels):
                logits, new = net.forward(ops, {**params, **state}, images.astype(dtype), True)
                log = jax.nn.log_softmax(logits.astype(jnp.float32))
                target = jax.nn.one_hot(labels, net.classes) * (1 - net.smoothing) + net.smoothing / net.classes
                return -(target * log).sum(1).mean(), new

            def step(params, state, moments, images, labels):
                (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params, state, images, labels)
                for name, w in params.items():
                    grad = grads[name] + peer.WEIGHT_DECAY * w if name in decayed else grads[name]
                    moments[name] = peer.MOMENTUM * moments[name] + grad
                    params[name] = w - peer.LR * moments[name]
                return params, state, moments, loss

            def scores(params, state, images):
                return net.forward(ops, {**params, **state}, images.astype(dtype), False)[0]

            self.now = (params, leaf, jax.tree.map(jnp.zeros_like, params))
            if training:
                compiled_step = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*self.now, images, labels).compile()
            if inference:
                compiled_scores = jax.jit(scores).lower(*self.now[:2], images).compile()

            def train():
                *self.now, loss = compiled_step(*self.now, images, labels)
                jax.block_until_ready((self.now, loss))
                return float(loss)

            def infer():
                jax.block_until_ready(compiled_scores(*self.now[:2], images))

            self.train, self.infer = train, infer

    return Jax


if __name__ == "__main__":
    peer.main(load)

#!/usr/bin/env python3
"""TensorFlow as a peer of `netc bench --compare`, without Keras. See peer.py.

Modes: graph (tf.function on oneDNN) and xla (tf.function with jit_compile); feature maps are NHWC, the layout that its CPU kernels have."""
import contextlib
import os

import peer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet():
    """Nothing reaches stderr meanwhile: TensorFlow says some things before it reads the level above. What goes wrong is an exception."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def load():
    import numpy
    with quiet():
        import tensorflow as tf

    class Ops:
        """How TensorFlow says the ops of a graph; feature maps are NHWC, filters [kh, kw, I, O]."""

        def padded(self, x, pad, value=0):
            """x with pads top, left, bottom, right."""
            top, left, bottom, right = pad
            return tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]], constant_values=value) if any(pad) else x

        def conv2d(self, x, w, kernel, stride, pad, dilation, groups):
            same = list(stride) == [1, 1] and list(dilation) == [1, 1] and list(pad) == 2 * [kernel[0] // 2, kernel[1] // 2] and kernel[0] % 2 == kernel[1] % 2 == 1
            if groups != 1:
                raise peer.Missing("TensorFlow has no grouped convolution on a CPU")
            return tf.nn.conv2d(x if same else self.padded(x, pad), w, stride, "SAME" if same else "VALID", dilations=dilation)

        def batch_norm(self, x, gamma, beta, mean, var, eps, momentum, training):
            if x.shape.rank != 4:
                raise peer.Missing("this peer has batch_norm for feature maps only")
            gamma = tf.ones_like(mean) if gamma is None else gamma
            beta = tf.zeros_like(mean) if beta is None else beta
            if not training:
                return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, var, eps, is_training=False)[0], None, None
            return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, var, eps, is_training=True, exponential_avg_factor=momentum)

        def spread(self, x, rank, to):
            return x[:, None, None, :] if (rank, to) == (2, 4) else x

        def max_pool(self, x, kernel, stride, pad, **_):
            return tf.nn.max_pool2d(self.padded(x, pad, -numpy.inf), kernel, stride, "VALID")

        def avg_pool(self, x, kernel, stride, pad, **_):
            return tf.nn.avg_pool2d(self.padded(x, pad), kernel, stride, "VALID")

        def global_avg_pool(self, x):
            return tf.reduce_mean(x, (1, 2))

        def dense(self, x, w):
            return tf.matmul(x, w, transpose_b=True)

        relu, sigmoid, tanh, silu, softmax = (staticmethod(f) for f in (tf.nn.relu, tf.sigmoid, tf.tanh, tf.nn.silu, tf.nn.softmax))

        exp, log, sqrt, rsqrt, abs = (staticmethod(f) for f in (tf.exp, tf.math.log, tf.sqrt, tf.math.rsqrt, tf.abs))
        expm1, log1p, erf, where = (staticmethod(f) for f in (tf.math.expm1, tf.math.log1p, tf.math.erf, tf.where))

        def hard_sigmoid(self, x):
            return tf.nn.relu6(x + 3) / 6

        def hard_swish(self, x):
            return x * self.hard_sigmoid(x)

        def ones(self, shape):
            return tf.ones(shape)  # one channel and pixel, or a number: in any layout

        def unflatten(self, x, shape):
            return tf.transpose(tf.reshape(x, [-1, *shape]), (0, 2, 3, 1))

        def slice_channels(self, x, first, count):
            return x[..., first:first + count]

        def sum_to(self, x, axes):
            return tf.reduce_sum(x, [(0, 3, 1, 2)[i] for i in axes], keepdims=True)

        def max_to(self, x, axes):
            return tf.reduce_max(x, [(0, 3, 1, 2)[i] for i in axes], keepdims=True)

        def channel_shuffle(self, x, groups):
            rest = x.shape[:-1].as_list()
            apart = tf.reshape(x, rest + [groups, -1])
            return tf.reshape(tf.linalg.matrix_transpose(apart), rest + [x.shape[-1]])

        def upsample(self, x, times):
            return tf.repeat(tf.repeat(x, times, 1), times, 2)

        def dropout(self, x, rate, stream):
            return tf.nn.dropout(x, rate)

        def flatten(self, x):
            return tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (x.shape[0], -1))  # the order of the graph's, NCHW

        def pad(self, x, pad):
            return self.padded(x, pad)

        def crop(self, x, cut):
            return x[:, cut[0]:x.shape[1] - cut[2], cut[1]:x.shape[2] - cut[3]]

        def pad_channels(self, x, count, stride):
            return tf.pad(x[:, ::stride, ::stride, :], [[0, 0]] * 3 + [[0, count - x.shape[3]]])

        def concat(self, *x):
            return tf.concat(x, -1)

    class TensorFlow:
        name, version, modes = "tensorflow", tf.__version__, ["graph", "xla"]

        def __init__(self, job, net, mode, threads, training, inference):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            ops, sgd = Ops(), job.optimizer
            if training and sgd["kind"] != "sgd":
                raise peer.Missing(f"this peer has no optimizer '{sgd['kind']}', only sgd: --set 'train.optimizer=sgd(lr = 0.1, momentum = 0.9)'")

            def tensor(words, value):
                return numpy.array(words, "f4").reshape(value["type"]["shape"])

            def variable(value):
                array = tensor(job.leaf[value["attrs"]["name"]], value)
                return tf.Variable(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array, trainable=value["op"] == "param")

            leaf = {v["attrs"]["name"]: variable(v) for v in net.leaves}
            params = [leaf[v["attrs"]["name"]] for v in net.params]
            decays = [job.decay(v) for v in net.params]
            moments = [tf.Variable(tf.zeros_like(w), trainable=False) for w in params] if training else []
            images = tf.constant(tensor(job.images, net.images).transpose(0, 2, 3, 1))
            labels = tf.constant(numpy.array(job.labels or [], "i4"))
            self.held = lambda: 4 * sum(int(tf.size(array)) for array in (images, *leaf.values(), *moments))

            def step(images, labels):
                with tf.GradientTape() as tape:
                    logits, state, further = net.forward(ops, leaf, images, True)
                    target = tf.one_hot(labels, net.classes) * (1 - net.smoothing) + net.smoothing / net.classes
                    loss = net.total(lambda x: tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, x)), logits, further)
                grads = tape.gradient(loss, params, unconnected_gradients=tf.UnconnectedGradients.ZERO)
                for w, moment, grad, decay in zip(params, moments, grads, decays):
                    tf.raw_ops.ResourceApplyMomentum(var=w.handle, accum=moment.handle, lr=sgd["lr"], grad=grad + decay * w if decay else grad,
                                                     momentum=sgd["momentum"], use_nesterov=sgd["nesterov"])
                for name, value in state.items():
                    leaf[name].assign(value)
                return loss

            def traced(function, *examples):
                # without autograph, which would wrap a Missing in a text of several lines
                return tf.function(function, jit_compile=mode == "xla", autograph=False).get_concrete_function(*examples)

            if training:
                run_step = traced(step, images, labels)
            if inference:
                run_scores = traced(lambda images: net.forward(ops, leaf, images, False)[0], images)
            self.train = lambda: float(run_step(images, labels))
            self.infer = lambda: run_scores(images).numpy()

    return TensorFlow


if __name__ == "__main__":
    peer.main(load)

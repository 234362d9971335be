#!/usr/bin/env python3
"""ONNX Runtime as a peer of `netc bench --compare --mode=infer`: it does not train. See peer.py.

Mode: cpu (its own kernels, all its graph optimisations). The model is made of netc's graph, with the weights in it; what constants give and what
belongs together ONNX Runtime folds and fuses itself. Needs onnx and onnxruntime (pip install onnx onnxruntime)."""
import peer

OPSET, IR_VERSION = 18, 8
OPERATORS = {"add": "Add", "sub": "Sub", "mul": "Mul", "truediv": "Div", "pow": "Pow"}
COMPARISONS = {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"}


class Value:
    """A value of the model that is being made; numbers beside it become constants."""

    def __init__(self, ops, name):
        self.ops, self.name = ops, name

    def __neg__(self):
        return self.ops.node("Neg", self)


for word, op_type in {**OPERATORS, **COMPARISONS}.items():
    setattr(Value, f"__{word}__", lambda self, other, op_type=op_type: self.ops.node(op_type, self, other))
for word, op_type in OPERATORS.items():
    setattr(Value, f"__r{word}__", lambda self, other, op_type=op_type: self.ops.node(op_type, other, self))


class Ops:
    """How ONNX says the ops of a graph: each call appends a node."""

    def __init__(self, net):
        import numpy
        from onnx import helper, numpy_helper

        self.numpy, self.helper, self.numpy_helper = numpy, helper, numpy_helper
        self.nodes, self.constants = [], []
        # A value does not know its shape; those ops that need one come in the graph's order.
        self.shapes = {op: iter([net.values[v["args"][0]]["type"]["shape"] for v in net.values if v["op"] == op]) for op in ("channel_shuffle", "pad_channels")}

    def constant(self, value):
        """Of a number, or of a list of indices."""
        array = self.numpy.array(value, self.numpy.int64 if isinstance(value, list) else self.numpy.float32)
        return self.initializer(f"c{len(self.constants)}", array)

    def initializer(self, name, array):
        self.constants.append(self.numpy_helper.from_array(array, name))
        made = Value(self, name)
        made.shape = array.shape
        return made

    def node(self, op_type, *args, **attributes):
        names = [(a if isinstance(a, Value) else self.constant(a)).name for a in args]
        out = Value(self, f"n{len(self.nodes)}")
        self.nodes.append(self.helper.make_node(op_type, names, [out.name], **attributes))
        return out

    def conv2d(self, x, w, kernel, stride, pad, dilation, groups):
        return self.node("Conv", x, w, kernel_shape=kernel, strides=stride, pads=pad, dilations=dilation, group=groups)

    def standardize(self, w, eps):
        apart = w - self.node("ReduceMean", w, [1, 2, 3])
        return apart / self.sqrt(self.node("ReduceMean", apart * apart, [1, 2, 3]) + eps)

    def batch_norm(self, x, gamma, beta, mean, var, eps, *_):
        like = self.numpy.ones(mean.shape, self.numpy.float32)
        gamma = self.initializer(mean.name + ".gamma", like) if gamma is None else gamma
        beta = self.initializer(mean.name + ".beta", 0 * like) if beta is None else beta
        return self.node("BatchNormalization", x, gamma, beta, mean, var, epsilon=eps), None, None

    def spread(self, x, rank, to):
        axes = {(2, 4): [2, 3], (1, 4): [1, 2]}.get((rank, to))
        return self.node("Unsqueeze", x, axes) if axes else x

    def max_pool(self, x, kernel, stride, pad, dilation):
        return self.node("MaxPool", x, kernel_shape=kernel, strides=stride, pads=pad, dilations=dilation)

    def avg_pool(self, x, kernel, stride, pad, dilation):
        if dilation != [1, 1]:
            raise peer.Missing("this peer has no average pool with dilation")
        return self.node("AveragePool", x, kernel_shape=kernel, strides=stride, pads=pad, count_include_pad=1)

    def global_avg_pool(self, x):
        return self.flatten(self.node("GlobalAveragePool", x))

    def dense(self, x, w):
        return self.node("Gemm", x, w, transB=1)

    def silu(self, x):
        return x * self.sigmoid(x)

    def hard_sigmoid(self, x):
        return self.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)

    def rsqrt(self, x):
        return 1.0 / self.sqrt(x)

    def expm1(self, x):
        return self.exp(x) - 1.0

    def log1p(self, x):
        return self.log(x + 1.0)

    def where(self, condition, a, b):
        return self.node("Where", condition, a, b)

    def softmax(self, x):
        return self.node("Softmax", x, axis=1)

    def unflatten(self, x, shape):
        return self.node("Reshape", x, [-1, *shape])

    def flatten(self, x):
        return self.node("Flatten", x, axis=1)

    def concat(self, *x):
        return self.node("Concat", *x, axis=1)

    def slice_channels(self, x, first, count):
        return self.node("Slice", x, [first], [first + count], [1])

    def sum_to(self, x, axes):
        return self.node("ReduceSum", x, axes) if axes else x

    def max_to(self, x, axes):
        return self.node("ReduceMax", x, axes) if axes else x

    def channel_shuffle(self, x, groups):
        _, channels, *pixels = next(self.shapes["channel_shuffle"])
        apart = self.node("Reshape", x, [-1, groups, channels // groups, *pixels])
        return self.node("Reshape", self.node("Transpose", apart, perm=[0, 2, 1, 3, 4][:3 + len(pixels)]), [-1, channels, *pixels])

    def upsample(self, x, times):
        scales = self.initializer(f"scales{len(self.nodes)}", self.numpy.array([1, 1, times, times], self.numpy.float32))
        nowhere = Value(self, "")  # of the region, which this mode has none of
        return self.node("Resize", x, nowhere, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def pad(self, x, pad):
        return self.node("Pad", x, [0, 0, *pad[:2], 0, 0, *pad[2:]]) if any(pad) else x

    def crop(self, x, cut):
        return self.pad(x, [-lines for lines in cut])

    def pad_channels(self, x, count, stride):
        channels, end = next(self.shapes["pad_channels"])[1], 2**31 - 1
        x = self.node("Slice", x, [0, 0], [end, end], [2, 3], [stride, stride]) if stride > 1 else x
        return self.node("Pad", x, [0, 0, 0, 0, 0, count - channels, 0, 0])


for word, op_type in {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs",
                      "erf": "Erf"}.items():
    setattr(Ops, word, lambda self, x, op_type=op_type: self.node(op_type, x))


def model_of(net, leaf, batch):
    """The bytes of an ONNX model of peer.Net `net`, for so many images; `leaf` maps names to numpy arrays of f32, row-major."""
    from onnx import TensorProto, helper

    ops = Ops(net)
    leaves = {v["attrs"]["name"]: ops.initializer(f"leaf{v['id']}", leaf[v["attrs"]["name"]].reshape(v["type"]["shape"])) for v in net.leaves}
    logits, _, _ = net.forward(ops, leaves, Value(ops, "images"), False)
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, *net.image_shape[1:]])
    scores = helper.make_tensor_value_info(logits.name, TensorProto.FLOAT, [batch, net.classes])
    graph = helper.make_graph(ops.nodes, "net", [images], [scores], ops.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION).SerializeToString()


def session_of(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # not that a head's weights are not read
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def load():
    import numpy
    import onnx  # noqa: F401  so that its lack is said before a net comes
    import onnxruntime

    class OnnxRuntime:
        name, version, modes, trains = "onnxruntime", onnxruntime.__version__, ["cpu"], False

        def __init__(self, job, net, mode, threads, training, inference):
            images = numpy.array(job.images, "f4").reshape(net.image_shape)
            session = session_of(model_of(net, {name: numpy.array(words, "f4") for name, words in job.leaf.items()}, len(images)), threads)
            self.infer = lambda: session.run(None, {"images": images})[0]

    return OnnxRuntime


if __name__ == "__main__":
    peer.main(load)

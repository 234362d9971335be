"""One engine of infer.py: infer_worker.py ENGINE DIRECTORY WEIGHTS BATCHES THREADS SECONDS. Writes the scores of every batch into
the directory and prints {"BATCH": {"images_per_s": ..., "mode": ...}}: the median call, of the engine's fastest mode.

ONNX Runtime and PyTorch run the graph that netc printed, value by value; each engine does its own fusing after that."""
import ctypes
import json
import os
import statistics
import struct
import sys
import time


def read_tensors(path, make):
    """name -> make(shape, bytes) of a safetensors file of f32."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    base = 8 + length
    return {n: make(t["shape"], data[base + t["data_offsets"][0] : base + t["data_offsets"][1]]) for n, t in header.items()}


def median_call(run, seconds):
    run(), run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Input:
    """What every engine is given."""

    def __init__(self, work, weights, threads):
        self.work, self.weights, self.threads = work, weights, threads
        with open(os.path.join(work, "graph.json")) as file:
            self.graph = json.load(file)
        self.shape = next(v["type"]["shape"] for v in self.graph["values"] if v["op"] == "input")[1:]
        self.logits = next(o["value"] for o in self.graph["outputs"] if o["kind"] == "logits")
        self.classes = self.graph["values"][self.logits]["type"]["shape"][1]
        with open(os.path.join(work, "images"), "rb") as file:
            self.images = file.read()

    def batch(self, n):
        size = self.shape[0] * self.shape[1] * self.shape[2] * 4
        return self.images[: n * size]


# An engine yields (mode, run, scores) for a batch; scores() gives the bytes of the last run.


def netc(given, n):
    class Options(ctypes.Structure):
        _fields_ = [("threads", ctypes.c_int), ("memory", ctypes.c_void_p), ("memory_bytes", ctypes.c_size_t),
                    ("weights_path", ctypes.c_char_p), ("weights", ctypes.c_void_p), ("weights_bytes", ctypes.c_size_t), ("views", ctypes.c_int)]

    library, context = ctypes.CDLL(os.path.join(given.work, "libnet.so")), ctypes.c_void_p()
    message = ctypes.create_string_buffer(512)
    if library.net_init_2(ctypes.byref(context), ctypes.byref(Options(threads=given.threads, views=1)), message):
        sys.exit(message.value.decode())
    images = given.batch(n)
    pixels = (ctypes.c_float * (len(images) // 4)).from_buffer_copy(images)
    scores = (ctypes.c_float * (n * given.classes))()
    yield "netc", lambda: library.net_run(context, pixels, n, scores), lambda: bytes(scores)


def spread(helper, arg, name, rank, to):
    """(nodes, name) that make an operand of lower rank broadcast: [N,C] and [C] over feature maps, [C] over either."""
    axes = {(2, 4): "axes23", (1, 4): "axes12"}.get((rank, to))
    return ([helper.make_node("Unsqueeze", [arg, axes], [name])], name) if axes else ([], arg)


def onnx_node(helper, value, shapes):
    """The ONNX nodes of one value of the graph. Pads have the same order: top, left, bottom, right."""
    op, a = value["op"], value.get("attrs", {})
    args, out = [f"v{i}" for i in value["args"]], f"v{value['id']}"
    node, rank = helper.make_node, len(value["type"]["shape"])
    window = {"kernel_shape": a.get("kernel"), "strides": a.get("stride"), "pads": a["pad"]} if "kernel" in a else {}
    if op == "conv2d":
        return [node("Conv", args, [out], dilations=a["dilation"], group=a["groups"], **window)]
    if op == "max_pool":
        return [node("MaxPool", args, [out], **window)]
    if op == "avg_pool":
        return [node("AveragePool", args, [out], count_include_pad=1, **window)]
    if op == "batch_norm":
        return [node("BatchNormalization", args, [out], epsilon=a["eps"])]
    if op == "global_avg_pool":
        return [node("GlobalAveragePool", args, [out + "p"]), node("Flatten", [out + "p"], [out])]
    if op == "dense":
        return [node("Gemm", args, [out], transB=1)]
    if op in ("add", "sub", "mul", "div"):
        spreads = [spread(helper, arg, f"{out}u{k}", len(shapes[i]), rank) for k, (i, arg) in enumerate(zip(value["args"], args))]
        return [*spreads[0][0], *spreads[1][0], node(op.capitalize(), [spreads[0][1], spreads[1][1]], [out])]
    if op == "constant":
        return [node("Constant", [], [out], value_float=float(a["value"]))]
    if op == "pad_channels":
        stride, appended = a["stride"], rank * [0] + [0, a["count"] - shapes[value["args"][0]][1], 0, 0]
        constants = [node("Constant", [], [f"{out}{name}"], value_ints=ints) for name, ints in
                     (("from", [0, 0]), ("to", [2**31 - 1] * 2), ("step", [stride, stride]), ("pads", appended))]
        return [*constants, node("Slice", [args[0], out + "from", out + "to", "axes23", out + "step"], [out + "s"]),
                node("Pad", [out + "s", out + "pads"], [out])]
    if op == "silu":
        return [node("Sigmoid", args, [out + "s"]), node("Mul", [args[0], out + "s"], [out])]
    if op == "hard_sigmoid":
        return [node("HardSigmoid", args, [out], alpha=1 / 6, beta=0.5)]
    if op in ("identity", "dropout"):
        return [node("Identity", args, [out])]
    if op in ("concat", "softmax", "flatten"):
        return [node(op.capitalize(), args, [out], axis=1)]
    names = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish"}
    if op not in names:
        sys.exit(f"infer_worker.py does not know the op '{op}'")
    return [node(names[op], args, [out])]


def onnx_model(given, n):
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    tensors = read_tensors(given.weights, lambda shape, data: numpy.frombuffer(data, numpy.float32).reshape(shape))
    nodes, constants = [], [numpy_helper.from_array(numpy.array(axes, numpy.int64), name) for name, axes in (("axes23", [2, 3]), ("axes12", [1, 2]))]
    shapes = {v["id"]: v["type"]["shape"] for v in given.graph["values"]}
    for value in given.graph["values"]:
        if value["op"] in ("param", "state"):
            constants.append(numpy_helper.from_array(tensors[value["attrs"]["name"]], f"v{value['id']}"))
        elif value["op"] == "input":
            images = helper.make_tensor_value_info(f"v{value['id']}", TensorProto.FLOAT, [n, *given.shape])
        else:
            nodes += onnx_node(helper, value, shapes)
    scores = helper.make_tensor_value_info(f"v{given.logits}", TensorProto.FLOAT, [n, given.classes])
    model = helper.make_model(helper.make_graph(nodes, "net", [images], [scores], constants), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return images.name, model.SerializeToString()


def onnxruntime(given, n):
    import numpy
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = given.threads, 1
    name, model = onnx_model(given, n)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    images = {name: numpy.frombuffer(given.batch(n), numpy.float32).reshape(n, *given.shape)}
    last = {}

    def run():
        last["scores"] = session.run(None, images)[0]

    yield f"ONNX Runtime {ort.__version__}", run, lambda: last["scores"].tobytes()


def torch_net(given):
    import peer
    import torch
    import torch.fx
    import torch_train

    tensors = read_tensors(given.weights, lambda shape, data: torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape))
    net = peer.Net(json.dumps(given.graph))
    leaves = [(value, tensors[value["attrs"]["name"]]) for value in net.leaves]
    leaves = [(value, torch.nn.Parameter(tensor) if value["op"] == "param" else tensor) for value, tensor in leaves]
    return torch.fx.symbolic_trace(torch_train.load().module(net, leaves, False)).eval()


def torch(given, n):
    import torch as t

    t.set_num_threads(given.threads)
    t.set_grad_enabled(False)
    net, last = torch_net(given), {}
    images = t.frombuffer(bytearray(given.batch(n)), dtype=t.float32).reshape(n, *given.shape)

    def mode(name, module, pixels):
        def run():
            last["scores"] = module(pixels)

        return f"PyTorch {t.__version__}, {name}", run, lambda: last["scores"].contiguous().numpy().tobytes()

    traced = t.jit.freeze(t.jit.trace(net, images))
    yield mode("traced and frozen", traced, images)
    yield mode("traced and frozen, channels last", traced, images.to(memory_format=t.channels_last))
    yield mode("optimize_for_inference", t.jit.optimize_for_inference(t.jit.trace(net, images)), images)


def main():
    engine, work, weights, batches, threads, seconds = sys.argv[1:]
    given, result = Input(work, weights, int(threads)), {}
    for n in map(int, batches.split(",")):
        for mode, run, scores in {"netc": netc, "onnxruntime": onnxruntime, "torch": torch}[engine](given, n):
            speed = n / median_call(run, float(seconds))
            if result.get(n, {"images_per_s": 0})["images_per_s"] < speed:
                result[n] = {"images_per_s": speed, "mode": mode}
                with open(os.path.join(work, f"scores.{engine}.{n}"), "wb") as file:
                    file.write(scores())
    print(json.dumps(result))


if __name__ == "__main__":
    main()

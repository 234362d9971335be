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
                    ("weights_path", ctypes.c_char_p), ("weights", ctypes.c_void_p), ("weights_bytes", ctypes.c_size_t)]

    library, context = ctypes.CDLL(os.path.join(given.work, "libnet.so")), ctypes.c_void_p()
    message = ctypes.create_string_buffer(512)
    if library.net_init(ctypes.byref(context), ctypes.byref(Options(threads=given.threads)), message):
        sys.exit(message.value.decode())
    images = given.batch(n)
    pixels = (ctypes.c_float * (len(images) // 4)).from_buffer_copy(images)
    scores = (ctypes.c_float * (n * given.classes))()
    yield "netc", lambda: library.net_run(context, pixels, n, scores), lambda: bytes(scores)


def onnx_node(helper, value, shapes):
    """The ONNX nodes of one value of the graph; operands of rank 2 over feature maps get two dimensions more."""
    op, a = value["op"], value.get("attrs", {})
    args, out, before = [f"v{i}" for i in value["args"]], f"v{value['id']}", []
    window = {"kernel_shape": a.get("kernel"), "strides": a.get("stride"), "pads": a["pad"]} if "kernel" in a else {}
    if op == "conv2d":
        return [helper.make_node("Conv", args, [out], dilations=a["dilation"], group=a["groups"], **window)]
    if op == "max_pool":
        return [helper.make_node("MaxPool", args, [out], **window)]
    if op == "batch_norm":
        return [helper.make_node("BatchNormalization", args, [out], epsilon=a["eps"])]
    if op == "global_avg_pool":
        return [helper.make_node("GlobalAveragePool", args, [out + "p"]), helper.make_node("Flatten", [out + "p"], [out])]
    if op == "dense":
        return [helper.make_node("Gemm", args, [out], transB=1)]
    if op in ("add", "mul"):
        rank = len(value["type"]["shape"])
        for i, arg in enumerate(value["args"]):
            if rank == 4 and len(shapes[arg]) == 2:
                before.append(helper.make_node("Unsqueeze", [args[i], "axes"], [f"{out}u{i}"]))
                args[i] = f"{out}u{i}"
        return [*before, helper.make_node(op.capitalize(), args, [out])]
    if op in ("relu", "sigmoid"):
        return [helper.make_node(op.capitalize(), args, [out])]
    sys.exit(f"infer_worker.py does not know the op '{op}'")


def onnx_model(given, n):
    import numpy
    from onnx import TensorProto, helper, numpy_helper

    tensors = read_tensors(given.weights, lambda shape, data: numpy.frombuffer(data, numpy.float32).reshape(shape))
    nodes, constants = [], [numpy_helper.from_array(numpy.array([2, 3], numpy.int64), "axes")]
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
    import torch
    import torch.nn.functional as F

    tensors = read_tensors(given.weights, lambda shape, data: torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for value in given.graph["values"]:
                if value["op"] in ("param", "state"):
                    self.register_buffer(f"v{value['id']}", tensors[value["attrs"]["name"]])

        def forward(self, images):
            v = {}
            for value in given.graph["values"]:
                x, a = [v[i] for i in value["args"]], value.get("attrs", {})
                if value["op"] in ("add", "mul") and len(value["type"]["shape"]) == 4:
                    x = [t[:, :, None, None] if t.dim() == 2 else t for t in x]
                v[value["id"]] = {
                    "input": lambda: images,
                    "param": lambda: getattr(self, f"v{value['id']}"),
                    "state": lambda: getattr(self, f"v{value['id']}"),
                    "conv2d": lambda: F.conv2d(x[0], x[1], None, a["stride"], a["pad"][:2], a["dilation"], a["groups"]),
                    "max_pool": lambda: F.max_pool2d(x[0], a["kernel"], a["stride"], a["pad"][:2]),
                    "batch_norm": lambda: F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, a["eps"]),
                    "global_avg_pool": lambda: x[0].mean((2, 3)),
                    "dense": lambda: F.linear(x[0], x[1]),
                    "add": lambda: x[0] + x[1],
                    "mul": lambda: x[0] * x[1],
                    "relu": lambda: F.relu(x[0]),
                    "sigmoid": lambda: torch.sigmoid(x[0]),
                }[value["op"]]()
            return v[given.logits]

    return Net().eval()


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

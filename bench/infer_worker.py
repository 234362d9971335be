"""One engine of infer.py: infer_worker.py ENGINE DIRECTORY WEIGHTS BATCHES THREADS SECONDS. Writes the scores of every batch into
the directory and prints {"BATCH": {"images_per_s": ..., "mode": ...}}: the median call, of the engine's fastest mode.

ONNX Runtime and PyTorch run the graph that netc printed, value by value, as the peers of `netc bench --compare` do; each engine does its own fusing after that."""
import ctypes
import json
import os
import statistics
import struct
import sys
import time

import peer


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
            self.net = peer.Net(file.read())
        self.shape, self.classes = self.net.image_shape[1:], self.net.classes
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


def onnxruntime(given, n):
    import numpy
    import onnxruntime as ort
    import onnxruntime_peer

    tensors = read_tensors(given.weights, lambda shape, data: numpy.frombuffer(data, numpy.float32))
    session = onnxruntime_peer.session_of(onnxruntime_peer.model_of(given.net, tensors, n), given.threads)
    images = {"images": numpy.frombuffer(given.batch(n), numpy.float32).reshape(n, *given.shape)}
    last = {}

    def run():
        last["scores"] = session.run(None, images)[0]

    yield f"ONNX Runtime {ort.__version__}", run, lambda: last["scores"].tobytes()


def torch_net(given):
    """The peer's class, and the net as a module."""
    import torch
    import torch.fx
    import torch_peer

    tensors = read_tensors(given.weights, lambda shape, data: torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape))
    leaves = [(value, tensors[value["attrs"]["name"]]) for value in given.net.leaves]
    leaves = [(value, torch.nn.Parameter(tensor) if value["op"] == "param" else tensor) for value, tensor in leaves]
    framework = torch_peer.load()
    return framework, torch.fx.symbolic_trace(framework.module(given.net, leaves, False))


def torch(given, n):
    import torch as t

    t.set_num_threads(given.threads)
    t.set_grad_enabled(False)
    (framework, net), last = torch_net(given), {}
    images = t.frombuffer(bytearray(given.batch(n)), dtype=t.float32).reshape(n, *given.shape)

    def mode_of(name, module, pixels):
        def run():
            last["scores"] = module(pixels)

        return f"PyTorch {t.__version__}, {name}", run, lambda: last["scores"].contiguous().numpy().tobytes()

    for mode in framework.inference_modes:
        layout = t.channels_last if mode == "frozen_channels_last" else t.contiguous_format
        pixels = images.to(memory_format=layout)
        yield mode_of(mode, framework.frozen(mode, net.to(memory_format=layout), pixels), pixels)


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

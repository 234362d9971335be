"""The scores of an inference library are PyTorch's, from the same weights, for full batches, short ones and single images."""
import ctypes

from e2e import SMALL, Workspace, check, lively_weights, read_safetensors, skip

try:
    import torch
    from torch_small import small_resnet
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")

BATCH, TOLERANCE = 16, 1e-4


class Options(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int), ("memory", ctypes.c_void_p), ("memory_bytes", ctypes.c_size_t),
                ("weights_path", ctypes.c_char_p), ("weights", ctypes.c_void_p), ("weights_bytes", ctypes.c_size_t), ("views", ctypes.c_int)]


def library_scores(path, images):
    library, context = ctypes.CDLL(path), ctypes.c_void_p()
    message = ctypes.create_string_buffer(512)
    check(library.small_init_2(ctypes.byref(context), ctypes.byref(Options(threads=2)), message) == 0, message.value.decode())
    scores = torch.full((len(images), 10), float("nan"))
    pointer = ctypes.POINTER(ctypes.c_float)
    run = library.small_run(context, ctypes.cast(images.data_ptr(), pointer), len(images), ctypes.cast(scores.data_ptr(), pointer))
    check(run == 0, f"small_run returns {run}")
    library.small_free(context)
    return scores


def torch_scores(path, images, se):
    tensors = {name: torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape)
               for name, (_, shape, data) in read_safetensors(path).items()}
    statistics = [t for name, t in tensors.items() if "running" in name]
    with torch.no_grad():
        return small_resnet([t for name, t in tensors.items() if "running" not in name], images, se, statistics)


with Workspace() as at:
    torch.manual_seed(1)
    for se in (False, True):
        model = [SMALL, "--set", f"se={'true' if se else 'false'}", "--batch", BATCH]
        weights, library = at("w.safetensors"), at(f"libsmall{se}.so")
        lively_weights(at, model, weights, 7)
        at.run("build", "--infer", *model, "--weights", weights, "--cpu", "native", "-o", library)
        for count in (2 * BATCH + 11, 3, 1):
            images = torch.randn(count, 3, 32, 32)
            theirs = torch_scores(weights, images, se)
            worst = (library_scores(library, images) - theirs).abs().max().item()
            check(worst < TOLERANCE, f"se={se}, {count} images: scores differ by {worst:.2e}")
            print(f"se={se}, {count} images: scores up to {theirs.abs().max():.2f}, largest difference {worst:.1e}")

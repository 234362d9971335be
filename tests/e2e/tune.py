"""Tuning and choices: measured once and kept, damaged files, the same bits by pinned choices and by --resume."""
import os
import re

from e2e import Workspace, check, read_safetensors

NET = """net two() {
    input image: f32[3, 12, 12]
    x = relu(batch_norm(conv2d(image, 16, 3, bias = false)))
    x = x + relu(batch_norm(conv2d(x, 16, 3, bias = false)))
    output dense(global_avg_pool(x), 10)
}
train {
    data = synthetic
    batch = 16
}
"""
TRAIN = ["train", "two.net", "--log-every", 1, "--threads", 2, "-q"]
BLAS = [*TRAIN, "--gemm", "openblas"]  # netc's own products may have the bits of direct kernels


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def weights(directory):
    """All bits of a run; losses, means over a batch, may round alike."""
    return read_safetensors(os.path.join(directory, "last.safetensors"))


with Workspace() as at:
    write(at("two.net"), NET)
    tuned, made = at("cache", "tune"), at("made")
    _, err = at.run(*TRAIN, "--steps", 4, "--out", at("a"), "--tune", "--tune-file", tuned, "--save-choices", made)
    check("measuring" in err, f"nothing was measured: {err}")
    first = read(tuned)
    check(first.startswith("netc choices 1\n") and " ms\n" in first, "the tuning file is no table of choices")

    _, err = at.run(*TRAIN, "--steps", 4, "--out", at("b"), "--tune", "--tune-file", tuned)
    check("measuring" not in err and read(tuned) == first, "what is known was measured again")
    at.run(*TRAIN, "--steps", 4, "--out", at("c"), "--choices", made, "--save-choices", at("again"))
    check(read(at("again")) == read(made), "pinned choices are not those of the file")
    for out in ("b", "c"):
        check(weights(at(out)) == weights(at("a")), f"run {out} has other bits")

    # A checkpoint carries its choices; other ones are refused unless asked for.
    write(at("gemm"), "netc choices 1\n" + "".join(" ".join(line.split()[:2]) + " gemm\n" for line in read(made).splitlines()[1:]))
    at.run(*BLAS, "--steps", 4, "--out", at("d"), "--choices", at("gemm"))
    check(weights(at("d")) != weights(at("a")), "matrix products and tuned kernels have the same bits")
    at.run(*BLAS, "--steps", 6, "--out", at("whole"), "--choices", at("gemm"))
    at.run(*BLAS, "--steps", 6, "--out", at("d"), "--resume")
    check(weights(at("d")) == weights(at("whole")), "a resumed run does not keep its choices")
    at.refuses(*TRAIN, "--steps", 8, "--out", at("d"), "--resume", "--choices", made, status=1, says="--rechoose")
    at.run(*TRAIN, "--steps", 8, "--out", at("d"), "--resume", "--choices", made, "--rechoose")

    # Damage is said, and never costs what was there.
    write(tuned, "\n".join(first.splitlines()[:-1]) + "\nnonsense\n")
    _, err = at.run(*TRAIN, "--steps", 1, "--out", at("e"), "--tune", "--tune-file", tuned)
    check("1 line that is no choice is left out of" in err and "measuring 1 convolution\n" in err, f"a damaged line: {err}")
    check("nonsense" in read(tuned + ".damaged") and "nonsense" not in read(tuned), "the damaged file is lost")

    # A tile that a convolution cannot have is left out likewise, and measured anew.
    tile, line = "direct tile 1x4096x1", next(line for line in first.splitlines() if " forward," in line)
    place = " ".join(line.split()[:2])
    write(tuned, first.replace(line, f"{place} {tile}"))
    _, err = at.run(*TRAIN, "--steps", 1, "--out", at("e"), "--overwrite", "--tune-file", tuned)
    check(f"'{place.split()[1]}' cannot be computed by '{tile}'" in err and tile in read(tuned), f"it is not said: {err}")
    _, err = at.run(*TRAIN, "--steps", 1, "--out", at("e"), "--overwrite", "--tune", "--tune-file", tuned)
    check("measuring 1 convolution\n" in err and tile not in read(tuned), f"it is not measured anew: {err}")
    check(tile in read(tuned + ".damaged"), "the file with it is lost")
    write(at("other"), "a letter\n")
    for option in (["--tune", "--tune-file"], ["--tune-file"], ["--choices"]):
        at.refuses(*TRAIN, "--out", at("f"), *option, at("other"), status=1, says="not a file of choices")
    check(read(at("other")) == "a letter\n", "a file that is no table was overwritten")
    at.refuses(*TRAIN, "--out", at("f"), "--tune-file", at("none"), status=1, says="none")
    at.refuses(*TRAIN, "--out", at("f"), "--choices", made, "--conv", "direct", status=2, says="excludes")
    at.run(*TRAIN, "--batch", 8, "--out", at("f"), "--choices", made, status=1)
    write(at("tile"), re.sub(r"tile \S+", "tile 7x5x1", read(made)))
    _, err = at.run(*TRAIN, "--out", at("f"), "--choices", at("tile"), status=1)
    check(" tile " in read(made) and "cannot be computed by 'direct tile 7x5x1'" in err, f"a tile that does not fit: {err}")
    check(not os.path.exists(at(".cache", "netc", "tune")), "the default tuning file was touched")

    # A build takes them too.
    at.run("build", "two.net", "--cpu", "native", "--emit", "obj", "-o", at("x.o"), "--choices", made, "--save-choices", at("built"))
    check(read(at("built")) == read(made), "netc build chose otherwise")

"""netc build --infer: the example of docs/examples compiles without a warning against the .a, the .so and the .o, and says what
netc predict says; two models go into one program; bad weights and bad options get a sentence."""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import zlib

from e2e import HERE, NETC, SMALL, Workspace, check, lively_weights

EXAMPLE = os.path.join(HERE, "..", "..", "docs", "examples", "classify.c")
MODEL = [SMALL, "--set", "se=true", "--set", "train.data=cifar10"]
PICTURES = 5


def pixels(seed):
    return bytes((seed * 37 + i * (i >> 5) * (seed + 3)) % 256 for i in range(3072))


def write_pictures(at):
    """The same pictures as PPM for the library and as PNG for netc."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for i in range(PICTURES):
        rgb = pixels(i)
        with open(at(f"{i}.ppm"), "wb") as file:
            file.write(b"P6\n32 32\n255\n" + rgb)
        rows = b"".join(b"\0" + rgb[96 * y : 96 * y + 96] for y in range(32))
        with open(at(f"{i}.png"), "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) +
                       chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def run(at, *command, status=0, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=at.path, timeout=120, **options)
    check(done.returncode == status, f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def compile_c(at, *words):
    out = run(at, "cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", at.path, *words, "-lm", "-pthread")
    check(not out, f"the compiler said:\n{out}")


def probabilities(text):
    """[{class: per cent}] of the example's lines."""
    return [{name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+) %", line)} for line in text.splitlines()]


def expected(at, weights, *words):
    out, _ = at.run("predict", *MODEL, "--weights", weights, *words, "--json", "--top", 10, *[at(f"{i}.png") for i in range(PICTURES)])
    return [{t["class"]: 100 * t["probability"] for t in json.loads(line)["top"]} for line in out.splitlines()]


def same_classes(found, wanted, what):
    check(len(found) == len(wanted), f"{what}: {len(found)} lines")
    for f, w in zip(found, wanted):
        check(f.keys() == w.keys() and all(abs(f[k] - w[k]) < 2e-4 for k in w), f"{what}: {f}, expected {w}")


def check_example(at, weights):
    wanted = expected(at, weights)
    pictures = [f"{i}.ppm" for i in range(PICTURES)]
    for suffix, cpus in (("a", ["--cpu", "native"]), ("so", ["--cpu", "native"]), ("o", [])):
        library = at(f"libnet.{suffix}")
        at.run("build", "--infer", *MODEL, "--weights", weights, "--prefix", "net", *cpus, "-o", library)
        compile_c(at, EXAMPLE, library, "-o", at("classify"), *(["-Wl,-rpath," + at.path] if suffix == "so" else []))
        for threads in (1, 3):
            same_classes(probabilities(run(at, at("classify"), "-k", 10, "-t", threads, *pictures)), wanted, f"libnet.{suffix}")
    needed = re.findall(r"NEEDED.*\[(.*)\]", run(at, "readelf", "-d", at("libnet.so")))
    check(set(needed) <= {"libc.so.6", "libm.so.6"}, f"libnet.so needs {needed}")
    names = [line.split()[-1] for line in run(at, "nm", "-g", "--defined-only", at("libnet.o")).splitlines()]
    check(len(names) == 7 and all(n.startswith("net_") for n in names), f"libnet.o exports {names}")
    print("the example agrees with netc predict, linked with .a, .so and .o")


def check_other_machine(at, weights):
    """The .so for AArch64 under qemu, where Debian's cross compiler and qemu are."""
    tools = ["aarch64-linux-gnu-gcc", "qemu-aarch64-static"]
    if os.uname().machine == "aarch64" or not all(map(shutil.which, tools)):
        return
    at.run("build", "--infer", *MODEL, "--weights", weights, "--prefix", "net", "--target", "aarch64-linux-gnu", "-o", at("libnet.so"))
    run(at, tools[0], "-O2", "-I", at.path, EXAMPLE, at("libnet.so"), "-o", at("classify"), "-Wl,-rpath," + at.path, "-lm", "-pthread")
    command = [tools[1], "-L", "/usr/aarch64-linux-gnu", at("classify"), "-t", 2, "-k", 10, *(f"{i}.ppm" for i in range(PICTURES))]
    same_classes(probabilities(run(at, *command)), expected(at, weights), "AArch64")
    print("the library for AArch64 agrees under qemu")


def floats(count, seed):
    source = random.Random(seed)
    return struct.pack(f"<{count}f", *(source.gauss(0, 1) for _ in range(count)))


def check_together(at, weights):
    """Two nets in one program: see library_check.c. Full batches and single images agree to rounding."""
    plain = [SMALL, "--set", "train.data=cifar10"]
    lively_weights(at, plain, at("plain.safetensors"), 4)
    at.run("build", "--infer", *MODEL, "--weights", weights, "--batch", 4, "--cpu", "native", "--prefix", "one", "-o", at("libone.a"), "--header", at("one.h"))
    at.run("build", "--infer", *plain, "--weights", at("plain.safetensors"), "--batch", 1, "--cpu", "native", "--prefix", "two", "-o", at("two.o"))
    with open(at("images"), "wb") as file:
        file.write(floats(11 * 3072, 1))
    # the program of one image goes by the rules, too
    with open(at("net.rules"), "w") as file:
        file.write("decays: mul(exp(x), exp(y)) => exp(add(x, y))\n")
    at.run("build", "--infer", *plain, "--embed-weights", "no", "--batch", 2, "--cpu", "native", "--rules", at("net.rules"),
           "--passes=infer:default+rules@before:dce#1", "-o", at("libruled.a"))
    compile_c(at, os.path.join(HERE, "library_check.c"), at("libone.a"), at("two.o"), "-o", at("check"),
              *(f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "aligned_alloc")))
    run(at, at("check"), "images", "scores")
    print("two nets in one program, on threads side by side, allocate nothing when they run")


def check_weights_beside(at, weights):
    pictures = [f"{i}.ppm" for i in range(PICTURES)]
    at.run("build", "--infer", *MODEL, "--embed-weights", "no", "--prefix", "net", "--cpu", "native", "-o", at("libnet.a"))
    check(os.path.getsize(at("libnet.a")) < 1 << 20, f"libnet.a without weights has {os.path.getsize(at('libnet.a'))} bytes")
    compile_c(at, EXAMPLE, at("libnet.a"), "-o", at("classify"))
    same_classes(probabilities(run(at, at("classify"), "-k", 10, "-w", weights, *pictures)), expected(at, weights), "weights beside")
    check("holds no weights" in run(at, at("classify"), *pictures, status=1), "a library without weights")
    with open(weights, "rb") as file:
        whole = file.read()
    for length in (0, 5, 100, len(whole) - 1):
        with open(at("cut.safetensors"), "wb") as file:
            file.write(whole[:length])
        check("cut.safetensors" in run(at, at("classify"), "-w", "cut.safetensors", *pictures, status=1), "a truncated file")
    said = run(at, at("classify"), "-w", at("plain.safetensors"), *pictures, status=1)
    check("which small needs" in said, f"weights of another model: {said}")


def check_views(at, weights):
    """What --views is built into a library: its header says how many, and its scores are predict's."""
    pictures, one = [f"{i}.ppm" for i in range(PICTURES)], expected(at, weights)
    for views, count in ("mirror", 2), ("mirror_shift", 6):
        at.run("build", "--infer", *MODEL, "--weights", weights, "--views", views, "--prefix", "net", "--cpu", "native", "-o", at("libnet.a"))
        with open(at("libnet.h")) as file:
            check(f"#define NET_VIEWS {count} " in file.read(), f"--views={views}: the header does not say {count}")
        compile_c(at, EXAMPLE, at("libnet.a"), "-o", at("classify"))
        wanted = expected(at, weights, "--views", views)
        same_classes(probabilities(run(at, at("classify"), "-k", 10, *pictures)), wanted, views)
        check(max(abs(one[i][k] - wanted[i][k]) for i in range(PICTURES) for k in one[i]) > 1e-2, f"{views} changes nothing")
    print("views of a library are predict's")


def check_interface(at, weights):
    """A program that was compiled with the header of an older interface, whose init had no number, does not link, nor start with a newer .so."""
    with open(at("old.c"), "w") as file:
        file.write("int net_init(void **, const void *, char *);\nint main(void) { void *net; return net_init(&net, 0, 0); }\n")
    with open(at("stub.c"), "w") as file:
        file.write("int net_init(void) { return 0; }\n")
    run(at, "cc", "-shared", "-fPIC", at("stub.c"), "-o", at("libnet.so"))
    run(at, "cc", at("old.c"), at("libnet.so"), "-o", at("old"), "-Wl,-rpath," + at.path)
    run(at, at("old"))
    for suffix in "a", "so":
        library = at(f"libnet.{suffix}")
        at.run("build", "--infer", *MODEL, "--weights", weights, "--prefix", "net", "--cpu", "native", "-o", library)
        said = run(at, "cc", at("old.c"), library, "-o", at("new"), "-lm", "-pthread", status=1)
        check("undefined reference to `net_init'" in said, said)
    check("undefined symbol: net_init" in run(at, at("old"), status=127), "an old program starts with a new library")
    print("a program of another interface does not link")


def check_foreign_text(at, weights):
    """Names that a file of weights holds stay inside the header's comments."""
    with open(weights, "rb") as file:
        whole = file.read()
    length = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:length])
    numbers = {key: " ".join([value] * 3) for key, value in (("mean", "0.5"), ("std", "0.25"))}
    names = ["cat */ int injected(void); /* ", "/*/", "*/*"] + [f"c{k}" for k in range(7)]
    header["__metadata__"] = dict(header.get("__metadata__", {}), **numbers, set="*/ int\nset(void); /*", classes="".join(name + "\n" for name in names))
    text = json.dumps(header).encode()
    with open(at("foreign.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + whole[length:])
    at.run("build", "--infer", *MODEL, "--weights", at("foreign.safetensors"), "--prefix", "net", "--cpu", "native", "-o", at("libnet.a"))
    with open(at("libnet.h")) as file:
        said = file.read()
    check("cat * / int injected(void); / * , / * /, * / *, c0" in said and "(of * / int?set(void); / *)." in said, said)
    with open(at("names.c"), "w") as file:
        file.write('#include "libnet.h"\n#include <string.h>\nint injected, set;\n' +
                   f"int main(void) {{ return strcmp(net_class_name(0), {json.dumps(names[0])}); }}\n")
    compile_c(at, at("names.c"), at("libnet.a"), "-o", at("names"))
    run(at, at("names"))
    print("names cannot leave the header's comments")


def check_refusals(at, weights):
    build = ["build", "--infer", *MODEL]
    for words, says in (
            (["-o", at("x.a")], "no weights given"),
            (["--weights", weights, "-o", at("x.dll")], "makes a .a, .so or .o"),
            (["--weights", weights, "-o", at("x.a"), "--prefix", "2x"], "not a C identifier"),
            (["--weights", weights, "-o", at("x.a"), "--emit", "asm"], "excludes")):
        _, err = at.run(*build, *words, status=2)
        check(says in err, f"'{says}' is not in:\n{err}")
    for words in ("--prefix", "x"), ("--views", "mirror"):
        _, err = at.run("build", *MODEL, *words, "-o", at("x"), status=2)
        check("and '--views' go with '--infer'" in err, err)
    at.refuses(*build, "--weights", at("plain.safetensors"), "-o", at("x.a"), status=1, says="which small needs")
    for header in (at("nowhere", "x.h"), "/dev/full"):
        at.refuses(*build, "--weights", weights, "--header", header, "-o", at("x.o"), "--cpu", "native", status=3, says="cannot write")
        check(not os.path.exists(at("x.o")), "a library without its header was left")


def check_objcopy_of_llvm(at, weights):
    """Where binutils' objcopy is missing LLVM's does its work."""
    other = shutil.which("llvm-objcopy") or shutil.which("llvm-objcopy-19")
    if not other:
        return
    os.mkdir(at("bin"))
    for tool, path in [("llvm-objcopy", other)] + [(tool, shutil.which(tool)) for tool in ("cc", "ld", "as", "ar")]:
        os.symlink(path, at("bin", tool))
    words = [NETC, "build", "--infer", *MODEL, "--weights", weights, "--cpu", "native", "--prefix", "other", "-o", at("libother.so")]
    run(at, *words, env=dict(at.environment(), PATH=at("bin")))
    names = {line.split()[-1] for line in run(at, "nm", "-D", "--defined-only", at("libother.so")).splitlines()}
    check(names == {f"other_{name}" for name in ("bytes", "init_2", "run", "free", "normalize", "softmax", "class_name")}, f"{names}")


with Workspace() as at:
    write_pictures(at)
    weights = at("w.safetensors")
    lively_weights(at, MODEL, weights, 3)
    check_example(at, weights)
    check_together(at, weights)
    check_weights_beside(at, weights)
    check_views(at, weights)
    check_interface(at, weights)
    check_foreign_text(at, weights)
    check_refusals(at, weights)
    check_objcopy_of_llvm(at, weights)
    check_other_machine(at, weights)

"""netc build --infer: the example of docs/examples compiles without a warning against the .a, the .so and the .o, and says what
netc predict says; two models go into one program; bad weights and bad options get a sentence."""
import json
import os
import re
import shutil
import struct
import subprocess
import zlib

from e2e import HERE, SMALL, Workspace, check

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


def expected(at, weights):
    out, _ = at.run("predict", *MODEL, "--weights", weights, "--json", "--top", 10, *[at(f"{i}.png") for i in range(PICTURES)])
    return [{t["class"]: 100 * t["probability"] for t in json.loads(line)["top"]} for line in out.splitlines()]


def same_classes(found, wanted, what):
    check(len(found) == len(wanted), f"{what}: {len(found)} lines")
    for f, w in zip(found, wanted):
        check(f.keys() == w.keys() and all(abs(f[k] - w[k]) < 2e-4 for k in w), f"{what}: {f}, expected {w}")


def check_example(at, weights):
    wanted = expected(at, weights)
    pictures = [f"{i}.ppm" for i in range(PICTURES)]
    for suffix in ("a", "so", "o"):
        library = at(f"libnet.{suffix}")
        at.run("build", "--infer", *MODEL, "--weights", weights, "--prefix", "net", "-o", library)
        compile_c(at, EXAMPLE, library, "-o", at("classify"), *(["-Wl,-rpath," + at.path] if suffix == "so" else []))
        for threads in (1, 3):
            same_classes(probabilities(run(at, at("classify"), "-k", 10, "-t", threads, *pictures)), wanted, f"libnet.{suffix}")
    needed = re.findall(r"NEEDED.*\[(.*)\]", run(at, "readelf", "-d", at("libnet.so")))
    check(set(needed) <= {"libc.so.6", "libm.so.6"}, f"libnet.so needs {needed}")
    names = [line.split()[-1] for line in run(at, "nm", "-g", "--defined-only", at("libnet.o")).splitlines()]
    check(len(names) == 7 and all(n.startswith("net_") for n in names), f"libnet.o exports {names}")
    print("the example agrees with netc predict, linked with .a, .so and .o")


with Workspace() as at:
    write_pictures(at)
    weights = at("w.safetensors")
    at.run("init", *MODEL, "--seed", 3, "-o", weights)
    check_example(at, weights)

"""netc predict on PNG files of every kind: gray, palette, alpha, 16 bits, interlaced, one pixel, wide; and on files that are none."""
import json
import struct
import zlib

from e2e import SMALL, Workspace, check


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, width, height, pixel, kind, depth=8, palette=None, interlace=False):
    """pixel(x, y) gives the samples of one pixel; for depths under 8 a single sample."""

    def rows(xs, ys):
        raw = b""
        for y in ys:
            samples = [s for x in xs for s in pixel(x, y)]
            if depth == 16:
                row = b"".join(struct.pack(">H", s) for s in samples)
            elif depth == 8:
                row = bytes(samples)
            else:
                bits = "".join(format(s, f"0{depth}b") for s in samples)
                bits += "0" * (-len(bits) % 8)
                row = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
            raw += b"\0" + row
        return raw

    if interlace:
        starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        passes = [(range(x, width, dx), range(y, height, dy)) for x, y, dx, dy in starts]
        raw = b"".join(rows(xs, ys) for xs, ys in passes if len(xs) and len(ys))
    else:
        raw = rows(range(width), range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
        if palette:
            file.write(chunk(b"PLTE", bytes(palette)))
        file.write(chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6


def shade(x, y):
    return (x * 5 + y * 3) % 256


def write_pictures(at):
    """Those in the first list show the same gray picture, so they must be given the same scores."""
    same = {
        "rgb": dict(kind=RGB, pixel=lambda x, y: [shade(x, y)] * 3),
        "gray": dict(kind=GRAY, pixel=lambda x, y: [shade(x, y)]),
        "gray_alpha": dict(kind=GRAY_ALPHA, pixel=lambda x, y: [shade(x, y), 255]),
        "rgba": dict(kind=RGBA, pixel=lambda x, y: [shade(x, y)] * 3 + [255]),
        "gray16": dict(kind=GRAY, depth=16, pixel=lambda x, y: [shade(x, y) * 257]),
        "rgb16": dict(kind=RGB, depth=16, pixel=lambda x, y: [shade(x, y) * 257] * 3),
        "palette": dict(kind=PALETTE, pixel=lambda x, y: [shade(x, y)], palette=[v for v in range(256) for _ in range(3)]),
        "interlaced": dict(kind=RGB, pixel=lambda x, y: [shade(x, y)] * 3, interlace=True),
    }
    for name, options in same.items():
        png(at(name + ".png"), 32, 32, **options)
    other = {
        "one_pixel": (1, 1, dict(kind=RGB, pixel=lambda x, y: [10, 20, 30])),
        "wide": (301, 2, dict(kind=RGB, pixel=lambda x, y: [shade(x, y)] * 3)),
        "tall": (3, 257, dict(kind=GRAY, depth=1, pixel=lambda x, y: [(x + y) & 1])),
        "two_bits": (33, 31, dict(kind=GRAY, depth=2, pixel=lambda x, y: [(x + y) & 3])),
        "transparent": (40, 40, dict(kind=RGBA, pixel=lambda x, y: [shade(x, y), 0, 0, x])),
    }
    for name, (width, height, options) in other.items():
        png(at(name + ".png"), width, height, **options)
    return [at(n + ".png") for n in same], [at(n + ".png") for n in other]


with Workspace() as at:
    weights = at("w.safetensors")
    at.run("init", SMALL, "--seed", 1, "-o", weights)
    same, other = write_pictures(at)
    predict = ["predict", SMALL, "--weights", weights]
    out, _ = at.run(*predict, "--json", "--top", 10, *same, *other)
    lines = [json.loads(line) for line in out.splitlines()]
    check([line["file"] for line in lines] == same + other, "not one line for every picture, in order")
    for line in lines:
        total = sum(t["probability"] for t in line["top"])
        check(len(line["top"]) == 10 and abs(total - 1) < 1e-4, f"{line['file']}: probabilities add up to {total}")
    for line in lines[1 : len(same)]:
        check(line["top"] == lines[0]["top"], f"{line['file']} is the same picture as rgb.png but scored differently")
    out, _ = at.run(*predict, same[0])
    check(out.startswith(same[0] + ": ") and out.count("%") == 3, f"not three classes: {out}")
    with open(at("not.png"), "wb") as file:
        file.write(b"GIF89a")
    with open(at("cut.png"), "wb") as file:
        file.write(open(same[0], "rb").read()[:120])
    for bad in ("not.png", "cut.png", "nowhere.png"):
        at.refuses(*predict, at(bad), status=1, says=bad)
    print(f"{len(lines)} pictures of all kinds")

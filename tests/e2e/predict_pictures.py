"""netc predict on pictures of every kind: PNG (gray, palette, alpha, 16 bits, gamma, interlaced, one pixel, wide), PPM and PGM; and on
files that are none."""
import json
import os
import subprocess

from e2e import NETC, SMALL, Workspace, check, write_png


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
        write_png(at(name + ".png"), 32, 32, **options)
    other = {
        "one_pixel": (1, 1, dict(kind=RGB, pixel=lambda x, y: [10, 20, 30])),
        "wide": (301, 2, dict(kind=RGB, pixel=lambda x, y: [shade(x, y)] * 3)),
        "tall": (3, 257, dict(kind=GRAY, depth=1, pixel=lambda x, y: [(x + y) & 1])),
        "two_bits": (33, 31, dict(kind=GRAY, depth=2, pixel=lambda x, y: [(x + y) & 3])),
        "transparent": (40, 40, dict(kind=RGBA, pixel=lambda x, y: [shade(x, y), 0, 0, x])),
    }
    for name, (width, height, options) in other.items():
        write_png(at(name + ".png"), width, height, **options)
    pixels = [(shade(x, y),) * 3 for y in range(32) for x in range(32)]
    with open(at("same.ppm"), "wb") as file:
        file.write(b"P6 32 32\n# a comment\n255\n" + bytes(s for p in pixels for s in p))
    with open(at("same.pgm"), "wb") as file:
        file.write(b"P5\n32 32 255\n" + bytes(p[0] for p in pixels))
    return [at(n + ".png") for n in same] + [at("same.ppm"), at("same.pgm")], [at(n + ".png") for n in other]


def check_levels(at, predict):
    """What docs/cli.md says of gamma and transparency: each pair of pictures shows the same levels, so it is given the same scores."""
    light = lambda x, y: 64 + shade(x, y) % 192  # libpng's tables are coarse for dark levels
    pairs = {
        "linear16": (dict(kind=GRAY, depth=16, gamma=100000, pixel=lambda x, y: [round(65535 * (light(x, y) / 255) ** 2.2)]),
                     dict(kind=GRAY, pixel=lambda x, y: [light(x, y)])),
        "same_gamma": (dict(kind=GRAY, gamma=45455, pixel=lambda x, y: [shade(x, y)]), dict(kind=GRAY, pixel=lambda x, y: [shade(x, y)])),
        "on_white": (dict(kind=RGBA, pixel=lambda x, y: [shade(x, y), 9, 200, 0 if x < 16 else 255]),
                     dict(kind=RGB, pixel=lambda x, y: [255] * 3 if x < 16 else [shade(x, y), 9, 200])),
        "half": (dict(kind=GRAY_ALPHA, depth=8, pixel=lambda x, y: [0, 128]), # half of white's light is 186, not 128
                 dict(kind=GRAY, pixel=lambda x, y: [186])),
    }
    for name, options in pairs.items():
        files = [at(f"{name}{i}.png") for i in range(2)]
        for file, option in zip(files, options):
            write_png(file, 32, 32, **option)
        tops = [json.loads(line)["top"] for line in at.run(*predict, "--json", "--top", 10, *files)[0].splitlines()]
        check(tops[0] == tops[1], f"{name}: {tops}")


def check_memory(at, predict):
    """A picture of a million rows takes what a million pixels take, and not the rows of its resized copy."""
    write_png(at("tall_rows.png"), 1, 1000000, pixel=None, kind=RGB, raw=b"\0" b"abc" * 1000000)
    peak = []
    for file in ("rgb.png", "tall_rows.png"):
        child = subprocess.Popen([NETC, *map(str, predict), at(file)], stdout=subprocess.DEVNULL, env=at.environment())
        _, status, usage = os.wait4(child.pid, 0)
        check(status == 0, f"{file}: {status}")
        peak.append(usage.ru_maxrss)
    check(peak[1] - peak[0] < 40 << 10, f"a picture of 1x1000000 takes {peak[1] - peak[0]} kB more than one of 32x32")
    with open(at("bomb.ppm"), "wb") as file:
        file.write(b"P6 60000 1000 255\n" + bytes(10))
    at.refuses(*predict, at("bomb.ppm"), status=1, says="too short")
    write_png(at("bomb.png"), 9000, 9000, pixel=None, kind=GRAY, depth=1, raw=b"")
    at.refuses(*predict, at("bomb.png"), status=1, says="too many")


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
    check_levels(at, predict)
    check_memory(at, predict)
    print(f"{len(lines)} pictures of all kinds")

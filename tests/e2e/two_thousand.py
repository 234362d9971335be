"""A folder of 2,000 pictures of mixed sizes and formats, with corrupt ones among them, as somebody would have it: counted, trained, evaluated, predicted and
reported; every corrupt one is named and left out where that is asked for."""
import json
import os
import random
import struct

from e2e import SMALL, Workspace, check, metrics, write_png

CLASSES = {"blue sky": (40, 60, 200), "forêt": (30, 150, 40), "rose's": (200, 40, 60), "sand": (200, 170, 60)}
EACH = 500

# ---- a JPEG of flat blocks: baseline, DC alone, with the standard's table K.3 for their lengths (T.81)

LENGTHS = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
CODES = ["00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110", "11111110", "111111110"]


def jpeg(width, height, colour, channels=3):
    """colour(x, y) of each 8x8 block: Y, Cb, Cr, or as many numbers as channels."""
    segment = lambda marker, data: struct.pack(">BBH", 255, marker, len(data) + 2) + data
    head = b"\xff\xd8" + segment(0xDB, bytes([0] + [8] * 64))
    head += segment(0xC0, struct.pack(">BHHB", 8, height, width, channels) + b"".join(bytes([c + 1, 0x11, 0]) for c in range(channels)))
    head += segment(0xC4, b"\0" + LENGTHS + bytes(range(12))) + segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
    head += segment(0xDA, bytes([channels]) + b"".join(bytes([c + 1, 0]) for c in range(channels)) + bytes([0, 63, 0]))
    bits, before = "", [0] * channels
    for y in range((height + 7) // 8):
        for x in range((width + 7) // 8):
            for c, value in enumerate(colour(x, y)):
                level = value - 128  # 8 times the level, over the quantiser's 8
                change, before[c] = level - before[c], level
                size = abs(change).bit_length()
                bits += CODES[size] + (format(change if change > 0 else change + (1 << size) - 1, f"0{size}b") if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return head + data + b"\xff\xd9"


def ycc(rgb):
    r, g, b = rgb
    return [max(0, min(255, round(v))) for v in (0.299 * r + 0.587 * g + 0.114 * b, 128 - 0.168736 * r - 0.331264 * g + 0.5 * b, 128 + 0.5 * r - 0.418688 * g - 0.081312 * b)]


# ---- pictures

def write(path, kind, width, height, rgb, source):
    """One of the kinds, as noisy as they come. Returns its path."""
    noise = source.randint(0, 60)
    at = lambda x, y: [max(0, min(255, v + (x * 13 + y * 29) % (noise + 1) - noise // 2)) for v in rgb]
    if kind in ("jpg", "jpeg", "JPG"):
        path += "." + kind
        with open(path, "wb") as file:
            file.write(jpeg(width, height, lambda x, y: ycc(at(8 * x, 8 * y))))
    elif kind == "ppm":
        path += ".ppm"
        with open(path, "wb") as file:
            file.write(b"P6 %d %d 255\n" % (width, height) + bytes(v for y in range(height) for x in range(width) for v in at(x, y)))
    else:
        path += ".png"
        depth, colour, interlace = {"rgb": (8, 2, False), "rgba": (8, 6, False), "rgb16": (16, 2, False), "interlaced": (8, 2, True)}[kind]
        scale = 257 if depth == 16 else 1
        write_png(path, width, height, lambda x, y: [v * scale for v in at(x, y)] + ([255] if colour == 6 else []), kind=colour, depth=depth, interlace=interlace)
    return path


def corrupt(root):
    """Names of files that cannot be read."""
    good = os.path.join(root, "sand")
    with open(os.path.join(good, "0000.png"), "rb") as file:
        png = file.read()
    flat = jpeg(64, 48, lambda x, y: ycc((x * 20, y * 30, 90)))
    files = {"bad empty.png": b"", "bad text.jpg": b"<html>404 not found</html>", "bad half.png": png[: len(png) // 2], "bad flipped.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
             "bad half.jpg": flat[: len(flat) // 2], "bad head.jpg": flat[:20], "bad size.ppm": b"P6 0 5 255\n",
             "bad gif.png": b"GIF89a" + bytes(50), "bad head.png": png[:12], "bad tail.png": png[:-30],
             "bad short.ppm": b"P6 50 50 255\n" + bytes(100), "bad huge.ppm": b"P6 99999 99999 255\n", "bad huge.png": png[:16] + struct.pack(">II", 1 << 20, 1 << 20) + png[24:], "bad deep.ppm": b"P6 1 1 65535\n" + bytes(6)}
    for name, data in files.items():
        with open(os.path.join(good, name), "wb") as file:
            file.write(data)
    return sorted(files)


with Workspace() as at:
    source, kinds = random.Random(16), ["rgb", "jpg", "ppm", "rgba", "jpeg", "rgb16", "interlaced", "JPG"]
    for name, rgb in CLASSES.items():
        os.makedirs(at("own", name))
        for i in range(EACH):
            width, height = source.randint(8, 48), source.randint(8, 48)
            dimmed = [round(v * source.uniform(0.6, 1)) for v in rgb]
            write(at("own", name, f"{i:04d}"), kinds[i % len(kinds)] if i else "rgb", width, height, dimmed, source)
    bad = corrupt(at("own"))
    with open(at("own", "rose's", "0009.jpg"), "wb") as file:  # red by inks: no cyan, much magenta and yellow
        file.write(jpeg(24, 17, lambda x, y: [30, 210, 190, 20], 4))

    with open(SMALL) as file:
        text = file.read().replace("[3, 32, 32]", "[3, 16, 20]").replace("dense(global_avg_pool(x), 10)", "dense(global_avg_pool(x), 4)")
    with open(at("own.net"), "w") as file:
        file.write(text)
    model, data = at("own.net"), ["--data", at("own")]

    out, said = at.run("data", "stats", at("own"), status=1)
    check(all(f"own/sand/{name}': " in said for name in bad) and f"{len(bad)} pictures cannot be read" in said, said)
    check("forêt                        450 train      50 test" in out and "width 8 to 48" in out, out)
    _, said = at.run("train", model, *data, "--out", at("run"), status=1)
    check("own/sand/bad deep.ppm': " in said and "--bad-pictures=skip" in said and not os.path.exists(at("run")), said)
    _, said = at.run("train", model, *data, "--bad-pictures=skip", "--set", "train.epochs=2", "--set", "train.validation=200", "--out", at("run"), "-q")
    check(said.count("is left out: ") >= 10 and " more; 'data check' names all" in said, said)
    last = metrics(at("run"))[-1]
    check(last["test_accuracy"] > 0.97, f"test accuracy {last['test_accuracy']}")

    weights = ["--weights", at("run", "best.safetensors")]
    out = json.loads(at.run("eval", model, *weights, *data, "--bad-pictures=skip", "--classes", "--json")[0])
    check(out["accuracy"] == last["test_accuracy"] and [c["class"] for c in out["classes"]] == sorted(CLASSES), f"{out}")
    check(sum(map(sum, out["confusion"])) == out["images"] and 199 <= out["images"] <= 201, f"{out['images']} images")
    lines = [json.loads(line) for line in at.run("predict", model, *weights, "--json", at("own"), status=1)[0].splitlines()]
    right = sum(line["top"][0]["class"] == line["file"].split("/")[-2] for line in lines)
    check(len(lines) == 4 * EACH and right > 0.97 * len(lines), f"{right} of {len(lines)} right")

    at.run("report", at("run"), "--bad-pictures=skip", "-o", at("page.html"))
    with open(at("page.html"), encoding="utf-8") as file:
        (run,) = json.loads(file.read().split('type="application/json">')[1].split("</script>")[0])["runs"]
    check(run["test"]["confusion"] == out["confusion"] and run["test"]["classes"] == sorted(CLASSES) and run["state"] == "finished", "the page says otherwise than eval")
    print(f"{len(lines)} pictures of {len(kinds)} kinds: {100 * last['test_accuracy']:.1f} % of those to test with; {len(bad)} corrupt ones named")

#!/usr/bin/env python3
"""netc report: what the page shows of a run is what netc eval says and metrics.jsonl has; it opens in a browser without a network and without a
script error, and its plots are drawn. The part with the browser is skipped where there is no Chromium."""
import base64
import json
import os
import shutil
import struct
import xml.etree.ElementTree
import zlib

from browser import Browser
from e2e import SMALL, Workspace, check, metrics, skip


def numbers(at, data):
    one, two = data["runs"]
    check([r["name"] for r in data["runs"]] == ["one", "two"] and one["state"] == "at step 200 of 312" and two["state"] == "finished", f"{one['state']}, {two['state']}")
    for run in data["runs"]:
        lines, test = metrics(at(run["name"])), run["test"]
        check([e["train"] for e in run["epochs"]] == [m["train_accuracy"] for m in lines if "train_accuracy" in m], "accuracies of epochs")
        check([[m["step"], m["loss"], m["lr"]] for m in lines if "train_accuracy" not in m] == run["steps"], "losses of steps")
        said = json.loads(at.run("eval", SMALL, "-w", at(run["name"], "best.safetensors"), "--json")[0])
        check(abs(said["accuracy"] - test["accuracy"]) < 1e-9 and abs(said["loss"] - test["loss"]) < 1e-4, f"{said}, {test['accuracy']}, {test['loss']}")
        total = sum(map(sum, test["confusion"]))
        right = sum(test["confusion"][k][k] for k in range(10))
        check(total == test["images"] == said["images"] and abs(right / total - test["accuracy"]) < 1e-9, "the confusion matrix")
        check(sum(b[0] for b in test["bins"]) == total and abs(sum(b[0] * b[2] for b in test["bins"]) - right) < 1e-3, "the bins of the reliability diagram")
        ece = sum(b[0] * abs(b[1] - b[2]) for b in test["bins"]) / total
        check(abs(ece - test["ece"]) < 1e-5, f"calibration error {test['ece']}, {ece} of its bins")
        sure = [w["probability"] for w in test["wrong"]]
        check(len(sure) == min(24, total - right) and sure == sorted(sure, reverse=True) and all(w["label"] != w["predicted"] for w in test["wrong"]), "wrong pictures")
        check(all(len(base64.b64decode(w["pixels"])) == 3 * 32 * 32 for w in test["wrong"]), "pixels")
    check(two["epochs"][-1]["validation"] is not None and one["epochs"][-1]["validation"] is None, "validation")


def look(at, page):
    browser = Browser(shutil.which("chromium"), at("browser"))
    browser.open(page)
    count = lambda selector: browser.run(f"document.querySelectorAll({json.dumps(selector)}).length")
    check(count("#table tr") == 3 and count("#curves svg") == 6 and count("section.run") == 2, "table, curves and sections")
    check(browser.run("[...document.querySelectorAll('#curves polyline')].every(l => l.getAttribute('points').split(' ').every(p => p.split(',').every(x => isFinite(x) && x >= 0 && x <= 590)))"),
          "lines are within their plots")
    check(count("#curves polyline") == 4 and count("#curves circle") >= 8 and count(".confusion td") == 200 and count(".classes tr") == 22, f"lines of steps {count('#curves polyline')}, points of an epoch {count('#curves circle')}, matrices {count('.confusion td')}, classes {count('.classes tr')}")
    check(count(".pictures canvas") == browser.run("data.runs.reduce((s, r) => s + r.test.wrong.length, 0)"), "a picture for each")
    seen = browser.run("""(() => { const w = data.runs[0].test.wrong[0], c = document.querySelector('.pictures canvas'), d = c.getContext('2d').getImageData(5, 3, 1, 1).data,
        b = atob(w.pixels); return [0, 1, 2].map(k => d[k] - b.charCodeAt(1024 * k + 3 * 32 + 5)); })()""")
    check(seen == [0, 0, 0], f"a pixel is off by {seen}")
    check(browser.run("document.querySelector('.run p').textContent").startswith("one/best.safetensors on "), "what was run")
    browser.run("URL.createObjectURL = blob => (window.saved = blob.type, '#'), window.saved = ''")
    browser.click("figcaption a")
    check(browser.run("window.saved") == "image/svg+xml", "a plot is saved")
    check(not browser.errors, f"script errors: {browser.errors}")
    check(not [r for r in browser.requests if not r.startswith(("file:", "about:", "data:", "blob:"))], f"requests: {browser.requests}")
    browser.close()


CURVES = ("accuracy", "loss", "step-loss", "learning-rate", "accuracy-by-time", "images-a-second")


def png_pixels(path):
    """Rows of the PNGs that netc writes: 8 bits, RGB or RGBA, any filter."""
    with open(path, "rb") as file:
        data = file.read()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    check(data[:8] == b"\x89PNG\r\n\x1a\n" and depth == 8 and kind in (2, 6), f"{path}: {depth} bits of kind {kind}")
    packed, at_byte = b"", 8
    while at_byte < len(data):
        (length,) = struct.unpack_from(">I", data, at_byte)
        packed += data[at_byte + 8 : at_byte + 8 + length] if data[at_byte + 4 : at_byte + 8] == b"IDAT" else b""
        at_byte += 12 + length
    return width, height, zlib.decompress(packed)


def drawing(path):
    """Of an SVG, whose lines have to be within it: its texts and its number of boxes."""
    svg = xml.etree.ElementTree.parse(path).getroot()
    numbers = [float(x) for line in svg.iter("{http://www.w3.org/2000/svg}polyline") for point in line.get("points").split() for x in point.split(",")]
    check(all(-1 <= x <= 600 for x in numbers), f"{path}: lines are not within the plot")
    return [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")], len(list(svg.iter("{http://www.w3.org/2000/svg}rect")))


def damaged(at):
    """Numbers that no training writes are drawn or left out, and ordinary ones are written as they are."""
    sound = {"epoch": 0, "step": 10, "loss": 2.5, "lr": 0.1, "images_per_s": 3246.4, "seconds": 30, "train_accuracy": 0.2, "test_accuracy": 0.3, "test_loss": 2}
    for i, wrong in enumerate(({}, {"images_per_s": -1e30, "loss": -3, "lr": -1}, {"step": 1e17, "epoch": 1e17}, {"seconds": -1e9}, {"images_per_s": 1e308, "step": 1e308, "seconds": 1e308},
                               {"lr": 5e-324, "images_per_s": 5e-324, "train_accuracy": -1e30, "loss": 5e-324}, {"lr": -1e300, "loss": 1e300, "test_loss": -1e300})):
        run = f"damaged{i}"
        shutil.copytree(at("two"), at(run))
        for alone in (True, False):
            with open(at(run, "metrics.jsonl"), "w", encoding="utf-8") as file:
                for line in [sound | wrong] if alone else [sound, sound | {"epoch": 1} | wrong, {"step": 12, "loss": 2, "lr": 0.1} | {k: v for k, v in wrong.items() if k in ("step", "loss", "lr")}]:
                    file.write(json.dumps(line) + "\n")
            listed = json.loads(at.run("report", run, "--curves", "--plots", run + "p", "--json", timeout=60)[0])["plots"]
            check(alone and wrong or len(listed) >= 10, f"{listed}")
            texts = {name: drawing(at(name))[0] for name in listed if name.endswith(".svg")}
            if not wrong:
                check("3246" in texts[f"{run}p/images-a-second.svg"] and not any("e+" in t for names in texts.values() for t in names), f"{texts}")


def names_of_plots(at):
    """Runs whose paths make the same name, and a run that is given twice, each have their files."""
    os.mkdir(at("d"))
    shutil.copytree(at("one"), at("d", "b"))
    shutil.copytree(at("one"), at("d-b"))
    listed = json.loads(at.run("report", "one/", "d/b", "./one//", "d-b", at("one"), "--plots", "named", "--json")[0])["plots"]
    check(len(set(listed)) == len(listed) == len(os.listdir(at("named"))), f"{listed}")
    of = sorted(name[len("named/") : -len("-confusion.svg")] for name in listed if name.endswith("-confusion.svg"))
    check(of == sorted(["one", "d-b", "one-2", "d-b-2", at("one").lstrip("/").replace("/", "-")]), f"{of}")


def plots(at, listed, boxes):
    """Each is there as SVG that is XML and as PNG of twice its size with something on it; texts from outside are escaped."""
    want = {at("pl", name + end) for name in (*CURVES, *(f"{run}-{what}" for run in ("one", "two") for what in ("reliability", "confusion"))) for end in (".svg", ".png")}
    check({at(name) for name in listed} == want and want == {at("pl", name) for name in os.listdir(at("pl"))}, f"{listed}")
    for path in sorted(want):
        if path.endswith(".png"):
            continue
        drawing(path)
        svg = xml.etree.ElementTree.parse(path).getroot()
        width, height, rows = png_pixels(path[:-4] + ".png")
        check((width, height) == (2 * int(svg.get("width")), 2 * int(svg.get("height"))) and len(set(rows)) > 20, f"{path[:-4]}.png: {width}x{height}")
    text, drawn = drawing(at("pl", "two-confusion.svg"))
    check(text[0] == "confusion of two" and text.count("class 3") == 2 and drawn == 1 + boxes, f"{text}, {drawn} boxes of {boxes}")
    shutil.copytree(at("two"), at("a<&b\x01"))
    at.run("report", "a<&b\x01", "--curves", "--plots", "escaped")
    check("a<&b\ufffd" in drawing(at("escaped", "loss.svg"))[0], "a name is not escaped")
    with open(at("file"), "w"):
        pass
    at.refuses("report", "two", "--curves", "--plots", "file", status=3, says="cannot make the directory 'file': Not a directory")


with Workspace() as at:
    at.run("train", SMALL, "-q", "--steps", 200, "--out", "one")
    at.run("train", SMALL, "-q", "--set", "train.validation=0.2", "--set", "train.epochs=0.5", "--out", "two")
    out, _ = at.run("report", "one", "two", "-o", "page.html")
    check(out == "2 trainings, in 'page.html'\n", out)
    with open(at("page.html"), encoding="utf-8") as file:
        page = file.read()
    check("http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page, "the page needs a network")
    data = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    numbers(at, data)
    written = json.loads(at.run("report", "one", "two", "-o", "again.html", "--plots", "pl", "--json")[0])
    check(written["trainings"] == 2 and written["page"] == "again.html", f"{written}")
    plots(at, written["plots"], sum(n > 0 for row in data["runs"][1]["test"]["confusion"] for n in row))
    damaged(at)
    names_of_plots(at)
    os.remove(at("one", "model.ir"))  # as of an older netc
    out, _ = at.run("report", "one", "--curves")
    check(out == "1 training, in 'netc-report.html'\n", out)
    at.run("report", "one", "--curves", "two")
    at.run("report", "one", "-o", "partial.html")
    with open(at("partial.html"), encoding="utf-8") as file:
        check("has no model.ir" in file.read(), "it does not say why there are no predictions")
    at.refuses("report", status=2, says="no training given")
    at.refuses("report", "nothing", status=1, says="there is no training in")
    at.refuses("report", "two", "--data", at("nowhere"), status=1, says="nowhere")
    at.refuses("report", "two", "--curves", "-o", at("no", "such.html"), status=3, says="cannot write")
    if not shutil.which("chromium"):
        skip("there is no Chromium")
    look(at, at("page.html"))

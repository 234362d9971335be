#!/usr/bin/env python3
"""netc explore: the page opens in a browser without a network and without a script error, and does what it is clicked to do. Skipped
where there is no Chromium."""
import json
import os
import shutil
import subprocess
import sys

from browser import Browser
from e2e import Workspace, check, skip


def look(browser, path, blocks):
    browser.open(path)
    count = lambda selector: browser.run(f"document.querySelectorAll({json.dumps(selector)}).length")
    text = lambda selector: browser.run(f"document.querySelector({json.dumps(selector)}).textContent")
    check(count(".column.open") == 2 and count(".column") == browser.run("stages.length"), "the source and the last graph are open")
    # Blocks: what looks like one before is folded, and opens when it is clicked.
    folded = count(".fold")
    check(folded >= blocks, f"{folded} blocks are folded")
    before = count(".value")
    browser.click(".fold")
    check(count(".fold") == folded - 1 and count(".value") > before, "a block opens")
    # A value: it, its line of the source, and itself in the other column.
    line = browser.run("stages[0].order.find(l => stages[last].line.has(l) && data.values[l][0] && data.texts[stages[0].line.get(l)].includes(' = conv2d '))")
    browser.click(f".column.open .value[data-l='{line}']")
    check(count(f".value.pick[data-l='{line}']") == 2 and count(".value.pick") == 2, "it is picked in both columns")
    check(count("#source span.pick") == 1 and "conv2d" in text("#source span.pick"), "and its line of the source")
    check("stored" in text("#detail") and "kernels" in text("#detail") and "rewrites" in text("#detail"), text("#detail"))
    browser.click("#source span.pick")
    # A pass opens and closes.
    browser.click(".column.shut > h2")
    check(count(".column.open") == 3, "a pass opens")
    # Differences and changed values alone.
    browser.run("$('view').value = 'diff'; $('view').dispatchEvent(new Event('change'))")
    check(count(".value.made") > 0 and count(".value.gone") > 0, "differences are shown")
    shown = count(".value")
    browser.run("$('view').value = 'all'; $('view').dispatchEvent(new Event('change'))")
    check(count(".value") > shown, "all values are more")
    # Search.
    browser.run("$('find').value = 'global_avg'; $('find').dispatchEvent(new Event('input'))")
    check(count(".value.found") > 0 and "values" in text("#hits"), text("#hits"))
    browser.run("$('find').value = 'squeeze'; $('find').dispatchEvent(new Event('input'))")
    check(count("h2.found") >= 1 and "passes" in text("#hits"), text("#hits"))
    browser.run("$('find').value = ''; $('find').dispatchEvent(new Event('input'))")
    # The rewrites one by one: what each makes is there, and the sentence says why.
    browser.click("#next")
    check(text("#number").startswith("1 of ") and "#1 " in text("#event") and count(".value.made") >= 1, text("#event"))
    browser.run("$('slider').value = 3; $('slider').dispatchEvent(new Event('input'))")
    check(text("#number").startswith("3 of "), text("#number"))
    browser.click("#back")
    check(text("#number").startswith("2 of "), text("#number"))
    # Memory.
    check(count("#plan rect") > 10, "the memory is drawn")
    picked = browser.run("(document.querySelector('#plan rect').dispatchEvent(new MouseEvent('click', {bubbles: true})), state.picked)")
    check(picked == browser.run("data.buffers[0][0]"), "a bar picks its value")
    browser.run("$('heat').value = 'bytes'; $('heat').dispatchEvent(new Event('change'))")
    check(browser.run("[...document.querySelectorAll('.value')].some(e => e.style.background.includes('rgba'))"), "heat is shown")
    check(not browser.errors, browser.errors)
    check(all(url.startswith("file:") for url in browser.requests), browser.requests)


def main(at):
    program = shutil.which("chromium")
    out, _ = at.run("explore", "se_resnet20", "-o", at("small.html"), "--time", "--batch=2")
    check("se_resnet20, training: " in out, out)
    with open(at("small.html"), encoding="utf-8") as file:
        page = file.read()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    check(data["stages"][0]["run"] == "source" and len(data["stages"]) > 10 and all(len(call) == 5 for call in data["calls"]), "it is all there")
    final = data["stages"][-1]
    lines = dict(zip(final["values"][::2], final["values"][1::2]))
    check(len(lines) == len(final["values"]) // 2 and all(buffer[0] in lines for buffer in data["buffers"]), "each value once, and what is stored is one")
    at.run("explore", "se_resnet20", "-o", at("infer.html"), "--mode=infer", "--batch=2")
    at.run("explore", "resnet110", "-o", at("large.html"), "--batch=2")
    check(os.path.getsize(at("large.html")) < 5 << 20, "resnet110 is under 5 MB")
    _, err = at.run("explore", "se_resnet20", "-o", at("no/such.html"), status=3)
    check("cannot write" in err, err)
    if not program:
        skip("there is no Chromium")
    browser = Browser(program, at("browser"))
    look(browser, at("small.html"), 6)
    look(browser, at("large.html"), 100)
    browser.open(at("infer.html"))
    check(not browser.errors and browser.run("document.querySelectorAll('.value').length") > 10, "inference")
    browser.close()


with Workspace() as workspace:
    main(workspace)

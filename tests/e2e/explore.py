#!/usr/bin/env python3
"""netc explore: the page opens in a browser without a network and without a script error, and does what it is clicked to do. Skipped
where there is no Chromium."""
import json
import os
import shutil
import subprocess
import sys

from e2e import Workspace, check, skip


class Browser:
    """Chromium without a window, by its debugging protocol over two pipes."""

    def __init__(self, program, home):
        to_read, self.out = os.pipe()
        self.input, to_write = os.pipe()

        def pipes():  # it reads 3 and writes 4
            read, write = os.dup(to_read), os.dup(to_write)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.process = subprocess.Popen([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                                         "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1600,900", f"--user-data-dir={home}", "about:blank"],
                                        close_fds=False, preexec_fn=pipes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.count, self.buffer, self.errors, self.session = 0, b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Network"]:
            self.call(domain + ".enable")
        self.requests = []

    def receive(self):
        while b"\0" not in self.buffer:
            part = os.read(self.input, 1 << 20)
            check(part, "the browser ended")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(message["params"]["exceptionDetails"])
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.count:
                check("error" not in answer, f"{method}: {answer}")
                return answer["result"]

    def open(self, path):
        self.call("Page.navigate", url="file://" + path)
        while self.receive().get("method") != "Page.loadEventFired":
            pass

    def run(self, text):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=text, returnByValue=True)
        check("exceptionDetails" not in result, f"{text}: {result}")
        return result["result"].get("value")

    def click(self, selector):
        """With the mouse, where the element is seen."""
        place = self.run(f"""(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null; e.scrollIntoView({{block: 'center'}});
            const r = e.getBoundingClientRect(); return [r.left + Math.min(r.width, 20) / 2, r.top + Math.min(r.height, 10) / 2]; }})()""")
        check(place, f"there is no {selector}")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def close(self):
        self.process.kill()
        self.process.wait()


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

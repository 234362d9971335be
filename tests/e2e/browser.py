"""Chromium for tests of pages."""
import json
import os
import subprocess

from e2e import check


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

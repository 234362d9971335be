"""What a person sees of netc train, through a pseudo-terminal and a small terminal of this test's own: on a wide one curves above the live line, which
leave nothing behind; on a narrow one, or where UTF-8 is not taken, one line that never wraps; in a pipe plain lines. SIGINT ends it well."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from e2e import NETC, SMALL, Workspace, check

TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|[\r\n]|[^\x1b\r\n]+|\x1b")


class Screen:
    """Rows that grow downwards: carriage return, line feed, cursor up, erase to the end of the line or of the screen, colours."""

    def __init__(self, columns):
        self.columns, self.rows, self.x, self.y, self.wrapped, self.curves, self.braille = columns, [""], 0, 0, 0, 0, set()

    def write(self, text):
        for token in TOKEN.finditer(text):
            word, number, command = token.group(0), token.group(1), token.group(2)
            if word == "\r":
                self.x = 0
            elif word == "\n":
                self.y += 1
                self.rows += [""] * (self.y + 1 - len(self.rows))
            elif command == "A":
                self.y -= int(number or 1)
                check(self.y >= 0, "the cursor leaves the screen")
            elif command == "K":
                self.rows[self.y] = self.rows[self.y][: self.x]
            elif command == "J":
                self.rows[self.y] = self.rows[self.y][: self.x]
                del self.rows[self.y + 1 :]
            elif command is None:
                check(word != "\x1b", f"an escape that a terminal may not know in {text!r}")
                row = self.rows[self.y].ljust(self.x)
                self.rows[self.y] = row[: self.x] + word + row[self.x + len(word) :]
                self.x += len(word)
                self.wrapped += self.x > self.columns
                self.curves += any("\u2800" < c <= "\u28ff" for c in word)
            else:
                check(command == "m", f"a command {word!r}")


def train(at, columns, rows, locale, *words, stop=None):
    """(exit status, screen, all that was written)"""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = dict(at.environment(), LC_ALL=locale, TERM="xterm-256color")
    process = subprocess.Popen([NETC, "train", SMALL, "--set", "train.epochs=2", *map(str, words)], stdout=slave, stderr=slave, stdin=slave, env=environment, cwd=at.path)
    os.close(slave)
    data, deadline = b"", time.monotonic() + 100
    while time.monotonic() < deadline:
        if select.select([master], [], [], 1)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            data += part
        if stop and stop in data:
            process.send_signal(signal.SIGINT)
            stop = None
    status = process.wait(timeout=60)
    os.close(master)
    text = data.decode()
    screen = Screen(columns)
    screen.write(text)
    return status, screen, text


with Workspace() as at:
    status, screen, text = train(at, 140, 40, "C.UTF-8", "--out", at("wide"))
    check(status == 0 and screen.wrapped == 0 and screen.curves > 20, f"{status}, {screen.wrapped} wrapped, {screen.curves} rows of curves\n{text[-2000:]}")
    rows = [row.rstrip() for row in screen.rows]
    check([row.split("  ")[0] for row in rows if row.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"], "lines of epochs, and nothing else of the live line:\n" + "\n".join(rows))
    last = rows[-9:-1] if rows[-1] == "" else rows[-8:]
    check(all("│" in row or "└" in row for row in last) and "loss" in "".join(last) and "acc. %" in "".join(last), "the curves stay at the end:\n" + "\n".join(rows))
    check(len(rows) < 14, "something was left behind:\n" + "\n".join(rows))
    top, bottom = float(last[0].split()[0]), float(last[-1].split()[0].rstrip("└"))
    check(2 < top < 4 and 0 <= bottom < 1, f"the axis goes from {bottom} to {top}")

    for columns, height, locale in (80, 24, "C.UTF-8"), (60, 50, "C.UTF-8"), (140, 40, "C"), (140, 10, "C.UTF-8"):
        status, screen, text = train(at, columns, height, locale, "--steps", 40, "--out", at(f"{columns}-{height}-{locale}"))
        check(status == 0 and screen.wrapped == sum(len(row) > columns for row in screen.rows) and screen.curves == 0, f"{columns}x{height}, {locale}: {screen.wrapped} wrapped, {screen.curves} curves")
        check("\r" in text and "step 1/40" in text and sum("step" in row for row in screen.rows) == 0, f"{columns}x{height}: the live line\n" + "\n".join(screen.rows))

    status, screen, text = train(at, 140, 40, "C.UTF-8", "--out", at("stopped"), stop=b"epoch 1/2  loss")
    check(status == 130 and "interrupted at step" in "".join(screen.rows), f"SIGINT: {status}\n" + "\n".join(screen.rows))
    said = [row for row in screen.rows if "interrupted" in row]
    check(said[0].startswith("netc: interrupted"), f"the message is on a line of its own: {said}")
    plain, _ = at.run("train", SMALL, "--steps", 40, "--out", at("piped"))
    check("\x1b" not in plain and "\r" not in plain and not any("\u2800" <= c <= "\u28ff" for c in plain) and plain.count("\n") == 2, f"in a pipe: {plain!r}")
    print("curves on a wide terminal, one line on others, plain lines in a pipe")

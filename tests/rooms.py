#!/usr/bin/env python3
"""Who may include whom, and who does: holds every #include of the project, and every symbol that one object file takes from another,
against the table of rooms in ARCHITECTURE.md, which is the one home of these rules.

    tests/rooms.py [BUILD]      BUILD: a build directory, whose object files are read with nm
    tests/rooms.py --circles [BUILD]    also lists files of one room that need each other in a circle (all of them, where a BUILD is given)

A row is a room: a folder, with those below it that have no row of their own. Its last cell names, in backquotes, what its files may
include beside their own room: other rooms, which must stand above it (so that nothing looks up), single headers (`runtime/abi.h`),
headers of libraries (`<png.h>`) and headers that netc makes when it is used (`"libnet.h"`). A permission that
nobody uses, by an include or a symbol, is an error too, where a BUILD is given: the table says what is true.

Files of one room may need each other in a circle only where a row of the second table names all of them (`*` for any run of letters
without a slash)."""
import fnmatch
import json
import os
import re
import subprocess
import sys
from collections import defaultdict

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The C library and the kernel: free to all. Any other header in angle brackets is a library that a row has to name.
SYSTEM = re.compile(r"(sys/|linux/|asm/)?[a-z0-9_]+\.h$")
LIBRARIES = re.compile(r"(llvm-c/.*|jpeglib\.h|jerror\.h|png\.h|zlib\.h|cblas\.h|check\.h|mpi\.h)$")


def listed():
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if names.returncode:  # no repository: an unpacked archive
        found = (os.path.relpath(os.path.join(d, f), ROOT) for d, _, files in os.walk(ROOT) for f in files)
        return sorted(f for f in found if not f.startswith("build"))
    return sorted(set(names.stdout.split("\n")) - {""})


def read_table():
    """[(folder, [permissions])] in the table's order."""
    rows = []
    inside = False
    with open(os.path.join(ROOT, "ARCHITECTURE.md"), encoding="utf-8") as text:
        for line in text:
            if line.startswith("## "):
                inside = line.startswith("## Folders")
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if inside and line.startswith("| `") and len(cells) == 3:
                for folder in re.findall(r"`([^`]+)/`", cells[0]):
                    rows.append((folder, re.findall(r"`([^`]+)`", cells[2])))
    return rows


def read_circles():
    """The second table: for each row, the patterns of files that may need each other in a circle."""
    with open(os.path.join(ROOT, "ARCHITECTURE.md"), encoding="utf-8") as text:
        found = re.search(r"^\| files in a circle \|.*\n\|[-|]+\n((?:\|.*\n)*)", text.read(), re.M)
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in found[1].splitlines()] if found else []


def covers(patterns, path):
    return any(path.count("/") == p.count("/") and fnmatch.fnmatchcase(path, p) for p in patterns)


def circle_faults(groups, allowed):
    """What is in a circle and in no row, and which rows have no circle."""
    faults, used = [], set()
    for group in groups:
        row = next((at for at, patterns in enumerate(allowed) if all(covers(patterns, path) for path in group)), None)
        if row is None:
            faults.append("a circle that no row of ARCHITECTURE.md's table of circles names: " + " ".join(group))
        used.add(row)
    faults += [f"ARCHITECTURE.md: there is no circle of {' '.join(allowed[at])}" for at in range(len(allowed)) if at not in used]
    return faults


class Rooms:
    def __init__(self, files):
        self.rows = read_table()
        self.order = [folder for folder, _ in self.rows]
        self.may = dict(self.rows)
        self.files = set(files)
        self.used = defaultdict(set)
        self.faults = []

    def room(self, path):
        """The room of a file; None outside of all."""
        folder = os.path.dirname(path)
        while folder and folder not in self.may:
            folder = os.path.dirname(folder)
        return folder or None

    def check_table(self):
        if not self.rows:
            self.faults.append("ARCHITECTURE.md: no table of folders found")
        for at, (folder, may) in enumerate(self.rows):
            if not any(f.startswith(folder + "/") for f in self.files):
                self.faults.append(f"ARCHITECTURE.md: there is no folder {folder}/")
            for item in may:
                other = item if item in self.may else self.room(item)
                if item[0] in '<"':
                    continue
                if item not in self.may and item not in self.files:
                    self.faults.append(f"ARCHITECTURE.md: {folder}/ may include `{item}`, which is neither a room nor a header")
                elif other not in self.order[:at]:
                    self.faults.append(f"ARCHITECTURE.md: {folder}/ may include `{item}`, which does not stand above it")

    def allowed(self, path, header):
        """May the file `path` include the file `header`, both from the root?"""
        own, other = self.room(path), self.room(header)
        if own is None or own == other:
            return True
        for item in (header, other):
            if item in self.may[own]:
                self.used[own].add(item)
                return True
        return False

    def check_include(self, path, line, header, system):
        if system:
            if LIBRARIES.match(header):
                item = next((i for i in self.may.get(self.room(path), []) if i.startswith("<") and header.startswith(i[1:-1])), None)
                if item:
                    self.used[self.room(path)].add(item)
                elif self.room(path):
                    self.faults.append(f"{path}:{line}: {self.room(path)}/ may not include <{header}>")
            elif not SYSTEM.match(header):
                self.faults.append(f"{path}:{line}: <{header}> is no header of the C library and none of the libraries that {sys.argv[0]} knows")
            return None
        beside = os.path.normpath(os.path.join(os.path.dirname(path), header))
        target = header if header in self.files else beside if beside in self.files else None
        if target is None and f'"{header}"' in self.may[self.room(path)]:
            self.used[self.room(path)].add(f'"{header}"')
        elif target is None:
            self.faults.append(f"{path}:{line}: there is no '{header}'")
        elif not self.allowed(path, target):
            self.faults.append(f"{path}:{line}: {self.room(path)}/ may not include {target}")
        return target

    def check_includes(self):
        count, needs = 0, defaultdict(set)
        for path in sorted(self.files):
            if not re.search(r"\.(c|h|def)$", path) or self.room(path) is None:
                continue
            with open(os.path.join(ROOT, path), encoding="utf-8") as text:
                for number, line in enumerate(text, 1):
                    found = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
                    if found:
                        count += 1
                        target = self.check_include(path, number, found[2], found[1] == "<")
                        if target:
                            needs[path].add(target)
        return count, needs

    def check_unused(self):
        for folder, may in self.rows:
            for item in may:
                if item not in self.used[folder]:
                    self.faults.append(f"ARCHITECTURE.md: {folder}/ may include `{item}`, but does not")

    # ---- symbols: what a header's declaration hides from a look at includes ----

    def may_need(self, own, other, seen=()):
        """May code in the room `own` call what a file of the room `other` defines? A header promises its folder and what lies below it
        (codegen.h declares what codegen/link/ defines), and brings along what its own room may include."""
        if own == other:
            return True
        for item in self.may.get(own, []):
            room = item if item in self.may else self.room(item)
            if room is None or room in seen:
                continue
            if room == other or (other.startswith(room + "/") and not own.startswith(room + "/")) or self.may_need(room, other, (*seen, own)):
                return True
        return False

    def check_symbols(self, build):
        defines, wants = read_objects(build, self.files)
        count, needs = 0, defaultdict(set)
        for path in sorted(wants):
            for symbol in sorted(wants[path]):
                definer = defines.get(symbol)
                if definer is None or definer == path:
                    continue
                count += 1
                needs[path].add(definer)
                self.used[self.room(path)].add(self.room(definer))
                if self.room(path) and not self.may_need(self.room(path), self.room(definer)):
                    self.faults.append(f"{path}: {self.room(path)}/ may not call {symbol} of {definer}")
        return count, needs


def read_objects(build, files):
    """{symbol: source that defines it}, {source: symbols that it wants}."""
    defines, wants, objects = {}, defaultdict(set), {}
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as commands:
        for entry in json.load(commands):  # not what happens to lie there: objects of files that have moved stay behind
            source, output = os.path.relpath(entry["file"], ROOT), os.path.join(entry["directory"], re.search(r" -o (\S+)", entry["command"])[1])
            if source in files and not source.startswith("tests/") and os.path.exists(output):
                objects[output] = source
    if not objects:
        return defines, wants
    listing = subprocess.run(["nm", "-A", "--extern-only", *sorted(objects)], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        where, rest = line.rsplit(":", 1)
        kind, symbol = rest.split()[-2:]
        if kind == "U":
            wants[objects[where]].add(symbol)
        elif kind not in "Ww":
            defines[symbol] = objects[where]
    return defines, wants


def circles(needs, rooms):
    """Groups of at least two files of one room that need each other, largest first (Tarjan)."""
    def unit(path):
        return re.sub(r"\.(c|h)$", "", path)
    graph = defaultdict(set)
    for path, others in needs.items():
        for other in others:
            if rooms.room(path) == rooms.room(other) and unit(path) != unit(other):
                graph[unit(path)].add(unit(other))
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(graph.get(v, ())):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            at = stack.index(v)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return sorted(found, key=lambda group: (-len(group), group))


def main():
    args = [a for a in sys.argv[1:] if a != "--circles"]
    rooms = Rooms(listed())
    rooms.check_table()
    includes, needs = rooms.check_includes()
    symbols = 0
    if args:
        symbols, calls = rooms.check_symbols(os.path.abspath(args[0]))
        if not symbols:
            rooms.faults.append(f"{args[0]}: no object files of this tree found")
        for path, others in calls.items():
            needs[path] |= others
        rooms.check_unused()
    groups = circles(needs, rooms)
    if args:  # includes alone are half of what files need of each other
        rooms.faults += circle_faults(groups, read_circles())
    for fault in rooms.faults:
        print(fault)
    if "--circles" in sys.argv:
        for group in groups:
            print("circle:", " ".join(group))
    print(f"{includes} includes, {symbols} calls between files, {len(rooms.rows)} rooms, {len(rooms.faults)} faults")
    return 1 if rooms.faults else 0


if __name__ == "__main__":
    sys.exit(main())

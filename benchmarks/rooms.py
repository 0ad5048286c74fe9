"""
Sizes of packages and modules, and how many functions and modules one line passes.

C{python -m benchmarks.rooms} prints the lines of each package, the longest module and the largest
class; then it sends one line from a file to both outputs, in memory, and counts the functions and
the modules of decnet_syslog that ran between the two.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import decnet_syslog
from tests.campaigns.pipeline import World, perform

PACKAGE = Path(decnet_syslog.__file__).parent


def printSizes() -> None:
    """Print the lines of each package, the longest modules and the largest classes."""
    rooms: Counter[str] = Counter()
    modules: dict[str, int] = {}
    classes: dict[str, int] = {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        name = str(path.relative_to(PACKAGE))
        modules[name] = text.count("\n")
        rooms[name.split("/")[0]] += modules[name]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                classes[f"{name} {node.name}"] = lines
    for room, lines in rooms.most_common():
        print(f"{room:<24} {lines:>7,}")
    print(f"{'all':<24} {rooms.total():>7,}   {len(modules)} modules")
    longer = sum(lines > 300 for lines in modules.values())
    print(f"modules of more than 300 lines: {longer}")
    for title, sizes in ("longest modules", modules), ("largest classes", classes):
        print(title)
        for name in sorted(sizes, key=lambda one: -sizes[one])[:3]:
            print(f"    {sizes[name]:>5} {name}")


def printPath() -> None:
    """Send one line through both sides, and print what it has passed."""
    functions: set[tuple[str, int]] = set()

    def called(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            functions.add((code.co_filename, code.co_firstlineno))

    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        outputs = world.master.rawPath, world.master.jsonPath

        def send() -> None:
            world.line()
            line = b"%06d" % world.serial
            for _ in range(100):
                perform(world, ("all",))
                if all(line in path.read_bytes() for path in outputs):
                    return
            raise SystemExit("the line has not arrived")

        # The first line introduces both sides to each other.
        world.connect()
        send()
        sys.setprofile(called)
        try:
            send()
        finally:
            sys.setprofile(None)
    names = {name for name, _ in functions}
    print(f"one line passes {len(functions)} functions in {len(names)} modules")


if __name__ == "__main__":
    printSizes()
    printPath()

"""
Sizes of packages and modules, and how many functions and modules one line passes.

    python -m benchmarks.rooms [--before COMMIT]

The table compares the package of this checkout with an earlier commit's. For the path of a line,
one line is sent from a file to both outputs, in memory, and the functions and the modules of
decnet_syslog that run meanwhile are counted.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import decnet_syslog
from tests.campaigns.pipeline import World, perform

from .report import rstTable, runProgram, save

__all__ = ["Sizes", "describe", "main"]

PACKAGE = Path(decnet_syslog.__file__).parent

# The last commit before the packages were divided into rooms with one concept each.
BEFORE = "b7f0a04"

# What one line passed there, counted as below.
FUNCTIONS_BEFORE, MODULES_BEFORE = 151, 23

LINES_MAX = 300

# The row of the modules that are in no package.
TOP = "(top level)"


@dataclass
class Sizes:
    """
    The sizes of a tree.

    @ivar packages: for each package its modules and their lines, C{[3, 250]}.
    @ivar statements: of the whole tree; unlike lines they do not depend on comments or format.
    @ivar longer: modules of more than L{LINES_MAX} lines.
    @ivar longest: the longest module and its lines.
    @ivar largest: the largest class and its lines.
    """

    packages: dict[str, list[int]]
    statements: int
    longer: int
    longest: tuple[str, int]
    largest: tuple[str, int]

    @classmethod
    def of(cls, modules: Iterator[tuple[str, str]]) -> Sizes:
        """The sizes of modules: of their paths in the package, and their texts."""
        packages: dict[str, list[int]] = {}
        lines: Counter[str] = Counter()
        classes: Counter[str] = Counter()
        statements = 0
        for path, text in modules:
            lines[path] = text.count("\n")
            package, inside, _ = path.rpartition("/")
            found = packages.setdefault(
                package.split("/")[0] if inside else TOP, [0, 0]
            )
            found[0] += 1
            found[1] += lines[path]
            for node in ast.walk(ast.parse(text)):
                statements += isinstance(node, ast.stmt)
                if isinstance(node, ast.ClassDef):
                    assert node.end_lineno is not None
                    name = f"{path} {node.name}"
                    classes[name] = node.end_lineno - node.lineno + 1
        longer = sum(count > LINES_MAX for count in lines.values())
        (longest,), (largest,) = lines.most_common(1), classes.most_common(1)
        return cls(packages, statements, longer, longest, largest)

    @property
    def modules(self) -> int:
        """The number of modules."""
        return sum([modules for modules, _ in self.packages.values()])

    @property
    def lines(self) -> int:
        """The number of lines."""
        return sum([lines for _, lines in self.packages.values()])


def ofCheckout() -> Iterator[tuple[str, str]]:
    """The modules of this checkout."""
    for path in PACKAGE.rglob("*.py"):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")


def ofCommit(commit: str) -> Iterator[tuple[str, str]]:
    """The modules of a commit."""
    command = ["git", "-C", str(PACKAGE.parent), "archive", commit, PACKAGE.name]
    octets = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(octets)) as tree:
        for member in tree:
            file = tree.extractfile(member)
            if file is not None and member.name.endswith(".py"):
                path = member.name.removeprefix(f"{PACKAGE.name}/")
                yield path, file.read().decode("utf-8")


def passed() -> tuple[int, int]:
    """Send one line through both sides. Returns the functions and modules that it passes."""
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
    return len(functions), len({name for name, _ in functions})


def describe(results: Mapping[str, Any]) -> str:
    """The tables of ARCHITECTURE.rst: in reStructuredText."""
    before, now = (Sizes(**results[when]) for when in ("before", "now"))

    def row(name: str, one: Any, other: Any) -> tuple[str, str, str]:
        return name, f"{one:,}", f"{other:,}"

    def sized(found: tuple[str, int]) -> str:
        path, lines = found
        return f"{lines:,}: {path}"

    text = rstTable(
        ("measure", "before", "now"),
        [
            row("modules", before.modules, now.modules),
            row("lines", before.lines, now.lines),
            row("statements", before.statements, now.statements),
            row("modules over 300 lines", before.longer, now.longer),
            ("longest module, lines", sized(before.longest), sized(now.longest)),
            ("largest class, lines", sized(before.largest), sized(now.largest)),
            row(
                "lines of a module, mean",
                before.lines // before.modules,
                now.lines // now.modules,
            ),
            row("functions that one line passes", *results["functions"]),
            row("modules that one line passes", *results["modules"]),
        ],
    )
    rows = []
    for name in sorted(before.packages.keys() | now.packages.keys()):
        one, other = (sizes.packages.get(name) for sizes in (before, now))
        cells = [
            f"{count:,}" if count else "-"
            for count in [*(one or (0, 0)), *(other or (0, 0))]
        ]
        rows.append([name, *cells])
    heads = ("package", "modules before", "lines before", "modules now", "lines now")
    return f"{text}\n{rstTable(heads, rows)}"


def main() -> int:
    """Count, print, save. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", default=BEFORE, help=f"default: {BEFORE}")
    arguments = parser.parse_args()
    functions, modules = passed()
    results = {
        "before": asdict(Sizes.of(ofCommit(arguments.before))),
        "now": asdict(Sizes.of(ofCheckout())),
        "functions": [FUNCTIONS_BEFORE, functions],
        "modules": [MODULES_BEFORE, modules],
    }
    print(describe(results))
    save("rooms", vars(arguments), results)
    return 0


if __name__ == "__main__":
    runProgram(main)

"""The house rules that a program can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog

PACKAGE = Path(decnet_syslog.__file__).parent

# Who may be imported by whom: each floor by those above it.
BELOW = {
    "wire": {"wire"},
    "trust": {"trust", "errors", "durable", "private"},
    "files": {"files"},
    "watch": {"watch", "wire", "trust", "errors", "options"},
    "worker": {
        "worker",
        "files",
        "watch",
        "wire",
        "trust",
        "errors",
        "options",
        "clock",
        "durable",
        "database",
        "migration",
        "private",
        "notify",
        "signals",
    },
    "master": {
        "master",
        # Of its options and what they open only: see test_nats.
        "nats",
        "files",
        "watch",
        "wire",
        "trust",
        "errors",
        "options",
        "clock",
        "durable",
        "database",
        "migration",
        "private",
        "notify",
        "signals",
    },
    # A provider of the master's journal; the outputs, which need not be where it is.
    "nats": {
        "nats",
        "master",
        "watch",
        "wire",
        "errors",
        "options",
        "clock",
        "durable",
        "database",
        "migration",
        "private",
        "notify",
        "signals",
    },
    "doctor": {"doctor", "worker", "files", "wire", "trust", "errors", "options"},
    "commands": {
        "commands",
        "doctor",
        "worker",
        "master",
        "files",
        "watch",
        "wire",
        "trust",
        "errors",
        "options",
        "clock",
        "durable",
        "database",
        "migration",
        "private",
        "logs",
    },
    "durable": set(),
    "database": {"durable", "errors", "migration", "private"},
    "private": {"errors"},
    "migration": set(),
    "notify": set(),
    "signals": set(),
    "logs": set(),
    "errors": set(),
    "options": set(),
    "clock": set(),
}

# The lowest floor has no transport, no disk and no clock.
WIRE_MUST_NOT = {"os", "time", "socket", "sqlite3", "twisted.internet.reactor"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, as a dotted name."""
    package = ["decnet_syslog", *path.relative_to(PACKAGE).with_suffix("").parts][:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from [f"{module}.{alias.name}" for alias in node.names]


class FloorTests(SynchronousTestCase):
    """Imports only go down."""

    def test_floors(self) -> None:
        """No module imports from a floor above its own."""
        checked = 0
        for path in sorted(PACKAGE.rglob("*.py")):
            floor = path.relative_to(PACKAGE).with_suffix("").parts[0]
            if floor not in BELOW:
                continue
            for name in imports(path):
                parts = name.split(".")
                if parts[0] == "decnet_syslog" and len(parts) > 1 and parts[1] in BELOW:
                    checked += 1
                    allowed = BELOW[floor]
                    self.assertIn(parts[1], allowed, f"{path.name} imports {name}")
        self.assertGreater(checked, 50)

    def test_watch(self) -> None:
        """What carries lines does not know that it is watched: only what assembles a wing,
        and what gathers its facts, knows the watch."""
        for wing in ("worker", "master", "nats"):
            for path in sorted((PACKAGE / wing).glob("*.py")):
                if path.name not in ("tap.py", "status.py"):
                    for name in imports(path):
                        self.assertFalse(
                            name.startswith("decnet_syslog.watch"),
                            f"{wing}/{path.name}",
                        )

    def test_nats(self) -> None:
        """Only what assembles a listener knows that a journal can be elsewhere, and nothing
        of the library is imported before one is."""
        for path in sorted((PACKAGE / "master").glob("*.py")):
            if path.name != "tap.py":
                for name in imports(path):
                    self.assertFalse(name.startswith("decnet_syslog.nats"), path.name)
        code = (
            "import sys, decnet_syslog.master.tap, decnet_syslog.nats.tap;"
            " print('nats' in sys.modules)"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(said.stdout.strip(), "False")

    def test_wire(self) -> None:
        """The lowest floor takes octets and values, nothing else."""
        for path in sorted((PACKAGE / "wire").glob("*.py")):
            self.assertEqual(WIRE_MUST_NOT & set(imports(path)), set(), path.name)

    def test_files(self) -> None:
        """What is in files has nothing to do with networks, Twisted or a database."""
        never = {"twisted", "OpenSSL", "socket", "sqlite3", "asyncio"}
        for path in sorted((PACKAGE / "files").glob("*.py")):
            roots = {name.split(".")[0] for name in imports(path)}
            self.assertEqual(never & roots, set(), path.name)

    def test_noReactorAtImport(self) -> None:
        """No module takes the global reactor when it is imported."""
        for path in sorted(PACKAGE.rglob("*.py")):
            for node in ast.parse(path.read_text("utf-8")).body:
                if (
                    isinstance(node, ast.ImportFrom)
                    and node.module == "twisted.internet"
                ):
                    self.assertNotIn(
                        "reactor", [alias.name for alias in node.names], path.name
                    )

"""Tests for the architecture rules that a program can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog
from decnet_syslog.journal._providers import journalProviders, providerOf

PACKAGE = Path(decnet_syslog.__file__).parent

# The floors, from the bottom up. A module imports from its own package and from lower
# floors. The processes (worker, master, nats) share a floor and do not know each other.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"_tables", "boundaries", "reactors"}),
    frozenset(
        {
            "__init__",
            "_lazy",
            "errors",
            "clock",
            "addresses",
            "durable",
            "migration",
            "openfiles",
            "untrusted",
            "hotpath",
            "values",
        }
    ),
    frozenset(
        {"options", "private", "notify", "logs", "signals", "threads", "transports"}
    ),
    frozenset({"configuration"}),
    frozenset({"wire", "trust", "database"}),
    frozenset({"files", "limits"}),
    frozenset({"monitoring"}),
    frozenset({"journal", "sending"}),
    frozenset({"outputs", "receiving"}),
    # The processes. nats is another provider of the journal, and the outputs process,
    # which may run on another machine.
    frozenset({"worker", "master", "nats"}),
    frozenset({"doctor", "testing"}),
    frozenset({"commands"}),
    frozenset({"cli"}),
)

# The lowest floor has no transport, no disk and no clock.
WIRE_MUST_NOT = {"os", "time", "socket", "sqlite3", "twisted.internet.reactor"}


def room(path: Path) -> str:
    """The top-level package or module that contains a file."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modulePath(path: Path) -> str:
    """A file's module as a dotted name."""
    parts = ["decnet_syslog", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _isTypes(node: ast.AST) -> bool:
    """Whether a statement is C{if TYPE_CHECKING}."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if _isTypes(node):
                continue
            yield from ast.walk(node)


def imports(path: Path, atImport: bool = False) -> Iterator[str]:
    """
    Every module that a file imports, as a dotted name.

    @param atImport: only the imports that run when the file itself is imported.
    """
    package = ["decnet_syslog", *path.relative_to(PACKAGE).with_suffix("").parts][:-1]
    tree = ast.parse(path.read_text("utf-8"))
    for node in _executed(tree.body) if atImport else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from [f"{module}.{alias.name}" for alias in node.names]


# Programs that twistd or decnet-syslog starts by their names.
ENTRIES = {"__init__", "tap"}


# A docstring that begins so makes no sense without the test above it.
_NOT_ALONE = re.compile(
    r"(?:And|But|Neither|Nor|So|Or|Also)\b|The same(?:[.,:]| (?:if|of|for|when|with)\b)"
)


class FloorTests(SynchronousTestCase):
    """Imports only go down."""

    def test_everyRoom(self) -> None:
        """Every top-level package and module is on exactly one floor."""
        rooms = {room(path) for path in PACKAGE.rglob("*.py")}
        named = [one for floor in FLOORS for one in floor]
        self.assertEqual(sorted(named), sorted(rooms))

    def test_importsOnlyGoDown(self) -> None:
        """
        No module imports from another package on its floor, or from a higher floor.
        """
        number = {one: n for n, floor in enumerate(FLOORS) for one in floor}
        checked = 0
        for path in sorted(PACKAGE.rglob("*.py")):
            own = room(path)
            for name in imports(path):
                top, *rest = name.split(".")
                if top != "decnet_syslog":
                    continue
                other = rest[0] if rest and rest[0] in number else "__init__"
                checked += 1
                self.assertTrue(
                    own == other or number[other] < number[own],
                    f"{path.relative_to(PACKAGE)} imports {name}",
                )
        self.assertGreater(checked, 1000)

    def test_noCycle(self) -> None:
        """No two modules import each other at import time."""
        paths = {modulePath(path): path for path in PACKAGE.rglob("*.py")}
        needs = {
            module: {
                name if name in paths else name.rpartition(".")[0]
                for name in imports(path, atImport=True)
            }
            & paths.keys()
            for module, path in paths.items()
        }
        done: set[str] = set()
        while ready := {
            name
            for name, needed in needs.items()
            if name not in done and not needed - done - {name}
        }:
            done |= ready
        self.assertEqual(needs.keys() - done, set())

    def test_monitoringIsNotImported(self) -> None:
        """
        Modules that carry lines do not import the monitoring package; only taps, their options
        and status modules do.
        """
        monitored = ("tap.py", "_options.py", "_status.py", "_workerfacts.py")
        for wing in (
            "sending",
            "receiving",
            "journal",
            "outputs",
            "worker",
            "master",
            "nats",
        ):
            for path in sorted((PACKAGE / wing).glob("*.py")):
                if path.name not in monitored:
                    for name in imports(path):
                        self.assertFalse(
                            name.startswith("decnet_syslog.monitoring"),
                            f"{wing}/{path.name}",
                        )

    def test_natsIsOptional(self) -> None:
        """
        The master's modules know only a registry of journal providers, and no
        provider's library is imported until it is needed.
        """
        for wing in ("journal", "receiving", "outputs", "master"):
            for path in sorted((PACKAGE / wing).glob("*.py")):
                for name in imports(path):
                    self.assertFalse(name.startswith("decnet_syslog.nats"), path.name)
        self.assertIsNone(providerOf(None))
        self.assertIsNone(providerOf("/var/lib/decnet-syslog/listener.db"))
        self.assertIn(providerOf("nats://127.0.0.1:4222"), journalProviders())
        code = (
            "import sys, decnet_syslog.master.tap, decnet_syslog.nats.tap;"
            " print('nats' in sys.modules)"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(said.stdout.strip(), "False")

    def test_forwarderStartsLean(self) -> None:
        """A forwarder without a status port imports no web server, resolver or fleet."""
        code = (
            "import sys, decnet_syslog.worker.tap; print([name for name in"
            " ('twisted.web.server', 'twisted.names.dns', 'twisted.application.internet',"
            " 'importlib.metadata', 'decnet_syslog.monitoring._fleet')"
            " if name in sys.modules])"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(said.stdout.strip(), "[]")

    def test_wireHasNoInputOrOutput(self) -> None:
        """Modules of the wire package have no transport, disk or clock."""
        for path in sorted((PACKAGE / "wire").glob("*.py")):
            self.assertEqual(WIRE_MUST_NOT & set(imports(path)), set(), path.name)

    def test_filesHaveNoNetwork(self) -> None:
        """Modules of the files package use neither networks nor Twisted."""
        never = {"twisted", "OpenSSL", "socket", "asyncio"}
        for path in sorted((PACKAGE / "files").glob("*.py")):
            roots = {name.split(".")[0] for name in imports(path)}
            self.assertEqual(never & roots, set(), path.name)

    def test_noReactorAtImport(self) -> None:
        """No module imports the global reactor at import time."""
        for path in sorted(PACKAGE.rglob("*.py")):
            for node in ast.parse(path.read_text("utf-8")).body:
                if (
                    isinstance(node, ast.ImportFrom)
                    and node.module == "twisted.internet"
                ):
                    self.assertNotIn(
                        "reactor", [alias.name for alias in node.names], path.name
                    )


class SurfaceTests(SynchronousTestCase):
    """What a package offers to other packages."""

    def test_modulesArePrivate(self) -> None:
        """Each module in a package begins with an underscore, except entry points."""
        for path in sorted(PACKAGE.glob("*/*.py")):
            if path.parent.name != "commands" and path.stem not in ENTRIES:
                self.assertTrue(path.stem.startswith("_"), path.relative_to(PACKAGE))

    def test_importsUseTheSurface(self) -> None:
        """A module imports only names that another package's __init__ offers."""
        checked = 0
        for path in sorted(PACKAGE.rglob("*.py")):
            own = room(path)
            for name in imports(path):
                top, *rest = name.split(".")
                if top == "decnet_syslog" and len(rest) > 1 and rest[0] != own:
                    checked += 1
                    private = [part for part in rest[1:] if part.startswith("_")]
                    where = f"{path.relative_to(PACKAGE)} imports {name}"
                    self.assertEqual(private, [], where)
        self.assertGreater(checked, 500)

    def test_everyNameExists(self) -> None:
        """Each package lists its names in __all__, once, and each name can be imported."""
        for path in sorted(PACKAGE.glob("*/__init__.py")):
            package = import_module(modulePath(path))
            if path.parent.name == "commands":
                continue
            names = package.__all__
            self.assertEqual(len(names), len(set(names)), package.__name__)
            for name in names:
                self.assertTrue(hasattr(package, name), f"{package.__name__}.{name}")

    def test_lazyNamesAreTyped(self) -> None:
        """
        The table of a package that imports its names later agrees with what mypy sees
        and with C{__all__}.
        """
        checked = 0
        for path in sorted(PACKAGE.glob("*/__init__.py")):
            tree = ast.parse(path.read_text("utf-8"))
            typed = {
                alias.asname or alias.name: node.module
                for block in tree.body
                if _isTypes(block)
                for node in ast.walk(block)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            tables = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "lazily"
            ]
            found = {
                name: keyword.arg
                for table in tables
                for keyword in table.keywords
                for name in ast.literal_eval(keyword.value).split()
            }
            self.assertEqual(typed, found, path.relative_to(PACKAGE))
            if found:
                checked += 1
                package = import_module(modulePath(path))
                self.assertEqual(sorted(found), sorted(package.__all__))
        self.assertEqual(checked, 3)


# A module with more lines gives the reason in its docstring, in a sentence that begins so.
LINES_MAX = 300
REASON = "This module is long because"


class SizeTests(SynchronousTestCase):
    """How much a reader must read at once."""

    def test_longModulesGiveReason(self) -> None:
        """A module over 300 lines gives the reason in its docstring."""
        for path in sorted(PACKAGE.rglob("*.py")):
            text = path.read_text("utf-8")
            if text.count("\n") > LINES_MAX:
                reason = ast.get_docstring(ast.parse(text)) or ""
                where = f'{path.relative_to(PACKAGE)}: divide it, or say "{REASON}"'
                self.assertIn(REASON, " ".join(reason.split()), where)


# The limit on lines that name a value without a type: each is at the edge of another program or
# library. Lower it when a line goes.
UNTYPED_MAX = 85


def untyped(path: Path) -> set[int]:
    """The lines of a module that use C{Any}, or one of the names that stand for it."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module, alias.name) == ("typing", "Any")
        or (node.level and node.module == "boundaries" and alias.name in UNTYPED)
    }
    return {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in names
    }


# The names in boundaries.py that stand for values without a type.
UNTYPED = {"Called", "Facts", "Foreign", "JSONObject", "OptionValue", "Stored"}


class TypeTests(SynchronousTestCase):
    """What mypy cannot check."""

    def test_fewValuesAreUntyped(self) -> None:
        """Few values have no type, and every name for such a value is counted."""
        count = sum(
            len(untyped(path))
            for path in PACKAGE.rglob("*.py")
            if path.name != "boundaries.py"
        )
        self.assertLessEqual(count, UNTYPED_MAX)
        found = {
            node.target.id
            for node in ast.parse((PACKAGE / "boundaries.py").read_text("utf-8")).body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and "Any" in ast.unparse(node.value or node.target)
        }
        self.assertEqual(found, UNTYPED)


# The files of tests that use private parts, and why.
USES_PRIVATE = {
    "campaigns/mutants.py": "its purpose is to replace single methods by faulty ones",
    "contracts/test_provenance.py": "it changes the one place that CONTRIBUTING.rst names",
    "conversations/test_refused.py": "a TLS peer that breaks the protocol: Twisted has none",
    "homes.py": "os._exit, which the documentation of Python describes",
    "nats/test_access.py": "nats-py has no other way to let a server announce something",
}

# Functions that get or replace an attribute by its name.
_BY_NAME = {"patch", "object", "getattr", "setattr", "hasattr", "delattr"}


def _isPrivate(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _isOwn(node: ast.expr) -> bool:
    """Whether an expression is the object whose method this is."""
    if isinstance(node, ast.Call):
        node = node.func
        return isinstance(node, ast.Name) and node.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def privateUses(tree: ast.AST) -> Iterator[str]:
    """The private names of other objects and modules that some code uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if _isPrivate(node.attr) and not _isOwn(node.value):
                yield f"{node.lineno}: {node.attr}"
        elif isinstance(node, ast.Call):
            called = node.func
            name = getattr(called, "attr", getattr(called, "id", None))
            if name in _BY_NAME and not (node.args and _isOwn(node.args[0])):
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant):
                        text = str(argument.value).rpartition(".")[2]
                        if _isPrivate(text):
                            yield f"{node.lineno}: {text}"
        elif isinstance(node, ast.ImportFrom):
            place = PACKAGE.parent.joinpath(*(node.module or "").split("."))
            for alias in node.names:
                isModule = place.joinpath(f"{alias.name}.py").exists()
                isOurs = PACKAGE in (place, *place.parents)
                if _isPrivate(alias.name) and isOurs and not isModule:
                    yield f"{node.lineno}: {alias.name}"


class PrivateTests(SynchronousTestCase):
    """Tests see what users and other objects see."""

    def test_privateUsesAreFound(self) -> None:
        """Each way to use a private name is found, and a class's own names are not."""
        for code in (
            "made._db.execute(x)",
            "self.journal._db",
            "made()._db = 1",
            "self.patch(made, '_look', x)",
            "mock.patch.object(made, '_look')",
            "mock.patch('decnet_syslog.wire._record._look')",
            "getattr(made, '_look')",
            "from decnet_syslog.wire._record import _look",
        ):
            self.assertEqual(len(list(privateUses(ast.parse(code)))), 1, code)
        for code in (
            "self._db",
            "super()._db()",
            "made.__class__",
            "self.patch(made, 'look', x)",
            "mock.patch('decnet_syslog.wire._record.look')",
            "from decnet_syslog.wire import _record",
        ):
            self.assertEqual(list(privateUses(ast.parse(code))), [], code)

    def test_testsUseNothingPrivate(self) -> None:
        """Tests use no private name of another object, except where the list says why."""
        here = Path(__file__).parent
        found: dict[str, list[str]] = {}
        for path in sorted(here.rglob("*.py")):
            uses = list(privateUses(ast.parse(path.read_text("utf-8"))))
            if uses:
                found[path.relative_to(here).as_posix()] = uses
        self.assertEqual(
            {name: uses for name, uses in found.items() if name not in USES_PRIVATE}, {}
        )
        self.assertEqual(USES_PRIVATE.keys() - found.keys(), set())


class DescriptionTests(SynchronousTestCase):
    """The descriptions of the tests."""

    def test_docstringsStandAlone(self) -> None:
        """Every test has a docstring that can be read without the test above it."""
        count = 0
        for path in sorted(Path(__file__).parent.rglob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(
                    node, ast.FunctionDef | ast.AsyncFunctionDef
                ) and node.name.startswith("test_"):
                    count += 1
                    where = f"{path.name}: {node.name}"
                    text = ast.get_docstring(node)
                    assert text, f"{where} has no docstring"
                    self.assertIsNone(_NOT_ALONE.match(text), where)
        self.assertGreater(count, 1000)

"""
Tests for the documentation: it builds, covers every option, and its commands work.
"""

from __future__ import annotations

import ast
import builtins
import html
import importlib.util
import json
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import Options
from decnet_syslog.journal._batches import LOST
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.receiving._plain import OVERSIZE
from decnet_syslog.wire._gap import GapRecord, renderGapRecord
from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.worker.tap import Options as ForwarderOptions

from .records import renderRecords
from .test_cli import commands
from .test_house import FLOORS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


# Literals in CONTRIBUTING.rst that are no names of Python: programs, a branch, a kind of news.
WORDS = {"venv", "nox", "main", "PATH", "removal"}


def _defined(tree: ast.AST) -> set[str]:
    """Every name that a module or a class defines, except in functions."""
    names: set[str] = set()
    left: list[ast.AST] = [tree]
    while left:
        for node in ast.iter_child_nodes(left.pop()):
            if isinstance(node, FUNCTIONS):
                names.add(node.name)
                continue
            if isinstance(node, ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            left.append(node)
    return names


def _reasons(tree: ast.AST) -> Iterator[str]:
    """The reasons of gaps in a module of the forwarder."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("_gap", "lose", "giveUp"):
                values = node.args[-1:]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Content":
            values = [one.value for one in node.keywords if one.arg == "reason"]
        elif isinstance(node, ast.Assign) and re.search(
            r"content\.reason$|lostReason$", ast.unparse(node.targets[0])
        ):
            values = [node.value]
        for value in values:
            for one in ast.walk(value):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield one.value


def shown(text: str) -> str:
    """The text of a page without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", text))


class BuildTests(SynchronousTestCase):
    """Sphinx builds the documentation without a warning."""

    timeout = 240

    def setUp(self) -> None:
        if importlib.util.find_spec("sphinx") is None:
            raise SkipTest("sphinx is not installed: pip install '.[docs]'")
        self.out = Path(self.mktemp()).resolve()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"),
                *("-d", str(self.out / "trees"), "-b", "html"),
                *(str(DOCS), str(self.out / "html")),
            ],
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def page(self, name: str) -> str:
        return (self.out / "html" / f"{name}.html").read_text("utf-8")

    def test_everyPageAndOption(self) -> None:
        """
        Every page is built, listed in the index, and linked in Sphinx's way; the
        reference has every option of every command and service.
        """
        index = self.page("index")
        names = [path.stem for path in DOCS.glob("*.rst") if path.stem != "index"]
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertIn(f'href="{name}.html"', index)
        tasks = [path.stem for path in DOCS.glob("howto/*.rst") if path.stem != "index"]
        self.assertGreater(len(tasks), 5)
        for name in tasks:
            self.assertIn(f'href="{name}.html"', self.page("howto/index"))
        built = {
            path.relative_to(self.out / "html").as_posix()
            for path in (self.out / "html").rglob("*.html")
        }
        for page in built:
            text = (self.out / "html" / page).read_text("utf-8")
            for target in re.findall(r'href="([\w./-]+\.(?:rst|html))[#"]', text):
                linked = posixpath.normpath(
                    posixpath.join(posixpath.dirname(page), target)
                )
                self.assertIn(linked, built, f"{page} links {target}")
        reference = shown(self.page("reference"))
        every: list[tuple[tuple[str, ...], Any]] = [
            *commands(Options()),
            ((), ForwarderOptions()),
            ((), ListenerOptions()),
        ]
        for path, options in every:
            if path:
                self.assertIn(f"decnet-syslog {path[0]}", reference)
            for name in options.longOpt:
                if name not in ("version", "help"):
                    self.assertIn(f"--{name}", reference, path)


class NewsTests(SynchronousTestCase):
    """The news for users."""

    def test_newsHasEachFragmentOnce(self) -> None:
        """The next release's news contain every fragment exactly once."""
        if importlib.util.find_spec("towncrier") is None:
            raise SkipTest("towncrier is not installed: pip install '.[test]'")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "towncrier", "build", "--draft"),
                *("--version=1", "--date=2026-11-23", "--config", "pyproject.toml"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        news = " ".join(done.stdout.split())
        fragments = [
            path
            for path in (ROOT / "newsfragments").iterdir()
            if path.name != "README.rst" and not path.name.startswith(".")
        ]
        for path in fragments:
            text = " ".join(path.read_text("utf-8").split())
            self.assertEqual(news.count(text), 1, path)
            self.assertGreater(len(text), 20)
        # towncrier deletes the collected fragments; their text is in NEWS.rst.
        if not fragments:
            self.assertRegex(
                (ROOT / "NEWS.rst").read_text("utf-8"), r"\ndecnet_syslog [0-9.]+ \("
            )


class ClaimTests(SynchronousTestCase):
    """Instructions and facts in the documentation are true."""

    def table(self, start: str, end: str) -> list[str]:
        """The names in a table of the reference, in order."""
        text = (DOCS / "reference.rst").read_text("utf-8")
        part = text[text.index(f"\n{start}\n=") : text.index(f"\n{end}\n=")]
        return [
            name
            for line in re.findall(r"^``([^`]+)`` ", part, re.MULTILINE)
            for name in re.findall(r"\w+", line)
        ]

    def test_recordMembers(self) -> None:
        """
        The reference lists every member of a record in the right order, and no other,
        and likewise those of a gap record.
        """
        provenance = Provenance("w", "f", "a", "2026-04-18T00:00:00Z", "/l", True)
        all_: list[str] = []
        gap: list[str] = []
        for line in (
            renderRecords([b"<1>1 - other a - m - \xff"], provenance, 0),
            renderGapRecord(GapRecord(1, 2, "r"), provenance, "5" * 32, 0),
        ):
            record = json.loads(line)
            all_ += [name for name in record if name not in all_]
            gap += record.get("gap", ())
        self.assertEqual(self.table("Records", "Environment"), all_)
        readme = (ROOT / "README.rst").read_text("utf-8")
        for name in all_:
            self.assertRegex(readme, rf"\b{name}\b", "a member of a record")
        text = (DOCS / "reference.rst").read_text("utf-8")
        for name in gap:
            self.assertIn(f"``{name}``", text.partition("\nIn ``gap`` are ")[2])

    def test_environmentVariables(self) -> None:
        """The reference lists every environment variable that the code reads."""
        code = "".join(
            [path.read_text("utf-8") for path in (ROOT / "decnet_syslog").rglob("*.py")]
        )
        read = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', code))
        here = {name for name in read if name.startswith(("DECNET_", "LISTEN_"))}
        here |= {
            name for name in read if re.search("NOTIFY_SO|WATCHDOG|JOURNAL_S", name)
        }
        self.assertGreater(len(here), 8)
        self.assertEqual(set(self.table("Environment", "Exit statuses")), here)

    def test_namesExist(self) -> None:
        """Every test and every module that a page names exists."""
        classes: dict[str, set[str]] = {}
        for path in (ROOT / "tests").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    methods = [f.name for f in node.body if isinstance(f, FUNCTIONS)]
                    classes.setdefault(node.name, set()).update(methods)
        tests = set(classes).union(*classes.values())
        tests |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
        package = ROOT / "decnet_syslog"
        rooms = {path.name for path in package.iterdir()}
        modules = {
            path.relative_to(package).with_suffix("").as_posix()
            for path in package.rglob("*.*")
        }
        for page in (*ROOT.glob("*.rst"), *DOCS.glob("*.rst")):
            # That one is h11's.
            text = page.read_text("utf-8").replace("``test_io.py``", "")
            for literal in re.findall(r"``([^`\n]+)``", text):
                for owner, name in re.findall(r"(\w+Tests)\.(test_\w+)", literal):
                    self.assertIn(name, classes.get(owner, ()), f"{page.name}: {owner}")
                named = set(re.findall(r"\btest_\w+|\b[A-Z]\w+Tests\b", literal))
                self.assertEqual(named - tests, set(), page.name)
                found = re.fullmatch(r"(\w+)/\w+(\.py)?", literal)
                if found is not None and found[1] in rooms:
                    self.assertIn(literal.removesuffix(".py"), modules, page.name)

    def test_contributingNamesExist(self) -> None:
        """Every name of Python, file and directory in CONTRIBUTING.rst exists."""
        names = set(dir(builtins)) | WORDS
        members: dict[str, set[str]] = {}
        for top in ("decnet_syslog", "benchmarks", "tests"):
            for path in (ROOT / top).rglob("*.py"):
                tree = ast.parse(path.read_text("utf-8"))
                defined = _defined(tree)
                if top == "tests":
                    # A helper of a test must not hide that a name of ours is gone.
                    defined = {name for name in defined if name.startswith("test_")}
                names |= defined
                for node in ast.walk(tree):
                    if isinstance(node, ast.ClassDef):
                        members.setdefault(node.name, set()).update(_defined(node))
        for path in (ROOT / "decnet_syslog").rglob("*.[ch]"):
            names |= set(re.findall(r"(?m)^#define (\w+)", path.read_text("utf-8")))
        directories = (ROOT, ROOT / "decnet_syslog")
        names |= {path.name for one in directories for path in one.iterdir()}
        # Results are named like the benchmarks.
        names |= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
        checked = 0
        text = (ROOT / "CONTRIBUTING.rst").read_text("utf-8")
        for literal in re.findall(r"``([^`]+)``", text):
            if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?|\.?\w+/", literal):
                there = any((one / literal).exists() for one in directories)
                # What a build or a benchmark leaves there.
                made = ("docs/_build", "dist/", "benchmarks/results")
                there = there or literal in made
            elif re.fullmatch(r"\w+\.(py|rst|c|sql|cfg)", literal):
                there = any(
                    next(one.rglob(literal), None)
                    for one in (*directories[1:], ROOT / "tests", ROOT / "docs")
                )
                there = there or (ROOT / literal).is_file()
            elif found := re.fullmatch(r"(\w+)\.(\w+)", literal):
                there = found[2] in members.get(found[1], ())
            elif re.fullmatch(r"[A-Za-z_]\w*", literal):
                there = literal in names
            else:
                continue
            checked += 1
            self.assertTrue(there, f"CONTRIBUTING.rst names ``{literal}``")
        self.assertGreater(checked, 60)

    def test_gapReasons(self) -> None:
        """The reference explains every reason of a gap that the code gives, and no other."""
        given: set[str] = set()
        for room in ("files", "sending"):
            for path in (ROOT / "decnet_syslog" / room).glob("*.py"):
                given |= set(_reasons(ast.parse(path.read_text("utf-8"))))
        # A plain peer's message, and octets that the journal had.
        ours = {OVERSIZE, LOST}
        self.assertGreater(len(given), 4)
        text = (DOCS / "reference.rst").read_text("utf-8")
        _, _, part = text.partition("\nThe reason of a gap is a word.")
        forwarder, _, rest = part.partition("\nThe listener gives these:")
        listener, _, _ = rest.partition("\nAnother forwarder")
        for where, reasons in ((forwarder, given), (listener, ours)):
            self.assertEqual(set(re.findall(r"(?m)^``([\w-]+)``$", where)), reasons)
        protocol = (DOCS / "protocol.rst").read_text("utf-8")
        _, _, line = protocol.partition("``SKIP octets reason``")
        line = line.partition("Reasons in use: ")[2].partition(".\n")[0]
        self.assertEqual(set(re.findall(r"``([\w-]+)``", line)), given)

    def test_everyModuleHasItsPlace(self) -> None:
        """ARCHITECTURE.rst lists every module in its package, and nothing that is gone."""
        text = (ROOT / "ARCHITECTURE.rst").read_text("utf-8")
        tree = re.search(r"(?m)^    decnet_syslog/\n((?:      .*\n)+)", text)
        assert tree is not None
        named: dict[str, set[str]] = {"": set()}
        room = ""
        for line in tree[1].splitlines():
            if found := re.match(r" {6}(\w+)/", line):
                room = found[1]
            elif re.match(r" {6}\w+\.py", line):
                room = ""
            found_ = re.findall(r"\w+" if room else r"(\w+)\.py\b", line)
            named.setdefault(room, set()).update(found_)
        commands_ = {path[0] for path, _ in commands(Options()) if path}
        package = ROOT / "decnet_syslog"
        there: set[str] = set()
        for path in package.rglob("*.py"):
            if path.stem in ("__init__", "__main__"):
                continue
            room = "" if path.parent == package else path.parent.name
            there.add(path.stem)
            if room == "commands" and path.stem in commands_:
                continue
            place = f"{path.stem} of {room or 'the package'} is not in ARCHITECTURE.rst"
            self.assertIn(path.stem, named.get(room, ()), place)
        private = {name for names in named.values() for name in names if name[0] == "_"}
        self.assertEqual((private | named[""]) - there - {"_hotpath"}, set())

    def test_floorsAreThoseOfTheHouse(self) -> None:
        """ARCHITECTURE.rst has the floors that test_house enforces."""
        text = (ROOT / "ARCHITECTURE.rst").read_text("utf-8")
        listed = re.search(r"bottom up::\n\n((?: {6}.*\n)+)", text)
        assert listed is not None
        shown_ = [set(line.split(", ")) for line in listed[1].split("\n      ")]
        shown_ = [{name.strip() for name in floor} for floor in shown_]
        package = ROOT / "decnet_syslog"
        packages = [
            {one for one in floor if (package / one).is_dir()} for floor in FLOORS
        ]
        self.assertEqual(shown_, [floor for floor in packages if floor])

    def test_examplesAreTestedAndShown(self) -> None:
        """Every example configuration is used by a test, and is shown on a page."""
        pages = "".join([path.read_text("utf-8") for path in DOCS.rglob("*.rst")])
        tests = "".join(
            [
                (ROOT / "tests" / f"{name}.py").read_text("utf-8")
                for name in (
                    "conversations/test_peers",
                    "conversations/test_logrotate",
                    "conversations/test_balanced",
                    "configuration/test_configuration",
                    "monitoring/test_documentation",
                    "monitoring/test_operators",
                    "test_enrolling_page",
                    "test_howto",
                )
            ]
        )
        examples = sorted(path.name for path in (DOCS / "examples").iterdir())
        self.assertGreater(len(examples), 20)
        for name in examples:
            self.assertRegex(
                pages,
                rf"literalinclude:: (\.\./)?examples/{name}\n|:download:`examples/{name} ",
            )
            self.assertIn(f'"{name}"', tests)

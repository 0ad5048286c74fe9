"""
Tests for the documentation: it builds, covers every option, and its commands work.
"""

from __future__ import annotations

import ast
import html
import importlib.util
import json
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import Options
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.wire._gap import GapRecord, renderGapRecord
from decnet_syslog.wire._record import Provenance
from decnet_syslog.worker.tap import Options as ForwarderOptions

from .records import renderRecords
from .test_cli import commands

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


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

    def test_everyModuleHasItsPlace(self) -> None:
        """ARCHITECTURE.rst lists every module in its package."""
        text = (ROOT / "ARCHITECTURE.rst").read_text("utf-8")
        tree, _, _ = text.partition("\n\n``wire``, ")
        named: dict[str, set[str]] = {"": set()}
        room = ""
        for line in tree.splitlines():
            if found := re.match(r" {6}(\w+)/", line):
                room = found[1]
            elif re.match(r" {6}\w+\.py", line):
                room = ""
            named.setdefault(room, set()).update(re.findall(r"\w+", line))
        package = ROOT / "decnet_syslog"
        for path in package.rglob("*.py"):
            if path.stem in ("__init__", "__main__") or path.parent.name == "commands":
                continue
            room = "" if path.parent == package else path.parent.name
            place = f"{path.stem} of {room or 'the package'} is not in ARCHITECTURE.rst"
            self.assertIn(path.stem, named.get(room, ()), place)

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

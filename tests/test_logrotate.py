"""The real logrotate, copying and truncating under load."""

from __future__ import annotations

import grp
import gzip
import os
import pwd
import random
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.doctor.logrotate import checkForwarded, checkOutput, readRotations
from decnet_syslog.doctor.report import OK, Report

from .peers import PairTestCase, example, requirePeer
from .rotating import LINE, missingFrom, rotateUnderLoad


class MissingTests(SynchronousTestCase):
    """What is in the files and did not arrive."""

    def missing(self, content: bytes, *there: int) -> list[bytes]:
        """Of one file, where these lines arrived."""
        return missingFrom([content], {LINE % number for number in there})

    def test_whole(self) -> None:
        """A line is missing unless it arrived as it is."""
        content = LINE % 1 + b"\n" + LINE % 2 + b"\n"
        self.assertEqual(self.missing(content, 1, 2), [])
        self.assertEqual(self.missing(content, 1, 20), [LINE % 2])

    def test_torn(self) -> None:
        """A copy that ends within a line: what was written there arrived, or this piece."""
        content = LINE % 119 + b"\n" + LINE % 12
        self.assertEqual(self.missing(content, 119, 120), [])
        self.assertEqual(self.missing(content, 119, 12), [])
        self.assertEqual(self.missing(content, 119, 121), [LINE % 12])
        self.assertEqual(self.missing(content, 120), [LINE % 119])


class UnderLoadTests(PairTestCase):
    """copytruncate loses what is written between its copy and its truncate; we nothing."""

    def test_copytruncate(self) -> None:
        """What is in the files arrives, once; with the forwarder running and stopped."""
        requirePeer("logrotate")
        result = rotateUnderLoad(self.pair(), 8, 0.6, random.Random(4))
        self.assertEqual((result.missing, result.repeated), (0, 0), result)
        self.assertGreater(result.delivered, 1000)
        self.assertGreater(result.stopped, 1)


class SampleTests(PairTestCase):
    """The configurations of the documentation lose nothing."""

    def configuration(self, name: str, *instead: tuple[str, object]) -> Path:
        us = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        path = self.directory / name
        path.write_text(example(name, *instead, ("decnet decnet", " ".join(us))))
        path.chmod(0o644)
        return path

    def test_samples(self) -> None:
        """Worker and master rotate again and again: every line once, in order, and the
        doctor has nothing to say."""
        program = requirePeer("logrotate")
        # Not one that everybody may write: logrotate refuses those.
        self.directory.chmod(0o755)
        pair = self.pair()
        worker = pair.enroll("w1")
        files = [
            self.configuration(
                "logrotate-master",
                ("/var/log/decnet/master.log", pair.logPath),
                ("/var/log/decnet/master.json", pair.jsonPath),
            ),
            self.configuration(
                "logrotate-worker", ("/var/log/decnet/decnet.log", worker.file)
            ),
        ]
        report = Report()
        known = readRotations(report, map(str, files))
        checkForwarded(report, known, str(worker.file))
        for path in (pair.logPath, pair.jsonPath):
            checkOutput(report, known, str(path))
        self.assertEqual([f.state for f in report.findings], [OK] * 3, report.asText())
        pair.startListener()
        worker.forwarder.start()
        written = b""
        for round_ in range(5):
            lines = b"".join(
                b"<13>1 - h a - - - line %d\n" % (round_ * 300 + n) for n in range(300)
            )
            worker.append(lines)
            written += lines
            # Shipped and written in part, at a moment that nobody has chosen.
            self.waitFor(
                pair,
                lambda: pair.logPath.exists() and pair.logPath.stat().st_size > 0,
                "nothing is written",
            )
            for file in files:
                state = str(self.directory / "state")
                command = [program, "-f", "-s", state, str(file)]
                done = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.waitFor(
            pair, lambda: self.lines(pair.logPath) == written, "lines are missing"
        )
        worker.forwarder.stop()
        pair.listener.stop()
        self.assertEqual(self.lines(pair.logPath), written)
        self.assertEqual(self.lines(pair.jsonPath).count(b"\n"), 1500)

    def lines(self, path: Path) -> bytes:
        """What is in a file and its rotated ones, the oldest first."""
        octets = b""
        for number in range(9, 0, -1):
            packed = Path(f"{path}.{number}.gz")
            if packed.exists():
                octets += gzip.decompress(packed.read_bytes())
            plain = Path(f"{path}.{number}")
            if plain.exists():
                octets += plain.read_bytes()
        return octets + (path.read_bytes() if path.exists() else b"")

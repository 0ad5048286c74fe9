"""Tests with the real logrotate, which copies and truncates under load."""

from __future__ import annotations

import grp
import gzip
import os
import pwd
import random
import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.doctor._logrotate import checkForwarded, checkOutput
from decnet_syslog.doctor._report import OK, DoctorReport
from decnet_syslog.doctor._rotations import readRotations
from decnet_syslog.files import RotatedNames

from ..campaigns.rotating import LINE, missingFrom, rotateUnderLoad
from ..peers import PairTestCase, example, requirePeer


class MissingTests(SynchronousTestCase):
    """Finds lines in the files that did not arrive."""

    def missing(self, content: bytes, *there: int) -> list[bytes]:
        """The missing lines of one file, if these lines arrived."""
        return missingFrom([content], {LINE % number for number in there})

    def test_wholeLines(self) -> None:
        """A line is missing unless it arrived unchanged."""
        content = LINE % 1 + b"\n" + LINE % 2 + b"\n"
        self.assertEqual(self.missing(content, 1, 2), [])
        self.assertEqual(self.missing(content, 1, 20), [LINE % 2])

    def test_tornLine(self) -> None:
        """
        If a copy ends within a line, the line counts as arrived if either its complete
        form or the fragment did.
        """
        content = LINE % 119 + b"\n" + LINE % 12
        self.assertEqual(self.missing(content, 119, 120), [])
        self.assertEqual(self.missing(content, 119, 12), [])
        self.assertEqual(self.missing(content, 119, 121), [LINE % 12])
        self.assertEqual(self.missing(content, 120), [LINE % 119])


class UnderLoadTests(PairTestCase):
    """
    copytruncate itself loses lines written between its copy and its truncation; we lose
    none.
    """

    def test_copytruncateLosesNothing(self) -> None:
        """
        Every line in the files arrives once, with the forwarder running or stopped.
        """
        requirePeer("logrotate")
        result = rotateUnderLoad(self.pair(), 8, 0.6, random.Random(4))
        self.assertEqual((result.missing, result.repeated), (0, 0), result)
        self.assertGreater(result.delivered, 1000)
        self.assertGreater(result.stopped, 1)


class NamesTests(SynchronousTestCase):
    """We and the doctor recognise the names that the real logrotate gives."""

    def setUp(self) -> None:
        self.directory = Path(os.path.realpath(self.mktemp()))
        (self.directory / "logs").mkdir(parents=True)
        # logrotate refuses directories that others can write to.
        for path in (self.directory, self.directory / "logs"):
            path.chmod(0o755)

    def rotate(self, settings: str) -> set[Path]:
        """Rotate a log twice. Returns the resulting files, without the log."""
        program = requirePeer("logrotate")
        log = self.directory / "logs" / "app.log"
        configuration = self.directory / "logrotate.conf"
        us = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        configuration.write_text(
            f"{log} {{\nsu {' '.join(us)}\nrotate 9\nmissingok\n{settings}\n}}\n"
        )
        configuration.chmod(0o644)
        state = self.directory / "state"
        for number in range(2):
            log.write_bytes(b"line %d\n" % number)
            command = [program, "-f", "-s", str(state), str(configuration)]
            done = subprocess.run(command, capture_output=True, text=True)
            # With dates both rotations have the same name: logrotate refuses the
            # second.
            if number == 0:
                self.assertEqual((done.returncode, done.stderr), (0, ""), settings)
        kept = (state, configuration, log)
        files = {path for path in self.directory.rglob("*") if path.is_file()}
        return files.difference(kept)

    def test_namesAreRecognised(self) -> None:
        """
        Every rotated file's name is recognised, either by default or with the
        C{--rotated} option that the doctor suggests; and the doctor suggests it only
        where needed.
        """
        packers = [
            f"compress\ncompresscmd {path}"
            for path in map(shutil.which, ("gzip", "bzip2", "xz", "zstd"))
            if path is not None
        ]
        (self.directory / "old").mkdir(mode=0o755)
        for settings, usual in (
            ("", True),
            ("start 0\ncopytruncate", True),
            ("dateext", True),
            ("dateext\nhourly", True),
            ("dateext\ndateformat .%Y%m%d-%s", True),
            ("dateext\ndateformat -%d%m%Y\nextension .log", True),
            ("dateext\ndateformat -%Y-%m-%dT%H:%M:%S", True),
            ("dateext\ndateformat _%Y%m%d", False),
            ("extension .log", True),
            ("addextension .log", True),
            ("addextension .bak", False),
            (f"olddir {self.directory}/old", False),
            ("olddir ../old\nextension .log\ndateext\ndateformat @%s", False),
            *[(packer, True) for packer in packers],
            *[(f"{packer}\nextension .log", True) for packer in packers],
            *[(f"{packer}\nolddir ../old", False) for packer in packers],
        ):
            files = self.rotate(settings)
            self.assertTrue(files, settings)
            report = DoctorReport()
            known = readRotations(report, [str(self.directory / "logrotate.conf")])
            log = str(self.directory / "logs" / "app.log")
            checkForwarded(report, known, log)
            patterns = [
                found.cure.split("'")[1]
                for found in report.findings
                if "--rotated" in found.cure
            ]
            self.assertEqual(patterns == [], usual, settings)
            names = RotatedNames(log, patterns)
            for path in files:
                self.assertTrue(
                    names.matches(str(path.parent), path.name), (settings, path)
                )
                path.unlink()


class SampleTests(PairTestCase):
    """The example configurations of the documentation lose nothing."""

    def configuration(self, name: str, *instead: tuple[str, object]) -> Path:
        us = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        path = self.directory / name
        text = example(name, *instead)
        path.write_text(
            re.sub(r"(?<= )(decnet(?:-syslog)?) \1$", " ".join(us), text, flags=re.M)
        )
        path.chmod(0o644)
        return path

    def test_documentedExamples(self) -> None:
        """
        With repeated rotations on worker and master, every line arrives once and in
        order, and the doctor has no findings.
        """
        program = requirePeer("logrotate")
        # Not world-writable: logrotate refuses such directories.
        self.directory.chmod(0o755)
        pair = self.pair()
        worker = pair.enroll("w1")
        files = [
            self.configuration(
                "logrotate-master",
                ("/var/log/decnet-syslog/master.log", pair.logPath),
                ("/var/log/decnet-syslog/master.json", pair.jsonPath),
            ),
            self.configuration(
                "logrotate-worker", ("/var/log/decnet/decnet.log", worker.file)
            ),
        ]
        report = DoctorReport()
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
            # Shipped and written in part, at an arbitrary moment.
            self.waitFor(
                pair,
                lambda: pair.logPath.exists() and pair.logPath.stat().st_size > 0,
                "the output has no lines",
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

    def test_besideDecnetsIngester(self) -> None:
        """The example for DECNET's ingester rotates the raw file, and leaves the other alone."""
        program = requirePeer("logrotate")
        self.directory.chmod(0o755)
        raw, record = self.directory / "master.log", self.directory / "master.json"
        for path in (raw, record):
            path.write_text("one\n")
        file = self.configuration(
            "logrotate-master-decnet", ("/var/log/decnet-syslog/master.log", raw)
        )
        command = [program, "-f", "-s", str(self.directory / "state"), str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual((self.directory / "master.log.1").read_text(), "one\n")
        self.assertEqual(record.read_text(), "one\n")
        self.assertNotIn("json {", file.read_text())

    def lines(self, path: Path) -> bytes:
        """The lines of a file and its rotated files, oldest first."""
        octets = b""
        for number in range(9, 0, -1):
            packed = Path(f"{path}.{number}.gz")
            if packed.exists():
                octets += gzip.decompress(packed.read_bytes())
            plain = Path(f"{path}.{number}")
            if plain.exists():
                octets += plain.read_bytes()
        return octets + (path.read_bytes() if path.exists() else b"")

"""
Tests for decnet-syslog tail: it shows the last lines of a worker, searching backwards
from the end, and then new ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.commands import jsonfollow, tail
from decnet_syslog.commands.jsonfollow import Followed, findLast
from decnet_syslog.commands.records import Filter, asText, message
from decnet_syslog.commands.tail import Options, RecordFollower
from decnet_syslog.errors import UserError
from decnet_syslog.wire._gap import GapRecord, renderGapRecord
from decnet_syslog.wire._provenance import Provenance

from ..peers import PairTestCase
from ..records import renderRecords

# Lines with which another worker may try to impersonate decky-01.
FORGED = (
    b'<134>1 2026-04-18T00:00:00Z decky-01 ssh - auth [relay@55555 source_worker="decky-01"]'
    b' "source_worker": "decky-01"'
)


def provenance(worker: str, marks: bool = False) -> Provenance:
    """The provenance of a line."""
    return Provenance(
        worker, "sha-256:AA", "192.0.2.1:5", "2026-04-18T00:00:01.500000Z", "/l", marks
    )


def records(worker: str, *messages: bytes, marks: bool = False) -> bytes:
    """Lines of master.json."""
    return renderRecords(messages, provenance(worker, marks), 0)


class DirectoryTestCase(SynchronousTestCase):
    """A directory with an output."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "master.json"
        self.path.touch()

    def append(self, octets: bytes, path: Path | None = None) -> None:
        with open(path or self.path, "ab") as file:
            file.write(octets)


class FindTests(DirectoryTestCase):
    """The search for the last matching lines."""

    def find(self, count: int, most: int = 2**62) -> jsonfollow.Place:
        descriptor = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        return findLast(
            descriptor, count, lambda line: not line.endswith(b"no"), [b"y", b"Y"], most
        )

    def test_everySize(self) -> None:
        """
        With any block size, the result equals that of a simple search through the whole
        file.
        """
        dice = random.Random(3)
        words = [b"y", b"n" * 5, b"", b"Y" * 9, b"y no", b"n\x00n"]
        for round_ in range(300):
            self.patch(jsonfollow, "BLOCK_OCTETS", dice.randint(1, 30))
            lines = [dice.choice(words) for _ in range(dice.randint(0, 12))]
            rest = dice.choice([b"", b"y", b"nnn"])
            self.path.write_bytes(b"".join([line + b"\n" for line in lines]) + rest)
            count = dice.randint(0, 6)
            starts, at = [], 0
            for line in lines:
                if b"y" in line.lower() and not line.endswith(b"no"):
                    starts.append(at)
                at += len(line) + 1
            last = starts[-count:] if count else []
            place = self.find(count)
            self.assertEqual(
                (place.offset, place.found),
                (last[0] if last else at, len(last)),
                (round_, lines, rest, count),
            )

    def test_largeFile(self) -> None:
        """Of a 4 GiB file, only the part with the wanted lines is read."""
        with open(self.path, "ab") as file:
            file.truncate(4 * 1024**3)
        self.append(b"\ny\ny\ny\n")
        place = self.find(2)
        self.assertEqual((place.found, place.offset), (2, 4 * 1024**3 + 3))
        self.assertLessEqual(place.searched, jsonfollow.BLOCK_OCTETS)

    def test_searchLimit(self) -> None:
        """The search stops at its limit; later lines are still shown."""
        self.append(b"y\n" + b"n" * 100 + b"\nnn\n")
        place = self.find(1, most=50)
        self.assertEqual((place.found, place.searched, place.offset), (0, 50, 106))

    def test_longLine(self) -> None:
        """A line that is too long is skipped, and not held in memory."""
        self.patch(jsonfollow, "BLOCK_OCTETS", 10)
        self.patch(jsonfollow, "LINE_OCTETS_MAX", 30)
        self.append(b"y1\n" + b"y" * 100 + b"\ny2\n")
        place = self.find(2)
        self.assertEqual((place.found, place.offset), (2, 0))
        self.append(b"y" * 100)
        self.assertEqual(self.find(1).offset, 104)


class FollowTests(DirectoryTestCase):
    """Appended lines are shown once, whatever happens to the file."""

    def setUp(self) -> None:
        super().setUp()
        self.file = Followed(str(self.path))
        self.addCleanup(self.file.close)

    def seen(self) -> list[bytes]:
        return list(self.file.lines())

    def test_partialLine(self) -> None:
        """A line is shown once it is complete."""
        self.append(b"one\ntw")
        self.assertEqual(self.seen(), [b"one"])
        self.append(b"o\n\n")
        self.assertEqual(self.seen(), [b"two", b""])

    def test_renamedFile(self) -> None:
        """
        A renamed file is read to its end, even while the new file exists and is empty.
        """
        self.append(b"one\n")
        old = self.path.rename(self.path.with_suffix(".json.1"))
        self.assertEqual(self.seen(), [b"one"])
        self.path.touch()
        self.append(b"two\n", old)
        self.assertEqual(self.seen(), [b"two"])
        self.append(b"three\n", old)
        self.append(b"four\n")
        self.assertEqual(self.seen(), [b"three", b"four"])

    def test_copiedAndTruncated(self) -> None:
        """Lines appended between the last poll and the copy are read from the copy."""
        self.append(b"one\ntw")
        self.seen()
        self.append(b"o\n")
        shutil.copy(self.path, f"{self.path}.1")
        os.truncate(self.path, 0)
        self.assertEqual(self.seen(), [b"two"])
        # As long as before, or longer.
        for line in (b"t", b"three"):
            shutil.copy(self.path, f"{self.path}.1")
            os.truncate(self.path, 0)
            self.append(line + b"\n" + b"four\n" * 3)
            self.assertEqual(self.seen(), [line] + [b"four"] * 3)

    def test_truncatedWithoutCopy(self) -> None:
        """Without a copy, reading continues at the beginning."""
        self.append(b"one\ntw")
        self.seen()
        os.truncate(self.path, 0)
        self.append(b"three\n")
        self.assertEqual(self.seen(), [b"three"])

    def test_longLine(self) -> None:
        """A line that is too long is skipped, and the next is shown."""
        self.patch(jsonfollow, "BLOCK_OCTETS", 10)
        self.patch(jsonfollow, "LINE_OCTETS_MAX", 30)
        self.append(b"y" * 100 + b"\ntwo\n")
        self.assertEqual(self.seen(), [b"two"])

    def test_notRegular(self) -> None:
        """A FIFO or a directory is refused without blocking."""
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        for path in (pipe, self.directory):
            with self.assertRaises(UserError):
                Followed(str(path))

    def test_randomHistories(self) -> None:
        """
        In any sequence of appends, renames, copies and polls, each line is shown once.
        """
        for seed in range(200):
            self.history(random.Random(seed), seed)

    def history(self, dice: random.Random, seed: int) -> None:
        for path in self.directory.iterdir():
            path.unlink()
        self.path.touch()
        file = Followed(str(self.path))
        written: list[bytes] = []
        seen: list[bytes] = []
        for number in range(30):
            action = dice.choice("aaaallrc")
            if action == "a":
                line = b"%d %d" % (number, seed)
                written.append(line)
                self.append(line[:2])
                if dice.random() < 0.3:
                    seen += file.lines()
                self.append(line[2:] + b"\n")
            elif action == "l":
                seen += file.lines()
            else:
                # Two rotations between two polls are too many.
                seen += file.lines()
                if action == "r":
                    os.rename(self.path, f"{self.path}.{number + 1}")
                    self.path.touch()
                elif self.path.stat().st_size:
                    shutil.copy(self.path, f"{self.path}-{number + 1}")
                    os.truncate(self.path, 0)
        seen += file.lines()
        file.close()
        self.assertEqual(seen, written, seed)


class ShownTests(SynchronousTestCase):
    """A record as a line of text for people."""

    def text(self, line: bytes) -> str:
        return asText(json.loads(line))

    def test_lineOfRecord(self) -> None:
        """
        A line has the time, the worker, the event, the attacker's address, the text and
        the fields.
        """
        line = (
            b'<134>1 2026-04-18T00:00:00Z w ssh - auth [relay@55555 src_ip="203.0.113.5"'
            b' user="root"] try'
        )
        self.assertEqual(
            self.text(records("decky-01", line)),
            "2026-04-18T00:00:01 decky-01: ssh auth from 203.0.113.5 try"
            ' src_ip="203.0.113.5" user="root"',
        )
        self.assertEqual(
            self.text(records("decky-01", b"plain")),
            "2026-04-18T00:00:01 decky-01: plain",
        )

    def test_marksBeforeColon(self) -> None:
        """
        A mismatching HOSTNAME and a gap are shown before the first colon, where a
        worker cannot write.
        """
        shown = self.text(records("w2", FORGED, marks=True))
        self.assertTrue(shown.startswith("2026-04-18T00:00:01 w2 (says decky-01): "))
        shown = self.text(records("w2", b"<1>1 - x):GAP: - - - - y", marks=True))
        self.assertEqual(
            shown.partition(": ")[0], "2026-04-18T00:00:01 w2 (says x):GAP:)"
        )
        gap = renderGapRecord(
            GapRecord(5, 9, "lag\x1b[2J"), provenance("w2"), "5" * 32, 0
        )
        self.assertEqual(
            self.text(gap),
            "2026-04-18T00:00:01 w2 GAP: octets 5 to 9 of /l were lost: lag\\x1b[2J",
        )
        long = GapRecord(0, 9000, "oversize", b"a\x1b[2J")
        self.assertEqual(
            self.text(renderGapRecord(long, provenance("w2"), "", 0)),
            "2026-04-18T00:00:01 w2 GAP: a message of 9000 octets was not accepted: oversize;"
            " it begins a\\x1b[2J",
        )

    def test_terminalEscapes(self) -> None:
        """No member contains anything that a terminal would interpret."""
        bad = "\x1b]0;x\x07\x9b2J\r\n\u202e\u2028\x7f\x00"
        line = f'<134>1 - h{bad} a{bad} - m{bad} [relay@55555 p="{bad}"] {bad}'.encode()
        for octets in (line, bad.encode(), line + b"\xff\x9b"):
            for marks in (True, False):
                shown = self.text(records("w2", octets, marks=marks))
                self.assertTrue(shown.isprintable(), shown)
                self.assertIn("\\x1b", shown)

    def test_originalOctets(self) -> None:
        """C{--raw} restores a message's original octets, even if they are not UTF-8."""
        for octets in (b"plain", "\u202e\xe9".encode(), b"\xff\x00\x1b"):
            self.assertEqual(message(json.loads(records("w", octets))), octets)


class TailTests(DirectoryTestCase):
    """Which workers' lines are shown, and from which files."""

    def setUp(self) -> None:
        super().setUp()
        self.shown: list[bytes] = []

    def show(self, line: bytes, record: Mapping[str, Any]) -> None:
        self.shown.append(message(record))

    def tail(
        self, *workers: str, path: Path | None = None, count: int = 2, most: int = 2**30
    ) -> RecordFollower:
        tail = RecordFollower(str(path or self.path), workers, self.show)
        self.addCleanup(tail.close)
        tail.start(count, most)
        return tail

    def test_workerByCertificate(self) -> None:
        """
        A line belongs to the worker in its certificate, whatever other workers write;
        lines that are not records are ignored.
        """
        self.append(b'{"source_worker": "decky-01"\n["source_worker": "decky-01"]\n')
        self.append(records("decky-01", b"a", b"b"))
        self.append(records("decky-010", FORGED) + records("w2", FORGED, b"c"))
        tail = self.tail("decky-01", count=9)
        self.assertEqual(self.shown, [b"a", b"b"])
        self.append(records("w2", FORGED) + records("decky-01", FORGED))
        tail.poll()
        self.assertEqual(self.shown, [b"a", b"b", FORGED])

    def test_severalWorkers(self) -> None:
        """Lines of several workers, or of all, can be shown."""
        self.append(records("w1", b"a") + records("w2", b"b") + records("w3", b"c"))
        self.tail("w1", "w2")
        self.assertEqual(self.shown, [b"a", b"b"])
        self.tail()
        self.assertEqual(self.shown[2:], [b"b", b"c"])

    def test_rotatedFiles(self) -> None:
        """
        Lines that are no longer in the file are searched for in its rotated files,
        within the limit, and in no file twice.
        """
        for name, octets in (("3.gz", b"-"), ("2", b"a"), ("1", b"b")):
            path = Path(f"{self.path}.{name}")
            path.write_bytes(records("w1", octets) + records("w2", b"-"))
            os.utime(path, ns=(0, 10 - int(name[0])))
        self.append(records("w1", b"c"))
        self.tail("w1", count=3)
        self.assertEqual(self.shown, [b"a", b"b", b"c"])
        tail = self.tail("w1", count=3, most=self.path.stat().st_size + 1)
        self.assertEqual((self.shown[3:], tail.found), ([b"c"], 1))
        os.link(self.path, f"{self.path}.0")
        self.tail("w1", count=2)
        self.assertEqual(self.shown[4:], [b"b", b"c"])

    def test_extensionNames(self) -> None:
        """
        Rotated files are also found under the names of logrotate's extension and
        dateext.
        """
        stem, dot, extension = self.path.name.partition(".")
        for age, name in enumerate(
            (f"{stem}-20261128{dot}{extension}", f"{stem}.2.json")
        ):
            path = self.path.with_name(name)
            path.write_bytes(records("w1", b"%d" % age))
            os.utime(path, ns=(0, 10 - age))
        self.append(records("w1", b"c"))
        self.tail("w1", count=3)
        self.assertEqual(self.shown, [b"1", b"0", b"c"])

    def test_fileForEach(self) -> None:
        """
        With {worker} in the path, the files of the named workers are followed, or all
        files including new ones.
        """
        path = self.directory / "of-{worker}.json"
        self.append(records("w1", b"a"), self.directory / "of-w1.json")
        self.append(records("w2", b"b"), self.directory / "of-w2.json")
        self.tail("w2", path=path)
        self.assertEqual(self.shown, [b"b"])
        tail = self.tail(path=path)
        self.append(records("w3", b"c"), self.directory / "of-w3.json")
        tail.poll()
        self.assertEqual(self.shown[1:], [b"a", b"b", b"c"])

    def test_missingFile(self) -> None:
        """A missing file is an error with a remedy."""
        with self.assertRaisesRegex(UserError, "--json-path with --file"):
            self.tail("w1", path=self.directory / "other.json")

    def test_filterMatchesRecords(self) -> None:
        """The text that the filter searches for occurs in real records."""
        for line in (records("w1", b"a"), records("w1", b"\xff\n\x00")):
            self.assertEqual(len(Filter(["w1"]).needles), 1)
            self.assertTrue(Filter(["w1"]).wants(line))
            self.assertTrue(Filter([]).wants(line))
            self.assertFalse(Filter(["w2"]).wants(line))
        gap = renderGapRecord(GapRecord(5, 9, "r"), provenance("w1"), "5" * 32, 0)
        self.assertTrue(Filter(["w1"]).wants(gap))


class OptionsTests(SynchronousTestCase):
    """Command-line options."""

    def parsed(self, *words: str) -> Options:
        options = Options()
        if "--file" not in words:
            words = ("--file=x", *words)
        options.parseOptions(words)
        return options

    def test_anyOrder(self) -> None:
        """Names and options can be mixed."""
        options = self.parsed("w1", "-n", "5", "w2", "--json", "--search=2m")
        self.assertEqual(options.workers, ["w1", "w2"])
        self.assertEqual(
            (options["lines"], options["json"], options["search"]), (5, 1, 2**21)
        )

    def test_usualPlaces(self) -> None:
        """
        The first default place that has the file is used; otherwise the error lists the
        places.
        """
        here = Path(self.mktemp()).resolve()
        here.mkdir(parents=True)
        places = [str(here / "a.json"), str(here / "closed" / "b.json")]
        self.patch(tail, "PLACES", places)
        with self.assertRaisesRegex(usage.UsageError, "a.json and no .*b.json"):
            Options().parseOptions([])
        for place in reversed(places):
            Path(place).parent.mkdir(exist_ok=True)
            Path(place).touch()
            options = Options()
            options.parseOptions([])
            self.assertEqual(options["file"], place)

    def test_invalidArguments(self) -> None:
        """Invalid names and numbers, and contradictory options, are refused."""
        for words in (["../x"], ["-n", "-3"], ["-n", "x"], ["--json", "--raw"], ["-q"]):
            with self.assertRaises(usage.UsageError):
                self.parsed(*words)


class ProcessTests(PairTestCase):
    """The real command, with a real listener."""

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [
                *(sys.executable, "-c", "from decnet_syslog.cli import main; main()"),
                *("tail", *words),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert child.stdout is not None and child.stderr is not None
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stderr.close)
        self.children.append(child)
        return child

    def test_followsOneWorker(self) -> None:
        """
        The lines of one of two workers are shown live, through both kinds of rotation,
        until Ctrl-C. Lines forged by the other worker are not shown.
        """
        pair = self.pair()
        one, two = pair.enroll("decky-01"), pair.enroll("decky-02")
        pair.startListener()
        for worker in (one, two):
            worker.forwarder.start()
        one.append(b"old %d\n" % 0 + b"old %d\n" % 1)
        two.append(FORGED + b"\n")
        self.waitForLines(pair, 3)
        child = self.command("decky-01", "--raw", "-n", "1")
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"old 1\n")
        for number in range(6):
            if number == 2:
                os.rename(pair.jsonPath, f"{pair.jsonPath}.1")
            if number == 4:
                shutil.copy(pair.jsonPath, f"{pair.jsonPath}.2")
                os.truncate(pair.jsonPath, 0)
            two.append(FORGED + b"\n")
            one.append(b"new %d \x1b\xff\n" % number)
            self.assertEqual(child.stdout.readline(), b"new %d \x1b\xff\n" % number)
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.communicate(timeout=60), (b"", b""))
        self.assertEqual(child.returncode, 130)

    def test_readerGone(self) -> None:
        """
        If the reader of the output ends while no line arrives, the command ends as
        well, silently.
        """
        (self.directory / "master.json").write_bytes(records("w1", b"a"))
        child = self.command("w1")
        assert child.stdout is not None and child.stderr is not None
        self.assertIn(b"w1: a", child.stdout.readline())
        child.stdout.close()
        self.assertEqual((child.wait(60), child.stderr.read()), (0, b""))

    def test_withoutFollowing(self) -> None:
        """
        With C{--no-follow} existing lines are shown, and a reason if there are few.
        """
        (self.directory / "master.json").write_bytes(records("w1", b"\x7f"))
        for words, out, err in (
            (["w1", "--json"], b'"raw_line": "\\u007f"', b""),
            (["w2"], b"", b"0 lines of w2 in "),
            (["w1", "--search=10"], b"", b"--search makes it search farther"),
            (["w2", "-n", "0"], b"", b""),
        ):
            child = self.command(*words, "--no-follow")
            said = child.communicate(timeout=60)
            self.assertIn(out, said[0])
            self.assertIn(err, said[1])
            self.assertEqual(child.returncode, 0)
            self.assertEqual((not out, not err), (not said[0], not said[1]))
        child = self.command("--file", "none.json", "--no-follow")
        said = child.communicate(timeout=60)
        self.assertEqual((child.returncode, said[0], said[1].count(b"\n")), (1, b"", 1))

"""Tests for the tail: L{decnet_syslog.worker.tail}, incarnation, rotation, bookmarks."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from hypothesis import given, note, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.worker.bookmarks import FINISHED_MAX, Bookmark, Bookmarks
from decnet_syslog.worker.incarnation import Gap, Incarnation, Piece
from decnet_syslog.worker.shipment import byName, nextPiece
from decnet_syslog.worker.tail import LATE_WRITER_S, SEEK_S
from decnet_syslog.worker.tails import Tails

from .peers import requirePeer


class Ledger:
    """What a forwarder would have shipped: pieces by incarnation, in order."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, int], list[Piece]] = {}
        self.order: list[tuple[str, int]] = []

    def add(self, incarnation: Incarnation, piece: Piece) -> None:
        key = (incarnation.stream, incarnation.generation)
        if key not in self.pieces:
            self.pieces[key] = []
        have = (
            self.pieces[key][-1].end
            if self.pieces[key]
            else incarnation.bookmark.origin
        )
        assert piece.start == have, f"{piece} does not follow {have}"
        self.pieces[key].append(piece)
        self.order.append(key)

    def octets(self) -> bytes:
        """All lines in the order of shipping; a last line without LF as it is."""
        done: dict[tuple[str, int], int] = {}
        parts = []
        for key in self.order:
            at = done.get(key, 0)
            piece = self.pieces[key][at]
            done[key] = at + 1
            parts.append(
                f"<{piece.reason}>".encode() if isinstance(piece, Gap) else piece.octets
            )
        return b"".join(parts)


class TailTestCase(SynchronousTestCase):
    """A log file, a tail on it, a clock."""

    lagOctetsMax: int | None = None
    messageOctetsMax = 2048
    pattern = "app.log"

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.begin()

    def begin(self) -> None:
        self.logs = self.directory / "logs"
        self.logs.mkdir()
        self.path = self.logs / "app.log"
        self.now = 0.0
        self.events: list[str] = []
        self.ledger = Ledger()
        self.start()
        self.addCleanup(self.stop)

    def start(self) -> None:
        self.bookmarks = Bookmarks.open(self.directory / "forwarder.db")
        self.tails = Tails(
            [str(self.logs / self.pattern)],
            self.bookmarks,
            lambda: self.now,
            messageOctetsMax=self.messageOctetsMax,
            lagOctetsMax=self.lagOctetsMax,
            events=lambda name, **facts: self.events.append(name),
        )

    def stop(self) -> None:
        """Die: nothing is saved."""
        self.tails.close()
        self.bookmarks.close()

    def restart(self, save: bool = True) -> None:
        if save:
            self.tails.save()
        self.stop()
        self.start()

    def append(self, octets: bytes) -> None:
        with open(self.path, "ab") as file:
            file.write(octets)

    def rotate(self) -> None:
        """Rename app.log.1 to app.log.2 and so on, app.log to app.log.1."""
        for number in range(9, 0, -1):
            for ending in ("", ".gz"):
                old = self.logs / f"app.log.{number}{ending}"
                if old.exists():
                    old.rename(self.logs / f"app.log.{number + 1}{ending}")
        if self.path.exists():
            self.path.rename(self.logs / "app.log.1")

    def copytruncate(self) -> None:
        self.rotate()
        if (self.logs / "app.log.1").exists():
            (self.logs / "app.log.1").rename(self.path)
            shutil.copyfile(self.path, self.logs / "app.log.1")
            os.truncate(self.path, 0)

    def compress(self, number: int) -> None:
        plain = self.logs / f"app.log.{number}"
        if plain.exists():
            (self.logs / f"app.log.{number}.gz").write_bytes(
                gzip.compress(plain.read_bytes())
            )
            # As logrotate and gzip do.
            times = plain.stat()
            os.utime(
                self.logs / f"app.log.{number}.gz",
                ns=(times.st_atime_ns, times.st_mtime_ns),
            )
            plain.unlink()

    def ship(
        self, octets: int = 64, pieces: int = 10**6, acknowledge: bool = True
    ) -> bytes:
        """Look, read in order, acknowledge. What was shipped by now."""
        self.now += 0.6
        self.tails.poll()
        for incarnation in self.tails.incarnations:
            incarnation.invariants()
        count = 0
        for incarnations in byName(self.tails.incarnations).values():
            while count < pieces:
                found = nextPiece(incarnations, lambda i: i.read(octets))
                if found is None:
                    break
                count += 1
                incarnation, piece = found
                incarnation.invariants()
                mark = incarnation.bookmark
                self.ledger.add(incarnation, piece)
                if isinstance(piece, Gap):
                    incarnation.acknowledge(piece.end, piece.end, 0)
                else:
                    crc = crc32(piece.octets, mark.crc)
                    incarnation.acknowledge(piece.end, mark.base, crc)
                incarnation.invariants()
        return self.ledger.octets()

    def settle(self) -> bytes:
        """Let every grace pass."""
        for _ in range(3):
            self.ship()
            self.now += max(LATE_WRITER_S, SEEK_S) + 1
        return self.ship()


class LineTests(TailTestCase):
    """Complete lines, as they are."""

    def test_complete(self) -> None:
        """Only complete lines are shipped, with whatever is in them."""
        odd = b"a\r\n\n\n\x00\xff\n" + b"x" * 500 + b"\n"
        self.append(odd + b"part")
        self.assertEqual(self.ship(), odd)
        self.append(b"ial\n")
        self.assertEqual(self.ship(), odd + b"partial\n")

    def test_fileAppearsLater(self) -> None:
        """A file that is not there yet is no error."""
        self.assertEqual(self.ship(), b"")
        self.append(b"a\n")
        self.assertEqual(self.ship(), b"a\n")

    def test_longLine(self) -> None:
        """A line over the limit is a gap, wherever it stands, and its neighbours are not."""
        for octets in (64, 5000, 100000):
            with self.subTest(octets=octets):
                self.append(b"a\n" + b"y" * 2048 + b"\n" + b"x" * 2049 + b"\nb\n")
                want = b"a\n" + b"y" * 2048 + b"\n<oversize>b\n"
                self.assertTrue(self.ship(octets).endswith(want))

    def test_longLineInPieces(self) -> None:
        """A long line that is still being written waits for its end."""
        self.append(b"x" * 5000)
        self.assertEqual(self.ship(), b"")
        self.append(b"x" * 5000)
        self.assertEqual(self.ship(), b"")
        self.append(b"\nb\n")
        self.assertEqual(self.ship(), b"<oversize>b\n")

    def test_restart(self) -> None:
        """The offset survives a restart, and nothing is shipped twice."""
        self.append(b"a\nb\n")
        self.ship()
        self.restart()
        self.append(b"c\n")
        self.assertEqual(self.ship(), b"a\nb\nc\n")

    def test_unreadable(self) -> None:
        """What stands in for a file is said once, and the file is taken when it comes."""
        os.mkfifo(self.path)
        self.ship()
        self.ship()
        self.assertEqual(self.events.count("unreadable"), 1)
        self.path.unlink()
        self.append(b"a\n")
        self.assertEqual(self.ship(), b"a\n")

    @settings(deadline=None, derandomize=True, database=None, max_examples=40)
    @given(
        st.binary(max_size=400).map(lambda b: b.replace(b"x", b"\n")),
        st.integers(1, 99),
    )
    def test_anyOctets(self, octets: bytes, piece: int) -> None:
        """Whatever is in the file, its complete lines are what is shipped."""
        self.stop()
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.begin()
        self.append(octets)
        self.assertEqual(self.ship(piece), octets[: octets.rfind(b"\n") + 1])


class LagTests(TailTestCase):
    """The cap on the lag."""

    lagOctetsMax = 100

    def test_skipped(self) -> None:
        """The oldest lines are skipped, whole, and said."""
        self.append(b"".join([b"line %03d\n" % n for n in range(100)]))
        self.assertEqual(
            self.ship(),
            b"<lag-cap>" + b"".join([b"line %03d\n" % n for n in range(89, 100)]),
        )


class RotationTests(TailTestCase):
    """Renamed, truncated, compressed, deleted; while running and while stopped."""

    def test_renamed(self) -> None:
        """The old file is finished first, its last line too."""
        self.append(b"a\nb\nlast")
        self.ship(pieces=1)
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nlastnew\n")

    def test_lateWriter(self) -> None:
        """A writer that still has the old file open is read."""
        self.append(b"a\n")
        self.ship()
        writer = open(self.path, "ab")  # noqa: SIM115
        self.addCleanup(writer.close)
        self.rotate()
        self.append(b"new\n")
        self.ship()
        writer.write(b"late\n")
        writer.flush()
        self.assertEqual(self.settle(), b"a\nnew\nlate\n")

    def test_twiceBetweenLooks(self) -> None:
        """Two rotations between two looks: the file in between is found."""
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"between\n")
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nbetween\nnew\n")

    def test_deleted(self) -> None:
        """A deleted file is read to its end through its descriptor."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.path.unlink()
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_keptFromDeletion(self) -> None:
        """A file that was renamed and deleted is not lost by a restart."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.rotate()
        (self.logs / "app.log.1").unlink()
        self.now += 1
        self.tails.poll()
        self.restart()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")
        self.assertEqual(list((self.directory / "forwarder.db.held").iterdir()), [])

    def test_truncated(self) -> None:
        """copytruncate: what was not read yet comes from the copy."""
        self.append(b"a\nb\nc\n")
        self.ship(pieces=1, octets=2)
        self.copytruncate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nc\nnew\n")

    def test_truncatedAndGrown(self) -> None:
        """Truncated and grown past the offset between two looks: noticed."""
        self.append(b"first\n")
        self.ship()
        self.copytruncate()
        self.append(b"another line, longer than the first\n")
        self.assertEqual(self.settle(), b"first\nanother line, longer than the first\n")

    def test_truncatedWithoutCopy(self) -> None:
        """Without a copy, what was not read is a gap."""
        self.append(b"a\nbb\n")
        self.ship(pieces=1, octets=2)
        os.truncate(self.path, 0)
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\n<truncated>new\n")

    def test_stopped(self) -> None:
        """Rotated, several times, compressed, truncated while stopped."""
        moves: dict[str, Callable[[], None]] = {
            "renamed": self.rotate,
            "truncated": self.copytruncate,
        }
        for name, move in moves.items():
            for packed in (False, True):
                with self.subTest(move=name, packed=packed):
                    self.append(b"a %s\nb\n" % name.encode())
                    before = self.settle()
                    self.append(b"unread %s %d\n" % (name.encode(), packed))
                    self.restart()
                    self.stop()
                    move()
                    between = b"between %s %d\n" % (name.encode(), packed)
                    self.append(between)
                    move()
                    if packed:
                        self.compress(1)
                        self.compress(2)
                    self.append(b"new %s %d\n" % (name.encode(), packed))
                    self.start()
                    what = b"%s %d\n" % (name.encode(), packed)
                    want = b"unread " + what + b"between " + what + b"new " + what
                    self.assertEqual(self.settle(), before + want)

    def test_killedUnsaved(self) -> None:
        """Killed without saving, the file is found by what was known before."""
        self.append(b"a\n")
        self.ship()
        self.restart()
        self.append(b"b\n")
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nnew\n")

    def test_vanishedWhileStopped(self) -> None:
        """A file that is gone is a gap, as far as it was known."""
        self.append(b"a\nb\n")
        self.ship(pieces=1, octets=2)
        self.restart()
        self.path.unlink()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\n<vanished>new\n")

    def test_inodeReused(self) -> None:
        """Another file with the inode of the old one is another file."""
        self.append(b"a\n")
        self.ship()
        self.restart()
        with open(self.path, "r+b") as file:
            file.write(b"other content\n")
        self.assertEqual(self.settle(), b"a\nother content\n")

    def test_firstSight(self) -> None:
        """What was rotated before our first look is not ours; what comes after is."""
        (self.logs / "app.log.1").write_bytes(b"before our time\n")
        self.append(b"a\n")
        self.ship()
        self.rotate()
        self.append(b"b\n")
        self.assertEqual(self.settle(), b"a\nb\n")

    def test_somebodysCopy(self) -> None:
        """A copy that somebody made to look at is not shipped."""
        self.append(b"a\nb\n")
        self.ship()
        shutil.copyfile(self.path, self.logs / "app.log.bak")
        shutil.copyfile(self.path, self.logs / "app.log.9")
        self.append(b"c\n")
        self.ship()
        self.rotate()
        self.append(b"new\n")
        self.assertEqual(self.settle(), b"a\nb\nc\nnew\n")

    def test_logrotate(self) -> None:
        """The real logrotate, renaming and truncating, running and stopped."""
        program = requirePeer("logrotate")
        want = b"first\n"
        self.append(want)
        self.ship()
        for round_ in range(8):
            mode = ("create", "copytruncate")[round_ // 4]
            if round_ % 2:
                self.tails.save()
                self.stop()
            configuration = self.directory / "logrotate.conf"
            configuration.write_text(
                f'"{self.path}" {{\n  rotate 20\n  {mode}\n  compress\n  delaycompress\n}}\n'
            )
            configuration.chmod(0o644)
            self.append(b"round %d\n" % round_)
            want += b"round %d\n" % round_
            state = self.directory / "logrotate.state"
            done = subprocess.run(
                [program, "-f", "-s", str(state), str(configuration)],
                capture_output=True,
                text=True,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            if round_ % 2:
                self.start()
            self.ship()
        self.append(b"end\n")
        self.assertEqual(self.settle(), want + b"end\n")


class PatternTests(TailTestCase):
    """Several files by a pattern."""

    pattern = "*.log"

    def test_files(self) -> None:
        """Files that appear later are shipped; a file that another was renamed to is not
        shipped again."""
        self.append(b"a\n")
        self.ship()
        (self.logs / "other.log").write_bytes(b"other\n")
        self.now += 1
        self.ship()
        (self.logs / "other.log").rename(self.logs / "other-1.log")
        self.now += 1
        self.assertEqual(self.settle(), b"a\nother\n")


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("line"), st.integers(0, 300)),
        st.sampled_from(
            [
                ("rotate",),
                ("copytruncate",),
                ("compress",),
                ("restart",),
                ("kill",),
                ("ship",),
                ("piece",),
                ("wait",),
            ]
        ),
    ),
    max_size=25,
)


class ModelTests(TailTestCase):
    """Any history of a file: every octet is shipped once, in order."""

    @settings(deadline=None, derandomize=True, database=None, max_examples=300)
    @given(actions)
    def test_anyHistory(self, history: list[tuple[Any, ...]]) -> None:
        """Rotations and stops in any order, while lines are written."""
        self.stop()
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.begin()
        self.path.touch()
        self.ship()
        contents = [b""]
        serial = 0
        for action in history:
            match action:
                case ("append", octets):
                    # Two contents must differ to be two contents.
                    serial += 1
                    octets = b"%d:" % serial + octets
                    self.append(octets)
                    contents[-1] += octets
                case ("line", length):
                    serial += 1
                    line = b"%d " % serial + b"l" * length + b"\n"
                    self.append(line)
                    contents[-1] += line
                case ("rotate",) if contents[-1]:
                    self.rotate()
                    self.path.touch()
                    contents.append(b"")
                case ("copytruncate",) if len(contents[-1]) > 1:
                    serial += 1
                    mark = b"%d marks a content\n" % serial
                    self.append(mark)
                    contents[-1] += mark
                    self.copytruncate()
                    contents.append(b"")
                    self.append(b"%d begins\n" % serial)
                    contents[-1] += b"%d begins\n" % serial
                case ("compress",):
                    self.compress(2)
                case ("restart",):
                    self.restart()
                case ("kill",):
                    # What was acknowledged is saved late; a master would know it. Here
                    # the ledger does: what is shipped again must be saved first.
                    self.restart(save=True)
                case ("ship",):
                    self.ship()
                case ("piece",):
                    self.ship(pieces=1)
                case ("wait",):
                    self.now += 20
        self.settle()
        note(str(self.events))
        live = contents.pop()
        want = b"".join(contents) + live[: live.rfind(b"\n") + 1]
        self.assertEqual(self.ledger.octets(), want)


class BookmarkTests(SynchronousTestCase):
    """The database."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.path = directory / "forwarder.db"

    def open(self) -> Bookmarks:
        bookmarks = Bookmarks.open(self.path)
        self.addCleanup(bookmarks.close)
        return bookmarks

    def test_roundTrip(self) -> None:
        """A bookmark is read as it was saved, names of any octets too."""
        name = os.fsdecode(b"/x/\xff.log")
        mark = Bookmark(
            "a" * 32, 3, name, 1, 2, 9, b"head", 8, 4, 5, b"an", 1, "j", True
        )
        bookmarks = self.open()
        bookmarks.save([mark])
        bookmarks.close()
        again = self.open()
        self.assertEqual((again.of(name), again.fresh), ([mark], False))

    def test_replaced(self) -> None:
        """A bookmark that gets another identity takes the old one's place."""
        bookmarks = self.open()
        mark = Bookmark("a" * 32, 0, "x", 1, 2)
        bookmarks.save([mark])
        bookmarks.save([Bookmark("b" * 32, 0, "x", 1, 2)], mark)
        self.assertEqual([m.stream for m in bookmarks.all()], ["b" * 32])

    def test_bounded(self) -> None:
        """Finished bookmarks do not pile up."""
        bookmarks = self.open()
        bookmarks.save(
            [Bookmark("a" * 32, n, "x", 1, 2, finished=True) for n in range(200)]
        )
        bookmarks.forget("x")
        self.assertEqual(len(bookmarks.all()), FINISHED_MAX)
        self.assertEqual(bookmarks.of("x")[-1].generation, 199)

    def test_legacy(self) -> None:
        """The offset of DECNET's forwarder is given until there is a bookmark, and left."""
        db = sqlite3.connect(self.path)
        db.execute(
            "CREATE TABLE forwarder_offset (key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
        )
        db.execute("INSERT INTO forwarder_offset VALUES ('default', 42)")
        db.commit()
        db.close()
        bookmarks = self.open()
        self.assertEqual(bookmarks.legacyOffset(), 42)
        bookmarks.save([Bookmark("a" * 32, 0, "x", 1, 2)])
        bookmarks.close()
        self.assertEqual(self.open().legacyOffset(), None)

    def test_unknown(self) -> None:
        """A later program's database, another file, a link: refused."""
        db = sqlite3.connect(self.path)
        db.execute("PRAGMA user_version = 99")
        db.close()
        self.assertIn(
            "99", str(self.assertRaises(UserError, Bookmarks.open, self.path))
        )
        self.path.write_bytes(b"something else" * 100)
        self.assertRaises(UserError, Bookmarks.open, self.path)
        self.path.unlink()
        self.path.symlink_to("elsewhere")
        self.assertRaises(UserError, Bookmarks.open, self.path)

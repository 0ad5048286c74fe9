"""
Common fixtures for tests of the tail: a log file, a tail that follows it, a clock.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import (
    Chunk,
    FollowedFiles,
    GapChunk,
    OpenContent,
    StateStore,
)
from decnet_syslog.files._finish import QUIET_S
from decnet_syslog.files._matching import SEARCH_S
from decnet_syslog.files._writers import isOpenForWriting
from decnet_syslog.sending._chunks import byName, nextChunk

__all__ = ["Ledger", "TailTestCase"]


class Ledger:
    """
    The pieces that a forwarder would have shipped, by file generation and in order.
    """

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, int], list[Chunk]] = {}
        self.order: list[tuple[str, int]] = []

    def add(self, one: OpenContent, piece: Chunk) -> None:
        key = one.key
        if key not in self.pieces:
            self.pieces[key] = []
        have = self.pieces[key][-1].end if self.pieces[key] else one.content.origin
        assert piece.start == have, f"{piece} does not follow {have}"
        self.pieces[key].append(piece)
        self.order.append(key)

    def octets(self) -> bytes:
        """All lines in shipping order; a final line without LF as it is."""
        done: dict[tuple[str, int], int] = {}
        parts = []
        for key in self.order:
            at = done.get(key, 0)
            piece = self.pieces[key][at]
            done[key] = at + 1
            parts.append(
                f"<{piece.reason}>".encode()
                if isinstance(piece, GapChunk)
                else piece.octets
            )
        return b"".join(parts)


class TailTestCase(SynchronousTestCase):
    """A log file, a tail that follows it, a clock."""

    lagOctetsMax: int | None = None
    messageOctetsMax = 2048
    pattern = "app.log"
    # Several paths or patterns instead of one log.
    configured: Sequence[str] = ()
    rotated: Sequence[str] = ()
    authority = ("journal", "worker")
    # How to find out whether a file is open for writing; C{None}: as the forwarder does.
    isWritten: Callable[[int], bool | None] | None = None
    # The number of rotated files to keep; older ones are deleted.
    rotatedMax = 10

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
        self.store = StateStore.open(self.directory / "forwarder.db")
        self.files = FollowedFiles(
            [str(self.logs / name) for name in self.configured or [self.pattern]],
            self.store,
            lambda: self.now,
            messageOctetsMax=self.messageOctetsMax,
            lagOctetsMax=self.lagOctetsMax,
            events=lambda name, **facts: self.events.append(name),
            rotated=self.rotated,
            isWritten=self.isWritten or isOpenForWriting,
        )
        self.files.journal.connect(self.authority, resend=True, isHistoryKept=True)

    def stop(self) -> None:
        """Die without saving anything."""
        self.files.close()
        self.store.close()

    def restart(self, save: bool = True) -> None:
        if save:
            self.files.save()
        self.stop()
        self.start()

    def append(self, octets: bytes) -> None:
        with open(self.path, "ab") as file:
            file.write(octets)

    def rotate(self) -> None:
        """Rename app.log.1 to app.log.2 and so on, then app.log to app.log.1."""
        for number in range(self.rotatedMax - 1, 0, -1):
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
        """Poll, read in order, acknowledge. Returns all octets shipped up to now."""
        self.now += 0.6
        self.files.poll()
        for one in self.files.opened:
            one.invariants()
        count = 0
        for contents in byName(self.files.opened).values():
            while count < pieces:
                found = nextChunk(contents, lambda one: one.read(octets))
                if found is None:
                    break
                count += 1
                one, chunk = found
                one.invariants()
                self.ledger.add(one, chunk)
                at = one.acknowledged
                if isinstance(chunk, GapChunk):
                    one.acknowledge(chunk.end, chunk.end, 0)
                else:
                    crc = crc32(chunk.octets, at.crc)
                    assert chunk.continued(at.crc) == crc, (chunk, at)
                    one.acknowledge(chunk.end, at.base, crc)
                one.invariants()
        return self.ledger.octets()

    def settle(self) -> bytes:
        """Let every grace period pass."""
        for _ in range(3):
            self.ship()
            self.now += max(QUIET_S, SEARCH_S) + 1
        return self.ship()

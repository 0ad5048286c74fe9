"""
The tail through any history of a file, against a model.

The model knows every content that the file has had. What is shipped of each must tile it:
every octet once, in order, as a line or in a gap that has a reason. The ledger stands in for
a master: it holds what it was sent, whether the tail was told so or not.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from decnet_syslog.files import FinalLine, Gap, OpenContent
from decnet_syslog.files._matching import SEARCH_S
from decnet_syslog.worker.chunks import byName, nextChunk

from .tailing import TailTestCase


@dataclass
class Held:
    """What the ledger holds of an incarnation: the crc is of [base, offset)."""

    offset: int
    base: int
    crc: int


class History(TailTestCase):
    """A file, its contents so far, and a master that remembers."""

    def begin(self) -> None:
        super().begin()
        self.contents = [b""]
        self.serial = 0
        self.held: dict[tuple[str, int], Held] = {}
        self.met: set[OpenContent] = set()
        self.running = True
        self.rotatedAt: float | None = None
        self.path.touch()
        self.ship()

    def write(self, octets: bytes) -> None:
        """Append. Two contents must differ to be two contents: they begin with a number."""
        # The check knows a content by its first line: that one is never too long.
        long = len(self.contents[-1]) + len(octets) > self.messageOctetsMax
        if not self.contents[-1]:
            self.serial += 1
            octets = b"%d:" % self.serial + (b"\n" if long else b"") + octets
        elif long and b"\n" not in self.contents[-1]:
            octets = b"\n" + octets
        self.append(octets)
        self.contents[-1] += octets

    def meet(self, incarnation: OpenContent) -> bool:
        """What OPEN and RESUME do: the ledger's position, verified, is taken."""
        if incarnation in self.met:
            return True
        key = (incarnation.stream, incarnation.generation)
        mark = incarnation.bookmark
        held = self.held.setdefault(key, Held(mark.offset, mark.base, mark.crc))
        if incarnation.isSearching:
            return False
        if incarnation.lostReason is None and not incarnation.hasChanged:
            # From where the bookmark is, as the shipment does.
            if held.base == mark.base and held.offset >= mark.offset:
                start, crc = mark.offset, mark.crc
            else:
                start, crc = held.base, 0
            crc = incarnation.checksum(start, held.offset, crc)
            assert crc == held.crc, f"{incarnation} is another content than {key}"
        incarnation.adopt(*key, held.offset, held.base, held.crc, "journal")
        incarnation.invariants()
        self.met.add(incarnation)
        return True

    def ship(
        self, octets: int = 64, pieces: int = 10**6, acknowledge: bool = True
    ) -> bytes:
        """Look, read, let the ledger hold it; tell the tail or not."""
        if not self.running:
            return b""
        self.now += 0.6
        self.files.poll()
        for incarnation in self.files.opened:
            incarnation.invariants()
        for incarnations in byName(self.files.opened).values():
            for _ in range(pieces):
                found = nextChunk(
                    incarnations,
                    lambda i: i.read(octets) if self.meet(i) else None,
                )
                if found is None:
                    break
                incarnation, piece = found
                incarnation.invariants()
                self.ledger.add(incarnation, piece)
                held = self.held[incarnation.stream, incarnation.generation]
                held.offset = piece.end
                if isinstance(piece, Gap):
                    held.base, held.crc = piece.end, 0
                else:
                    held.crc = crc32(piece.octets, held.crc)
                if acknowledge:
                    incarnation.acknowledge(held.offset, held.base, held.crc)
                    incarnation.invariants()
        return b""

    def cut(self) -> None:
        """The connection is lost: what was not acknowledged is asked for again."""
        for incarnation in self.files.opened:
            incarnation.rewind(incarnation.acknowledged.offset)
        self.met.clear()

    def halt(self, save: bool) -> None:
        if self.running:
            if save:
                self.files.save()
            self.stop()
            self.met.clear()
            self.running = False

    def go(self) -> None:
        if not self.running:
            self.start()
            self.running = True

    def act(self, action: tuple[Any, ...]) -> None:
        """One thing that happens."""
        rotatedAt, self.rotatedAt = self.rotatedAt, None
        match action:
            case ("append", octets):
                self.write(octets)
            case ("line", length):
                self.write(b"l" * length + b"\n")
            case ("rotate",):
                self.rotate()
                self.path.touch()
                self.contents.append(b"")
                self.rotatedAt = self.now
            case ("late",) if rotatedAt is not None and self.contents[-2]:
                with open(self.logs / "app.log.1", "ab") as file:
                    file.write(b"late\n")
                self.contents[-2] += b"late\n"
                self.ship()
            case ("copytruncate",):
                self.copytruncate()
                self.contents.append(b"")
            case ("compress",):
                self.compress(2)
            case ("expire",) if self.running:
                # Seen, deleted, and looked at: kept until it is shipped.
                self.ship(pieces=0)
                for number in range(self.rotatedMax - 1, 0, -1):
                    for ending in ("", ".gz"):
                        old = self.logs / f"app.log.{number}{ending}"
                        if old.exists():
                            old.unlink()
                            self.files.poll()
                            return
            case ("delete",) if self.running:
                self.ship(pieces=0)
                self.path.unlink()
                self.files.poll()
                self.path.touch()
                self.contents.append(b"")
            case ("halt", save):
                self.halt(bool(save))
            case ("restart", save):
                self.halt(bool(save))
                self.go()
            case ("go",):
                self.go()
            case ("cut",) if self.running:
                self.cut()
            case ("ship", pieces, acknowledge):
                self.ship(pieces=pieces, acknowledge=acknowledge)
            case ("wait", seconds):
                self.now += seconds

    def check(self) -> None:
        """What was shipped of each content tiles it."""
        shipped: dict[int, bytes] = {}
        for key, pieces in self.ledger.pieces.items():
            text = b"".join(
                b"\0" * (p.end - p.start) if isinstance(p, Gap) else p.octets
                for p in pieces
            )
            which = [
                n
                for n, content in enumerate(self.contents)
                if content and content.split(b":")[0] == text.split(b":")[0]
            ]
            assert len(which) == 1, (key, pieces)
            content = self.contents[which[0]]
            assert which[0] not in shipped, f"{key}: twice"
            shipped[which[0]] = content
            self.assertEqual(pieces[0].start, 0)
            for piece in pieces:
                octets = content[piece.start : piece.end]
                self.assertEqual(len(octets), piece.end - piece.start)
                if isinstance(piece, Gap):
                    self.assertEqual(piece.reason, "oversize")
                    self.assertGreater(len(octets.rstrip(b"\n")), self.messageOctetsMax)
                else:
                    self.assertEqual(piece.octets, octets)
                    last = isinstance(piece, FinalLine)
                    self.assertEqual(octets.endswith(b"\n"), not last)
            live = which[0] == len(self.contents) - 1
            end = content.rfind(b"\n") + 1 if live else len(content)
            self.assertEqual(pieces[-1].end, end)
        for number, content in enumerate(self.contents[:-1]):
            if content:
                self.assertIn(number, shipped)

    def finish(self) -> None:
        self.go()
        for _ in range(4):
            self.cut()
            self.ship()
            self.now += max(QUIET_S, SEARCH_S) + 1
        self.ship()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("line"), st.sampled_from([0, 1, 30, 200, 300, 1500])),
        st.tuples(st.just("line"), st.sampled_from([30, 2500])),
        st.tuples(
            st.just("ship"),
            st.sampled_from([1, 3, 10**6]),
            st.sampled_from([True, True, False]),
        ),
        st.tuples(st.just("restart"), st.booleans()),
        st.tuples(st.just("halt"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 5.0, 20.0])),
        st.sampled_from(
            [
                ("rotate",),
                ("late",),
                ("copytruncate",),
                ("compress",),
                ("expire",),
                ("delete",),
                ("go",),
                ("cut",),
            ]
        ),
    ),
    max_size=30,
)


class HistoryTests(History):
    """Any history: every octet is shipped once, in order."""

    # Killed with nothing read: what was in the bookmark must find the copy again.
    @example(
        [
            ("append", b"x\n"),
            ("copytruncate",),
            ("copytruncate",),
            ("delete",),
            ("halt", False),
            ("compress",),
        ]
    )
    # An empty copy is nobody's: it must not put the live file before an older one.
    @example(
        [
            ("copytruncate",),
            ("append", b"x\n"),
            ("halt", True),
            ("copytruncate",),
            ("append", b"a"),
        ]
    )
    @settings(deadline=None, derandomize=True, database=None, max_examples=200)
    @given(actions)
    def test_any(self, history: list[tuple[Any, ...]]) -> None:
        """Rotations, deletions, stops, kills and cuts in any order, while lines are written."""
        if self.running:
            self.stop()
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.begin()
        for action in history:
            self.act(action)
        self.finish()
        note(str(self.events))
        note(str(self.contents))
        self.check()

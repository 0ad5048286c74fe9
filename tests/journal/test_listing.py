"""Tests for L{decnet_syslog.journal._listing}: one worker's LIST does not starve the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal import _listing as listing
from decnet_syslog.journal._listing import (
    ASKED_AT_ONCE,
    HELD_OCTETS_MAX,
    PIECE_STREAMS,
    STREAM_OCTETS,
    Listings,
)
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import StreamPosition, cutName
from decnet_syslog.wire import KNOWN, LIST, LISTED, OPEN, encodeControl

from ..doubles import STREAM, RecordingLine
from ..receiving.test_reception import ReceptionTestCase


def known(count: int) -> list[StreamPosition]:
    return [StreamPosition(f"{n:032x}", 0, n, 0, 0, "x") for n in range(count)]


class Asker:
    """A connection that requests a list of a number of streams."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.isRead = True
        self.pieces: list[int] = []
        self.streams: list[int] = []
        self.isDone = self.isRefused = False
        self.failures: list[Failure] = []
        self.sent: Callable[[], object] = lambda: None

    def ask(self) -> list[StreamPosition]:
        return known(self.count)

    def reads(self) -> bool:
        return self.isRead

    def sendKnown(self, known: list[StreamPosition], isLast: bool) -> None:
        assert not self.isDone
        self.pieces.append(len(known))
        self.streams += [k.offset for k in known]
        self.isDone = isLast
        self.sent()

    def listingFailed(self, failure: Failure) -> None:
        self.failures.append(failure)

    def listingRefused(self) -> None:
        self.isRefused = True


class ListingsTests(SynchronousTestCase):
    """Lists take turns, in pieces, within a budget."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.calls: list[tuple[Deferred[Any], Callable[[], list[StreamPosition]]]] = []
        self.listings = Listings(self.perform, self.clock)

    def perform(
        self, call: Callable[[], list[StreamPosition]]
    ) -> Deferred[list[StreamPosition]]:
        done: Deferred[list[StreamPosition]] = Deferred()
        self.calls.append((done, call))
        return done

    def answer(self) -> None:
        """Let the journal's thread produce one answer."""
        done, call = self.calls.pop(0)
        done.callback(call())

    def begin(self, worker: str, count: int) -> Asker:
        asker = Asker(count)
        self.listings.begin(worker, asker)
        return asker

    def turns(self, count: int = 1000) -> None:
        """Run a number of reactor turns; calls scheduled in a turn run in the next."""
        for _ in range(count):
            for call in list(self.clock.calls):
                self.clock.calls.remove(call)
                call.called = True
                call.func(*call.args)

    def test_onePiecePerTurn(self) -> None:
        """
        One piece is sent per reactor turn, all in order, and nothing stays in memory.
        """
        asker = self.begin("w1", 1000)
        self.answer()
        self.assertEqual(asker.pieces, [PIECE_STREAMS])
        self.turns(1)
        self.assertEqual(asker.pieces, [PIECE_STREAMS] * 2)
        self.turns()
        self.assertEqual(asker.streams, list(range(1000)))
        self.assertTrue(asker.isDone)
        self.assertEqual(self.listings.octets, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_emptyAndWholePieces(self) -> None:
        """An empty list is ended by LISTED, as is one of whole pieces."""
        for count in (0, 1, PIECE_STREAMS, 2 * PIECE_STREAMS):
            asker = self.begin("w1", count)
            self.answer()
            self.turns()
            self.assertEqual((len(asker.streams), asker.isDone), (count, True))

    def test_waitsForReader(self) -> None:
        """A piece is sent only once the peer has read the previous one."""
        asker = self.begin("w1", 1000)
        asker.sent = lambda: setattr(asker, "isRead", False)
        self.answer()
        for pieces in range(1, 9):
            self.turns()
            self.assertEqual(len(asker.pieces), pieces)
            asker.isRead = True
            self.listings.peerReads(asker)
        self.turns()
        self.assertTrue(asker.isDone)

    def test_workersTakeTurns(self) -> None:
        """
        The journal produces one list at a time per worker, and few in total, in turn.
        """
        for _ in range(20):
            self.begin("evil", 4096)
        others = [self.begin(f"w{n}", 10) for n in range(4)]
        self.assertEqual(len(self.calls), ASKED_AT_ONCE)
        # One of evil's lists comes in between, not twenty.
        for _ in range(6):
            self.answer()
        self.turns()
        self.assertTrue(all(other.isDone for other in others))
        self.assertEqual(len(self.calls), 1)

    def test_boundedMemory(self) -> None:
        """Peers that do not read hold a bounded amount; the oldest are closed."""
        deaf = []
        for number in range(50):
            asker = self.begin(f"w{number}", 4096)
            asker.isRead = False
            deaf.append(asker)
            self.answer()
            self.turns(2)
            self.assertLessEqual(self.listings.octets, HELD_OCTETS_MAX)
        kept = HELD_OCTETS_MAX // (4096 * STREAM_OCTETS)
        refused = [asker.isRefused for asker in deaf]
        self.assertEqual(refused, [True] * (50 - kept) + [False] * kept)
        honest = self.begin("honest", 200)
        self.answer()
        self.turns()
        self.assertTrue(honest.isDone)

    def test_waitsWhileAllRead(self) -> None:
        """
        While every peer with a pending list is reading, a new list waits, and no peer
        is closed.
        """
        self.patch(listing, "HELD_OCTETS_MAX", 1000 * STREAM_OCTETS)
        slow, late = self.begin("w1", 900), self.begin("w2", 900)
        self.answer()
        self.answer()
        third = self.begin("w3", 5)
        self.assertEqual((len(slow.pieces), late.pieces), (1, []))
        # The journal is not asked for more than fits.
        self.assertEqual(self.calls, [])
        self.turns()
        self.assertTrue(slow.isDone and late.isDone)
        self.answer()
        self.assertTrue(third.isDone)
        self.assertFalse(slow.isRefused or late.isRefused or third.isRefused)

    def test_oversizeList(self) -> None:
        """A list larger than the whole budget is sent alone."""
        self.patch(listing, "HELD_OCTETS_MAX", 10 * STREAM_OCTETS)
        asker = self.begin("w1", 900)
        self.answer()
        self.turns()
        self.assertTrue(asker.isDone)

    def test_lostConnection(self) -> None:
        """A lost connection holds nothing, whatever the state of its list."""
        waiting, asked, sent, deaf = [self.begin("w1", 900) for _ in range(4)]
        self.listings.forget("w1", asked)
        self.answer()
        self.turns(1)
        self.listings.forget("w1", waiting)
        self.answer()
        self.listings.forget("w1", sent)
        deaf.isRead = False
        self.answer()
        self.listings.forget("w1", deaf)
        self.turns()
        self.assertEqual(self.listings.octets, 0)
        self.assertEqual((self.calls, self.clock.getDelayedCalls()), ([], []))
        self.assertEqual((len(waiting.pieces), asked.pieces), (2, []))

    def test_failedList(self) -> None:
        """
        After the journal fails to produce a list, the next one is still requested.
        """
        results = [fail(JournalBlocked("away")), succeed(known(3)), succeed(None)]
        self.listings = Listings(lambda call: results.pop(0), self.clock)
        first, second, third = (self.begin("w1", 3) for _ in range(3))
        self.turns()
        self.assertEqual(len(first.failures), 1)
        self.assertTrue(second.isDone)
        self.assertEqual(third.pieces, [])

    def test_nothingAfterStop(self) -> None:
        """Nothing is sent once the listener stops."""
        asker = self.begin("w1", 900)
        self.answer()
        self.listings.stop()
        self.turns()
        self.assertEqual(len(asker.pieces), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AnswerTests(ReceptionTestCase):
    """The answer to LIST on a connection."""

    def asked(self, count: int, name: str) -> RecordingLine:
        session, line = self.connect()
        for number in range(count):
            session.controlReceived(OPEN(f"{number:032x}", 0, number, name))
        line.pop()
        asking, line = self.connect()
        asking.controlReceived(LIST())
        for _ in range(100):
            self.clock.advance(0)
        return line

    def test_namesAreCut(self) -> None:
        """Names are cut to a hundred octets; a piece has at most 64 KiB."""
        name = "\U0001f600" * 200
        line = self.asked(300, name)
        *lines, end = line.pop()
        self.assertEqual(end, LISTED())
        found = [sent for sent in lines if isinstance(sent, KNOWN)]
        self.assertEqual([k.offset for k in found], list(reversed(range(300))))
        self.assertEqual({k.name for k in found}, {"\U0001f600" * 25})
        piece = b"".join(map(encodeControl, found[:PIECE_STREAMS]))
        self.assertLess(len(piece), 64 * 1024)

    def test_cutNamesAreEncodable(self) -> None:
        """A name of any octets is cut after the hundredth, and can be encoded."""
        for name in ("\udcff" * 200, "x" * 99 + "\U0001f600", "x" * 100, "y"):
            cut = cutName(name)
            octets = name.encode("utf-8", "surrogateescape")[:100]
            self.assertEqual(cut.encode("utf-8", "surrogateescape"), octets)
            encodeControl(KNOWN("5" * 32, 0, 0, 0, 0, cut))

    def test_refusedPeerGetsReason(self) -> None:
        """A peer that is closed for lack of memory gets the reason."""
        self.patch(listing, "HELD_OCTETS_MAX", 0)
        opening, _ = self.connect()
        opening.controlReceived(OPEN(STREAM, 0, 0, "x"))
        asking, line = self.connect()
        line.isRead = False
        asking.controlReceived(LIST())
        self.assertEqual(line.byes, [])
        self.connect()[0].controlReceived(LIST())
        (bye,) = line.byes
        self.assertEqual(bye.code, "limit")
        self.assertIn("LIST", bye.text)
        self.assertEqual(self.commits.listings.octets, 0)

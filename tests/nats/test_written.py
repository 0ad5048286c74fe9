"""
Tests for L{decnet_syslog.nats._written} and L{decnet_syslog.nats._proving}: an output skips octets
that it has written, but only if a checksum proves that they are the same.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock
from zlib import crc32

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import Batch, Cursor, Deposit
from decnet_syslog.nats import _proving as proving
from decnet_syslog.nats import _stream as streams
from decnet_syslog.nats._messages import Entry, MessagePosition
from decnet_syslog.nats._outputsjournal import OutputsJournal
from decnet_syslog.nats._outputstate import Advance, Again, End, OutputState
from decnet_syslog.nats._proving import Unproven, reaches
from decnet_syslog.nats._written import Written

from ..contracts.test_journal import MUCH, grant
from ..doubles import PROVENANCE, STREAM, lines
from ..natsserver import openOutputs
from .test_history import ONE, TWO, BackTestCase
from .test_journal import untilTaken

WHOLE = b"one\ntwo\nthree\nfour\n"


def entry(
    seq: int,
    start: int,
    text: bytes,
    reason: str | None = None,
    before: bytes = b"",
    base: int = 0,
    generation: int = 0,
) -> Entry:
    """
    A message with some octets of a file, or with a gap of the same length.

    @param before: the octets between base and start.
    """
    end = start + len(text)
    kept = b"" if reason else text
    at = (
        MessagePosition(end, end, 0)
        if reason
        else MessagePosition(end, base, crc32(before + text))
    )
    batch = Batch(seq, PROVENANCE, STREAM, generation, start, end, kept, None, reason)
    return Entry(seq, PROVENANCE.worker, STREAM, generation, "x", at, "0" * 32, batch)


def part(seq: int, start: int, end: int, whole: bytes = WHOLE) -> Entry:
    """A message with some octets of a file without gaps."""
    return entry(seq, start, whole[start:end], before=whole[:start])


class WrittenTests(SynchronousTestCase):
    """An output skips exactly the octets that it has written."""

    def setUp(self) -> None:
        self.written = Written("raw", OrderedDict())

    def write(self, *entries: Entry) -> list[tuple[int, bytes, str | None]]:
        """Write batches that are proved, and save the cursor. Return the written parts."""
        fresh = []
        for one in entries:
            end = self.written.doubt(one)
            if end is not None:
                self.written.prove(one, end)
            fresh.append(self.written.cut(one))
        self.assertEqual([b.seq for b in fresh], [e.seq for e in entries])
        self.written.saved(entries[-1].seq)
        return [(b.start, b.octets, b.reason) for b in fresh if b.octets or b.reason]

    def test_eachOctetOnce(self) -> None:
        """
        Each octet is written once, however the batches are split, even if it is part of
        a gap now.
        """
        self.assertEqual(self.write(part(1, 0, 8)), [(0, WHOLE[:8], None)])
        again = [part(2, 0, 4), part(3, 4, 14)]
        self.assertEqual(self.write(*again), [(8, WHOLE[8:14], None)])
        gap = entry(4, 0, WHOLE, "vanished")
        self.assertEqual(self.write(gap), [(14, b"", "vanished")])
        self.assertEqual(self.write(part(5, 0, 19)), [])

    def test_othersAreUnaffected(self) -> None:
        """Other workers, streams and generations are unaffected, as are plain peers."""
        one = part(1, 0, 4)
        self.write(one)
        assert one.batch is not None
        others = [
            replace(one.batch, seq=2, generation=1),
            replace(one.batch, seq=3, stream="6" * 32),
            replace(one.batch, seq=4, provenance=replace(PROVENANCE, worker="w2")),
            replace(one.batch, seq=5, stream=None),
            replace(one.batch, seq=6, stream=None),
        ]
        entries = [replace(one, seq=other.seq, batch=other) for other in others]
        self.assertEqual([self.written.doubt(other) for other in entries], [None] * 5)
        self.assertEqual(len(self.write(*entries)), 5)

    def test_readTwice(self) -> None:
        """
        A batch that is read twice before it is written is trimmed in the same way both
        times.
        """
        entries = [part(1, 0, 4), part(2, 4, 8)]
        first = [self.written.cut(one) for one in entries]
        self.assertEqual([self.written.cut(one) for one in entries[1:]], first[1:])
        self.assertEqual([self.written.cut(one) for one in entries], first)
        again = part(3, 0, 14)
        end = self.written.doubt(again)
        assert end is not None
        self.written.prove(again, end)
        rest = self.written.cut(again)
        self.assertEqual((rest.start, rest.octets), (8, WHOLE[8:14]))
        self.assertEqual(self.written.doubt(again), None)
        self.assertEqual(self.written.cut(again), rest)

    def test_onlySyncedEndsAreSaved(self) -> None:
        """Only the ends of batches that are on disk are saved, with their checksums."""
        for one in (part(1, 0, 4), part(2, 4, 8)):
            self.written.cut(one)
        advance = self.written.advance(1)
        self.written.saved(1)
        end = End(4, (0, crc32(WHOLE[:4])))
        self.assertEqual(list(advance.ends.values()), [(end, 1)])
        self.assertEqual(list(self.written.ends.values()), [end])
        self.assertEqual(advance.settled, {})

    def test_unprovenOctets(self) -> None:
        """
        Octets without a proof are written, even when the same batches are read twice,
        and the decision stays until the cursor has passed them.
        """
        self.write(part(1, 0, 14))
        other = b"ONE\nTWO\nTHREE\nFOUR\n"
        first, second, third = (
            part(3, 0, 4, other),
            part(4, 4, 8, other),
            part(5, 8, 19, other),
        )
        self.assertNotEqual(self.written.doubt(first), None)
        self.written.decide((PROVENANCE.worker, STREAM, 0), Again(2, 0))
        for _ in range(2):
            for one in (first, second, third):
                self.assertEqual(self.written.doubt(one), None)
                self.assertEqual(self.written.cut(one), one.batch)
        advance = self.written.advance(1)
        self.assertEqual((advance.ends, advance.settled), ({}, {}))
        # The cursor cannot be saved the first time.
        self.assertEqual(self.written.advance(4), self.written.advance(4))
        advance = self.written.advance(4)
        self.written.saved(4)
        self.assertEqual(advance.settled, {(PROVENANCE.worker, STREAM, 0): 2})
        self.assertEqual(
            list(advance.ends.values()), [(End(8, (0, crc32(other[:8]))), 4)]
        )
        self.written.saved(5)
        self.assertEqual(self.written.advance(5).ends, {})
        self.assertNotEqual(self.written.doubt(part(6, 0, 19, other)), None)


class ReachesTests(SynchronousTestCase):
    """Which octets a message proves."""

    end = End(8, (0, crc32(WHOLE[:8])))

    def test_sameOctets(self) -> None:
        """
        A message that reaches the output's end, or goes beyond it, proves the same
        octets.
        """
        for start in (0, 4):
            self.assertTrue(reaches(part(9, start, 8), self.end))
            self.assertTrue(reaches(part(9, start, 14), self.end))
        self.assertFalse(reaches(part(9, 0, 4), self.end))

    def test_otherOctets(self) -> None:
        """Different octets are no proof, wherever the first difference is."""
        for at in range(8):
            other = WHOLE[:at] + b"X" + WHOLE[at + 1 :]
            for start, end in ((0, 8), (4, 8), (0, 14), (4, 19)):
                self.assertRaises(
                    Unproven, reaches, part(9, start, end, other), self.end
                )
        # A difference after the end proves nothing, and does not matter.
        self.assertTrue(
            reaches(part(9, 0, 14, WHOLE[:9] + b"X" + WHOLE[10:]), self.end)
        )

    def test_gapsProveNothing(self) -> None:
        """A gap is no proof, and no proof extends across a gap."""
        for gap in (entry(9, 0, WHOLE[:8], "vanished"), entry(9, 4, WHOLE, "lag-cap")):
            self.assertRaises(Unproven, reaches, gap, self.end)
        behind = End(8, (4, crc32(WHOLE[4:8])))
        self.assertTrue(reaches(entry(9, 4, WHOLE[4:8], base=4), behind))
        self.assertRaises(Unproven, reaches, entry(9, 0, WHOLE[:4], "vanished"), behind)
        # The output ends with a gap, as does the stream.
        empty = End(8, (8, 0))
        self.assertRaises(Unproven, reaches, entry(9, 0, WHOLE[:8], "vanished"), empty)
        self.assertRaises(Unproven, reaches, entry(9, 4, WHOLE[4:8], "vanished"), empty)

    def test_withoutChecksum(self) -> None:
        """Without a checksum there is no proof."""
        self.assertRaises(Unproven, reaches, part(9, 0, 8), End(8))
        self.assertRaises(Unproven, reaches, part(9, 0, 4), End(8))


class ProvingTestCase(BackTestCase):
    """A store is restored to a state before an output's last writes."""

    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.patch(proving, "monotonic", lambda: self.now)

    def lose(self) -> None:
        """Write six lines, and restore the store that has three."""
        self.sendAndLeave("w1", *ONE[:3])
        self.assertEqual(self.write(), ONE[:3])
        copy = self.copy()
        self.sendAndLeave("w1", *ONE[:6])
        self.assertEqual(self.write(), ONE[3:6])
        self.putBack(copy)

    def repeated(self, work: Callable[[], Any]) -> list[tuple[int, int, str]]:
        """Collect the reports of octets without a proof."""
        with capturedLogs() as found:
            work()
        return [
            (e["start"], e["end"], e["reason"])
            for e in found
            if e.get("event") == "repeated"
        ]


def octetsOf(some: Sequence[bytes]) -> int:
    """The total length of some lines."""
    return len(b"".join(some))


class ProvingTests(ProvingTestCase):
    """
    With a real server: after the restore, the worker sends the same or other lines.
    """

    def test_workerToo(self) -> None:
        """
        The worker was restored to the same moment, and has written other lines at the
        same offsets since then: fewer octets than before, as many, or more. No line is
        lost, and the range is reported.
        """
        other = [line.replace(b"one", b"ONE") for line in ONE]
        cases = [(n, same) for n in (1, 3, 5) for same in (0, 1)]
        files = [
            [*ONE[: 3 + same], *other[3 + same : 3 + count]] for count, same in cases
        ]
        listener = self.open()
        for at, _ in enumerate(files):
            self.send(listener, "w1", *ONE[:3], generation=at)
        self.write()
        copy = self.copy()
        untilTaken(listener.checkHistory)
        for at, _ in enumerate(files):
            self.send(listener, "w1", *ONE[:6], generation=at)
        self.write()
        self.putBack(copy)
        for at, some in enumerate(files):
            self.send(listener, "w1", *some, generation=at)
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        after = writer.useOutputs(["a"])["a"].seq
        found: list[bytes] = []
        said = self.repeated(lambda: found.extend(self.drained(writer, after)))
        self.assertEqual(found, [line for some in files for line in some[3:]])
        ends = octetsOf(ONE[:3]), octetsOf(ONE[:6])
        self.assertEqual([(start, end) for start, end, _ in said], [ends] * len(cases))
        for (count, _), (_, _, why) in zip(cases, said, strict=True):
            self.assertIn("has not sent" if count == 1 else "checksums", why)
        # From then on everything is normal.
        for at, some in enumerate(files):
            self.send(listener, "w1", *some, *TWO[:2], generation=at)
        self.assertEqual(self.drained(writer, 0), TWO[:2] * len(cases))

    def drained(self, writer: OutputsJournal, after: int) -> list[bytes]:
        """Write everything after a message."""
        view = writer.written("a")
        found: list[bytes] = []
        while True:
            try:
                batches = view.read(after, MUCH)
            except JournalBlocked:
                self.now += 1.0
                continue
            if not batches:
                return found
            after = batches[-1].seq
            writer.commit([], [Cursor("a", after, {})])
            found += [batch.octets for batch in batches if batch.octets]

    def test_otherPieces(self) -> None:
        """
        The same lines are sent again in other pieces. The output waits for the
        remaining ones, writes nothing twice, and other streams wait as well.
        """
        self.lose()
        listener = self.open()
        granted = untilTaken(lambda: grant(listener))
        at, whole = octetsOf(ONE[:3]), b"".join(ONE)
        self.assertEqual(granted.offset, at)
        # Two lines at once, then a line of another worker.
        listener.commit([lines(granted, at, whole[at : octetsOf(ONE[:5])])])
        self.send(listener, "w2", TWO[0])
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        after = writer.useOutputs(["a"])["a"].seq
        view = writer.written("a")
        for _ in range(3):
            error = self.assertRaises(JournalBlocked, view.read, after, MUCH)
            self.assertIn(f"up to {octetsOf(ONE[:6])}", str(error))
        at = octetsOf(ONE[:5])
        listener.commit([lines(granted, at, whole[at:])])
        found: list[bytes] = []
        self.assertEqual(
            self.repeated(lambda: found.extend(self.drained(writer, after))), []
        )
        self.assertEqual(found, [TWO[0], *[b"".join(ONE[6:])]])

    def test_waitIsExtended(self) -> None:
        """The output waits longer while more lines are sent again, but not forever."""
        self.lose()
        listener = self.open()
        long = [*ONE[:3], *[b"%d\n" % at for at in range(4)]]
        self.assertLess(octetsOf(long), octetsOf(ONE[:6]))
        self.send(listener, "w1", *long[:4])
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        after = writer.useOutputs(["a"])["a"].seq
        view = writer.written("a")
        for count in (5, 6, 7):
            for step in (0.0, proving.QUIET_S - 1):
                self.now += step
                self.assertRaises(JournalBlocked, view.read, after, MUCH)
            self.send(listener, "w1", *long[:count])
        self.assertRaises(JournalBlocked, view.read, after, MUCH)
        self.now += proving.QUIET_S
        self.assertEqual([b.octets for b in view.read(after, MUCH)], long[3:])

    def test_totalWaitIsBounded(self) -> None:
        """The total waiting time is bounded."""
        self.patch(proving, "QUIET_S", 1000.0)
        self.lose()
        self.sendAndLeave("w1", *ONE[:4])
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        after = writer.useOutputs(["a"])["a"].seq
        view = writer.written("a")
        self.assertRaises(JournalBlocked, view.read, after, MUCH)
        self.now += proving.PATIENCE_S
        self.assertEqual([b.octets for b in view.read(after, MUCH)], ONE[3:4])

    def test_waitsOnlyAfterRollback(self) -> None:
        """
        An output does not wait long after the rollback, nor in a later process, because any worker
        could delay all lines then.
        """
        self.lose()
        self.write()
        for later, isPatient in ((0.0, True), (proving.AFTER_S, False), (0.0, False)):
            writer = openOutputs(self.nats.url, self.path)
            try:
                after = writer.useOutputs(["a"])["a"].seq
                self.now += later
                writer.tidy()
                self.assertEqual(writer.prover.isPatient, isPatient)
                self.send(self.open(), "w1", *ONE[:4])
                read = partial(writer.written("a").read, after, MUCH)
                if isPatient:
                    self.assertRaises(JournalBlocked, read)
                else:
                    self.assertEqual([b.octets for b in read()], ONE[3:4])
            finally:
                writer.close()

    def test_outputsWaitOnce(self) -> None:
        """Two outputs wait for the same stream at the same time, not one after the other."""
        self.sendAndLeave("w1", *ONE[:3])
        copy = self.copy()
        self.sendAndLeave("w1", *ONE[:6])
        both = ["a", "b"]
        writer = openOutputs(self.nats.url, self.path)
        after = writer.useOutputs(both)["a"].seq
        for name in both:
            last = writer.written(name).read(after, MUCH)[-1].seq
            writer.commit([], [Cursor(name, last, {})])
        writer.close()
        self.putBack(copy)
        self.sendAndLeave("w1", *ONE[:4])
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        cursors = writer.useOutputs(both)
        read = {
            name: partial(writer.written(name).read, cursors[name].seq, MUCH)
            for name in both
        }
        self.assertRaises(JournalBlocked, read["a"])
        self.now += proving.QUIET_S
        for name in both:
            self.assertEqual([b.octets for b in read[name]()][-1], ONE[3])

    def test_proofAhead(self) -> None:
        """
        Without waiting, a proof counts if the stream has it already. A consumer that does not
        deliver it yet is asked again.
        """
        self.lose()
        listener = self.open()
        granted = untilTaken(lambda: grant(listener))
        at, whole = granted.offset, b"".join(ONE)
        for end in (octetsOf(ONE[:4]), len(whole)):
            listener.commit([lines(granted, at, whole[at:end])])
            at = end
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        after = writer.useOutputs(["a"])["a"].seq
        self.now += proving.AFTER_S
        view = writer.written("a")
        fetch = streams.JournalStream.fetch

        async def late(stream: Any, consumer: str, octets: int, count: int) -> Any:
            got, isMore = await fetch(stream, consumer, octets, count)
            # Bodies were requested by the reader, headers by the search for a proof.
            return ([], False) if octets == 2**30 else (got, isMore)

        self.patch(streams.JournalStream, "fetch", late)
        error = self.assertRaises(JournalBlocked, view.read, after, MUCH)
        self.assertIn("replica", str(error))
        self.patch(streams.JournalStream, "fetch", fetch)
        found: list[bytes] = []
        said = self.repeated(lambda: found.extend(self.drained(writer, after)))
        self.assertEqual((said, found), ([], [b"".join(ONE[6:])]))

    def test_killedAfterDecision(self) -> None:
        """
        The process is killed after it has decided that nothing is proved, and before
        the cursor is saved; meanwhile the proof has arrived. The next process still
        writes the same octets, so that it recognises them in the file.
        """
        self.lose()
        self.sendAndLeave("w1", *ONE[:4])
        writer = openOutputs(self.nats.url, self.path)
        after = writer.useOutputs(["a"])["a"].seq
        view = writer.written("a")
        self.assertRaises(JournalBlocked, view.read, after, MUCH)
        self.now += proving.QUIET_S
        first = [b.octets for b in view.read(after, MUCH)]
        self.assertEqual(first, ONE[3:4])
        writer.close()
        self.sendAndLeave("w1", *ONE)
        self.assertEqual(self.write(), ONE[3:])

    def test_stateOfOlderVersion(self) -> None:
        """
        If an older version has stored no checksums, the lines are written and reported.
        """
        self.lose()
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("UPDATE written SET base = NULL, crc = NULL")
        self.sendAndLeave("w1", *ONE)
        found: list[bytes] = []
        said = self.repeated(lambda: found.extend(self.write()))
        self.assertEqual(found, ONE[3:])
        self.assertEqual([why for _, _, why in said], [said[0][2]])
        self.assertIn("older version", said[0][2])

    def test_restoredTwice(self) -> None:
        """
        If the store is restored again before the cursor has passed a decision, nothing
        is lost.
        """
        self.lose()
        other = [*ONE[:3], *[line.replace(b"one", b"ONE") for line in ONE[3:]]]
        copy = self.copy()
        self.sendAndLeave("w1", *other[:6])
        writer = openOutputs(self.nats.url, self.path)
        after = writer.useOutputs(["a"])["a"].seq
        batches = writer.written("a").read(after, MUCH)
        self.assertEqual([b.octets for b in batches], other[3:6])
        writer.close()
        self.putBack(copy)
        self.sendAndLeave("w2", *TWO)
        self.sendAndLeave("w1", *other)
        self.assertEqual(self.write(), [*TWO, *other[3:]])

    def test_cursorNotSavedAtFirst(self) -> None:
        """
        If a cursor cannot be saved at first, the ends of the written streams are saved with it
        later.
        """
        listener = self.open()
        self.send(listener, "w1", *ONE)
        writer = openOutputs(self.nats.url, self.path)
        after = writer.useOutputs(["a"])["a"].seq
        batches = writer.written("a").read(after, MUCH)
        assert writer.outbox is not None
        outbox, cursor = writer.outbox, Cursor("a", batches[-1].seq, {})
        with mock.patch.object(outbox.state, "save", side_effect=JournalBlocked()):
            self.assertRaises(JournalBlocked, outbox.save, [cursor])
        self.assertEqual(outbox.state.ends("a"), {})
        outbox.save([cursor])
        (end,) = outbox.state.ends("a").values()
        self.assertEqual(end.offset, octetsOf(ONE))
        writer.close()

    def test_laterDecisionStays(self) -> None:
        """A cursor that has passed a decision about a stream removes no later one."""
        state = OutputState.open(self.path)
        self.addCleanup(state.close)
        state.useOutputs(["a"])
        key = PROVENANCE.worker, STREAM, 0
        for seq, left in ((5, {}), (6, {key: Again(6, 8)})):
            state.decide("a", key, Again(seq, 8))
            state.save([], {}, {"a": Advance({}, {key: 5})})
            self.assertEqual(state.again("a"), left)

    def test_gapInPlaceOfOctets(self) -> None:
        """
        If the worker has deleted its file, its gap record is written although the
        output has octets at these offsets, because they may be others.
        """
        self.lose()
        listener = self.open()
        granted = untilTaken(lambda: grant(listener))
        at = granted.offset
        gap = Deposit(PROVENANCE, granted, at, octetsOf(ONE[:6]), b"", None, "vanished")
        self.assertNotEqual(listener.commit([gap]), [None])
        writer = openOutputs(self.nats.url, self.path)
        self.addCleanup(writer.close)
        after = writer.useOutputs(["a"])["a"].seq
        view = writer.written("a")
        with capturedLogs() as found:
            (batch,) = view.read(after, MUCH)
        self.assertEqual(
            (batch.start, batch.end, batch.reason),
            (at, octetsOf(ONE[:6]), "vanished"),
        )
        self.assertEqual(
            [e["event"] for e in found if e.get("event") == "repeated"], ["repeated"]
        )

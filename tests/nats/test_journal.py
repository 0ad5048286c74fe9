"""Tests for L{decnet_syslog.nats._journal} and its parts, with real servers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock
from zlib import crc32

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import Batch, Cursor, Deposit, StreamLease
from decnet_syslog.nats import _bus as buses
from decnet_syslog.nats import _client as clients
from decnet_syslog.nats import _positions as positions
from decnet_syslog.nats import _removing as removing
from decnet_syslog.nats import _shortening as shortening
from decnet_syslog.nats._access import Access, parseServers
from decnet_syslog.nats._bus import Bus, NatsMessage, NoResponse
from decnet_syslog.nats._history import StreamHistory
from decnet_syslog.nats._journal import JetStreamJournal
from decnet_syslog.nats._layout import Layout
from decnet_syslog.nats._lease import LEASE_S, RENEW_S, LeaseLost, WentBack
from decnet_syslog.nats._messages import MessagePosition, encode
from decnet_syslog.nats._outbox import Outbox
from decnet_syslog.nats._outputsjournal import OutputsJournal
from decnet_syslog.nats._outputstate import OutputState

from ..contracts.test_journal import MUCH, grant, octets
from ..doubles import PROVENANCE, lines
from ..natsserver import (
    ROOMY,
    STREAM_OCTETS_MAX,
    NatsTestCase,
    openJetStream,
    openOutputs,
    waitUntil,
)

OTHER = replace(PROVENANCE, address="192.0.2.9:9")


class LossyBus:
    """A bus that loses answers to publishes, or the publishes themselves."""

    def __init__(self, case: SynchronousTestCase, journal: JetStreamJournal) -> None:
        self.lost = 0
        self.unsent = 0
        self._ask = journal.bus.ask
        case.patch(journal.bus, "ask", self.ask)

    async def ask(
        self,
        subject: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> NatsMessage:
        publishes = subject.startswith("decnet.") and subject != "decnet.eras"
        if publishes and self.unsent:
            self.unsent -= 1
            raise NoResponse("not sent")
        answer = await self._ask(subject, data, headers)
        if publishes and self.lost:
            self.lost -= 1
            raise NoResponse("the answer is lost")
        return answer


class SingleTestCase(NatsTestCase):
    """Tests with one server."""

    def setUp(self) -> None:
        self.nats = self.server(ROOMY)

    def open(self, **options: Any) -> JetStreamJournal:
        """Open another listener's journal."""
        journal = openJetStream(self.nats.url, **options)
        self.addCleanup(journal.close)
        return journal

    def openOutputs(self, state: Path, **options: Any) -> OutputsJournal:
        """Open the journal of the process that writes the outputs."""
        journal = openOutputs(self.nats.url, state, **options)
        self.addCleanup(journal.close)
        return journal

    def api(self, journal: JetStreamJournal, verb: str, **members: Any) -> Any:
        """Call JetStream's API as an operator would."""
        return journal.bus.run(journal.bus.api(verb, **members))

    def consumers(self, journal: JetStreamJournal) -> list[str]:
        """The names of the stream's consumers."""
        return list(self.api(journal, "CONSUMER.NAMES.decnet")["consumers"])

    def counts(self, journal: JetStreamJournal) -> dict[str, int]:
        """The number of messages per subject, without the eras."""
        info = self.api(journal, "STREAM.INFO.decnet", subjects_filter=">")
        counts: dict[str, int] = dict(info["state"]["subjects"])
        del counts["decnet.eras"]
        return counts


class AnswerTests(SingleTestCase):
    """Answers from the server get lost."""

    def setUp(self) -> None:
        super().setUp()
        self.journal = self.open()
        self.lossy = LossyBus(self, self.journal)

    def test_answerLost(self) -> None:
        """
        A message whose answer was lost is not stored twice, and is acknowledged once
        its fate is known.
        """
        granted = grant(self.journal)
        deposits = [lines(granted, 0, b"a\n"), lines(granted, 2, b"b\n")]
        # Lost: the answer for the message, for the refused second attempt, and for the
        # next message.
        for lost, there in [(1, 1), (1, 1), (0, 2)]:
            self.lossy.lost = lost
            if lost:
                self.assertRaises(JournalBlocked, self.journal.commit, deposits)
            else:
                batches = self.journal.commit(deposits)
            self.assertEqual(octets(self.journal), [b"a\n", b"b\n"][:there])
        self.assertEqual([b and b.end for b in batches], [2, 4])
        third = self.journal.commit([lines(granted, 4, b"c\n")])
        self.assertNotEqual(third, [None])

    def test_notSent(self) -> None:
        """
        A message that was lost before the server stored it is stored by the next
        attempt.
        """
        granted = grant(self.journal)
        deposits = [lines(granted, 0, b"a\n"), lines(None, 0, b"p\n")]
        self.lossy.unsent = 1
        self.assertRaises(JournalBlocked, self.journal.commit, deposits)
        self.assertNotIn(None, self.journal.commit(deposits))
        self.assertEqual(sorted(octets(self.journal)), [b"a\n", b"p\n"])

    def test_plainMessageIsStoredOnce(self) -> None:
        """For a peer without positions, repeated attempts store a message once."""
        deposits = [lines(None, 0, b"p\n")]
        self.lossy.lost = 2
        for _ in range(2):
            self.assertRaises(JournalBlocked, self.journal.commit, deposits)
        self.assertNotEqual(self.journal.commit(deposits), [None])
        self.assertEqual(octets(self.journal), [b"p\n"])

    def test_overtakenByOtherListener(self) -> None:
        """
        If the answer is lost and another listener has extended the stream since, the
        commit is not acknowledged here, and no message is stored twice.
        """
        granted = grant(self.journal)
        deposits = [lines(granted, 0, b"a\n"), lines(granted, 2, b"b\n")]
        self.lossy.lost = 1
        self.assertRaises(JournalBlocked, self.journal.commit, deposits)
        other = self.open()
        theirs = grant(other)
        self.assertEqual(theirs.offset, 2)
        self.assertNotEqual(other.commit([lines(theirs, 2, b"B\n")]), [None])
        self.assertEqual(self.journal.commit(deposits), [None, None])
        self.assertEqual(octets(self.journal), [b"a\n", b"B\n"])

    def test_lostWithinDeposit(self) -> None:
        """
        If an answer is lost within a deposit of several messages, the remaining ones
        follow.
        """
        granted = grant(self.journal)
        long = lines(granted, 0, (b"x" * 99 + b"\n") * 5000)
        for _ in range(3):
            self.lossy.lost = 1
            self.assertRaises(JournalBlocked, self.journal.commit, [long])
        self.assertEqual(self.journal.commit([long])[0].__class__, Batch)
        self.assertEqual(b"".join(octets(self.journal)), long.octets)

    def test_lostBeginning(self) -> None:
        """The start position of a stream survives a lost answer."""
        self.lossy.lost = 1
        self.assertRaises(JournalBlocked, grant, self.journal, start=17)
        self.assertEqual(grant(self.journal, start=5).offset, 17)


class TwoListenersTests(SingleTestCase):
    """Two listeners share one stream of a worker."""

    def test_staleListenerIsFenced(self) -> None:
        """
        A listener that has not seen the last message cannot append; its subsequent
        deposit for another file is refused as well.
        """
        one, two = self.open(), self.open()
        self.assertEqual(one.identity, two.identity)
        old = grant(one)
        self.assertNotEqual(one.commit([lines(old, 0, b"a\n")]), [None])
        new = grant(two)
        self.assertEqual(new.offset, 2)
        self.assertNotEqual(two.commit([lines(new, 2, b"b\n")]), [None])
        next = grant(one, generation=1)
        batches = one.commit([lines(old, 2, b"b\n"), lines(next, 0, b"n\n")])
        self.assertEqual(batches, [None, None])
        self.assertEqual(octets(one), [b"a\n", b"b\n"])

    def test_racingListeners(self) -> None:
        """If two listeners both believe they own a stream, exactly one commits."""
        one, two = self.open(), self.open()
        deposits = [lines(grant(j), 0, b"a\n") for j in (one, two)]
        batches = [
            journal.commit([deposit])[0]
            for journal, deposit in zip((one, two), deposits, strict=True)
        ]
        self.assertEqual([b is None for b in batches], [False, True])
        self.assertEqual(octets(one), [b"a\n"])

    def test_forgottenGrantsAreStale(self) -> None:
        """
        When a listener forgets the oldest of very many streams, their grants become
        stale, and connections can open the streams again.
        """
        self.patch(positions, "STREAMS_MAX", 3)
        journal = self.open()
        grants = [grant(journal, generation=g) for g in range(5)]
        batches = journal.commit([lines(grants[0], 0, b"a\n")])
        self.assertEqual(batches, [None])
        self.assertNotEqual(journal.commit([lines(grants[4], 0, b"e\n")]), [None])
        again = grant(journal)
        self.assertNotEqual(journal.commit([lines(again, 0, b"a\n")]), [None])


class SpaceTests(SingleTestCase):
    """Written batches are removed, and a full stream refuses new ones."""

    def open(self, **options: Any) -> JetStreamJournal:
        """Open a journal whose counted size is always current."""
        return super().open(encoding="none", **options)

    def fill(
        self, journal: JetStreamJournal, granted: StreamLease
    ) -> tuple[int, Deposit]:
        """
        Commit until the stream is full. Returns the number of commits, and the refused
        deposit.
        """
        line = b"x" * 59_999 + b"\n"
        for count in range(1000):
            deposit = lines(granted, count * len(line), line)
            try:
                self.assertNotEqual(journal.commit([deposit]), [None])
            except JournalBlocked as error:
                self.assertIn("maximum bytes", str(error))
                return count, deposit
        raise AssertionError("the stream never fills up")

    def test_fullStreamRefuses(self) -> None:
        """
        A full stream refuses deposits, and accepts the refused one once there is room.
        """
        listener = self.open(octetsMax=1 << 20)
        writer = self.openOutputs(self.directory() / "outputs.db", octetsMax=1 << 20)
        writer.useOutputs(["a"])
        granted = grant(listener)
        count, refused = self.fill(listener, granted)
        self.assertGreater(count, 10)
        self.assertRaises(JournalBlocked, listener.commit, [refused])
        self.assertEqual(grant(self.open()).offset, refused.start)
        written = writer.read(0, MUCH)
        self.assertEqual(len(written), count)
        writer.commit([], [Cursor("a", written[-1].seq, {})])
        self.assertNotEqual(listener.commit([refused]), [None])
        self.assertEqual(octets(writer, written[-1].seq), [refused.octets])

    def test_writtenBatchesArePurged(self) -> None:
        """Batches that every output has are removed; the stream's position is kept."""
        self.patch(removing, "PURGE_OCTETS", 1)
        listener, writer = (
            self.open(),
            self.openOutputs(state=self.directory() / "o.db"),
        )
        writer.useOutputs(["a"])
        for generation in range(3):
            granted = grant(listener, generation=generation)
            for at in range(5):
                listener.commit([lines(granted, 2 * at, b"%d\n" % at)])
            for batch in writer.read(0, MUCH):
                writer.commit([], [Cursor("a", batch.seq, {})])
        self.assertEqual(set(self.counts(writer).values()), {1})
        for generation in range(3):
            self.assertEqual(grant(self.open(), generation=generation).offset, 10)

    def test_purgeAfterRestart(self) -> None:
        """
        Batches written before a restart are removed as well, and no unwritten one is:
        the purge never uses a bound that the server would read as unlimited.
        """
        path = self.directory() / "o.db"
        listener, writer = self.open(), openOutputs(self.nats.url, path)
        writer.useOutputs(["a"])
        granted = grant(listener)
        for at in range(3):
            listener.commit([lines(granted, 2 * at, b"%d\n" % at)])
        writer.close()
        writer = openOutputs(self.nats.url, path)
        writer.useOutputs(["a"])
        self.assertEqual(octets(writer), [b"0\n", b"1\n", b"2\n"])
        second = writer.read(0, MUCH)[1].seq
        writer.commit([], [Cursor("a", second, {})])
        writer.close()
        writer = self.openOutputs(state=path)
        writer.useOutputs(["a"])
        self.assertEqual(octets(writer), [b"2\n"])
        self.assertEqual(list(self.counts(writer).values()), [1])
        self.assertEqual(grant(self.open()).offset, 6)

    def test_manySubjects(self) -> None:
        """
        With many streams, removing a message takes one request. There is no purge for each subject,
        because a purge scans the whole stream.
        """
        self.patch(removing, "PURGE_ALL_OCTETS", 1)
        path = self.directory() / "o.db"
        listener, writer = self.open(), openOutputs(self.nats.url, path)
        writer.useOutputs(["a"])
        grants = [grant(listener, generation=g) for g in range(30)]
        purges: list[dict[str, Any]] = []
        api = Bus.api

        async def asked(bus: Bus, verb: str, **members: Any) -> dict[str, Any]:
            if verb.startswith("STREAM.PURGE"):
                purges.append(members)
            return await api(bus, verb, **members)

        self.patch(Bus, "api", asked)

        def send(rounds: int, first: int) -> int:
            for at in range(first, first + rounds):
                for g in grants:
                    listener.commit([lines(g, 2 * at, b"%d\n" % at)])
            return writer.read(0, MUCH)[-1].seq

        writer.commit([], [Cursor("a", send(3, 0), {})])
        self.assertEqual(set(self.counts(writer).values()), {1})
        self.assertEqual(purges, [])
        # Repeat, but end the process without removing anything.
        self.patch(removing, "PURGE_ALL_OCTETS", 10**9)
        writer.close()
        writer = openOutputs(self.nats.url, path)
        writer.useOutputs(["a"])
        writer.commit([], [Cursor("a", send(3, 3), {})])
        self.assertEqual(set(self.counts(writer).values()), {4})
        writer.close()
        writer = self.openOutputs(state=path)
        writer.useOutputs(["a"])
        self.assertEqual(set(self.counts(writer).values()), {1})
        self.assertLessEqual(len(purges), 1)
        for g in range(30):
            self.assertEqual(grant(self.open(), generation=g).offset, 12)

    def test_shortenedPositions(self) -> None:
        """
        A batch kept only for its position is replaced by a short message with the same
        position; the stream's owner continues, and stale owners stay stale.
        """
        self.patch(shortening, "QUIET_S", 0)
        self.patch(removing, "PURGE_OCTETS", 1)
        listener, writer = (
            self.open(),
            self.openOutputs(state=self.directory() / "o.db"),
        )
        writer.useOutputs(["a"])
        granted = [grant(listener, generation=g) for g in range(3)]
        line = b"x" * 9999 + b"\n"
        first = [lines(g, 0, line) for g in granted]
        listener.commit([*first, replace(lines(None, 0, line), provenance=OTHER)])
        stale = grant(self.open())
        listener.commit([lines(granted[0], 10000, line)])
        after = writer.read(0, MUCH)[-1].seq
        writer.commit([], [Cursor("a", after, {})])
        listener.commit([lines(granted[1], 10000, line)])
        writer.tidy()
        self.assertEqual(sorted(self.counts(writer).values()), [1, 1, 2])
        self.assertLess(writer.size()[0], 25000)
        for g, offset in enumerate((20000, 20000, 10000)):
            known = grant(self.open(), generation=g)
            self.assertEqual(known.offset, offset)
            self.assertEqual(known.crc, crc32(line * (offset // 10000)))
        self.assertEqual(octets(writer), [line])
        other = self.open()
        self.assertEqual(
            other.commit([replace(lines(stale, 10000, line), grant=stale)]), [None]
        )
        more = [lines(granted[0], 20000, b"a\n"), lines(granted[2], 10000, b"c\n")]
        self.assertNotIn(None, listener.commit(more))
        self.assertEqual(octets(writer), [line, b"a\n", b"c\n"])

    def test_positionsFreeSpace(self) -> None:
        """The positions of many streams do not fill a stream permanently."""
        listener = self.open(octetsMax=1 << 20)
        writer = self.openOutputs(self.directory() / "outputs.db", octetsMax=1 << 20)
        writer.useOutputs(["a"])
        line = b"x" * 59_999 + b"\n"
        for generation in range(60):
            granted = grant(listener, generation=generation)
            self.assertNotEqual(listener.commit([lines(granted, 0, line)]), [None])
            (batch,) = writer.read(generation, MUCH)[-1:]
            writer.commit([], [Cursor("a", batch.seq, {})])
            writer.tidy()
        self.assertEqual(len(listener.known("w1")), 60)

    def test_manyStreams(self) -> None:
        """
        The oldest of a worker's very many streams are forgotten, except streams with an
        unwritten batch.
        """
        listener = self.open(streamsPerWorkerMax=3)
        writer = self.openOutputs(state=self.directory() / "o.db")
        writer.useOutputs(["a"])

        def add(generation: int) -> None:
            granted = grant(listener, generation=generation)
            listener.commit([lines(granted, 0, b"%d\n" % generation)])

        for generation in range(5):
            add(generation)
        self.assertEqual(len(self.counts(writer)), 5)
        fourth = writer.read(0, MUCH)[3].seq
        writer.commit([], [Cursor("a", fourth, {})])
        add(5)
        self.assertEqual(
            sorted(int(s.rpartition(".")[2]) for s in self.counts(writer)), [3, 4, 5]
        )
        self.assertEqual(octets(writer), [b"4\n", b"5\n"])


class ReaderTests(SingleTestCase):
    """Other programs change the stream."""

    def test_removedMessages(self) -> None:
        """
        Messages that another program has removed are logged as a gap; the rest is read.
        """
        journal = self.open()
        journal.commit([lines(None, 0, b"%d\n" % at) for at in range(4)])
        for seq in (3, 4):
            self.api(journal, "STREAM.MSG.DELETE.decnet", seq=seq, no_erase=True)
        with capturedLogs() as events:
            self.assertEqual(octets(journal), [b"0\n", b"3\n"])
        (said,) = [event for event in events if event.get("event") == "gap"]
        self.assertEqual((said["first"], said["last"]), (3, 4))

    def test_foreignMessage(self) -> None:
        """A message from another program is skipped and logged."""
        journal = self.open()
        journal.commit([lines(None, 0, b"0\n")])
        journal.bus.run(journal.bus.ask("decnet.w1.plain", b"\x1b[2Jforged"))
        journal.commit([lines(None, 0, b"1\n")])
        with capturedLogs() as events:
            self.assertEqual(octets(journal), [b"0\n", b"1\n"])
        self.assertEqual([e["seq"] for e in events if e.get("event") == "refused"], [3])

    def test_compressedMessages(self) -> None:
        """
        Compressed messages take less space, and are read together with uncompressed
        ones.
        """
        packs, plain = self.open(), self.open(encoding="none")
        line = b"x" * 9999 + b"\n"
        granted = grant(packs)
        self.assertNotIn(None, packs.commit([lines(granted, 0, line * 10)]))
        used, _ = packs.size()
        self.assertLess(used, 2000)
        again = grant(plain)
        self.assertEqual((again.offset, again.crc), (100_000, crc32(line * 10)))
        self.assertNotIn(None, plain.commit([lines(again, 100_000, line)]))
        self.assertGreater(plain.size()[0] - used, 10_000)
        self.assertEqual(octets(self.open()), [line * 10, line])

    def test_longUnpacked(self) -> None:
        """
        A deposit that was compressed to one message is read as several batches of
        limited size, in order.
        """
        journal = self.open()
        granted = grant(journal)
        line = b"x" * 9999 + b"\n"
        for at in range(20):
            journal.commit([lines(granted, at * 10_000, line)])
        starts: list[int] = []
        after, reads = 0, 0
        while batches := journal.read(after, 25_000):
            self.assertLessEqual(len(batches), 3)
            starts += [batch.start for batch in batches]
            after, reads = batches[-1].seq, reads + 1
        self.assertEqual(starts, [at * 10_000 for at in range(20)])
        self.assertGreaterEqual(reads, 7)
        # Read from the middle again: another output exists.
        self.assertEqual(journal.read(6, 1)[0].start, 50_000)
        self.assertEqual(len(journal.read(0, MUCH)), 20)

    def test_newerCompression(self) -> None:
        """
        A message that only a newer release can decompress is waited for, not skipped.
        """
        journal = self.open()
        journal.commit([lines(None, 0, b"0\n")])
        headers, body = encode(
            lines(None, 0, b"1\n"), MessagePosition(0, 0, 0), "a" * 32
        )
        headers["Decnet-Encoding"] = "lz9"
        journal.bus.run(journal.bus.ask("decnet.w1.plain", body, headers))
        self.assertRaises(JournalBlocked, journal.read, 1, MUCH)
        error = self.assertRaises(JournalBlocked, journal.read, 1, MUCH)
        self.assertIn("lz9", str(error))

    def test_deliveryLost(self) -> None:
        """A message whose delivery to the consumer was lost is still read."""
        journal = self.open()
        journal.commit([lines(None, 0, b"0\n")])
        (first,) = journal.read(0, MUCH)
        journal.commit([lines(None, 0, b"1\n")])
        (consumer,) = self.consumers(journal)
        journal.bus.run(journal.stream.fetch(consumer, MUCH, 10))
        self.assertEqual(octets(journal, first.seq), [b"1\n"])

    def test_consumerGone(self) -> None:
        """
        Reading continues at its position after the server was restarted and lost the
        consumer.
        """
        journal = self.open()
        journal.commit([lines(None, 0, b"0\n")])
        (first,) = journal.read(0, MUCH)
        self.nats.kill()
        self.assertRaises(JournalBlocked, journal.read, first.seq, MUCH)
        self.nats.start()
        batches = untilTaken(lambda: journal.commit([lines(None, 0, b"1\n")]))
        self.assertEqual(journal.read(first.seq, MUCH), batches)


def untilTaken(work: Callable[[], Any]) -> Any:
    """Repeat a blocked call, as group commit does."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return work()
        except JournalBlocked:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class WentBackTests(SingleTestCase):
    """A stream that has lost messages it had confirmed."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory() / "outputs.db"

    def accept(self, *some: bytes) -> int:
        """Commit as a listener, at the stream's previous position."""
        listener = openJetStream(self.nats.url)
        begins = grant(listener).offset
        for one in some:
            granted = grant(listener)
            deposit = lines(granted, granted.offset, one)
            self.assertNotEqual(listener.commit([deposit]), [None])
        listener.close()
        return begins

    def write(self) -> list[bytes]:
        """Write as the outputs do, every available batch."""
        writer = openOutputs(self.nats.url, self.path)
        after = writer.useOutputs(["a"])["a"].seq
        batches = writer.read(after, MUCH)
        for batch in batches:
            writer.commit([], [Cursor("a", batch.seq, {})])
        writer.close()
        return [batch.octets for batch in batches]

    def test_lostEnd(self) -> None:
        """
        Written batches that the stream lost are sent again and written again; new
        batches under the same sequence numbers are written and not confused with the
        lost ones.
        """
        self.accept(b"1\n", b"2\n")
        self.assertEqual(self.write(), [b"1\n", b"2\n"])
        self.nats.stop()
        (store,) = self.nats.directory.glob("store/jetstream/*/streams/decnet")
        saved = self.directory() / "saved"
        shutil.copytree(store, saved)

        def lose() -> None:
            self.nats.stop()
            shutil.rmtree(store)
            shutil.copytree(saved, store)

        for more in (0, 1, 2, 5):
            self.nats.start()
            waitUntil(self.nats.healthy, "JetStream does not start")
            self.accept(b"3\n", b"4\n")
            self.assertEqual(self.write()[-2:], [b"3\n", b"4\n"])
            lose()
            self.nats.start()
            waitUntil(self.nats.healthy, "JetStream does not start")
            fresh = [b"again %d\n" % at for at in range(more)]
            self.assertEqual(self.accept(*fresh), 4)
            with capturedLogs() as events:
                self.assertEqual(self.write(), fresh)
            self.assertIn("went-back", [e.get("event") for e in events])
            with capturedLogs() as events:
                self.assertEqual(self.write(), [])
            self.assertNotIn("went-back", [e.get("event") for e in events])
            lose()

    def test_lostEndInRunningListener(self) -> None:
        """
        When the stream has lost messages, a running listener refuses one commit at the
        lost position, and then grants the stream's own position.
        """
        journal = self.open()
        granted = grant(journal)
        journal.commit([lines(granted, 0, b"1\n")])
        self.nats.stop()
        (store,) = self.nats.directory.glob("store/jetstream/*/streams/decnet")
        saved = self.directory() / "saved"
        shutil.copytree(store, saved)
        self.nats.start()
        untilTaken(lambda: journal.commit([lines(granted, 2, b"2\n")]))
        self.nats.stop()
        shutil.rmtree(store)
        shutil.copytree(saved, store)
        self.nats.start()
        again = untilTaken(lambda: grant(journal))
        batches = untilTaken(lambda: journal.commit([lines(again, 4, b"3\n")]))
        self.assertEqual(batches, [None])
        again = untilTaken(lambda: grant(journal))
        self.assertEqual((again.offset, again.crc), (2, crc32(b"1\n")))
        self.assertNotEqual(journal.commit([lines(again, 2, b"2\n")]), [None])

    def test_recreatedStream(self) -> None:
        """
        A stream that was deleted and recreated is a different stream: all its batches
        are written.
        """
        self.accept(b"1\n", b"2\n", b"3\n")
        self.assertEqual(len(self.write()), 3)
        journal = openJetStream(self.nats.url)
        before = journal.identity
        self.api(journal, "STREAM.DELETE.decnet")
        journal.close()
        self.accept(b"new\n")
        with capturedLogs() as events:
            self.assertEqual(self.write(), [b"new\n"])
        self.assertIn("went-back", [e.get("event") for e in events])
        self.assertNotEqual(self.open().identity, before)

    def test_whileReading(self) -> None:
        """A reader stops if the stream loses messages while it reads."""
        self.accept(b"1\n", b"2\n")
        writer = self.openOutputs(state=self.path)
        after = writer.useOutputs(["a"])["a"].seq
        (*_, last) = writer.read(after, MUCH)
        self.api(writer, "STREAM.MSG.DELETE.decnet", seq=2)
        for consumer in self.consumers(writer):
            self.api(writer, f"CONSUMER.DELETE.decnet.{consumer}")
        self.assertEqual(writer.read(last.seq, MUCH), [])
        self.api(writer, "STREAM.DELETE.decnet")
        self.accept(b"x\n", b"y\n", b"z\n")
        self.assertRaises(WentBack, untilTaken, lambda: writer.read(last.seq, MUCH))


class FrozenTests(SingleTestCase):
    """The server stops responding."""

    def test_frozenServer(self) -> None:
        """
        A commit to a frozen server ends with an error; after the server resumes,
        everything is stored once.
        """
        self.patch(buses, "ANSWER_S", 0.5)
        journal = self.open()
        granted = [grant(journal, f"w{n}") for n in range(8)]
        line = b"x" * 999 + b"\n"
        deposits = [
            replace(
                lines(g, 0, line * 4000),
                provenance=replace(PROVENANCE, worker=f"w{n}", address=str(n)),
            )
            for n, g in enumerate(granted)
        ]
        self.nats.freeze()
        for _ in range(3):
            self.assertRaises(JournalBlocked, journal.commit, deposits)
        self.assertRaises(JournalBlocked, journal.read, 0, MUCH)
        self.nats.thaw()
        self.assertNotIn(None, untilTaken(lambda: journal.commit(deposits)))
        read = untilTaken(lambda: octets(journal))
        self.assertEqual(sum(map(len, read)), 8 * 4000 * len(line))


class QuorumTests(NatsTestCase):
    """A cluster of three nodes, and parts of it."""

    def test_noQuorum(self) -> None:
        """
        A cluster without quorum confirms nothing; when its nodes are back, everything
        is stored once.
        """
        self.patch(buses, "ANSWER_S", 1.0)
        cluster = self.cluster()
        journal, other = (openJetStream(cluster.journal) for _ in range(2))
        self.addCleanup(journal.close)
        self.addCleanup(other.close)
        end = 0
        for leaderStays in (True, False):
            granted = untilTaken(lambda: grant(journal))
            self.assertEqual(granted.offset, end)
            taken = untilTaken(lambda: journal.commit([lines(granted, end, b"a\n")]))  # noqa: B023
            self.assertNotEqual(taken, [None])
            info = untilTaken(
                lambda: journal.bus.run(journal.stream.ask("STREAM.INFO"))
            )
            self.assertEqual(info["config"]["num_replicas"], 3)
            leader = info["cluster"]["leader"]
            nodes = sorted(
                cluster.nodes, key=lambda n: (n.name == leader) != leaderStays
            )
            for node in nodes[1:]:
                node.kill()
            deposits = [
                lines(granted, end + 2, b"b\n"),
                replace(lines(None, 0, b"p\n"), provenance=OTHER),
            ]
            for _ in range(2):
                self.assertRaises(JournalBlocked, journal.commit, deposits)
            # An isolated leader answers requests for a while, but confirms nothing.
            for generation, offset in [(0, end + 2), (1, 0)]:
                try:
                    asked = grant(other, generation=generation)
                except JournalBlocked:
                    continue
                self.assertEqual(asked.offset, offset)
            cluster.start()
            batches = untilTaken(lambda d=deposits: journal.commit(d))  # type: ignore[misc]
            self.assertEqual([b.octets for b in batches], [b"b\n", b"p\n"])
            end += 4
            count = end // 4
            # The consumer may have been on a node that was killed.
            there = untilTaken(lambda: octets(journal))
            self.assertEqual(
                sorted(there),
                [b"a\n"] * count + [b"b\n"] * count + [b"p\n"] * count,
            )
            self.assertEqual(untilTaken(lambda: grant(other)).offset, end)

    def test_concurrentListeners(self) -> None:
        """
        Of several listeners with the same grant at the same moment, exactly one
        commits.
        """
        cluster = self.cluster()
        everybody = [openJetStream(url) for url in cluster.urls * 2]
        for journal in everybody:
            self.addCleanup(journal.close)
        pool = ThreadPoolExecutor(len(everybody))
        self.addCleanup(pool.shutdown)
        for round in range(50):
            granted = [grant(journal) for journal in everybody]
            at = {g.offset for g in granted}
            self.assertEqual(at, {2 * round})
            results = list(
                pool.map(
                    lambda j, g: j.commit([lines(g, g.offset, b"x\n")]),
                    everybody,
                    granted,
                )
            )
            self.assertEqual(len([r for r in results if r != [None]]), 1)
        self.assertEqual(untilTaken(lambda: octets(everybody[0])), [b"x\n"] * 50)

    def test_oldServer(self) -> None:
        """A cluster with server versions that do not fence listeners is refused."""
        cluster = self.cluster()
        self.patch(buses, "CONNECT_S", 0.5)
        self.patch(clients, "VERSION_MIN", (99,))
        error = self.assertRaises(UserError, openJetStream, cluster.journal)
        self.assertIn("is the first version", str(error))

    def test_twoDisksLost(self) -> None:
        """
        When two of three disks are lost, the stream survives if the node with the third
        disk is first started with only one of the others, as docs/jetstream.rst says:
        two empty nodes would form a quorum.
        """
        cluster = self.cluster()
        journal = openJetStream(cluster.journal)
        granted = untilTaken(lambda: grant(journal))
        taken = untilTaken(lambda: journal.commit([lines(granted, 0, b"a\n")]))
        self.assertNotEqual(taken, [None])
        before, mark = journal.identity, journal.mark
        # Every replica must be complete before the disks are lost.
        waitUntil(
            lambda: all(node.healthy() for node in cluster.nodes), "a node is behind"
        )
        journal.close()
        cluster.kill()
        for node in cluster.nodes[1:]:
            node.wipe()
        intact, empty, last = cluster.nodes
        intact.start()
        empty.start()
        waitUntil(intact.healthy, "the intact node is not healthy")
        waitUntil(empty.healthy, "the empty node does not catch up")
        last.start()
        waitUntil(last.healthy, "the last node does not catch up")
        again = openJetStream(cluster.journal)
        self.addCleanup(again.close)
        self.assertEqual(again.identity, before)
        self.assertTrue(untilTaken(lambda: again.holds(mark)))
        self.assertEqual(untilTaken(lambda: grant(again)).offset, 2)
        # A node that has just become the leader may report an empty stream for a moment.
        waitUntil(
            lambda: untilTaken(lambda: octets(again)) == [b"a\n"], "the line is lost"
        )

    def test_leaderKilled(self) -> None:
        """
        When the stream's leader is killed during many commits, every line is stored
        once and in order.
        """
        self.patch(buses, "ANSWER_S", 2.0)
        cluster = self.cluster()
        journal = openJetStream(cluster.journal)
        self.addCleanup(journal.close)
        granted, end, written = grant(journal), 0, []
        for round in range(60):
            deposit = lines(granted, end, b"line %d\n" % round)
            written.append(deposit.octets)
            end = deposit.end
            if round in (20, 40):
                info = untilTaken(
                    lambda: journal.bus.run(journal.stream.ask("STREAM.INFO"))
                )
                leader = info["cluster"]["leader"]
                (node,) = [n for n in cluster.nodes if n.name == leader]
                node.kill()
            (batch,) = untilTaken(lambda d=deposit: journal.commit([d]))  # type: ignore[misc]
            self.assertIsNotNone(batch, f"stale at {round}")
            if round == 30:
                cluster.start()
        self.assertEqual(untilTaken(lambda: octets(journal)), written)


KNOWN = StreamHistory.of("a" * 32, MUCH)


def use(outbox: Outbox, names: list[str]) -> dict[str, Cursor]:
    """Start the outputs at their saved cursors."""
    plan = outbox.plan(names, KNOWN)
    outbox.begin(plan, "a" * 32, KNOWN)
    return plan.cursors


def save(outbox: Outbox, seq: int) -> None:
    """Save a cursor here, and share it with other hosts."""
    outbox.save([Cursor("a", seq, {})])
    outbox.renew()


class LeaseTests(SingleTestCase):
    """One process writes the outputs; another takes over."""

    def outbox(self, path: Path | None = None) -> Outbox:
        """A candidate for writing the outputs, with its own directory."""
        bus = Bus.open(Access(parseServers(self.nats.url)))
        self.addCleanup(bus.close)
        layout = Layout("decnet", None, STREAM_OCTETS_MAX)
        JetStreamJournal.open(bus, layout, 1000)
        state = OutputState.open(path or self.directory() / "outputs.db")
        self.addCleanup(state.close)
        outbox = Outbox(bus, layout, state, "test", lambda: self.now)
        outbox.prepare()
        return outbox

    def setUp(self) -> None:
        super().setUp()
        self.now = 0.0
        self.one, self.two = self.outbox(), self.outbox()
        self.assertTrue(self.one.acquire())
        use(self.one, ["a"])

    def test_renewedLeaseIsKept(self) -> None:
        """No candidate takes over while the owner renews its lease."""
        for _ in range(30):
            self.now += RENEW_S
            self.one.renew()
            self.assertFalse(self.two.acquire())

    def test_expiredLease(self) -> None:
        """
        When the owner has been silent for the lease's duration, another takes over; the
        old owner can save no cursor, and learns of the loss.
        """
        save(self.one, 7)
        self.assertFalse(self.two.acquire())
        self.now += LEASE_S - 1
        self.assertFalse(self.two.acquire())
        self.assertRaises(LeaseLost, self.one.checkLease)
        self.now += 1
        self.assertTrue(self.two.acquire())
        self.assertRaises(LeaseLost, save, self.one, 9)
        self.assertRaises(LeaseLost, self.one.renew)
        self.assertEqual(use(self.two, ["a"])["a"], Cursor("a", 7, {}))

    def test_releasedLease(self) -> None:
        """
        A released lease is taken over immediately; a new output begins with the oldest
        batch.
        """
        save(self.one, 7)
        self.one.leave()
        self.assertTrue(self.two.acquire())
        self.assertEqual(use(self.two, ["a", "b"])["b"].seq, 7)
        self.assertEqual(self.two.released, 7)

    def test_savedWithoutNetwork(self) -> None:
        """A cursor is saved on this host although NATS does not answer."""
        with mock.patch.object(self.one.bus, "run", side_effect=AssertionError):
            self.one.save([Cursor("a", 9, {})])
        self.assertEqual(self.one.state.useOutputs(["a"])["a"].seq, 9)
        self.assertEqual(self.one.released, 0)
        self.one.renew()
        self.assertEqual(self.one.released, 9)

    def test_samePlace(self) -> None:
        """A process that was killed and restarted with the same state does not wait."""
        again = Outbox(
            self.one.bus,
            Layout("decnet", None, STREAM_OCTETS_MAX),
            self.one.state,
            "test",
            lambda: self.now,
        )
        self.assertTrue(again.acquire())
        self.assertRaises(LeaseLost, self.one.renew)

    def test_clonedState(self) -> None:
        """A cloned machine with a copy of the state file waits like any other host."""
        home = self.directory()
        OutputState.open(home / "one.db").close()
        shutil.copy(home / "one.db", home / "two.db")
        one, two = self.outbox(home / "one.db"), self.outbox(home / "two.db")
        self.assertEqual(one.state.identity, two.state.identity)
        self.now += LEASE_S
        self.assertFalse(one.acquire())
        self.now += LEASE_S
        self.assertTrue(one.acquire())
        for _ in range(20):
            self.now += RENEW_S
            self.assertFalse(two.acquire())
            one.renew()
        self.assertFalse(two.acquire())
        self.now += LEASE_S - 1
        self.assertFalse(two.acquire())
        self.now += 1
        self.assertTrue(two.acquire())
        self.assertRaises(LeaseLost, one.renew)

    def test_answerLost(self) -> None:
        """
        A lease stored by a request whose answer was lost still belongs to its writer.
        """
        ask, lost = self.one.bus.ask, [True]

        async def asked(
            subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None
        ) -> NatsMessage:
            answer = await ask(subject, data, headers)
            if subject.startswith("$KV") and lost.pop():
                lost.append(False)
                raise NoResponse("lost")
            lost.append(False)
            return answer

        self.patch(self.one.bus, "ask", asked)
        self.assertRaises(JournalBlocked, self.one.renew)
        self.one.renew()
        save(self.one, 3)
        self.assertEqual(self.one.released, 3)

    def test_foreignValue(self) -> None:
        """A value that another program wrote counts as no lease."""
        bus = self.two.bus
        bus.run(bus.ask("$KV.decnet-outputs.outputs", b"[1]"))
        self.assertFalse(self.two.acquire())

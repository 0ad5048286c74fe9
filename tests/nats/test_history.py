"""
Tests for L{decnet_syslog.nats._history} and for the detection of rollbacks, with real servers whose
stores are restored, edited, filled or created again.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import Cursor, Mark, OpenRequest, StreamLease
from decnet_syslog.nats import _answers as answers
from decnet_syslog.nats import _bus as buses
from decnet_syslog.nats import _chronicle as chronicles
from decnet_syslog.nats import _connection as connections
from decnet_syslog.nats import _history as histories
from decnet_syslog.nats import _opening as openings
from decnet_syslog.nats import _room as rooms
from decnet_syslog.nats import _stream as streams
from decnet_syslog.nats._history import ERAS_MAX, Era, StreamHistory
from decnet_syslog.nats._journal import JetStreamJournal
from decnet_syslog.nats._lease import WentBack
from decnet_syslog.nats._outputsjournal import OutputsJournal
from decnet_syslog.nats._stream import StreamFull

from ..contracts.test_journal import MUCH, grant, octets
from ..doubles import PROVENANCE, STREAM, lines
from ..natsserver import openJetStream, openOutputs, waitUntil
from .test_journal import SingleTestCase, untilTaken

IDENTITY = "f" * 32
STREAM_STORE = "jetstream/$G/streams/decnet"


class Timeline:
    """A model of a stream: the message with each sequence, and the stream's history."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.messages: list[int] = []
        self.history = StreamHistory.of(IDENTITY)
        self.begun = False

    def publish(self) -> None:
        """Publish a message; a new publisher begins an era first."""
        if not self.begun or self.dice.random() < 0.2:
            self.begun = True
            token = f"{self.dice.getrandbits(128):032x}"
            self.messages.append(self.dice.getrandbits(64))
            self.history = self.history.behind(Era(token, len(self.messages)))
        self.messages.append(self.dice.getrandbits(64))
        self.history = self.history.upTo(len(self.messages))

    def goBack(self, to: int) -> None:
        """Restore the stream to an older state. All publishers have to connect again."""
        self.messages = self.messages[:to]
        self.history = self.history.cut(to)
        self.begun = False


class HistoryTests(SynchronousTestCase):
    """Comparing two views of a stream."""

    def test_commonPartAndMarks(self) -> None:
        """
        In random histories, two views agree exactly up to their last common message, and a mark
        holds exactly if the stream still has all messages up to it.
        """
        dice = random.Random(7)
        for _ in range(300):
            timeline = Timeline(dice)
            views: list[tuple[StreamHistory, list[int], Mark]] = []
            for _ in range(dice.randrange(1, 25)):
                if dice.random() < 0.15 and timeline.messages:
                    timeline.goBack(dice.randrange(len(timeline.messages)))
                else:
                    timeline.publish()
                views.append(
                    (
                        timeline.history,
                        list(timeline.messages),
                        timeline.history.mark(),
                    )
                )
            now, there = timeline.history, timeline.messages
            for known, had, mark in views:
                same = 0
                for one, two in zip(had, there, strict=False):
                    if one != two:
                        break
                    same += 1
                self.assertEqual(known.common(now), same)
                self.assertEqual(now.common(known), same)
                self.assertEqual(known.isIn(now), same == len(had))
                self.assertEqual(now.holds(mark), same == len(had))

    def test_marksAfterRollback(self) -> None:
        """After a rollback was announced, no earlier mark holds."""
        history = StreamHistory.of(IDENTITY, 10)
        mark = Mark(3, IDENTITY)
        self.assertTrue(history.holds(mark))
        history = history.behind(Era("a" * 32, 11))
        self.assertTrue(history.holds(mark))
        history = history.behind(Era("b" * 32, 12, True))
        self.assertFalse(history.holds(mark))
        self.assertTrue(history.holds(history.mark()))

    def test_oldErasAreForgotten(self) -> None:
        """
        The oldest of very many eras are forgotten. A view that knows only those has no
        common part.
        """
        first = StreamHistory.of(IDENTITY, 5)
        history = first
        for at in range(2 * ERAS_MAX):
            history = history.behind(Era(f"{at:032x}", 10 + at))
        self.assertEqual(len(history.eras), ERAS_MAX)
        self.assertEqual(first.common(history), 0)
        self.assertFalse(history.holds(first.mark()))
        self.assertTrue(history.isIn(history))

    def test_serializedHistory(self) -> None:
        """A history survives serialization, and any other text is refused."""
        history = StreamHistory.of(IDENTITY, 5).behind(Era("a" * 32, 6, True))
        again = StreamHistory.parse(history.asText())
        self.assertEqual(again, history)
        self.assertTrue(again.eras[1].forked)
        for wrong in (
            "",
            "[]",
            "1",
            "{}",
            '{"eras": [], "last": 1}',
            '{"eras": [["x", 1, 0]], "last": 1}',
            f'{{"eras": [["{IDENTITY}", -1, 0]], "last": 1}}',
            f'{{"eras": [["{IDENTITY}", true, 0]], "last": 1}}',
            f'{{"eras": [["{IDENTITY}", 1]], "last": 1}}',
            f'{{"eras": [["{IDENTITY}", 2, 0], ["{IDENTITY}", 1, 0]], "last": 1}}',
            f'{{"eras": [["{IDENTITY}", 1, 0]], "last": "1"}}',
            f'{{"eras": [["{IDENTITY}", 1, 0]]}}',
            "[" * 10000,
        ):
            self.assertRaises(ValueError, StreamHistory.parse, wrong)


class BackTestCase(SingleTestCase):
    """A server with a store that can be restored, a listener and an output."""

    def setUp(self) -> None:
        super().setUp()
        self.home = self.directory()
        self.path = self.home / "outputs.db"
        self.copies = 0

    def copy(self) -> Path:
        """Back up the store."""
        self.copies += 1
        made = self.home / f"copy{self.copies}"
        self.nats.copyStore(made)
        waitUntil(self.nats.healthy, "JetStream does not start")
        return made

    def putBack(self, copy: Path, part: str = "") -> None:
        """Restore the store."""
        self.nats.putBackStore(copy, part)
        waitUntil(self.nats.healthy, "JetStream does not start")

    def send(
        self,
        journal: JetStreamJournal,
        worker: str,
        *wanted: bytes,
        generation: int = 0,
    ) -> Mark:
        """
        Send the lines of a worker's file that the journal does not have, one by one.

        @param wanted: all lines of the file.
        @return: the journal's mark afterwards.
        """
        whole = b"".join(wanted)
        granted = untilTaken(
            lambda: grant(journal, worker, generation=generation, start=0)
        )
        at = granted.offset
        while at < len(whole):
            end = whole.index(b"\n", at) + 1
            deposit = replace(
                lines(granted, at, whole[at:end]),
                provenance=replace(PROVENANCE, worker=worker),
            )
            self.assertNotEqual(untilTaken(partial(journal.commit, [deposit])), [None])
            at = end
        return journal.mark

    def sendAndLeave(self, worker: str, *wanted: bytes) -> Mark:
        """Send with a new listener, which is closed afterwards."""
        journal = openJetStream(self.nats.url)
        try:
            return self.send(journal, worker, *wanted)
        finally:
            journal.close()

    def write(self) -> list[bytes]:
        """Write like decnet-outputs. Return the written octets."""
        return self.writeAs(self.path)

    def writeAs(self, path: Path) -> list[bytes]:
        """Write with another state file."""
        writer = openOutputs(self.nats.url, path)
        try:
            after = writer.useOutputs(["a"])["a"].seq
            view = writer.written("a")
            found: list[bytes] = []
            while batches := untilTaken(partial(view.read, after, MUCH)):
                after = batches[-1].seq
                writer.commit([], [Cursor("a", after, {})])
                found += [batch.octets for batch in batches if batch.octets]
            return found
        finally:
            writer.close()

    def events(self, work: Callable[[], Any]) -> list[str]:
        """Collect the events during a call."""
        with capturedLogs() as found:
            work()
        return [e["event"] for e in found if "event" in e and not e.get("over")]


ONE = [b"one %d\n" % at for at in range(8)]
TWO = [b"two %d\n" % at for at in range(40)]


class PutBackTests(BackTestCase):
    """
    After a restore of the whole store, including the bucket, nothing is lost or written twice, and
    an event reports it: whichever process starts first, and however long the new stream is.
    """

    def lose(self, part: str = "") -> Mark:
        """
        Restore a store, so that it loses lines that were acknowledged and written.

        @return: a mark of the lost lines.
        """
        self.sendAndLeave("w1", *ONE[:3])
        self.assertEqual(self.write(), ONE[:3])
        copy = self.copy()
        mark = self.sendAndLeave("w1", *ONE[:6])
        self.assertEqual(self.write(), ONE[3:6])
        self.putBack(copy, part)
        return mark

    def test_workersFirst(self) -> None:
        """
        Workers send more lines before the outputs start, until the new stream is shorter than
        the old one, equally long, or longer.
        """
        for more in (0, 1, 3, 4, 40):
            self.setUp()
            self.workersFirst(more)
            self.nats.kill()

    def workersFirst(self, more: int) -> None:
        """Another worker's lines get the sequences of the lost ones."""
        mark = self.lose()
        journal = openJetStream(self.nats.url)
        self.send(journal, "w2", *TWO[:more])
        self.assertFalse(untilTaken(partial(journal.holds, mark)))
        self.send(journal, "w1", *ONE)
        journal.close()
        found: list[bytes] = []
        said = self.events(lambda: found.extend(self.write()))
        self.assertEqual(sorted(found), sorted([*ONE[6:], *TWO[:more]]))
        self.assertIn("went-back", said)
        self.assertEqual(self.events(self.write), [])

    def test_outputsFirst(self) -> None:
        """The outputs start first, and announce the rollback to a listener that was running all the
        time and to one that starts later."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        self.write()
        copy = self.copy()
        mark = self.send(journal, "w1", *ONE[:6])
        self.assertEqual(self.write(), ONE[3:6])
        self.putBack(copy)
        self.assertIn("went-back", self.events(self.write))
        self.assertEqual(journal.turns, 0)
        untilTaken(journal.checkHistory)
        self.assertEqual(journal.turns, 1)
        self.assertFalse(journal.holds(mark))
        other = self.open()
        self.assertFalse(other.holds(mark))
        self.send(other, "w1", *ONE)
        self.assertEqual(self.write(), ONE[6:])

    def test_listenerFirst(self) -> None:
        """
        A listener that was running all the time commits no pending deposit. Its grants are void,
        and it grants the actual position.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        self.assertEqual(self.write(), ONE[:3])
        copy = self.copy()
        mark = self.send(journal, "w1", *ONE[:6])
        granted = grant(journal)
        self.putBack(copy)
        heard: list[bool] = []
        journal.onWentBack(lambda: heard.append(True))
        deposit = lines(granted, len(b"".join(ONE[:6])), ONE[6])
        said = self.events(
            lambda: self.assertEqual(
                untilTaken(lambda: journal.commit([deposit])), [None]
            )
        )
        self.assertIn("went-back", said)
        self.assertEqual((journal.turns, heard), (1, [True]))
        self.assertFalse(journal.holds(mark))
        self.assertEqual(grant(journal).offset, len(b"".join(ONE[:3])))
        self.send(journal, "w1", *ONE)
        self.assertEqual(self.write(), ONE[3:])

    def test_heldAtRetry(self) -> None:
        """A group is retried after a rollback: deposits that were committed before it are not
        reported as committed."""
        self.patch(buses, "ANSWER_S", 0.5)
        journal = self.open()
        one, two = grant(journal), grant(journal, generation=1)
        untilTaken(lambda: journal.commit([lines(one, 0, b"a\n")]))
        copy = self.copy()
        untilTaken(lambda: grant(journal))
        deposits = [
            lines(grant(journal), 2, b"b\n"),
            replace(
                lines(two, 0, b"x\n"),
                grant=grant(journal, generation=1),
                provenance=replace(PROVENANCE, address="192.0.2.9:9"),
            ),
        ]
        ask = journal.bus.ask

        async def half(subject: str, *rest: Any) -> Any:
            if subject.endswith(".1") and subject.startswith("decnet."):
                self.nats.kill()
            return await ask(subject, *rest)

        self.patch(journal.bus, "ask", half)
        self.assertRaises(JournalBlocked, journal.commit, deposits)
        self.patch(journal.bus, "ask", ask)
        self.putBack(copy)
        self.assertEqual(untilTaken(lambda: journal.commit(deposits)), [None, None])
        self.assertEqual(grant(journal).offset, 2)

    def test_streamOnly(self) -> None:
        """Only the stream is restored, so the bucket is newer than the stream."""
        self.lose(STREAM_STORE)
        journal = self.open()
        self.send(journal, "w2", *TWO)
        self.send(journal, "w1", *ONE)
        found: list[bytes] = []
        self.assertIn("went-back", self.events(lambda: found.extend(self.write())))
        self.assertEqual(sorted(found), sorted([*ONE[6:], *TWO]))

    def test_otherHost(self) -> None:
        """Outputs on another host, which know only the bucket, detect it as well."""
        self.lose(STREAM_STORE)
        journal = self.open()
        self.send(journal, "w2", *TWO)
        found: list[bytes] = []
        elsewhere = self.home / "other.db"
        said = self.events(lambda: found.extend(self.writeAs(elsewhere)))
        self.assertIn("went-back", said)
        self.assertEqual(found, TWO)

    def test_runningOutputsStop(self) -> None:
        """Running outputs detect the rollback, and write and remove nothing more."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        copy = self.copy()
        self.send(journal, "w1", *ONE[:6])
        writer = self.openOutputs(state=self.path)
        after = writer.useOutputs(["a"])["a"].seq
        batches = writer.read(after, MUCH)
        writer.commit([], [Cursor("a", batches[-1].seq, {})])
        self.putBack(copy)
        self.send(self.open(), "w2", *TWO)
        self.assertRaises(
            WentBack, lambda: untilTaken(lambda: writer.read(batches[-1].seq, MUCH))
        )
        self.assertRaises(WentBack, lambda: untilTaken(writer.tidy))
        self.assertRaises(WentBack, lambda: untilTaken(writer.checkHistory))
        self.assertEqual(sorted(octets(self.open())), sorted([*ONE[:3], *TWO]))

    def test_sameCopyRestoredAgain(self) -> None:
        """The same copy is restored several times, without a loss or a repetition."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        found = self.write()
        copy = self.copy()
        for more in (4, 6):
            self.send(journal, "w1", *ONE[:more])
            found += self.write()
            self.putBack(copy)
            self.send(journal, "w2", *TWO[: 3 * more])
        self.send(journal, "w1", *ONE)
        found += self.write()
        self.assertEqual(sorted(found), sorted([*ONE, *TWO[:18]]))

    def test_clocksDoNotMatter(self) -> None:
        """The nodes' clocks do not matter for the detection."""
        real = answers.nanoseconds
        skews = iter(range(10**6))
        self.patch(
            streams,
            "nanoseconds",
            lambda text: real(text) + (-1) ** next(skews) * 10**10,
        )
        self.workersFirst(4)

    def test_recreatedStream(self) -> None:
        """
        When the stream is deleted and created again, written lines are not written
        again.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE[:6])
        self.assertEqual(self.write(), ONE[:6])
        before = journal.identity
        self.api(journal, "STREAM.DELETE.decnet")
        self.assertRaises(JournalBlocked, journal.checkHistory)
        deposits = [lines(None, 0, b"x\n")]
        self.assertRaises(JournalBlocked, journal.commit, deposits)
        error = self.assertRaises(JournalBlocked, journal.commit, deposits)
        self.assertIn("is gone", str(error))
        fresh = self.open()
        self.assertNotEqual(fresh.identity, before)
        # The running listener detects it as well.
        self.assertIn(
            "went-back", self.events(lambda: untilTaken(journal.checkHistory))
        )
        self.assertEqual((journal.identity, journal.turns), (fresh.identity, 1))
        self.send(journal, "w1", *ONE)
        found: list[bytes] = []
        self.assertIn("went-back", self.events(lambda: found.extend(self.write())))
        self.assertEqual(found, ONE[6:])

    def test_outputsCreateNoStream(self) -> None:
        """
        Outputs that have written a stream do not create an empty one in its place.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE)
        self.write()
        self.api(journal, "STREAM.DELETE.decnet")
        self.patch(openings, "OPENING_S", 0.2)
        error = self.assertRaises(UserError, self.write)
        self.assertIn("is gone", str(error))
        self.assertRaises(JournalBlocked, journal.checkHistory)

    def test_longAway(self) -> None:
        """
        Outputs that did not run for a long time, while another host wrote, know only forgotten
        eras. They continue after the other host, and report no rollback.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        self.assertEqual(self.write(), ONE[:3])
        self.patch(histories, "ERAS_MAX", 3)
        elsewhere = self.home / "other.db"
        for at in range(4, 8):
            self.send(journal, "w1", *ONE[:at])
            journal.bus.run(journal.chronicle.doubt())
            said = self.events(lambda: self.writeAs(elsewhere))
            self.assertNotIn("went-back", said)
        self.send(journal, "w1", *ONE)
        found: list[bytes] = []
        said = self.events(lambda: found.extend(self.write()))
        self.assertEqual((said, found), (["diverged"], ONE[7:]))

    def test_quietEras(self) -> None:
        """A listener without messages begins no era after another empty era."""
        journal = self.open()
        self.send(journal, "w1", ONE[0])
        last = journal.size()[1]
        for _ in range(3):
            journal.bus.run(journal.chronicle.doubt())
        self.assertEqual(journal.size()[1], last + 1)
        for _ in range(2):
            other = self.open()
            other.bus.run(other.chronicle.doubt())
        self.assertEqual(journal.size()[1], last + 1)
        self.assertEqual(self.write(), ONE[:1])
        writer = self.openOutputs(state=self.path)
        writer.useOutputs(["a"])
        writer.read(0, MUCH)
        writer.bus.run(writer.chronicle.doubt())
        self.assertEqual((writer.turns, journal.turns), (0, 0))

    def test_otherReplica(self) -> None:
        """A consumer on a replica with another history is not trusted."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        writer = self.openOutputs(state=self.path)
        writer.useOutputs(["a"])
        first = writer.read(0, 1)[0].seq
        fetch = streams.JournalStream.fetch

        async def other(*given: Any) -> tuple[list[answers.Delivery], bool]:
            deliveries, isMore = await fetch(*given)
            return [
                replace(
                    each,
                    message=replace(
                        each.message,
                        headers={**each.message.headers, "Decnet-Attempt": "0" * 32},
                    ),
                )
                for each in deliveries
            ], isMore

        self.patch(streams.JournalStream, "fetch", other)
        error = self.assertRaises(JournalBlocked, writer.read, 0, MUCH)
        self.assertIn("replica", str(error))
        # A worker that believed such a list would begin a stream after octets that are lost.
        error = self.assertRaises(JournalBlocked, journal.known, "w1")
        self.assertIn("replica", str(error))
        # The same if a batch has the sequence of an era.

        async def withoutEra(*given: Any) -> tuple[list[answers.Delivery], bool]:
            deliveries, isMore = await fetch(*given)
            batch = next(d for d in deliveries if "Decnet-Era" not in d.message.headers)
            return [replace(batch, seq=d.seq) for d in deliveries[:1]], isMore

        self.patch(streams.JournalStream, "fetch", withoutEra)
        error = self.assertRaises(JournalBlocked, writer.read, 0, MUCH)
        self.assertIn("replica", str(error))

        async def longer(*given: Any) -> tuple[list[answers.Delivery], bool]:
            deliveries, isMore = await fetch(*given)
            return [replace(each, seq=each.seq + 100) for each in deliveries], isMore

        self.patch(streams.JournalStream, "fetch", longer)
        error = self.assertRaises(JournalBlocked, journal.known, "w1")
        self.assertIn("replica", str(error))
        self.patch(streams.JournalStream, "fetch", fetch)
        self.assertEqual(octets(writer), ONE[:3])
        self.assertEqual(len(journal.known("w1")), 1)
        self.assertGreater(first, 1)

    def test_announcedRollback(self) -> None:
        """
        A listener learns of an announced rollback even if it has already read the
        announcement.
        """
        journal, other = self.open(), self.open()
        self.send(journal, "w1", *ONE[:3])
        for reads, turns in ((False, 1), (True, 2)):
            other.bus.run(other.chronicle.fork())
            if reads:
                with contextlib.suppress(WentBack):
                    journal.read(0, MUCH)
            journal.checkHistory()
            self.assertEqual(journal.turns, turns)
            journal.checkHistory()
            self.assertEqual(journal.turns, turns)

    def test_caughtUp(self) -> None:
        """
        An output that has all lines is not behind if only eras and positions follow.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE[:2])
        writer = self.openOutputs(state=self.path)
        writer.useOutputs(["a"])
        view = writer.written("a")
        last = view.read(0, MUCH)[-1].seq
        self.assertEqual(view.position(0), 0)
        self.assertEqual(view.read(last, MUCH), [])
        journal.bus.run(journal.chronicle.doubt())
        self.assertEqual(view.position(0), 0)
        self.assertEqual(view.position(last), last)
        writer.checkHistory()
        self.assertEqual(view.read(last, MUCH), [])
        self.assertEqual(view.position(last), writer.size()[1])
        self.send(journal, "w1", *ONE[:3])
        self.assertEqual(len(view.read(last, MUCH)), 1)
        self.assertEqual(view.position(last), last)

    def test_begunInAnotherHistory(self) -> None:
        """
        A worker that does not know of a rollback begins no stream after 0: its octets before that
        would count as delivered. That holds whoever detects the rollback, and when.
        """
        journal = self.open()
        self.send(journal, "w2", *TWO[:3])
        copy = self.copy()
        self.send(journal, "w1", *ONE[:6])
        end = len(b"".join(ONE[:6]))

        def request(turns: int | None) -> list[StreamLease]:
            return journal.grants([OpenRequest("w1", STREAM, 0, end, "x", turns)])

        self.assertEqual(request(None)[0].base, 0)
        for isDetected in (False, True):
            before = journal.turns
            self.putBack(copy)
            if isDetected:
                untilTaken(journal.checkHistory)
            while True:
                # At first the server may not answer.
                error = self.assertRaises(JournalBlocked, request, before)
                if "went back" in str(error):
                    break
            self.assertEqual(journal.turns, before + 1)
            self.assertEqual(untilTaken(partial(grant, journal, start=0)).offset, 0)
            self.send(journal, "w1", *ONE[:6])
        # In the present history it may.
        lease = journal.grants([OpenRequest("w3", STREAM, 0, end, "x", journal.turns)])
        self.assertEqual((lease[0].offset, lease[0].base), (end, end))

    def test_purgedPosition(self) -> None:
        """
        If an operator removes a position, the connection is told that the journal went
        back, not that another connection has taken over its stream.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        granted = grant(journal)
        self.api(journal, "STREAM.PURGE.decnet", filter="decnet.w1.>")
        deposit = lines(granted, len(b"".join(ONE[:3])), ONE[3])
        self.assertEqual(journal.commit([deposit]), [None])
        (refusal,) = journal.refusals.values()
        self.assertEqual(refusal[0], "journal-went-back")
        self.assertEqual(grant(journal).offset, 0)


class SettingsTests(BackTestCase):
    """Unsafe settings stop the listener; correct settings let it continue."""

    def edit(self, journal: JetStreamJournal, **changed: Any) -> None:
        """Edit the stream like an operator."""
        config = self.api(journal, "STREAM.INFO.decnet")["config"]
        answer = self.api(journal, "STREAM.UPDATE.decnet", **{**config, **changed})
        self.assertNotIn("error", answer)

    def test_unsafeSettings(self) -> None:
        """A stream with unsafe settings is refused, with an event, until they are corrected."""
        self.patch(chronicles, "SURE_S", 0.0)
        journal = self.open()
        mark = self.send(journal, "w1", ONE[0])
        window = {"duplicate_window": 10**9}
        cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
            ({"max_age": 10**13}, {"max_age": 0}, "max_age is set"),
            ({"discard": "old"}, {"discard": "new"}, "discard is not new"),
            (
                {"max_msgs_per_subject": 9},
                {"max_msgs_per_subject": -1},
                "max_msgs_per_subject",
            ),
            ({"subjects": ["decnet.*.*"]}, {"subjects": ["decnet.>"]}, "its subjects"),
            ({"max_msg_size": 999}, {"max_msg_size": -1}, "max_msg_size is set"),
        ]
        for changed, back, said in cases:
            with capturedLogs() as found:
                self.edit(journal, **{**changed, **window})
                for _ in range(2):
                    error = self.assertRaises(
                        JournalBlocked, journal.commit, [lines(None, 0, b"x\n")]
                    )
                    self.assertIn(said, str(error))
                self.edit(journal, **back)
                self.assertNotEqual(journal.commit([lines(None, 0, b"x\n")]), [None])
            events = [e for e in found if e.get("event") == "unsafe"]
            self.assertEqual([e.get("over", False) for e in events], [False, True])
        self.assertEqual(journal.turns, 0)
        self.assertTrue(journal.holds(mark))

    def test_unsafeSettingsWhileIdle(self) -> None:
        """Unsafe settings are detected without new lines."""
        journal = self.open()
        self.edit(journal, max_age=10**13, duplicate_window=10**9)
        self.assertEqual(self.events(journal.checkHistory), ["unsafe"])
        self.assertEqual(self.events(journal.checkHistory), [])

    def test_lowerMaxPayload(self) -> None:
        """
        If the server now accepts only shorter messages, batches are divided; a single
        line that is too long waits, without delaying others, until the server accepts
        it again.
        """
        journal = self.open(encoding="none")
        long, short = b"x" * 99 + b"\n", b"short\n"
        self.send(journal, "w1", short)
        self.nats.stop()
        self.nats.extra = "max_payload: 65536"
        self.nats.start()
        many = replace(
            lines(untilTaken(lambda: grant(journal, "w2")), 0, long * 3000),
            provenance=replace(PROVENANCE, worker="w2"),
        )
        line = replace(
            lines(grant(journal, "w3"), 0, b"y" * 99_999 + b"\n"),
            provenance=replace(PROVENANCE, worker="w3", address="192.0.2.3:3"),
        )
        plain = lines(None, 0, b"plain\n")
        lost = lines(None, 0, b"z" * 99_999 + b"\n")
        said = self.events(
            lambda: self.assertEqual(
                [
                    None if batch is None else len(batch.octets)
                    for batch in untilTaken(
                        lambda: journal.commit([many, line, plain, lost])
                    )
                ],
                [300_000, None, 6, None],
            )
        )
        self.assertEqual(said.count("limit"), 2)
        code, text = journal.refusals["w3", "192.0.2.3:3"]
        self.assertEqual(code, "no-space")
        self.assertIn("max_payload", text)
        self.assertEqual(self.events(journal.checkHistory), ["unsafe"])
        self.nats.stop()
        self.nats.extra = "max_payload: 2097152"
        self.nats.start()
        with capturedLogs() as found:
            untilTaken(journal.checkHistory)
        self.assertTrue(any(e.get("over") for e in found))
        again = replace(line, grant=grant(journal, "w3"))
        self.assertNotEqual(journal.commit([again]), [None])

    def test_payloadWhileSending(self) -> None:
        """
        If the limit falls after a message was published without an answer, the message
        is divided as well.
        """
        journal = self.open(encoding="none")
        granted = grant(journal)
        deposit = lines(granted, 0, (b"x" * 99 + b"\n") * 3000)
        self.nats.kill()
        self.assertRaises(JournalBlocked, journal.commit, [deposit])
        self.nats.extra = "max_payload: 65536"
        self.nats.start()
        self.assertNotEqual(untilTaken(lambda: journal.commit([deposit])), [None])
        other = self.open(messageOctetsMax=1000)
        self.assertEqual(b"".join(octets(other)), deposit.octets)

    def test_reloadedMaxPayload(self) -> None:
        """
        If the server lowers its limit by reloading its configuration, batches are
        divided as well.
        """
        self.patch(connections, "COME_AGAIN_S", 0.1)
        self.patch(buses, "ANSWER_S", 1.0)
        journal = self.open(encoding="none")
        self.send(journal, "w1", b"short\n")
        self.nats.extra = "max_payload: 65536"
        self.nats.reload()
        deposit = replace(
            lines(grant(journal, "w2"), 0, (b"x" * 99 + b"\n") * 3000),
            provenance=replace(PROVENANCE, worker="w2"),
        )
        waitUntil(
            lambda: "Reloaded" in self.nats.output(), "the server does not reload"
        )
        self.assertNotEqual(untilTaken(lambda: journal.commit([deposit])), [None])


class FullTests(BackTestCase):
    """A stream that is full of positions becomes usable again."""

    def fill(self, listener: JetStreamJournal, count: int = 100) -> int:
        """Commit a long message to each stream until the journal is full. Return their number."""
        line = b"x" * 59_999 + b"\n"
        for generation in range(count):
            try:
                granted = grant(listener, generation=generation)
                self.assertNotEqual(listener.commit([lines(granted, 0, line)]), [None])
            except JournalBlocked:
                return generation
        raise AssertionError("the stream never fills up")

    def full(self, reserve: int) -> tuple[JetStreamJournal, OutputsJournal, int]:
        """A listener, a writer, and a journal that is full of written messages."""
        self.patch(rooms, "RESERVE_OCTETS_MAX", reserve)
        listener = self.open(octetsMax=1 << 20, encoding="none")
        writer = self.openOutputs(octetsMax=1 << 20, state=self.path)
        writer.useOutputs(["a"])
        count = self.fill(listener)
        self.assertGreater(count, 10)
        batches = writer.read(0, MUCH)
        writer.commit([], [Cursor("a", batches[-1].seq, {})])
        # To the last octet.
        for size in (10_000, 1000, 100, 10):
            with contextlib.suppress(JournalBlocked):
                while True:
                    listener.commit([lines(None, 0, b"x" * size + b"\n")])
        while more := writer.read(batches[-1].seq, MUCH):
            batches += more
        # Everything is written, but nothing is removed yet.
        writer.outbox.hasRead(writer.chronicle.known)
        writer.outbox.save([Cursor("a", batches[-1].seq, {})])
        writer.outbox.renew()
        return listener, writer, count

    def die(self, writer: OutputsJournal) -> None:
        """End a writer like a crash."""
        writer.outbox.close()

    def test_reserveForPositions(self) -> None:
        """Lines leave a reserve for positions."""
        listener, writer, count = self.full(rooms.RESERVE_OCTETS_MAX)
        used, _ = writer.size()
        self.assertLess(used, (1 << 20) - (1 << 16))
        error = self.assertRaises(
            JournalBlocked, listener.commit, [lines(None, 0, b"x\n" * 40000)]
        )
        self.assertIn("maximum bytes", str(error))
        self.assertIn("all lines are written", str(error))
        writer.tidy()
        self.assertEqual(len(listener.known("w1")), count)
        self.assertNotEqual(listener.commit([lines(None, 0, b"x\n" * 40000)]), [None])

    def test_noReserve(self) -> None:
        """Without a reserve the long messages are removed first. No position is lost, even if the
        process dies in the middle."""
        listener, writer, count = self.full(0)
        self.assertRaises(StreamFull, listener.commit, [lines(None, 0, b"x" * 999)])

        class Died(BaseException):
            """Stands for a kill of the process."""

        # It dies after the removal, before the position is published again.
        delete = streams.JournalStream.delete
        before = self.counts(writer)

        async def deleted(stream: Any, seq: int) -> None:
            await delete(stream, seq)
            raise Died

        self.patch(streams.JournalStream, "delete", deleted)
        with self.assertRaises(Died):
            writer.tidy()
        self.patch(streams.JournalStream, "delete", delete)
        (gone,) = before.keys() - self.counts(writer).keys()
        self.assertTrue(gone.startswith("decnet.w1."))
        self.die(writer)
        writer = self.openOutputs(octetsMax=1 << 20, state=self.path)
        writer.useOutputs(["a"])
        self.assertIn(gone, self.counts(writer))
        writer.tidy()
        self.assertEqual(len(listener.known("w1")), count)
        for generation in range(count):
            self.assertEqual(grant(self.open(), generation=generation).offset, 60_000)
        self.assertNotEqual(
            untilTaken(lambda: listener.commit([lines(None, 0, b"x\n" * 9000)])), [None]
        )

    def test_fullAndBack(self) -> None:
        """
        A restored journal that is full of unwritten messages can still be written.
        """
        self.patch(rooms, "RESERVE_OCTETS_MAX", 0)
        listener = self.open(octetsMax=1 << 20, encoding="none")
        self.send(listener, "w3", ONE[0])
        self.write()
        count = self.fill(listener)
        copy = self.copy()
        before = self.write()
        self.assertEqual(len(before), count)
        self.send(listener, "w2", *TWO)
        self.write()
        self.putBack(copy)
        self.assertIn("went-back", self.events(self.write))
        self.assertEqual(self.events(self.write), [])
        writer = self.openOutputs(octetsMax=1 << 20, state=self.path)
        writer.useOutputs(["a"])
        untilTaken(writer.tidy)
        # The rollback is announced when there is room for it.
        untilTaken(writer.checkHistory)
        untilTaken(listener.checkHistory)
        self.assertEqual(listener.turns, 1)
        self.send(listener, "w2", *TWO)
        self.assertEqual(len(listener.known("w1")), count)

"""
Tests for L{decnet_syslog.nats.history}, and for what notices that a stream went back: with real
servers whose store is put back, edited, filled or made anew.
"""

from __future__ import annotations

import contextlib
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.master.promise import JournalBlocked
from decnet_syslog.master.values import Batch, Cursor, Mark
from decnet_syslog.nats import chronicle as chronicles
from decnet_syslog.nats import history as histories
from decnet_syslog.nats import journal as journals
from decnet_syslog.nats import stream as streams
from decnet_syslog.nats.history import ERAS_MAX, Era, History
from decnet_syslog.nats.journal import JetStreamJournal
from decnet_syslog.nats.lease import WentBack
from decnet_syslog.nats.stream import StreamFull
from decnet_syslog.nats.written import Written

from .doubles import PROVENANCE, STREAM, lines
from .natsserver import openJetStream, waitUntil
from .test_jetstream import SingleTestCase, untilTaken
from .test_journal_contract import MUCH, grant, octets

IDENTITY = "f" * 32
STREAM_STORE = "jetstream/$G/streams/decnet"


class Timeline:
    """A stream as it really is: what each sequence was given to, and who knows what of it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.messages: list[int] = []
        self.history = History.of(IDENTITY)
        self.begun = False

    def publish(self) -> None:
        """Somebody publishes; who has just come begins an era first."""
        if not self.begun or self.dice.random() < 0.2:
            self.begun = True
            token = f"{self.dice.getrandbits(128):032x}"
            self.messages.append(self.dice.getrandbits(64))
            self.history = self.history.behind(Era(token, len(self.messages)))
        self.messages.append(self.dice.getrandbits(64))
        self.history = self.history.upTo(len(self.messages))

    def goBack(self, to: int) -> None:
        """Everybody is away, and the stream is as it was."""
        self.messages = self.messages[:to]
        self.history = self.history.cut(to)
        self.begun = False


class HistoryTests(SynchronousTestCase):
    """Two views of a stream."""

    def test_compared(self) -> None:
        """
        Whatever happened to a stream: two views of it agree exactly as far as they have the same
        messages, and a mark holds exactly if everything before it is still there.
        """
        dice = random.Random(7)
        for _ in range(300):
            timeline = Timeline(dice)
            views: list[tuple[History, list[int], Mark]] = []
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

    def test_forked(self) -> None:
        """Once somebody has said that it went back, no mark from before holds."""
        history = History.of(IDENTITY, 10)
        mark = Mark(3, IDENTITY)
        self.assertTrue(history.holds(mark))
        history = history.behind(Era("a" * 32, 11))
        self.assertTrue(history.holds(mark))
        history = history.behind(Era("b" * 32, 12, True))
        self.assertFalse(history.holds(mark))
        self.assertTrue(history.holds(history.mark()))

    def test_bounded(self) -> None:
        """Of very many eras the oldest are forgotten: then nothing is known to be common."""
        first = History.of(IDENTITY, 5)
        history = first
        for at in range(2 * ERAS_MAX):
            history = history.behind(Era(f"{at:032x}", 10 + at))
        self.assertEqual(len(history.eras), ERAS_MAX)
        self.assertEqual(first.common(history), 0)
        self.assertFalse(history.holds(first.mark()))
        self.assertTrue(history.isIn(history))

    def test_text(self) -> None:
        """There and back; what is none of ours is refused, whatever it is."""
        history = History.of(IDENTITY, 5).behind(Era("a" * 32, 6, True))
        again = History.parse(history.asText())
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
            self.assertRaises(ValueError, History.parse, wrong)


class WrittenTests(SynchronousTestCase):
    """What an output has written is left out when it comes again, and nothing else."""

    def setUp(self) -> None:
        self.written = Written("raw", OrderedDict())

    def batch(
        self, seq: int, start: int, text: bytes, reason: str | None = None
    ) -> Batch:
        """Octets of a file, or a gap of as many."""
        end = start + len(text)
        kept = b"" if reason else text
        return Batch(seq, PROVENANCE, STREAM, 0, start, end, kept, None, reason)

    def write(self, *batches: Batch) -> list[tuple[int, bytes, str | None]]:
        """Write batches, and save it: what was written."""
        fresh = self.written.only(batches)
        self.assertEqual([b.seq for b in fresh], [b.seq for b in batches])
        self.written.saved(batches[-1].seq)
        return [(b.start, b.octets, b.reason) for b in fresh if b.octets or b.reason]

    def test_cut(self) -> None:
        """However the same octets are cut, and whatever is a gap now: each octet once."""
        text = b"one\ntwo\nthree\nfour\n"
        self.assertEqual(self.write(self.batch(1, 0, text[:8])), [(0, text[:8], None)])
        again = [self.batch(2, 0, text[:4]), self.batch(3, 4, text[4:14])]
        self.assertEqual(self.write(*again), [(8, text[8:14], None)])
        gap = self.batch(4, 0, text, "vanished")
        self.assertEqual(self.write(gap), [(14, b"", "vanished")])
        self.assertEqual(self.write(self.batch(5, 0, text)), [])

    def test_others(self) -> None:
        """Another worker, stream or generation, and peers without positions, are others."""
        one = self.batch(1, 0, b"one\n")
        self.write(one)
        others = [
            replace(one, seq=2, generation=1),
            replace(one, seq=3, stream="6" * 32),
            replace(one, seq=4, provenance=replace(PROVENANCE, worker="w2")),
            replace(one, seq=5, stream=None),
            replace(one, seq=6, stream=None),
        ]
        self.assertEqual(len(self.write(*others)), 5)

    def test_readTwice(self) -> None:
        """What is read again before it was written is the same again."""
        batches = [self.batch(1, 0, b"one\n"), self.batch(2, 4, b"two\n")]
        first = self.written.only(batches)
        self.assertEqual(self.written.only(batches[1:]), first[1:])
        self.assertEqual(self.written.only(batches), first)
        again = self.batch(3, 0, b"one\ntwo\nthree\n")
        (rest,) = self.written.only([again])
        self.assertEqual((rest.start, rest.octets), (8, b"three\n"))
        self.assertEqual(self.written.only([again]), [rest])

    def test_unsaved(self) -> None:
        """Only what is on disk is remembered."""
        self.written.only([self.batch(1, 0, b"one\n"), self.batch(2, 4, b"two\n")])
        saved = self.written.saved(1)
        self.assertEqual(list(saved.values()), [(4, 1)])
        self.assertEqual(list(self.written.ends.values()), [4])


class BackTestCase(SingleTestCase):
    """A server whose store can be put back, a listener and an output."""

    def setUp(self) -> None:
        super().setUp()
        self.home = self.directory()
        self.path = self.home / "outputs.db"
        self.copies = 0

    def copy(self) -> Path:
        """A backup of all that is stored."""
        self.copies += 1
        made = self.home / f"copy{self.copies}"
        self.nats.copyStore(made)
        waitUntil(self.nats.healthy, "JetStream does not start")
        return made

    def putBack(self, copy: Path, part: str = "") -> None:
        """Put it back."""
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
        Send what a worker's file has and the journal has not, line by line.

        @param wanted: all lines of the file.
        @return: the mark behind it.
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
        """The same, by a listener that ends then."""
        journal = openJetStream(self.nats.url)
        try:
            return self.send(journal, worker, *wanted)
        finally:
            journal.close()

    def write(self) -> list[bytes]:
        """Write as the outputs do: what there was to write."""
        return self.writeAs(self.path)

    def writeAs(self, path: Path) -> list[bytes]:
        """The same, with cursors somewhere else."""
        writer = openJetStream(self.nats.url, path)
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
        """The events that something causes."""
        with capturedLogs() as found:
            work()
        return [e["event"] for e in found if "event" in e and not e.get("over")]


ONE = [b"one %d\n" % at for at in range(8)]
TWO = [b"two %d\n" % at for at in range(40)]


class PutBackTests(BackTestCase):
    """
    The whole store goes back, with the bucket: nothing is lost, nothing is written twice, and it
    is said, whoever comes first and however long the new stream is.
    """

    def lose(self, part: str = "") -> Mark:
        """
        Have a store put back that has lost lines which were acknowledged and written.

        @return: a mark of what was lost.
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
        Workers write on before the outputs come back, until the new stream is shorter, as long,
        or longer than the old one was.
        """
        for more in (0, 1, 3, 4, 40):
            self.setUp()
            self.workersFirst(more)
            self.nats.kill()

    def workersFirst(self, more: int) -> None:
        """Somebody else first: their lines are in the sequences of what was lost."""
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
        """The outputs come first, and say it to a listener that has been there all the time, and
        to one that comes later."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        self.write()
        copy = self.copy()
        mark = self.send(journal, "w1", *ONE[:6])
        self.assertEqual(self.write(), ONE[3:6])
        self.putBack(copy)
        self.assertIn("went-back", self.events(self.write))
        self.assertEqual(journal.turns, 0)
        untilTaken(journal.look)
        self.assertEqual(journal.turns, 1)
        self.assertFalse(journal.holds(mark))
        other = self.open()
        self.assertFalse(other.holds(mark))
        self.send(other, "w1", *ONE)
        self.assertEqual(self.write(), ONE[6:])

    def test_listenerFirst(self) -> None:
        """
        A listener that was there all the time: nothing of what it was given is committed, all of
        its grants are void, and it tells the position that there is.
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
        """What was committed before it went back, in a group that is tried again, is not said to
        be committed."""
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
        ask = journal._bus.ask

        async def half(subject: str, *rest: Any) -> Any:
            if subject.endswith(".1") and subject.startswith("decnet."):
                self.nats.kill()
            return await ask(subject, *rest)

        self.patch(journal._bus, "ask", half)
        self.assertRaises(JournalBlocked, journal.commit, deposits)
        self.patch(journal._bus, "ask", ask)
        self.putBack(copy)
        self.assertEqual(untilTaken(lambda: journal.commit(deposits)), [None, None])
        self.assertEqual(grant(journal).offset, 2)

    def test_streamOnly(self) -> None:
        """Only the stream is put back, and the bucket is newer than it."""
        self.lose(STREAM_STORE)
        journal = self.open()
        self.send(journal, "w2", *TWO)
        self.send(journal, "w1", *ONE)
        found: list[bytes] = []
        self.assertIn("went-back", self.events(lambda: found.extend(self.write())))
        self.assertEqual(sorted(found), sorted([*ONE[6:], *TWO]))

    def test_otherHost(self) -> None:
        """Who writes elsewhere, and has been told where to go on, notices it, too."""
        self.lose(STREAM_STORE)
        journal = self.open()
        self.send(journal, "w2", *TWO)
        found: list[bytes] = []
        elsewhere = self.home / "other.db"
        said = self.events(lambda: found.extend(self.writeAs(elsewhere)))
        self.assertIn("went-back", said)
        self.assertEqual(found, TWO)

    def test_running(self) -> None:
        """Outputs that run when it happens write and remove nothing more."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        copy = self.copy()
        self.send(journal, "w1", *ONE[:6])
        writer = self.open(state=self.path)
        after = writer.useOutputs(["a"])["a"].seq
        batches = writer.read(after, MUCH)
        writer.commit([], [Cursor("a", batches[-1].seq, {})])
        self.putBack(copy)
        self.send(self.open(), "w2", *TWO)
        self.assertRaises(
            WentBack, lambda: untilTaken(lambda: writer.read(batches[-1].seq, MUCH))
        )
        self.assertRaises(WentBack, lambda: untilTaken(writer.tidy))
        self.assertRaises(WentBack, lambda: untilTaken(writer.look))
        self.assertEqual(sorted(octets(self.open())), sorted([*ONE[:3], *TWO]))

    def test_again(self) -> None:
        """Put back to the same copy again and again."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        found = self.write()
        copy = self.copy()
        for more in (4, 5, 6):
            self.send(journal, "w1", *ONE[:more])
            found += self.write()
            self.putBack(copy)
            self.send(journal, "w2", *TWO[: 3 * more])
        self.send(journal, "w1", *ONE)
        found += self.write()
        self.assertEqual(sorted(found), sorted([*ONE, *TWO[:18]]))

    def test_clocks(self) -> None:
        """The clocks of the nodes are asked nothing: they can be anywhere."""
        real = streams.nanoseconds
        skews = iter(range(10**6))
        self.patch(
            streams,
            "nanoseconds",
            lambda text: real(text) + (-1) ** next(skews) * 10**10,
        )
        self.workersFirst(4)

    def test_madeAnew(self) -> None:
        """The stream was deleted and made again: what is written of it is not written again."""
        journal = self.open()
        self.send(journal, "w1", *ONE[:6])
        self.assertEqual(self.write(), ONE[:6])
        before = journal.identity
        self.api(journal, "STREAM.DELETE.decnet")
        self.assertRaises(JournalBlocked, journal.look)
        deposits = [lines(None, 0, b"x\n")]
        self.assertRaises(JournalBlocked, journal.commit, deposits)
        error = self.assertRaises(JournalBlocked, journal.commit, deposits)
        self.assertIn("is gone", str(error))
        fresh = self.open()
        self.assertNotEqual(fresh.identity, before)
        # The one that was there sees it by itself.
        self.assertIn("went-back", self.events(lambda: untilTaken(journal.look)))
        self.assertEqual((journal.identity, journal.turns), (fresh.identity, 1))
        self.send(journal, "w1", *ONE)
        found: list[bytes] = []
        self.assertIn("went-back", self.events(lambda: found.extend(self.write())))
        self.assertEqual(found, ONE[6:])

    def test_outputsMakeNone(self) -> None:
        """Outputs that have written a stream do not make an empty one in its place."""
        journal = self.open()
        self.send(journal, "w1", *ONE)
        self.write()
        self.api(journal, "STREAM.DELETE.decnet")
        self.patch(streams, "OPENING_S", 0.2)
        error = self.assertRaises(UserError, self.write)
        self.assertIn("is gone", str(error))
        self.assertRaises(JournalBlocked, journal.look)

    def test_longAway(self) -> None:
        """
        Who has not written for so long that nobody knows the eras any more, while others have,
        goes on behind them; nothing went back.
        """
        journal = self.open()
        self.send(journal, "w1", *ONE[:3])
        self.assertEqual(self.write(), ONE[:3])
        self.patch(histories, "ERAS_MAX", 3)
        elsewhere = self.home / "other.db"
        for at in range(4, 8):
            self.send(journal, "w1", *ONE[:at])
            journal._bus.run(journal._chronicle.doubt())
            said = self.events(lambda: self.writeAs(elsewhere))
            self.assertNotIn("went-back", said)
        self.send(journal, "w1", *ONE)
        found: list[bytes] = []
        said = self.events(lambda: found.extend(self.write()))
        self.assertEqual((said, found), (["diverged"], ONE[7:]))

    def test_quietEras(self) -> None:
        """Who comes and goes, and sends nothing, begins no era behind another's."""
        journal = self.open()
        self.send(journal, "w1", ONE[0])
        last = journal.size()[1]
        for _ in range(3):
            journal._bus.run(journal._chronicle.doubt())
        self.assertEqual(journal.size()[1], last + 1)
        for _ in range(2):
            other = self.open()
            other._bus.run(other._chronicle.doubt())
        self.assertEqual(journal.size()[1], last + 1)
        self.assertEqual(self.write(), ONE[:1])
        writer = self.open(state=self.path)
        writer.useOutputs(["a"])
        writer.read(0, MUCH)
        writer._bus.run(writer._chronicle.doubt())
        self.assertEqual((writer.turns, journal.turns), (0, 0))

    def test_purged(self) -> None:
        """Somebody has removed what was there: the connection is not told that another one has
        its stream."""
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
    """What could lose lines stops us, and what was mended lets us go on."""

    def edit(self, journal: JetStreamJournal, **changed: Any) -> None:
        """Edit the stream as an operator would."""
        config = self.api(journal, "STREAM.INFO.decnet")["config"]
        answer = self.api(journal, "STREAM.UPDATE.decnet", **{**config, **changed})
        self.assertNotIn("error", answer)

    def test_edited(self) -> None:
        """A stream that is edited while we run is refused, and said, until it is edited back."""
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

    def test_idle(self) -> None:
        """Nobody has to send something for that."""
        journal = self.open()
        self.edit(journal, max_age=10**13, duplicate_window=10**9)
        self.assertEqual(self.events(journal.look), ["unsafe"])
        self.assertEqual(self.events(journal.look), [])

    def test_payload(self) -> None:
        """
        A server that takes shorter messages than before: what can be cut is cut, a line that
        cannot be waits, alone; and comes in when the server takes it again.
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
        self.assertEqual(self.events(journal.look), ["unsafe"])
        self.nats.stop()
        self.nats.extra = "max_payload: 2097152"
        self.nats.start()
        with capturedLogs() as found:
            untilTaken(journal.look)
        self.assertTrue(any(e.get("over") for e in found))
        again = replace(line, grant=grant(journal, "w3"))
        self.assertNotEqual(journal.commit([again]), [None])

    def test_payloadWhileSending(self) -> None:
        """The same when a piece was on its way that is too long when it is tried again."""
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

    def test_reloaded(self) -> None:
        """A server that is only reloaded does the same."""
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
    """A stream that is full of positions becomes free again."""

    def fill(self, listener: JetStreamJournal, count: int = 100) -> int:
        """Have each stream one long message, until there is no room: how many."""
        line = b"x" * 59_999 + b"\n"
        for generation in range(count):
            try:
                granted = grant(listener, generation=generation)
                self.assertNotEqual(listener.commit([lines(granted, 0, line)]), [None])
            except JournalBlocked:
                return generation
        raise AssertionError("it is never full")

    def full(self, reserve: int) -> tuple[JetStreamJournal, JetStreamJournal, int]:
        """A listener, who writes, and a stream that is full of what is written."""
        self.patch(journals, "RESERVE_OCTETS_MAX", reserve)
        listener = self.open(octetsMax=1 << 20, encoding="none")
        writer = self.open(octetsMax=1 << 20, state=self.path)
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
        # What is written, and nothing is removed yet.
        assert writer._outbox is not None
        writer._outbox.save([Cursor("a", batches[-1].seq, {})], writer._chronicle.known)
        return listener, writer, count

    def die(self, writer: JetStreamJournal) -> None:
        """Let go of the file, and say nothing."""
        assert writer._outbox is not None
        writer._outbox.close()
        self.patch(writer, "_outbox", None)

    def test_reserve(self) -> None:
        """Lines leave room for positions."""
        listener, writer, count = self.full(journals.RESERVE_OCTETS_MAX)
        used, _ = writer.size()
        self.assertLess(used, (1 << 20) - (1 << 16))
        error = self.assertRaises(
            JournalBlocked, listener.commit, [lines(None, 0, b"x\n" * 40000)]
        )
        self.assertIn("maximum bytes", str(error))
        self.assertIn("all of it is written", str(error))
        writer.tidy()
        self.assertEqual(len(listener.known("w1")), count)
        self.assertNotEqual(listener.commit([lines(None, 0, b"x\n" * 40000)]), [None])

    def test_noReserve(self) -> None:
        """Where others have left none, the long messages are removed first, and no position is
        lost, not even when who does it dies in the middle."""
        listener, writer, count = self.full(0)
        self.assertRaises(StreamFull, listener.commit, [lines(None, 0, b"x" * 999)])

        class Died(BaseException):
            """It was killed."""

        # What was removed first is in no message when it dies.
        delete = streams.Stream.delete
        before = self.counts(writer)

        async def deleted(stream: Any, seq: int) -> None:
            await delete(stream, seq)
            raise Died

        self.patch(streams.Stream, "delete", deleted)
        with self.assertRaises(Died):
            writer.tidy()
        self.patch(streams.Stream, "delete", delete)
        (gone,) = before.keys() - self.counts(writer).keys()
        self.assertTrue(gone.startswith("decnet.w1."))
        self.die(writer)
        writer = self.open(octetsMax=1 << 20, state=self.path)
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
        """A stream that is put back full of what is not written is written all the same."""
        self.patch(journals, "RESERVE_OCTETS_MAX", 0)
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
        writer = self.open(octetsMax=1 << 20, state=self.path)
        writer.useOutputs(["a"])
        untilTaken(writer.tidy)
        # Whoever was there learns it when there is room to say it.
        untilTaken(writer.look)
        untilTaken(listener.look)
        self.assertEqual(listener.turns, 1)
        self.send(listener, "w2", *TWO)
        self.assertEqual(len(listener.known("w1")), count)

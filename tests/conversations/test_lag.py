"""Tests for how far behind a worker is shown to be, in memory and with clocks of their own."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.monitoring import WorkerState
from decnet_syslog.monitoring._lag import Growth, ageAt, lagOf
from decnet_syslog.receiving._flowcontrol import FlowControl, Pause
from decnet_syslog.receiving._holding import FREE, Held, Holding, windowFor
from decnet_syslog.sending._window import (
    WAIT_S,
    WINDOW_OCTETS,
    WINDOW_OCTETS_FIRST,
    Window,
)
from decnet_syslog.wire import (
    AGES_MAX,
    LAG,
    REPORT,
    STATE,
    ControlError,
    ForwarderReport,
    ReportGatherer,
    encodeControl,
    parseControl,
)
from decnet_syslog.wire._report import DRIFT, Transit
from decnet_syslog.worker._filestates import (
    NOTES_MAX,
    STEP,
    WIDTH,
    FileReport,
    FilesSummary,
    FileState,
)
from decnet_syslog.worker._statusreporter import lagLines

STREAM = "5" * 32


class LineTests(SynchronousTestCase):
    """The lines of version 2.1."""

    def test_agesRoundTrip(self) -> None:
        """A file's ages survive the wire, a step at one position included."""
        for ages in (((0, 0),), ((5, 90), (5, 80), (2**63 - 1, 0))):
            line = LAG(STREAM, 0, 7, ages)
            self.assertEqual(parseControl(encodeControl(line)[:-1]), line)

    def test_malformedAges(self) -> None:
        """Ages that go back, have no age, or are too many are refused."""
        for ages in (
            b"",
            b"5",
            b"5:",
            b":5",
            b"5:1,4:1",
            b"5:1,",
            b"5:-1",
            b"05:1",
            b"5:1:1",
            b"9223372036854775808:1",
            b",".join([b"%d:1" % at for at in range(AGES_MAX + 1)]),
        ):
            line = b"LAG " + STREAM.encode() + b" 0 7 " + ages
            self.assertRaises(ControlError, parseControl, line)


class TransitTests(SynchronousTestCase):
    """How long reports travelled."""

    def test_delayedReports(self) -> None:
        """
        A report that waited behind octets is older than the first one by what it waited, whatever
        the two clocks show.
        """
        for offset in (-1e9, 0.0, 1e9):
            clock = Clock()
            transit = Transit(clock.seconds)
            clock.advance(0.2)
            self.assertEqual(transit.of(offset), 0.0)
            clock.advance(300)
            self.assertLess(abs(transit.of(offset + 44) - 256), 0.1)
            self.assertLess(transit.of(offset + 300), 0.1)

    def test_driftingClock(self) -> None:
        """A clock that runs a little slower does not make reports old over the weeks."""
        clock = Clock()
        transit = Transit(clock.seconds)
        for hour in range(24 * 14):
            clock.advance(3600)
            self.assertLess(transit.of((1 - DRIFT / 2) * 3600 * (hour + 1)), 1.0)

    def test_hostileClock(self) -> None:
        """A clock that lies makes no age negative, infinite, or longer than a day."""
        clock = Clock()
        gatherer = ReportGatherer(clock.seconds)
        for made in (2**63 - 1, 0, 5, 2**63 - 1):
            clock.advance(1)
            report = gatherer.lineReceived(REPORT(made, 1, 0, 0))
            assert report is not None
            self.assertTrue(0 <= report.transitSeconds <= 86400)


class LagTests(SynchronousTestCase):
    """The lag now, from a report and the listener's own commits."""

    def lag(self, committed: int, elapsed: float) -> tuple[int, float]:
        """The lag after a report of 100 octets that are 50 to 10 s old."""
        state = LAG(STREAM, 0, 200, ((100, 50_000), (150, 30_000), (200, 10_000)))
        report = ForwarderReport(1, 100, 50.0, (state,))
        return lagOf(report, elapsed, {(STREAM, 0): committed})

    def test_ageOfReport(self) -> None:
        """A line that is still not here is as much older as the report is."""
        self.assertEqual(self.lag(0, 0), (100, 50.0))
        self.assertEqual(self.lag(100, 7), (100, 57.0))

    def test_ownCommits(self) -> None:
        """What the listener has committed does not count, and the age is that of the next line."""
        self.assertEqual(self.lag(125, 7), (75, 47.0))
        self.assertEqual(self.lag(150, 7), (50, 37.0))
        self.assertEqual(self.lag(200, 7), (0, 0.0))
        self.assertEqual(self.lag(999, 7), (0, 0.0))

    def test_olderPeers(self) -> None:
        """A report without ages for each position is corrected as well."""
        state = STATE(STREAM, 0, 200, 100, 50_000)
        report = ForwarderReport(1, 100, 50.0, (state,))
        self.assertEqual(lagOf(report, 7, {(STREAM, 0): 150}), (50, 32.0))

    def test_filesThatAreNotListed(self) -> None:
        """Files for which a report has no room are behind, too."""
        report = ForwarderReport(500, 900, 50.0)
        self.assertEqual(lagOf(report, 7, {}), (900, 57.0))

    def test_unfinishedLine(self) -> None:
        """An unfinished line is not late, however old the report is."""
        report = ForwarderReport(1, 4, 0.0, (LAG(STREAM, 0, 104, ((100, 0),)),))
        self.assertEqual(lagOf(report, 900, {}), (4, 0.0))

    def test_agesStayBetweenPoints(self) -> None:
        """Whatever a peer reports, an age is one between those that it reported."""
        for seed in range(500):
            dice = random.Random(seed)
            positions = sorted(dice.choices(range(50), k=dice.randint(1, AGES_MAX)))
            ages = tuple((at, dice.randint(0, 99_000)) for at in positions)
            state = LAG(STREAM, 0, dice.randint(0, 60), ages)
            known = [age / 1000 for _, age in ages]
            for position in range(-1, 70):
                age = ageAt(state, position)
                self.assertTrue(age == 0 or min(known) <= age <= max(known))

    def test_onlySteadyGrowthGoesOn(self) -> None:
        """A steady growth goes on between reports, a burst does not."""
        growth = Growth()

        def at(time: float, size: int) -> float:
            state = LAG(STREAM, 0, size, ((0, 1000),))
            growth.reported(ForwarderReport(1, size, 1.0, (state,)), time)
            return growth.rate

        self.assertEqual(at(0, 0), 0.0)
        self.assertEqual([at(2 * n, 2000 * n) for n in range(1, 9)][-1], 1000.0)
        self.assertLess(at(18, 1_000_000), 100_000)
        self.assertEqual(at(20, 1_000_000), 0.0)

    def test_goneWorker(self) -> None:
        """A worker that has gone has no known lag: it may deliver elsewhere."""
        worker = WorkerState("w", connections=1)
        worker.reported(ForwarderReport(1, 10, 90.0), 100.0)
        self.assertEqual(worker.lag(200.0), (10, 190.0))
        worker.connections = 0
        self.assertEqual(worker.lag(110.0), (10, 100.0))
        self.assertIs(worker.lag(200.0), None)


class FileAgeTests(SynchronousTestCase):
    """The age of a file's lines, against a model that remembers every line."""

    def content(self) -> Any:
        """A content that the test moves."""
        return SimpleNamespace(
            name="/log",
            size=0,
            position=0,
            unfinished=-1,
            content=SimpleNamespace(modified=0),
            acknowledged=SimpleNamespace(offset=0, stream=STREAM, generation=0),
        )

    def test_agesAreRight(self) -> None:
        """
        However a file grows and is delivered, the age of its oldest line, and of each later octet
        in a report, is right to a part of it, or to a look.
        """
        for seed in range(30):
            dice = random.Random(seed)
            content = self.content()
            state = FileState(content)
            written: list[tuple[int, float]] = []
            isIdle = isFast = False
            for now in range(1, 1500):
                if dice.random() < 0.02:
                    isIdle = not isIdle
                if dice.random() < 0.02:
                    isFast = not isFast
                if not isIdle:
                    content.size += dice.randint(1, 900)
                    written.append((content.size, now - 0.5))
                sent = dice.randint(0, 1500 if isFast else 300)
                offset = min(content.size, content.acknowledged.offset + sent)
                content.acknowledged.offset = content.position = offset
                content.unfinished = content.size if offset == content.size else -1
                state.note(float(now), 0.0)
                self.assertLessEqual(state.notes, NOTES_MAX)
                self.compare(state, now, written)

    def compare(
        self, state: FileState, now: int, written: list[tuple[int, float]]
    ) -> None:
        """Compare the ages at some positions with the truth."""
        report = state.report()
        self.assertLessEqual(report.position, report.size)
        self.assertLessEqual(len(report.ages), AGES_MAX)
        if now == 1:
            return
        if not report.age:
            self.assertEqual(report.position, report.size)
            return
        lag = LAG(
            STREAM,
            0,
            report.size,
            tuple((at, round(age * 1000)) for at, age in report.ages),
        )
        self.assertEqual(parseControl(encodeControl(lag)[:-1]), lag)
        # The first points are exact; those beyond the last one are no older than that.
        last = report.ages[-1][0]
        while written and written[0][0] <= report.position:
            written.pop(0)
        for at, (end, came) in enumerate(written):
            begin = written[at - 1][0] if at else report.position
            if end > last or at > 3:
                break
            truth = now - came
            shown = ageAt(lag, begin)
            self.assertLess(abs(shown - truth), (WIDTH + 2 * STEP) * truth + 1.6)

    def test_readFurtherThanLooked(self) -> None:
        """A file that was read further than its size at the last look is not over-delivered."""
        content = self.content()
        state = FileState(content)
        content.size, content.position = 10, 30
        content.acknowledged.offset = 20
        state.note(1.0, 0.0)
        self.assertEqual((state.report().position, state.report().size), (20, 30))

    def test_linesAreSentWithTheirTime(self) -> None:
        """A report that is sent later than it was made has the ages of that time."""
        file = FileReport("/log", STREAM, 0, 9, 4, 50.0, ((4, 50.0), (9, 40.0)))
        idle = FileReport("/idle", STREAM, 1, 9, 4, 0.0, ((4, 0.0),))
        lines = lagLines(FilesSummary((file, idle), 2, 10, 50.0, (), 100.0), 103.0)
        self.assertEqual(
            lines,
            [
                LAG(STREAM, 0, 9, ((4, 53_000), (9, 43_000))),
                LAG(STREAM, 1, 9, ((4, 0),)),
                REPORT(103_000, 2, 10, 53_000),
            ],
        )


class WindowTests(SynchronousTestCase):
    """How far the forwarder sends ahead."""

    def transfer(
        self, octetsPerSecond: float, latency: float, seconds: float
    ) -> Window:
        """Send as much as the window allows over a link, for some seconds."""
        clock = Clock()
        window = Window(clock.seconds)
        flying: list[tuple[float, int]] = []
        inFlight, free = 0, 0.0
        while clock.seconds() < seconds:
            while inFlight < window.octets:
                free = max(free, clock.seconds()) + 65536 / octetsPerSecond
                flying.append((free + latency, 65536))
                inFlight += 65536
                window.sent(65536)
            window.filled()
            clock.advance(max(0.001, flying[0][0] - clock.seconds()))
            while flying and flying[0][0] <= clock.seconds():
                _, octets = flying.pop(0)
                inFlight -= octets
                window.acknowledged(octets)
        return window

    def test_slowLinks(self) -> None:
        """Behind a slow link, no more is under way than it carries in a few seconds."""
        for rate in (16_000, 50_000, 200_000):
            window = self.transfer(rate, 0.05, 120)
            self.assertLessEqual(
                window.octets, max(WINDOW_OCTETS_FIRST, 1.1 * rate * WAIT_S)
            )

    def test_fastLinks(self) -> None:
        """A fast link has the whole window soon, a long one as well."""
        self.assertEqual(self.transfer(1e9, 0.001, 0.1).octets, WINDOW_OCTETS)
        self.assertEqual(self.transfer(1e8, 0.3, 3).octets, WINDOW_OCTETS)

    def test_littleToSend(self) -> None:
        """A forwarder with little to send keeps the window, however long it waits."""
        clock = Clock()
        window = Window(clock.seconds)
        for _ in range(100):
            window.sent(10)
            clock.advance(0.5)
            window.acknowledged(10)
            clock.advance(60)
        self.assertEqual(window.octets, WINDOW_OCTETS_FIRST)

    def test_listenersLimit(self) -> None:
        """The listener's limit counts while it is there, and never stops the forwarder."""
        window = Window(Clock().seconds)
        window.limit(50_000)
        self.assertEqual(window.octets, 50_000)
        self.assertEqual(window.room(20_000, 65536), 30_000)
        window.limit(1)
        self.assertGreaterEqual(window.octets, 16384)
        window.limit(0)
        self.assertEqual(window.octets, WINDOW_OCTETS_FIRST)


class HeldConnection:
    """A connection that the listener may hold back."""

    worker: str | None = "w1"

    def __init__(self, clock: Clock, holding: Holding) -> None:
        self.told: list[str] = []
        receiver = cast(
            Any,
            SimpleNamespace(
                halt=lambda: None,
                proceed=lambda: None,
                transport=SimpleNamespace(
                    pauseProducing=lambda: None, resumeProducing=lambda: None
                ),
            ),
        )
        self.flow = FlowControl(
            receiver, lambda: None, clock, lambda: holding.pausing(self)
        )

    def tellHeld(self, held: Held) -> None:
        """Remember it."""
        self.told.append(held.reason)


class HoldingTests(SynchronousTestCase):
    """Which workers are held back, and why."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.holding = Holding(
            self.clock, 16384, lambda worker: Held("output", "it is slow")
        )
        self.connection = HeldConnection(self.clock, self.holding)

    def pauses(self, why: Pause, share: float, seconds: int) -> None:
        """Pause for a part of each second."""
        for _ in range(seconds):
            if share:
                self.connection.flow.pause(why)
            self.clock.advance(share)
            self.connection.flow.resume(why)
            self.clock.advance(1 - share)

    def test_heldAndFree(self) -> None:
        """A worker that is mostly not read is held back, with the reason, until it is read."""
        self.pauses(Pause.RATE, 0.9, 5)
        self.assertEqual(self.connection.told, ["rate"])
        self.assertIn("--max-rate", self.holding.held()["w1"].text)
        self.pauses(Pause.ROOM, 0.9, 5)
        self.assertEqual(self.connection.told, ["rate", "output"])
        self.pauses(Pause.ROOM, 0.0, 15)
        self.assertEqual(self.connection.told, ["rate", "output", "none"])
        self.assertEqual(self.holding.held(), {})
        seconds = self.holding.seconds
        self.assertEqual(round(seconds["w1", "rate"], 3), 4.5)
        self.assertEqual(round(seconds["w1", "output"], 3), 4.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shortPauses(self) -> None:
        """Short pauses, as in every fast transfer, hold no worker back."""
        self.pauses(Pause.ROOM, 0.1, 30)
        self.assertEqual(self.connection.told, [])
        self.assertEqual(round(self.holding.seconds["w1", "output"], 3), 3.0)

    def test_peersPause(self) -> None:
        """A peer that does not read is not held back by the listener."""
        self.pauses(Pause.PEER, 0.9, 10)
        self.assertEqual((self.connection.told, dict(self.holding.seconds)), ([], {}))

    def test_lostWhileHeld(self) -> None:
        """A connection that is lost counts up to then, and is forgotten."""
        self.connection.flow.pause(Pause.RATE)
        self.clock.advance(7.5)
        self.holding.lost(self.connection)
        self.assertEqual(self.holding.held(), {})
        self.assertAlmostEqual(self.holding.seconds["w1", "rate"], 7.5)
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_limitedWorkerHasSecondsUnderWay(self) -> None:
        """A limited worker may have a few seconds' octets under way."""
        self.assertEqual([windowFor(0), windowFor(16384)], [0, 24576])
        self.assertEqual(windowFor(1_000_000), 1_500_000)
        self.assertEqual(FREE.reason, "none")

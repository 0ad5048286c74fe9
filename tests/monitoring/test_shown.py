"""Tests for the facts kept about a worker for its page, and their presentation."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.monitoring._history import RateHistory, Steps
from decnet_syslog.monitoring._shown import excerpt, octets, rate, span
from decnet_syslog.monitoring._workerstate import (
    EXCERPT_OCTETS_MAX,
    GAPS_KEPT,
    STREAMS_KEPT,
    WorkerState,
)

from ..watched import batch


class NewestTests(SynchronousTestCase):
    """
    The newest line of a worker, its files and its gaps; only a few octets of each batch
    are kept.
    """

    def newest(self, octets: bytes, lengths: tuple[int, ...] | None = None) -> str:
        """The text shown if this was the last batch."""
        worker = WorkerState("decky-01")
        worker.took([batch(octets, lengths=lengths)], 1.0)
        self.assertLessEqual(len(worker.newest), EXCERPT_OCTETS_MAX + 1)
        return excerpt(worker.newest, EXCERPT_OCTETS_MAX)

    def test_lastLine(self) -> None:
        """The last line of a batch is found, however the batch ends."""
        for line, expected in (
            (b"a\n", "a"),
            (b"a\nbc\n", "bc"),
            (b"a\nbc", "bc"),
            (b"a\n\n", ""),
            (b"\n", ""),
        ):
            self.assertEqual(self.newest(line), expected)
        self.assertEqual(self.newest(b"ab\ncd\nef", (2, 6)), "\\ncd\\nef")
        self.assertEqual(self.newest(b"ab", (2, 0)), "")

    def test_longLine(self) -> None:
        """A long line is cut, but not within a character."""
        most = EXCERPT_OCTETS_MAX
        self.assertEqual(self.newest(b"a\n" + b"x" * most + b"\n"), "x" * most)
        self.assertEqual(
            self.newest(b"a\n" + b"x" * 100_000 + b"\n"), "x" * most + "..."
        )
        umlauts = ("x" + "\u00fc" * most).encode()
        self.assertEqual(self.newest(umlauts), "x" + "\u00fc" * (most // 2 - 1) + "...")

    def test_gapHasNone(self) -> None:
        """A gap does not change the newest line."""
        worker = WorkerState("decky-01")
        worker.took([batch(b"a\n")], 1.0)
        worker.took([batch(b"", gap=5, reason="deleted")], 2.0)
        self.assertEqual((worker.newest, worker.gaps), (b"a\n", 1))

    def test_limitedMemory(self) -> None:
        """Only the last files and gaps are kept, and the beginning of a long name."""
        worker = WorkerState("decky-01")
        for number in range(3 * STREAMS_KEPT):
            worker.took([batch(b"a\n", generation=number)], 1.0)
        worker.took([batch(b"a\n", generation=number - 1)], 1.0)
        kept = [generation for _, generation in worker.streams]
        last = number
        self.assertEqual(kept[-2:], [last, last - 1])
        self.assertEqual(len(kept), STREAMS_KEPT)
        for number in range(3 * GAPS_KEPT):
            gap = batch(b"", log="n" * 9999, start=number, gap=1, reason="deleted")
            worker.took([gap], 1.0)
        self.assertEqual([gap.start for gap in worker.lastGaps][-1], number)
        self.assertEqual(len(worker.lastGaps), GAPS_KEPT)
        self.assertLess(len(worker.lastGaps[0].name), 1000)

    def test_plainPeer(self) -> None:
        """A plain peer has no file names."""
        worker = WorkerState("decky-01")
        worker.took([batch(b"a\n", log=None, stream=None)], 1.0)
        self.assertEqual((worker.newest, worker.streams), (b"a\n", {}))


class HistoryTests(SynchronousTestCase):
    """Past rates."""

    def test_meanOfEachStep(self) -> None:
        """The history has the mean of each step, for a limited number of steps."""
        history = RateHistory(3)
        for counter, seconds in ((20, 20.0), (20, 21.0), (50, 15.0), (53, 1.0)):
            history.note(counter, seconds)
        self.assertEqual(list(history.values), [0.0, 2.0, 3.0])

    def test_lateChecks(self) -> None:
        """
        Slightly late checks do not add up to a drift, and a suspended machine causes
        one long step.
        """
        steps = Steps(20.0, 0.0)
        over = [(now, steps.over(now)) for now in range(0, 100, 3)]
        self.assertEqual(
            [(now, passed) for now, passed in over if passed],
            [(21, 21.0), (42, 21.0), (60, 18.0), (81, 21.0)],
        )
        self.assertEqual(steps.over(5000), 4919.0)
        self.assertEqual((steps.over(5019), steps.over(5020)), (0.0, 20.0))


class ShownTests(SynchronousTestCase):
    """Values formatted for people."""

    def test_beginningOfLine(self) -> None:
        """The beginning of a line is shown as text; octets that are not UTF-8 are spelled out."""
        for line, expected in (
            (b"\xff\xc3\xbc\xe2\x82\n", "\\xff\u00fc\\xe2\\x82"),
            (b"x" * 80 + b"\n", "x" * 80),
            (b"x" * 81, "x" * 80 + "..."),
            (b"x" * 79 + b"\xc3\xbc", "x" * 79 + "..."),
            (b"a\x1b\xe2\x80\xae", "a\\x1b\\u202e"),
        ):
            self.assertEqual(excerpt(line, 80), expected)

    def test_quantitiesHaveUnits(self) -> None:
        """Quantities are short and have units."""
        self.assertEqual(
            (octets(None), octets(5), octets(5 * 2**20)), ("-", "5 B", "5.0 MiB")
        )
        self.assertEqual((span(None), span(119), span(7200)), ("-", "119 s", "2 h"))
        self.assertEqual(
            (rate(0.001), rate(0.0476), rate(3.14), rate(1234.5)),
            ("0", "0.05", "3.1", "1\u202f234"),
        )

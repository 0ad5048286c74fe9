"""
Tests for the programs' own logs: no floods, no hostile text, one line of JSON per
event.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import decnet_syslog
from decnet_syslog.logs import (
    ALIKE_MAX,
    ALIKE_OF_ALL_MAX,
    KINDS_MAX,
    Summing,
    asJSON,
    asText,
)
from decnet_syslog.outputs._options import OUTPUT_EVENTS

from .peers import PairTestCase

PACKAGE = Path(decnet_syslog.__file__).parent


def event(words: str = "refused {address}: {reason}", **fields: Any) -> LogEvent:
    """A warning event."""
    return {
        "log_format": words,
        "log_level": LogLevel.warn,
        "log_time": 1776470400.25,
        "log_namespace": "decnet_syslog.x",
        "address": "192.0.2.1:4000",
        "reason": "unknown",
        **fields,
    }


class SummingTests(SynchronousTestCase):
    """Similar lines are summed up."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.written: list[LogEvent] = []
        self.summing = Summing(self.written.append, self.clock)

    def pop(self) -> list[LogEvent]:
        written, self.written[:] = list(self.written), []
        return written

    def test_floodIsSummedUp(self) -> None:
        """
        When a host connects a thousand times, a few lines and a count of the rest are
        logged.
        """
        for port in range(1000):
            self.summing(event(address=f"192.0.2.1:{port}"))
        self.assertEqual(len(self.pop()), ALIKE_MAX)
        self.clock.advance(60)
        (summary,) = self.pop()
        self.assertEqual(
            asText(summary, True),
            "<4>refused 192.0.2.1:999: unknown ... and 995 similar messages\n",
        )
        # A new minute: events are shown again, and no timer remains when it is quiet.
        self.summing(event())
        self.assertEqual(len(self.pop()), 1)
        self.clock.advance(600)
        self.assertEqual((self.pop(), self.clock.getDelayedCalls()), ([], []))

    def test_otherEventsAreShown(self) -> None:
        """
        One host's flood hides no event of another host, worker or kind, and no event
        above or below a warning.
        """
        for _ in range(50):
            self.summing(event())
        self.pop()
        for other in (
            event(address="192.0.2.2:1"),
            event(worker="w1"),
            event("gap of {worker}"),
            event(log_level=LogLevel.critical),
            event(log_level=LogLevel.info),
            event(log_failure=Failure(ValueError("x"))),
        ):
            self.summing(other)
            self.assertEqual(len(self.pop()), 1, other)

    def test_manyHosts(self) -> None:
        """
        When ten thousand hosts connect once or ten times each, the log stays short and
        the counts are exact.
        """
        self.knock(1)
        self.knock(10)

    def knock(self, times: int) -> None:
        for host in range(10_000 // times):
            for _ in range(times):
                self.summing(event(address=f"10.0.{host // 250}.{host % 250}:1"))
        self.clock.advance(60)
        self.clock.advance(60)
        written = self.pop()
        counted = sum([int(e.get("repeated", 1)) for e in written])
        self.assertEqual(counted, 10_000)
        shown = [e for e in written if "repeated" not in e]
        self.assertEqual(len(shown), ALIKE_OF_ALL_MAX)
        # At most a summary for each of the first hosts, until all are summed up.
        self.assertLess(len(written), 2 * ALIKE_OF_ALL_MAX)
        self.assertLessEqual(self.summing.kinds, KINDS_MAX)

    def test_summaryAtExit(self) -> None:
        """When the process ends, the number of suppressed lines is logged."""
        for _ in range(ALIKE_MAX + 2):
            self.summing(event())
        self.pop()
        self.summing.flush()
        self.assertEqual([e["repeated"] for e in self.pop()], [2])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FormatTests(SynchronousTestCase):
    """Text and JSON formats."""

    def test_textFormat(self) -> None:
        """
        Each line has a time and a level, or a level for journald; control characters
        are escaped.
        """
        hostile = event(reason="\x1b[2J\nforged")
        self.assertEqual(
            asText(hostile, False),
            "2026-04-18T00:00:00.250000Z warn     "
            "refused 192.0.2.1:4000: \\x1b[2J\\nforged\n",
        )
        failed = event(log_failure=Failure(ValueError("no\x07")))
        lines = asText(failed, True).splitlines()
        self.assertGreater(len(lines), 1)
        self.assertEqual({line[:3] for line in lines}, {"<4>"})
        self.assertNotIn("\x07", "".join(lines))

    def test_jsonFormat(self) -> None:
        """An event is one line of JSON with its fields, whatever their values."""
        line = asJSON(
            event(
                kind="refused",
                octets=5,
                thing=object,
                long="x" * 10_000,
                odd="\udcff",
                log_failure=Failure(ValueError("no")),
            )
        )
        self.assertEqual(line.count("\n"), 1)
        record = json.loads(line)
        self.assertEqual(list(record)[:4], ["time", "level", "message", "logger"])
        self.assertEqual(record["message"], "refused 192.0.2.1:4000: unknown")
        self.assertEqual((record["kind"], record["octets"]), ("refused", 5))
        self.assertEqual(len(record["long"]), 2000)
        self.assertIn("ValueError: no", record["traceback"][-1])


class OutputEventTests(SynchronousTestCase):
    """Events about changes that others make to the listener's files."""

    def test_everyEventHasWords(self) -> None:
        """Every event that the code raises has a text."""
        code = "".join(
            [path.read_text("utf-8") for path in (PACKAGE / "outputs").glob("*.py")]
        )
        raised = set(re.findall(r'"(output-[a-z-]+)"', code))
        self.assertEqual(raised, set(OUTPUT_EVENTS))


class ProcessTests(PairTestCase):
    """Real processes with twistd's C{--logger}."""

    def test_everyLineIsJSON(self) -> None:
        """Every line that a listener writes is a JSON object."""
        pair = self.pair()
        pair.listener.arguments = [
            "--logger=decnet_syslog.logs.json",
            *pair.listener.arguments,
        ]
        worker = pair.enroll("w1")
        worker.forwarder.arguments = [
            "--logger=decnet_syslog.logs.text",
            *worker.forwarder.arguments,
        ]
        worker.append(b"x\n")
        pair.startListener()
        worker.forwarder.start()
        self.waitForLines(pair, 1)
        worker.forwarder.stop()
        pair.listener.stop()
        records = [json.loads(line) for line in pair.listener.output().splitlines()]
        (connected,) = [r for r in records if "connected from" in r["message"]]
        self.assertEqual(connected["worker"], "w1")
        self.assertIn(" info     connected to the master", worker.forwarder.output())

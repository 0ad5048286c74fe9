"""Tests for a configuration that is read again while a service runs."""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.configuration import Reread
from decnet_syslog.limits import CHANGEABLE_LIMITS
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.receiving._ratelimits import BURST_OCTETS, RateLimiter
from decnet_syslog.worker.tap import Options as ForwarderOptions

from ..peers import PairTestCase
from .test_configuration import ConfigurationTestCase

BEGIN = "master-host = 'a'\nlog-file = '/b'\n"


class RereadTests(ConfigurationTestCase):
    """Options that SIGHUP changes, and options that it only mentions."""

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[tuple[str, str]] = []
        self.unchanged = 0
        keep: Any = self.keep
        globalLogPublisher.addObserver(keep)
        self.addCleanup(globalLogPublisher.removeObserver, keep)

    def keep(self, event: Any) -> None:
        """Keep the events that an operator needs to know about."""
        if "nothing in it has changed" in event.get("log_format", ""):
            self.unchanged += 1
        if "event" in event:
            text = event["log_format"].format(**event)
            self.logged.append((event["event"], text))

    def begin(self, text: str, *words: str) -> tuple[Reread, list[float]]:
        """A forwarder that began with this file, and can change its polling."""
        path = self.file(text)
        options = ForwarderOptions()
        options.parseOptions(["--config", path, *words])
        used: list[float] = []
        names = frozenset({"poll-interval"})
        return (
            Reread(options, [(names, lambda new: used.append(new["poll-interval"]))]),
            used,
        )

    def test_changesTakeEffect(self) -> None:
        """
        An option that can change takes effect; any other is named each time, until the file no
        longer has it.
        """
        reread, used = self.begin(BEGIN)
        reread()
        self.assertEqual((used, self.logged, self.unchanged), ([], [], 1))
        self.file(BEGIN + "poll-interval = 2\nmax-files = 7\n")
        reread()
        self.assertEqual(used, [2])
        (reloaded, first), (refused, second) = self.logged
        self.assertEqual((reloaded, refused), ("reloaded", "reload-refused"))
        self.assertTrue(first.endswith("changed: poll-interval"), first)
        self.assertTrue(second.endswith("loses nothing: max-files"), second)
        reread()
        self.assertEqual((used, len(self.logged)), ([2], 3))
        self.file(BEGIN)
        reread()
        self.assertEqual((used, len(self.logged)), ([2, 0.5], 4))
        self.assertEqual(self.unchanged, 1)
        reread()
        self.assertEqual(self.unchanged, 2)

    def test_mistakeChangesNothing(self) -> None:
        """A mistake leaves everything as it is, and is named with file and line."""
        reread, used = self.begin(BEGIN)
        for text, reason in (
            ("poll-interval = 2\nmax-fils = 3\n", ":2: there is no option max-fils"),
            ("max-fils = 3\n", "max-files? The old one stays"),
            ("poll-interval = 2\n", "no master given"),
            (BEGIN + "poll-interval = 0\n", ":3: --poll-interval"),
            (BEGIN + "poll-interval = [\n", "not TOML"),
        ):
            self.file(text)
            reread()
            kind, said = self.logged[-1]
            self.assertEqual((used, kind), ([], "reload-refused"))
            self.assertIn(reason, said)
            self.assertNotIn("\n", said)
            self.assertNotRegex(said, r"[?.,;][.,;] ")
        os.unlink(self.home / "forwarder.toml")
        reread()
        self.assertEqual(used, [])

    def test_commandLineStillWins(self) -> None:
        """The command line and the environment still win over the file."""
        reread, used = self.begin(BEGIN, "--poll-interval=3")
        self.file(BEGIN + "poll-interval = 2\n")
        reread()
        self.assertEqual(used, [])
        with mock.patch.dict(os.environ, {"DECNET_SWARM_MASTER_HOST": "e"}):
            reread()
        self.assertIn("master-host", self.logged[-1][1])

    def test_everyLimitCanChange(self) -> None:
        """Each limit of a listener can change, or is one that its start needs."""
        names = set(ListenerOptions().names)
        self.assertLess(CHANGEABLE_LIMITS, names)
        self.assertEqual(
            {name for name in names if name.startswith("max-")} - CHANGEABLE_LIMITS,
            {"max-connections", "max-files", "max-files-per-worker"},
        )


class RateTests(SynchronousTestCase):
    """The rate of a worker changes."""

    def test_debtAtNewRate(self) -> None:
        """A worker waits for as long as the new rate needs; without one, no longer."""
        for rate, passed in ((2000, 0.5), (500, 2.0), (0, 0.0)):
            clock = Clock()
            free: list[str] = []
            limiter = RateLimiter(clock, 1000, free.append)
            self.assertTrue(limiter.spend("w", BURST_OCTETS + 1000))
            limiter.useRate(rate)
            clock.advance(max(0.0, passed - 0.1))
            self.assertEqual(bool(free), not rate)
            clock.advance(0.2)
            self.assertEqual(free, ["w"])
            limiter.stop()
            self.assertEqual(clock.getDelayedCalls(), [])


class HungUpTests(PairTestCase):
    """SIGHUP to real processes."""

    def test_bothEnds(self) -> None:
        """
        Both ends use changed values in their files and name the others, and no line is lost.
        """
        listener, forwarder = self.directory / "l.toml", self.directory / "f.toml"
        listener.write_text("max-rate = '1m'\n")
        forwarder.write_text("poll-interval = 0.2\n")
        pair = self.pair([f"--config={listener}"])
        worker = pair.enroll("decky-01", [f"--config={forwarder}"])
        pair.startListener()
        worker.append(b"one\n")
        worker.forwarder.start()
        self.waitForLines(pair, 1)
        listener.write_text("max-rate = '2m'\nbatch = 1\n")
        pair.listener.signal(signal.SIGHUP)
        self.waitFor(
            pair,
            lambda: "there is no option batch" in pair.listener.output(),
            "no mistake is reported",
        )
        listener.write_text("max-rate = '2m'\nmax-connections = 9\n")
        forwarder.write_text("poll-interval = 0.1\n")
        pair.listener.signal(signal.SIGHUP)
        worker.forwarder.signal(signal.SIGHUP)
        ends = pair.listener, worker.forwarder
        self.waitFor(
            pair,
            lambda: (
                "changed: max-rate" in ends[0].output()
                and "loses nothing: max-connections" in ends[0].output()
                and "changed: poll-interval" in ends[1].output()
            ),
            "a change is not reported",
        )
        worker.append(b"two\n")
        self.waitForLines(pair, 2)
        self.assertEqual(pair.logPath.read_bytes(), b"one\ntwo\n")

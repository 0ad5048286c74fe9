"""Tests for L{decnet_syslog.signals}: what rotation scripts and impatient people send."""

from __future__ import annotations

import signal

from .peers import PairTestCase


class ProcessTests(PairTestCase):
    """Both ends as real processes."""

    def test_every(self) -> None:
        """No signal of a rotation script ends an end; lines flow on."""
        pair = self.pair()
        worker = pair.enroll("w1")
        pair.startListener()
        worker.forwarder.start()
        count = 0
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2) * 2:
            worker.append(b"line %d\n" % count)
            count += 1
            self.waitForLines(pair, count)
            for process in pair.processes:
                process.signal(number)
        worker.append(b"the last one\n")
        self.waitForLines(pair, count + 1)
        for process in pair.processes:
            self.assertTrue(process.alive, process.output())
            self.assertIn("SIGUSR2 has no meaning here", process.output())
        for process in pair.processes:
            # More of them, at once and while it stops.
            for number in (signal.SIGTERM,) * 4 + (signal.SIGINT, signal.SIGHUP):
                process.signal(number)
            self.assertIn(process.stop(), (-signal.SIGTERM, -signal.SIGINT))
            self.assertNotIn("Traceback", process.output())
            self.assertNotIn("Unhandled", process.output())
        self.assertEqual(pair.logPath.read_bytes().count(b"\n"), count + 1)

"""
A sample of the cuts of L{tests.cutting} and L{tests.powercut}, which have them all.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from . import cutting, powercut
from .peers import requirePeer


class ConnectionTests(TestCase):
    """The connection is cut."""

    timeout = 240

    @inlineCallbacks
    def test_everyOctet(self) -> Generator[Deferred[Any], Any, None]:
        """At some octets of a session, in each direction, with FIN and RST."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        steps = range(0, 10**6, 397)
        counts = yield cutting.everyOctet(reactor, directory, steps)
        self.assertEqual(
            list(counts), ["up FIN", "up RST", "down FIN", "down RST"], counts
        )
        # The handshake alone is longer than this.
        self.assertGreater(min(counts.values()), 3, counts)


class PowerTests(SynchronousTestCase):
    """The power is cut."""

    timeout = 240

    def setUp(self) -> None:
        self.home = powercut.newHome()
        self.addCleanup(shutil.rmtree, self.home)

    def test_powerCut(self) -> None:
        """What was not synced is gone, torn or zero; nothing acknowledged is missing."""
        requirePeer("strace")
        self.assertGreater(powercut.run(self.home, 1, steps=20, share=0.04), 50)

    def test_unsyncedShows(self) -> None:
        """The harness sees it when a commit is not synced."""
        requirePeer("strace")
        with self.assertRaisesRegex(AssertionError, "acknowledged"):
            powercut.run(self.home, 1, steps=20, share=0.2, synced=False)

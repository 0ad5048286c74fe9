"""A sample of the cuts of L{tests.campaigns.cutting} and L{tests.campaigns.powercut}."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from ..peers import requirePeer
from . import cutting, powercut


class ConnectionTests(TestCase):
    """The connection is cut at some octets."""

    timeout = 240

    @inlineCallbacks
    def test_someOctets(self) -> Generator[Deferred[Any], Any, None]:
        """
        A session that is cut at some octets, in each direction, with FIN and RST, loses
        and repeats nothing.
        """
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        steps = range(0, 10**6, 397)
        counts = yield cutting.everyOctet(reactor, directory, steps)
        self.assertEqual(
            list(counts), ["up FIN", "up RST", "down FIN", "down RST"], counts
        )
        # The handshake alone is longer.
        self.assertGreater(min(counts.values()), 3, counts)


class PowerTests(SynchronousTestCase):
    """The power is cut."""

    timeout = 240

    def setUp(self) -> None:
        self.home = powercut.newHome()
        self.addCleanup(shutil.rmtree, self.home)

    def test_nothingAcknowledgedIsLost(self) -> None:
        """
        When a power cut removes, tears or zeroes unsynced octets, every acknowledged
        line survives.
        """
        requirePeer("strace")
        self.assertGreater(powercut.run(self.home, 1, steps=20, share=0.04), 50)

    def test_unsyncedShows(self) -> None:
        """The harness detects a journal that commits without a sync."""
        requirePeer("strace")
        with self.assertRaisesRegex(AssertionError, "acknowledged"):
            powercut.run(self.home, 1, steps=20, share=0.2, synced=False)

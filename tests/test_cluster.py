"""A sample of L{tests.cluster}: all processes, with some kills and faults."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from .cluster.__main__ import main
from .peers import requirePeer


class ClusterTests(SynchronousTestCase):
    """Three NATS nodes, two listeners behind HAProxy, the outputs, three workers."""

    # In seconds; the test waits for processes.
    timeout = 400

    def run_(self, *arguments: str) -> str:
        requirePeer("nats-server")
        if "--one-port" not in arguments:
            requirePeer("haproxy")
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main(["--listeners=2", "--workers=3", "--quiet", *arguments])
        self.assertEqual(status, 0, said.getvalue())
        return said.getvalue()

    def test_killsLoseNothing(self) -> None:
        """Whichever process is killed, the files have every line once and in order."""
        said = self.run_("--kills=10", "--seed=2")
        self.assertIn("Every line once, in order.", said)

    def test_restoredStoresAndEditedStream(self) -> None:
        """
        When all stores are restored from an older copy and the stream is edited, no
        line is lost, and an event announces each repeated one.
        """
        faults = ("--faults", "store put back", "stream edited")
        said = self.run_("--one-port", "--kills=3", "--seed=1", *faults)
        self.assertIn("Every line once, in order.", said)

    def test_rollingRestart(self) -> None:
        """
        When the listeners are restarted one after another, the files have every line
        once and in order.
        """
        said = self.run_("--roll")
        self.assertIn("longest time", said)

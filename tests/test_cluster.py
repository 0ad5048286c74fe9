"""A sample of L{tests.cluster}: all processes, some kills and faults."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from .cluster.__main__ import main
from .peers import requirePeer


class ClusterTests(SynchronousTestCase):
    """Three nodes of NATS, two listeners behind HAProxy, the outputs, three workers."""

    # Seconds; it waits on processes.
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

    def test_killed(self) -> None:
        """Whoever is killed, every line is in the files once and in order."""
        said = self.run_("--kills=10", "--seed=2")
        self.assertIn("Every line once, in order.", said)

    def test_badDay(self) -> None:
        """All stores are restored from an older copy, and the stream is edited: no line is lost,
        and an event announces each repeated one."""
        faults = ("--faults", "store put back", "stream edited")
        said = self.run_("--one-port", "--kills=3", "--seed=1", *faults)
        self.assertIn("Every line once, in order.", said)

    def test_restarted(self) -> None:
        """Every listener is restarted, one after the other: the same."""
        said = self.run_("--roll")
        self.assertIn("longest wait", said)

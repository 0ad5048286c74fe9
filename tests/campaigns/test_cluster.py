"""A sample of L{tests.campaigns.cluster}: all processes, with some kills and faults."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.nats._proving import REPEATED
from decnet_syslog.outputs._options import OUTPUT_EVENTS

from ..peers import requirePeer
from .cluster.__main__ import main
from .cluster.naming import unnamed


class NamingTests(SynchronousTestCase):
    """The campaign accepts a repeated line only if an event has announced it."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        self.raw, self.json = directory / "master.log", directory / "master.json"
        self.log = ""
        # The third line is repeated, and a line is cut.
        numbers = [1, 2, 3, 4, 3, 5]
        lines = [f'h w1 prove - line [relay@55555 seq="{n}" at="1"] x' for n in numbers]
        self.raw.write_text("\n".join([*lines, lines[0][:-12], ""]))
        records = [
            {
                "raw_line": line,
                "source_worker": "w1",
                "source_offset": 100 * n,
                "received_at": f"2026-01-01T00:00:0{at}.000000Z",
            }
            for at, (line, n) in enumerate(zip(lines, numbers, strict=True))
        ]
        self.json.write_text("".join(json.dumps(one) + "\n" for one in records))

    def unnamed(self) -> list[str]:
        return unnamed(self.log, self.raw, self.json)

    def announce(self, output: Path, worker: str, start: int, end: int) -> None:
        """Log that octets of a worker's file come again."""
        self.log += "\n" + formatEvent(
            {
                "log_format": REPEATED,
                "output": f"{'json' if output == self.json else 'raw'}:{output}",
                "worker": worker,
                "name": "/var/log/x",
                "start": start,
                "end": end,
                "reason": "the checksums differ",
            }
        )

    def write(self, output: Path, offset: int, since: str, until: str) -> None:
        """Log that an output has octets of a killed process."""
        self.log += "\n" + formatEvent(
            {
                "log_format": OUTPUT_EVENTS["output-unlike"][1],
                "path": str(output),
                "copy": str(output),
                "offset": offset,
                "since": since,
                "until": until,
            }
        )

    def test_withoutEvent(self) -> None:
        """Without an event, or with one for other lines, the repeated line is an error."""
        self.assertEqual(
            self.unnamed(),
            [f"{path.name}: line 3 of w1, 2 times" for path in (self.raw, self.json)],
        )
        self.announce(self.raw, "w2", 0, 1000)
        self.announce(self.raw, "w1", 0, 300)
        self.write(self.raw, 0, "2026-01-01T00:02:00Z", "2026-01-01T00:02:09Z")
        self.write(self.raw, 10_000, "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z")
        self.assertEqual(len(self.unnamed()), 2)

    def test_announcedByEvent(self) -> None:
        """
        An event for these octets of the worker, or of the file, announces the repeated
        line.
        """
        self.announce(self.json, "w1", 250, 350)
        self.assertEqual(len(self.unnamed()), 1)
        self.write(self.raw, 0, "2026-01-01T00:00:04Z", "2026-01-01T00:00:05Z")
        self.assertEqual(self.unnamed(), [])


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

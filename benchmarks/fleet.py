"""
Many workers in one process: the controlling end of L{benchmarks.fleetdriver}.

A thousand forwarders would be a thousand processes of 50 MiB. Here they are connections
of one process, which reads commands from its standard input and answers with lines of
JSON.
"""

from __future__ import annotations

import json
import resource
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decnet_syslog.errors import UserError
from decnet_syslog.trust import Authority

__all__ = ["Fleet", "FleetPlan", "allowDescriptors"]

# The certificates shared by a fleet; each worker has its own stream. The listener keeps
# at most 1,024 streams per certificate name.
BUNDLES = 16


def allowDescriptors() -> int:
    """
    Raise the limit on open files to its maximum, for this process and its children.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@dataclass(frozen=True)
class FleetPlan:
    """
    The driver's settings.

    @ivar acked: offer the delivery extension; otherwise plain RFC 5425.
    @ivar count: the number of connections.
    @ivar atOnce: the number of connections being opened at the same time at the start.
    """

    host: str
    port: int
    bundles: list[str]
    acked: bool
    count: int
    atOnce: int = 32

    def text(self) -> str:
        """The settings for the command line."""
        return json.dumps(asdict(self))


class Fleet:
    """The driver's process."""

    def __init__(
        self,
        directory: Path,
        host: str,
        port: int,
        authority: Authority,
        *,
        acked: bool,
        count: int,
    ) -> None:
        """@param directory: for certificates and the driver's log."""
        bundles = []
        for number in range(min(BUNDLES, count)):
            bundle = directory / f"fleet-{number:02}"
            authority.enroll(bundle.name, bundle)
            bundles.append(str(bundle))
        self._plan = FleetPlan(host, port, bundles, acked, count)
        self._log = directory / "fleet.out"
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def start(self) -> None:
        """
        Start the driver, which opens every connection; C{expect("connected")} waits for
        it.
        """
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fleetdriver", self._plan.text()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )

    @property
    def pid(self) -> int:
        """The driver's process id."""
        assert self._process is not None
        return self._process.pid

    def tell(self, command: str, **arguments: object) -> None:
        """Send a command."""
        assert self._process is not None and self._process.stdin is not None
        told = json.dumps({"command": command, **arguments})
        self._process.stdin.write(told.encode("ascii") + b"\n")

    def heard(self, seconds: float) -> dict[str, Any] | None:
        """The next event, if it arrives in time."""
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._pending:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            octets = self._process.stdout.read(1 << 20)
            if not octets:
                said = self._log.read_text("utf-8", "replace")[-2000:]
                raise UserError(f"the fleet's process has ended:\n{said}")
            self._pending += octets
        line, _, self._pending = self._pending.partition(b"\n")
        event = json.loads(line)
        assert isinstance(event, dict)
        return event

    def expect(self, name: str, seconds: float) -> dict[str, Any]:
        """
        Wait for an event.

        @raise UserError: it did not arrive in time.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            event = self.heard(left)
            if event is not None and event["event"] == name:
                return event
        self.tell("count")
        raise UserError(
            f"not {name} after {seconds:.0f} s: {self.heard(10)} of {self._plan.count}"
        )

    def stop(self) -> None:
        """Kill the driver."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

"""
Cut the connection at every octet of a session, with FIN and with RST, on real sockets.

A session ships 20 lines in five groups; each group is written once the previous one is
acknowledged. The session runs over real TLS through a proxy that forwards a given
number of octets in one direction and then cuts the connection; the forwarder reconnects
and finishes. The listener is a real twistd process. At the end, master.log must equal
the written lines octet for octet. To try every octet, in both directions and with both
kinds of cut:

    python -m tests.campaigns.cutting [step [direction kind]]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater, react

from benchmarks.report import saveLines, table
from decnet_syslog.testing import LocalCluster, LocalWorker
from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._contexts import forwarderContext
from decnet_syslog.worker import _masterselector as masters
from decnet_syslog.worker._masterselector import Address, MasterSelector
from decnet_syslog.worker._service import ForwarderService
from decnet_syslog.worker._settings import ForwarderSettings

__all__ = ["DIRECTIONS", "Cutter", "Sessions", "everyOctet"]

DIRECTIONS = ("up", "down")
KINDS = [f"{direction} {kind}" for direction in DIRECTIONS for kind in ("FIN", "RST")]

# Acknowledge immediately instead of gathering: sessions have more acknowledgements and
# finish sooner.
_LISTENER = (
    "from functools import partial;"
    "from decnet_syslog.master import _service as service;"
    "service.GroupCommit = partial(service.GroupCommit, ackSpacing=0);"
    "from twisted.scripts.twistd import run; run()"
)

GROUPS = 5
LINES = 20

# Octets forwarded before an RST must reach the kernel first, in seconds.
FLUSH_S = 0.002

# The time limit for a session on a busy machine, in seconds.
PATIENCE_S = 30.0


class _End(Protocol):
    """One side of a proxied connection."""

    def __init__(self, cutter: Cutter, direction: str) -> None:
        self.cutter = cutter
        self.direction = direction
        self.other: _End | None = None
        self.early: list[bytes] = []

    def dataReceived(self, octets: bytes) -> None:
        if self.other is None:
            self.early.append(octets)
        else:
            self.cutter.passOn(self, octets)

    def join(self, other: _End) -> None:
        self.other = other
        for octets in self.early:
            self.cutter.passOn(self, octets)

    def hangUp(self, reason: object) -> None:
        """The other end does not exist: close this one."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        if self.other is not None:
            self.other.hangUp(reason)


class Cutter(Factory):
    """
    A proxy that cuts its first connection after a given number of octets in one
    direction.

    @ivar passed: octets forwarded in that direction up to now.
    @ivar cuts: the number of connections that it has cut.
    """

    noisy = False

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        self._reactor = reactor
        self._target = TCP4ClientEndpoint(reactor, host, port)
        self.cutAfter("up", 0, False)

    def cutAfter(self, direction: str, octets: int, reset: bool) -> None:
        """Cut the next connection."""
        self.direction = direction
        self.octets = octets
        self.reset = reset
        self.passed = self.cuts = 0

    def buildProtocol(self, addr: object) -> Protocol:
        """Proxy a connection from the forwarder."""
        here = _End(self, "up")
        connected: Deferred[Any] = self._target.connect(
            cast(Any, Factory.forProtocol(lambda: _End(self, "down")))
        )
        connected.addCallback(self._join, here)
        connected.addErrback(here.hangUp)
        return here

    def _join(self, there: _End, here: _End) -> None:
        there.join(here)
        here.join(there)

    def passOn(self, end: _End, octets: bytes) -> None:
        """Forward the octets that an end has received, or only those before the cut."""
        assert end.other is not None
        out = cast(Any, end.other.transport)
        if end.direction != self.direction or self.cuts:
            out.write(octets)
            return
        room = self.octets - self.passed
        self.passed += len(octets[:room])
        out.write(octets[:room])
        if len(octets) >= room:
            self.cuts += 1
            for transport in (out, cast(Any, end.transport)):
                if self.reset:
                    self._reactor.callLater(FLUSH_S, transport.abortConnection)
                else:
                    transport.loseConnection()


class Sessions:
    """
    Sessions between one worker and one listener, one after another.

    @ivar written: every octet written, in all sessions.
    """

    def __init__(self, reactor: Any, pair: LocalCluster) -> None:
        self._reactor = reactor
        self._worker: LocalWorker = pair.enroll("w1")
        self._worker.file.touch()
        self._count = 0
        self._context = forwarderContext(
            Bundle.load(self._worker.bundle), "decnet-master", True
        )
        self.cutter = Cutter(reactor, pair.host, pair.port)
        self.pair = pair
        self.written = b""

    @inlineCallbacks
    def start(self) -> Generator[Deferred[Any], Any, None]:
        """Start the listener and the proxy."""
        self.pair.listener.code = _LISTENER
        self.pair.startListener()
        endpoint = TCP4ServerEndpoint(self._reactor, 0, interface=self.pair.host)
        self._port = yield cast(Any, endpoint).listen(self.cutter)

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Stop both, and compare the output with the written lines."""
        yield maybeDeferred(self._port.stopListening)
        self.pair.listener.stop()
        there = self.pair.logPath.read_bytes()
        assert there == self.written, f"see {self.pair.directory}"
        records = self.pair.jsonPath.read_bytes().count(b"\n")
        assert records == self.written.count(b"\n"), f"{records} records"

    @inlineCallbacks
    def run(
        self, direction: str, octets: int, reset: bool
    ) -> Generator[Deferred[Any], Any, bool]:
        """
        Run one session and cut it.

        @return: whether the session was long enough to be cut at that octet.
        """
        self._count += 1
        log = self._worker.file
        self.cutter.cutAfter(direction, octets, reset)
        service = self._service()
        service.startService()
        try:
            for group in range(GROUPS):
                text = b"".join(
                    b"<134>1 2026-04-18T00:00:00Z d s - e - %d line %d\n"
                    % (self._count, group * LINES // GROUPS + n)
                    for n in range(LINES // GROUPS)
                )
                self.written += text
                self._worker.append(text)
                yield self._until(
                    lambda: self._acknowledged(service) == log.stat().st_size,
                    f"{direction} {octets} {'RST' if reset else 'FIN'}",
                )
        finally:
            yield maybeDeferred(service.stopService)
        return self.cutter.cuts > 0

    def _service(self) -> ForwarderService:
        return ForwarderService(
            self._reactor,
            lambda: self._context,
            lambda: None,
            MasterSelector(
                [Address(self.pair.host, self._port.getHost().port)], self._reactor
            ),
            ForwarderSettings(
                [str(self._worker.file)],
                self._worker.bundle / "forwarder.db",
                delivery="acked",
                pollSeconds=0.5,
                messageOctetsMax=65536,
                lagOctetsMax=None,
            ),
        )

    def _acknowledged(self, service: ForwarderService) -> int:
        # Each look makes a report; this starts one.
        service.parts()
        return sum(file.position for file in service.components.reporter.report.files)

    @inlineCallbacks
    def _until(
        self, condition: Callable[[], bool], what: str
    ) -> Generator[Deferred[Any], Any, None]:
        deadline = self._reactor.seconds() + PATIENCE_S
        while not condition():
            if self._reactor.seconds() > deadline:
                raise AssertionError(f"{what}: not acknowledged; {self.pair.directory}")
            yield deferLater(self._reactor, 0.001)


@inlineCallbacks
def everyOctet(
    reactor: Any,
    directory: Path,
    steps: Iterable[int],
    said: Callable[[str], None] = lambda line: None,
    kinds: Sequence[str] = KINDS,
) -> Generator[Deferred[Any], Any, dict[str, int]]:
    """
    Cut at some octets, or at every one.

    @param steps: the octets to cut at; stops after one that a session did not reach.
    @param kinds: some of L{KINDS}.
    @return: the number of cuts by direction and kind.
    """
    steps = list(steps)
    pair = LocalCluster(directory)
    sessions = Sessions(reactor, pair)
    counts: dict[str, int] = {}
    # Reconnection delays are tested elsewhere.
    soon = mock.patch.object(masters, "DELAY_MIN_S", 0.005)
    soon.start()
    try:
        yield sessions.start()
        for kind in kinds:
            direction, how = kind.split()
            counts[kind] = 0
            for octets in steps:
                if not (yield sessions.run(direction, octets, how == "RST")):
                    break
                counts[kind] += 1
            said(f"{kind}: cut at {counts[kind]} octets")
        yield sessions.stop()
    finally:
        soon.stop()
        pair.stop()
    return counts


@inlineCallbacks
def main(reactor: Any, step: int, kind: str) -> Generator[Deferred[Any], Any, None]:
    """Cut at every octet."""
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-cutting-"))
    counts = yield everyOctet(
        reactor,
        directory,
        range(0, 10**6, step),
        lambda line: print(line, flush=True),
        [kind] if kind else KINDS,
    )
    shutil.rmtree(directory)
    total = sum(counts.values())
    heads = ["cut by", *KINDS]
    row = ["octets, one session each", *[f"{counts.get(one, 0):,}" for one in KINDS]]
    saveLines(
        "cutting",
        {"step": step},
        [
            *table(heads, [row]).splitlines(),
            f"{total:,} sessions cut: 0 lost, 0 repeated, 0 out of order",
        ],
    )


def options(arguments: Sequence[str]) -> tuple[int, str]:
    """The step and the kind of cut (empty: every kind) that a command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.cutting",
        description="Cut the connection at every octet of a session.",
    )
    parser.add_argument(
        "step", nargs="?", type=int, default=1, help="only at each n-th octet"
    )
    parser.add_argument(
        "direction", nargs="?", choices=DIRECTIONS, help="only in this direction"
    )
    parser.add_argument(
        "kind", nargs="?", choices=["FIN", "RST"], help="only with this kind of cut"
    )
    chosen = parser.parse_args(arguments)
    if chosen.step < 1:
        parser.error("step is at least 1")
    if chosen.direction and not chosen.kind:
        parser.error("name FIN or RST after the direction")
    return chosen.step, f"{chosen.direction} {chosen.kind}" if chosen.kind else ""


if __name__ == "__main__":
    react(main, options(sys.argv[1:]))

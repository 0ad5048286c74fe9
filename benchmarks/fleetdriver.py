"""
Many workers in one process; L{benchmarks.fleet} starts it and sends its commands.

The connections use the forwarder's own factory with its backoff, connector, TLS and
protocol. Only the shipped lines do not come from a file (L{benchmarks.trickle}), and no
name is looked up: five thousand workers would have five thousand resolvers, but here
they would share one.

Commands, each a line of JSON: trickle (lines_per_s of all workers together, seconds,
seed), count, report. Events: connected (each time that the last connection has become
ready), sent, counted, reported.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.protocols.basic import LineOnlyReceiver

from decnet_syslog.clock import useMonotonicClock
from decnet_syslog.sending import Session
from decnet_syslog.trust import Bundle, ForwarderContext, forwarderContext
from decnet_syslog.worker._connector import EndpointConnector
from decnet_syslog.worker._forwarder import ForwarderFactory
from decnet_syslog.worker._masterselector import Address, MasterSelector
from decnet_syslog.worker._protocol import ForwarderProtocol

from .fleet import FleetPlan, allowDescriptors
from .lines import stamped
from .trickle import PlainTrickle, Trickle

__all__ = ["main"]

# The interval at which due lines are sent, in seconds.
TICK_S = 0.005


class _Connector(EndpointConnector):
    """Records each attempt."""

    def __init__(
        self,
        endpoint: Callable[[], IStreamClientEndpoint],
        factory: ForwarderFactory,
        attempts: list[float],
    ) -> None:
        super().__init__(endpoint, factory)
        self._attempts = attempts

    def connect(self) -> None:
        """Begin an attempt."""
        self._attempts.append(time.monotonic())
        super().connect()


class Member:
    """One worker of the fleet."""

    def __init__(
        self, fleet: FleetDriver, number: int, context: ForwarderContext
    ) -> None:
        self.fleet = fleet
        self.number = number
        self.stream = uuid4().hex
        self.sender: Trickle | PlainTrickle | None = None
        self._ready = False
        plan = fleet.plan

        def endpoint() -> IStreamClientEndpoint:
            tcp = TCP4ClientEndpoint(fleet.reactor, plan.host, plan.port)
            wrapped: IStreamClientEndpoint = wrapClientTLS(context, tcp)
            return wrapped

        def sessionFor(connection: ForwarderProtocol) -> Session | None:
            if not plan.acked:
                return cast(Session, PlainTrickle(self, connection))
            return (
                cast(Session, Trickle(self, connection)) if connection.control else None
            )

        self._factory = ForwarderFactory(
            fleet.reactor,
            sessionFor,
            lambda: None if context.lastRefusal is None else str(context.lastRefusal),
            MasterSelector([Address(plan.host, plan.port)], fleet.reactor),
        )
        self.connector = _Connector(endpoint, self._factory, fleet.attempts)
        self._factory.connector = self.connector

    def joined(self, sender: Trickle | PlainTrickle) -> None:
        """The connection can send lines."""
        self.sender = sender

    def dismissed(self, code: str) -> None:
        """The listener has sent BYE."""
        self.fleet.byes[code] += 1

    def ready(self) -> None:
        """The first line of this connection is acknowledged (plain: sent)."""
        if not self._ready and self.sender is not None:
            self._ready = True
            self.fleet.memberReady()

    def gone(self) -> None:
        """The connection is lost. The factory opens another."""
        self.sender = None
        if self._ready:
            self._ready = False
            self.fleet.memberGone()


class FleetDriver(LineOnlyReceiver):
    """The whole fleet, and its conversation with L{benchmarks.fleet}."""

    delimiter = b"\n"

    def __init__(self, plan: FleetPlan, reactor: Any) -> None:
        self.plan = plan
        self.reactor = reactor
        self.attempts: list[float] = []
        self.readyAt: list[float] = []
        self.byes: Counter[str] = Counter()
        self._readyCount = 0
        self._begun = 0
        contexts = [
            forwarderContext(Bundle.load(Path(bundle)), "decnet-master", plan.acked)
            for bundle in plan.bundles
        ]
        self.members = [
            Member(self, number, contexts[number % len(contexts)])
            for number in range(plan.count)
        ]

    def connectionMade(self) -> None:
        """Begin to connect."""
        for _ in range(min(self.plan.atOnce, self.plan.count)):
            self._beginNext()

    def _beginNext(self) -> None:
        if self._begun < len(self.members):
            self._begun += 1
            self.members[self._begun - 1].connector.connect()

    def memberReady(self) -> None:
        """Another member is ready."""
        self._readyCount += 1
        self.readyAt.append(time.monotonic())
        self._beginNext()
        if self._readyCount == self.plan.count:
            self._tell("connected", at=time.monotonic(), byes=dict(self.byes))

    def memberGone(self) -> None:
        """A member is no longer ready."""
        self._readyCount -= 1

    def _tell(self, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, **facts}).encode("ascii")
        cast(Any, self.transport).write(line + b"\n")

    def lineReceived(self, line: bytes) -> None:
        """Run a command."""
        command = json.loads(line)
        match command.pop("command"):
            case "trickle":
                self._trickle(**command)
            case "count":
                self._tell(
                    "counted", ready=self._readyCount, attempts=len(self.attempts)
                )
            case "report":
                self._tell("reported", attempts=self.attempts, ready=self.readyAt)

    def _trickle(self, lines_per_s: float, seconds: float, seed: int) -> None:
        """Let members send a line each in turn, in random order."""
        turns = self.members[:]
        random.Random(seed).shuffle(turns)
        begun = time.monotonic()
        total = int(lines_per_s * seconds)
        sent = missed = 0

        def tick() -> None:
            nonlocal sent, missed
            due = min(total, int((time.monotonic() - begun) * lines_per_s))
            for number in range(sent, due):
                member = turns[number % len(turns)]
                if member.sender is None:
                    missed += 1
                else:
                    member.sender.send(stamped(member.number, time.monotonic_ns()))
            sent = due
            if sent == total:
                ticking.stop()
                self._tell("sent", lines=sent - missed, missed=missed)

        ticking = LoopingCall(tick)
        ticking.start(TICK_S)

    def connectionLost(self, reason: object = None) -> None:
        """Standard input has ended, so the controlling process is gone."""
        if self.reactor.running:
            self.reactor.stop()


def main() -> None:
    """Run until standard input ends."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    errors = FilteringLogObserver(
        textFileLogObserver(sys.stderr),
        [LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)],
    )
    globalLogBeginner.beginLoggingTo([errors], redirectStandardIO=False)
    useMonotonicClock(reactor)
    allowDescriptors()
    StandardIO(FleetDriver(FleetPlan(**json.loads(sys.argv[1])), reactor))
    reactor.run()


if __name__ == "__main__":
    main()

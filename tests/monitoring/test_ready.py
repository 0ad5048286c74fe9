"""Tests for C{/readyz}."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.monitoring._ready import PATIENCE_S, Ready
from decnet_syslog.monitoring._site import Facts, makeSite


class ReadyTests(SynchronousTestCase):
    """Whether a process does its work now."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.obstacles: list[str] = []
        self.parts: dict[str, Deferred[Any]] = {"the journal": succeed(None)}
        self.asked = 0
        self.factory = makeSite(
            self.clock,
            Facts(dict[str, object], self.clock.seconds),
            lambda: b"",
            b"text/plain",
            ready=Ready(self.clock, lambda: self.obstacles, self.ask),
        )
        self.factory.doStart()

    def ask(self) -> dict[str, Deferred[Any]]:
        """Ask the parts."""
        self.asked += 1
        return self.parts

    def begin(self, method: str = "GET") -> tuple[Any, StringTransport]:
        """Begin a request on a connection of its own."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        assert protocol is not None
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(
            f"{method} /readyz HTTP/1.0\r\nHost: 127.0.0.1:5\r\n\r\n".encode()
        )
        self.clock.advance(0)
        return protocol, transport

    def answer(self, method: str = "GET", seconds: float = 0.0) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        protocol, transport = self.begin(method)
        self.clock.advance(seconds)
        head, _, body = transport.value().partition(b"\r\n\r\n")
        protocol.connectionLost(Failure(Exception("closed")))
        return int(head.split()[1]), body

    def test_readyIfAllPartsAnswer(self) -> None:
        """A process whose parts all answer is ready; HEAD has no body."""
        self.assertEqual(self.answer(), (200, b"ok\n"))
        self.assertEqual(self.answer("HEAD"), (200, b""))

    def test_noParts(self) -> None:
        """A process without parts to ask answers, too."""
        self.parts = {}
        self.assertEqual(self.answer(seconds=PATIENCE_S), (200, b"ok\n"))

    def test_obstacleIsTheReason(self) -> None:
        """An obstacle is given as the reason, and no part is asked."""
        self.obstacles = ["cannot write json: disk full"]
        self.assertEqual(self.answer(), (503, b"cannot write json: disk full\n"))
        self.assertEqual(self.asked, 0)

    def test_noAnswer(self) -> None:
        """A part that does not answer in time is named; its late answer is harmless."""
        late: Deferred[Any] = Deferred()
        self.parts = {"the journal": succeed(None), "json": late}
        self.assertEqual(
            self.answer(seconds=PATIENCE_S), (503, b"json does not answer\n")
        )
        late.callback(None)
        self.parts = {"the journal": succeed(None)}
        self.assertEqual(self.answer(), (200, b"ok\n"))

    def test_failedPart(self) -> None:
        """A part that fails is not ready."""
        broken: Deferred[Any] = Deferred()
        broken.errback(Failure(Exception("gone")))
        self.parts = {"json": broken}
        self.assertEqual(self.answer(seconds=PATIENCE_S), (503, b"json failed: gone\n"))

    def test_manyRequests(self) -> None:
        """Requests at the same time ask once, and one that has gone disturbs no other."""
        late: Deferred[Any] = Deferred()
        self.parts = {"json": late}
        begun = [self.begin() for _ in range(8)]
        begun[0][0].connectionLost(Failure(Exception("closed")))
        late.callback(None)
        self.assertEqual(self.asked, 1)
        for protocol, transport in begun[1:]:
            self.assertIn(b"200 OK", transport.value())
            protocol.connectionLost(Failure(Exception("closed")))

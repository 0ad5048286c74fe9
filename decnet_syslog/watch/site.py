"""
The status over HTTP: C{/status.json}, C{/metrics}, C{/healthz}. Read only.

It is on loopback and asks for no password. Attackers can be on the same machine, so what
they can make it hold or compute is bounded; and a browser on it can be made to ask for
any name, so only requests for loopback are answered.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import FORBIDDEN, Request
from twisted.web.resource import Resource
from twisted.web.server import Site

__all__ = ["Facts", "StatusPort", "isLoopback", "makeSite"]

# Somebody who scrapes, somebody who looks, and a few who try.
CONNECTIONS_MAX = 32

# A connection that says nothing for so long is closed, in seconds.
IDLE_S = 15

# The facts of a large fleet take a while to put together: not more often than this, in
# seconds.
FACTS_S = 1.0

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}

_INDEX = b"""\
/status.json  all there is to know
/metrics      for Prometheus
/healthz      answers while the process does
"""


def isLoopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Facts:
    """The facts, not older than C{FACTS_S}."""

    def __init__(
        self, gather: Callable[[], dict[str, Any]], clock: Callable[[], float]
    ) -> None:
        self._gather = gather
        self._clock = clock
        self._at = float("-inf")
        self._found: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """The facts."""
        now = self._clock()
        if now - self._at >= FACTS_S:
            self._found = self._gather()
            self._at = now
        return self._found


class _Page(Resource):
    """One path."""

    isLeaf = True

    def __init__(self, contentType: bytes, render: Callable[[], bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._type = contentType
        self._render = render

    def render_GET(self, request: Request) -> bytes:
        """What the path has."""
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        request.setHeader(b"content-type", self._type)
        host = request.getRequestHostname().decode("ascii", "replace")
        if not isLoopback(host):
            request.setResponseCode(FORBIDDEN)
            request.setHeader(b"content-type", b"text/plain")
            return b"ask for 127.0.0.1\n"
        return self._render()


class _Site(Site):
    """A site that keeps no log of who has asked."""

    noisy = False

    def log(self, request: Request) -> None:
        """A scrape every few seconds is no news."""


class StatusPort(WrappingFactory):
    """A bounded number of connections to a site."""

    protocol = ProtocolWrapper
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, or none when there are too many."""
        if len(self.protocols) >= CONNECTIONS_MAX:
            return None
        return super().buildProtocol(addr)


def makeSite(
    reactor: Any,
    facts: Callable[[], dict[str, Any]],
    metrics: Callable[[], bytes],
    metricsType: bytes,
) -> StatusPort:
    """
    The factory for the status port.

    @param metrics: the text for Prometheus.
    """

    def status() -> bytes:
        return json.dumps(facts()).encode("ascii") + b"\n"

    root = Resource()
    text = b"text/plain; charset=utf-8"
    for path, page in (
        (b"", _Page(text, lambda: _INDEX)),
        (b"healthz", _Page(text, lambda: b"ok\n")),
        (b"status.json", _Page(b"application/json", status)),
        (b"metrics", _Page(metricsType, metrics)),
    ):
        root.putChild(path, page)
    site = _Site(root, reactor=reactor, timeout=IDLE_S)  # type: ignore[no-untyped-call]
    return StatusPort(site)  # type: ignore[no-untyped-call]

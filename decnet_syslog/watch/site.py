"""
The status over HTTP: C{/status.json}, C{/metrics}, C{/healthz}, and pages. Read only.

On loopback it asks for no password. Attackers can be on the same machine, so what they can
make it hold or compute is bounded; and a browser on it can be made to ask for any name, so
only requests for loopback are answered. Elsewhere it is for operators' certificates
(L{decnet_syslog.watch.port}), and the name that a browser asks for is in ours or it
shows nothing. What a browser may do with an answer is the same for all of them: run and
show what we serve, and nothing else.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.http import FORBIDDEN, Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from .port import OperatorPort, StatusPort

__all__ = [
    "Document",
    "Facts",
    "isLoopback",
    "makeSite",
    "withoutBody",
]

# A connection that says nothing for so long is closed, in seconds.
IDLE_S = 15

# The facts of a large fleet take a while to put together: not more often than this, in
# seconds.
FACTS_S = 1.0

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self';"
    b" connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}

# Where there is no page: a forwarder's is its master's.
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


class _Once:
    """What is made of the facts, made once of the same: of a large fleet it is megabytes."""

    def __init__(
        self,
        facts: Callable[[], dict[str, Any]],
        make: Callable[[dict[str, Any]], bytes],
    ) -> None:
        self._facts = facts
        self._make = make
        self._of: dict[str, Any] | None = None
        self._made = b""

    def __call__(self) -> bytes:
        """It, of the facts that there are now."""
        found = self._facts()
        if found is not self._of:
            self._made = self._make(found)
            self._of = found
        return self._made


def withoutBody(resource: Any, request: Request) -> bytes:
    """Answer HEAD as GET, but for the body; Twisted would log each time that it left it out."""
    octets = resource.render_GET(request)
    request.setHeader(b"content-length", b"%d" % len(octets))
    return b""


class Document(Resource):
    """One path."""

    isLeaf = True

    def __init__(self, contentType: bytes, render: Callable[[], bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._type = contentType
        self._render = render

    def render_GET(self, request: Request) -> bytes:
        """What the path has."""
        request.setHeader(b"content-type", self._type)
        return self._render()

    render_HEAD = withoutBody


class _Refusal(Resource):
    """What somebody is told who asks for another host than this one."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Whatever the method."""
        request.setResponseCode(FORBIDDEN)
        request.setHeader(b"content-type", b"text/plain")
        return b"ask for 127.0.0.1\n"


def _isForUs(request: Request) -> bool:
    """
    Whether a request is for loopback.

    A name of somebody's own can be made to lead here; then a browser takes their page and
    ours for one site's (DNS rebinding). It says the name that it believes in.
    """
    if len(request.requestHeaders.getRawHeaders(b"host", [])) > 1:
        return False
    return isLoopback(request.getRequestHostname().decode("ascii", "replace"))


class _Site(Site):
    """
    A site that keeps no log of who has asked, and has each answer under our rules.

    @ivar loopback: whether only requests for loopback are answered.
    """

    noisy = False
    loopback = True

    def acceptableProtocols(self) -> list[bytes]:
        """No HTTP/2, whatever is installed: it is much code for a few pages."""
        return [b"http/1.1"]

    def log(self, request: Request) -> None:
        """A scrape every few seconds is no news."""

    def getResourceFor(self, request: Request) -> Any:
        """The resource, whose answer has our headers; also one that is not found."""
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if self.loopback and not _isForUs(request):
            return _Refusal()  # type: ignore[no-untyped-call]
        return super().getResourceFor(request)  # type: ignore[no-untyped-call]


def makeSite(
    reactor: Any,
    facts: Callable[[], dict[str, Any]],
    metrics: Callable[[], bytes],
    metricsType: bytes,
    pages: Mapping[bytes, Resource] | None = None,
    context: Any = None,
) -> StatusPort:
    """
    The factory for the status port.

    @param metrics: the text for Prometheus.
    @param pages: what else there is, by its path's first word; of "" an index by default.
    @param context: the TLS of operators; C{None}: it is on loopback, and plain.
    """

    status = _Once(facts, lambda found: json.dumps(found).encode("ascii") + b"\n")
    root = Resource()
    text = b"text/plain; charset=utf-8"
    documents: dict[bytes, Resource] = {
        b"": Document(text, lambda: _INDEX),
        b"healthz": Document(text, lambda: b"ok\n"),
        b"status.json": Document(b"application/json", status),
        b"metrics": Document(metricsType, _Once(facts, lambda found: metrics())),
        **(pages or {}),
    }
    for path, document in documents.items():
        root.putChild(path, document)
    site = _Site(root, reactor=reactor, timeout=IDLE_S)  # type: ignore[no-untyped-call]
    if context is None:
        return StatusPort(site)  # type: ignore[no-untyped-call]
    site.loopback = False
    tls = TLSMemoryBIOFactory(context, False, site, reactor)
    return OperatorPort(tls)  # type: ignore[no-untyped-call]

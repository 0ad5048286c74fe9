"""
The status over HTTP: C{/status.json}, C{/metrics}, C{/healthz}, C{/readyz}, and pages. Read only.

On loopback there is no password. Attackers can be on the same machine, so the memory and the work
that they can cause are bounded; and a browser there can be made to ask for any name, so only
requests for loopback are answered. On other addresses the status requires an operator's
certificate (L{decnet_syslog.monitoring._port}), and the browser accepts only a server
certificate with the name that it asked for. In all cases, a browser may run and show only
files that we serve.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.http import FORBIDDEN, NOT_IMPLEMENTED, Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from ..errors import UserError
from ._port import OperatorPort, StatusPort, isLoopback
from ._ready import Ready, ReadyResource

__all__ = [
    "Document",
    "Facts",
    "makeSite",
    "withoutBody",
]

# A connection that sends nothing for this long is closed, in seconds.
IDLE_S = 15

# Gathering the facts of a large fleet takes a while: do it at most this often, in seconds.
FACTS_S = 1.0

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self';"
    b" img-src 'self';"
    b" connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}

# Shown where there is no page: a forwarder has none, its master's page shows it.
_INDEX = b"""\
/status.json  the complete status
/metrics      for Prometheus
/healthz      answers while the process is alive
/readyz       200 while it does its work, or 503 with the reasons
"""


F = TypeVar("F", bound=Mapping[str, object])


class Facts(Generic[F]):
    """The facts, not older than C{FACTS_S}."""

    def __init__(self, gather: Callable[[], F], clock: Callable[[], float]) -> None:
        self._gather = gather
        self._clock = clock
        self._at = float("-inf")
        self._found: F | None = None

    def __call__(self) -> F:
        """The facts."""
        now = self._clock()
        if self._found is None or now - self._at >= FACTS_S:
            self._found = self._gather()
            self._at = now
        return self._found


class _Once(Generic[F]):
    """A rendering of the facts, made once for the same facts: it can be megabytes."""

    def __init__(
        self,
        facts: Callable[[], F],
        make: Callable[[F], bytes],
    ) -> None:
        self._facts = facts
        self._make = make
        self._of: F | None = None
        self._made = b""

    def __call__(self) -> bytes:
        """The rendering of the present facts."""
        found = self._facts()
        if found is not self._of:
            self._made = self._make(found)
            self._of = found
        return self._made


class _Shown(Protocol):
    def render_GET(self, request: Request) -> bytes: ...


def withoutBody(resource: _Shown, request: Request) -> bytes:
    """Answer HEAD like GET without the body; otherwise Twisted would log every removed body."""
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
        """The document; or 501 with the remedy, if this installation cannot make it."""
        try:
            octets = self._render()
        except UserError as error:
            request.setResponseCode(NOT_IMPLEMENTED)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return f"{error}\n".encode()
        request.setHeader(b"content-type", self._type)
        return octets

    render_HEAD = withoutBody


class _Refusal(Resource):
    """The answer to a request for a host other than this one."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Refuse, whatever the method."""
        request.setResponseCode(FORBIDDEN)
        request.setHeader(b"content-type", b"text/plain")
        return b"ask for 127.0.0.1\n"


def _isForUs(request: Request) -> bool:
    """
    Whether a request is for loopback.

    Anybody can make a name of their own point here; then a browser treats their page and ours as
    one site (DNS rebinding). But the browser sends the name that it asked for.
    """
    if len(request.requestHeaders.getRawHeaders(b"host", [])) > 1:
        return False
    return isLoopback(request.getRequestHostname().decode("ascii", "replace"))


class _Site(Site):
    """
    A site without an access log, whose answers all have our headers.

    @ivar loopback: whether only requests for loopback are answered.
    """

    noisy = False
    loopback = True

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only, whatever is installed: HTTP/2 is much code for a few pages."""
        return [b"http/1.1"]

    def log(self, request: Request) -> None:
        """Log nothing: a scrape every few seconds is no news."""

    def getResourceFor(self, request: Request) -> IResource:
        """The resource, with our headers on its answer; also on that of a missing one."""
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if self.loopback and not _isForUs(request):
            return _Refusal()  # type: ignore[no-untyped-call]
        found: IResource = super().getResourceFor(request)  # type: ignore[no-untyped-call]
        return found


def makeSite(
    reactor: IReactorTime,
    facts: Callable[[], F],
    metrics: Callable[[], bytes],
    metricsType: bytes,
    pages: Mapping[bytes, Resource] | None = None,
    context: IOpenSSLServerConnectionCreator | None = None,
    ready: Ready | None = None,
) -> StatusPort:
    """
    The factory for the status port.

    @param metrics: makes the text for Prometheus.
    @param pages: further resources by the first segment of their path; "" replaces the index.
    @param context: the TLS for operators; C{None}: plain HTTP on loopback.
    @param ready: asks whether the process does its work.
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
    if ready is not None:
        documents[b"readyz"] = ReadyResource(ready)
    for path, document in documents.items():
        root.putChild(path, document)
    site = _Site(root, reactor=reactor, timeout=IDLE_S)  # type: ignore[no-untyped-call]
    if context is None:
        return StatusPort(site)
    site.loopback = False
    tls = TLSMemoryBIOFactory(context, False, site, reactor)
    return OperatorPort(tls)

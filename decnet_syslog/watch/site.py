"""
The status over HTTP: C{/status.json}, C{/metrics}, C{/healthz}, and pages. Read only.

On loopback it asks for no password. Attackers can be on the same machine, so what they can
make it hold or compute is bounded; and a browser on it can be made to ask for any name, so
only requests for loopback are answered. Elsewhere it is for operators' certificates
(L{OperatorPort}), and the name that a browser asks for is in ours or it
shows nothing. What a browser may do with an answer is the same for all of them: run and
show what we serve, and nothing else.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.http import FORBIDDEN, Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from ..trust.names import peerName

__all__ = [
    "Document",
    "Facts",
    "OperatorPort",
    "StatusPort",
    "isLoopback",
    "makeSite",
    "withoutBody",
]

# Somebody who scrapes, somebody who looks, and a few who try.
CONNECTIONS_MAX = 32

# Connections that have not shown a certificate, and of these from one address (or /64).
# The port may be anybody's to connect to.
STRANGERS_MAX = 64
STRANGERS_PER_ADDRESS_MAX = 8

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


class StatusPort(WrappingFactory):
    """A bounded number of connections to a site."""

    protocol = ProtocolWrapper
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, or none when there are too many."""
        if len(self.protocols) >= CONNECTIONS_MAX:
            return None
        return super().buildProtocol(addr)


class OperatorPort(StatusPort):
    """
    The same over TLS, for operators from elsewhere.

    Whether a certificate is accepted is the handshake's business, and L{sweep}'s later on.
    A stranger who begins none, or many, does not take an operator's place.
    """

    _log = Logger()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol, or none when there are too many."""
        strangers = [p for p in self.protocols if _certificate(p) is None]
        network = _network(addr)
        near = [p for p in strangers if _network(p.getPeer()) == network]
        if (
            len(strangers) >= STRANGERS_MAX
            or len(near) >= STRANGERS_PER_ADDRESS_MAX
            or len(self.protocols) - len(strangers) >= CONNECTIONS_MAX
        ):
            return None
        return WrappingFactory.buildProtocol(self, addr)

    def sweep(self, refuse: Callable[[x509.Certificate], str | None]) -> None:
        """Close the connections whose certificates are not accepted any more."""
        for protocol in list(self.protocols):
            certificate = _certificate(protocol)
            reason = None if certificate is None else refuse(certificate)
            if certificate is None or reason is None:
                continue
            peer = protocol.getPeer()
            self._log.warn(
                "closed the status connection of operator {operator} at {address}: {reason}",
                event="revoked",
                operator=peerName(certificate),
                address=f"{peer.host}:{peer.port}",
                reason=reason,
            )
            protocol.abortConnection()


def _network(address: Any) -> object:
    """Whoever has one address of IPv6 has the network that it is in."""
    try:
        number = ipaddress.IPv6Address(address.host.partition("%")[0])
    except ValueError:
        return address.host
    return number.ipv4_mapped or ipaddress.IPv6Network((number, 64), strict=False)


def _certificate(protocol: Any) -> x509.Certificate | None:
    """The peer's, as soon as it has sent one that is accepted."""
    certificate = protocol.wrappedProtocol.getPeerCertificate()
    return None if certificate is None else certificate.to_cryptography()


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

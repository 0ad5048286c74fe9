"""
TLS for both ends: mutual, by the CA of the bundle, and by name.

What must be true, in every case fail-closed:

* OpenSSL's refusal is final: a callback adds refusals and takes none back;
* the listener accepts clients' certificates of the CA with exactly one usable CN, and
  says which it has refused, from where and why: afterwards only "verify failed" is left;
* the forwarder accepts a certificate of the CA that is good for a server and has the
  master's name. Twisted's own check of names accepts a certificate without any
  (C{optionsForClientTLS} logs what service_identity raises and goes on), and so any
  worker's; so the check is here.

TLS 1.2 and newer, forward secrecy and AEAD only (RFC 9662), no compression, no
renegotiation, no sessions and no tickets that would skip the certificates.

ALPN: a server of Twisted's that selects nothing kills every client that offers anything,
so ours says that it takes no part.

Our servers send no session tickets: see L{decnet_syslog.trust.openssl}. With tickets, a TLS 1.3
client that never reads loses its last lines.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
from zope.interface import implementer

from .bundles import Bundle
from .gathering import GatheringConnection
from .names import fingerprint, showText
from .roles import refuseMaster, refuseOperator, refuseOwn, refuseWorker

__all__ = [
    "DELIVERY_PROTOCOL",
    "DELIVERY_PROTOCOLS",
    "HISTORY_PROTOCOL",
    "STATE_PROTOCOL",
    "STATE_PROTOCOLS",
    "ForwarderContext",
    "ListenerContext",
    "Refusal",
    "RefuseChain",
    "chainOf",
    "forwarderContext",
    "listenerContext",
    "operatorContext",
]

# The delivery extension, docs/protocol.rst.
DELIVERY_PROTOCOL = b"decnet-syslog/1"

# The same with the forwarder's state. An end that does not know it takes the other.
STATE_PROTOCOL = b"decnet-syslog/1.1"

# Also with the journal's history, so that one that was put back is noticed.
HISTORY_PROTOCOL = b"decnet-syslog/2"

# The best first.
DELIVERY_PROTOCOLS = (HISTORY_PROTOCOL, STATE_PROTOCOL, DELIVERY_PROTOCOL)

# Those with which the forwarder says how it is.
STATE_PROTOCOLS = (HISTORY_PROTOCOL, STATE_PROTOCOL)

# Of a peer's versions that we do not have, as many are shown.
SHOWN_MAX = 4

# Of each version of the extension, also of those to come.
_EXTENSION = b"decnet-syslog/"

# RFC 9662: ECDHE with AES-GCM; ChaCha20 for machines without AES instructions.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

MUTUAL = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


@dataclass(frozen=True)
class Refusal:
    """
    A certificate that was refused.

    @ivar address: who came with it, or where we had connected to.
    @ivar reason: in words.
    @ivar subject: the certificate's, shown without control characters.
    """

    address: str
    reason: str
    subject: str
    fingerprint: str

    def __str__(self) -> str:
        return f"certificate {self.subject} refused: {self.reason} ({self.fingerprint})"


def _address(connection: Any) -> str:
    peer: IAddress = connection.get_app_data().transport.getPeer()
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    return str(peer) if host is None else f"{host}:{port}"


def _refusal(connection: Any, certificate: X509, reason: str) -> Refusal:
    try:
        parsed = certificate.to_cryptography()
        subject = showText(parsed.subject.rfc4514_string())
        print_ = fingerprint(parsed)
    except Exception:
        # A hostile certificate must not get past the check by breaking the report.
        subject, print_ = "unreadable", "unknown"
    try:
        address = _address(connection)
    except Exception:
        address = "unknown"
    return Refusal(address, reason, subject, print_)


def _options(bundle: Bundle, protocols: list[bytes]) -> CertificateOptions:
    # It passes cryptography's objects on; its annotations are of pyOpenSSL's.
    make: Any = CertificateOptions
    options: CertificateOptions = make(
        privateKey=bundle.privateKey,
        certificate=bundle.certificate,
        extraCertChain=list(bundle.chain),
        trustRoot=trustRootFromCertificates(
            [Certificate(X509.from_cryptography(ca)) for ca in bundle.authorities]
        ),
        acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
        acceptableProtocols=protocols or None,
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
    )
    context = options.getContext()
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    # A CA that is itself signed by another need not be the end of the chain.
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    return options


def _verification(
    refuse: Callable[[x509.Certificate], str | None],
    refused: Callable[[Refusal], None],
    refuseIssuer: Callable[[x509.Certificate], str | None] = lambda certificate: None,
) -> Callable[[SSL.Connection, X509, int, int, int], bool]:
    """
    A verify callback that adds refusals and reports every one.

    @param refuse: asked of the peer's certificate.
    @param refuseIssuer: asked of each other one of its chain.
    """

    def verify(
        connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int
    ) -> bool:
        # An exception here would go to the reactor and leave the peer connected.
        try:
            if not ok:
                reason: str | None = _errorText(error)
            elif depth == 0:
                reason = refuse(certificate.to_cryptography())
            else:
                reason = refuseIssuer(certificate.to_cryptography())
            if reason is None:
                return True
            refused(_refusal(connection, certificate, reason))
        except Exception:
            return False
        return False

    return verify


def _errorText(error: int) -> str:
    from OpenSSL._util import ffi, lib

    text = ffi.string(lib.X509_verify_cert_error_string(error))
    assert isinstance(text, bytes)
    return text.decode("ascii", "replace")


@implementer(IOpenSSLServerConnectionCreator)
class ListenerContext:
    """
    The listener's end. What it has can be replaced while it serves: L{use}.
    """

    def __init__(
        self,
        bundle: Bundle,
        refused: Callable[[Refusal], None],
        refuse: Callable[[x509.Certificate], str | None] = lambda certificate: None,
        refuseIssuer: Callable[[x509.Certificate], str | None] = (
            lambda certificate: None
        ),
        role: Callable[[x509.Certificate], str | None] = refuseWorker,
        protocols: Sequence[bytes] = DELIVERY_PROTOCOLS,
    ) -> None:
        """
        @param role: why a certificate is not of those that this end is for.
        @param protocols: what is spoken, the best first.
        """
        self._refused = refused
        self._refuse = refuse
        self._refuseIssuer = refuseIssuer
        self._role = role
        self._protocols = protocols
        self.use(bundle)

    def use(self, bundle: Bundle) -> None:
        """Use a bundle for the connections from here on."""
        options = _options(bundle, list(self._protocols))
        context = options.getContext()
        context.set_alpn_select_callback(self._selectProtocol)
        own = bundle.certificate

        def refuse(certificate: x509.Certificate) -> str | None:
            return (
                self._role(certificate)
                or refuseOwn(certificate, own)
                or self._refuse(certificate)
            )

        context.set_verify(
            MUTUAL | SSL.VERIFY_CLIENT_ONCE,
            _verification(refuse, self._refused, self._refuseIssuer),
        )
        for authority in bundle.authorities:
            context.add_client_ca(X509.from_cryptography(authority))
        self._options = options

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Make the TLS of one connection."""
        return GatheringConnection(self._options.getContext())

    def _selectProtocol(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        for protocol in self._protocols:
            if protocol in offered:
                return protocol
        if isinstance(connection, GatheringConnection):
            connection.unknownVersions = [
                showText(protocol.decode("ascii", "replace"))
                for protocol in offered
                if protocol.startswith(_EXTENSION)
            ][:SHOWN_MAX]
        return SSL.NO_OVERLAPPING_PROTOCOLS


# Why an open connection is not accepted any more, of what its peer was believed by.
RefuseChain: TypeAlias = Callable[[Sequence[x509.Certificate]], str | None]


def chainOf(transport: Any) -> list[x509.Certificate]:
    """
    What a peer was believed by: its own certificate, who has signed it, ..., a CA of ours.

    @param transport: of a connection over TLS, behind its handshake.
    """
    chain = transport.getHandle().get_verified_chain(as_cryptography=True)
    return list(chain or ())


@implementer(IOpenSSLClientConnectionCreator)
class ForwarderContext:
    """
    The forwarder's end. What it has can be replaced while it serves: L{use}.

    @ivar lastRefusal: the last certificate of a master's that was refused.
    """

    def __init__(self, bundle: Bundle, masterName: str, offerDelivery: bool) -> None:
        self.lastRefusal: Refusal | None = None
        self._masterName = masterName
        self._protocols = list(DELIVERY_PROTOCOLS) if offerDelivery else []
        self._verify = _verification(
            lambda certificate: refuseMaster(certificate, masterName), self._note
        )
        self.use(bundle)

    def use(self, bundle: Bundle) -> None:
        """Use a bundle for the connections from here on."""
        options = _options(bundle, self._protocols)
        options.getContext().set_verify(MUTUAL, self._verify)
        self._options = options

    def _note(self, refusal: Refusal) -> None:
        self.lastRefusal = refusal

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Make the TLS of one connection."""
        self.lastRefusal = None
        connection = self._options.clientConnectionForTLS(tlsProtocol)
        try:
            ipaddress.ip_address(self._masterName)
        except ValueError:
            connection.set_tlsext_host_name(self._masterName.encode("idna"))
        return connection


def listenerContext(
    bundle: Bundle,
    refused: Callable[[Refusal], None],
    refuse: Callable[[x509.Certificate], str | None] = lambda certificate: None,
    refuseIssuer: Callable[[x509.Certificate], str | None] = lambda certificate: None,
) -> ListenerContext:
    """
    TLS for a listener.

    @param refused: told of every certificate that is refused.
    @param refuse: why a worker's certificate is not accepted, C{None} if it is; asked for
        each handshake.
    @param refuseIssuer: the same of the certificates between it and the CA's.
    """
    return ListenerContext(bundle, refused, refuse, refuseIssuer)


def operatorContext(
    bundle: Bundle,
    refused: Callable[[Refusal], None],
    refuse: Callable[[x509.Certificate], str | None],
    refuseIssuer: Callable[[x509.Certificate], str | None],
) -> ListenerContext:
    """
    TLS for what a listener serves to operators, over HTTP/1.1; as L{listenerContext}.
    """
    return ListenerContext(
        bundle, refused, refuse, refuseIssuer, refuseOperator, (b"http/1.1",)
    )


def forwarderContext(
    bundle: Bundle, masterName: str, offerDelivery: bool
) -> ForwarderContext:
    """
    TLS for a forwarder.

    @param masterName: the DNS name or address that the master's certificate must have.
    @param offerDelivery: whether to offer the delivery extension.
    """
    return ForwarderContext(bundle, masterName, offerDelivery)

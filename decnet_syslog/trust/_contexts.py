"""
TLS for both ends: mutual authentication by the CA, and by name.

What must be true, in every case fail-closed:

* OpenSSL's refusal is final (L{decnet_syslog.trust._verification});
* the listener accepts clients with a certificate from the CA and exactly one usable CN;
* the forwarder accepts a certificate from the CA that is valid for a server and has the master's
  name. Twisted's own check accepts a certificate without any name (C{optionsForClientTLS} logs the
  error of service_identity and continues), and so any worker's; therefore we check here.

TLS 1.2 and newer, forward secrecy and AEAD only (RFC 9662); no compression, no renegotiation, and
no sessions or tickets, which would skip the certificates.

ALPN: a Twisted server that selects no protocol fails every client that offers one, so ours answers
that it does not take part.

Our servers send no session tickets: see L{decnet_syslog.trust._openssl}. With tickets, a TLS 1.3
client that never reads loses its last lines.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import TypeAlias

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import (
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

from ..boundaries import Foreign
from ..transports import ITLSConnection
from ..untrusted import escapeUntrusted
from ._alpn import DELIVERY_PROTOCOLS
from ._bundles import Bundle
from ._gathering import GatheringConnection
from ._roles import Objection, refuseMaster, refuseOperator, refuseOwn, refuseWorker
from ._verification import Judge, Refusal, isReported, turnedAway, verifyWith

__all__ = [
    "ForwarderContext",
    "ListenerContext",
    "Refusal",
    "RefuseChain",
    "chainOf",
    "forwarderContext",
    "isReported",
    "listenerContext",
    "operatorContext",
    "turnedAway",
]

# The number of unknown versions of a peer that are shown.
SHOWN_MAX = 4

# The prefix of every version of the extension, including later ones.
_EXTENSION = b"decnet-syslog/"

# RFC 9662: ECDHE with AES-GCM; ChaCha20 for machines without AES instructions.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

MUTUAL = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


def _options(bundle: Bundle, protocols: list[bytes]) -> CertificateOptions:
    # It passes on cryptography's objects; its annotations require pyOpenSSL's.
    make: Foreign = CertificateOptions
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
    # A CA that is itself signed by another CA may end the chain.
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    return options


def _accept(certificate: x509.Certificate) -> Objection | None:
    return None


@implementer(IOpenSSLServerConnectionCreator)
class ListenerContext:
    """
    The listener's end. The certificates can be replaced while it runs: L{use}.
    """

    def __init__(
        self,
        bundle: Bundle,
        refused: Callable[[Refusal], None],
        refuse: Judge = _accept,
        refuseIssuer: Judge = _accept,
        role: Judge = refuseWorker,
        protocols: Sequence[bytes] = DELIVERY_PROTOCOLS,
        hears: Sequence[bytes] = (),
    ) -> None:
        """
        @param role: why a certificate does not have the role that this end requires.
        @param protocols: the supported protocols, the best first.
        @param hears: the protocols whose connections call L{turnedAway} before they accept an
            octet, and send the reason to the peer.
        """
        self._hears = tuple(hears)
        self._refused = refused
        self._refuse = refuse
        self._refuseIssuer = refuseIssuer
        self._role = role
        self._protocols = protocols
        self.use(bundle)

    def use(self, bundle: Bundle) -> None:
        """Use these certificates for new connections."""
        options = _options(bundle, list(self._protocols))
        context = options.getContext()
        context.set_alpn_select_callback(self._selectProtocol)
        own = bundle.certificate

        def refuse(certificate: x509.Certificate) -> Objection | None:
            return (
                self._role(certificate)
                or refuseOwn(certificate, own)
                or self._refuse(certificate)
            )

        verifyWith(
            context,
            MUTUAL | SSL.VERIFY_CLIENT_ONCE,
            refuse,
            self._refused,
            self._refuseIssuer,
            # A server selects the protocol before it requests the client's certificate.
            lambda connection: connection.get_alpn_proto_negotiated() in self._hears,
        )
        for authority in bundle.authorities:
            context.add_client_ca(X509.from_cryptography(authority))
        self._options = options

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Make the TLS state of a connection."""
        return GatheringConnection(self._options.getContext())

    def _selectProtocol(
        self, connection: SSL.Connection, offered: list[bytes]
    ) -> Foreign:
        for protocol in self._protocols:
            if protocol in offered:
                return protocol
        if isinstance(connection, GatheringConnection):
            connection.unknownVersions = [
                escapeUntrusted(protocol.decode("ascii", "replace"))
                for protocol in offered
                if protocol.startswith(_EXTENSION)
            ][:SHOWN_MAX]
        return SSL.NO_OVERLAPPING_PROTOCOLS


# Why an open connection is no longer accepted, given the chain that verified its peer.
RefuseChain: TypeAlias = Callable[[Sequence[x509.Certificate]], Objection | None]


def chainOf(transport: ITLSConnection) -> list[x509.Certificate]:
    """
    The chain that verified a peer: its own certificate, its issuer, ..., one of our CAs.

    @param transport: the transport of a TLS connection, after its handshake.
    """
    chain = transport.getHandle().get_verified_chain(as_cryptography=True)
    return list(chain or ())


@implementer(IOpenSSLClientConnectionCreator)
class ForwarderContext:
    """
    The forwarder's end. The certificates can be replaced while it runs: L{use}.

    @ivar lastRefusal: the refusal of the last connection's master; C{None}: it was accepted.
    """

    def __init__(self, bundle: Bundle, masterName: str, offerDelivery: bool) -> None:
        self.lastRefusal: Refusal | None = None
        self._masterName = masterName
        self._protocols = list(DELIVERY_PROTOCOLS) if offerDelivery else []
        self.use(bundle)

    def use(self, bundle: Bundle) -> None:
        """Use these certificates for new connections."""
        options = _options(bundle, self._protocols)
        verifyWith(
            options.getContext(),
            MUTUAL,
            lambda certificate: refuseMaster(certificate, self._masterName),
            self._note,
        )
        self._options = options

    def _note(self, refusal: Refusal) -> None:
        self.lastRefusal = refusal

    def clientConnectionForTLS(self, tlsProtocol: Foreign) -> SSL.Connection:
        """Make the TLS state of a connection."""
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
    refuse: Judge = _accept,
    refuseIssuer: Judge = _accept,
) -> ListenerContext:
    """
    TLS for a listener. Its connections must call L{turnedAway}.

    @param refused: called with every refusal that ends a handshake.
    @param refuse: why a worker's certificate is not accepted, C{None} if it is; called in each
        handshake.
    @param refuseIssuer: the same for the certificates between it and the CA's.
    """
    return ListenerContext(
        bundle, refused, refuse, refuseIssuer, hears=DELIVERY_PROTOCOLS
    )


def operatorContext(
    bundle: Bundle,
    refused: Callable[[Refusal], None],
    refuse: Judge,
    refuseIssuer: Judge,
) -> ListenerContext:
    """
    TLS for the status port of a listener, for operators, over HTTP/1.1; as L{listenerContext}.
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

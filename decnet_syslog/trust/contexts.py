"""
TLS for both ends: mutual, by the CA of the bundle, and by name.

What must be true, in every case fail-closed:

* OpenSSL's refusal is final (L{decnet_syslog.trust.verification});
* the listener accepts clients' certificates of the CA with exactly one usable CN;
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
from typing import Any, TypeAlias

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

from .bundles import Bundle
from .gathering import GatheringConnection
from .names import showText
from .roles import Objection, refuseMaster, refuseOperator, refuseOwn, refuseWorker
from .verification import Judge, Refusal, isReported, turnedAway, verifyWith

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
    "isReported",
    "listenerContext",
    "operatorContext",
    "turnedAway",
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


def _accept(certificate: x509.Certificate) -> Objection | None:
    return None


@implementer(IOpenSSLServerConnectionCreator)
class ListenerContext:
    """
    The listener's end. What it has can be replaced while it serves: L{use}.
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
        @param role: why a certificate is not of those that this end is for.
        @param protocols: what is spoken, the best first.
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
        """Use a bundle for the connections from here on."""
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
RefuseChain: TypeAlias = Callable[[Sequence[x509.Certificate]], Objection | None]


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
        self.use(bundle)

    def use(self, bundle: Bundle) -> None:
        """Use a bundle for the connections from here on."""
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
    refuse: Judge = _accept,
    refuseIssuer: Judge = _accept,
) -> ListenerContext:
    """
    TLS for a listener. Its connections must call L{turnedAway}.

    @param refused: told of every certificate that is refused in the handshake.
    @param refuse: why a worker's certificate is not accepted, C{None} if it is; asked for
        each handshake.
    @param refuseIssuer: the same of the certificates between it and the CA's.
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

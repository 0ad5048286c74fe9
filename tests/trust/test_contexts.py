"""
Tests for L{decnet_syslog.trust._contexts} and the listener, using real TLS in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import IOPump, connectedServerAndClient
from zope.interface import implementer

from decnet_syslog.limits import Limits
from decnet_syslog.receiving._factory import ListenerFactory
from decnet_syslog.receiving._transport import ListenerTLSFactory
from decnet_syslog.trust._alpn import (
    DELIVERY_PROTOCOL,
    HISTORY_PROTOCOL,
    LAG_PROTOCOL,
    STATE_PROTOCOL,
)
from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._contexts import ForwarderContext, ListenerContext, Refusal
from decnet_syslog.trust._roles import Objection
from decnet_syslog.wire import AT, BEAT, OPEN, SEEN, encodeControl

from ..certificates import SERVER, bundle, certificate, key, master, worker
from ..doubles import STREAM, MasterTestCase


@implementer(IHandshakeListener)
class Client(Protocol):
    """
    A client that sends as soon as the handshake completes, and records what it
    receives.
    """

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.received = b""
        self.done = False
        self.lost: Any = None
        self.negotiated: bytes | None = None

    def handshakeCompleted(self) -> None:
        self.done = True
        transport: Any = self.transport
        self.negotiated = transport.negotiatedProtocol
        transport.write(self.octets)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason.value


@implementer(IOpenSSLClientConnectionCreator)
class AnyClient:
    """A client-side TLS context without checks of its own, configured by a function."""

    def __init__(self, prepare: Callable[[SSL.Context], None]) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_verify(SSL.VERIFY_NONE)
        prepare(self.context)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


def carrying(
    cert: Any, holder: str = "holder", protocols: tuple[bytes, ...] = ()
) -> AnyClient:
    """A client's TLS context with a certificate."""

    def prepare(context: SSL.Context) -> None:
        if cert is not None:
            context.use_certificate(cert)
            context.use_privatekey(key(holder))
        if protocols:
            context.set_alpn_protos(list(protocols))

    return AnyClient(prepare)


class TLSTestCase(MasterTestCase):
    """A listener with TLS in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.refusals: list[Refusal] = []
        self.pumps: list[IOPump] = []
        self.context = ListenerContext(master(), self.refusals.append)
        self.listener = ListenerFactory(self.commits, self.journal, self.clock)
        self.said: list[str] = []
        observer: Any = self.hear
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def hear(self, event: Any) -> None:
        self.said.append(str(event.get("log_format", "")).format_map(_Lenient(event)))

    def connect(self, creator: Any, octets: bytes = b"5 hello") -> Client:
        """Connect, and let both ends finish their exchange."""
        client = Client(octets)
        server = ListenerTLSFactory(self.context, False, self.listener, self.clock)
        factory = Factory.forProtocol(lambda: client)
        wrapped = TLSMemoryBIOFactory(creator, True, factory, self.clock)
        pump: IOPump
        _, _, pump = connectedServerAndClient(
            lambda: server.buildProtocol(None),
            lambda: wrapped.buildProtocol(None),
            clock=self.clock,
        )
        for _ in range(4):
            pump.flush()
        self.pump = pump
        self.pumps.append(pump)
        return client

    def stored(self) -> list[tuple[str, bytes]]:
        """The journal's messages, each with its worker's name."""
        return [(b.provenance.worker, b.octets) for b in self.journal.read(0, 10**6)]


class _Lenient(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return name


class ListenerTests(TLSTestCase):
    """The listener accepts only enrolled workers."""

    def test_refusedIssuer(self) -> None:
        """The listener also checks certificates between the worker's and the CA's."""
        between = certificate(
            ["test between"], holder="between", usages=(), authority=True
        )
        chained = replace(bundle(certificate(["w1"], ca="between")), chain=(between,))
        creator = ForwarderContext(chained, "decnet-master", False)
        self.connect(creator)
        self.assertEqual(self.stored(), [("w1", b"hello\n")])

        def refuseIssuer(asked: x509.Certificate) -> Objection | None:
            revoked = Objection("revoked", "it was revoked")
            return revoked if asked == between else None

        self.context = ListenerContext(
            master(), self.refusals.append, refuseIssuer=refuseIssuer
        )
        client = self.connect(creator)
        self.assertEqual(client.received, b"")
        self.assertEqual(self.stored(), [("w1", b"hello\n")])
        (refusal,) = self.refusals
        self.assertIn(
            "it was revoked (the certificate of 'CN=test between'", str(refusal)
        )
        self.assertEqual((refusal.subject, refusal.code), ("'CN=w1'", "revoked"))

    def assertRefused(self, creator: Any, *words: str) -> None:
        """
        Check that no line is stored, that the reason is logged, and that the next
        worker is served.
        """
        client = self.connect(creator)
        self.assertEqual(self.stored(), [])
        self.assertEqual(client.received, b"")
        said = " ".join([str(r) for r in self.refusals] + self.said)
        for word in words:
            self.assertIn(word, said)
        self.connect(ForwarderContext(worker("good"), "decnet-master", False))
        self.assertEqual(self.stored(), [("good", b"hello\n")])

    def test_plainWorker(self) -> None:
        """A worker without the extension is served as RFC 5425 requires."""
        client = self.connect(ForwarderContext(worker(), "decnet-master", False))
        self.assertEqual(self.stored(), [("w1", b"hello\n")])
        self.assertEqual((client.negotiated, client.received), (None, b""))

    def test_workerWithExtension(self) -> None:
        """A worker with the extension receives HELLO and acknowledgements."""
        octets = encodeControl(OPEN(STREAM, 0, 0, "x")) + encodeControl(
            AT(STREAM, 0, 0)
        )
        client = self.connect(ForwarderContext(worker(), "decnet-master", True), b"")
        self.assertEqual(client.negotiated, LAG_PROTOCOL)
        self.assertTrue(client.received.startswith(b"HELLO 2 "))
        transport: Any = client.transport
        transport.write(octets + b"5 hello")
        for _ in range(4):
            self.pump.flush()
        self.assertIn(b"ACK " + STREAM.encode() + b" 0 6\n", client.received)
        self.assertEqual(self.stored(), [("w1", b"hello\n")])

    def test_workerWithFirstVersion(self) -> None:
        """A worker that offers only the first version of the extension gets HELLO 1."""
        creator = carrying(worker().certificate, protocols=(DELIVERY_PROTOCOL,))
        client = self.connect(creator, b"")
        self.assertEqual(client.negotiated, DELIVERY_PROTOCOL)
        self.assertTrue(client.received.startswith(b"HELLO 1 "))

    def test_workerWithHistory(self) -> None:
        """A worker that offers version 2 receives the journal's history."""
        offers = (DELIVERY_PROTOCOL, STATE_PROTOCOL, HISTORY_PROTOCOL)
        creator = carrying(worker().certificate, protocols=offers)
        first = encodeControl(SEEN(5, STREAM)) + encodeControl(OPEN(STREAM, 0, 0, "x"))
        client = self.connect(creator, first + encodeControl(BEAT(1, 0, 0)))
        self.assertEqual(client.negotiated, HISTORY_PROTOCOL)
        hello, *answers = client.received.split(b"\n")
        self.assertRegex(
            hello, rb"\AHELLO 2 [0-9a-f]{32} 1048576 2048 0 [0-9a-f]{32}\Z"
        )
        self.assertEqual(
            [line[:12] for line in answers], [b"HISTORY lost", b"RESUME 55555", b""]
        )
        transport: Any = client.transport
        transport.write(encodeControl(AT(STREAM, 0, 0)) + b"5 hello")
        for _ in range(4):
            self.pump.flush()
        self.clock.advance(1)
        self.pump.flush()
        mark, ack = client.received.split(b"\n")[-3:-1]
        self.assertEqual(mark, b"MARK 1 " + self.journal.mark.token.encode())
        self.assertEqual(ack, b"ACK " + STREAM.encode() + b" 0 6")

    def test_laterVersion(self) -> None:
        """
        A worker of a release that shares no version is served without the extension, and the
        log says which end to upgrade.
        """
        offers = (b"decnet-syslog/9", b"decnet-syslog/\x1b[2J") * 50
        client = self.connect(carrying(worker().certificate, protocols=offers))
        self.assertEqual(client.negotiated, None)
        self.assertEqual(self.stored(), [("w1", b"hello\n")])
        (warning,) = [text for text in self.said if "upgrade" in text]
        self.assertIn("w1", warning)
        self.assertIn("'decnet-syslog/9'", warning)
        self.assertTrue(warning.isprintable(), warning)
        self.assertLess(len(warning), 400)

    def test_unknownALPNProtocols(self) -> None:
        """
        A client that offers unknown ALPN protocols is served without the extension.
        """
        cert = worker().certificate
        for protocols in ((b"http/1.1",), (b"h2", b"syslog")):
            client = self.connect(carrying(cert, protocols=protocols))
            self.assertEqual(client.negotiated, None)
        self.assertEqual(len(self.stored()), 2)

    def test_tlsVersions(self) -> None:
        """TLS 1.2 and 1.3 are accepted, 1.1 is refused."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            creator = carrying(worker().certificate)
            creator.context.set_min_proto_version(version)
            creator.context.set_max_proto_version(version)
            self.connect(creator)
        self.assertEqual(len(self.stored()), 2)
        creator = carrying(worker().certificate)
        creator.context.set_cipher_list(b"ALL:@SECLEVEL=0")
        creator.context.set_min_proto_version(SSL.TLS1_1_VERSION)
        creator.context.set_max_proto_version(SSL.TLS1_1_VERSION)
        client = self.connect(creator)
        self.assertFalse(client.done)
        self.assertEqual(len(self.stored()), 2)

    def test_weakCiphers(self) -> None:
        """RSA key exchange and CBC are refused."""
        creator = carrying(worker().certificate)
        creator.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        creator.context.set_cipher_list(
            b"AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"
        )
        self.assertFalse(self.connect(creator).done)

    def test_noCertificate(self) -> None:
        """A client without a certificate is refused during the handshake."""
        self.assertRefused(carrying(None), "no handshake", "certificate")

    def test_wrongCA(self) -> None:
        """A client from another CA with our CA's name is refused."""
        self.assertRefused(
            carrying(certificate(["w1"], ca="other")), "refused", "sha-256:"
        )

    def test_selfSigned(self) -> None:
        """A self-signed certificate is refused."""
        cert = certificate([], ca="self", holder="self", usages=())
        self.assertRefused(carrying(cert, "self"), "self-signed", "sha-256:")

    def test_expiredCertificate(self) -> None:
        """An expired certificate is refused."""
        self.assertRefused(carrying(certificate(["w1"], days=(-20, -1))), "expired")

    def test_certificateNotYetValid(self) -> None:
        """A certificate whose validity has not begun is refused."""
        self.assertRefused(carrying(certificate(["w1"], days=(1, 20))), "not yet valid")

    def test_noName(self) -> None:
        """A certificate without a CN is refused."""
        self.assertRefused(carrying(certificate([])), "exactly one CN, this one has 0")

    def test_twoNames(self) -> None:
        """A certificate with two CNs is refused."""
        self.assertRefused(
            carrying(certificate(["w1", "w2"])), "exactly one CN, this one has 2"
        )

    def test_nulInName(self) -> None:
        """A CN with a NUL is refused, and is logged with the NUL escaped."""
        self.assertRefused(
            carrying(certificate(["w1\x00.evil"])), "letters, digits", "w1\\x00.evil"
        )

    def test_slashInName(self) -> None:
        """A CN with a slash is refused."""
        self.assertRefused(carrying(certificate(["../w1"])), "letters, digits")

    def test_nameIsADirectory(self) -> None:
        """A CN that means a directory, "..", is refused."""
        self.assertRefused(carrying(certificate([".."])), "letters, digits")

    def test_lineFeedInName(self) -> None:
        """A CN with a line feed is refused, and cannot forge a log line."""
        self.assertRefused(
            carrying(certificate(["w1\nroot connected"])), "letters, digits"
        )
        self.assertFalse([said for said in self.said if "\n" in said])

    def test_masterIsNoWorker(self) -> None:
        """The master's own certificate is refused as a worker's."""
        self.assertRefused(carrying(certificate(["w1"], usages=(SERVER,))), "purpose")

    def test_caIsNoWorker(self) -> None:
        """A CA's certificate is refused as a worker's."""
        self.assertRefused(
            carrying(certificate(["w1"], authority=True)), "CA's certificate"
        )

    def test_stalledHandshake(self) -> None:
        """A client that does not finish its handshake is disconnected."""
        server = TLSMemoryBIOFactory(self.context, False, self.listener, self.clock)
        silent = Protocol()
        lost: list[Any] = []
        silent.connectionLost = lost.append  # type: ignore[method-assign,assignment]
        _, _, pump = connectedServerAndClient(
            lambda: server.buildProtocol(None), lambda: silent, clock=self.clock
        )
        self.clock.advance(16)
        pump.flush()
        self.assertEqual(len(lost), 1)

    def test_brokenFrame(self) -> None:
        """A broken frame closes its connection; earlier complete frames are kept."""
        client = self.connect(
            ForwarderContext(worker(), "decnet-master", False), b"3 one3 two05 bad"
        )
        self.assertEqual(self.stored(), [("w1", b"one\ntwo\n")])
        self.assertIsNot(client.lost, None)
        self.assertIn("begins with a zero", " ".join(self.said))

    def test_replacedBundle(self) -> None:
        """The master's bundle can be replaced while the listener serves."""
        self.context.use(master(days=(-1, 5)))
        self.connect(ForwarderContext(worker(), "decnet-master", False))
        self.assertEqual(len(self.stored()), 1)


class ForwarderTests(TLSTestCase):
    """The forwarder trusts only the master."""

    def assertDistrusted(self, impostor: Bundle, name: str = "decnet-master") -> None:
        """
        Check that no octet was sent to the impostor, and that the reason is known.
        """
        self.context = ListenerContext(impostor, self.refusals.append)
        creator = ForwarderContext(worker(), name, False)
        client = self.connect(creator)
        self.assertEqual(self.stored(), [])
        self.assertFalse(client.done)
        self.assertIsNot(creator.lastRefusal, None)

    def test_workerIsNoMaster(self) -> None:
        """A worker's certificate is not accepted as the master's."""
        self.assertDistrusted(worker("w2"))

    def test_workerForServers(self) -> None:
        """
        A worker's certificate is not accepted as the master's even if it is good for
        servers, as DECNET's are.
        """
        self.assertDistrusted(worker("w2", usages=(SERVER, *certificateUsages())))
        self.assertDistrusted(worker("w2", usages=()))

    def test_commonNameIsIgnored(self) -> None:
        """
        A certificate with the master's name only in its CN, not in subjectAltName, is
        refused.
        """
        self.assertDistrusted(bundle(certificate(["decnet-master"], usages=())))

    def test_otherServerOfSameCA(self) -> None:
        """The certificate of another server of the same CA is refused."""
        self.assertDistrusted(master(alternatives=("other-master",)))
        self.assertDistrusted(master(), "192.0.2.1")

    def test_masterOfOtherCA(self) -> None:
        """A master of another CA is refused."""
        self.assertDistrusted(master(ca="other"))

    def test_clientCertificateWithMastersName(self) -> None:
        """A certificate with the master's name that is only for clients is refused."""
        self.assertDistrusted(worker("decnet-master", alternatives=("decnet-master",)))

    def test_decnetMaster(self) -> None:
        """A DECNET master certificate, valid for servers and clients, is accepted."""
        both = master(usages=(SERVER, *certificateUsages()))
        self.context = ListenerContext(both, self.refusals.append)
        client = self.connect(ForwarderContext(worker(), "decnet-master", False))
        self.assertTrue(client.done)

    def test_listenerWithoutProtocols(self) -> None:
        """
        A forwarder that offers the extension can connect to a server without ALPN.
        """
        options: Any = CertificateOptions
        plain = options(
            privateKey=master().privateKey,
            certificate=master().certificate,
            insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
        )
        plain.getContext().set_alpn_select_callback(
            lambda c, p: SSL.NO_OVERLAPPING_PROTOCOLS
        )
        self.context = plain
        client = Client(b"")
        server = TLSMemoryBIOFactory(
            plain, False, Factory.forProtocol(Protocol), self.clock
        )
        creator = ForwarderContext(worker(), "decnet-master", True)
        wrapped = TLSMemoryBIOFactory(
            creator, True, Factory.forProtocol(lambda: client), self.clock
        )
        _, _, pump = connectedServerAndClient(
            lambda: server.buildProtocol(None),
            lambda: wrapped.buildProtocol(None),
            clock=self.clock,
        )
        pump.flush()
        self.assertTrue(client.done)
        self.assertEqual(client.negotiated, None)


def certificateUsages() -> tuple[Any, ...]:
    """The usages of DECNET's worker certificates besides serverAuth."""
    from ..certificates import CLIENT

    return (CLIENT,)


class LimitTests(TLSTestCase):
    """The resources that one peer may occupy."""

    def plain(self, octets: bytes, name: str = "w1") -> Client:
        return self.connect(
            ForwarderContext(worker(name), "decnet-master", False), octets
        )

    def flush(self) -> None:
        for _ in range(4):
            self.pump.flush()

    def test_perWorker(self) -> None:
        """
        When one name has too many connections, its oldest are closed; other names are
        unaffected.
        """
        other = self.plain(b"", "w2")
        clients = [
            (self.plain(b""), self.pump) for _ in range(Limits.connectionsPerWorker + 2)
        ]
        for _, pump in clients:
            pump.flush()
        closed = [client.lost is not None for client, _ in clients]
        self.assertEqual(closed, [True] * 2 + [False] * Limits.connectionsPerWorker)
        self.assertIsNone(other.lost)
        self.assertEqual(
            len(self.listener.registry.of("w1")), Limits.connectionsPerWorker
        )

    def test_frameThatDoesNotEnd(self) -> None:
        """A frame that is incomplete after a minute closes its connection."""
        client = self.plain(b"5 hello100 slow")
        for _ in range(3):
            self.clock.advance(Limits.frameSeconds / 2)
            transport: Any = client.transport
            transport.write(b"x")
            self.flush()
        self.assertIn("a frame that has not ended", " ".join(self.said))
        self.assertEqual(self.stored(), [("w1", b"hello\n")])
        self.assertEqual(self.listener.held, 0)

    def test_slowButCompletedFrames(self) -> None:
        """
        A connection may always have an unfinished frame, as long as each one completes.
        """
        client = self.plain(b"5 hello5 he")
        for _ in range(8):
            self.clock.advance(Limits.frameSeconds / 2)
            transport: Any = client.transport
            transport.write(b"llo5 he")
            self.flush()
        self.assertIsNone(client.lost)
        self.assertEqual(len(self.stored()), 9)

    def test_unfinishedFramesShareBudget(self) -> None:
        """The unfinished frames of all connections share one budget."""
        self.listener.limits = Limits(unfinished=200_000)
        clients = [
            self.plain(b"900000 " + b"x" * 90_000, f"w{number}") for number in range(4)
        ]
        self.flush()
        self.assertLessEqual(self.listener.held, 200_000)
        self.assertIn("too many octets of unfinished frames", " ".join(self.said))
        self.assertIsNone(clients[0].lost)

    def test_handshakesCounted(self) -> None:
        """
        A connection counts as a handshake until the handshake completes or the
        connection ends.
        """
        self.plain(b"")
        self.connect(carrying(certificate(["w1"], ca="other")))
        self.assertEqual(self.listener.handshakes.count, 0)

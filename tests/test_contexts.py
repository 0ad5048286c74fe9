"""Tests for L{decnet_syslog.trust.contexts} and the listener, by real TLS in memory."""

from __future__ import annotations

from collections import Counter
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

from decnet_syslog.master.limits import Limits
from decnet_syslog.master.listener import ListenerFactory
from decnet_syslog.trust.bundles import Bundle
from decnet_syslog.trust.contexts import (
    DELIVERY_PROTOCOL,
    HISTORY_PROTOCOL,
    STATE_PROTOCOL,
    ForwarderContext,
    ListenerContext,
    Refusal,
)
from decnet_syslog.trust.roles import Objection
from decnet_syslog.wire.control import AT, BEAT, OPEN, SEEN, encodeControl

from .certificates import SERVER, bundle, certificate, key, master, worker
from .doubles import STREAM, MasterTestCase

NOW = "2026-04-18T00:00:00.000000Z"


@implementer(IHandshakeListener)
class Client(Protocol):
    """A client that sends as soon as it may, and remembers what it got."""

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
    """A client's TLS that checks nothing and has what it is given."""

    def __init__(self, prepare: Callable[[SSL.Context], None]) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_verify(SSL.VERIFY_NONE)
        prepare(self.context)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


def carrying(
    cert: Any, holder: str = "holder", protocols: tuple[bytes, ...] = ()
) -> AnyClient:
    """A client's TLS with a certificate."""

    def prepare(context: SSL.Context) -> None:
        if cert is not None:
            context.use_certificate(cert)
            context.use_privatekey(key(holder))
        if protocols:
            context.set_alpn_protos(list(protocols))

    return AnyClient(prepare)


class TLSTestCase(MasterTestCase):
    """A listener behind TLS in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.refusals: list[Refusal] = []
        self.pumps: list[IOPump] = []
        self.context = ListenerContext(master(), self.refusals.append)
        self.listener = ListenerFactory(
            self.commits, self.journal, self.clock, lambda: NOW
        )
        self.said: list[str] = []
        observer: Any = self.hear
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def hear(self, event: Any) -> None:
        self.said.append(str(event.get("log_format", "")).format_map(_Lenient(event)))

    def connect(self, creator: Any, octets: bytes = b"5 hello") -> Client:
        """Connect and let everything happen."""
        client = Client(octets)
        server = TLSMemoryBIOFactory(self.context, False, self.listener, self.clock)
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
        """Who has what in the journal."""
        return [(b.provenance.worker, b.octets) for b in self.journal.read(0, 10**6)]


class _Lenient(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return name


class ListenerTests(TLSTestCase):
    """The listener accepts enrolled workers and nobody else."""

    def test_issuerRefused(self) -> None:
        """A certificate between a worker's and the CA's is asked about, too."""
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
        """Nothing is ingested, the reason is said, and the next worker is served."""
        client = self.connect(creator)
        self.assertEqual(self.stored(), [])
        self.assertEqual(client.received, b"")
        said = " ".join([str(r) for r in self.refusals] + self.said)
        for word in words:
            self.assertIn(word, said)
        self.connect(ForwarderContext(worker("good"), "decnet-master", False))
        self.assertEqual(self.stored(), [("good", b"hello\n")])

    def test_plain(self) -> None:
        """A worker without the extension is served as RFC 5425 has it."""
        client = self.connect(ForwarderContext(worker(), "decnet-master", False))
        self.assertEqual(self.stored(), [("w1", b"hello\n")])
        self.assertEqual((client.negotiated, client.received), (None, b""))

    def test_extension(self) -> None:
        """A worker with the extension is greeted and acknowledged."""
        octets = encodeControl(OPEN(STREAM, 0, 0, "x")) + encodeControl(
            AT(STREAM, 0, 0)
        )
        client = self.connect(ForwarderContext(worker(), "decnet-master", True), b"")
        self.assertEqual(client.negotiated, HISTORY_PROTOCOL)
        self.assertTrue(client.received.startswith(b"HELLO 2 "))
        transport: Any = client.transport
        transport.write(octets + b"5 hello")
        for _ in range(4):
            self.pump.flush()
        self.assertIn(b"ACK " + STREAM.encode() + b" 0 6\n", client.received)
        self.assertEqual(self.stored(), [("w1", b"hello\n")])

    def test_older(self) -> None:
        """A worker that does not know to say how it is has the extension as it was."""
        creator = carrying(worker().certificate, protocols=(DELIVERY_PROTOCOL,))
        client = self.connect(creator, b"")
        self.assertEqual(client.negotiated, DELIVERY_PROTOCOL)
        self.assertTrue(client.received.startswith(b"HELLO 1 "))

    def test_history(self) -> None:
        """A worker that also offers version 2 is told of the journal's history."""
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

    def test_otherProtocols(self) -> None:
        """A client that offers other ALPN protocols is not disturbed."""
        cert = worker().certificate
        for protocols in ((b"http/1.1",), (b"h2", b"syslog")):
            client = self.connect(carrying(cert, protocols=protocols))
            self.assertEqual(client.negotiated, None)
        self.assertEqual(len(self.stored()), 2)

    def test_bothVersions(self) -> None:
        """TLS 1.2 and 1.3 are served, 1.1 is not."""
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
        """RSA key exchange and CBC are not to be had."""
        creator = carrying(worker().certificate)
        creator.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        creator.context.set_cipher_list(
            b"AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"
        )
        self.assertFalse(self.connect(creator).done)

    def test_noCertificate(self) -> None:
        """A client without a certificate is refused at the handshake."""
        self.assertRefused(carrying(None), "no handshake", "certificate")

    def test_wrongCA(self) -> None:
        """An impostor CA of the same name is refused."""
        self.assertRefused(
            carrying(certificate(["w1"], ca="other")), "refused", "sha-256:"
        )

    def test_selfSigned(self) -> None:
        """A certificate that signs itself is refused."""
        cert = certificate([], ca="self", holder="self", usages=())
        self.assertRefused(carrying(cert, "self"), "self-signed", "sha-256:")

    def test_expired(self) -> None:
        """A certificate that has expired, or is not valid yet, is refused."""
        self.assertRefused(carrying(certificate(["w1"], days=(-20, -1))), "expired")

    def test_notYet(self) -> None:
        """A certificate that is not valid yet is refused."""
        self.assertRefused(carrying(certificate(["w1"], days=(1, 20))), "not yet valid")

    def test_noName(self) -> None:
        """A certificate without a CN is refused."""
        self.assertRefused(carrying(certificate([])), "exactly one CN, this one 0")

    def test_twoNames(self) -> None:
        """A certificate with two CNs is refused."""
        self.assertRefused(
            carrying(certificate(["w1", "w2"])), "exactly one CN, this one 2"
        )

    def test_nul(self) -> None:
        """A CN with a NUL is refused, and shown without it."""
        self.assertRefused(
            carrying(certificate(["w1\x00.evil"])), "letters, digits", "w1\\x00.evil"
        )

    def test_path(self) -> None:
        """A CN with a slash is refused."""
        self.assertRefused(carrying(certificate(["../w1"])), "letters, digits")

    def test_dots(self) -> None:
        """A CN that is a directory is refused."""
        self.assertRefused(carrying(certificate([".."])), "letters, digits")

    def test_newline(self) -> None:
        """A CN with a line feed is refused, and cannot forge a line of our log."""
        self.assertRefused(
            carrying(certificate(["w1\nroot connected"])), "letters, digits"
        )
        self.assertFalse([said for said in self.said if "\n" in said])

    def test_forServers(self) -> None:
        """The master's own certificate is no worker's."""
        self.assertRefused(carrying(certificate(["w1"], usages=(SERVER,))), "purpose")

    def test_authority(self) -> None:
        """A certificate that may sign others is no worker's."""
        self.assertRefused(
            carrying(certificate(["w1"], authority=True)), "CA's certificate"
        )

    def test_noHandshake(self) -> None:
        """Who does not finish the handshake is cut off."""
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
        """A broken frame closes its connection; every complete frame before it is kept."""
        client = self.connect(
            ForwarderContext(worker(), "decnet-master", False), b"3 one3 two05 bad"
        )
        self.assertEqual(self.stored(), [("w1", b"one\ntwo\n")])
        self.assertIsNot(client.lost, None)
        self.assertIn("begins with a zero", " ".join(self.said))

    def test_newContext(self) -> None:
        """A bundle can be replaced while the listener serves."""
        self.context.use(master(days=(-1, 5)))
        self.connect(ForwarderContext(worker(), "decnet-master", False))
        self.assertEqual(len(self.stored()), 1)


class ForwarderTests(TLSTestCase):
    """The forwarder believes the master and nobody else."""

    def assertDistrusted(self, impostor: Bundle, name: str = "decnet-master") -> None:
        """Not an octet is sent to it, and the reason is known."""
        self.context = ListenerContext(impostor, self.refusals.append)
        creator = ForwarderContext(worker(), name, False)
        client = self.connect(creator)
        self.assertEqual(self.stored(), [])
        self.assertFalse(client.done)
        self.assertIsNot(creator.lastRefusal, None)

    def test_worker(self) -> None:
        """A worker's certificate cannot play master."""
        self.assertDistrusted(worker("w2"))

    def test_workerForServers(self) -> None:
        """Not even one that is good for servers, as DECNET's are."""
        self.assertDistrusted(worker("w2", usages=(SERVER, *certificateUsages())))
        self.assertDistrusted(worker("w2", usages=()))

    def test_workerCalledMaster(self) -> None:
        """A CN is not the name: without a subjectAltName nothing is verified."""
        self.assertDistrusted(bundle(certificate(["decnet-master"], usages=())))

    def test_otherName(self) -> None:
        """Another server's certificate of the same CA is not the master's."""
        self.assertDistrusted(master(alternatives=("other-master",)))
        self.assertDistrusted(master(), "192.0.2.1")

    def test_otherCA(self) -> None:
        """A master of another CA is refused."""
        self.assertDistrusted(master(ca="other"))

    def test_forClients(self) -> None:
        """A certificate for clients with the master's name is refused."""
        self.assertDistrusted(worker("decnet-master", alternatives=("decnet-master",)))

    def test_decnetMaster(self) -> None:
        """DECNET's own master certificates, for both uses, are accepted."""
        both = master(usages=(SERVER, *certificateUsages()))
        self.context = ListenerContext(both, self.refusals.append)
        client = self.connect(ForwarderContext(worker(), "decnet-master", False))
        self.assertTrue(client.done)

    def test_listenerWithoutProtocols(self) -> None:
        """A server without ALPN is no obstacle to one who offers the extension."""
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
    """What DECNET's workers have besides serverAuth."""
    from .certificates import CLIENT

    return (CLIENT,)


class LimitTests(TLSTestCase):
    """What one peer may hold of us."""

    def plain(self, octets: bytes, name: str = "w1") -> Client:
        return self.connect(
            ForwarderContext(worker(name), "decnet-master", False), octets
        )

    def flush(self) -> None:
        for _ in range(4):
            self.pump.flush()

    def test_perWorker(self) -> None:
        """Of many connections of one name the oldest go; another name is not touched."""
        other = self.plain(b"", "w2")
        clients = [self.plain(b"") for _ in range(Limits.connectionsPerWorker + 2)]
        alive = [line for line in self.listener.connections if not line._refused]
        names = Counter([line.worker for line in alive])
        self.assertEqual(names["w1"], Limits.connectionsPerWorker)
        self.assertEqual(names["w2"], 1)
        self.assertIsNone(clients[-1].lost)
        self.assertIsNone(other.lost)
        self.assertEqual(
            len(self.listener.roster.of("w1")), Limits.connectionsPerWorker
        )

    def test_frameThatDoesNotEnd(self) -> None:
        """A frame may take a minute."""
        client = self.plain(b"5 hello100 slow")
        for _ in range(3):
            self.clock.advance(Limits.frameSeconds / 2)
            transport: Any = client.transport
            transport.write(b"x")
            self.flush()
        self.assertIn("a frame that has not ended", " ".join(self.said))
        self.assertEqual(self.stored(), [("w1", b"hello\n")])
        self.assertEqual(self.listener.held, 0)

    def test_frames(self) -> None:
        """One unfinished frame after another is nobody's fault."""
        client = self.plain(b"5 hello5 he")
        for _ in range(8):
            self.clock.advance(Limits.frameSeconds / 2)
            transport: Any = client.transport
            transport.write(b"llo5 he")
            self.flush()
        self.assertIsNone(client.lost)
        self.assertEqual(len(self.stored()), 9)

    def test_held(self) -> None:
        """Unfinished frames of all connections have one budget."""
        self.listener.limits = Limits(unfinished=200_000)
        clients = [
            self.plain(b"900000 " + b"x" * 90_000, f"w{number}") for number in range(4)
        ]
        self.flush()
        self.assertLessEqual(self.listener.held, 200_000)
        self.assertIn("too many octets of unfinished frames", " ".join(self.said))
        self.assertIsNone(clients[0].lost)

    def test_handshakesCounted(self) -> None:
        """A connection is counted as a handshake until it is done or gone."""
        self.plain(b"")
        self.connect(carrying(certificate(["w1"], ca="other")))
        self.assertEqual(self.listener.handshakes.count, 0)

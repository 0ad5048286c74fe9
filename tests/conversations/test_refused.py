"""
Tests for refused peers: each learns the reason, by BYE after the handshake or by the
right alert.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from decnet_syslog.monitoring._forwardermetrics import forwarderMetrics
from decnet_syslog.receiving._authenticated import TURN_AWAY_S
from decnet_syslog.sending._session import Session
from decnet_syslog.trust._alpn import DELIVERY_PROTOCOL, DELIVERY_PROTOCOLS
from decnet_syslog.trust._contexts import (
    ForwarderContext,
    ListenerContext,
    forwarderContext,
    listenerContext,
    operatorContext,
)
from decnet_syslog.trust._refusals import (
    CODES,
    KINDS,
    MASTER_KIND,
    MASTER_REFUSED,
    alertOf,
    remedyOnMaster,
    toldByAlert,
)
from decnet_syslog.trust._roles import OPERATOR_USAGE, Objection
from decnet_syslog.wire import BYE, HELLO, encodeControl

from ..certificates import CLIENT, SERVER, authority, certificate, key, master, worker
from ..trust.test_contexts import Client, TLSTestCase, carrying
from ..worker.test_forwarder import FactoryTestCase

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)

# Certificates from our CA that we refuse because of their content.
OURS = {
    "an operator's": (
        certificate(["w1"], usages=(CLIENT, OPERATOR_USAGE)),
        "wrong-role",
    ),
    "a CA's": (certificate(["w1"], authority=True), "wrong-role"),
    "no name": (certificate([]), "name"),
    "two names": (certificate(["w1", "w2"]), "name"),
    "a path": (certificate(["../w1"]), "name"),
    "a line feed": (certificate(["w1\nHELLO"]), "name"),
    "the master's name": (certificate(["decnet-master"]), "name"),
}


def unreadable() -> x509.Certificate:
    """
    A certificate from our CA whose subject the library cannot read: its CN is a BIT
    STRING.
    """
    found = certificate(["w123"])
    good = found.tbs_certificate_bytes
    bad = good.replace(b"\x0c\x04w123", b"\x03\x04\x00123")
    whole = found.public_bytes(Encoding.DER)
    signature = key("ca").sign(bad, ECDSA(SHA256()))
    algorithm = whole[whole.index(good) + len(good) :][:12]
    body = bad + algorithm + _der(0x03, b"\0" + signature)
    return x509.load_der_x509_certificate(_der(0x30, body))


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + body


OURS["unreadable"] = (unreadable(), "name")

# Certificates that OpenSSL refuses, with key holder and alert.
OTHERS = {
    "another CA": (certificate(["w1"], ca="other"), "holder", "unknown ca"),
    "itself": (
        certificate([], ca="self", holder="self", usages=()),
        "self",
        "unknown ca",
    ),
    "expired": (certificate(["w1"], days=(-9, -1)), "holder", "certificate expired"),
    "not yet": (certificate(["w1"], days=(1, 9)), "holder", "bad certificate"),
    "for servers": (
        certificate(["w1"], usages=(SERVER,)),
        "holder",
        "unsupported certificate",
    ),
}


def impostor() -> x509.Certificate:
    """A certificate from another CA with our CA's name."""
    made = certificate(["w1"], ca="other")
    builder = (
        x509.CertificateBuilder()
        .subject_name(made.subject)
        .issuer_name(authority().subject)
        .public_key(made.public_key())
        .serial_number(made.serial_number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
    )
    return builder.sign(key("other"), SHA256())


class ToldTestCase(TLSTestCase):
    """A listener with BYE, whose refusals the test chooses."""

    def setUp(self) -> None:
        super().setUp()
        self.objection: Objection | None = None
        self.between: Objection | None = None
        self.context = listenerContext(
            master(),
            self.refusals.append,
            lambda certificate: self.objection,
            lambda certificate: self.between,
        )

    def peer(
        self, cert: Any, holder: str, version: int, protocols: tuple[bytes, ...]
    ) -> Any:
        creator = carrying(cert, holder, protocols)
        creator.context.set_min_proto_version(version)
        creator.context.set_max_proto_version(version)
        client = self.connect(creator)
        for _ in range(4):
            self.pump.flush()
        return client


class ByeTests(ToldTestCase):
    """With the extension: BYE with a code, and no octet is accepted."""

    def assertTold(self, cert: Any, code: str) -> None:
        for version in VERSIONS:
            self.said.clear()
            for protocol in DELIVERY_PROTOCOLS:
                client = self.peer(cert, "holder", version, (protocol,))
                self.assertEqual(client.negotiated, protocol)
                self.assertRegex(
                    client.received, rb"\ABYE %s [^\n]+\n\Z" % code.encode()
                )
                self.assertIsInstance(client.lost, ConnectionDone)
            self.assertEqual(
                [said.split(" ")[0] for said in self.said],
                ["refused"] * len(DELIVERY_PROTOCOLS),
                self.said,
            )
            for said in self.said:
                self.assertTrue(said.endswith(remedyOnMaster(code, "")), said)
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.refusals, [])
        self.assertEqual(self.listener.connections, set())
        self.assertEqual(self.listener.handshakes.count, 0)

    def test_codesForCertificates(self) -> None:
        """Each kind of refused certificate from our CA gets its code."""
        for what, (cert, code) in OURS.items():
            with self.subTest(what=what):
                self.assertTold(cert, code)

    def test_codesForLists(self) -> None:
        """A refusal by a list gets its code."""
        for code in ("revoked", "not-allowed"):
            self.objection = Objection(code, "a list says so")
            self.assertTold(worker().certificate, code)

    def test_refusedIssuer(self) -> None:
        """A refused issuer counts, whatever the worker's certificate is."""
        self.between = Objection("revoked", "it was revoked")
        self.assertTold(worker().certificate, "revoked")

    def test_revokedDuringHandshake(self) -> None:
        """A certificate that is revoked during the handshake gets its code."""
        self.listener.refuseCertificate = lambda certificate: Objection(
            "revoked", "it was revoked"
        )
        self.assertTold(worker().certificate, "revoked")

    def test_otherCAGetsAlert(self) -> None:
        """A certificate from another CA gets no BYE: an alert ends the handshake."""
        cases = {**OTHERS, "an impostor": (impostor(), "holder", "unknown ca")}
        for what, (cert, holder, alert) in cases.items():
            for version in VERSIONS:
                with self.subTest(what=what, version=version):
                    client = self.peer(cert, holder, version, DELIVERY_PROTOCOLS)
                    self.assertEqual(client.received, b"")
                    self.assertEqual(alertOf(client.lost), alert)
        self.assertEqual(self.stored(), [])
        self.assertEqual(len(self.refusals), 2 * len(cases))

    def deaf(self) -> Any:
        """The transport of a refused peer that answers no close_notify."""
        self.objection = Objection("revoked", "it was revoked")
        complete = Client.handshakeCompleted

        def handshakeCompleted(client: Any) -> None:
            complete(client)
            transport = client.transport
            transport._shutdownTLS = lambda: None
            # It reads no more then.
            transport._tlsShutdownFinished = lambda reason: setattr(
                transport, "_lostTLSConnection", True
            )

        creator = carrying(worker().certificate, protocols=(DELIVERY_PROTOCOL,))
        with mock.patch.object(Client, "handshakeCompleted", handshakeCompleted):
            client = self.connect(creator, b"")
        self.assertIn(b"BYE revoked", client.received)
        self.assertIsNone(client.lost)
        return client.transport

    def test_peerThatDoesNotClose(self) -> None:
        """A refused peer that does not close counts as a handshake, for two seconds."""
        self.deaf()
        self.assertEqual(self.listener.handshakes.count, 1)
        self.assertEqual(self.listener.connections, set())
        self.clock.advance(TURN_AWAY_S)
        self.pump.flush()
        self.assertEqual(self.listener.handshakes.count, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_peerThatKeepsSending(self) -> None:
        """A refused peer that continues to send is ignored and holds no memory."""
        transport = self.deaf()
        for _ in range(20):
            transport._tlsConnection.send(b"5 hello" * 1000)
            transport._flushSendBIO()
            self.pump.flush()
        self.assertEqual((self.stored(), self.listener.held), ([], 0))
        self.assertEqual(self.listener.handshakes.count, 1)
        self.clock.advance(TURN_AWAY_S)
        self.pump.flush()
        self.assertEqual(self.listener.handshakes.count, 0)
        self.assertEqual(len(self.said), 1, self.said)


class AlertTests(ToldTestCase):
    """Without the extension: the alert that states the reason."""

    def assertAlert(self, cert: Any, holder: str, alert: str) -> None:
        for version in VERSIONS:
            for protocols in ((), (b"http/1.1",)):
                client = self.peer(cert, holder, version, protocols)
                self.assertEqual(alertOf(client.lost), alert)
                self.assertIsNotNone(toldByAlert(client.lost))
                self.assertEqual(client.received, b"")
        self.assertEqual(self.stored(), [])
        # Each is reported once, by the callback.
        self.assertEqual((len(self.refusals), self.said), (4, []))
        self.refusals.clear()

    def test_certificatesFromOurCA(self) -> None:
        """A refused certificate from our CA never causes an internal error."""
        for what, (cert, _) in OURS.items():
            with self.subTest(what=what):
                self.assertAlert(cert, "holder", "bad certificate")

    def test_refusalsByLists(self) -> None:
        """
        A revoked certificate, a revoked issuer and a worker that is not allowed get the
        right alerts.
        """
        self.objection = Objection("revoked", "it was revoked")
        self.assertAlert(worker().certificate, "holder", "certificate revoked")
        self.objection = Objection("not-allowed", "it is not on the allow-list")
        self.assertAlert(worker().certificate, "holder", "bad certificate")
        self.objection, self.between = None, Objection("revoked", "it was revoked")
        self.assertAlert(worker().certificate, "holder", "certificate revoked")

    def test_refusalsByOpenSSL(self) -> None:
        """
        OpenSSL's own refusals get the right alerts; a wrong signature means another CA.
        """
        cases = {**OTHERS, "an impostor": (impostor(), "holder", "unknown ca")}
        for what, (cert, holder, alert) in cases.items():
            with self.subTest(what=what):
                self.assertAlert(cert, holder, alert)

    def test_statusPort(self) -> None:
        """The status port has no extension: a completed handshake means acceptance."""
        self.context = operatorContext(
            master(), self.refusals.append, lambda c: None, lambda c: None
        )
        for protocols in ((b"http/1.1",), DELIVERY_PROTOCOLS):
            client = self.peer(
                worker().certificate, "holder", SSL.TLS1_3_VERSION, protocols
            )
            self.assertEqual(alertOf(client.lost), "bad certificate")

    def test_brokenJudge(self) -> None:
        """An internal error refuses the peer and does not reach the reactor."""

        def fail(certificate: x509.Certificate) -> Objection | None:
            raise ValueError("an internal error")

        for hears in ((), DELIVERY_PROTOCOLS):
            self.context = ListenerContext(
                master(), self.refusals.append, fail, hears=hears
            )
            client = self.peer(
                worker().certificate, "holder", SSL.TLS1_3_VERSION, DELIVERY_PROTOCOLS
            )
            self.assertEqual(alertOf(client.lost), "bad certificate")
            self.assertEqual((client.received, self.stored()), (b"", []))


class MasterTests(ToldTestCase):
    """A forwarder that refuses the master also states the reason."""

    def test_alertsFromForwarder(self) -> None:
        """The listener receives the right alert, and logs the remedy."""
        for made, name, alert in (
            (master(), "other", "bad certificate"),
            (worker("w2"), "decnet-master", "unsupported certificate"),
            (master(ca="other"), "decnet-master", "unknown ca"),
            (master(days=(-9, -1)), "decnet-master", "certificate expired"),
        ):
            for offers in (True, False):
                with self.subTest(alert=alert, offers=offers):
                    self.said.clear()
                    self.context = listenerContext(made, self.refusals.append)
                    client = self.connect(forwarderContext(worker(), name, offers))
                    self.assertFalse(client.done)
                    (said,) = self.said
                    self.assertIn(f"refuses our certificate (handshake: {alert})", said)
                    self.assertIn(MASTER_REFUSED[alert], said)


class KeyExchangeTests(ToldTestCase):
    """Our ends use a key exchange that resists quantum computers."""

    def test_groupIsHybrid(self) -> None:
        """Both ends use X25519MLKEM768, with and without the extension."""
        for offers in (True, False):
            creator = ForwarderContext(worker(), "decnet-master", offers)
            client = self.connect(creator, b"")
            (connection,) = self.listener.connections
            for end in (client, connection):
                handle = end.transport.getHandle()  # type: ignore[union-attr]
                self.assertEqual(handle.get_group_name(), "X25519MLKEM768")
                self.assertEqual(handle.get_protocol_version_name(), "TLSv1.3")
            self.listener.connections.clear()


@implementer(ILogObserver)
class _Heard:
    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.said.append(formatEvent(event))


def alert(words: str) -> Failure:
    """The end of a connection by an alert."""
    return Failure(SSL.Error([("SSL routines", "", f"ssl/tls alert {words}")]))


class ForwarderTests(FactoryTestCase):
    """A refused forwarder continues, and logs the reason once."""

    def setUp(self) -> None:
        super().setUp()
        self.heard = _Heard()
        globalLogPublisher.addObserver(self.heard)
        self.addCleanup(globalLogPublisher.removeObserver, self.heard)
        self.connector.connect()

    def attempt(self, *says: Any, reason: Failure | None = None) -> float:
        """
        Make a connection, the master's line, and its end. Returns the delay before the
        next attempt.
        """
        self.session = mock.Mock(spec=Session, inFlight=0, isStalled=False)
        connection, transport = self.connected()
        transport.negotiatedProtocol = DELIVERY_PROTOCOL
        connection.handshakeCompleted()
        for one in says:
            connection.dataReceived(encodeControl(one))
        connection.connectionLost(reason or Failure(ConnectionDone()))
        return self.delayOfNext()

    def refusals(self) -> list[str]:
        return [said for said in self.heard.said if "no connection" in said]

    def test_byeCodes(self) -> None:
        """
        Each code is logged once with its reason and remedy, and each refusal is
        counted.
        """
        for code, told in CODES.items():
            self.heard.said.clear()
            for _ in range(5):
                self.attempt(BYE(code, "its\nwords"))
            (said,) = self.refusals()
            for words in (told.reason, told.remedy, r"its\nwords"):
                self.assertIn(words, said)
            self.assertEqual(self.factory.ends[f"bye-{code}"], 5)
            self.assertEqual(self.factory.refusals[told.kind], 5)
            self.assertEqual(
                [s for s in self.heard.said if not s.startswith("connecting to")],
                [said],
            )
            self.assertIn(told.reason, self.factory.why)
        self.assertEqual(self.welcome, [])

    def test_alertsFromMaster(self) -> None:
        """
        Each alert is logged once with its remedy and counted, including the "internal
        error" of older listeners.
        """
        for words in ("certificate revoked", "unknown ca", "internal error"):
            self.heard.said.clear()
            before = self.factory.ends["alert"]
            for _ in range(5):
                self.attempt(reason=alert(words))
            told = toldByAlert(alert(words).value)
            assert told is not None
            (said,) = self.refusals()
            self.assertIn(told.remedy, said)
            self.assertEqual(self.factory.ends["alert"], before + 5)
            self.assertLessEqual(5, self.factory.refusals[told.kind])

    def test_goesOn(self) -> None:
        """The forwarder keeps trying: 1 s, doubling to 30 s, without end."""
        delays = [self.attempt(BYE("revoked", "x")) for _ in range(8)]
        self.assertEqual(delays, [1, 2, 4, 8, 16, 30, 30, 30])

    def test_newReasonIsLogged(self) -> None:
        """
        A new reason is logged, and so is the same reason after a connection in between.
        """
        self.attempt(BYE("revoked", "x"))
        self.attempt(BYE("not-allowed", "x"))
        self.attempt(BYE("not-allowed", "x"))
        self.attempt(reason=Failure(ConnectionLost()))
        self.attempt(BYE("not-allowed", "x"))
        self.assertEqual(len(self.refusals()), 3)
        self.attempt(HELLO(1, "0" * 32, 2048, 64))
        self.assertEqual(len(self.welcome), 1)
        self.attempt(BYE("not-allowed", "x"))
        self.assertEqual(
            len([s for s in self.refusals() if "allow-list" in s]), 2, self.heard.said
        )

    def test_connectedMeansGreeted(self) -> None:
        """
        A forwarder counts as connected once it has received HELLO, once per connection.
        """
        self.session = mock.Mock(spec=Session, inFlight=0, isStalled=False)
        connection, transport = self.connected()
        transport.negotiatedProtocol = DELIVERY_PROTOCOL
        connection.handshakeCompleted()
        self.assertEqual((connection.greeted, self.welcome), (False, []))
        connection.dataReceived(encodeControl(HELLO(1, "0" * 32, 2048, 64)))
        connection.accepted()
        connection.accepted()
        self.assertEqual((connection.greeted, self.welcome), (True, [connection]))

    def test_ownRefusal(self) -> None:
        """If the forwarder refuses the master, this is logged once and counted."""
        self.refusal = "certificate 'CN=x' refused: a reason; a remedy"
        for _ in range(5):
            connection, _ = self.connected()
            connection.connectionLost(Failure(SSL.Error([("", "", "verify failed")])))
            self.delayOfNext()
        (said,) = self.refusals()
        self.assertIn("a reason; a remedy", said)
        self.assertEqual(self.factory.ends["certificate"], 5)
        self.assertEqual(self.factory.refusals[MASTER_KIND], 5)


class WordsTests(SynchronousTestCase):
    """Texts for alerts, remedies and metrics."""

    def test_remediesInListenersLog(self) -> None:
        """The listener's log has the right remedy for each kind of refusal."""
        for code, reason, words in (
            ("revoked", "it was revoked on a day", "enroll it again"),
            ("not-allowed", "it is not on the allow-list", "--allow"),
            ("wrong-role", "it is not for clients", "worker's certificate"),
            ("wrong-role", "it is not an operator's certificate", "--role operator"),
            ("name", "a certificate must have exactly one CN", "letters, digits"),
            (
                "",
                "certificate has expired (the certificate of 'x', its issuer)",
                "renew",
            ),
            ("", "certificate is not yet valid", "clocks"),
            ("", "unsuitable certificate purpose", "worker's certificate"),
            ("", "unable to get local issuer certificate", "from another CA"),
            ("", "self-signed certificate", "from another CA"),
            ("", "certificate signature failure", "from another CA"),
            ("", "path length constraint exceeded", "decnet-syslog enroll"),
        ):
            self.assertIn(words, remedyOnMaster(code, reason), reason)

    def test_alertOf(self) -> None:
        """Only alerts are recognised as alerts."""
        for error in (
            SSL.Error(),
            SSL.Error([]),
            SSL.Error("x"),
            SSL.Error([()]),
            SSL.Error([("SSL routines", "", "certificate verify failed")]),
            ConnectionLost(),
            None,
        ):
            self.assertIsNone(alertOf(error))
        self.assertEqual(alertOf(alert("unknown ca").value), "unknown ca")

    def test_metricsForEachKind(self) -> None:
        """Every kind of refusal has a metric from the start, which increases."""
        facts = mock.MagicMock()
        facts.__getitem__.side_effect = {
            "ok": True,
            "events": {"counts": {}, "refusals": {}},
            "certificates": [],
            "master": {
                "connected": False,
                "ends": {},
                "refusals": {**dict.fromkeys(KINDS, 0), "revoked": 3},
            },
            "followed": 0,
            "troubles": [],
            "behind_octets": 0,
            "behind_seconds": 0,
            "build": {},
            "role": "forwarder",
            "throttled": None,
            "throttled_seconds": {},
            "in_flight_octets": 0,
            "acknowledgements": 0,
            "octets": 0,
            "gaps": {},
            "gap_octets": {},
        }.__getitem__
        (found,) = [
            metric
            for metric in forwarderMetrics(facts)
            if metric.name == "decnet_forwarder_refusals"
        ]
        values = {labels[0]: value for labels, value in found.samples}
        self.assertEqual(set(values), set(KINDS))
        self.assertEqual(values["revoked"], 3)

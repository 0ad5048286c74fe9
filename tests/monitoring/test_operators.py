"""
Tests for the status port on addresses other than loopback: real TLS, in memory and with
real processes.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.commands import enroll
from decnet_syslog.errors import UserError
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.monitoring import _port as ports
from decnet_syslog.monitoring._enrolled import EnrolledList
from decnet_syslog.monitoring._port import OperatorPort
from decnet_syslog.monitoring._site import IDLE_S, Facts, makeSite
from decnet_syslog.testing import LocalCluster
from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._contexts import Refusal, operatorContext
from decnet_syslog.trust._roles import (
    OPERATOR_USAGE,
    Objection,
    refuseOperator,
    refuseWorker,
)

from ..certificates import CLIENT, SERVER, certificate, master
from ..peers import PairTestCase, example, requirePeer
from ..trust.test_admission import AdmissionTestCase
from ..trust.test_contexts import Client, TLSTestCase, carrying

CLI = "from decnet_syslog.cli import main; main()"

# An operator's request, under any host name.
REQUEST = b"GET /status.json HTTP/1.1\r\nHost: master.example.org\r\n\r\n"


def operator(name: str = "alice", **options: Any) -> x509.Certificate:
    """An operator's certificate."""
    return certificate([name], **{"usages": (CLIENT, OPERATOR_USAGE), **options})


class RoleTests(SynchronousTestCase):
    """A certificate for one role is refused for the other."""

    def test_operatorCertificate(self) -> None:
        """A certificate is an operator's if it has that role and is for clients."""
        self.assertIsNone(refuseOperator(operator()))
        everything = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
        for other in (
            certificate(["w1"]),
            certificate(["w1"], usages=()),
            certificate(["w1"], usages=(everything,)),
            certificate(["w1"], usages=(SERVER,)),
            operator(usages=(OPERATOR_USAGE,)),
            operator(usages=(OPERATOR_USAGE, SERVER)),
            operator(authority=True),
            operator("a/b"),
        ):
            self.assertIsNotNone(refuseOperator(other))

    def test_operatorIsNoWorker(self) -> None:
        """
        An operator's certificate is refused as a worker's, whatever other usages it
        has.
        """
        everything = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
        for one in (operator(), operator(usages=(everything, OPERATOR_USAGE))):
            self.assertEqual(
                refuseWorker(one), "it is an operator's certificate, not a worker's"
            )


class EnrollTests(AdmissionTestCase):
    """Operators' certificates from the CA."""

    def run_(self, *words: str) -> int:
        options = enroll.Options()
        options.parseOptions([*words, f"--ca-dir={self.authority.directory}"])
        with contextlib.redirect_stdout(io.StringIO()):
            return enroll.run(options)

    def test_operatorBundle(self) -> None:
        """
        An operator's bundle opens the status, cannot send, is not expected as a worker,
        and can be revoked like any other; the allow-list does not apply to it.
        """
        self.run_("alice", "--role=operator", f"--out={self.directory / 'alice'}")
        alice = Bundle.load(self.directory / "alice").certificate
        allow = self.directory / "allow"
        allow.write_text("w1\n")
        admission = self.admission(allow)
        self.assertIsNone(admission.refuseOperator(alice))
        self.assertIsNone(admission.refuseOpenOperator([alice]))
        self.assertIn("operator's", admission.refuse(alice) or "")
        self.assertIn("not an operator's", admission.refuseOperator(self.one) or "")
        path = self.authority.directory / "enrolled.jsonl"
        self.assertEqual(set(EnrolledList(path, admission).read()), {"w1", "w2"})
        self.authority.revoke([alice.serial_number])
        self.assertTrue(self.look(admission))
        self.assertIn("it was revoked", admission.refuseOperator(alice) or "")
        self.assertIn("it was revoked", admission.refuseOpenOperator([alice]) or "")

    def test_otherName(self) -> None:
        """A name cannot have two roles: revoking one would revoke the other."""
        out = f"--out={self.directory / 'out'}"
        self.assertRaises(UserError, self.run_, "w1", "--role=operator", out)
        self.run_("alice", "--role=operator", out)
        again = f"--out={self.directory / 'again'}"
        self.assertRaises(UserError, self.run_, "alice", again)
        self.assertRaises(UserError, self.run_, "alice", "--renew", again)
        self.assertRaises(UserError, self.run_, "alice", "--role=operator", again)
        self.assertEqual(self.run_("alice", "--role=operator", "--renew", again), 0)

    def test_operatorOfRetiredCA(self) -> None:
        """An operator whose CA is no longer trusted is refused."""
        alice = self.authority.enroll("alice", self.directory / "a", role="operator")
        admission = self.admission()
        admission.use(master(ca="other"))
        self.assertEqual(
            admission.refuseOpenOperator([alice]), "its CA is no longer trusted"
        )


class NotAWorkerTests(TLSTestCase):
    """The port for workers."""

    def test_operatorIsRefused(self) -> None:
        """An operator's certificate is refused and its lines are not stored."""
        client = self.connect(carrying(operator()))
        self.assertEqual((client.received, self.stored()), (b"", []))
        self.assertEqual(
            [one.reason for one in self.refusals],
            ["it is an operator's certificate, not a worker's"],
        )


class PortTests(SynchronousTestCase):
    """The status port, with TLS in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals: list[Refusal] = []
        self.revoked: list[x509.Certificate] = []
        context = operatorContext(
            master(), self.refusals.append, self.refuse, lambda certificate: None
        )
        port = makeSite(
            self.clock,
            Facts(lambda: {"role": "listener"}, self.clock.seconds),
            lambda: b"metrics\n",
            b"text/plain",
            context=context,
        )
        assert isinstance(port, OperatorPort)
        self.port = port
        self.port.doStart()
        self.said: list[Any] = []
        observer: Any = self.said.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def refuse(self, certificate: x509.Certificate) -> Objection | None:
        revoked = Objection("revoked", "it was revoked")
        return revoked if certificate in self.revoked else None

    def connect(
        self, creator: Any, octets: bytes = REQUEST, host: str = "192.0.2.1"
    ) -> tuple[Client, IOPump]:
        """Connect, and let both ends finish their exchange."""
        client = Client(octets)
        factory = Factory.forProtocol(lambda: client)
        wrapped = TLSMemoryBIOFactory(creator, True, factory, self.clock)
        peer = IPv4Address("TCP", host, 5)
        ours, theirs = self.port.buildProtocol(peer), wrapped.buildProtocol(peer)
        pump: IOPump = connect(
            ours,
            FakeTransport(ours, True, peerAddress=peer),
            theirs,
            FakeTransport(theirs, False),
            clock=self.clock,
        )
        for _ in range(4):
            pump.flush()
            self.clock.advance(0)
        return client, pump

    def test_operatorIsServed(self) -> None:
        """An operator is answered under any host name, over HTTP/1.1."""
        for protocols in ((), (b"h2", b"http/1.1"), (b"h2",)):
            client, _ = self.connect(carrying(operator(), protocols=protocols))
            head, _, body = client.received.partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
            self.assertIn(b"Content-Security-Policy: default-src 'none'", head)
            self.assertEqual(json.loads(body), {"role": "listener"})
        self.assertEqual(self.refusals, [])

    def test_othersRefused(self) -> None:
        """
        Others get no answer: a worker, the master itself, a client from another CA, an
        expired certificate, and a client without a certificate.
        """
        for cert, reason in (
            (certificate(["w1"]), "it is not an operator's certificate"),
            (certificate(["decnet-master"]), "it is not an operator's certificate"),
            (
                operator("decnet-master"),
                "it is the master's own, or has the master's name",
            ),
            (operator(ca="other"), "unable to get local issuer certificate"),
            (operator(days=(-3, -1)), "certificate has expired"),
            (None, None),
        ):
            client, _ = self.connect(carrying(cert))
            self.assertEqual(client.received, b"")
            reasons = [one.reason for one in self.refusals]
            self.assertEqual(reasons, [] if reason is None else [reason])
            self.refusals.clear()
        self.assertEqual(len(self.port.protocols), 0)

    def test_revokedOperator(self) -> None:
        """
        A revoked operator is refused and an open connection is closed; another
        operator's stays.
        """
        alice, bob = operator(), operator("bob")
        (one, pump), (other, _) = [self.connect(carrying(c)) for c in (alice, bob)]
        self.port.sweep(lambda chain: self.refuse(chain[0]))
        self.assertEqual(len(self.port.protocols), 2)
        self.revoked.append(alice)
        self.port.sweep(lambda chain: self.refuse(chain[0]))
        pump.flush()
        self.assertIsNotNone(one.lost)
        self.assertIsNone(other.lost)
        self.assertEqual(len(self.port.protocols), 1)
        (said,) = [event for event in self.said if event.get("event") == "revoked"]
        self.assertEqual((said["operator"], said["address"]), ("alice", "192.0.2.1:5"))
        again, _ = self.connect(carrying(alice))
        self.assertEqual(again.received, b"")
        self.assertEqual([r.reason for r in self.refusals], ["it was revoked"])

    def test_clientsWithoutCertificate(self) -> None:
        """
        Clients without a certificate cannot occupy operators' connections, from one
        address or many, for more than a short time.
        """

        def strangers(host: str, count: int) -> list[Any]:
            peer = IPv4Address("TCP", host, 5)
            found = []
            for _ in range(count):
                protocol = self.port.buildProtocol(peer)
                if protocol is not None:
                    protocol.makeConnection(_Silent(peerAddress=peer))
                    found.append(protocol)
            return found

        found = strangers("203.0.113.1", ports.STRANGERS_PER_ADDRESS_MAX + 5)
        self.assertEqual(len(found), ports.STRANGERS_PER_ADDRESS_MAX)
        client, _ = self.connect(carrying(operator()))
        self.assertIn(b"200 OK", client.received)
        # IPv6 addresses count by network, IPv4 addresses individually.
        network = [f"2001:db8::{number:x}" for number in range(1, 20)]
        found += [one for host in network for one in strangers(host, 1)]
        self.assertEqual(len(found), 2 * ports.STRANGERS_PER_ADDRESS_MAX)
        mapped = [f"::ffff:203.0.113.{number}" for number in range(101, 105)]
        found += [one for host in mapped for one in strangers(host, 4)]
        self.assertEqual(len(found), 2 * ports.STRANGERS_PER_ADDRESS_MAX + 16)
        for number in range(2, 20):
            found += strangers(f"203.0.113.{number}", 8)
        self.assertEqual(len(found), ports.STRANGERS_MAX)
        self.clock.pump([IDLE_S + 1, 1])
        self.assertEqual({p.transport.disconnected for p in found}, {True})

    def test_operatorsBounded(self) -> None:
        """The number of operators' connections is bounded."""
        for number in range(ports.CONNECTIONS_MAX):
            self.connect(carrying(operator()), host=f"192.0.2.{number}")
        self.assertEqual(len(self.port.protocols), ports.CONNECTIONS_MAX)
        address = IPv4Address("TCP", "198.51.100.1", 5)
        self.assertIsNone(self.port.buildProtocol(address))


class _Silent(StringTransport):
    """A client that sends nothing."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no TCP connection."""


class OptionsTests(SynchronousTestCase):
    """Addresses of the status port."""

    def test_anyAddress(self) -> None:
        """A listener's status can be on any address."""
        for address in ("0.0.0.0", "::", "192.0.2.1", "127.0.0.1"):
            options = ListenerOptions()
            options.parseOptions(["--status-port=0", f"--status-address={address}"])
            self.assertEqual(options.status.host, address)


class RunningTests(PairTestCase):
    """A real listener whose status is on all addresses."""

    timeout = 300

    def started(self) -> tuple[LocalCluster, int]:
        """The listener and its status port."""
        pair = self.pair(["--status-port=0", "--status-address=0.0.0.0"])
        for name in ("alice", "bob"):
            pair.authority.enroll(name, self.directory / name, role="operator")
        pair.enroll("w1")
        pair.startListener()
        found = r"status on https://0\.0\.0\.0:(\d+)/"
        self.waitFor(
            pair,
            lambda: bool(re.search(found, pair.listener.output())),
            "the status is not served",
        )
        match = re.search(found, pair.listener.output())
        assert match is not None
        return pair, int(match[1])

    def context(self, name: str | None) -> ssl.SSLContext:
        """A TLS context with a bundle."""
        home = self.directory
        context = ssl.create_default_context(cafile=str(home / "ca" / "ca.crt"))
        if name is not None:
            bundle = home / name
            context.load_cert_chain(bundle / "worker.crt", bundle / "worker.key")
        return context

    def connection(self, port: int, name: str | None) -> http.client.HTTPSConnection:
        """A connection to the status, not opened yet."""
        return http.client.HTTPSConnection(
            "127.0.0.1", port, context=self.context(name), timeout=30
        )

    def status(self, port: int, *options: str) -> subprocess.CompletedProcess[str]:
        """The status command."""
        url = f"https://127.0.0.1:{port}"
        return subprocess.run(
            [sys.executable, "-c", CLI, "status", url, *options],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
        )

    def test_accessByRole(self) -> None:
        """
        The status command and a scrape with an operator's bundle are answered; a
        worker, a client without a certificate, and one without TLS are refused; a
        revoked operator is refused, and an open connection is closed.
        """
        pair, port = self.started()
        alice = self.connection(port, "alice")
        for path, words in (
            ("/status.json", b'"role": "listener"'),
            ("/metrics", b"decnet_listener_ok 1.0"),
            ("/", b"<!DOCTYPE html>"),
            ("/healthz", b"ok\n"),
        ):
            alice.request("GET", path)
            answer = alice.getresponse()
            self.assertEqual(answer.status, 200)
            self.assertIn(words, answer.read())
        found = self.status(port, f"--bundle={self.directory / 'bob'}")
        self.assertEqual((found.returncode, found.stderr), (0, ""), found.stdout)
        self.assertIn("all is well", found.stdout)
        for name in ("w1/agent", None):
            connection = self.connection(port, name)
            with self.assertRaises(OSError):
                connection.request("GET", "/")
                connection.getresponse()
            connection.close()
        refused = self.status(port, f"--bundle={self.directory / 'w1' / 'agent'}")
        self.assertEqual((refused.returncode, refused.stdout), (2, ""))
        self.assertIn("--role operator", refused.stderr)
        other = self.status(
            port, f"--bundle={self.directory / 'bob'}", "--master-name=other"
        )
        self.assertEqual(other.returncode, 2)
        self.assertIn("--master-name", other.stderr)
        missing = self.status(port, f"--bundle={self.directory / 'nobody'}")
        self.assertEqual(missing.returncode, 2)
        self.assertIn("there is no such file", missing.stderr)
        with socket.create_connection(("127.0.0.1", port), 30) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            plain.settimeout(30)
            self.assertNotIn(b"HTTP", plain.recv(1000))
        # The requests may have taken so long that this connection was closed as idle.
        alice.close()
        alice.request("GET", "/healthz")
        alice.getresponse().read()
        serial = Bundle.load(self.directory / "alice").certificate.serial_number
        pair.authority.revoke([serial])

        def ended() -> bool:
            try:
                alice.request("GET", "/healthz")
                alice.getresponse().read()
            except (OSError, http.client.HTTPException):
                return True
            return False

        self.waitFor(pair, ended, "the connection is still open")
        self.waitFor(
            pair,
            lambda: (
                "closed the status connection of operator alice"
                in pair.listener.output()
            ),
            "the connection was not closed",
        )
        revoked = self.status(port, f"--bundle={self.directory / 'alice'}")
        self.assertEqual((revoked.returncode, revoked.stdout), (2, ""))
        self.assertEqual(
            self.status(port, f"--bundle={self.directory / 'bob'}").returncode, 0
        )

    def test_scrapeConfig(self) -> None:
        """Prometheus accepts the documented scrape configuration."""
        path = Path(self.directory / "prometheus.yml")
        path.write_text(example("prometheus.yml"))
        done = subprocess.run(
            [requirePeer("promtool"), "check", "config", "--syntax-only", str(path)],
            capture_output=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

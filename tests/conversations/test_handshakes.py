"""
Tests for the TLS versions, cipher suites and certificates that a listener accepts,
using C{openssl s_client}.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from decnet_syslog.trust._bundles import readKey

from ..campaigns.siege.papers import SERVER, Papers, issue, strangersCA
from ..hellos import (
    DEFLATE,
    HANDSHAKE_FAILURE,
    NULL,
    PROTOCOL_VERSION,
    SSL3,
    TLS1_0,
    TLS1_1,
    TLS1_2,
    answer,
    hello,
)
from ..peers import PairTestCase, requirePeer

# All that the library supports, including options that it would not use by default.
ANYTHING = "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"

# RFC 9662 and RFC 8446, with a master whose key is ECDSA and one whose key is RSA.
GOOD_ECDSA = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
)
GOOD_RSA = tuple(suite.replace("ECDSA", "RSA") for suite in GOOD_ECDSA)
GOOD_1_3 = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)

# One forbidden suite of each type: its weakness, and its number, in case s_client lacks
# it.
ECDHE_ECDSA_AES128_GCM, ECDHE_RSA_AES128_GCM = 0xC02B, 0xC02F
BAD = {
    "RC4": 0x0005,
    "3DES": 0x000A,
    "export": 0x0003,
    "no encryption": 0x003B,
    "no encryption, ECDHE": 0xC006,
    "anonymous": 0x00A6,
    "anonymous, ECDH": 0xC018,
    "RSA key exchange, CBC": 0x002F,
    "RSA key exchange, GCM": 0x009C,
    "ECDHE, CBC": 0xC009,
    "ECDHE, CBC and SHA-256": 0xC023,
    "ECDHE of RSA, CBC": 0xC013,
    "DHE, GCM": 0x009E,
    "ECDHE, CCM": 0xC0AC,
    "ECDHE, CCM of 8 octets": 0xC0AE,
    "pre-shared key": 0x00A8,
}
BAD_NAMES = (
    "NULL-SHA256",
    "ECDHE-ECDSA-NULL-SHA",
    "ADH-AES256-GCM-SHA384",
    "AECDH-AES256-SHA",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-CCM",
    "DHE-RSA-AES128-GCM-SHA256",
)


def _save(papers: Papers, directory: Path) -> Path:
    """Save a bundle's certificate and key as files."""
    directory.mkdir(exist_ok=True)
    pem = papers.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, octets in (
        ("worker.crt", papers.certificate.public_bytes(Encoding.PEM)),
        ("worker.key", pem),
    ):
        path = directory / name
        path.write_bytes(octets)
        os.chmod(path, 0o600)
    return directory


class MatrixTests(PairTestCase):
    """A listener process and OpenSSL's own client."""

    def setUp(self) -> None:
        super().setUp()
        self.openssl = requirePeer("openssl")
        self.stored: list[str] = []
        self.master = self.pair()
        self.good = self.directory / "good"
        self.master.authority.enroll("good", self.good)
        self.foreign = _save(issue(strangersCA(), ["good"]), self.directory / "foreign")
        self.asked = 0

    def source(self) -> str:
        """
        A loopback address for each client, to find the client in the listener's log.
        """
        self.asked += 1
        return f"127.251.0.{self.asked}"

    def said(self, source: str, *words: str) -> bool:
        """
        Whether the listener's log has a line about a client with one of these texts.
        """
        return any(
            f"{source}:" in line and any(word in line for word in words)
            for line in self.master.listener.output().splitlines()
        )

    def lines(self) -> list[str]:
        """The stored lines, all from the valid worker."""
        if not self.master.jsonPath.exists():
            return []
        whole, _, _ = self.master.jsonPath.read_bytes().rpartition(b"\n")
        records = [json.loads(line) for line in whole.splitlines()]
        self.assertEqual({r["source_worker"] for r in records} - {"good"}, set())
        return [record["raw_line"] for record in records]

    def start(
        self, source: str, papers: Path | None, *options: str
    ) -> subprocess.Popen[bytes]:
        """Start C{openssl s_client}, which verifies the master."""
        shown: list[object] = []
        if papers is not None:
            shown = ["-cert", papers / "worker.crt", "-key", papers / "worker.key"]
        master = self.master
        with open(self.directory / f"{source}.said", "wb") as out:
            child = subprocess.Popen(
                [
                    *(self.openssl, "s_client", "-verify_return_error"),
                    *("-CAfile", str(master.caDirectory / "ca.crt")),
                    *("-connect", f"{master.host}:{master.port}"),
                    *("-bind", f"{source}:0"),
                    *map(str, shown),
                    *options,
                ],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
            )
        self.children.append(child)
        return child

    def words(self, source: str) -> str:
        """The output of a client."""
        return (self.directory / f"{source}.said").read_text("utf-8", "replace")

    def send(self, child: subprocess.Popen[bytes], what: str) -> str:
        """Send a line in a frame. Returns the line."""
        line = f"<134>1 2026-04-18T00:00:00Z d s - e - {what}"
        assert child.stdin is not None
        try:
            child.stdin.write(b"%d %s" % (len(line), line.encode()))
        except BrokenPipeError:
            pass
        return line

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """Let the client close."""
        assert child.stdin is not None
        child.stdin.close()
        child.wait(60)

    def assertTaken(self, papers: Path | None, *options: str) -> str:
        """Check that a line arrives, once. Returns the client's output."""
        source = self.source()
        child = self.start(source, papers, *options)
        self.stored.append(self.send(child, f"{self.asked} {options}"))
        self.waitFor(
            self.master,
            lambda: len(self.lines()) >= len(self.stored) or child.poll() is not None,
            f"the line of {options} is not stored",
        )
        self.end(child)
        self.assertEqual(self.lines(), self.stored, self.words(source))
        return self.words(source)

    def assertRefused(
        self, papers: Path | None, words: tuple[str, ...], *options: str
    ) -> None:
        """Check that the client gives up, and that the listener logs the reason."""
        source = self.source()
        child = self.start(source, papers, *options)
        self.send(child, f"{self.asked} {options}")
        self.waitFor(
            self.master,
            lambda: child.poll() is not None and self.said(source, *words),
            f"{options} with {papers} is not refused",
        )
        self.end(child)
        self.assertFalse(self.said(source, "connected from"), self.words(source))

    def finish(self) -> None:
        """
        Check that refused clients have stored nothing, and that a valid one is served.
        """
        self.assertTaken(self.good, "-tls1_3")
        self.assertTrue(self.master.listener.alive)

    def test_versionsAndCertificates(self) -> None:
        """A client needs TLS 1.2 or 1.3 and a certificate from the CA."""
        self.master.startListener()
        for version in ("-tls1", "-tls1_1"):
            for papers in (self.good, None, self.foreign):
                self.assertRefused(papers, ("no handshake",), version, *ANYTHING)
        for version in ("-tls1_2", "-tls1_3"):
            self.assertRefused(None, ("did not return a certificate",), version)
            self.assertRefused(self.foreign, ("signature", "issuer"), version)
            self.assertTaken(self.good, version)
        self.finish()

    def test_cipherSuites(self) -> None:
        """Each of RFC 9662's suites is accepted, and all others are refused."""
        self.master.startListener()
        for suite in GOOD_ECDSA:
            said = self.assertTaken(self.good, "-tls1_2", "-cipher", suite)
            self.assertIn(f"New, TLSv1.2, Cipher is {suite}", said)
            self.assertIn("Compression: NONE", said)
        for suite in GOOD_1_3:
            said = self.assertTaken(self.good, "-tls1_3", "-ciphersuites", suite)
            self.assertIn(f"New, TLSv1.3, Cipher is {suite}", said)
        for suite in BAD_NAMES:
            only = f"{suite}:@SECLEVEL=0"
            self.assertRefused(self.good, ("no handshake",), "-tls1_2", "-cipher", only)
        self.assertRefused(
            self.good,
            ("no handshake",),
            *("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"),
        )
        self.finish()

    def test_masterWithRSAKey(self) -> None:
        """
        A master with an RSA key accepts the suites for it, including RFC 9662's
        mandatory one.
        """
        ca = Papers(
            self.master.authority.certificate,
            readKey(self.master.caDirectory / "ca.key"),
        )
        own = rsa.generate_private_key(65537, 2048)
        made = issue(ca, ["decnet-master"], usages=(SERVER,), own=own)
        _save(made, self.master.caDirectory / "master")
        self.master.startListener()
        for suite in GOOD_RSA:
            said = self.assertTaken(self.good, "-tls1_2", "-cipher", suite)
            self.assertIn(f"New, TLSv1.2, Cipher is {suite}", said)
        self._offer(ECDHE_RSA_AES128_GCM)
        self.finish()

    def test_handmadeHellos(self) -> None:
        """
        Offers that s_client no longer supports are refused, using handmade hellos.
        """
        self.master.startListener()
        self._offer(ECDHE_ECDSA_AES128_GCM)
        target = self.master.host, self.master.port
        for version in (SSL3, TLS1_0, TLS1_1):
            octets = hello([ECDHE_ECDSA_AES128_GCM, 0xC009, 0x002F], version)
            found = answer(target, self.source(), octets)
            self.assertEqual(found, {"alert": PROTOCOL_VERSION}, f"{version:04x}")
        octets = hello([ECDHE_ECDSA_AES128_GCM], methods=(DEFLATE, NULL))
        self.assertEqual(answer(target, self.source(), octets)["method"], NULL)
        self.finish()

    def _offer(self, good: int) -> None:
        target = self.master.host, self.master.port
        for what, suite in BAD.items():
            found = answer(target, self.source(), hello([suite]))
            self.assertEqual(found, {"alert": HANDSHAKE_FAILURE}, what)
        found = answer(target, self.source(), hello([*BAD.values(), good]))
        chosen = {"version": TLS1_2, "suite": good, "method": NULL}
        self.assertEqual(found, chosen)

    def test_renegotiationIsRefused(self) -> None:
        """A TLS 1.2 client that requests renegotiation does not get it."""
        self.master.startListener()
        source = self.source()
        child = self.start(source, self.good, "-tls1_2")
        self.stored.append(self.send(child, "before"))
        self.waitFor(
            self.master, lambda: self.lines() == self.stored, "the line is not stored"
        )
        assert child.stdin is not None
        child.stdin.write(b"R\n")
        self.waitFor(
            self.master, lambda: child.poll() is not None, "the client renegotiated"
        )
        said = self.words(source)
        self.assertIn("RENEGOTIATING", said)
        self.assertIn("no renegotiation", said)
        self.end(child)
        self.finish()

    def test_sessionResumption(self) -> None:
        """No session is resumed, with or without a certificate."""
        self.master.startListener()
        for version in ("-tls1_2", "-tls1_3"):
            saved = self.directory / f"session{version}"
            # A master that issues no session leaves nothing to retry with.
            self.assertTaken(self.good, version, "-sess_out", str(saved))
            if not saved.exists():
                continue
            again = version, "-sess_in", str(saved)
            said = self.assertTaken(self.good, *again)
            self.assertIn("New, TLSv1.", said)
            self.assertNotIn("Reused, ", said)
            self.assertRefused(None, ("did not return a certificate",), *again)
        self.finish()

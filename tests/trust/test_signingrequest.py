"""
Tests for L{decnet_syslog.trust._signingrequest}: a certificate request is hostile input.
"""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from decnet_syslog.errors import UserError
from decnet_syslog.trust._bundles import Bundle, readKey
from decnet_syslog.trust._issuers import spki
from decnet_syslog.trust._issuing import pemOfKey
from decnet_syslog.trust._names import peerName
from decnet_syslog.trust._roles import OPERATOR_USAGE
from decnet_syslog.trust._signingrequest import REQUEST_OCTETS_MAX, readRequest

from ..certificates import key
from ..homes import HomesTestCase

_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def request(
    *names: str,
    own: CertificateIssuerPrivateKeyTypes | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
    more: tuple[x509.NameAttribute[str], ...] = (),
) -> bytes:
    """A request in PEM."""
    own = own or key("requester")
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False) for name in names
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*more, *subject])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    edwards = isinstance(own, ed25519.Ed25519PrivateKey)
    made = builder.sign(own, None if edwards else SHA256())
    return made.public_bytes(Encoding.PEM)


def asPEM(der: bytes) -> bytes:
    """A request in PEM, whether it is valid or not."""
    label = b"CERTIFICATE REQUEST-----\n"
    return b"-----BEGIN " + label + encodebytes(der) + b"-----END " + label


def changed(pem: bytes) -> bytes:
    """A request with a bit of its signature changed."""
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return asPEM(bytes(der))


class RefusedTests(HomesTestCase):
    """
    The CA refuses every request that it would not issue, with the reason in one line.
    """

    def setUp(self) -> None:
        super().setUp()
        self.good(self.master, "ca", "init")
        self.files = self.listed()

    def listed(self) -> set[str]:
        return {str(path) for path in self.top.rglob("*")}

    def enroll(self, octets: bytes, *words: str) -> str:
        return self.refused(
            self.master,
            *("enroll", "w1", "--csr=-", f"--out={self.top}/out"),
            *words,
            stdin=octets,
        )

    def cases(self) -> Iterator[tuple[str, bytes]]:
        """Requests that must be refused, each with a part of the reason."""
        good = request("w1")
        yield "the name 'w2'", request("w2")
        yield "the name 'W1'", request("W1")
        yield "the name 'w1 '", request("w1 ")
        yield r"the name 'w1\x00'", request("w1\0")
        yield r"the name '\x1b[2J\n'", request("\x1b[2J\n")
        yield "0 names", request()
        yield "2 names", request("w1", "w1")
        yield "2 names", request("w1", "w2")
        yield "decnet-master", request("decnet-master")
        yield (
            "CA's certificate",
            request("w1", extensions=(x509.BasicConstraints(True, None),)),
        )
        yield "CA's key usage", request("w1", extensions=(_SIGNS,))
        for usage in (
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
            OPERATOR_USAGE,
        ):
            both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, usage])
            yield usage.dotted_string, request("w1", extensions=(both,))
        for alternative in (
            x509.DNSName("decnet-master"),
            x509.RFC822Name("w1@example.org"),
            x509.DirectoryName(x509.Name([])),
        ):
            others = x509.SubjectAlternativeName([x509.DNSName("w1"), alternative])
            yield "the other name", request("w1", extensions=(others,))
        yield (
            "extension 2.5.29.30",
            request(
                "w1", extensions=(x509.NameConstraints([x509.DNSName("a")], None),)
            ),
        )
        yield (
            "1024 bits",
            request("w1", own=rsa.generate_private_key(65537, 1024)),
        )
        yield "exponent", request("w1", own=rsa.generate_private_key(3, 2048))
        yield (
            "secp224r1",
            request("w1", own=ec.generate_private_key(ec.SECP224R1())),
        )
        yield (
            "secp256k1",
            request("w1", own=ec.generate_private_key(ec.SECP256K1())),
        )
        yield (
            "neither ECDSA nor RSA",
            request("w1", own=ed25519.Ed25519PrivateKey.generate()),
        )
        yield "hash sha224", self.weakly(good)
        yield "not by its own key", changed(good)
        yield "not by its own key", self.swapped()
        yield "private key", good + pemOfKey(key("requester"))
        yield "not one certificate request", good + request("w1")
        yield "not one certificate request", b""
        yield "not one certificate request", b"\xff\xfe hello"
        der = x509.load_pem_x509_csr(good).public_bytes(Encoding.DER)
        yield "not one certificate request", der
        yield (
            "not one certificate request",
            (self.ca / "ca.crt").read_bytes(),
        )
        lines = good.splitlines(keepends=True)
        yield "cannot be parsed", b"".join(lines[:2] + lines[3:])
        yield "cannot be parsed", b"".join(lines[:-1])
        yield "longer than 16384 octets", good + b"#" * REQUEST_OCTETS_MAX
        for path in (self.ca, self.ca / "master"):
            file = next(path.glob("*.key"))
            own = self.loaded(file)
            yield "the CA's or the master's own", request("w1", own=own)

    def loaded(self, path: Path) -> CertificateIssuerPrivateKeyTypes:
        made = readKey(path)
        assert isinstance(made, ec.EllipticCurvePrivateKey)
        return made

    def weakly(self, pem: bytes) -> bytes:
        """
        A request whose signature claims ecdsa-with-SHA224 instead of ecdsa-with-SHA256.
        """
        octets = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
        strong = bytes.fromhex("2a8648ce3d040302")
        self.assertIn(strong, octets)
        return asPEM(octets.replace(strong, strong[:-1] + b"\1"))

    def swapped(self) -> bytes:
        """A request with a foreign key, signed by another."""
        mine, theirs = key("requester").public_key(), key("theirs").public_key()
        octets = x509.load_pem_x509_csr(request("w1")).public_bytes(Encoding.DER)
        self.assertEqual(octets.count(spki(mine)), 1)
        odd = octets.replace(spki(mine), spki(theirs))
        return asPEM(odd)

    def test_refusedRequests(self) -> None:
        """
        For a refused request no certificate is made, no name is listed, and no file is
        written.
        """
        count = 0
        for words, octets in self.cases():
            with self.subTest(words=words):
                self.assertIn(words, self.enroll(octets))
                count += 1
        self.assertGreater(count, 30)
        self.assertEqual(self.listed(), self.files)
        self.assertNotIn("w1", (self.ca / "enrolled.jsonl").read_text("ascii"))

    def test_unreadableFile(self) -> None:
        """
        A request file that is missing, unreadable or too large is named in the error.
        """
        for name, words in (
            ("none.csr", "there is no such file"),
            (".", "cannot be read"),
        ):
            error = self.refused(
                self.master,
                *("enroll", "w1", "--csr", f"{self.top}/{name}", f"--out={self.top}/o"),
            )
            self.assertIn(words, error)
            self.assertIn(str(self.top), error)

    def test_anyOctets(self) -> None:
        """
        A request with a changed octet is refused or is the same request, and never
        causes an exception.
        """
        good = x509.load_pem_x509_csr(request("w1")).public_bytes(Encoding.DER)
        refused = 0
        for at in range(len(good)):
            odd = bytearray(good)
            odd[at] ^= 0x81
            body = asPEM(bytes(odd))
            try:
                found = readRequest(body, "w1", [], "worker", [])
            except UserError as error:
                refused += 1
                self.assertEqual(str(error).count("\n"), 0)
                self.assertTrue(str(error).isprintable())
            else:
                self.assertEqual(spki(found), spki(key("requester").public_key()))
        self.assertGreater(refused, len(good) - 20)


class SignedTests(HomesTestCase):
    """
    The certificate contains only what the CA decides, whatever else the request has.
    """

    def setUp(self) -> None:
        super().setUp()
        self.good(self.master, "ca", "init")

    def test_onlyKeyFromRequest(self) -> None:
        """
        Subject, usages and constraints come from the CA; only the key comes from the
        request.
        """
        extensions = (
            x509.BasicConstraints(False, None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
            x509.SubjectAlternativeName([x509.DNSName("w1")]),
        )
        pem = request(
            "w1",
            extensions=extensions,
            more=(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Evil"),),
        )
        out = self.top / "out"
        self.good(self.master, "enroll", "w1", "--csr=-", f"--out={out}", stdin=pem)
        self.assertEqual(
            sorted(p.name for p in out.iterdir()), ["ca.crt", "worker.crt"]
        )
        (out / "worker.key").write_bytes(pemOfKey(key("requester")))
        (out / "worker.key").chmod(0o600)
        made = Bundle.load(out).certificate
        self.assertEqual(peerName(made), "w1")
        self.assertEqual(made.subject.rfc4514_string(), "CN=w1")
        found = {extension.oid.dotted_string for extension in made.extensions}
        # Without --san there are no alternative names.
        self.assertNotIn("2.5.29.17", found)

    def test_keyTypesAndOptions(self) -> None:
        """
        Requests with any usual key type, with a preamble as printed by openssl, for
        operators, and with C{--san} are signed.
        """
        kinds: list[CertificateIssuerPrivateKeyTypes] = [
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 2048),
        ]
        for number, own in enumerate(kinds):
            name, out = f"w{number}", self.top / f"out{number}"
            pem = b"Certificate Request:\n    Data:\n" + request(name, own=own)
            self.good(self.master, "enroll", name, "--csr=-", f"--out={out}", stdin=pem)
            (out / "worker.key").write_bytes(pemOfKey(own))
            (out / "worker.key").chmod(0o600)
            self.assertEqual(peerName(Bundle.load(out).certificate), name)
        usages = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.CLIENT_AUTH, OPERATOR_USAGE]
        )
        names = x509.SubjectAlternativeName([x509.DNSName("a.example.org")])
        pem = request("alice", extensions=(usages, names))
        self.good(
            self.master,
            *("enroll", "alice", "--csr=-", "--role=operator"),
            *(f"--out={self.top}/alice", "--san=a.example.org"),
            stdin=pem,
        )

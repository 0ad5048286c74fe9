"""
Tests for bundles that would fail at the handshake: the chain, each date and the order
are checked when they load.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.trust._bundles import Bundle, BundleError
from decnet_syslog.trust._contexts import ForwarderContext, ListenerContext
from decnet_syslog.trust._issuers import canonicalName, isIssued, isSigned

from ..certificates import authority, certificate, key, master
from .test_contexts import TLSTestCase

NOW = datetime.now(timezone.utc)


def pems(*certificates: x509.Certificate) -> bytes:
    return b"".join([one.public_bytes(Encoding.PEM) for one in certificates])


def named(text: str, kind: Any = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)])


def signed(
    subject: x509.Name,
    holder: Any,
    issuer: x509.Name,
    by: Any,
    *,
    ca: bool = False,
    days: tuple[float, float] = (-1, 30),
    path: int | None = None,
    serial: int | None = None,
) -> x509.Certificate:
    """A certificate with only the requested extensions."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(holder.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, path), critical=True)
    )
    digest = None if isinstance(by, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(by, digest)


class BundleTestCase(SynchronousTestCase):
    """Builds bundles from arbitrary certificates."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)

    def write(
        self,
        shown: Sequence[x509.Certificate],
        trusted: Sequence[x509.Certificate],
        holder: Any = None,
    ) -> Path:
        private = (holder or key("holder")).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (self.directory / "worker.crt").write_bytes(pems(*shown))
        (self.directory / "ca.crt").write_bytes(pems(*trusted))
        (self.directory / "worker.key").write_bytes(private)
        (self.directory / "worker.key").chmod(0o600)
        return self.directory

    def refused(self, file: str, *words: str, now: datetime | None = None) -> None:
        error = self.assertRaises(BundleError, Bundle.load, self.directory, now)
        self.assertEqual(error.path.name, file, str(error))
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))


class ChainTests(BundleTestCase):
    """Each certificate between the worker's and the CA's is checked."""

    def setUp(self) -> None:
        super().setUp()
        self.between = certificate(
            ["test between"], holder="between", usages=(), authority=True
        )
        self.leaf = certificate(["w1"], ca="between")

    def test_validChainsLoad(self) -> None:
        """
        A chain that leads to the CA loads, in any order after the leaf, with or without
        its root.
        """
        for shown in (
            (self.leaf, self.between),
            (self.leaf, self.between, authority()),
            (self.leaf, authority(), self.between),
            (self.leaf, authority("other"), self.between),
        ):
            bundle = Bundle.load(self.write(shown, (authority(),)))
            self.assertEqual(bundle.certificate, self.leaf)
        Bundle.load(self.write((self.leaf,), (self.between,)))
        Bundle.load(
            self.write((certificate(["w1"]),), (authority("other"), authority()))
        )

    def test_chainToUntrustedCA(self) -> None:
        """A chain is refused if it leads to a CA that ca.crt does not have."""
        self.write((self.leaf, self.between), (authority("other"),))
        self.refused(
            "worker.crt", "'CN=test between'", "not signed by the CA in ca.crt"
        )
        self.write((self.leaf, self.between, authority()), (authority("other"),))
        self.refused("worker.crt", "not signed by the CA in ca.crt")

    def test_missingIntermediate(self) -> None:
        """A bundle is refused if its intermediate is missing, or is a different one."""
        self.write((self.leaf,), (authority(),))
        self.refused("worker.crt", "not signed by the CA in ca.crt")
        other = certificate(["test between"], holder="x", usages=(), authority=True)
        self.write((self.leaf, other), (authority(),))
        self.refused("worker.crt", "not signed by the CA in ca.crt")

    def test_datesOfEachCertificate(self) -> None:
        """
        If any certificate has expired or is not valid yet, the error names it, its file
        and the date.
        """
        for days, words in (
            ((-9.0, -1.0), "expired on"),
            ((1.0, 9.0), "is not valid before"),
        ):
            root = certificate(
                [], ca="ca", holder="ca", usages=(), authority=True, days=days
            )
            end = f"{root.not_valid_after_utc:%Y-%m-%d}"
            dated = (
                end if "expired" in words else f"{root.not_valid_before_utc:%Y-%m-%d}"
            )
            self.write((certificate(["w1"]),), (root,))
            self.refused("ca.crt", "'CN=test ca'", words, dated)
            between = certificate(
                ["test between"],
                holder="between",
                usages=(),
                authority=True,
                days=days,
            )
            self.write((self.leaf, between), (authority(),))
            self.refused("worker.crt", "'CN=test between'", words, dated)
            self.write((certificate(["w1"], days=days),), (authority(),))
            self.refused("worker.crt", words, dated)

    def test_givenTimeIsUsed(self) -> None:
        """Every certificate's validity is checked against the time passed in."""
        root = certificate(
            [], ca="ca", holder="ca", usages=(), authority=True, days=(-10, 100)
        )
        self.write((certificate(["w1"], days=(-1, 200)),), (root,))
        Bundle.load(self.directory, NOW + timedelta(days=50))
        self.refused("ca.crt", "expired on", now=NOW + timedelta(days=150))
        self.refused("ca.crt", "not valid before", now=NOW - timedelta(days=50))

    def test_unneededExpiredCA(self) -> None:
        """An expired CA in ca.crt that the chain does not need is ignored."""
        old = certificate(
            [], ca="old", holder="old", usages=(), authority=True, days=(-9, -1)
        )
        Bundle.load(self.write((certificate(["w1"]),), (old, authority())))

    def test_selfSignedLeaf(self) -> None:
        """
        A self-signed leaf is refused, even if ca.crt contains it or it occurs twice.
        """
        for isAuthority in (False, True):
            leaf = certificate(
                [], ca="self", holder="self", usages=(), authority=isAuthority
            )
            for shown, trusted in (
                ((leaf,), (leaf,)),
                ((leaf, leaf), (authority(),)),
                ((leaf,), (authority(), leaf)),
                ((leaf, authority()), (authority(),)),
            ):
                self.write(shown, trusted, key("self"))
                self.refused("worker.crt", "is self-signed")

    def test_issuerMayNotSign(self) -> None:
        """A bundle is refused if an issuer is not a CA, or may not sign another CA."""
        worker = certificate(["test between"], holder="between")
        self.write((self.leaf, worker), (authority(),))
        self.refused("worker.crt", "'CN=test between'")
        short = signed(
            named("test short"),
            key("s"),
            named("test short"),
            key("s"),
            ca=True,
            path=0,
        )
        middle = signed(
            named("test middle"), key("m"), named("test short"), key("s"), ca=True
        )
        leaf = signed(named("w1"), key("holder"), named("test middle"), key("m"))
        self.write((leaf, middle), (short,))
        self.refused("ca.crt", "path length")

    def test_weakKeys(self) -> None:
        """A key too weak for either end is refused."""
        weak = rsa.generate_private_key(65537, 1024)
        leaf = signed(named("w1"), weak, named("test ca"), key("ca"))
        self.write((leaf,), (authority(),), weak)
        self.refused("worker.crt", "not a certificate for TLS")
        root = signed(named("weak"), weak, named("weak"), weak, ca=True)
        self.write((signed(named("w1"), key("holder"), named("weak"), weak),), (root,))
        self.refused("ca.crt", "would be refused")

    def test_leafBehindIntermediate(self) -> None:
        """If the leaf does not come first, the error says to reorder the file."""
        self.write((self.between, self.leaf), (authority(),))
        self.refused(
            "worker.crt", "own certificate must come first", "certificate 2 of 2"
        )
        self.write((authority(), self.between, self.leaf), (authority(),))
        self.refused(
            "worker.crt", "own certificate must come first", "certificate 3 of 3"
        )

    def test_keyTypes(self) -> None:
        """
        Every type of key that TLS supports is accepted, for the CA and for the worker.
        """
        kinds: list[Any] = [
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
            rsa.generate_private_key(65537, 2048),
        ]
        for ca in kinds:
            root = signed(named("r"), ca, named("r"), ca, ca=True)
            for own in kinds:
                leaf = signed(named("w1"), own, named("r"), ca)
                if own is not ca:
                    Bundle.load(self.write((leaf,), (root,), own))
                    self.assertTrue(isIssued(leaf, root))


class AgreementTests(BundleTestCase, TLSTestCase):
    """A bundle loads if and only if the other end accepts it."""

    def setUp(self) -> None:
        TLSTestCase.setUp(self)

    def test_loadingAgreesWithListener(self) -> None:
        """Loading a bundle and connecting to a listener give the same verdict."""
        between = certificate(
            ["test between"], holder="between", usages=(), authority=True
        )
        late = certificate(
            ["test between"],
            holder="between",
            usages=(),
            authority=True,
            days=(-9, -1),
        )
        leaf = certificate(["w1"], ca="between")
        for shown in (
            (leaf, between),
            (leaf, late),
            (leaf,),
            (certificate(["w1"]),),
            (certificate(["w1"], ca="other"),),
            (certificate(["w1"], days=(-9, -1)),),
            (leaf, certificate(["test between"], holder="between")),
        ):
            before = len(self.stored())
            trusted = (authority(),)
            self.write(shown, trusted)
            try:
                Bundle.load(self.directory)
                loads = True
            except BundleError:
                loads = False
            unchecked = Bundle(
                self.directory, shown[0], tuple(shown[1:]), key("holder"), trusted
            )
            self.context = ListenerContext(master(), self.refusals.append)
            self.connect(ForwarderContext(unchecked, "decnet-master", False))
            self.assertEqual(len(self.stored()) > before, loads, shown)


class NameTests(SynchronousTestCase):
    """Distinguished names are compared by the rules of RFC 5280 section 7.1."""

    def test_equalNames(self) -> None:
        """The string type, the case of ASCII letters and extra spaces do not matter."""
        first = canonicalName(named("DECNET CA"))
        for other in (
            named("DECNET CA", _ASN1Type.PrintableString),
            named("decnet ca", _ASN1Type.BMPString),
            named("  DECNET   ca ", _ASN1Type.UniversalString),
            named("DECNET\tCA"),
        ):
            self.assertEqual(first, canonicalName(other))

    def test_differentNames(self) -> None:
        """
        Names differ by non-ASCII letters, attribute types, attribute order, and number
        of attributes.
        """
        first = canonicalName(named("DECNET CÄ"))
        both = [
            x509.NameAttribute(NameOID.COMMON_NAME, "a"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "b"),
        ]
        names = [
            first,
            canonicalName(named("DECNET Cä")),
            canonicalName(
                x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "DECNET CÄ")])
            ),
            canonicalName(x509.Name(both)),
            canonicalName(x509.Name(both[::-1])),
            canonicalName(x509.Name(both[:1])),
            canonicalName(x509.Name([x509.RelativeDistinguishedName(both)])),
            canonicalName(x509.Name([])),
        ]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(
            canonicalName(x509.Name([x509.RelativeDistinguishedName(both)])),
            canonicalName(x509.Name([x509.RelativeDistinguishedName(both[::-1])])),
        )

    def test_issuedByKeyAndName(self) -> None:
        """
        A certificate counts as issued by a CA if the key matches and the names are
        equal in any string type.
        """
        root = signed(named("A b"), key("ca"), named("A b"), key("ca"), ca=True)
        leaf = signed(
            named("w1"),
            key("holder"),
            named("a  B", _ASN1Type.PrintableString),
            key("ca"),
        )
        self.assertTrue(isIssued(leaf, root))
        other = signed(named("A b"), key("other"), named("A b"), key("other"), ca=True)
        self.assertFalse(isIssued(leaf, other))
        renamed = signed(named("C"), key("ca"), named("C"), key("ca"), ca=True)
        self.assertFalse(isIssued(leaf, renamed))
        self.assertTrue(isSigned(leaf, renamed))

"""Tests for L{decnet_syslog.trust._authority}, bundles, names and the command line."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from base64 import b64decode
from datetime import datetime, timedelta, timezone
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog import __version__
from decnet_syslog.cli import main
from decnet_syslog.errors import UserError
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._bundles import Bundle, BundleError
from decnet_syslog.trust._names import (
    NameRefused,
    checkName,
    fingerprint,
    peerName,
)

from ..certificates import certificate, key

# id-ecPublicKey, and an OID that is not assigned.
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_NO_KEY = bytes.fromhex("06072a8648ce3d027f")
# Version 2 certificates are obsolete since 1997.
_VERSION_3 = bytes.fromhex("a003020102")
_VERSION_2 = bytes.fromhex("a003020101")


class DirectoryTestCase(SynchronousTestCase):
    """A temporary directory."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.ca = self.directory / "ca"

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)


class AuthorityTests(DirectoryTestCase):
    """A CA in DECNET's directory layout."""

    def test_layoutIsDecnets(self) -> None:
        """The CA's files have DECNET's names and modes."""
        authority = Authority.create(self.ca)
        master = authority.masterIdentity(["master.example.org", "192.0.2.1"])
        self.assertEqual(master, self.ca / "master")
        self.assertEqual(self.mode(self.ca), 0o700)
        self.assertEqual(self.mode(self.ca / "ca.key"), 0o600)
        self.assertEqual(self.mode(master / "worker.key"), 0o600)
        bundle = Bundle.load(master)
        self.assertEqual(peerName(bundle.certificate), "decnet-master")
        names = bundle.certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        self.assertEqual(
            names.get_values_for_type(x509.DNSName),
            ["decnet-master", "master.example.org"],
        )
        addresses = names.get_values_for_type(x509.IPAddress)
        self.assertEqual([str(a) for a in addresses], ["127.0.0.1", "192.0.2.1"])

    def test_certificateUsages(self) -> None:
        """A worker's certificate is for clients only, the master's for servers only."""
        authority = Authority.create(self.ca)
        authority.enroll("w1", self.directory / "w1")
        for directory, usage in (
            (self.directory / "w1", ExtendedKeyUsageOID.CLIENT_AUTH),
            (authority.masterIdentity(), ExtendedKeyUsageOID.SERVER_AUTH),
        ):
            found = Bundle.load(
                directory
            ).certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
            self.assertEqual(list(found.value), [usage])

    def test_existingFilesAreKept(self) -> None:
        """Creating a CA or enrolling a worker never overwrites existing files."""
        authority = Authority.create(self.ca)
        before = (self.ca / "ca.crt").read_bytes()
        self.assertRaises(UserError, Authority.create, self.ca)
        authority.enroll("w1", self.directory / "w1")
        self.assertRaises(UserError, authority.enroll, "w2", self.directory / "w1")
        master = (authority.masterIdentity() / "worker.crt").read_bytes()
        authority.masterIdentity()
        self.assertEqual((self.ca / "master" / "worker.crt").read_bytes(), master)
        self.assertEqual((self.ca / "ca.crt").read_bytes(), before)

    def test_unsafeNamesAreRefused(self) -> None:
        """A worker's name is refused if it could not serve as provenance."""
        authority = Authority.create(self.ca)
        for name in ("", "a/b", "..", "x" * 65, "ä", "a\nb", " a", "decnet-master"):
            self.assertRaises(UserError, authority.enroll, name, self.directory / "out")
        self.assertFalse((self.directory / "out").exists())

    def test_decnetsCAIsKept(self) -> None:
        """An existing DECNET CA with an RSA key is used and not rewritten."""
        self.ca.mkdir(mode=0o700)
        private = rsa.generate_private_key(65537, 2048)
        now = datetime.now(timezone.utc)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DECNET-CA")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=100))
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .sign(private, SHA256())
        )
        pem = private.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        (self.ca / "ca.key").write_bytes(pem)
        (self.ca / "ca.key").chmod(0o600)
        (self.ca / "ca.crt").write_bytes(made.public_bytes(Encoding.PEM))
        before = {p.name: p.read_bytes() for p in self.ca.iterdir()}
        Authority.open(self.ca).enroll("w1", self.directory / "w1")
        self.assertEqual(peerName(Bundle.load(self.directory / "w1").certificate), "w1")
        for file, octets in before.items():
            self.assertEqual((self.ca / file).read_bytes(), octets)

    def test_enrolledListsEachCertificate(self) -> None:
        """The list of enrolled workers has one entry for each certificate."""
        authority = Authority.create(self.ca)
        made = authority.enroll("w1", self.directory / "w1")
        (entry,) = authority.enrolled()
        self.assertEqual((entry["name"], entry["role"]), ("w1", "worker"))
        self.assertEqual(entry["fingerprint"], fingerprint(made))


class BundleTests(DirectoryTestCase):
    """Errors in a bundle are reported when it is loaded."""

    def setUp(self) -> None:
        super().setUp()
        self.bundle = self.directory / "w1"
        self.authority = Authority.create(self.ca)
        self.authority.enroll("w1", self.bundle)

    def assertRefused(self, file: str, words: str) -> None:
        error = self.assertRaises(BundleError, Bundle.load, self.bundle)
        self.assertEqual(error.path.name, file)
        self.assertIn(words, str(error))
        self.assertNotIn("\n", str(error))

    def test_missingFile(self) -> None:
        """A bundle without one of its three files is refused."""
        for file in ("worker.key", "worker.crt", "ca.crt"):
            (self.bundle / file).unlink()
            self.assertRefused(file, "no such file")

    def test_copiedOneLevelTooDeep(self) -> None:
        """
        If the bundle was copied into its directory as a subdirectory, the error names that
        one.
        """
        whole = self.bundle
        self.bundle = self.directory / "agent"
        self.bundle.mkdir()
        whole.rename(self.bundle / "w1")
        self.assertRefused(
            "worker.crt", f"one level deeper, in {self.bundle}/w1: give that directory"
        )

    def test_keyReadableByOthers(self) -> None:
        """A key that others can read is refused, with the remedy."""
        for mode in (0o640, 0o604, 0o644):
            (self.bundle / "worker.key").chmod(mode)
            self.assertRefused("worker.key", "chmod 600")

    def test_keyOfAnotherCertificate(self) -> None:
        """A key that belongs to another certificate is refused."""
        self.authority.enroll("w2", self.directory / "w2")
        (self.bundle / "worker.key").write_bytes(
            (self.directory / "w2" / "worker.key").read_bytes()
        )
        self.assertRefused("worker.key", "not the key of")

    def test_certificateOfAnotherCA(self) -> None:
        """A certificate from another CA is refused."""
        other = Authority.create(self.directory / "other")
        (self.bundle / "ca.crt").write_bytes((other.directory / "ca.crt").read_bytes())
        self.assertRefused("worker.crt", "not signed by")

    def test_keyWithPassphrase(self) -> None:
        """A key with a passphrase is refused."""
        pem = key("holder").private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
        )
        (self.bundle / "worker.key").write_bytes(pem)
        self.assertRefused("worker.key", "passphrase")

    def test_garbageInPlaceOfFiles(self) -> None:
        """A file that is neither a key nor a certificate is refused."""
        (self.bundle / "worker.key").write_bytes(b"hello")
        self.assertRefused("worker.key", "not a private key")
        (self.bundle / "worker.crt").write_bytes(b"hello")
        self.assertRefused("worker.crt", "not a certificate")

    def test_unknownContentInCertificates(self) -> None:
        """A certificate that parses but has unknown content is refused."""
        for name, octets, other, why in (
            ("worker.crt", _EC_KEY, _NO_KEY, "not a certificate for TLS"),
            ("ca.crt", _EC_KEY, _NO_KEY, "is not signed by the CA"),
            ("ca.crt", _VERSION_3, _VERSION_2, "is not a certificate in PEM"),
        ):
            with self.subTest(name=name):
                path = self.bundle / name
                good = path.read_bytes()
                text = good.decode("ascii").split("-----")[2]
                odd = b64decode(text).replace(octets, other, 1)
                path.write_text(DER_cert_to_PEM_cert(odd), "ascii")
                error = self.assertRaises(BundleError, Bundle.load, self.bundle)
                self.assertIn(why, str(error))
                path.write_bytes(good)

    def test_pipeDoesNotBlock(self) -> None:
        """A FIFO in place of a file is refused without waiting for a writer."""
        (self.bundle / "worker.key").unlink()
        os.mkfifo(self.bundle / "worker.key", 0o600)
        self.assertRefused("worker.key", "not a regular file")

    def test_expiredOrNotYetValid(self) -> None:
        """A certificate's validity is checked against the clock."""
        now = datetime.now(timezone.utc)
        later = now + timedelta(days=4000)
        error = self.assertRaises(BundleError, Bundle.load, self.bundle, later)
        self.assertIn("expired", str(error))
        earlier = now - timedelta(days=4000)
        error = self.assertRaises(BundleError, Bundle.load, self.bundle, earlier)
        self.assertIn("clock", str(error))


class NameTests(SynchronousTestCase):
    """A peer's name is used unchanged, or refused."""

    @settings(deadline=None, derandomize=True, database=None)
    @given(st.text(max_size=70))
    def test_anyText(self, name: str) -> None:
        """Any accepted name is safe in file names and in log lines."""
        try:
            checkName(name)
        except NameRefused as error:
            self.assertTrue(str(error).isprintable())
            return
        self.assertEqual(os.path.basename(name), name)
        self.assertTrue(name.isascii() and name.isprintable() and 0 < len(name) <= 64)

    def test_unreadableSubjectIsRefused(self) -> None:
        """
        A subject that cannot be decoded is refused in the regular way, without an
        exception.
        """
        good = certificate(["w123"]).public_bytes(Encoding.DER)
        # Not UTF-8, where a UTF8String should be; a BIT STRING.
        for bad in (b"\x0c\x04w\xc3\x28\xff", b"\x03\x04\x00123"):
            odd = x509.load_der_x509_certificate(good.replace(b"\x0c\x04w123", bad))
            refused = self.assertRaises(NameRefused, peerName, odd)
            self.assertIn("subject cannot be read", str(refused))

    def test_fingerprintFormat(self) -> None:
        """A fingerprint is formatted as in RFC 5425 section 4.2.2."""
        self.assertRegex(
            fingerprint(certificate(["w"])), r"\Asha-256(:[0-9A-F]{2}){32}\Z"
        )


class CommandLineTests(DirectoryTestCase):
    """decnet-syslog."""

    def call(self, *arguments: str) -> tuple[int, str, str]:
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            done = self.assertRaises(SystemExit, main, list(arguments))
        return int(done.code or 0), out.getvalue(), error.getvalue()

    def test_initEnrollShow(self) -> None:
        """The commands create a CA, enroll a worker, and list both."""
        ca = f"--ca-dir={self.ca}"
        status, out, _ = self.call("ca", "init", ca, "--san", "m.example.org")
        self.assertEqual(status, 0)
        self.assertIn("sha-256:", out)
        status, out, _ = self.call("enroll", "w1", ca, f"--out={self.directory}/w1")
        self.assertEqual(status, 0)
        status, out, _ = self.call("ca", "show", ca)
        self.assertEqual(status, 0)
        self.assertIn("worker   w1", out)

    def test_errorsNameTheRemedy(self) -> None:
        """A usage error prints one line with the remedy, and sets the exit status."""
        for status, words, arguments in (
            (
                1,
                "ca init",
                ["enroll", "w", f"--ca-dir={self.ca}", f"--out={self.directory}/w"],
            ),
            (2, "--out", ["enroll", "w"]),
            (2, "name missing", ["enroll"]),
            (2, "give init or show", ["ca"]),
            (2, "nonsense", ["nonsense"]),
            (2, "number of days", ["enroll", "w", "--out=x", "--days=soon"]),
        ):
            code, _, error = self.call(*arguments)
            self.assertEqual(code, status, error)
            self.assertIn(words, error)
            self.assertEqual(error.count("\n"), 1)

    def test_versionOption(self) -> None:
        """C{--version} prints the version first."""
        status, out, _ = self.call("--version")
        first = out.splitlines()[0]
        self.assertEqual((status, first), (0, f"decnet-syslog {__version__}"))

    def test_helpShowsExamples(self) -> None:
        """Each command's help shows an example."""
        for arguments in (["--help"], ["enroll", "--help"], ["demo", "--help"]):
            status, out, _ = self.call(*arguments)
            self.assertEqual(status, 0)
            self.assertIn("Example", out)

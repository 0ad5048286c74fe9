"""
Tests for several CAs at the same time: lists belong to keys, and damaged files never
admit revoked workers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID

from decnet_syslog.errors import UserError
from decnet_syslog.trust._admission import Admission
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._bundles import Bundle
from decnet_syslog.trust._listfile import parseLists
from decnet_syslog.trust._renewal import Renewal
from decnet_syslog.trust._revocation import makeList

from ..certificates import authority as testAuthority
from ..certificates import key
from .test_admission import DAY, AdmissionTestCase, now
from .test_chains import named, pems, signed


class TwoTestCase(AdmissionTestCase):
    """The master trusts two CAs with the same name; each has enrolled two workers."""

    def setUp(self) -> None:
        super().setUp()
        self.second = Authority.create(self.directory / "ca2")
        self.assertEqual(
            self.second.certificate.subject, self.authority.certificate.subject
        )
        self.three = self.second.enroll("w3", self.directory / "w3")
        self.four = self.second.enroll("w4", self.directory / "w4")
        self.crl2 = self.second.directory / "crl.pem"
        first = self.master
        self.master = replace(
            first, authorities=(*first.authorities, self.second.certificate)
        )

    def serials(self, *certificates: x509.Certificate) -> list[int]:
        return [one.serial_number for one in certificates]

    def listOf(
        self, authority: Authority, number: int, *revoked: x509.Certificate
    ) -> bytes:
        when = dict.fromkeys(self.serials(*revoked), now())
        signer = authority.signers()[0]
        return makeList(signer.certificate, signer.key, when, number)

    def assertRefused(self, admission: Admission, *refused: x509.Certificate) -> None:
        """Check that exactly these certificates are refused."""
        for one in (self.one, self.two, self.three, self.four):
            objection = admission.refuse(one)
            if one in refused:
                assert objection is not None
                self.assertEqual(objection.code, "revoked")
            else:
                self.assertIsNone(objection)


class KeyTests(TwoTestCase):
    """A list belongs to the key that has signed it."""

    def test_listForEachCA(self) -> None:
        """
        Each list revokes certificates of its own CA, in any order and with any list
        numbers.
        """
        for order, (n, m) in itertools.product((1, -1), ((1, 1), (9, 1), (1, 9))):
            lists = [
                self.listOf(self.authority, n, self.one),
                self.listOf(self.second, m, self.three),
            ]
            self.crl.write_bytes(b"".join(lists[::order]))
            self.saved.unlink(missing_ok=True)
            admission = self.admission()
            self.assertRefused(admission, self.one, self.three)
            self.assertEqual(self.events, [])

    def test_secondListAppears(self) -> None:
        """
        When a second CA's list appears, each CA's list is updated by its own numbers.
        """
        self.crl.write_bytes(self.listOf(self.authority, 7, self.one))
        admission = self.admission()
        self.assertRefused(admission, self.one)
        with open(self.crl, "ab") as file:
            file.write(self.listOf(self.second, 1, self.three))
        self.assertTrue(self.look(admission))
        self.assertRefused(admission, self.one, self.three)
        self.crl.write_bytes(
            self.listOf(self.authority, 8, self.one, self.two)
            + self.listOf(self.second, 2, self.three, self.four)
        )
        self.assertTrue(self.look(admission))
        self.assertRefused(admission, self.one, self.two, self.three, self.four)

    def test_newerListWins(self) -> None:
        """If a file has two lists from one CA, the newer wins, in either order."""
        old = self.listOf(self.second, 1)
        new = self.listOf(self.second, 2, self.three)
        for octets in (old + new, new + old):
            self.crl.write_bytes(octets)
            self.saved.unlink(missing_ok=True)
            self.assertRefused(self.admission(), self.three)
        same = self.listOf(self.second, 2, self.four)
        self.crl.write_bytes(new + same)
        self.saved.unlink()
        self.assertRefused(self.admission(), self.three, self.four)

    def test_sameSerial(self) -> None:
        """Certificates of two CAs with the same serial number are distinct."""
        by = self.second.signers()[0]
        twin = signed(
            named("w1"),
            key("holder"),
            by.certificate.subject,
            by.key,
            serial=self.one.serial_number,
        )
        self.crl.write_bytes(self.listOf(self.authority, 1, self.one))
        admission = self.admission()
        self.assertIsNotNone(admission.refuse(self.one))
        self.assertIsNone(admission.refuse(twin))
        self.crl.write_bytes(
            self.listOf(self.authority, 1, self.one) + self.listOf(self.second, 1, twin)
        )
        self.assertTrue(self.look(admission))
        self.assertIsNotNone(admission.refuse(twin))

    def test_stringTypesOfNames(self) -> None:
        """
        The CA's name may be in another string type in the list or the certificate: only
        the key counts.
        """
        ca = signed(named("A"), key("a"), named("A"), key("a"), ca=True)
        leaf = signed(
            named("w1"), key("holder"), named("a", _ASN1Type.PrintableString), key("a")
        )
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(named("  a ", _ASN1Type.BMPString))
            .last_update(now() - DAY)
            .next_update(now() + DAY)
            .add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(leaf.serial_number)
                .revocation_date(now())
                .build()
            )
            .sign(key("a"), SHA256())
        )
        self.crl.write_bytes(crl.public_bytes(Encoding.PEM))
        self.master = replace(self.master, authorities=(ca,))
        admission = self.admission()
        self.assertIsNotNone(admission.refuse(leaf))
        # A renewed CA certificate, even with another name, has the same key.
        renamed = signed(named("B"), key("a"), named("B"), key("a"), ca=True)
        self.master = replace(self.master, authorities=(renamed,))
        self.assertIsNotNone(self.admission().refuse(leaf))

    def test_sameNumber(self) -> None:
        """
        A list with the same number as the current one must have at least the same
        entries.
        """
        self.crl.write_bytes(self.listOf(self.authority, 3, self.one))
        admission = self.admission()
        self.crl.write_bytes(self.listOf(self.authority, 3, self.two))
        self.assertFalse(self.look(admission))
        self.assertAlarm("omits")
        self.assertRefused(admission, self.one)
        self.crl.write_bytes(self.listOf(self.authority, 3, self.one, self.two))
        self.assertTrue(self.look(admission))
        self.assertRefused(admission, self.one, self.two)

    def test_partOfAList(self) -> None:
        """A partial list (a delta, or for some reasons only) is refused."""
        self.crl.write_bytes(self.listOf(self.authority, 3, self.one))
        admission = self.admission()
        signer = self.authority.signers()[0]
        for extension in (
            x509.DeltaCRLIndicator(3),
            x509.IssuingDistributionPoint(
                None,
                None,
                False,
                False,
                frozenset([x509.ReasonFlags.key_compromise]),
                False,
                False,
            ),
        ):
            part = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(signer.certificate.subject)
                .last_update(now() - DAY)
                .next_update(now() + DAY)
                .add_extension(x509.CRLNumber(9), critical=False)
                .add_extension(extension, critical=True)
                .sign(signer.key, SHA256())
            )
            self.crl.write_bytes(part.public_bytes(Encoding.PEM))
            self.assertFalse(self.look(admission))
            self.assertAlarm("not a complete list")
            self.assertRefused(admission, self.one)

    def test_listOfUntrustedCA(self) -> None:
        """
        A list from an untrusted CA is ignored; if it is the only one, the file is
        refused.
        """
        stranger = makeList(testAuthority("other"), key("other"), {}, 99)
        own = self.listOf(self.authority, 1, self.one)
        for octets in (stranger + own, own + stranger):
            self.crl.write_bytes(octets)
            self.saved.unlink(missing_ok=True)
            self.assertRefused(self.admission(), self.one)
        lists = parseLists(self.crl.read_bytes(), self.master.authorities)
        self.assertEqual((len(lists.lists), len(lists.others)), (1, 1))
        self.crl.write_bytes(stranger)
        self.saved.unlink()
        error = self.assertRaises(UserError, self.admission)
        self.assertIn("not signed by the CA", str(error))

    def test_untrustedCAIsNotExpected(self) -> None:
        """A worker whose CA is no longer trusted is not expected."""
        admission = self.admission()
        for key_, excluded in (("", False), ("0" * 64, True)):
            self.assertEqual(admission.excludes("w1", "x", 1, key_), excluded)


class DamageTests(TwoTestCase):
    """A damaged file never admits a revoked worker."""

    def cases(
        self,
    ) -> tuple[dict[str, Callable[[], None]], dict[str, Callable[[], None]]]:
        """The states of the list and of its copy."""
        good = self.listOf(self.authority, 2, self.one)
        impostor = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.authority.certificate.subject)
            .last_update(now() - DAY)
            .next_update(now() + DAY)
            .add_extension(x509.CRLNumber(50), critical=False)
            .sign(key("other"), SHA256())
            .public_bytes(Encoding.PEM)
        )
        forged = bytearray(good)
        at = good.index(b"\n", 200) + 20
        forged[at] = ord("A") if forged[at] != ord("A") else ord("B")

        def writes(path: Path, octets: bytes) -> Callable[[], None]:
            def write() -> None:
                path.write_bytes(octets)

            return write

        def damage(path: Path) -> dict[str, Callable[[], None]]:
            return {
                "good": writes(path, good),
                "gone": lambda: None,
                "empty": writes(path, b""),
                "garbage": writes(path, b"\0\xff" * 100),
                "cut": writes(path, good[: len(good) // 2]),
                "forged": writes(path, bytes(forged)),
                "impostor": writes(path, impostor),
                "two, one cut": writes(path, good + good[:100]),
                "directory": path.mkdir,
            }

        return damage(self.crl), damage(self.saved)

    def remove(self, path: Path) -> None:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)

    def test_oneGoodFileIsEnough(self) -> None:
        """
        One good file is enough to start; a damaged file without a good one is refused.
        """
        self.master = replace(self.master, authorities=(self.authority.certificate,))
        lists, copies = self.cases()
        for (list_, writeList), (copy, writeCopy) in itertools.product(
            lists.items(), copies.items()
        ):
            self.remove(self.crl)
            self.remove(self.saved)
            writeList()
            writeCopy()
            with self.subTest(list=list_, copy=copy):
                if copy == "directory" and list_ == "good":
                    # No copy could be written.
                    self.assertRaises(UserError, self.admission)
                elif "good" in (list_, copy):
                    admission = self.admission()
                    self.assertIsNotNone(admission.refuse(self.one))
                    self.assertIsNone(admission.refuse(self.two))
                elif list_ == copy == "gone":
                    self.assertIsNone(self.admission().refuse(self.one))
                else:
                    error = self.assertRaises(UserError, self.admission)
                    for word in ("copy crl.pem", "remove the damaged file"):
                        self.assertIn(word, str(error))

    def test_everyOctet(self) -> None:
        """A copy with any single octet changed never admits a revoked worker."""
        self.master = replace(self.master, authorities=(self.authority.certificate,))
        good = self.listOf(self.authority, 2, self.one)
        for at in range(len(good)):
            octets = bytearray(good)
            octets[at] ^= 1
            self.saved.write_bytes(bytes(octets))
            try:
                admission = self.admission()
            except UserError:
                continue
            self.assertIsNotNone(admission.refuse(self.one), at)

    def test_oneOfTwo(self) -> None:
        """
        If one CA's list is good but the other's may be lost, the listener does not
        start.
        """
        lists, copies = self.cases()
        for damage in ("garbage", "empty", "forged", "impostor"):
            for writeList, writeCopy in (
                (lists["good"], copies[damage]),
                (lists[damage], copies["good"]),
            ):
                self.remove(self.crl)
                self.remove(self.saved)
                writeList()
                writeCopy()
                self.assertRaises(UserError, self.admission)
        # Without a damaged file, a missing list means that no list exists.
        self.remove(self.crl)
        self.remove(self.saved)
        copies["good"]()
        self.assertRefused(self.admission(), self.one)

    def test_runningListener(self) -> None:
        """A running listener uses its memory, and rewrites a damaged copy."""
        lists, copies = self.cases()
        lists["good"]()
        admission = self.admission()
        good = self.saved.read_bytes()
        for name, write in copies.items():
            self.remove(self.saved)
            if name == "directory":
                continue
            write()
            self.look(admission)
            self.assertRefused(admission, self.one)
            self.assertEqual(self.saved.read_bytes(), good, name)
        for write in lists.values():
            self.remove(self.crl)
            write()
            self.look(admission)
            self.assertRefused(admission, self.one)


class BundleTests(TwoTestCase):
    """The master's bundle gets another CA while the listener runs."""

    def setUp(self) -> None:
        super().setUp()
        self.both = self.master
        self.master = replace(self.both, authorities=self.both.authorities[:1])
        self.authority.revoke(self.serials(self.one))
        self.running = self.admission()
        with open(self.crl, "ab") as file:
            file.write(self.listOf(self.second, 1, self.three))
        # A list from a CA that is not trusted yet.
        self.look(self.running)
        self.events.clear()

    def test_existingListTakesEffect(self) -> None:
        """
        The new CA's list, which existed before, takes effect together with the CA.
        """
        self.running.use(self.both)
        self.assertRefused(self.running, self.one, self.three)

    def test_firstCARetires(self) -> None:
        """
        When the first CA is removed, its list may stay in the file, or be removed, or
        the whole file may be.
        """
        self.running.use(self.both)
        only = replace(self.both, authorities=self.both.authorities[1:])
        self.running.use(only)
        self.assertIsNotNone(self.running.refuse(self.three))
        chain = [self.two, self.authority.certificate]
        refused = self.running.refuseOpen(chain)
        self.assertEqual(refused, "its CA is no longer trusted")
        self.events.clear()
        self.crl.write_bytes(self.listOf(self.second, 2, self.three, self.four))
        self.assertTrue(self.look(self.running))
        self.assertIsNotNone(self.running.refuse(self.four))
        self.crl.write_bytes(
            self.listOf(self.authority, 1)
            + self.listOf(self.second, 3, self.three, self.four)
        )
        self.assertTrue(self.look(self.running))
        self.assertEqual([event for event, _ in self.events], ["reloaded"] * 2)
        # A listener that starts now decides in the same way.
        self.master = only
        again = self.admission()
        self.assertIsNotNone(again.refuse(self.three))
        self.assertIsNone(again.refuse(self.two))

    def test_unreadableList(self) -> None:
        """A CA is not trusted until its list can be read."""
        good = self.crl.read_bytes()
        self.crl.write_bytes(good[:-40])
        home = self.authority.directory / "master"
        used: list[Bundle] = []

        def use(bundle: Bundle) -> None:
            self.running.use(bundle)
            used.append(bundle)

        renewal = Renewal(Bundle.load(home), ExtendedKeyUsageOID.SERVER_AUTH, use)
        self.running.bundle = renewal.bundle
        (home / "ca.crt").write_bytes(pems(*self.both.authorities))
        for _ in range(4):
            renewal.reloadIfChanged()
        self.assertAlarm("are unknown")
        self.assertEqual(used, [])
        self.assertEqual(len(self.running.bundle.authorities), 1)
        self.crl.write_bytes(good)
        renewal.reloadIfChanged()
        self.assertEqual(len(used), 1)
        self.assertRefused(self.running, self.one, self.three)

    def test_oldListGone(self) -> None:
        """The list of a CA that stays must not disappear with the change."""
        self.crl.write_bytes(self.listOf(self.second, 1, self.three))
        self.running.use(self.both)
        self.assertRefused(self.running, self.one, self.three)

    def test_eachCAsListIsUsed(self) -> None:
        """
        An older or missing list of one CA does not prevent another CA's list from being
        used.
        """
        self.running.use(self.both)
        for number, old in enumerate((self.listOf(self.authority, 0), b""), 2):
            self.crl.write_bytes(
                old + self.listOf(self.second, number, self.three, self.four)
            )
            self.assertTrue(self.look(self.running))
            self.assertRefused(self.running, self.one, self.three, self.four)
            # The next start gives the same result.
            self.master = self.both
            self.assertRefused(self.admission(), self.one, self.three, self.four)

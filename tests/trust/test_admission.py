"""Tests for admission: revocation, the allow-list, and replaced bundles."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import Service
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.receiving._authenticated import EXPEL_S
from decnet_syslog.trust._admission import Admission
from decnet_syslog.trust._allowlist import readAllowList
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._bundles import BUNDLE_FILES, Bundle
from decnet_syslog.trust._contexts import ForwarderContext, ListenerContext
from decnet_syslog.trust._filechanges import FILES_CHECK_S, Watched, together
from decnet_syslog.trust._names import fingerprint
from decnet_syslog.trust._renewal import Renewal
from decnet_syslog.trust._revocation import CRL_FILE, makeList
from decnet_syslog.trust._roles import Objection
from decnet_syslog.wire import AT, OPEN, encodeControl

from ..certificates import authority as testAuthority
from ..certificates import bundle, certificate, key, master, worker
from ..doubles import STREAM
from .test_contexts import TLSTestCase

DAY = timedelta(days=1)

REVOKED = Objection("revoked", "it was revoked")


def now() -> datetime:
    return datetime.now(timezone.utc)


class AdmissionTestCase(SynchronousTestCase):
    """A CA, a master, two workers, and the logged events."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.authority = Authority.create(self.directory / "ca")
        self.master = Bundle.load(self.authority.masterIdentity())
        self.one = self.authority.enroll("w1", self.directory / "w1")
        self.two = self.authority.enroll("w2", self.directory / "w2")
        self.crl = self.authority.directory / CRL_FILE
        self.saved = self.directory / "listener.db.crl"
        self.events: list[tuple[str, str]] = []
        observer: Any = self.hear
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def hear(self, event: Any) -> None:
        if "event" in event:
            self.events.append((event["event"], str(event.get("reason", ""))))

    def admission(self, allow: Path | None = None) -> Admission:
        return Admission(self.master, self.crl, self.saved, allow)

    def look(self, admission: Admission) -> bool:
        """Poll twice: a change counts only once a second poll finds it unchanged."""
        return [admission.reloadIfChanged(), admission.reloadIfChanged()][1]

    def assertAlarm(self, *words: str) -> None:
        (event, reason), *more = self.events
        self.assertEqual((event, more), ("reload-refused", []))
        for word in words:
            self.assertIn(word, reason)
        self.events.clear()


class RevocationTests(AdmissionTestCase):
    """A revoked certificate is refused, and stays refused."""

    def test_listInForceWithoutCopy(self) -> None:
        """
        A revocation list takes effect even if its copy cannot be written; writing is
        retried.
        """
        admission = self.admission()
        self.saved.mkdir()
        self.authority.revoke([self.one.serial_number])
        self.assertTrue(self.look(admission))
        self.assertIn("it was revoked on", admission.refuse(self.one) or "")
        admission.reloadIfChanged()
        self.assertEqual(
            [event for event, _ in self.events], ["reloaded", "reload-refused"]
        )
        self.saved.rmdir()
        admission.reloadIfChanged()
        self.assertEqual(self.saved.read_bytes(), self.crl.read_bytes())

    def test_concurrentRevocationsAllCount(self) -> None:
        """Concurrent revocations are all recorded."""
        authorities = [Authority.open(self.authority.directory) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            done = [
                pool.submit(authority.revoke, [1000 + number])
                for number, authority in enumerate(authorities)
            ]
        self.assertEqual([one.result() for one in done], [[1000 + n] for n in range(8)])
        revoked = self.authority.revocations().serials(self.authority.certificate)
        self.assertEqual(sorted(revoked), [1000 + number for number in range(8)])

    def test_revokedIssuerIsRefused(self) -> None:
        """
        The listener also checks certificates between a worker's and the CA's for
        revocation.
        """
        admission = self.admission()
        self.assertIsNone(admission.refuseIssuer(self.one))
        self.authority.revoke([self.one.serial_number])
        self.look(admission)
        self.assertIn("it was revoked on", admission.refuseIssuer(self.one) or "")
        root = self.authority.certificate
        self.assertIsNone(admission.refuseOpen([self.two, root]))
        reason = admission.refuseOpen([self.two, self.one, root])
        self.assertIn("every certificate that it signed", reason or "")

    def test_issuerOfRetiredCAIsRefused(self) -> None:
        """
        When a CA is no longer trusted, intermediate certificates below it are refused
        as well.
        """
        second = Authority.create(self.directory / "ca2", "DECNET CA 2")
        admission = self.admission()
        chain = [self.two, self.one, self.authority.certificate]
        self.assertIsNone(admission.refuseOpen(chain))
        admission.use(
            Bundle(
                self.master.directory,
                self.master.certificate,
                (),
                self.master.privateKey,
                (second.certificate,),
            )
        )
        # The intermediate CA, which is no longer trusted, has signed the worker's
        # certificate.
        stranger = certificate(["w9"], ca="between")
        reason = admission.refuseOpen([stranger, *chain[1:]])
        self.assertEqual(reason, "its CA is no longer trusted")

    def test_newListRefusesOnlyRevoked(self) -> None:
        """
        A revocation list takes effect when it appears; other workers are still
        accepted.
        """
        admission = self.admission()
        self.assertIsNone(admission.refuse(self.one))
        self.assertEqual(
            self.authority.revoke([self.one.serial_number]), [self.one.serial_number]
        )
        self.assertTrue(self.look(admission))
        self.assertIn("it was revoked on", admission.refuse(self.one) or "")
        self.assertIsNone(admission.refuse(self.two))
        self.assertFalse(self.look(admission))
        self.authority.revoke([self.two.serial_number])
        self.assertTrue(self.look(admission))
        self.assertIsNotNone(admission.refuse(self.one))
        self.assertIsNotNone(admission.refuse(self.two))

    def test_revokingAgainKeepsDate(self) -> None:
        """Revoking a certificate again changes nothing, and keeps the date."""
        self.authority.revoke([self.one.serial_number])
        before = self.crl.read_bytes()
        self.assertEqual(self.authority.revoke([self.one.serial_number]), [])
        self.assertEqual(self.crl.read_bytes(), before)

    def broken(self) -> dict[str, bytes]:
        """Invalid revocation lists, each with a word from the expected reason."""
        self.authority.revoke([self.one.serial_number])
        good = self.crl.read_bytes()
        other = makeList(testAuthority("other"), key("other"), {}, 99)
        pem = self.authority.certificate
        impostor = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(pem.subject)
            .last_update(now() - DAY)
            .next_update(now() + DAY)
            .sign(key("other"), SHA256())
            .public_bytes(Encoding.PEM)
        )
        own: Any = self.authority.signers()[0].key
        expired = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(pem.subject)
            .last_update(now() - 9 * DAY)
            .next_update(now() - 3 * DAY)
            .add_extension(x509.CRLNumber(50), critical=False)
            .sign(own, SHA256())
            .public_bytes(Encoding.PEM)
        )
        return {
            "no certificate revocation list": b"",
            "no certificate revocation list in PEM": b"\x00\xff garbage" * 99,
            "cannot be read as": good[:60] + b"AAAA" + good[60:],
            "not signed by the CA": other,
            "signed by": impostor,
            "out of date": expired,
            "is older than": makeList(pem, own, {}, 0),
            "longer than": good + b"x" * 9_000_000,
        }

    def test_invalidListKeepsPrevious(self) -> None:
        """An invalid list raises one alarm; the previous list stays in force."""
        broken = self.broken()
        admission = self.admission()
        for word, octets in broken.items():
            self.crl.write_bytes(octets)
            self.assertFalse(self.look(admission), word)
            self.assertAlarm(word)
            self.assertFalse(self.look(admission))
            self.assertEqual(self.events, [])
            self.assertIsNotNone(admission.refuse(self.one))
            self.assertIsNone(admission.refuse(self.two))
        self.crl.unlink()
        self.assertFalse(self.look(admission))
        self.assertAlarm("missing")
        self.assertIsNotNone(admission.refuse(self.one))

    def test_invalidListAtStartKeepsPrevious(self) -> None:
        """
        A listener that starts with an invalid list uses the list that was in force
        before.
        """
        broken = self.broken()
        self.admission()
        for word, octets in broken.items():
            if word == "out of date":
                continue
            self.crl.write_bytes(octets)
            admission = self.admission()
            self.assertAlarm(word)
            self.assertIsNotNone(admission.refuse(self.one), word)
        self.crl.unlink()
        self.assertIsNotNone(self.admission().refuse(self.one))
        self.assertAlarm("missing")

    def test_invalidListAtFirstStart(self) -> None:
        """
        A listener that has never had a valid list does not start with an invalid one.
        """
        self.crl.write_bytes(b"garbage")
        error = self.assertRaises(UserError, self.admission)
        self.assertIn("remove the damaged file", str(error))

    def test_outOfDateAtStart(self) -> None:
        """
        A listener that starts with an outdated list still refuses revoked certificates, and
        reports its age.
        """
        own: Any = self.authority.signers()[0].key
        old = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.authority.certificate.subject)
            .last_update(now() - 9 * DAY)
            .next_update(now() - 3 * DAY)
            .add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(self.one.serial_number)
                .revocation_date(now() - 9 * DAY)
                .build()
            )
            .sign(own, SHA256())
        )
        self.crl.write_bytes(old.public_bytes(Encoding.PEM))
        admission = self.admission()
        self.assertIsNotNone(admission.refuse(self.one))
        self.assertFalse(self.look(admission))
        self.assertAlarm("out of date")

    def test_directoryInPlaceOfList(self) -> None:
        """A directory in place of the revocation list raises an alarm."""
        admission = self.admission()
        self.crl.mkdir()
        self.assertFalse(self.look(admission))
        self.assertAlarm("cannot be read")

    def test_halfWritten(self) -> None:
        """A list that is still being written is not judged."""
        self.authority.revoke([self.one.serial_number])
        octets = self.crl.read_bytes()
        self.crl.unlink()
        admission = self.admission()
        for end in range(0, len(octets), 100):
            self.crl.write_bytes(octets[:end])
            self.assertFalse(admission.reloadIfChanged())
        self.crl.write_bytes(octets)
        self.assertTrue(self.look(admission))
        self.assertEqual([event for event, _ in self.events], ["reloaded"])

    def test_masterAndCAAreNoWorkers(self) -> None:
        """The certificates of the master and of the CA are refused as workers."""
        admission = self.admission()
        self.assertIsNotNone(admission.refuse(self.master.certificate))
        self.assertIsNotNone(admission.refuse(self.authority.certificate))


class AllowListTests(AdmissionTestCase):
    """The allow-list restricts which enrolled workers may send."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.directory / "allow"

    def test_namesAndFingerprints(self) -> None:
        """
        The allow-list accepts names, fingerprints, or both, with comments and empty
        lines.
        """
        prints = fingerprint(self.one), fingerprint(self.two)
        for text, first, second in (
            ("w1 # the first", True, False),
            (f"\n# nobody\n{prints[1].lower()}\n", False, True),
            (f"w1 {prints[0]}\nw2 {prints[0]}", True, False),
            (f"{prints[0]} w1\nw2", True, True),
            ("", False, False),
            ("W1\nw2x", False, False),
        ):
            self.file.write_text(text)
            allowed = readAllowList(self.file)
            self.assertEqual(
                (allowed.allows(self.one), allowed.allows(self.two)),
                (first, second),
                text,
            )

    def test_invalidLineRejectsFile(self) -> None:
        """An invalid line is named in the error, and the whole file is rejected."""
        for text in ("w1 w2", "../x", "sha-256:00", "w1\nsha-1:00 x", "\x1b[2J"):
            self.file.write_text(text)
            error = self.assertRaises(UserError, readAllowList, self.file)
            self.assertIn("line ", str(error))
            self.assertNotIn("\x1b", str(error))
        self.assertRaises(UserError, self.admission, self.file)
        self.assertRaises(UserError, self.admission, self.directory / "none")

    def test_changedFileIsReloaded(self) -> None:
        """
        The allow-list is reloaded when it changes; an invalid new version changes
        nothing.
        """
        self.file.write_text("w1\n")
        admission = self.admission(self.file)
        self.assertIsNone(admission.refuse(self.one))
        self.assertIn("allow-list", admission.refuse(self.two) or "")
        self.file.write_text("w2\n")
        os.utime(self.file, ns=(1, 1))
        self.assertTrue(self.look(admission))
        self.assertIsNone(admission.refuse(self.two))
        self.events.clear()
        self.file.write_text("w2 w1\n")
        self.assertFalse(self.look(admission))
        self.assertAlarm("line 1")
        self.assertIsNotNone(admission.refuse(self.one))


class RenewalTests(AdmissionTestCase):
    """A worker's bundle is replaced while the forwarder runs."""

    def setUp(self) -> None:
        super().setUp()
        self.home = self.directory / "w1"
        self.used: list[Bundle] = []
        self.renewal = Renewal(
            Bundle.load(self.home), ExtendedKeyUsageOID.CLIENT_AUTH, self.used.append
        )

    def replace(self, other: Path) -> None:
        for name in BUNDLE_FILES:
            shutil.copy2(other / name, self.home / name)
            self.renewal.reloadIfChanged()
        for _ in range(2):
            self.renewal.reloadIfChanged()

    def make(self, name: str, authority: Authority | None = None) -> Path:
        out = self.directory / "new"
        (authority or self.authority).enroll(name, out)
        return out

    def test_sameNameIsUsedOnce(self) -> None:
        """A new bundle for the same name is used, and loaded once."""
        self.replace(self.make("w1"))
        (used,) = self.used
        self.assertNotEqual(used.certificate, self.one)
        self.assertEqual([event for event, _ in self.events], ["reloaded"])

    def test_otherNameOrKeyKeepsOld(self) -> None:
        """
        A bundle with another name, a key that does not match, or the master's name is
        refused; the old bundle stays.
        """
        old = self.directory / "old"
        shutil.copytree(self.home, old)
        for other, word in (
            (self.directory / "w2", "not 'w1'"),
            (self.authority.directory / "master", "not 'w1'"),
        ):
            self.replace(other)
            self.assertAlarm(word)
        new = self.make("w1")
        shutil.copy2(old / "worker.key", self.home)
        shutil.copy2(new / "worker.crt", self.home)
        for _ in range(3):
            self.renewal.reloadIfChanged()
        self.assertAlarm("is not the key of worker.crt")
        (self.home / "worker.key").unlink()
        for _ in range(3):
            self.renewal.reloadIfChanged()
        self.assertAlarm("no such file")
        self.assertEqual(self.used, [])
        self.replace(new)
        self.assertEqual(len(self.used), 1)

    def test_otherUse(self) -> None:
        """A certificate with the right name that is only for servers is refused."""
        renewal = Renewal(
            Bundle.load(self.home), ExtendedKeyUsageOID.SERVER_AUTH, self.used.append
        )
        out = self.make("w1")
        for name in BUNDLE_FILES:
            shutil.copy2(out / name, self.home / name)
        for _ in range(3):
            renewal.reloadIfChanged()
        self.assertAlarm("not valid for this end")
        self.assertEqual(self.used, [])

    def test_workersOfRetiredCA(self) -> None:
        """After a CA rollover, workers of the retired CA are refused."""
        second = Authority.create(self.directory / "ca2", "DECNET CA 2")
        both = (self.authority.certificate, second.certificate)
        newer = second.enroll("w3", self.directory / "w3")
        admission = self.admission()
        for authorities, first in ((both, None), (both[1:], "no longer trusted")):
            bundle = Bundle(
                self.master.directory,
                self.master.certificate,
                (),
                self.master.privateKey,
                authorities,
            )
            admission.use(bundle)
            self.assertIsNone(admission.refuseOpen([newer, second.certificate]))
            reason = admission.refuseOpen([self.one, self.authority.certificate])
            if first is None:
                self.assertIsNone(reason)
            else:
                self.assertIn(first, reason or "")

    def test_eachCAHasItsList(self) -> None:
        """
        While two CAs are trusted, each has its own revocation list, all in one file.
        """
        self.authority.revoke([self.one.serial_number])
        second = Authority.create(self.directory / "ca2", "DECNET CA 2")
        newer = second.enroll("w3", self.directory / "w3")
        lists = self.crl.read_bytes()
        (second.directory / "ca.crt").write_bytes(
            second.certificate.public_bytes(Encoding.PEM)
            + self.authority.certificate.public_bytes(Encoding.PEM)
        )
        (second.directory / CRL_FILE).write_bytes(lists)
        Authority.open(second.directory).revoke([newer.serial_number])
        bundle = Bundle(
            self.master.directory,
            self.master.certificate,
            (),
            self.master.privateKey,
            (second.certificate, self.authority.certificate),
        )
        admission = Admission(bundle, second.directory / CRL_FILE, self.saved)
        self.assertIsNotNone(admission.refuse(self.one))
        self.assertIsNotNone(admission.refuse(newer))
        self.assertIsNone(admission.refuse(self.two))


class WatchedTests(SynchronousTestCase):
    """Watched files that change."""

    def test_newModeIsAChange(self) -> None:
        """A changed mode counts as a change, because it can make a file readable."""
        path = Path(self.mktemp())
        path.write_bytes(b"a")
        path.chmod(0o600)
        watched = Watched([path])
        path.chmod(0o644)
        self.assertEqual([watched.changed() for _ in range(3)], [False, True, False])

    def test_errorInOneCheck(self) -> None:
        """
        An error in one periodic check stops neither it nor the other checks, and is
        logged once.
        """
        clock = Clock()
        counts = [0, 0]

        def look() -> None:
            counts[0] += 1
            if 1 < counts[0] < 5:
                raise OSError(5, "Input/output error")

        def other() -> None:
            counts[1] += 1

        both = together(Service(), clock, look, other)
        both.startService()
        clock.pump([FILES_CHECK_S] * 8)
        both.stopService()
        self.assertEqual(counts, [9, 9])
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_standsStill(self) -> None:
        """A change counts once, when a second poll finds the file unchanged."""
        path = Path(self.mktemp())
        watched = Watched([path])
        self.assertFalse(watched.changed())
        path.write_bytes(b"a")
        self.assertEqual([watched.changed() for _ in range(3)], [False, True, False])
        path.write_bytes(b"ab")
        self.assertFalse(watched.changed())
        path.write_bytes(b"abc")
        self.assertEqual([watched.changed() for _ in range(3)], [False, True, False])


class LiveTests(TLSTestCase):
    """Connections that are open when their certificate is revoked."""

    def test_revokedConnectionIsClosed(self) -> None:
        """
        A revoked worker's connection gets the reason and is closed; lines already sent
        are kept, and other connections continue.
        """
        octets = encodeControl(OPEN(STREAM, 0, 0, "x"))
        one = self.connect(
            ForwarderContext(worker("w1"), "decnet-master", True), octets
        )
        two = self.connect(ForwarderContext(worker("w2"), "decnet-master", False))
        pump = self.pump
        transport: Any = two.transport

        def refuse(chain: Sequence[x509.Certificate]) -> Objection | None:
            name = chain[0].subject.rfc4514_string()
            return REVOKED if "w1" in name else None

        one.transport.write(  # type: ignore[union-attr]
            encodeControl(AT(STREAM, 0, 0)) + b"4 kept"
        )
        self.settle()
        self.listener.sweep(refuse)
        one.transport.write(b"4 late")  # type: ignore[union-attr]
        transport.write(b"4 more")
        self.settle()
        self.clock.advance(1)
        self.settle()
        pump.flush()
        self.assertIn(b"BYE revoked", one.received)
        self.assertIsNotNone(one.lost)
        self.assertIsNone(two.lost)
        self.assertEqual([b for w, b in self.stored() if w == "w1"], [b"kept\n"])
        self.assertEqual(
            b"".join([b for w, b in self.stored() if w == "w2"]), b"hello\nmore\n"
        )

    def test_revokedIntermediateCloses(self) -> None:
        """
        Revoking an intermediate CA closes the connections of every worker that it has
        signed.
        """
        between = certificate(
            ["test between"], holder="between", usages=(), authority=True
        )
        chained = replace(bundle(certificate(["w1"], ca="between")), chain=(between,))
        one = self.connect(
            ForwarderContext(chained, "decnet-master", True),
            encodeControl(OPEN(STREAM, 0, 0, "x")),
        )
        two = self.connect(ForwarderContext(worker("w2"), "decnet-master", False))
        asked: list[list[x509.Certificate]] = []

        def refuse(chain: Sequence[x509.Certificate]) -> Objection | None:
            asked.append(list(chain))
            return REVOKED if between in chain else None

        self.listener.sweep(refuse)
        self.settle()
        self.clock.advance(1)
        self.settle()
        self.assertIn(b"BYE revoked", one.received)
        self.assertIsNotNone(one.lost)
        self.assertIsNone(two.lost)
        names = [[c.subject.rfc4514_string() for c in chain] for chain in asked]
        self.assertEqual(
            sorted(names),
            [["CN=w1", "CN=test between", "CN=test ca"], ["CN=w2", "CN=test ca"]],
        )

    def settle(self) -> None:
        for _ in range(6):
            for pump in self.pumps:
                pump.flush()

    def test_deafPeer(self) -> None:
        """A peer that does not respond to the close is disconnected soon."""
        self.connect(ForwarderContext(worker("w1"), "decnet-master", False))
        (connection,) = self.listener.connections
        self.listener.sweep(lambda chain: REVOKED)
        self.assertEqual(self.listener.connections, {connection})
        self.clock.advance(EXPEL_S)
        self.pumps[0].flush()
        self.assertEqual(self.listener.connections, set())

    def test_revokedDuringHandshake(self) -> None:
        """
        A certificate revoked between its check and the end of the handshake is refused.
        """
        self.listener.refuseCertificate = lambda certificate: REVOKED
        client = self.connect(ForwarderContext(worker("w1"), "decnet-master", False))
        self.assertEqual((self.stored(), client.received), ([], b""))
        self.assertEqual(self.listener.connections, set())

    def test_reasonIsLoggedWithHandshake(self) -> None:
        """A refusal during the handshake is logged with its reason."""
        revoked = Objection("revoked", "it was revoked on a day")
        self.context = ListenerContext(
            master(), self.refusals.append, refuse=lambda certificate: revoked
        )
        client = self.connect(ForwarderContext(worker("w1"), "decnet-master", False))
        self.assertEqual((self.stored(), client.received), ([], b""))
        self.assertEqual([r.reason for r in self.refusals], ["it was revoked on a day"])

    def test_expiredStaysRefused(self) -> None:
        """Our own check never overrides a refusal by OpenSSL."""
        self.context = ListenerContext(
            master(), self.refusals.append, refuse=lambda certificate: None
        )
        expired = worker("w1", days=(-9, -1))
        self.connect(ForwarderContext(expired, "decnet-master", False))
        self.assertEqual(self.stored(), [])
        self.assertIn("expired", str(self.refusals[0]))

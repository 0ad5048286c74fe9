"""
Tests for replacing a CA: each step, repeated steps, and interruption at any write.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main
from decnet_syslog.doctor._identity import checkAuthority
from decnet_syslog.doctor._report import FAIL, DoctorReport
from decnet_syslog.errors import UserError
from decnet_syslog.trust import _replacement as replacement
from decnet_syslog.trust._admission import Admission
from decnet_syslog.trust._authority import PREVIOUS, Authority
from decnet_syslog.trust._bundles import Bundle, BundleError, readCertificates
from decnet_syslog.trust._issuers import isIssued, keyId, keyIds
from decnet_syslog.trust._issuing import alternatives
from decnet_syslog.trust._signers import readSigner

# Messages about a certificate whose CA is no longer in ca.crt.
GONE = (
    "from a CA that was replaced",
    "no valid certificate from this CA",
    "not signed by the CA in",
)


class Died(Exception):
    """The process dies here."""


class CommandTestCase(SynchronousTestCase):
    """A CA, and the commands."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.ca = self.directory / "ca"

    def call(self, *arguments: str, status: int = 0, ca: Path | None = None) -> str:
        """Run a command. Returns its output and errors."""
        out = io.StringIO()
        where = f"--ca-dir={ca or self.ca}"
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            done = self.assertRaises(SystemExit, main, [*arguments, where])
        self.assertEqual(int(done.code or 0), status, out.getvalue())
        return out.getvalue()

    def enroll(self, name: str, *more: str, to: str | None = None) -> Path:
        out = self.directory / (to or name)
        self.call("enroll", name, f"--out={out}", *more)
        return out

    def admission(self) -> Admission:
        """The admission of a listener that starts now."""
        saved = self.directory / "listener.db.crl"
        return Admission(Bundle.load(self.ca / "master"), self.ca / "crl.pem", saved)

    def serves(self, bundle: Path) -> bool:
        """Whether a listener that starts now accepts a bundle's certificate."""
        admission = self.admission()
        (certificate,) = readCertificates(bundle / "worker.crt")
        known = any(isIssued(certificate, ca) for ca in admission.bundle.authorities)
        return known and admission.refuse(certificate) is None

    def believes(self, bundle: Path) -> bool:
        """Whether a bundle's owner accepts the master in its current state."""
        (master,) = readCertificates(self.ca / "master" / "worker.crt")
        authorities = readCertificates(bundle / "ca.crt")
        return any(isIssued(master, ca) for ca in authorities)


class KeyTests(CommandTestCase):
    """A key that does not match the CA's certificate signs nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.call("ca", "init")
        self.enroll("w1")
        self.other = self.directory / "other"
        self.call("ca", "init", ca=self.other)

    def assertNothing(self, *words: str) -> None:
        """
        Check that enroll, revoke and the doctor refuse with the reason, and change
        nothing.
        """
        before = {p: p.read_bytes() for p in self.ca.rglob("*") if p.is_file()}
        for arguments in (
            ("enroll", "w2", f"--out={self.directory}/w2"),
            ("enroll", "w1", "--renew", f"--out={self.directory}/w2"),
            ("revoke", "w1"),
            ("revoke", "0123"),
            ("revoke", f"--certificate={self.directory}/w1/worker.crt"),
        ):
            # The first line may report a serial number that is not in the list.
            said = self.call(*arguments, status=1).splitlines()[-1]
            self.assertTrue(any(word in said for word in (*words, *GONE)), said)
        self.assertFalse((self.directory / "w2").exists())
        after = {p: p.read_bytes() for p in self.ca.rglob("*") if p.is_file()}
        self.assertEqual(before, after)
        report = DoctorReport()
        checkAuthority(report, self.ca)
        found = [f for f in report.findings if f.state == FAIL]
        self.assertEqual([f.check for f in found], ["CA"])
        self.assertTrue(any(word in found[0].said for word in words), found)

    def test_keyOfAnotherCA(self) -> None:
        """The key of another CA with the same name is refused."""
        shutil.copy2(self.other / "ca.key", self.ca / "ca.key")
        self.assertNothing("is not the key of a certificate in")
        said = self.call("ca", "replace", status=1)
        self.assertIn("is not the key of", said)

    def test_certificateOfAnotherCA(self) -> None:
        """The certificate of another CA is refused."""
        shutil.copy2(self.other / "ca.crt", self.ca / "ca.crt")
        self.assertNothing("is not the key of a certificate in")

    def test_masterDoesNotTrustNewCA(self) -> None:
        """
        If the CA's certificate and key are new but the master's bundle is old, the
        master would not trust the CA: nothing is signed.
        """
        for file in ("ca.crt", "ca.key"):
            shutil.copy2(self.other / file, self.ca / file)
        self.assertNothing("the master does not trust this CA")

    def test_workersDoNotTrustNewCA(self) -> None:
        """
        If the master trusts both CAs but enrolled workers would refuse the master,
        nothing is signed.
        """
        for file in ("ca.crt", "ca.key"):
            shutil.copy2(self.other / file, self.ca / file)
        with open(self.ca / "master" / "ca.crt", "ab") as file_:
            file_.write((self.other / "ca.crt").read_bytes())
        self.assertNothing("would refuse the master")

    def test_anyCAInFileMaySign(self) -> None:
        """Any CA in ca.crt may be the signing one: its key shows which."""
        own = (self.ca / "ca.crt").read_bytes()
        both = (self.other / "ca.crt").read_bytes() + own
        (self.ca / "ca.crt").write_bytes(both)
        (self.ca / "master" / "ca.crt").write_bytes(both)
        bundle = self.enroll("w2")
        self.assertTrue(self.serves(bundle) and self.believes(bundle))
        self.call("revoke", "w2")
        self.assertFalse(self.serves(bundle))
        report = DoctorReport()
        checkAuthority(report, self.ca)
        self.assertEqual([f for f in report.findings if f.state == FAIL], [])

    def test_unusualKeyIdentifier(self) -> None:
        """
        Certificates signed by a CA with an unusual key identifier have the same
        identifier.
        """
        signer = Authority.open(self.ca).signers()[0]
        own = x509.SubjectKeyIdentifier(b"a name of its own")
        made = (
            x509.CertificateBuilder()
            .subject_name(signer.certificate.subject)
            .issuer_name(signer.certificate.subject)
            .public_key(signer.certificate.public_key())
            .serial_number(1)
            .not_valid_before(signer.certificate.not_valid_before_utc)
            .not_valid_after(signer.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(own, critical=False)
            .sign(signer.key, SHA256())
        )
        pem = made.public_bytes(Encoding.PEM)
        (self.ca / "ca.crt").write_bytes(pem)
        shutil.rmtree(self.ca / "master")
        Authority.open(self.ca).masterIdentity()
        Bundle.load(self.enroll("w5"))
        self.call("revoke", "w5")
        self.assertFalse(self.serves(self.directory / "w5"))


class StepTests(CommandTestCase):
    """The replacement, command by command."""

    def setUp(self) -> None:
        super().setUp()
        self.call("ca", "init", "--san=master.example.org")
        self.one, self.two = self.enroll("w1"), self.enroll("w2")
        self.bad = self.enroll("bad")
        self.enroll("alice", "--role=operator")
        self.call("revoke", "bad")

    def test_allSteps(self) -> None:
        """
        From the first step to the last, the right bundles are accepted at each point,
        and revocations work before, during and after.
        """
        self.assertFalse(self.serves(self.bad))
        said = self.call("ca", "replace")
        for words in ("still old w1 (worker)", "still old w2", "alice (operator)"):
            self.assertIn(words, said)
        self.assertNotIn("old bad ", said)
        # A repeated step creates nothing new.
        files = {p: p.read_bytes() for p in self.ca.rglob("*") if p.is_file()}
        self.assertEqual(self.call("ca", "replace"), said)
        self.assertEqual(
            files, {p: p.read_bytes() for p in self.ca.rglob("*") if p.is_file()}
        )
        self.assertTrue(all(map(self.serves, (self.one, self.two))))
        self.assertFalse(self.serves(self.bad))

        new = self.enroll("w1", "--renew", to="w1-new")
        for bundle in (self.one, new):
            self.assertTrue(self.serves(bundle) and self.believes(bundle))
        mallory, troll = self.enroll("mallory"), self.enroll("troll")
        self.call("revoke", "mallory")
        self.call("revoke", f"--certificate={troll}/worker.crt")
        self.assertEqual(
            list(map(self.serves, (mallory, troll, new, self.two))),
            [False, False, True, True],
        )
        said = self.call("ca", "replace", "--finish", status=1)
        self.assertIn("no certificate from the new CA yet: alice, w2", said)
        self.assertEqual(said.count("\n"), 1)
        self.call("revoke", "w2")
        self.assertFalse(self.serves(self.two))
        said = self.call("ca", "replace", f"--out={self.directory / 'bundles'}")
        self.assertIn(str(self.directory / "bundles" / "alice"), said)
        self.assertNotIn("still old", said)

        names = alternatives(Bundle.load(self.ca / "master").certificate)
        said = self.call("ca", "replace", "--finish")
        self.assertIn("no longer trusted", said)
        master = Bundle.load(self.ca / "master")
        self.assertEqual(alternatives(master.certificate), names)
        self.assertEqual(len(master.authorities), 1)
        self.assertTrue(self.serves(new) and self.believes(new))
        self.assertFalse(self.believes(self.one))
        for bundle in (self.one, self.two, self.bad, mallory, troll):
            self.assertFalse(self.serves(bundle))
        late = self.enroll("late")
        self.assertEqual(len(Bundle.load(late).authorities), 1)
        self.assertTrue(self.serves(late))
        self.call("revoke", "w1")
        self.assertFalse(self.serves(new))
        for which in ("w2", "bad"):
            said = self.call("revoke", which, status=1)
            self.assertIn("from a CA that was replaced", said)
        said = self.call("ca", "replace", "--finish", status=1)
        self.assertIn("no replacement", said)
        said = self.call("ca", "show")
        for words in ("from a CA that was replaced", "REVOKED"):
            self.assertIn(words, said)

    def test_secondReplacement(self) -> None:
        """
        After one replacement is finished, the next can begin; the old keys are stored
        separately.
        """
        for _ in range(2):
            self.call("ca", "replace", f"--out={self.directory / 'b'}")
            shutil.rmtree(self.directory / "b")
            self.call("ca", "replace", "--finish")
        self.assertEqual(len(list(self.ca.glob("retired-*/ca.key"))), 2)
        for path in (self.ca / "ca.key", *self.ca.glob("retired-*/ca.key")):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_keyIdentifiesCA(self) -> None:
        """
        The new CA has another name, and each enrolled certificate is listed with the
        key that signed it.
        """
        old = Authority.open(self.ca).certificate
        self.call("ca", "replace")
        authority = Authority.open(self.ca)
        assert authority.previous is not None
        self.assertNotEqual(authority.certificate.subject, old.subject)
        self.enroll("w1", "--renew", to="new")
        makers = [(e["name"], e["authority"]) for e in authority.enrolled()]
        self.assertEqual(makers.count(("w1", keyId(old))), 1)
        self.assertEqual(makers.count(("w1", keyId(authority.certificate))), 1)

    def test_neverRevoked(self) -> None:
        """If nothing was ever revoked, there is no revocation list before or after."""
        (self.ca / "crl.pem").unlink()
        self.call("ca", "replace", f"--out={self.directory / 'b'}")
        self.call("ca", "replace", "--finish")
        self.assertFalse((self.ca / "crl.pem").exists())
        self.assertTrue(self.serves(self.directory / "b" / "w1"))

    def test_withoutMaster(self) -> None:
        """
        If the CA is on a machine of its own, without the master's bundle, the other
        steps still work.
        """
        shutil.rmtree(self.ca / "master")
        self.call("ca", "replace", f"--out={self.directory / 'b'}")
        self.call("ca", "replace", "--finish")
        self.assertEqual(len(readCertificates(self.ca / "ca.crt")), 1)

    def test_concurrentRuns(self) -> None:
        """Concurrent runs create one new CA and one new certificate for the master."""
        with ThreadPoolExecutor(4) as pool:
            begun = [
                pool.submit(replacement.beginReplacement, self.ca) for _ in range(4)
            ]
        self.assertEqual(len({keyId(run.result().certificate) for run in begun}), 1)
        self.assertEqual(len(readCertificates(self.ca / "ca.crt")), 2)
        replacement.giveBundles(Authority.open(self.ca), self.directory / "bundles")
        with ThreadPoolExecutor(4) as pool:
            ended = [
                pool.submit(replacement.finishReplacement, self.ca) for _ in range(4)
            ]
        self.assertEqual([run.exception() for run in ended].count(None), 1)
        Bundle.load(self.ca / "master")
        made = [entry["role"] for entry in Authority.open(self.ca).enrolled()]
        self.assertEqual(made.count("master"), 2)

    def test_ownerIsKept(self) -> None:
        """
        When root runs the command, all files keep the service user's ownership and
        their modes.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give files to another user")
        owner = 65534
        for path in (self.ca, *self.ca.rglob("*")):
            os.chown(path, owner, owner)
        before = os.umask(0o077)
        try:
            self.call("ca", "replace", f"--out={self.directory / 'b'}")
            self.call("revoke", "w1")
            self.call("ca", "replace", "--finish")
        finally:
            os.umask(before)
        for path in (self.ca, *self.ca.rglob("*")):
            self.assertEqual(path.stat().st_uid, owner, path)
        for name, mode in (
            ("ca.crt", 0o644),
            ("crl.pem", 0o644),
            ("ca.key", 0o600),
            ("master/ca.crt", 0o644),
            ("master/worker.crt", 0o644),
            ("master/worker.key", 0o600),
        ):
            self.assertEqual(stat.S_IMODE((self.ca / name).stat().st_mode), mode, name)

    def test_damagedList(self) -> None:
        """
        An unreadable revocation list stops the command before it changes anything.
        """
        (self.ca / "crl.pem").write_bytes(b"garbage")
        before = {p: p.read_bytes() for p in self.ca.rglob("*") if p.is_file()}
        self.assertIn("repair it", self.call("ca", "replace", status=1))
        after = {p: p.read_bytes() for p in self.ca.rglob("*") if p.is_file()}
        self.assertEqual(before, after)

    def test_finishTakesNoBundles(self) -> None:
        """
        C{--finish} is refused together with C{--out}, because bundles must reach their
        machines before, and without a replacement in progress.
        """
        said = self.call("ca", "replace", "--finish", "--out=x", status=2)
        self.assertIn("--finish must wait", said)
        self.assertIn(
            "no replacement", self.call("ca", "replace", "--finish", status=1)
        )


class DeathTests(CommandTestCase):
    """The command dies before or after any of its writes, and is run again."""

    def setUp(self) -> None:
        super().setUp()
        self.call("ca", "init")
        self.old = [self.enroll("w1"), self.enroll("w2"), self.enroll("bad")]
        self.call("revoke", "bad")
        self.key = keyId(Authority.open(self.ca).certificate)

    def dying(self, call: Callable[[], Any], at: int, after: bool) -> bool:
        """Run a call and die at a write. Returns whether it died."""
        count = itertools.count()

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                dies = next(count) == at
                if dies and not after:
                    raise Died
                result = real(*arguments, **options)
                if dies:
                    raise Died
                return result

            return step

        with (
            mock.patch("os.replace", deadly(os.replace)),
            mock.patch("shutil.rmtree", deadly(shutil.rmtree)),
        ):
            try:
                call()
            except Died:
                return True
        return False

    def assertSound(self, mismatch: bool) -> None:
        """
        Check that no key is lost, and that the master trusts the current signer.

        @param mismatch: whether the master's key and certificate may come from
            different pairs.
        """
        authority = Authority.open(self.ca)
        keys = [
            keyId(readSigner(d).certificate)
            for d in (self.ca, self.ca / PREVIOUS, *self.ca.glob("retired-*"))
            if (d / "ca.key").exists()
        ]
        self.assertIn(self.key, keys)
        trusted = keyIds(readCertificates(self.ca / "master" / "ca.crt"))
        self.assertIn(keyId(authority.certificate), trusted)
        try:
            self.assertFalse(self.serves(self.old[2]))
        except BundleError as error:
            self.assertTrue(mismatch, error)
            self.assertIn("is not the key of", str(error))

    def states(self, call: Callable[[], Any], mismatch: bool) -> int:
        """
        Die at each write of a call, before and after it, always from the current state.
        """
        kept = self.directory / "kept"
        shutil.copytree(self.ca, kept)
        deaths = 0
        for after in (False, True):
            for at in itertools.count():
                if not self.dying(call, at, after):
                    break
                deaths += 1
                self.assertSound(mismatch)
                call()
                self.assertSound(False)
                self.assertEqual(list(self.ca.glob(".*")), [])
                shutil.rmtree(self.ca)
                shutil.copytree(kept, self.ca)
            shutil.rmtree(self.ca)
            shutil.copytree(kept, self.ca)
        shutil.rmtree(kept)
        return deaths

    def test_diedInFirstStep(self) -> None:
        """
        If the first step dies at any write, it can be repeated, and workers are served
        throughout.
        """

        def begin() -> None:
            made = replacement.beginReplacement(self.ca)
            found = replacement.replacementProgress(made)
            self.assertEqual([name for name, _ in found.old], ["w1", "w2"])
            self.assertFalse((self.ca / "next").exists())
            self.assertTrue(self.serves(self.old[0]) and self.serves(self.old[1]))

        self.assertGreater(self.states(begin, False), 15)

    def test_diedInLastStep(self) -> None:
        """
        If the last step dies at any write, it can be repeated, and workers with new
        bundles and the master accept each other.
        """
        authority = replacement.beginReplacement(self.ca)
        out = self.directory / "bundles"
        replacement.giveBundles(authority, out)

        def finish() -> None:
            try:
                replacement.finishReplacement(self.ca)
            except UserError as error:
                # It had died after the last write.
                self.assertIn("no replacement", str(error))
            for name in ("w1", "w2"):
                self.assertTrue(self.serves(out / name) and self.believes(out / name))
            self.assertFalse(self.serves(self.old[0]))

        self.assertGreater(self.states(finish, True), 8)

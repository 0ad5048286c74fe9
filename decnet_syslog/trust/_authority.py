"""
The authority: a CA in a directory, DECNET's layout.

C{ca.key} (0600, in a directory of mode 0700), C{ca.crt}, C{master/} with the master's
bundle, C{enrolled.jsonl} with a line for each certificate issued here and the L{keyId} of its
signer, and C{crl.pem} with the revoked certificates. Existing files are used and never
overwritten, except that C{crl.pem} is replaced by a newer list.

C{ca.crt} can contain several certificates. The signer is the one that matches C{ca.key}. If none
does, nothing is signed, because no other end would accept it. While a CA is being replaced
(L{decnet_syslog.trust._replacement}), the old CA is in C{previous/} and still signs its revocation
list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from ..errors import UserError
from ._bundles import BUNDLE_FILES, readCertificates
from ._enrolledfile import addEnrolled, readEnrolled, rewriteEnrolled
from ._files import alone, makeDirectory, replaceFile, writeNew
from ._issuers import keyId, keyIds
from ._issuing import (
    CERTIFICATE_DAYS,
    Signer,
    alternatives,
    issue,
    makeAuthority,
    makeKey,
    namesOf,
    pemOfKey,
)
from ._names import MASTER_NAME, checkHolder, peerName
from ._revocation import Revocations
from ._revoking import beginList, bySigner, readRevocations, revokeSerials
from ._signers import checkMaster, checkNames, readSigner

__all__ = ["PREVIOUS", "Authority"]


# The directory of the authority that is being replaced.
PREVIOUS = "previous"


class Authority:
    """
    A certificate authority.

    @ivar directory: its directory.
    @ivar certificate: the CA's own certificate, from C{ca.crt}.
    @ivar previous: the CA that this one is replacing, if any.
    """

    def __init__(
        self, directory: Path, signer: Signer, previous: Signer | None = None
    ) -> None:
        self.directory = directory
        self.certificate = signer.certificate
        self.previous = previous
        self._signer = signer

    @classmethod
    def create(cls, directory: Path, name: str = "DECNET CA") -> Authority:
        """
        Make a CA in a directory that has none.

        @raise UserError: there is a CA already.
        """
        for file in ("ca.key", "ca.crt"):
            if (directory / file).exists():
                raise UserError(
                    f"there is already a CA in {directory}: it was not changed"
                )
        makeDirectory(directory)
        os.chmod(directory, 0o700)
        made = makeAuthority(name)
        writeNew(directory / "ca.key", pemOfKey(made.key), 0o600)
        pem = made.certificate.public_bytes(Encoding.PEM)
        writeNew(directory / "ca.crt", pem, 0o644)
        return cls(directory, made)

    @classmethod
    def open(cls, directory: Path) -> Authority:
        """
        Use the CA that is in a directory.

        @raise UserError: there is none, its key does not match, or others can read the key.
        """
        if not (directory / "ca.key").exists():
            raise UserError(
                f'there is no CA in {directory}: make one with "decnet-syslog ca init"'
            )
        signer, previous = readSigner(directory), None
        if (directory / PREVIOUS / "ca.key").exists():
            previous = readSigner(directory / PREVIOUS)
            if keyId(previous.certificate) == keyId(signer.certificate):
                # Not replaced yet: the command died before it wrote ca.key.
                previous = None
        return cls(directory, signer, previous)

    def masterIdentity(self, names: Sequence[str] = ()) -> Path:
        """
        Make the master's bundle, unless there is one.

        @param names: further DNS names and addresses of the master.
        @return: its directory.
        """
        out = self.directory / "master"
        if not (out / "worker.crt").exists():
            every = namesOf([MASTER_NAME, "127.0.0.1", *names])
            self._issue(MASTER_NAME, out, every, "master", CERTIFICATE_DAYS)
        return out

    def masterCertificate(self, old: x509.Certificate) -> tuple[bytes, bytes]:
        """
        Make a certificate for the master.

        The caller holds the lock.

        @param old: its current certificate; the new one gets the same names.
        @return: the key and the certificate, in PEM.
        """
        name = peerName(old)
        key = makeKey()
        made = issue(
            self._signer,
            key.public_key(),
            name,
            alternatives(old),
            "master",
            CERTIFICATE_DAYS,
        )
        self._note(name, made, "master")
        return pemOfKey(key), made.public_bytes(Encoding.PEM)

    def enroll(
        self,
        name: str,
        out: Path,
        names: Sequence[str] = (),
        days: int = CERTIFICATE_DAYS,
        role: str = "worker",
        public: CertificatePublicKeyTypes | None = None,
    ) -> x509.Certificate:
        """
        Make a worker's or an operator's bundle.

        @param name: a worker's name is the provenance of everything that it sends.
        @param role: C{worker}, or C{operator}.
        @param public: the holder's key, from a request that was checked. The bundle then has no
            private key. By default a key is made.
        @raise UserError: the name or another one is unusable, or the master would refuse it.
        """
        checkHolder(name)
        every = checkNames(self.directory, MASTER_NAME, namesOf(names))
        self.checkMaster()
        return self._issue(name, out, every, role, days, public)

    def enrolled(self) -> list[dict[str, str]]:
        """The certificates issued here, as L{readEnrolled} has them."""
        first = keyId((self.previous or self._signer).certificate)
        return readEnrolled(self.directory, first)

    def good(self) -> list[dict[str, str]]:
        """The L{enrolled} certificates that are valid, not revoked, and from a trusted CA."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        revoked = self.revoked()
        keys = keyIds(self.authorities())
        return [
            entry
            for entry in self.enrolled()
            if entry["not_after"] > now
            and entry["authority"] in keys
            and (entry["authority"], int(entry["serial"], 16)) not in revoked
        ]

    def revoked(self) -> dict[tuple[str, int], datetime]:
        """The revoked certificates in C{crl.pem}: (L{keyId} of the CA, serial number) to date."""
        lists = self.revocations().lists
        return {
            (key, serial): when
            for key, one in lists.items()
            for serial, when in one.serials.items()
        }

    def revocations(self) -> Revocations:
        """
        The lists of C{crl.pem}.

        @raise UserError: the file is not valid.
        """
        return readRevocations(self.directory, self.authorities())

    def signers(self) -> list[Signer]:
        """The trusted signers: this CA, and the one that it is replacing."""
        found = [self._signer]
        if self.previous is not None:
            trusted = keyIds(self.authorities())
            # An interrupted last step of the replacement leaves it there, no longer trusted.
            found += [self.previous] * (keyId(self.previous.certificate) in trusted)
        return found

    def revoke(self, serials: Sequence[int], key: str = "") -> list[int]:
        """
        Revoke certificates by their serial numbers.

        @param key: the L{keyId} of the CA that issued them. If empty, L{enrolled} shows it; for
            a serial number that is not listed there, each trusted CA revokes it.
        @return: the serial numbers that were not revoked before.
        @raise UserError: the current list is not valid, the new one cannot be written, or
            revocation would have no effect.
        """
        signers = {keyId(one.certificate): one for one in self.signers()}
        issued = [] if key else self.enrolled()
        wanted = bySigner(serials, key, issued, set(signers))
        self.checkMaster([signers[one].certificate for one in wanted])
        new = []
        with alone(self.directory):
            for one, found in wanted.items():
                before = self.revocations()
                new += revokeSerials(self.directory, before, signers[one], found)
        return list(dict.fromkeys(new))

    def beginList(self) -> None:
        """Make an empty list if there are only lists of other CAs; with the lock held."""
        beginList(self.directory, self.revocations(), self._signer)

    def authorities(self) -> list[x509.Certificate]:
        """Each CA in C{ca.crt}: two during a replacement."""
        return readCertificates(self.directory / "ca.crt")

    def checkMaster(self, makers: Sequence[x509.Certificate] = ()) -> None:
        """
        Check that the master in C{master/} and the enrolled workers would accept each other.

        @param makers: the issuers of the workers' certificates; by default this CA.
        @raise UserError: one would refuse the other, with the reason.
        """
        checkMaster(self.directory, makers or [self.certificate])

    def _issue(
        self,
        name: str,
        out: Path,
        names: Sequence[x509.GeneralName],
        role: str,
        days: int,
        public: CertificatePublicKeyTypes | None = None,
    ) -> x509.Certificate:
        """
        Write a bundle.

        C{worker.crt} comes last, as a whole, after the certificate is on the list. If the process
        dies earlier, there is no bundle, and no certificate that cannot be revoked by name.
        """
        for file in BUNDLE_FILES:
            if (out / file).exists():
                raise UserError(
                    f"{out / file} exists and is not overwritten: choose another"
                    " directory"
                )
        key = None
        if public is None:
            key = makeKey()
            public = key.public_key()
        certificate = issue(self._signer, public, name, names, role, days)
        makeDirectory(out)
        if key is not None:
            writeNew(out / "worker.key", pemOfKey(key), 0o600)
        writeNew(out / "ca.crt", (self.directory / "ca.crt").read_bytes(), 0o644)
        with alone(self.directory):
            self._note(name, certificate, role)
        replaceFile(out / "worker.crt", certificate.public_bytes(Encoding.PEM))
        return certificate

    def _note(self, name: str, certificate: x509.Certificate, role: str) -> None:
        """Add a line to the list of issued certificates. The caller holds the lock."""
        addEnrolled(self.directory, name, certificate, role, keyId(self.certificate))

    def label(self) -> None:
        """
        Record the signer of each certificate, before another CA begins to sign.

        The caller holds the lock.
        """
        rewriteEnrolled(self.directory, self.enrolled())

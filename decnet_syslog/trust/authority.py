"""
The authority: a CA in a directory, DECNET's layout.

C{ca.key} (0600, in a directory of mode 0700), C{ca.crt}, C{master/} with the master's
bundle, C{enrolled.jsonl}: a line for each certificate made here, and C{crl.pem}: those
that are revoked. What exists is used as it is and never written over; C{crl.pem} is
replaced by the next.

Ours are ECDSA P-256 keys; a CA with an RSA key works as well. A worker's certificate is
good for clients only and the master's for servers only, so that neither can play the
other; the names are checked besides. An operator's is for who looks at the status, and
says so.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import UserError
from .bundles import readCertificates, readKey
from .names import NameRefused, checkName, fingerprint
from .revocation import (
    CRL_FILE,
    Revocations,
    makeList,
    otherLists,
    readLists,
    replaceFile,
)
from .roles import OPERATOR_USAGE

__all__ = ["MASTER_NAME", "Authority"]

MASTER_NAME = "decnet-master"

CA_DAYS = 3650
CERTIFICATE_DAYS = 825

# What a certificate of each role is good for.
_USAGES = {
    "master": [ExtendedKeyUsageOID.SERVER_AUTH],
    "worker": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "operator": [ExtendedKeyUsageOID.CLIENT_AUTH, OPERATOR_USAGE],
}

# Clocks of a fleet differ by minutes.
BACKDATE = timedelta(hours=1)


def _writeNew(path: Path, octets: bytes, mode: int) -> None:
    """
    Write a file that must not be there yet, on disk when this returns.

    @raise UserError: there is one.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise UserError(
            f"{path} exists and is not written over: remove it, or go elsewhere"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def _makeDirectory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {path}: {error.strerror}") from None


def _pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _subjectAlternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise UserError(f"--san {name!a}: neither an address nor a DNS name") from None


class Authority:
    """
    A certificate authority.

    @ivar directory: where it is.
    @ivar certificate: the CA's own; the first in C{ca.crt}.
    """

    def __init__(
        self,
        directory: Path,
        certificate: x509.Certificate,
        key: CertificateIssuerPrivateKeyTypes,
    ) -> None:
        self.directory = directory
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, directory: Path, name: str = "DECNET CA") -> Authority:
        """
        Make a CA in a directory that has none.

        @raise UserError: there is one already.
        """
        for file in ("ca.key", "ca.crt"):
            if (directory / file).exists():
                raise UserError(
                    f"there is a CA in {directory} already: it is left as it is"
                )
        _makeDirectory(directory)
        os.chmod(directory, 0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        public = key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_keyUsage(authority=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(public), critical=False
            )
            .sign(key, SHA256())
        )
        _writeNew(directory / "ca.key", _pem(key), 0o600)
        _writeNew(directory / "ca.crt", certificate.public_bytes(Encoding.PEM), 0o644)
        return cls(directory, certificate, key)

    @classmethod
    def open(cls, directory: Path) -> Authority:
        """
        Use the CA that is in a directory.

        @raise UserError: there is none, or others can read its key.
        """
        if not (directory / "ca.key").exists():
            raise UserError(
                f'there is no CA in {directory}: make one with "decnet-syslog ca init"'
            )
        certificate = readCertificates(directory / "ca.crt")[0]
        key = cast(CertificateIssuerPrivateKeyTypes, readKey(directory / "ca.key"))
        return cls(directory, certificate, key)

    def masterIdentity(self, names: Sequence[str] = ()) -> Path:
        """
        Make the master's bundle, unless there is one.

        @param names: more DNS names and addresses for it.
        @return: its directory.
        """
        out = self.directory / "master"
        if not (out / "worker.crt").exists():
            every = list(dict.fromkeys([MASTER_NAME, "127.0.0.1", *names]))
            self._issue(
                MASTER_NAME,
                out,
                every,
                "master",
                CERTIFICATE_DAYS,
            )
        return out

    def enroll(
        self,
        name: str,
        out: Path,
        names: Sequence[str] = (),
        days: int = CERTIFICATE_DAYS,
        role: str = "worker",
    ) -> x509.Certificate:
        """
        Make a worker's or an operator's bundle.

        @param name: a worker's is the provenance of everything it sends.
        @param role: C{worker}, or C{operator}.
        @raise UserError: the name cannot be used, or there is a bundle already.
        """
        try:
            checkName(name)
        except NameRefused as error:
            raise UserError(f"cannot enrol: {error}") from None
        if name == MASTER_NAME:
            raise UserError(f"{MASTER_NAME} is the master's name, nobody else's")
        return self._issue(name, out, names, role, days)

    def enrolled(self) -> list[dict[str, str]]:
        """What was enrolled here: name, fingerprint, serial, not_after, role."""
        path = self.directory / "enrolled.jsonl"
        if not path.exists():
            return []
        try:
            lines = path.read_text("utf-8").splitlines()
            return [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: not the list of who is enrolled ({error}); mend it"
            ) from None

    def revocations(self) -> Revocations:
        """
        What is revoked, by C{crl.pem}.

        @raise UserError: it cannot be believed.
        """
        path = self.directory / CRL_FILE
        try:
            return readLists(path, self._authorities())
        except UserError as error:
            raise UserError(f"{path}: {error}; mend it") from None

    def revoke(self, serials: Sequence[int]) -> list[int]:
        """
        Revoke certificates by their serial numbers.

        @return: those that were not revoked before.
        @raise UserError: the list that there is cannot be believed, or none be written.
        """
        with self._alone():
            return self._revoke(serials)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While another process changes the list, wait: one of the two changes would be lost."""
        descriptor = os.open(
            self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _revoke(self, serials: Sequence[int]) -> list[int]:
        before = self.revocations()
        known = dict(before.serials(self.certificate))
        new = [serial for serial in dict.fromkeys(serials) if serial not in known]
        if not new:
            return []
        now = datetime.now(timezone.utc).replace(microsecond=0)
        known.update(dict.fromkeys(new, now))
        number = before.number(self.certificate) + 1
        others = otherLists(before.octets, self.certificate, self._authorities())
        made = makeList(self.certificate, self._key, known, number)
        replaceFile(self.directory / CRL_FILE, made + b"".join(others))
        return new

    def _authorities(self) -> list[x509.Certificate]:
        """Every CA of C{ca.crt}: while one follows the other there are two."""
        return readCertificates(self.directory / "ca.crt")

    def _issue(
        self,
        name: str,
        out: Path,
        names: Sequence[str],
        role: str,
        days: int,
    ) -> x509.Certificate:
        for file in ("ca.crt", "worker.crt", "worker.key"):
            if (out / file).exists():
                raise UserError(
                    f"{out / file} exists and is not written over: go elsewhere"
                )
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(
                min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
            )
            .add_extension(
                x509.BasicConstraints(ca=False, path_length=None), critical=True
            )
            .add_extension(_keyUsage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES[role]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self.certificate.public_key()  # type: ignore[arg-type]
                ),
                critical=False,
            )
        )
        if names:
            alternatives = [_subjectAlternative(one) for one in names]
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        edwards = isinstance(
            self._key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
        )
        certificate = builder.sign(self._key, None if edwards else SHA256())
        _makeDirectory(out)
        _writeNew(out / "worker.key", _pem(key), 0o600)
        _writeNew(out / "worker.crt", certificate.public_bytes(Encoding.PEM), 0o644)
        _writeNew(out / "ca.crt", (self.directory / "ca.crt").read_bytes(), 0o644)
        self._note(name, certificate, role)
        return certificate

    def _note(self, name: str, certificate: x509.Certificate, role: str) -> None:
        """Add a line to the list of what was enrolled."""
        entry = {
            "name": name,
            "role": role,
            "fingerprint": fingerprint(certificate),
            "serial": f"{certificate.serial_number:x}",
            "not_after": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.directory / "enrolled.jsonl", flags, 0o644)
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(entry).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _keyUsage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )

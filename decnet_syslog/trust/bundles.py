"""
Bundles: a certificate, its key and the CA's certificates, in a directory.

The layout is DECNET's, for workers and for the master: C{ca.crt}, C{worker.crt},
C{worker.key}. A bundle is read, never written here. Everything that would only show as a
handshake that fails is checked when it is read, and said in one line.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ..errors import UserError

__all__ = ["Bundle", "BundleError", "isIssued", "readCertificates", "readKey"]

# A chain of a few certificates; a file that is longer is something else.
FILE_OCTETS_MAX = 1024 * 1024


class BundleError(UserError):
    """
    A bundle that cannot be used.

    @ivar path: the file.
    @ivar reason: what is wrong with it.
    @ivar remedy: what to do.
    """

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy


_GET_ONE = (
    'copy the bundle there that "decnet-syslog enroll" makes on the master (a master'
    ' itself: "decnet-syslog ca init")'
)


def _read(path: Path, secret: bool = False) -> bytes:
    try:
        # O_NONBLOCK: a pipe that stands in for a key must not make us wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BundleError(path, "there is no such file", _GET_ONE) from None
    except OSError as error:
        raise BundleError(
            path,
            f"cannot be read: {error.strerror}",
            "give this user the right to read it",
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(path, "is not a regular file", _GET_ONE)
        if secret and stat.S_IMODE(status.st_mode) & 0o077:
            raise BundleError(
                path,
                f"others can read this key (mode {stat.S_IMODE(status.st_mode):04o})",
                f"chmod 600 {path}, and replace the key if they may have read it",
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(FILE_OCTETS_MAX)
    finally:
        os.close(descriptor)


def readCertificates(path: Path) -> list[x509.Certificate]:
    """
    The certificates of a PEM file, at least one.

    @raise BundleError: there are none.
    """
    octets = _read(path)
    try:
        return x509.load_pem_x509_certificates(octets)
    except Exception:
        # Mostly a ValueError; of a version that is none, another.
        raise BundleError(path, "is not a certificate in PEM", _GET_ONE) from None


def readKey(path: Path) -> PrivateKeyTypes:
    """
    The private key of a PEM file that nobody else can read.

    @raise BundleError: others can read it, it has a passphrase, or it is no key.
    """
    octets = _read(path, secret=True)
    try:
        return load_pem_private_key(octets, None)
    except TypeError:
        raise BundleError(
            path,
            "the key has a passphrase",
            f"a service cannot type it: openssl pkey -in {path} writes one without",
        ) from None
    except Exception:
        raise BundleError(path, "is not a private key in PEM", _GET_ONE) from None


def _spki(key: object) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return octets


def isIssued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether a CA has signed a certificate."""
    try:
        certificate.verify_directly_issued_by(by)
    except Exception:
        # Whatever it is that cannot be verified is not verified.
        return False
    return True


@dataclass(frozen=True)
class Bundle:
    """
    What one end of a connection has.

    @ivar chain: certificates between ours and the CA's, usually none.
    @ivar authorities: who the other end's certificate must be from.
    """

    directory: Path
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    privateKey: PrivateKeyTypes
    authorities: tuple[x509.Certificate, ...]

    @staticmethod
    def _lookDeeper(directory: Path) -> None:
        """Find the bundle that was copied into its directory instead of in its place."""
        deeper = sorted(directory.glob("*/worker.crt"))
        if len(deeper) == 1 and not (directory / "worker.crt").exists():
            raise BundleError(
                directory / "worker.crt",
                "there is no such file",
                f"the bundle is one level deeper: mv {deeper[0].parent}/* {directory}/",
            )

    @classmethod
    def load(cls, directory: Path, now: datetime | None = None) -> Bundle:
        """
        Read and check a bundle.

        @raise BundleError: something is missing, or does not fit.
        """
        cls._lookDeeper(directory)
        authorities = readCertificates(directory / "ca.crt")
        certificate, *chain = readCertificates(directory / "worker.crt")
        key = readKey(directory / "worker.key")
        path = directory / "worker.crt"
        try:
            # These are parsed only now, and the library has many errors.
            public = _spki(certificate.public_key())
            begin = certificate.not_valid_before_utc
            end = certificate.not_valid_after_utc
        except Exception:
            raise BundleError(path, "is not a certificate for TLS", _GET_ONE) from None
        if _spki(key.public_key()) != public:
            raise BundleError(
                directory / "worker.key",
                "is not the key of worker.crt",
                "copy both again",
            )
        if not any(isIssued(certificate, ca) for ca in [*authorities, *chain]):
            raise BundleError(
                path, "is not signed by the CA in ca.crt", "copy all three again"
            )
        now = now or datetime.now(timezone.utc)
        if now < begin:
            raise BundleError(
                path,
                f"is not valid before {begin:%Y-%m-%d %H:%M} UTC",
                "look at this machine's clock",
            )
        if now > end:
            raise BundleError(
                path,
                f"has expired on {end:%Y-%m-%d}",
                'enrol again with "decnet-syslog enroll"',
            )
        return cls(directory, certificate, tuple(chain), key, tuple(authorities))

"""
Bundles: a certificate, its key and the CA's certificates, in a directory.

The layout is DECNET's, for workers and for the master: C{ca.crt}, C{worker.crt},
C{worker.key}. A bundle is read, never written here. Loading a bundle performs a handshake in
memory (L{decnet_syslog.trust._chains}) and reports each error that a real handshake would have in
one line.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._chains import EXPIRED, NOT_YET, UNKNOWN, findFlaw
from ._issuers import isSigned, spki
from ._verification import errorText

__all__ = ["BUNDLE_FILES", "Bundle", "BundleError", "readCertificates", "readKey"]

BUNDLE_FILES = ("ca.crt", "worker.crt", "worker.key")

# A chain of a few certificates; a longer file is something else.
FILE_OCTETS_MAX = 1024 * 1024


class BundleError(UserError):
    """
    A bundle that cannot be used.

    @ivar path: the file.
    @ivar reason: the reason.
    @ivar remedy: the remedy.
    """

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy


# What only a CA's directory has. Its key may be on another machine.
_OF_AUTHORITY = ("ca.key", "crl.pem", "enrolled.jsonl", "master/worker.crt")

_GET_ONE = (
    'copy the certificates here that "decnet-syslog enroll" makes on the master (for a master'
    ' itself: "decnet-syslog ca init")'
)


def _read(path: Path, secret: bool = False) -> bytes:
    try:
        # O_NONBLOCK: a pipe in place of a key must not block us.
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
        # Usually a ValueError; an unknown certificate version raises another error.
        raise BundleError(path, "is not a certificate in PEM", _GET_ONE) from None


def readKey(path: Path) -> PrivateKeyTypes:
    """
    The private key of a PEM file that no other user can read.

    @raise BundleError: others can read it, it has a passphrase, or it is not a key.
    """
    octets = _read(path, secret=True)
    try:
        return load_pem_private_key(octets, None)
    except TypeError:
        raise BundleError(
            path,
            "the key has a passphrase",
            f"a service cannot enter it: remove it with openssl pkey -in {path}",
        ) from None
    except Exception:
        raise BundleError(path, "is not a private key in PEM", _GET_ONE) from None


@dataclass(frozen=True)
class Bundle:
    """
    The certificates and the key of one end.

    @ivar chain: certificates between ours and the CA's, usually none.
    @ivar authorities: the CAs that the other end's certificate must come from.
    """

    directory: Path
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    privateKey: PrivateKeyTypes
    authorities: tuple[x509.Certificate, ...]

    @staticmethod
    def _lookAround(directory: Path) -> None:
        """
        Report a directory that is not a bundle's: a CA's, or one above a bundle's. The remedies
        move and replace nothing.
        """
        # A hidden directory is an installation that did not end.
        try:
            deeper = sorted(directory.glob("[!.]*/worker.crt"))
            isAuthority = any((directory / name).exists() for name in _OF_AUTHORITY)
            if (directory / "worker.crt").exists():
                return
        except PermissionError:
            # Reading the files reports it, with the remedy.
            return
        if isAuthority:
            raise BundleError(
                directory,
                "is the directory of a CA",
                "give the directory of a bundle, such as ~/.decnet/agent; on a worker,"
                ' "decnet-syslog install" makes it',
            )
        if len(deeper) == 1:
            raise BundleError(
                directory / "worker.crt",
                "there is no such file",
                f"the bundle is one level deeper, in {deeper[0].parent}: give that directory, or"
                " copy its three files",
            )

    @classmethod
    def load(cls, directory: Path, now: datetime | None = None) -> Bundle:
        """
        Read and check a bundle.

        @raise BundleError: a file is missing, or the files do not match.
        """
        cls._lookAround(directory)
        authorities = readCertificates(directory / "ca.crt")
        certificate, *chain = readCertificates(directory / "worker.crt")
        key = readKey(directory / "worker.key")
        path = directory / "worker.crt"
        try:
            # The library parses these lazily, and raises many kinds of errors.
            keys = [spki(one.public_key()) for one in (certificate, *chain)]
            own = spki(key.public_key())
            selfSigned = isSigned(certificate, certificate)
        except Exception:
            raise BundleError(path, "is not a certificate for TLS", _GET_ONE) from None
        if own in keys[1:] and own != keys[0]:
            raise BundleError(
                path,
                "the worker's own certificate must come first: worker.key is the key of certificate"
                f" {keys.index(own) + 1} of {len(keys)} in the file",
                "put that one first, then its issuer, and so on",
            )
        if own != keys[0]:
            raise BundleError(
                directory / "worker.key",
                "is not the key of worker.crt",
                "copy both files again",
            )
        if selfSigned:
            raise BundleError(
                path, "is self-signed: it does not come from a CA", _GET_ONE
            )
        bundle = cls(directory, certificate, tuple(chain), key, tuple(authorities))
        bundle._checkChain(now or datetime.now(timezone.utc))
        return bundle

    def _checkChain(self, now: datetime) -> None:
        """
        Verify the chain as the other end does.

        @raise BundleError: the other end would refuse it; names the faulty certificate.
        """
        path = self.directory / "worker.crt"
        try:
            flaw = findFlaw(
                self.certificate, self.chain, self.privateKey, self.authorities, now
            )
        except Exception:
            raise BundleError(path, "is not a certificate for TLS", _GET_ONE) from None
        if flaw is None:
            return
        isOurs = flaw.certificate == self.certificate
        isAuthority = flaw.certificate in self.authorities
        if isAuthority:
            path = self.directory / "ca.crt"
        what = "" if isOurs else f"{_called(flaw.certificate)} "
        if flaw.error == NOT_YET:
            begin = _date(
                flaw.certificate, "not_valid_before_utc", "%Y-%m-%d %H:%M UTC"
            )
            raise BundleError(
                path,
                f"{what}is not valid before {begin}",
                "check this machine's clock",
            )
        if flaw.error == EXPIRED:
            end = _date(flaw.certificate, "not_valid_after_utc", "%Y-%m-%d")
            raise BundleError(
                path,
                f"{what}expired on {end}",
                'enroll again with "decnet-syslog enroll"'
                if isOurs
                else "replace the CA (docs/trust.rst), or put its renewed certificate there",
            )
        if flaw.error in UNKNOWN:
            raise BundleError(
                path,
                "is not signed by the CA in ca.crt"
                if isOurs
                else f"ends its chain with {what.rstrip()}, not signed by the CA in ca.crt",
                "copy all three files again",
            )
        raise BundleError(
            path,
            f"{what or 'this certificate '}would be refused by the other end:"
            f" {errorText(flaw.error)}",
            _GET_ONE,
        )


def _date(certificate: x509.Certificate, which: str, form: str) -> str:
    """A date of a certificate, for people."""
    try:
        found: datetime = getattr(certificate, which)
    except Exception:
        # The library parses dates lazily, and accepts fewer forms than OpenSSL.
        return "a date that cannot be read"
    return found.strftime(form)


def _called(certificate: x509.Certificate) -> str:
    """A certificate of a chain, for people."""
    try:
        return f"the certificate of {escapeUntrusted(certificate.subject.rfc4514_string())}"
    except Exception:
        # The library parses names lazily and raises many kinds of errors.
        return "a certificate whose name cannot be read"

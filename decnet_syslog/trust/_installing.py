"""
Install a bundle on a worker: request a certificate, verify the answer, put it in place.

A key and its request are made here, too: the key waits beside the bundle until the answer is
installed. L{decnet_syslog.trust._bundledirectory} has the one step from the old bundle to the new.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..durable import syncDirectory
from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._bundledirectory import BundleDirectory
from ._bundles import Bundle, BundleError, readCertificates
from ._files import alone, makeDirectory, replaceFile
from ._issuers import spki
from ._issuing import makeKey, pemOfKey
from ._names import NameRefused, peerName
from ._roles import refuseOperator, refuseWorker

__all__ = ["REQUEST_KEY", "Installed", "install", "requestKey"]

# The key whose certificate was asked for and is not there yet.
REQUEST_KEY = "request.key"

_REFUSES = {"worker": refuseWorker, "operator": refuseOperator}


@dataclass(frozen=True)
class Installed:
    """
    The result of an installation.

    @ivar certificate: the one in use.
    @ivar changed: whether the bundle was not installed before.
    """

    certificate: x509.Certificate
    changed: bool


def _currentName(directory: Path) -> str | None:
    """The name in the installed certificate; C{None} if there is none that can be read."""
    try:
        return peerName(readCertificates(directory / "worker.crt")[0])
    except (BundleError, NameRefused):
        return None


def _checkSameName(directory: Path, name: str) -> None:
    current = _currentName(directory)
    if current not in (None, name):
        raise UserError(
            f"{directory} has the certificate of {escapeUntrusted(str(current))}, not of"
            f" {escapeUntrusted(name)}: a running forwarder refuses another name; to change"
            f" it, remove {directory / 'worker.crt'} first"
        )


def _keyOf(octets: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(octets, None)
    except Exception:
        # Mostly a ValueError; with a passphrase a TypeError.
        raise UserError(
            f"{path} is not a private key in PEM without a passphrase: remove it"
        ) from None


def _publicKey(place: BundleDirectory, file: str) -> bytes | None:
    """The public key of a private key's file, as L{spki} gives it; C{None} without a file."""
    octets = place.read(file)
    if octets is None:
        return None
    return spki(_keyOf(octets, place.path / file).public_key())


def requestKey(
    directory: Path, name: str, new: bool = False
) -> ec.EllipticCurvePrivateKey:
    """
    The key for a request: the one that waits for its certificate, or a new one.

    The key is on disk when this returns. The installed bundle stays as it is.

    @param new: make another one if there is one; the certificate for that will be refused.
    @raise UserError: it cannot be made, or the directory has another name's certificate.
    """
    makeDirectory(directory)
    place = BundleDirectory(directory)
    place.check()
    _checkSameName(directory, name)
    with alone(directory):
        octets = None if new else place.read(REQUEST_KEY)
        if octets is not None:
            key = _keyOf(octets, directory / REQUEST_KEY)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise UserError(
                    f"{directory / REQUEST_KEY} is not a key of ours: give --new-key to replace"
                    " it"
                )
            # If it is the installed key, the process died before removing it.
            if spki(key.public_key()) != _publicKey(place, "worker.key"):
                return key
        made = makeKey()
        replaceFile(directory / REQUEST_KEY, pemOfKey(made), 0o600)
        return made


def install(
    directory: Path, files: Mapping[str, bytes], role: str = "worker"
) -> Installed:
    """
    Install a bundle; in use for the next connection of a forwarder that runs.

    @param files: the octets of C{ca.crt} and C{worker.crt}; and of C{worker.key}, if the key was
        made by the authority. Without it the certificate must be for a key that is there.
    @param role: C{worker} or C{operator}.
    @raise UserError: the reason why it is refused; the old bundle stays.
    """
    if "worker.key" in files:
        makeDirectory(directory)
    elif not directory.is_dir():
        raise UserError(
            f"there is no {directory}, and no key in the bundle: make the request on this"
            ' machine first, with "decnet-syslog request NAME"'
        )
    place = BundleDirectory(directory)
    place.check()
    try:
        with alone(directory):
            return _install(place, files, role)
    except OSError as error:
        raise UserError(
            f"cannot install the bundle: {error.filename or directory}: {error.strerror};"
            " correct that and run the same command again"
        ) from None


def _install(
    place: BundleDirectory, files: Mapping[str, bytes], role: str
) -> Installed:
    every = {**files, "worker.key": _key(place, files)}
    made = place.stage(every)
    try:
        bundle = _check(place.path, made, role)
        changed = not place.isInstalled(every)
        if changed:
            place.use(made)
    finally:
        if not place.isUsed(made):
            shutil.rmtree(made, ignore_errors=True)
    place.removeOthers()
    _removeRequest(place, spki(bundle.certificate.public_key()))
    return Installed(bundle.certificate, changed)


def _key(place: BundleDirectory, files: Mapping[str, bytes]) -> bytes:
    """
    The private key for a bundle, in PEM.

    @raise UserError: there is none for its certificate.
    """
    if "worker.key" in files:
        return files["worker.key"]
    try:
        leaf = x509.load_pem_x509_certificates(files["worker.crt"])[0]
        wanted = spki(leaf.public_key())
    except Exception:
        raise UserError(
            "worker.crt of the bundle is not a certificate in PEM; copy the bundle again"
        ) from None
    there = []
    for file in (REQUEST_KEY, "worker.key"):
        octets = place.read(file)
        if octets is not None:
            there.append(str(place.path / file))
            if spki(_keyOf(octets, place.path / file).public_key()) == wanted:
                return octets
    if not there:
        raise UserError(
            f"the bundle has no key, and {place.path} has none: make the request on this machine,"
            ' with "decnet-syslog request NAME"'
        )
    raise UserError(
        f"the bundle's certificate is not for the key in {' or '.join(there)}: it answers"
        ' another request; "decnet-syslog request NAME" makes the present one again'
    )


def _check(directory: Path, made: Path, role: str) -> Bundle:
    """Verify a bundle as the master will."""
    try:
        bundle = Bundle.load(made)
    except BundleError as error:
        # The place where it was staged is of no interest.
        raise UserError(
            f"the bundle is refused: {error.path.name} {error.reason}; the installed one stays"
        ) from None
    refused = _REFUSES[role](bundle.certificate)
    if refused is not None:
        raise UserError(f"the bundle is refused: {refused}; the installed one stays")
    _checkSameName(directory, peerName(bundle.certificate))
    return bundle


def _removeRequest(place: BundleDirectory, key: bytes) -> None:
    """Remove the key of a request that was answered."""
    with suppress(UserError):
        if _publicKey(place, REQUEST_KEY) == key:
            (place.path / REQUEST_KEY).unlink(missing_ok=True)
            syncDirectory(place.path)

"""
Install a bundle on a worker, in one step.

The three files of a bundle change together or not at all. A forwarder that starts at any moment
finds either the old bundle or the new one, even if the installation was killed. One rename cannot
replace three files, so each file is a symbolic link that leads through another link::

    worker.key -> .bundle/worker.key
    .bundle    -> .bundle-5e10c3...      a directory with the three files

Invariants after each write, because the process may die right there:

* C{.bundle-...} is complete, checked and on disk before any link leads to it;
* while the plain files of an older installation are replaced by links, the links lead to copies
  of these files: each state is the old bundle;
* the rename of C{.bundle} is the one step from the old bundle to the new one;
* the old directory and the key of the request are removed after that rename is on disk. A
  later run removes what an earlier one left.

A forwarder that reads the files at the very moment of that rename can see both bundles. It refuses
the mixture and reads again.

Set aside: to replace the directory itself (the forwarder's state may be in it); to write three
files one by one (a forwarder that starts in between refuses them, in each order).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
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
from .bundles import BUNDLE_FILES, Bundle, BundleError, readCertificates
from .files import alone, makeDirectory, replaceFile
from .issuers import spki
from .issuing import makeKey, pemOfKey
from .names import NameRefused, peerName, showText
from .parcels import FILE_OCTETS_MAX
from .roles import refuseOperator, refuseWorker

__all__ = ["REQUEST_KEY", "Installed", "install", "requestKey"]

# The key whose certificate was asked for and is not there yet.
REQUEST_KEY = "request.key"

_LINK = ".bundle"
_TARGET = re.compile(r"\.bundle-[0-9a-f]{16}")
_MODES = {"worker.key": 0o600, "worker.crt": 0o644, "ca.crt": 0o644}
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


def _checkDirectory(directory: Path) -> None:
    """Refuse a directory in which every user could put another key."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & stat.S_IWOTH:
        raise UserError(
            f"every user may write in {directory} (mode {mode:04o}): chmod o-w {directory}"
        )


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
            f"{directory} has the certificate of {showText(str(current))}, not of"
            f" {showText(name)}: a running forwarder refuses another name; to change it, remove"
            f" {directory / 'worker.crt'} first"
        )


def _readOwn(directory: Path, file: str) -> bytes | None:
    """
    Read a file of the bundle, or of the request.

    Root may run this where another user owns the directory. So only our own links are followed,
    and a file that the owner of the directory could not read is not read for it.

    @return: C{None} if there is no such file.
    @raise UserError: it is not the directory's own, or others can read a key.
    """
    path = directory / file
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        owner = os.fstat(place).st_uid
        if _isLink(directory, file):
            target = _target(directory)
            if target is None:
                return None
            if not _TARGET.fullmatch(target):
                raise UserError(
                    f"{directory / _LINK} is not a link of ours: remove it, and copy the bundle"
                    " there again"
                )
            inner = os.open(target, flags | os.O_DIRECTORY, dir_fd=place)
            os.close(place)
            place = inner
        descriptor = os.open(file, flags, dir_fd=place)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(
            f"{path} is a symbolic link, and not one of ours: put the file itself there"
        ) from None
    finally:
        os.close(place)
    with os.fdopen(descriptor, "rb") as reader:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not a regular file: remove it")
        if file.endswith(".key") and status.st_mode & 0o077:
            raise UserError(
                f"{path}: others can read this key; chmod 600 {path}, and replace the key if they"
                " may have read it"
            )
        if status.st_uid != owner and not status.st_mode & stat.S_IROTH:
            raise UserError(
                f"{path} does not belong to the owner of {directory}: chown it"
            )
        octets = reader.read(FILE_OCTETS_MAX + 1)
    if len(octets) > FILE_OCTETS_MAX:
        raise UserError(f"{path} is longer than {FILE_OCTETS_MAX} octets: remove it")
    return octets


def _keyOf(octets: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(octets, None)
    except Exception:
        # Mostly a ValueError; with a passphrase a TypeError.
        raise UserError(
            f"{path} is not a private key in PEM without a passphrase: remove it"
        ) from None


def _publicKey(directory: Path, file: str) -> bytes | None:
    """The public key of a private key's file, as L{spki} gives it; C{None} without a file."""
    octets = _readOwn(directory, file)
    if octets is None:
        return None
    return spki(_keyOf(octets, directory / file).public_key())


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
    _checkDirectory(directory)
    _checkSameName(directory, name)
    with alone(directory):
        octets = None if new else _readOwn(directory, REQUEST_KEY)
        if octets is not None:
            key = _keyOf(octets, directory / REQUEST_KEY)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise UserError(
                    f"{directory / REQUEST_KEY} is not a key of ours: give --new-key to replace"
                    " it"
                )
            # If it is the installed key, the process died before it was removed.
            if spki(key.public_key()) != _publicKey(directory, "worker.key"):
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
    _checkDirectory(directory)
    try:
        with alone(directory):
            return _install(directory, files, role)
    except OSError as error:
        raise UserError(
            f"cannot install the bundle: {error.filename or directory}: {error.strerror};"
            " correct that and run the same command again"
        ) from None


def _install(directory: Path, files: Mapping[str, bytes], role: str) -> Installed:
    owner = os.stat(directory)
    every = {**files, "worker.key": _key(directory, files)}
    made = _stage(directory, every, owner)
    try:
        bundle = _check(directory, made, role)
        changed = not _isInstalled(directory, every)
        if changed:
            _adopt(directory, owner)
            _point(directory, _LINK, made.name)
    finally:
        if _target(directory) != made.name:
            shutil.rmtree(made, ignore_errors=True)
    _tidy(directory, spki(bundle.certificate.public_key()))
    return Installed(bundle.certificate, changed)


def _key(directory: Path, files: Mapping[str, bytes]) -> bytes:
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
        octets = _readOwn(directory, file)
        if octets is not None:
            there.append(str(directory / file))
            if spki(_keyOf(octets, directory / file).public_key()) == wanted:
                return octets
    if not there:
        raise UserError(
            f"the bundle has no key, and {directory} has none: make the request on this machine,"
            ' with "decnet-syslog request NAME"'
        )
    raise UserError(
        f"the bundle's certificate is not for the key in {' or '.join(there)}: it answers"
        ' another request; "decnet-syslog request NAME" makes the present one again'
    )


def _stage(directory: Path, files: Mapping[str, bytes], owner: os.stat_result) -> Path:
    """Write files to a directory of their own; on disk when this returns."""
    name = f"{_LINK}-{secrets.token_hex(8)}"
    os.mkdir(directory / name, 0o700)
    # By its descriptor: root may run this in a directory of another user.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    place = os.open(directory / name, flags)
    try:
        for file, octets in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            opened = os.open(file, flags, 0o600, dir_fd=place)
            with os.fdopen(opened, "wb") as writer:
                os.fchmod(writer.fileno(), _MODES[file])
                if os.geteuid() == 0:
                    os.fchown(writer.fileno(), owner.st_uid, owner.st_gid)
                writer.write(octets)
                writer.flush()
                os.fsync(writer.fileno())
        if os.geteuid() == 0:
            os.fchown(place, owner.st_uid, owner.st_gid)
        # Whoever may read the certificates in the directory may read them here.
        os.fchmod(place, stat.S_IMODE(owner.st_mode) & 0o755 | 0o700)
        os.fsync(place)
    finally:
        os.close(place)
    syncDirectory(directory)
    return directory / name


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


def _isInstalled(directory: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the same three files are in place already, with their modes."""
    return all(
        _isLink(directory, file)
        and _readOwn(directory, file) == octets
        and stat.S_IMODE((directory / file).stat().st_mode) == _MODES[file]
        for file, octets in files.items()
    )


def _target(directory: Path) -> str | None:
    try:
        return os.readlink(directory / _LINK)
    except OSError:
        return None


def _isLink(directory: Path, file: str) -> bool:
    try:
        return os.readlink(directory / file) == f"{_LINK}/{file}"
    except OSError:
        return False


def _adopt(directory: Path, owner: os.stat_result) -> None:
    """Replace the plain files of an older installation by links to their copies."""
    plain = [file for file in BUNDLE_FILES if not _isLink(directory, file)]
    found = {file: _readOwn(directory, file) for file in BUNDLE_FILES if plain}
    there = {file: octets for file, octets in found.items() if octets is not None}
    if there:
        _point(directory, _LINK, _stage(directory, there, owner).name)
    for file in plain:
        _point(directory, file, f"{_LINK}/{file}")


def _point(directory: Path, name: str, target: str) -> None:
    """Make a name a symbolic link, atomically; on disk when this returns."""
    beside = directory / f".{name.lstrip('.')}.new"
    beside.unlink(missing_ok=True)
    os.symlink(target, beside)
    if os.geteuid() == 0:
        owner = os.stat(directory)
        os.lchown(beside, owner.st_uid, owner.st_gid)
    os.replace(beside, directory / name)
    syncDirectory(directory)


def _tidy(directory: Path, key: bytes) -> None:
    """Remove the keys and bundles that are not in use any more."""
    current = _target(directory)
    for path in directory.glob(f"{_LINK}-*"):
        if path.name != current and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
    with suppress(UserError):
        if _publicKey(directory, REQUEST_KEY) == key:
            (directory / REQUEST_KEY).unlink(missing_ok=True)
            syncDirectory(directory)

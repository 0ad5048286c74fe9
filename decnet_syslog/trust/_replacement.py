"""
Replace a CA, in repeatable steps.

During the replacement there are two CAs. The new one signs certificates. The old one, in
C{previous/}, only signs its revocation list. The master trusts both, and so does each worker with
a new bundle. At the end both ends trust only the new CA.

Invariants after each write, because the process may die right there:

* the master already trusts the CA of the key that signs certificates;
* the old key is in C{previous/} before C{ca.key} is overwritten;
* running the same command again continues: the files themselves show the progress.

The master's certificate is replaced last, after each worker has a bundle with the new CA. Key and
certificate are two files. A running listener waits until they match. A listener that starts between
the two writes reports the mismatch; running C{ca replace --finish} again repairs it.

Set aside: replacing C{master/} by renaming directories (two renames are not better than two
writes); keeping the master's key (a stolen key may be the reason for the replacement).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..durable import syncDirectory
from ..errors import UserError
from ._authority import PREVIOUS, Authority
from ._bundles import readCertificates, readKey
from ._files import alone, makeDirectory, replaceFile
from ._issuers import isSigned, keyId, keyIds, spki
from ._issuing import Signer, makeAuthority, pemOfKey
from ._signers import readSigner

__all__ = [
    "Progress",
    "beginReplacement",
    "finishReplacement",
    "giveBundles",
    "replacementProgress",
]

# The new CA is prepared here.
NEXT = "next"

# How many names an error message lists.
SHOWN_MAX = 8


@dataclass(frozen=True)
class Progress:
    """
    The holders of valid certificates, as (name, role).

    @ivar old: holders with a certificate from the old CA only.
    @ivar new: holders with a certificate from the new CA.
    """

    old: tuple[tuple[str, str], ...]
    new: tuple[tuple[str, str], ...]


def _write(directory: Path, file: str, octets: bytes, mode: int = 0o644) -> None:
    path = directory / file
    try:
        same = path.read_bytes() == octets
    except OSError:
        same = False
    if not same:
        replaceFile(path, octets, mode)


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join([one.public_bytes(Encoding.PEM) for one in certificates])


def _trust(directory: Path, first: x509.Certificate) -> None:
    """Add a CA to C{ca.crt}."""
    there = readCertificates(directory / "ca.crt")
    if keyId(first) not in keyIds(there):
        _write(directory, "ca.crt", _pem([first, *there]))


def _distrust(directory: Path, key: str) -> None:
    """Remove a CA from C{ca.crt}."""
    there = readCertificates(directory / "ca.crt")
    kept = [one for one in there if keyIds([one]) != [key]]
    _write(directory, "ca.crt", _pem(kept))


def _store(directory: Path, signer: Signer) -> None:
    """Store a CA. The key is written last and marks it complete."""
    makeDirectory(directory)
    if os.geteuid() == 0:
        owner = directory.parent.stat()
        os.chown(directory, owner.st_uid, owner.st_gid)
    _write(directory, "ca.crt", _pem([signer.certificate]))
    _write(directory, "ca.key", pemOfKey(signer.key), 0o600)
    syncDirectory(directory.parent)


def _made(directory: Path) -> Signer:
    """The new CA: made by an earlier attempt, or now."""
    if (directory / "ca.key").exists():
        return readSigner(directory)
    # A distinct name, for people and for programs that look up a CA by its name.
    made = makeAuthority("DECNET CA", unique=True)
    _store(directory, made)
    return made


def beginReplacement(directory: Path) -> Authority:
    """
    Make the new CA sign certificates, unless it already does.

    @return: the new CA; its C{previous} is the old one.
    @raise UserError: there is no CA, or one of its files is unusable.
    """
    Authority.open(directory)
    with alone(directory):
        # Opened under the lock: the same command may run twice at once.
        authority = Authority.open(directory)
        # Checked before anything changes.
        authority.good()
        if authority.previous is None:
            old, new = authority.signers()[0], _made(directory / NEXT)
            for end in (directory / "master", directory):
                if (end / "ca.crt").exists():
                    _trust(end, new.certificate)
            _store(directory / PREVIOUS, old)
            authority.label()
            _write(directory, "ca.key", pemOfKey(new.key), 0o600)
            authority = Authority.open(directory)
        shutil.rmtree(directory / NEXT, ignore_errors=True)
        authority.beginList()
    return authority


def replacementProgress(authority: Authority) -> Progress:
    """Which holders already have a certificate from the new CA."""
    new: set[tuple[str, str]] = set()
    old: set[tuple[str, str]] = set()
    current = keyId(authority.certificate)
    for entry in authority.good():
        if entry["role"] != "master":
            who = (entry["name"], entry["role"])
            (new if entry["authority"] == current else old).add(who)
    return Progress(tuple(sorted(old - new)), tuple(sorted(new)))


def giveBundles(authority: Authority, out: Path) -> list[Path]:
    """
    Make a bundle from the new CA for each holder without one, in a directory of that name.

    @return: the directories. Existing files are never overwritten.
    """
    made = []
    for name, role in replacementProgress(authority).old:
        authority.enroll(name, out / name, role=role)
        made.append(out / name)
    return made


def finishReplacement(directory: Path) -> list[str]:
    """
    Trust only the new CA.

    @return: the steps taken, in words.
    @raise UserError: no replacement is under way, or a holder has no new certificate yet.
    """
    Authority.open(directory)
    with alone(directory):
        return _finish(Authority.open(directory))


def _finish(authority: Authority) -> list[str]:
    directory, previous = authority.directory, authority.previous
    if previous is None:
        raise UserError(
            f"no replacement of the CA in {directory} is under way: begin one with"
            ' "decnet-syslog ca replace"'
        )
    left = [name for name, _ in replacementProgress(authority).old]
    if left:
        shown = ", ".join(left[:SHOWN_MAX]) + (", ..." if left[SHOWN_MAX:] else "")
        raise UserError(
            f"these have no certificate from the new CA yet: {shown}. Give them one"
            ' ("decnet-syslog ca replace --out DIR"), or revoke their old certificates'
        )
    authority.beginList()
    done = []
    master = directory / "master"
    if (master / "worker.crt").exists():
        if _renewMaster(authority, previous, master):
            done.append(
                f"made a certificate from the new CA for the master, in {master}"
            )
        _distrust(master, keyId(previous.certificate))
    # The old CA's list stays in crl.pem and is ignored: a listener that reads the files between
    # these writes misses no list.
    _distrust(directory, keyId(previous.certificate))
    done.append("the old CA is no longer trusted here")
    kept = directory / f"retired-{keyId(previous.certificate)[:8]}"
    os.replace(directory / PREVIOUS, kept)
    syncDirectory(directory)
    done.append(f"its key is kept, unused, in {kept}: you can remove it")
    return done


def _renewMaster(authority: Authority, previous: Signer, master: Path) -> bool:
    """
    Replace a master's certificate from the old CA by one from the new CA, with the same names.

    A key that does not match its certificate shows that an earlier attempt died in between.

    @return: whether it was replaced.
    """
    certificate = readCertificates(master / "worker.crt")[0]
    key = readKey(master / "worker.key")
    fits = spki(key.public_key()) == spki(certificate.public_key())
    if fits and not isSigned(certificate, previous.certificate):
        return False
    made = authority.masterCertificate(certificate)
    _write(master, "worker.key", made[0], 0o600)
    _write(master, "worker.crt", made[1])
    return True

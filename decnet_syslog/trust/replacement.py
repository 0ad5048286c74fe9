"""
Replacing a CA, in steps that can be repeated.

While it goes on there are two: the new one, which signs from now on, and the one before, in
C{previous/}, which signs no more than its list of what is revoked. The master trusts both, and
so does every worker that is given a new bundle; in the end both trust the new one only.

What must be true after each write, because the next one may never come:

* a certificate is signed by a key whose CA the master trusts already;
* no key is lost before it is of no use: the old one is in C{previous/} before C{ca.key} is
  another's;
* the same command again goes on where it was: what is done is seen in the files themselves.

The master's own certificate is replaced at the end, when every worker has been given a bundle
that knows the new CA. Its key and its certificate are two files. A listener that runs looks
until they fit together; one that is started between the two writes says that they do not, and
C{ca replace --finish} again mends it.

Set aside: to change C{master/} by renaming directories (two renames are no better than two
writes, and whoever watches the files would see none); to keep the master's key (it may be the
reason for it all).
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
from .authority import PREVIOUS, Authority, readSigner
from .bundles import readCertificates, readKey
from .files import makeDirectory, replaceFile
from .issuers import isSigned, keyId, keyIds, spki
from .issuing import Signer, makeAuthority, pemOfKey

__all__ = ["Progress", "begin", "finish", "giveBundles", "progress"]

# Where the new CA is made, before it is the one.
NEXT = "next"

# Names that an error shows.
SHOWN_MAX = 8


@dataclass(frozen=True)
class Progress:
    """
    Who of those that may send, or look at the status, has what.

    @ivar old: name and role of who has a certificate of the previous CA, and none of the new.
    @ivar new: of who has one of the new.
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
    """Have a CA be in C{ca.crt}."""
    there = readCertificates(directory / "ca.crt")
    if keyId(first) not in keyIds(there):
        _write(directory, "ca.crt", _pem([first, *there]))


def _distrust(directory: Path, key: str) -> None:
    """Have a CA not be in C{ca.crt}."""
    there = readCertificates(directory / "ca.crt")
    kept = [one for one in there if keyIds([one]) != [key]]
    _write(directory, "ca.crt", _pem(kept))


def _store(directory: Path, signer: Signer) -> None:
    """Keep a CA, the key last: it is what shows that all is there."""
    makeDirectory(directory)
    if os.geteuid() == 0:
        owner = directory.parent.stat()
        os.chown(directory, owner.st_uid, owner.st_gid)
    _write(directory, "ca.crt", _pem([signer.certificate]))
    _write(directory, "ca.key", pemOfKey(signer.key), 0o600)
    syncDirectory(directory.parent)


def _made(directory: Path) -> Signer:
    """The new CA: the one that was made when this was tried before, or another."""
    if (directory / "ca.key").exists():
        return readSigner(directory)
    # People, and programs that look for a CA by its name, tell the two apart.
    made = makeAuthority("DECNET CA", unique=True)
    _store(directory, made)
    return made


def begin(directory: Path) -> Authority:
    """
    Make the new CA the one that signs, or see that it is.

    @return: the new one; its C{previous} is the old one.
    @raise UserError: there is no CA, or a file of it cannot be used.
    """
    authority = Authority.open(directory)
    with authority.alone():
        if authority.previous is None:
            old, new = authority.signers()[0], _made(directory / NEXT)
            for end in (directory / "master", directory):
                if (end / "ca.crt").exists():
                    _trust(end, new.certificate)
            _store(directory / PREVIOUS, old)
            authority.label()
            _write(directory, "ca.key", pemOfKey(new.key), 0o600)
        shutil.rmtree(directory / NEXT, ignore_errors=True)
    authority = Authority.open(directory)
    authority.beginList()
    return authority


def progress(authority: Authority) -> Progress:
    """Who has what, by the list of what was made here and what of it is revoked."""
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
    Make a bundle of the new CA for each who has none, in a directory of its name.

    @return: these. What was there before is left as it is.
    """
    made = []
    for name, role in progress(authority).old:
        authority.enroll(name, out / name, role=role)
        made.append(out / name)
    return made


def finish(directory: Path) -> list[str]:
    """
    Trust the new CA only.

    @return: what was done, in words.
    @raise UserError: no replacement is under way, or somebody would be left behind.
    """
    authority = Authority.open(directory)
    previous = authority.previous
    if previous is None:
        raise UserError(
            f'no replacement of the CA in {directory} is under way: "decnet-syslog ca'
            ' replace" begins one'
        )
    left = [name for name, _ in progress(authority).old]
    if left:
        shown = ", ".join(left[:SHOWN_MAX]) + (", ..." if left[SHOWN_MAX:] else "")
        raise UserError(
            f"{shown}: no certificate of the new CA yet; give them bundles"
            ' ("decnet-syslog ca replace --out DIR"), and revoke who is not to send any more'
        )
    authority.beginList()
    done = []
    master = directory / "master"
    if (master / "worker.crt").exists():
        if _renewMaster(authority, previous, master):
            done.append(f"made the master a certificate of the new CA, in {master}")
        _distrust(master, keyId(previous.certificate))
    with authority.alone():
        # Its list stays in crl.pem, where it is passed over: who looks at the files in the middle
        # of this misses none.
        _distrust(directory, keyId(previous.certificate))
    done.append("the old CA is not trusted any more here")
    kept = directory / f"retired-{keyId(previous.certificate)[:8]}"
    os.replace(directory / PREVIOUS, kept)
    syncDirectory(directory)
    done.append(f"its key is kept in {kept}; nothing needs it: remove it when you like")
    return done


def _renewMaster(authority: Authority, previous: Signer, master: Path) -> bool:
    """
    Give the master a certificate of the new CA, with the names of the one it has.

    @return: whether it had one of the old CA, or a key that is not its certificate's: then this
        has died in the middle before.
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

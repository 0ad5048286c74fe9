"""
The allow-list: which workers may send, among those with a certificate from the CA.

It is a text file with a line for each worker: a name, a fingerprint, or both; C{#} begins a
comment. These are the policies of RFC 5425 section 5, subject-name match and fingerprint match; a
line with both requires both. Names are compared exactly: there are no wildcards, and case matters.

Example::

    # name        fingerprint
    decky-01
    decky-02      sha-256:5E:10:...:9A
    sha-256:0C:77:...:31
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._files import readBounded
from ._names import NameRefused, checkName, fingerprint, peerName

__all__ = ["AllowList", "readAllowList"]

# A hundred thousand workers; a longer file is not an allow-list.
FILE_OCTETS_MAX = 16 * 1024 * 1024

_FINGERPRINT = re.compile(r"sha-256(:[0-9A-F]{2}){32}")


@dataclass(frozen=True)
class AllowList:
    """
    The workers that may send.

    @ivar entries: (name or C{None}, fingerprint or C{None}), never both C{None}.
    """

    entries: frozenset[tuple[str | None, str | None]]

    def allows(self, certificate: x509.Certificate) -> bool:
        """Whether an entry matches a certificate."""
        return self.allowsNamed(peerName(certificate), fingerprint(certificate))

    def allowsNamed(self, name: str, print_: str) -> bool:
        """Whether an entry matches a certificate with this name and this fingerprint."""
        fitting = {(name, None), (None, print_), (name, print_)}
        return not fitting.isdisjoint(self.entries)

    @property
    def names(self) -> frozenset[str]:
        """The names in the list."""
        return frozenset([name for name, _ in self.entries if name is not None])


def _entry(words: list[str]) -> tuple[str | None, str | None]:
    name = print_ = None
    for word in words:
        if word.lower().startswith("sha-256:"):
            if print_ is not None or not _FINGERPRINT.fullmatch(
                f"sha-256{word[7:].upper()}"
            ):
                raise UserError(f"{escapeUntrusted(word)} is not a SHA-256 fingerprint")
            print_ = f"sha-256{word[7:].upper()}"
        elif name is not None:
            raise UserError("a line contains a name, a fingerprint, or both")
        else:
            try:
                checkName(word)
            except NameRefused as error:
                raise UserError(str(error)) from None
            name = word
    return name, print_


def readAllowList(path: Path) -> AllowList:
    """
    Read the file.

    @raise UserError: a line is wrong, so the whole file is refused; the message names the line.
    """
    octets = readBounded(path, FILE_OCTETS_MAX)
    if octets is None:
        raise UserError(f"it cannot be read: {os.strerror(errno.ENOENT)}")
    entries = set()
    for number, line in enumerate(octets.decode("utf-8", "replace").split("\n"), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                entries.add(_entry(words))
            except UserError as error:
                raise UserError(f"line {number}: {error}") from None
    return AllowList(frozenset(entries))

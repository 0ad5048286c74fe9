"""
The allow-list: of the certificates that the CA has signed, those that may send.

A text file, a line for each: a name, a fingerprint, or both; C{#} begins a comment. These
are the policies of RFC 5425 section 5: subject-name match, fingerprint match; a line
with both wants both. Names are compared as they are: no wildcards, no case.

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
from .files import readBounded
from .names import NameRefused, checkName, fingerprint, peerName, showText

__all__ = ["AllowList", "readAllowList"]

# A hundred thousand workers; a file that is longer is something else.
FILE_OCTETS_MAX = 16 * 1024 * 1024

_FINGERPRINT = re.compile(r"sha-256(:[0-9A-F]{2}){32}")


@dataclass(frozen=True)
class AllowList:
    """
    Who may send.

    @ivar entries: (name or C{None}, fingerprint or C{None}), never both C{None}.
    """

    entries: frozenset[tuple[str | None, str | None]]

    def allows(self, certificate: x509.Certificate) -> bool:
        """Whether an entry fits a certificate."""
        return self.allowsNamed(peerName(certificate), fingerprint(certificate))

    def allowsNamed(self, name: str, print_: str) -> bool:
        """The same, of a certificate with a name and a fingerprint."""
        fitting = {(name, None), (None, print_), (name, print_)}
        return not fitting.isdisjoint(self.entries)

    @property
    def names(self) -> frozenset[str]:
        """Those that are named."""
        return frozenset([name for name, _ in self.entries if name is not None])


def _entry(words: list[str]) -> tuple[str | None, str | None]:
    name = print_ = None
    for word in words:
        if word.lower().startswith("sha-256:"):
            if print_ is not None or not _FINGERPRINT.fullmatch(
                f"sha-256{word[7:].upper()}"
            ):
                raise UserError(f"{showText(word)} is no fingerprint of SHA-256")
            print_ = f"sha-256{word[7:].upper()}"
        elif name is not None:
            raise UserError("a line has a name, a fingerprint, or both")
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

    @raise UserError: with the line that is wrong: all of it is refused then.
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

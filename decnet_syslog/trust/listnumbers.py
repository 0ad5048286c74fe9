"""
The numbers of the revocation lists that a CA has made.

A list that is made after its predecessor was lost leaves out what that one had revoked, and
masters refuse it: it is older than the list in force. So the CA remembers the number of its last
list beside the lists, and makes no new one from a list that is missing or older.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import UserError
from .files import replaceFile

__all__ = ["NUMBERS_FILE", "ListNumbers"]

NUMBERS_FILE = "crl.numbers"


class ListNumbers:
    """
    The number of the last list of each key, in a file of the CA's directory.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NUMBERS_FILE

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text("ascii"))
            return {str(key): int(number) for key, number in found.items()}
        except FileNotFoundError:
            # A CA of an older version, or one that has revoked nothing.
            return {}
        except (ValueError, AttributeError, TypeError):
            raise UserError(
                f"{self._path} is damaged: put it back from a backup, or delete it if crl.pem is"
                " the newest list that this CA has made"
            ) from None

    def check(self, key: str, number: int) -> None:
        """
        Check that a list is the last one that was made.

        @param key: of the CA.
        @param number: of its list in C{crl.pem}; 0 if it has none there.
        @raise UserError: it is missing, or older.
        """
        last = self._read().get(key, 0)
        if number < last:
            seen = f"has list number {number}" if number else "has no list of this CA"
            raise UserError(
                f"crl.pem {seen}, and number {last} was made: a new list would leave out what"
                " that one revoked, and masters would refuse it. Put the newest crl.pem back:"
                " from a backup, or a master's copy (listener.db.crl beside its journal)"
            )

    def note(self, key: str, number: int) -> None:
        """A list was made."""
        replaceFile(
            self._path,
            json.dumps({**self._read(), key: number}, sort_keys=True).encode("ascii"),
        )

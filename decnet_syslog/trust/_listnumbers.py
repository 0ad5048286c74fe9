"""
The numbers of the revocation lists that a CA has made.

A list made after its predecessor was lost would omit the revocations of that one, and masters would
refuse it, because it is older than the list in force. So the CA stores the number of its last list
with the lists, and makes no new list when C{crl.pem} is missing or older.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import UserError
from ._files import replaceFile

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
            # A CA from an older version, or one that has revoked nothing.
            return {}
        except (ValueError, AttributeError, TypeError):
            raise UserError(
                f"{self._path} is damaged: restore it from a backup, or delete it if crl.pem is"
                " the newest list of this CA"
            ) from None

    def check(self, key: str, number: int) -> None:
        """
        Check that a list is the CA's latest.

        @param key: the L{keyId} of the CA.
        @param number: the number of its list in C{crl.pem}; 0 without one.
        @raise UserError: the latest list is missing, or this one is older.
        """
        last = self._read().get(key, 0)
        if number < last:
            seen = f"has list number {number}" if number else "has no list of this CA"
            raise UserError(
                f"crl.pem {seen}, but number {last} exists: a new list would omit the revocations"
                " of that one, and masters would refuse it. Restore the newest crl.pem from a"
                " backup, or from a master's copy (listener.db.crl beside its journal)"
            )

    def note(self, key: str, number: int) -> None:
        """Store the number of a new list."""
        replaceFile(
            self._path,
            json.dumps({**self._read(), key: number}, sort_keys=True).encode("ascii"),
        )

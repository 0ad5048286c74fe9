"""
Who is expected: the certificates that the authority has issued, read from its list.

The list grows by a line for each certificate. A name is expected while one of its
certificates is neither expired nor revoked; the one that ends last counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from twisted.logger import Logger

from ..trust.names import NameRefused, checkName

__all__ = ["Enrolled", "EnrolledList"]

# A fleet of ten thousand with a few certificates each; a longer list is not one of ours.
LIST_OCTETS_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Enrolled:
    """
    A worker that has a certificate.

    @ivar expires: seconds since the epoch.
    @ivar revoked: whether all its certificates are.
    """

    expires: float
    revoked: bool = False


class EnrolledList:
    """
    The list C{enrolled.jsonl} of an authority.
    """

    _log = Logger()

    def __init__(
        self, path: Path, isRevoked: Callable[[str], bool] = lambda serial: False
    ) -> None:
        """
        @param isRevoked: whether the certificate with a serial number, in hex, is revoked.
        """
        self._path = path
        self._isRevoked = isRevoked
        self._seen: object = None
        self._found: list[tuple[str, float, str]] = []
        self._said = False

    def read(self) -> Mapping[str, Enrolled]:
        """Who is expected now. Empty if there is no list: another program's authority."""
        self._readAgain()
        enrolled: dict[str, Enrolled] = {}
        for name, expires, serial in self._found:
            one = Enrolled(expires, self._isRevoked(serial))
            before = enrolled.get(name)
            if before is None or (one.revoked, -one.expires) <= (
                before.revoked,
                -before.expires,
            ):
                enrolled[name] = one
        return enrolled

    def _readAgain(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen == self._seen:
                return
            with open(self._path, "rb") as file:
                lines = file.read(LIST_OCTETS_MAX).splitlines()
        except FileNotFoundError:
            self._found, self._seen = [], None
            return
        except OSError as error:
            if not self._said:
                self._said = True
                self._log.warn(
                    "cannot read {path}: {reason}; who is missing cannot be told",
                    path=str(self._path),
                    reason=error.strerror,
                )
            return
        self._seen = seen
        self._said = False
        self._found = [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: bytes) -> tuple[str, float, str] | None:
    """Name, end and serial of a worker's line; C{None}: it is none, or is not complete."""
    try:
        entry = json.loads(line)
        if entry["role"] != "worker":
            return None
        name, serial = str(entry["name"]), str(entry["serial"])
        checkName(name)
        expires = datetime.strptime(entry["not_after"], "%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, KeyError, TypeError, NameRefused):
        return None
    return name, expires.replace(tzinfo=timezone.utc).timestamp(), serial

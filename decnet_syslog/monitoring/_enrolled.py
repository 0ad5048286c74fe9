"""
The expected workers: those with a certificate in the authority's list, and those on the
allow-list.

The authority's list grows by a line for each certificate. A name is expected while one of its
certificates is neither revoked nor missing from the allow-list, and its CA is trusted; among such
certificates the one that expires last counts. A worker with an expired certificate is still
expected: an operator must learn that it cannot connect. Without the list, because another program
is the authority, the names on the allow-list are expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from twisted.logger import Logger

from ..trust import NameRefused, checkName

__all__ = ["Enrolled", "EnrolledList", "Standing"]

# A fleet of ten thousand with a few certificates each; a larger file is not our list.
LIST_OCTETS_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Enrolled:
    """
    A worker that is known in advance.

    @ivar expires: seconds since the epoch; C{None}: its certificate is unknown.
    @ivar revoked: whether none of its certificates is accepted.
    """

    expires: float | None
    revoked: bool = False


class Standing(Protocol):
    """Which certificates of the authority are accepted now."""

    @property
    def standing(self) -> object: ...

    @property
    def allowedNames(self) -> Iterable[str]: ...

    def excludes(self, name: str, print_: str, serial: int, key: str = "") -> bool: ...


class EnrolledList:
    """
    The authority's list C{enrolled.jsonl}, and which of its workers are accepted.
    """

    _log = Logger()

    def __init__(self, path: Path, admission: Standing) -> None:
        self._path = path
        self._admission = admission
        self._seen: object = None
        self._judged: object = None
        self._found: list[tuple[str, str, int, float, str]] = []
        self._enrolled: dict[str, Enrolled] = {}
        self._said = False

    def read(self) -> Mapping[str, Enrolled]:
        """
        All enrolled workers, revoked ones included. Empty: there is neither a list nor an
        allow-list.

        Called often, so it computes again only after a change.
        """
        self._readAgain()
        basis = (self._seen, self._admission.standing)
        if basis != self._judged:
            self._judged = basis
            self._enrolled = self._judge()
        return self._enrolled

    def _judge(self) -> dict[str, Enrolled]:
        enrolled = {name: Enrolled(None) for name in self._admission.allowedNames}
        for name, print_, serial, expires, key in self._found:
            excluded = self._admission.excludes(name, print_, serial, key)
            one = Enrolled(expires, excluded)
            before = enrolled.get(name)
            if before is None or _counts(one) >= _counts(before):
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
                    "cannot read the list of enrolled workers {path!r}: {reason}. Until then, a"
                    " worker that never connects may not be missed: check its permissions",
                    path=str(self._path),
                    reason=error.strerror,
                )
            return
        self._seen = seen
        self._said = False
        self._found = [entry for line in lines if (entry := _entry(line)) is not None]


def _counts(one: Enrolled) -> tuple[bool, bool, float]:
    """A sort key: of two certificates with the same name, the one with the greater key counts."""
    return one.expires is not None, not one.revoked, one.expires or 0.0


def _entry(line: bytes) -> tuple[str, str, int, float, str] | None:
    """
    The name, fingerprint, serial, end and, if given, the CA's key of a worker's line.

    @return: C{None}: the line is not a worker's, or is incomplete.
    """
    try:
        entry = json.loads(line)
        if entry["role"] != "worker":
            return None
        name, serial = str(entry["name"]), int(entry["serial"], 16)
        checkName(name)
        expires = datetime.strptime(entry["not_after"], "%Y-%m-%dT%H:%M:%SZ")
        print_ = str(entry["fingerprint"])
        key = str(entry.get("authority", ""))
    except (ValueError, KeyError, TypeError, NameRefused):
        return None
    end = expires.replace(tzinfo=timezone.utc).timestamp()
    return name, print_, serial, end, key

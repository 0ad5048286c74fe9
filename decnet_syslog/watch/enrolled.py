"""
Who is expected: the certificates that the authority has issued, read from its list, and
who is on the allow-list.

The authority's list grows by a line for each certificate. A name is expected while one of
its certificates is neither revoked nor left out of the allow-list, and its CA is trusted; of
these the one that ends last counts. An expired one is expected still: that it cannot connect is
what an operator must hear. Without the authority's list, of another program's authority, those
that the allow-list names are expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from twisted.logger import Logger

from ..trust.names import NameRefused, checkName

__all__ = ["Enrolled", "EnrolledList", "Standing"]

# A fleet of ten thousand with a few certificates each; a longer list is not one of ours.
LIST_OCTETS_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Enrolled:
    """
    A worker that is known beforehand.

    @ivar expires: seconds since the epoch; C{None}: its certificate is not known.
    @ivar revoked: whether none of its certificates is accepted.
    """

    expires: float | None
    revoked: bool = False


class Standing(Protocol):
    """Which of the authority's certificates are accepted now."""

    @property
    def standing(self) -> object: ...

    @property
    def allowedNames(self) -> Iterable[str]: ...

    def excludes(self, name: str, print_: str, serial: int, key: str = "") -> bool: ...


class EnrolledList:
    """
    The list C{enrolled.jsonl} of an authority, and who of it is accepted.
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
        Who is expected now, and who is not any more. Empty: nobody has said.

        It is asked for often; what has not changed is not worked out again.
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
                    "cannot read {path!r}: {reason}; who is missing cannot be told",
                    path=str(self._path),
                    reason=error.strerror,
                )
            return
        self._seen = seen
        self._said = False
        self._found = [entry for line in lines if (entry := _entry(line)) is not None]


def _counts(one: Enrolled) -> tuple[bool, bool, float]:
    """Of two certificates of a name the one for which this is more counts."""
    return one.expires is not None, not one.revoked, one.expires or 0.0


def _entry(line: bytes) -> tuple[str, str, int, float, str] | None:
    """
    Name, fingerprint, serial, end, and the CA's key, if it says, of a worker's line.

    @return: C{None}: it is none, or is not complete.
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

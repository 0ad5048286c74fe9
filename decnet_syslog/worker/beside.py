"""
What is beside a log file: the names that rotation may have made of it.

Rotation is looked for in the whole directory. With a thousand logs in one, each would read it
a thousand times as often as it changes: L{Directories} reads it once for all of them.
"""

from __future__ import annotations

import os
import re
import stat
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .rotation import ROTATED, SEALED

__all__ = ["Beside", "Directories", "oldestFirst", "siblings"]

# How long after a change a directory's time may still be that of the next one: file systems
# count in ticks, and take the time of the last.
DIRECTORY_TICK_NS = 50_000_000

# A directory is read again after so long, in seconds, whatever its time: tools can set it back,
# and some file systems count in seconds.
FRESH_S = 4.0

_NUMBER = re.compile(r"[.-]([0-9]{1,5})(?:\.[a-z0-9]+)?\Z")


@dataclass(frozen=True, slots=True)
class Beside:
    """
    What rotation may have made of a file, when its directory was read.

    @ivar changed: when the directory had changed last before that, in nanoseconds.
    @ivar recent: whether that was so shortly before that another change could show the same
        time.
    @ivar paths: those that can be read, in no order.
    @ivar sealed: what is compressed in a way that we cannot unpack.
    """

    changed: int
    recent: bool
    paths: Sequence[str]
    sealed: Sequence[str]


@dataclass(slots=True)
class _Listing:
    """The names of a directory, sorted; when it was read, and C{look} the one it was read in."""

    changed: int
    recent: bool
    look: int | None
    at: float
    names: list[str]


class Directories:
    """
    Directories that are read again when they have changed.

    What has happened since is seen by the next look, as long as C{changed} is compared with
    what it was then. Who must know what is there now asks L{siblings}.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listings: dict[str, _Listing] = {}
        self._looks = 0
        self._look: int | None = None

    @contextmanager
    def oneLook(self) -> Iterator[None]:
        """Read each directory once at most until the end of this."""
        self._looks += 1
        self._look = self._looks
        try:
            yield
        finally:
            self._look = None

    def beside(self, path: str) -> Beside:
        """
        What is beside a path.

        @raise OSError: the directory cannot be read.
        """
        directory, base = os.path.split(path)
        listing = self._listing(directory)
        names = listing.names
        found: list[str] = []
        sealed: list[str] = []
        for index in range(bisect_left(names, base), len(names)):
            name = names[index]
            if not name.startswith(base):
                break
            if ROTATED.match(name, len(base)):
                where = os.path.join(directory, name)
                (sealed if name.endswith(SEALED) else found).append(where)
        return Beside(listing.changed, listing.recent, found, sealed)

    def _listing(self, directory: str) -> _Listing:
        before = self._listings.get(directory)
        if before is not None and before.look is not None and before.look == self._look:
            return before
        # Before it is read: what changes meanwhile shows another time.
        changed = os.stat(directory or ".").st_mtime_ns
        now = self._clock()
        if (
            before is not None
            and not before.recent
            and before.changed == changed
            and now - before.at < FRESH_S
        ):
            before.look = self._look
            return before
        recent = time.time_ns() - changed < DIRECTORY_TICK_NS
        names = sorted(os.listdir(directory or "."))
        listing = _Listing(changed, recent, self._look, now, names)
        self._listings[directory] = listing
        return listing


def siblings(path: str, sealed: bool = False) -> list[str]:
    """
    What rotation may have made of a file by now, the oldest first.

    @param sealed: instead, what is compressed in a way that we cannot unpack.
    @raise OSError: the directory cannot be read.
    """
    try:
        now = Directories().beside(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return oldestFirst(now.sealed if sealed else now.paths)


def oldestFirst(paths: Iterable[str]) -> list[str]:
    """Those of some paths that are regular files, the oldest first."""
    found = []
    for path in paths:
        try:
            status = os.stat(path, follow_symlinks=False)
        except OSError:
            # Renamed or deleted since: the next look sees it.
            continue
        if stat.S_ISREG(status.st_mode):
            number = _NUMBER.search(path)
            # The number decides where the time does not: .2 is older than .1.
            age = -int(number[1]) if number else 0
            found.append((status.st_mtime_ns, age, os.path.basename(path), path))
    return [path for *_, path in sorted(found)]

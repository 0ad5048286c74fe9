"""
The search for an output's file that is not under its name any more.

Other programs rotate our files: they rename them, copy them, compress them, and move them to
other directories, also while no listener runs. That file then holds the last lines that a
killed listener wrote and did not count. They must not be written again.

Requirement: a name never proves that octets were written. A L{Copy} must hold the octets
before the counted end (the anchor) in the same place. After that, an octet counts only when
it equals the octet that the output would write next. A worker can choose lines that fill a
file of ours, so the beginning of a file proves nothing.
"""

from __future__ import annotations

from dataclasses import replace

from ..durable import StorageFailed
from ..journal import FileLength
from ._copies import ANCHOR_OCTETS, Copy, common, wholeLines
from ._interfaces import Events
from ._nearby import findCopies

__all__ = ["EarlierFile"]


# The clock of a remote file system may be this much behind ours, in seconds. The kernel's
# own file times are some milliseconds behind.
CLOCKS_DIFFER_S = 2.0


class EarlierFile:
    """
    The file that the cursor names, while it may hold octets that come again.

    @ivar counted: the file as the cursor has it; then, as far as it was compared.
    @ivar unlike: the chosen copy and the offset where it goes on with octets that the output
        would not write; C{None} if it does not.
    """

    def __init__(
        self,
        path: str,
        counted: FileLength,
        events: Events,
        former: str | None = None,
    ) -> None:
        """
        Search for the file and its copies.

        @param former: the path that the file had, if that is not C{path}.
        """
        self.counted = counted
        self.unlike: tuple[str, int] | None = None
        self._path = path
        self._events = events
        self._copies = findCopies(path, counted, former=former)
        # Whether one copy was chosen; the others are closed then.
        self._isProved = False
        self._compared = b""

    def compare(self, octets: bytes, since: float) -> int | None:
        """
        Compare the octets that come next with the file.

        @param since: the time when the first octet was received: a copy is not older.
        @return: C{None} if the file holds all of the octets. Otherwise the length of the whole
            lines that it holds: the rest goes to another file, and this object is finished.
        @raise OSError: the file cannot be read.
        @raise StorageFailed: the file cannot be synced.
        """
        best, chosen = self._choose(octets, since)
        unreadable = [(copy.path, copy.why) for copy in self._copies if copy.why]
        for copy in [copy for copy in self._copies if copy is not chosen]:
            copy.close()
            self._copies.remove(copy)
        if chosen is None:
            for where, why in unreadable:
                self._events("output-unreadable", path=self._path, copy=where, why=why)
            return 0
        if not self._isProved:
            self._isProved = True
            self._events("output-followed", path=self._path, copy=chosen.path)
        if best == len(octets):
            self._compared = octets
            return None
        whole = wholeLines(octets, best)
        if not chosen.isEnd(self.counted.length + best):
            self.unlike = chosen.path, self.counted.length + whole
        elif best > whole:
            rest = octets[best : octets.find(b"\n", best) + 1]
            if rest and chosen.complete(rest):
                whole = best + len(rest)
        # This includes octets from earlier calls: they count from now on, too.
        self.sync()
        return whole

    def _choose(self, octets: bytes, since: float) -> tuple[int, Copy | None]:
        """The copy with the longest common prefix, and the length of that."""
        best, chosen = 0, None
        for copy in self._copies:
            if not (self._isProved or copy.holds(self.counted)):
                continue
            count = common(octets, copy.read(self.counted.length, len(octets)))
            if not (
                self._isProved
                or self.counted.anchor
                or self._isEvidence(copy, octets, count, since)
            ):
                continue
            if chosen is None or count > best:
                best, chosen = count, copy
        return best, chosen

    def _isEvidence(self, copy: Copy, octets: bytes, count: int, since: float) -> bool:
        """
        Whether C{count} common octets identify a copy when the cursor has no anchor. An inode
        number alone does not: a new file can have that of a deleted one.
        """
        length = self.counted.length
        if copy.isItself:
            isAtEnd = length + count > 0 and copy.isEnd(length + count)
            return isAtEnd or wholeLines(octets, count) > 0
        isRecent = copy.modified() >= since - CLOCKS_DIFFER_S
        return isRecent and wholeLines(octets, count) > 0

    def advance(self, octets: int, ahead: int) -> None:
        """Move on: the first C{octets} of the last comparison do not come again."""
        counted = self.counted
        anchor = (counted.anchor + self._compared[:octets])[-ANCHOR_OCTETS:]
        self._compared = b""
        self.counted = replace(
            counted, length=counted.length + octets, anchor=anchor, ahead=ahead
        )

    @property
    def isFound(self) -> bool:
        """Whether the search found the file, or a copy."""
        return self._isProved

    def isAtEnd(self) -> bool:
        """Whether the file was found, and every octet was compared."""
        return self._isProved and self._copies[0].isEnd(self.counted.length)

    def sync(self) -> None:
        """
        Bring the file to disk: its octets are not written again.

        @raise StorageFailed: the file may not be on disk.
        """
        for copy in self._copies:
            try:
                copy.sync()
            except OSError as error:
                raise StorageFailed(
                    f"cannot sync {copy.path}, where the output {self._path} was:"
                    f" {error.strerror}"
                ) from error

    def close(self) -> None:
        """Close all files."""
        for copy in self._copies:
            copy.close()
        self._copies = []

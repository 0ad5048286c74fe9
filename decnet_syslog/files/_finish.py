"""
The end of a content: when its file has no writer any more, and what is kept until then.

What must be true:

* a descriptor is kept as long as any process can write to its file. A rotated, moved or deleted
  file is finished when the system reports that no process has it open for writing. Where the
  system cannot report this, the file is finished when it has not grown for long, or for a short
  time after a writer has closed it. Giving up earlier raises an event;
* a file that was deleted before it was delivered is copied next to the state database. Then
  the forwarder closes the deleted file, so that the disk holds its octets once.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from ._contents import Content, ContentKey, Event, Life
from ._objects import identify
from ._open import OpenContent
from ._surroundings import Surroundings

if TYPE_CHECKING:
    from ._follower import FileFollower

__all__ = ["Finisher"]

# A rotated file is finished if it has not grown for this many seconds: if no process has it open
# for writing; if its last line has no LF, or only the close of a writer was seen; otherwise.
QUIET_S = 1.0
QUIET_LINE_S = 10.0
QUIET_UNKNOWN_S = 60.0

# The longest time that a writer may hold a rotated file, in seconds, and the maximum number of
# such files per path.
WRITER_S_MAX = 24 * 3600.0
WRITERS_MAX = 64

# Seconds before the forwarder tries again to keep a deleted file: space on a full disk may have
# been freed.
KEEP_RETRY_S = 30.0

# Maximum number of records of contents without a file, for each path. From these, a journal
# that was restored from a backup gets gap records for the octets that it lost.
GONE_MAX = 64


class Finisher:
    """
    Ends the contents of a path.
    """

    def __init__(self, follower: FileFollower, around: Surroundings) -> None:
        self._follower = follower
        self._around = around
        # For each rotated content: how often it had grown at the last look, and since when.
        self._growth: dict[ContentKey, tuple[int, float]] = {}
        self._keepAt: dict[ContentKey, float] = {}

    def finish(self) -> None:
        """Count the newer octets; keep deleted files; end the contents that are delivered."""
        opened = self._follower.opened
        newer = 0
        for one in reversed(opened):
            one.newerOctets = newer
            newer += one.size - one.position
        for one in list(opened):
            if one is not self._follower.current:
                self._finishOne(one)
        if self._follower.current is not None:
            self._growth.pop(self._follower.current.key, None)

    def _finishOne(self, one: OpenContent) -> None:
        if one.file is not None and one.file.descriptor is not None:
            self._skipDeleted(one)
            self._keep(one)
        if one.isSearching or one.rotatedAt is None:
            return
        one.isFinal = self._isFinal(one)
        if one.isDone and (one.isFinal or one.lostReason is not None):
            self._end(one)

    # Writers

    def _isFinal(self, one: OpenContent) -> bool:
        """Whether a rotated file has no writer any more."""
        if one.lostReason is not None or one.file is None or one.fromArchive:
            return True
        assert one.rotatedAt is not None
        now = self._around.clock()
        grew, since = self._growth.get(one.key, (-1, one.rotatedAt))
        if one.file.grew != grew:
            since = one.rotatedAt if grew < 0 else now
            self._growth[one.key] = (one.file.grew, since)
        quiet = now - since
        if quiet < (QUIET_S if one.position == one.size else QUIET_LINE_S):
            return False
        if self._around.isLivePath(one.content.file, self._follower):
            # The file has another configured path by now: new octets belong to that one.
            return True
        descriptor = one.file.descriptor
        isWritten = None if descriptor is None else self._around.isWritten(descriptor)
        if isWritten is None:
            return quiet >= QUIET_UNKNOWN_S or self._isClosed(one, quiet, since)
        if isWritten:
            return self._isGivenUp(one, now)
        # The file is closed by now. Look once more for octets that a writer appended earlier.
        before = one.file.grew
        one.check()
        return not one.hasChanged and one.file.grew == before

    def _isClosed(self, one: OpenContent, quiet: float, since: float) -> bool:
        """
        Whether a writer has closed a file since it last grew. If a process writes to it later,
        the forwarder notices, because the file has a name.
        """
        if one.home is None or quiet < QUIET_LINE_S:
            return False
        closedAt = self._around.closes.closedAt(one.content.file[:2])
        return closedAt is not None and closedAt >= since

    def _isGivenUp(self, one: OpenContent, now: float) -> bool:
        """Whether to give up a file that a process may still write to."""
        assert one.rotatedAt is not None
        held = [o for o in self._follower.opened if o is not self._follower.current]
        tooMany = len(held) > WRITERS_MAX and one is held[0]
        if not tooMany and now - one.rotatedAt < WRITER_S_MAX:
            return False
        self._around.events(
            "writer-left",
            path=self._follower.path,
            generation=one.content.generation,
            reason="too many rotated files are open for writing"
            if tooMany
            else "it has been open for writing for a day",
        )
        return True

    # Ends

    def _end(self, one: OpenContent) -> None:
        follower, content = self._follower, one.content
        isOnDisk = not one.rescuedOctets and (
            one.home is not None
            or self._around.isLivePath(content.file, self._follower)
        )
        one.happened(Event.DELIVERED)
        if content.label and isOnDisk:
            # An unreadable archive stays on disk; once ended, it is not reported again.
            content.happened(Event.COPY_FOUND)
        if content.life is Life.ENDED and not isOnDisk:
            # Its archive may exist, but be incomplete: search until it can be identified.
            follower.searching[content.key] = self._around.clock()
        follower.opened.remove(one)
        follower.records[content.key] = content
        if content.life is Life.ENDED and one.home is not None:
            follower.endedAt(content.key, one.home)
        self._around.unsaved.ended(content, one.acknowledged)
        one.close()
        for known in (self._growth, self._keepAt):
            known.pop(content.key, None)
        self._forget()

    def _forget(self) -> None:
        """Forget the oldest contents without a file, if there are more than C{GONE_MAX}."""
        records = self._follower.records
        gone = sorted(
            [c for c in records.values() if c.life is Life.GONE],
            key=lambda c: c.generation,
        )
        old: list[Content] = gone[:-GONE_MAX]
        for content in old:
            del records[content.key]
        if old:
            self._around.unsaved.forget([content.key for content in old])

    # Deleted files

    def _isDeleted(self, one: OpenContent) -> bool:
        """Whether the content exists only in a file without a name, or in the kept copy."""
        if one.rescuedOctets or one.fromArchive:
            return one.rescuedOctets > 0 or one.home is None
        return one.home is None and one.file is not None and one.file.links == 0

    def _skipDeleted(self, one: OpenContent) -> None:
        """Do not hold a deleted file that will be skipped when its turn comes."""
        cap = self._around.lagOctetsMax
        if cap is not None and one.newerOctets >= cap and self._isDeleted(one):
            one.content.reason = "lag-cap"
            one.happened(Event.FILE_LOST)
            one.happened(Event.GIVEN_UP)
            one.lose("lag-cap")
            self._around.kept.release(one.key)

    def _isEndangered(self, one: OpenContent) -> bool:
        """Whether unacknowledged octets would be lost if this process died."""
        if max(one.rescuedOctets, one.acknowledged.offset) >= one.size:
            return False
        return one.home is None and self._isDeleted(one)

    def _keep(self, one: OpenContent) -> None:
        """Copy a file that was deleted while it is open."""
        now = self._around.clock()
        if not self._isEndangered(one) or now < self._keepAt.get(one.key, now):
            return
        assert one.file is not None and one.file.descriptor is not None
        kept = self._around.kept
        try:
            # After a restart, the name identifies the copy, and the checksum its octets.
            one.extendProof(max(0, one.size - one.content.proof.end))
            if not one.rescuedOctets:
                one.content.kept = one.acknowledged.offset
            self._around.save(one)
            one.rescuedOctets = kept.keep(
                one.file.descriptor,
                one.key,
                one.content.kept,
                one.rescuedOctets,
                one.content.modified,
            )
            self._useKept(one)
        except (OSError, sqlite3.DatabaseError) as error:
            self._keepAt[one.key] = now + KEEP_RETRY_S
            reason = getattr(error, "strerror", None) or str(error)
            self._around.events("not-kept", path=self._follower.path, reason=reason)

    def _useKept(self, one: OpenContent) -> None:
        """Close the deleted file once its copy is complete: the disk holds it once."""
        assert one.file is not None and one.file.descriptor is not None
        if (
            not one.fromArchive
            and self._around.isWritten(one.file.descriptor) is not False
        ):
            return
        one.check()
        if one.hasChanged or one.size > one.rescuedOctets:
            return
        path = self._around.kept.path(one.key)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        one.use(self._follower.openFile(descriptor, one.content))
        one.content.file, one.content.archived = identify(descriptor), 0
        one.fromArchive = False
        one.home = str(path)
        one.floor = one.content.kept
        one.dirty = True

"""
A content in memory: its record, its file, if it has one, and the condition of that file.

What must be true: the record holds the largest size that was seen, and its proof covers only
octets that are on the worker's disk.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ._contents import AcknowledgedPosition, Content, ContentKey, Event, Life, Proof
from ._objects import NO_FILE
from ._reader import Changed, ContentFile, Vanished

__all__ = ["HeldContent"]


class HeldContent:
    """
    One content that is not delivered yet, or may still grow.

    @ivar content: the record; C{dirty} is set while it is newer than the state database.
    @ivar file: C{None}: it has no file, or the file is opened when it is needed.
    @ivar acknowledged: how far the connected journal has it.
    @ivar position: where the next chunk begins.
    @ivar size: the octets that it is known to have.
    @ivar rotatedAt: when its file lost the path, by the clock.
    @ivar lostReason: the reason of the gap that its rest becomes, or C{None}.
    @ivar home: the path where its file was last seen, unless that is the configured one.
    @ivar fromArchive: whether its file is a nameless one, unpacked from C{home}.
    @ivar isStale: whether a file server has forgotten the open file: it must be reopened.
    @ivar hasChanged: whether its file holds another content.
    @ivar isCopied: whether its file is a copy of the one that was read: a copy may lack the
        last octets.
    @ivar isGrownCopy: whether its file is another one, with more octets than its own had. That
        file may be a copy of some other file that only begins alike.
    @ivar floor: the offset where its file begins to have octets, if that is a kept copy.
    @ivar rescuedOctets: octets of a deleted file that are kept next to the state database.
    @ivar isContinued: whether a grown copy has taken its path and continues as another content.
    """

    def __init__(
        self,
        content: Content,
        file: ContentFile | None,
        position: AcknowledgedPosition | None = None,
        reopen: Callable[[HeldContent], ContentFile | None] | None = None,
    ) -> None:
        """
        @param position: how far it was acknowledged; C{None}: not at all.
        @param reopen: opens the file of an ended content.
        """
        self.content = content
        self.file = file
        self.acknowledged = position or AcknowledgedPosition(
            content.stream, content.generation, content.origin, content.origin
        )
        self.position = self.acknowledged.offset
        self.size = content.seen if file is None else self.position
        self.rotatedAt: float | None = None
        isLost = content.life in (Life.LOST, Life.GONE)
        self.lostReason = (content.reason or "vanished") if isLost else None
        self.home: str | None = None
        self.fromArchive = False
        self.isStale = False
        self.hasChanged = False
        self.isCopied = False
        self.isGrownCopy = False
        self.floor = 0
        self.rescuedOctets = 0
        self.isContinued = False
        self.dirty = False
        self._reopen = reopen
        self._anchor = b""
        # An acknowledged offset, and its anchor.
        self._known = (0, b"")

    def hasOpen(self, object_: tuple[int, int]) -> bool:
        """
        Whether the file that is read is this object. The one on record may be another, where a
        copy was found: that one is not open, so a new file can have its inode number by now.
        """
        file = self.file
        return file is not None and not self.fromArchive and file.object == object_

    def __repr__(self) -> str:
        return (
            f"<OpenContent {self.name} {self.content.stream[:8]}/"
            f"{self.content.generation} {self.content.life.value} at {self.position}>"
        )

    @property
    def key(self) -> ContentKey:
        """Its name for the sender."""
        return self.content.key

    @property
    def name(self) -> str:
        """The configured path."""
        return self.content.name

    @property
    def life(self) -> Life:
        """Its stage of life."""
        return self.content.life

    @property
    def isSearching(self) -> bool:
        """Whether the forwarder searches for a copy."""
        return self.content.life is Life.SEARCHING

    @property
    def isWaiting(self) -> bool:
        """Whether octets are left to read, or may be: newer contents must wait."""
        return self.isSearching or self.position < self.size

    @property
    def isDone(self) -> bool:
        """Whether every octet that was seen is acknowledged."""
        return (
            not self.isSearching
            and self.acknowledged.offset == self.position
            and self.position >= max(self.size, self.content.seen)
        )

    def invariants(self) -> None:
        """Check the invariants of positions and sizes."""
        offset = self.acknowledged.offset
        assert self.acknowledged.base <= offset, self
        assert offset <= self.position <= max(self.size, offset), self
        assert self.size <= max(self.content.seen, offset), self

    def happened(self, event: Event) -> None:
        """Move on to the next stage of life."""
        self.content.happened(event)
        self.dirty = True

    def check(self) -> None:
        """Get the size of the file, and check whether it still holds the content."""
        if self.file is None or self.hasChanged:
            return
        try:
            if 0 < self.content.cut < self.position:
                self.file.check(0, b"")
            else:
                self.file.check(self.position, self._anchor)
        except Changed:
            self.hasChanged = True
            return
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            self.isStale = True
            return
        self.size = max(self.size, self.file.size)
        self._note()

    def _note(self) -> None:
        """Update the record from the file."""
        assert self.file is not None
        content = self.content
        if self.size > content.seen:
            content.seen = self.size
            self.dirty = True
        if self.file.head != content.head:
            content.head = self.file.head
            self.dirty = True
        if not self.fromArchive:
            content.modified = self.file.modified

    def settle(self) -> None:
        """Sync the octets that the record covers. May be called from a thread."""
        if self.file is not None:
            self.file.settle()

    def extendProof(self, octetsMax: int) -> int:
        """
        Sum octets that were seen and not read yet; the sum identifies a copy of a lost file.

        @return: the number of octets that were summed.
        """
        if self.file is None or self.hasChanged:
            return 0
        before = self.content.proof
        try:
            self.content.proof = self.file.extend(before, self.size, octetsMax)
        except Changed:
            self.hasChanged = True
            return 0
        self.dirty = self.dirty or self.content.proof is not before
        return self.content.proof.end - before.end

    def use(self, file: ContentFile) -> None:
        """Continue with another file that was proved to hold the content."""
        self.close()
        self.file = file
        self.hasChanged = False
        self._cutAt(file)
        # The proof covers the octets that were read, so the anchor comes from this file.
        self._known = (0, b"")
        self._anchor = file.anchorAt(self.position)
        self.check()

    def _cutAt(self, file: ContentFile) -> None:
        """Find the seen octets that a file lacks: undelivered ones become a gap."""
        content = self.content
        if file.octets >= content.seen:
            content.cut = 0
            self.size = self.position
            return
        content.cut = file.octets
        self.size = content.seen
        # From now on, the octets of this file identify the content.
        file.size = content.cut
        file.head = content.head = content.head[: content.cut]
        content.proof = file.extend(Proof(), content.cut, content.cut)
        if content.delivered.end > content.cut:
            content.delivered = content.proof
        self.dirty = True

    def lose(self, reason: str) -> None:
        """Give up the file: its unread octets become a gap."""
        self.close()
        self.size = max(self.size, self.content.seen)
        self.content.file = NO_FILE
        self.lostReason = self.content.reason = reason
        self.hasChanged = False
        self.dirty = True

    def giveUp(self, reason: str) -> None:
        """Give up a content whose file lacks delivered octets: no more octets will come."""
        self.happened(Event.FILE_LOST)
        self.happened(Event.GIVEN_UP)
        self.lose(reason)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _opened(self) -> ContentFile | None:
        """The file; that of an ended content is opened when it is needed."""
        if self.file is None and self._reopen is not None and self.lostReason is None:
            file = self._reopen(self)
            if file is not None:
                self.use(file)
        return self.file

    def checksum(self, start: int, end: int, crc: int = 0) -> int:
        """
        The CRC-32 of octets of the content. Blocks; may be called from a thread.

        @raise Vanished: the octets do not exist any more.
        """
        file = self._opened()
        if file is None or self.hasChanged:
            raise Vanished
        return file.checksum(start, end, crc)

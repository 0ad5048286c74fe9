"""
A content that is held: its file, if there is one, and what has become of it.

What must be true: the record knows the largest size that was seen, and its proof covers only
octets that are on the worker's disk.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ._contents import Content, ContentKey, Event, Life, Position, Proof
from ._objects import NO_FILE
from ._reader import Changed, ContentFile, Vanished

__all__ = ["HeldContent"]


class HeldContent:
    """
    One content that is not delivered yet, or may still grow.

    @ivar content: the record; C{dirty} when it is newer than the state database's.
    @ivar file: C{None}: there is none, or it is opened when it is needed.
    @ivar acknowledged: how far the journal that is connected has it.
    @ivar position: where the next chunk begins.
    @ivar size: octets that it is known to have.
    @ivar rotatedAt: on the clock, when its path became another file's.
    @ivar lostReason: of the gap that its rest becomes.
    @ivar home: the path where its file was last seen, if it is not the configured one.
    @ivar fromArchive: its file is a nameless one, unpacked from C{home}.
    @ivar isStale: a file server has forgotten the open file: it must be opened anew.
    @ivar hasChanged: its file holds another content.
    @ivar isCopied: its file is a copy of the one that was read, and may lack the last octets.
    @ivar isGrownCopy: its file is another one, which has more than its own had: that one may
        be the copy of a file that only begins alike.
    @ivar floor: octets before it are not in the file: it is what was kept of a deleted one.
    @ivar rescuedOctets: octets of a deleted file that are kept beside the state.
    @ivar isContinued: a grown copy has taken its path, and goes on as another content.
    """

    def __init__(
        self,
        content: Content,
        file: ContentFile | None,
        position: Position | None = None,
        reopen: Callable[[HeldContent], ContentFile | None] | None = None,
    ) -> None:
        """
        @param position: how far it was acknowledged; C{None}: not at all.
        @param reopen: open the file of a content that had ended.
        """
        self.content = content
        self.file = file
        self.acknowledged = position or Position(
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
        # Where the octets before an acknowledged offset are known, and these.
        self._known = (0, b"")

    def __repr__(self) -> str:
        return (
            f"<OpenContent {self.name} {self.content.stream[:8]}/"
            f"{self.content.generation} {self.content.life.value} at {self.position}>"
        )

    @property
    def key(self) -> ContentKey:
        """How the sender names it."""
        return self.content.key

    @property
    def name(self) -> str:
        """The configured path."""
        return self.content.name

    @property
    def life(self) -> Life:
        """Where it is in its life."""
        return self.content.life

    @property
    def isSearching(self) -> bool:
        """Whether a copy of it is looked for."""
        return self.content.life is Life.SEARCHING

    @property
    def isWaiting(self) -> bool:
        """Whether there are octets left, or may be: what is newer must wait."""
        return self.isSearching or self.position < self.size

    @property
    def isDone(self) -> bool:
        """Whether everything that was seen is acknowledged."""
        return (
            not self.isSearching
            and self.acknowledged.offset == self.position
            and self.position >= max(self.size, self.content.seen)
        )

    def invariants(self) -> None:
        """Check what must be true of the numbers."""
        offset = self.acknowledged.offset
        assert self.acknowledged.base <= offset, self
        assert offset <= self.position <= max(self.size, offset), self
        assert self.size <= max(self.content.seen, offset), self

    def happened(self, event: Event) -> None:
        """Go on in life."""
        self.content.happened(event)
        self.dirty = True

    def look(self) -> None:
        """See how large the file is, and whether it still holds the content."""
        if self.file is None or self.hasChanged:
            return
        try:
            if 0 < self.content.cut < self.position:
                self.file.look(0, b"")
            else:
                self.file.look(self.position, self._anchor)
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
        """Take into the record what was seen."""
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
        """Bring to disk what the record tells of. May be called from a thread."""
        if self.file is not None:
            self.file.settle()

    def extendProof(self, octetsMax: int) -> int:
        """
        Sum what was seen and not read yet: a copy is known by it when the file is gone.

        @return: the octets that it took.
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
        """Go on with another file that was proved to hold the content."""
        self.close()
        self.file = file
        self.hasChanged = False
        self._cutAt(file)
        # It was proved to have what was read: the place in it is known by its own octets.
        self._known = (0, b"")
        self._anchor = file.anchorAt(self.position)
        self.look()

    def _cutAt(self, file: ContentFile) -> None:
        """See whether a file lacks octets that were seen: these are a gap, if not delivered."""
        content = self.content
        if file.octets >= content.seen:
            content.cut = 0
            self.size = self.position
            return
        content.cut = file.octets
        self.size = content.seen
        # From now on the content is recognised by what its file has.
        file.size = content.cut
        file.head = content.head = content.head[: content.cut]
        content.proof = file.extend(Proof(), content.cut, content.cut)
        if content.delivered.end > content.cut:
            content.delivered = content.proof
        self.dirty = True

    def lose(self, reason: str) -> None:
        """Give up: what is not read yet becomes a gap."""
        self.close()
        self.size = max(self.size, self.content.seen)
        self.content.file = NO_FILE
        self.lostReason = self.content.reason = reason
        self.hasChanged = False
        self.dirty = True

    def giveUp(self, reason: str) -> None:
        """The file that holds it lacks octets that were delivered: nothing more comes."""
        self.happened(Event.FILE_LOST)
        self.happened(Event.GIVEN_UP)
        self.lose(reason)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def _opened(self) -> ContentFile | None:
        """The file; of a content that had ended it is opened when it is needed."""
        if self.file is None and self._reopen is not None and self.lostReason is None:
            file = self._reopen(self)
            if file is not None:
                self.use(file)
        return self.file

    def checksum(self, start: int, end: int, crc: int = 0) -> int:
        """
        The CRC-32 of octets of the content. Blocks; may be called from a thread.

        @raise Vanished: they are not there.
        """
        file = self._opened()
        if file is None or self.hasChanged:
            raise Vanished
        return file.checksum(start, end, crc)

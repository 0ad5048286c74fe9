"""
One configured path, through all the contents that it has.

What must be true:

* every octet that was seen under the path is given out by exactly one content, older ones
  before newer ones, or is in a gap that says so;
* which file holds which content is decided by L{decnet_syslog.files._reconcile} alone.

A look at the file system is in two halves. First, what has become of the open files and of the
path: it leads to another file (rotated by name), or its file holds another content (truncated).
Then, what has become of the rotated files: copies of what has lost its file, files nobody knows,
files that are finished. Not in one: what was truncated here, or has another path's name by
now, has its octets in a rotated file, and these come first.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from ._contents import BLOCK_OCTETS, Content, ContentKey, Life
from ._finish import Finisher
from ._matching import Matcher
from ._objects import NO_FILE, FileId
from ._open import OpenContent
from ._pathname import PathName
from ._reader import ContentFile
from ._search import Search
from ._start import Start
from ._surroundings import Surroundings

__all__ = ["FileFollower"]

# Streams begin anew before a generation that the journal's integers could not hold.
GENERATION_MAX = 2**31


class FileFollower:
    """
    One configured path.

    @ivar opened: contents that are not delivered, or may still grow; the oldest first.
    @ivar records: of contents that are not open, by key.
    @ivar current: what has the path.
    @ivar name: what the path leads to.
    @ivar trouble: what could not be read at the last look, or C{None}.
    """

    def __init__(
        self,
        path: str,
        around: Surroundings,
        startOffset: int | None = None,
        follow: bool = True,
    ) -> None:
        """
        @param startOffset: where to begin in a file that is seen for the first time.
        @param follow: whether the path may be a symbolic link.
        """
        self.path = path
        self.opened: list[OpenContent] = []
        self.records: dict[ContentKey, Content] = {}
        self.current: OpenContent | None = None
        self.trouble: str | None = None
        self.stream = uuid4().hex
        self.generation = -1
        self._around = around
        self._clock = around.clock
        self._events = around.events
        self.hasStarted = False
        self._unreadable: str | None = None
        self.name = PathName(self, around, follow)
        # When the search for a copy began, of opened contents and of records.
        self.searching: dict[ContentKey, float] = {}
        self.matcher = Matcher(self, around)
        self._start = Start(self, around, startOffset or 0)
        self._search = Search(self, around)
        self._finisher = Finisher(self, around)
        self._isLooking = False

    # A look

    def look(self) -> None:
        """Look at the file system once."""
        self.lookAtPath()
        self.lookAtSiblings()

    def lookAtPath(self) -> None:
        """First, see what has become of the open files, and of the path."""
        self.trouble = None
        self._isLooking = False
        if not self.hasStarted:
            if not self._start.hasBegun():
                return
            self.hasStarted = True
            self._around.begun(self)
        for one in list(self.opened):
            one.look()
            if one.isStale:
                self._startAgain()
                return
            if one.hasChanged and not one.isSearching:
                self._search.fileLost(one)
            if one.trouble is not None:
                self.cannot(one.trouble)
        self.name.look()
        if self.current is not None and self.current.file is not None:
            descriptor = self.current.file.descriptor
            if descriptor is not None:
                # While it has its path: a program closes its old file soon after a rotation.
                self._around.closes.watch(descriptor, self.current.content.file[:2])
        self._isLooking = True

    def lookAtSiblings(self) -> None:
        """Then, see what has become of the rotated files, and what is finished."""
        if not self._isLooking:
            return
        self._isLooking = False
        self.matcher.look()
        self._search.giveUp()
        self._finisher.look()

    def close(self) -> None:
        """Close every file."""
        for one in self.opened:
            one.close()
        self.matcher.close()

    def recheck(self, path: str) -> None:
        """See whether somebody has written to a file that was finished."""
        self.matcher.recheck(path)

    def quietPaths(self) -> list[str]:
        """The rotated files that are not open, and to which somebody may write."""
        return self.matcher.quiet()

    def objects(self) -> list[FileId]:
        """The files of all contents, open or on record."""
        found = [one.content.file for one in self.opened]
        found += [c.file for c in self.records.values() if c.life is not Life.GONE]
        return [file for file in found if file != NO_FILE]

    def offer(self, lacks: Callable[[Content], bool]) -> None:
        """Read again what had ended, and a journal lacks."""
        for content in sorted(self.records.values(), key=lambda c: c.generation):
            if not lacks(content):
                continue
            if content.key in self.matcher.homes:
                self.matcher.reopening.open(content)
            elif content.life is Life.GONE:
                content.reason = "vanished"
                self.matcher.reopening.open(content)

    def hasOpen(self, object_: tuple[int, int]) -> bool:
        """Whether a file is open here, by device and inode."""
        return any(
            one.file is not None
            and not one.fromArchive
            and one.content.file[:2] == object_
            for one in self.opened
        )

    def endedAt(self, key: ContentKey, path: str) -> None:
        """A content has ended; its file is there, and can be read again."""
        self.matcher.homes[key] = path

    def openPast(self) -> list[OpenContent]:
        """The rotated files from before our time, the older first, to be compared."""
        return [
            self.matcher.reopening.peek(content)
            for content in sorted(self.records.values(), key=lambda c: c.modified)
            if content.life is Life.PAST and content.key in self.matcher.homes
        ]

    def readAgain(self, content: Content) -> None:
        """Read what is only on record."""
        self.matcher.reopening.open(content)

    def holds(self, file: FileId) -> OpenContent | None:
        """The content that has a file open."""
        for one in self.opened:
            if one.file is not None and one.content.file == file:
                return one
        return None

    def readableAgain(self) -> None:
        """What could not be read can be read now."""
        if self._unreadable is not None:
            self._events("readable-again", path=self.path)
            self._unreadable = None

    def cannot(self, reason: str) -> None:
        """Something cannot be read: it is reported when it begins."""
        self.trouble = reason
        if self._unreadable != reason:
            self._events("unreadable", path=self.path, reason=reason)
            self._unreadable = reason

    # Contents

    def begin(
        self,
        descriptor: int,
        file: FileId,
        life: Life,
        origin: int = 0,
        label: str = "",
    ) -> OpenContent:
        """
        Begin a content; its record is on disk before it is read.

        @param descriptor: the caller's still, if this fails.
        """
        if self.generation >= GENERATION_MAX:
            self.stream, self.generation = uuid4().hex, -1
        content = Content(
            self.stream,
            self.generation + 1,
            self.path,
            file,
            origin=origin,
            life=life,
            label=label,
        )
        open_ = self.openFile(descriptor, content)
        open_.putOff()
        one = self.openContent(content, open_)
        # What was seen is recognised after a kill, too: in a copy, if the file is truncated.
        one.extendProof(BLOCK_OCTETS)
        self._around.unsaved.begun(one)
        self.generation += 1
        self.opened.append(one)
        return one

    def openFile(self, descriptor: int, content: Content) -> ContentFile:
        """The file of a content."""
        return ContentFile(
            descriptor,
            content.head,
            lambda fileno: self._around.store.bringToDisk(fileno, content.name),
        )

    def openContent(self, content: Content, file: ContentFile | None) -> OpenContent:
        """A content that is read from now on, from where the journal has it."""
        self._around.noteObject(content.file, self)
        return OpenContent(
            content,
            file,
            self._around.messageOctetsMax,
            self._around.lagOctetsMax,
            lambda record: self._around.store.save([record]),
            self._around.positionOf(content),
            self.matcher.reopening.reopen,
        )

    # The start

    def _startAgain(self) -> None:
        """
        A file server has forgotten a file that we have open: look for it as after a start.

        It was deleted or renamed on another machine, or the server itself came back.
        """
        self._events("stale", path=self.path)
        self._around.unsaved.flush()
        for one in self.opened:
            self._around.save(one)
        self.reset()
        self._start = Start(self, self._around, self._start.startOffset)

    def reset(self) -> None:
        """Forget everything that is not on disk."""
        self.close()
        self._around.unsaved.drop(self.opened)
        self.opened = []
        self.records = {}
        self.current = None
        self.searching.clear()
        self.matcher = Matcher(self, self._around)
        self._finisher = Finisher(self, self._around)
        self.hasStarted = False

    def putByAge(self, one: OpenContent) -> None:
        """Put what was found between those of which nothing was read yet, by age."""
        opened = self.opened
        opened.remove(one)
        at = len(opened)
        siblings = self._around.siblings
        age = (one.content.modified, siblings.age(one.home or ""))
        while at:
            before = opened[at - 1]
            isRead = before.position != before.content.origin
            older = (before.content.modified, siblings.age(before.home or ""))
            if isRead or (before is not self.current and older <= age):
                break
            at -= 1
        opened.insert(at, one)

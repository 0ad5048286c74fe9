"""
One configured path, through all the contents that it has.

What must be true:

* every octet that was seen under the path is returned by exactly one content, older contents
  before newer ones, or is covered by a gap;
* only L{decnet_syslog.files._reconcile} decides which file holds which content.

A look at the file system has two halves. The first examines the open files and the path: the
path may lead to another file (rotated by name), or its file may hold another content
(truncated). The second examines the rotated files: copies of contents that have lost their file,
unknown files, and finished files. All paths complete the first half before any begins the
second: the octets of a truncated or moved content are in a rotated file, and these come first.
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

__all__ = ["GENERATION_MAX", "FileFollower"]

# After this generation a new stream begins, so that each generation fits a journal's integers.
GENERATION_MAX = 2**31


class FileFollower:
    """
    One configured path.

    @ivar opened: contents that are not delivered, or may still grow; the oldest first.
    @ivar records: records of contents that are not open, by key.
    @ivar current: the content of the file at the path.
    @ivar name: the path, and the file it leads to.
    @ivar trouble: the reason if a read failed at the last look, or C{None}.
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
        # When the search for a copy began, for open contents and for records.
        self.searching: dict[ContentKey, float] = {}
        self.matcher = Matcher(self, around)
        self._start = Start(self, around, startOffset or 0)
        self._search = Search(self, around)
        self._finisher = Finisher(self, around)
        self._isLooking = False

    # A look

    def poll(self) -> None:
        """Look at the file system once."""
        self.pollPath()
        self.pollSiblings()

    def pollPath(self) -> None:
        """First half of a look: examine the open files and the path."""
        self.trouble = None
        self._isLooking = False
        if not self.hasStarted:
            if not self._start.hasBegun():
                return
            self.hasStarted = True
            self._around.begun(self)
        for one in list(self.opened):
            one.check()
            if one.isStale:
                self._startAgain()
                return
            if one.hasChanged and not one.isSearching:
                self._search.fileLost(one)
            if one.trouble is not None:
                self.cannot(one.trouble)
        self.name.check()
        if self.current is not None and self.current.file is not None:
            descriptor = self.current.file.descriptor
            if descriptor is not None:
                # Watch it early: its program closes it soon after a rotation.
                self._around.closes.watch(descriptor, self.current.content.file[:2])
        self._isLooking = True

    def pollSiblings(self) -> None:
        """Second half of a look: examine the rotated files, and end finished contents."""
        if not self._isLooking:
            return
        self._isLooking = False
        self.matcher.matchChanged()
        self._search.giveUp()
        self._finisher.finish()

    def close(self) -> None:
        """Close every file."""
        for one in self.opened:
            one.close()
        self.matcher.close()

    def recheck(self, path: str) -> None:
        """Check a finished file for late writes."""
        self.matcher.recheck(path)

    def quietPaths(self) -> list[str]:
        """The rotated files that are not open, and may still be written to."""
        return self.matcher.quiet()

    def objects(self) -> list[FileId]:
        """The files of all contents, open or on record."""
        found = [one.content.file for one in self.opened]
        found += [c.file for c in self.records.values() if c.life is not Life.GONE]
        return [file for file in found if file != NO_FILE]

    def offer(self, lacks: Callable[[Content], bool]) -> None:
        """Read ended contents again that a journal lacks."""
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
        return any(one.hasOpen(object_) for one in self.opened)

    def endedAt(self, key: ContentKey, path: str) -> None:
        """Note where the file of an ended content is, so that it can be read again."""
        self.matcher.homes[key] = path

    def openPast(self) -> list[OpenContent]:
        """Open the rotated files from before the first look for comparison, oldest first."""
        return [
            self.matcher.reopening.peek(content)
            for content in sorted(self.records.values(), key=lambda c: c.modified)
            if content.life is Life.PAST and content.key in self.matcher.homes
        ]

    def readAgain(self, content: Content) -> None:
        """Open a content that is only on record."""
        self.matcher.reopening.open(content)

    def holds(self, file: FileId) -> OpenContent | None:
        """The content that has a file open."""
        for one in self.opened:
            if one.file is not None and one.content.file == file:
                return one
        return None

    def readableAgain(self) -> None:
        """Note that the path can be read again, and report it once."""
        if self._unreadable is not None:
            self._events("readable-again", path=self.path)
            self._unreadable = None

    def cannot(self, reason: str) -> None:
        """Note that a read failed, and report it when the reason changes."""
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
        Begin a content; its record is saved before it is read.

        @param descriptor: if this raises, the caller must close it.
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
        # After a kill, this proof identifies the octets in a copy if the file is truncated.
        one.extendProof(BLOCK_OCTETS)
        self._around.unsaved.begun(one)
        self.generation += 1
        self.opened.append(one)
        return one

    def openFile(self, descriptor: int, content: Content) -> ContentFile:
        """Open the file of a content."""
        return ContentFile(
            descriptor,
            content.head,
            lambda fileno: self._around.store.bringToDisk(fileno, content.name),
        )

    def openContent(self, content: Content, file: ContentFile | None) -> OpenContent:
        """Open a content for reading, from the position that the journal has."""
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
        Start over after the file server has forgotten a file that is open here.

        The file was deleted or renamed on another machine, or the server was restarted. The
        follower looks for it as after a start of the forwarder.
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
        """Move a content to its place by age among those that were not read yet."""
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

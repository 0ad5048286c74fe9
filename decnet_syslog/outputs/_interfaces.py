"""The parts that a writer uses: an output on its one side, a journal on the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

from ..journal import Batch, Cursor

__all__ = ["Events", "IBatchSource", "ICommits", "IOutput"]

# Reports what other programs did to a file: C{events(name, **facts)}.
Events = Callable[..., None]

T = TypeVar("T")


class IOutput(Protocol):
    """
    An output, as a writer uses it.

    L{decnet_syslog.outputs._fileoutput.FileOutput} documents each member.
    """

    name: str
    path: str
    lineWork: int
    seq: int
    unsynced: int

    @property
    def syncDue(self) -> bool: ...

    def start(self, cursor: Cursor) -> None: ...

    def apply(self, batches: Sequence[Batch]) -> Cursor | None: ...

    def checkFiles(self) -> Cursor | None: ...

    def sync(self) -> Cursor: ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class ICommits(Protocol):
    """
    The operations on a journal that a writer uses, off the reactor's thread.

    L{decnet_syslog.journal._groupcommit.GroupCommit} documents each member.
    """

    def onBatches(self, listener: Callable[[list[Batch]], None]) -> None: ...

    def addBackpressure(self, shouldPause: Callable[[str], bool]) -> None: ...

    def resumeWaiting(self) -> None: ...

    def perform(
        self, function: Callable[..., T], *arguments: object
    ) -> Deferred[T]: ...

    def saveCursor(self, cursor: Cursor) -> None: ...

    def flush(self) -> Deferred[bool]: ...


class IBatchSource(Protocol):
    """The part of a journal that a writer uses."""

    def read(self, after: int, costMax: int) -> list[Batch]: ...

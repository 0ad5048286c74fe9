"""
Files that other programs replace while we run: checked four times a second.

A check is a C{stat} of each file: it needs no thread and no descriptor, and works on every file
system. A change counts when the files stayed the same for one further check, so that files that
are copied one after the other are not read half-way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from twisted.application.service import MultiService, Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["FILES_CHECK_S", "Watched", "together"]

# A revoked certificate is refused within a second: two checks, and the work.
FILES_CHECK_S = 0.25

_Signature = tuple[tuple[int, ...] | None, ...]


class Watched:
    """
    A group of files, and whether they have changed.

    The signature of a file is its device, inode, size and times; C{None} if it does not exist. The
    time of change is included: a C{chmod} can make an unreadable file readable, and changes nothing
    else.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._judged = self._signature()
        self._before = self._judged

    def _signature(self) -> _Signature:
        found: list[tuple[int, ...] | None] = []
        for path in self._paths:
            try:
                status = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append(
                    (
                        status.st_dev,
                        status.st_ino,
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                    )
                )
        return tuple(found)

    def changed(self) -> bool:
        """Whether the files have changed since this was last true, and are stable since."""
        now = self._signature()
        still, self._before = now == self._before, now
        if not still or now == self._judged:
            return False
        self._judged = now
        return True


class _Looker(Service):
    """
    Checks the files every L{FILES_CHECK_S}, whatever happens.

    Twisted's C{TimerService} ends with the first error: then no later revocation would take
    effect. And its import takes a fiftieth of a forwarder's start.
    """

    _log = Logger()

    def __init__(self, look: Callable[[], None], clock: IReactorTime) -> None:
        self._look = look
        self._said = ""
        self._calls = LoopingCall(self._lookOnce)
        self._calls.clock = clock

    def startService(self) -> None:
        """Check now and from now on."""
        super().startService()  # type: ignore[no-untyped-call]
        self._calls.start(FILES_CHECK_S)

    def stopService(self) -> None:
        """Check no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._calls.stop()

    def _lookOnce(self) -> None:
        try:
            self._look()
        except Exception as error:
            # Four times a second is too often to repeat a message.
            if repr(error) != self._said:
                self._said = repr(error)
                self._log.failure(
                    "internal error while reading changed certificates or lists; trying again"
                )
        else:
            self._said = ""


def together(
    service: Service, clock: IReactorTime, *looks: Callable[[], None]
) -> MultiService:
    """A service, with checks of files every L{FILES_CHECK_S} while it runs."""
    both = MultiService()
    service.setServiceParent(both)
    for look in looks:
        _Looker(look, clock).setServiceParent(both)  # type: ignore[no-untyped-call]
    return both

"""
Files that others replace while we run: looked at four times a second.

Looking is a C{stat} of each: it needs no thread and no descriptor, and works on every
file system. A change counts when it has stood still for one look, so that files that are
copied one after the other are not judged in the middle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from twisted.application.internet import TimerService
from twisted.application.service import MultiService, Service
from twisted.logger import Logger

__all__ = ["LOOK_S", "Watched", "together"]

# What is revoked is refused within a second: two looks, and the work.
LOOK_S = 0.25

_Signature = tuple[tuple[int, ...] | None, ...]


class Watched:
    """
    Some files, and whether they have changed.

    The signature of a file is its device, inode, size and times: C{None} if there is none.
    The time of change is among them: a file that could not be read is mended by a chmod,
    and nothing else of it is different then.
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
        """Whether they have changed since this was last true, and stood still since."""
        now = self._signature()
        still, self._before = now == self._before, now
        if not still or now == self._judged:
            return False
        self._judged = now
        return True


class _Looker:
    """
    Looks, and goes on looking.

    A L{TimerService} ends with the first error: nothing that is revoked later would be.
    """

    _log = Logger()

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._said = ""

    def __call__(self) -> None:
        try:
            self._look()
        except Exception as error:
            # Four times a second is too often to say the same.
            if repr(error) != self._said:
                self._said = repr(error)
                self._log.failure("an error in a look at changed files; looking again")
        else:
            self._said = ""


def together(service: Service, *looks: Callable[[], None]) -> MultiService:
    """A service, and beside it looks at files while it runs, each L{LOOK_S}."""
    both = MultiService()
    service.setServiceParent(both)
    for look in looks:
        TimerService(LOOK_S, _Looker(look)).setServiceParent(both)
    return both

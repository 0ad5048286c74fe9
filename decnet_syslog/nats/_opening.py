"""Opening streams in a cluster that was just started."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TypeVar

from twisted.logger import Logger

from ..errors import UserError
from ..journal import JournalBlocked
from ._bus import Bus, NoResponse
from ._chronicle import Chronicle
from ._layout import Layout
from ._safety import PayloadLimit, StreamSettings
from ._stream import JournalStream

__all__ = ["openStream", "opening"]

T = TypeVar("T")

# Maximum time at the start until JetStream answers and has a place for a stream, in seconds; and
# the delay between two attempts. A cluster elects leaders first. Then each node reports its free
# room to the others; if that was too early, again after ten seconds.
OPENING_S = 45.0
OPENING_AGAIN_S = 0.5
_log = Logger()


def opening(bus: Bus, what: str, work: Callable[[], Coroutine[object, None, T]]) -> T:
    """
    Try something for up to L{OPENING_S}, because a cluster that was just started may not be ready.

    @param work: makes a coroutine for each attempt.
    @raise UserError: no attempt succeeded.
    """
    deadline = time.monotonic() + OPENING_S
    why = ""
    while True:
        try:
            return bus.run(work())
        except (JournalBlocked, NoResponse) as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{what} cannot be opened: {error}; check that JetStream is enabled, that"
                    " most of its servers run, and that at least --journal-replicas servers have"
                    " room for --journal-max"
                ) from None
            if str(error) != why:
                why = str(error)
                _log.warn(
                    "{what} cannot be opened yet: {why}; trying for {seconds:.0f} s",
                    what=what,
                    why=why,
                    seconds=OPENING_S,
                )
            time.sleep(OPENING_AGAIN_S)


def openStream(
    bus: Bus, layout: Layout, payload: PayloadLimit, mayMake: bool = True
) -> tuple[JournalStream, Chronicle]:
    """
    Open the stream of a journal, or create it, and read its history.

    @param mayMake: as of L{StreamSettings.ensure}.
    @raise UserError: it cannot be used.
    """
    payload.ensure()
    stream = JournalStream(bus, layout.name)
    settings = StreamSettings(stream, layout)
    what = f"the journal {layout.name}"
    opening(bus, what, lambda: settings.ensure(mayMake))
    chronicle = Chronicle(stream, settings)
    opening(bus, what, chronicle.open)
    return stream, chronicle

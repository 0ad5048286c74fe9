"""What of a listener's options can change while it runs."""

from __future__ import annotations

from collections.abc import Callable

from ..boundaries import OptionValue
from ..configuration import Configured, Reread
from ..journal import fitting
from ..limits import CHANGEABLE_LIMITS
from ._service import ListenerService

__all__ = ["rereadListener"]


def rereadListener(
    options: Configured,
    listener: ListenerService,
    useCommand: Callable[[list[str] | None], None],
    room: Callable[[], int] | None,
) -> Reread:
    """
    Make what SIGHUP calls.

    @param useCommand: runs another command for events.
    @param room: returns the room on the journal's disk, in octets; C{None}: it has no disk.
    """

    def useLimits(new: OptionValue) -> None:
        limits = new.limits
        listener.useLimits(limits if room is None else fitting(limits, room()))

    return Reread(
        options,
        (
            (CHANGEABLE_LIMITS, useLimits),
            (
                frozenset({"on-event"}),
                lambda new: useCommand(new.status.command),
            ),
        ),
    )

"""
Check the log while a target runs: it must have no failure, and no control characters of
a peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

__all__ = ["watched"]


@contextmanager
def watched() -> Iterator[None]:
    """
    Watch events logged inside this context.

    @raise AssertionError: an internal error was logged, or text that would end a log
        line.
    """
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    for event in events:
        text = formatEvent(event)
        assert "log_failure" not in event, text
        assert text.isprintable(), text

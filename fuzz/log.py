"""What is logged while a target runs: no failure, and no control character of a peer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

__all__ = ["watched"]


@contextmanager
def watched() -> Iterator[None]:
    """
    Look at what is logged inside.

    @raise AssertionError: an error of ours was logged, or what would end a line of the log.
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

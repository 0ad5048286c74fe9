"""
Our own logs, as text or as JSON, and no flood of them.

For twistd's own option C{--logger}::

    twistd --nodaemon --logger=decnet_syslog.logs.text decnet-listener ...
    twistd --nodaemon --logger=decnet_syslog.logs.json decnet-listener ...

What must be true: whoever can make us log (a stranger who connects, a broken worker)
cannot fill a disk with it, nor hide something else behind it. So warnings that are alike
are summed up: the same words about the same worker, from the same host, a few times a
minute; the same words about anybody, some more. What was left out is counted and said.
Facts that are different are never merged, and no text of a peer reaches a terminal as it
came.
"""

from __future__ import annotations

import json as _json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TextIO

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Summing", "asJSON", "asText", "json", "printable", "text"]

# Lines alike that are shown in a window: of one worker or host, and of all together.
ALIKE_MAX = 5
ALIKE_OF_ALL_MAX = 100
WINDOW_S = 60.0

# Kinds of lines that are counted at a time. Past it the oldest is said and forgotten.
KINDS_MAX = 1024

# A field of a JSON record, in characters; as much as a person reads.
FIELD_CHARACTERS_MAX = 2000

# sd-daemon(3): how journald learns a line's level.
_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}

_SUMMED = (LogLevel.warn, LogLevel.error)

Write = Callable[[LogEvent], None]
Key = tuple[str, ...]


@dataclass
class _Window:
    """
    Lines alike since a moment.

    @ivar hidden: how many were not shown.
    @ivar last: of these, the last one.
    """

    until: float
    shown: int = 0
    hidden: int = 0
    last: LogEvent | None = None


@implementer(ILogObserver)
class Summing:
    """
    Passes log events on, those that are alike not more often than is of use.
    """

    def __init__(self, write: Write, clock: Any) -> None:
        """
        @param clock: L{twisted.internet.interfaces.IReactorTime}.
        """
        self._write = write
        self._clock = clock
        self._windows: OrderedDict[Key, _Window] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on, or count it."""
        words = event.get("log_format")
        # A failure is never like another one: its traceback says what.
        if (
            event.get("log_level") not in _SUMMED
            or not isinstance(words, str)
            or "log_failure" in event
        ):
            self._write(event)
            return
        about = (words, str(event.get("worker")), _host(event.get("address")))
        # What one host is not shown for does not count for all: its flood hides nobody.
        if self._shows(about, ALIKE_MAX, event) and self._shows(
            (words,), ALIKE_OF_ALL_MAX, event
        ):
            self._write(event)

    def _shows(self, key: Key, most: int, event: LogEvent) -> bool:
        now = self._clock.seconds()
        window = self._windows.get(key)
        if window is not None and now >= window.until:
            self._end(key)
            window = None
        if window is None:
            window = self._windows[key] = _Window(now + WINDOW_S)
            while len(self._windows) > KINDS_MAX:
                self._end(next(iter(self._windows)))
        self._windows.move_to_end(key)
        if window.shown < most:
            window.shown += 1
            return True
        window.hidden += 1
        window.last = event
        self._wake()
        return False

    def _end(self, key: Key) -> None:
        """Say what was not shown, and forget it."""
        window = self._windows.pop(key)
        if window.last is None:
            return
        all_ = self._windows.get(key[:1])
        if all_ is not None and all_.hidden:
            # Many hosts knock: one line for all of them.
            all_.hidden += window.hidden
            return
        words = window.last["log_format"] + " ... and the like, {repeated} times"
        self._write({**window.last, "log_format": words, "repeated": window.hidden})

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(WINDOW_S, self._timeUp)

    def _timeUp(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for key in sorted(self._windows, key=len, reverse=True):
            if now >= self._windows[key].until:
                self._end(key)
        if any(window.hidden for window in self._windows.values()):
            self._wake()

    def flush(self) -> None:
        """Say everything that was not shown: the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Those of one host first: they are added to those of all.
        for key in sorted(self._windows, key=len, reverse=True):
            self._end(key)


def _host(address: object) -> str:
    """An address without its port, which is another for every connection."""
    return str(address).rpartition(":")[0] or str(address)


def printable(text: str) -> str:
    """Text of anybody in one line that a terminal obeys in nothing: the rest as escapes."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])


def _lines(event: LogEvent) -> list[str]:
    """The text of an event, then its traceback."""
    lines = [printable(formatEvent(event))]
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        lines += [printable(line) for line in failure.getTraceback().splitlines()]
    return lines


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _level(event: LogEvent) -> Any:
    return event.get("log_level", LogLevel.info)


def asText(event: LogEvent, journald: bool) -> str:
    """
    An event as lines of text.

    @param journald: a journal reads them, which has its own times and wants levels.
    """
    level = _level(event)
    if journald:
        start = f"<{_PRIORITIES.get(level, 6)}>"
    else:
        start = f"{_time(event)} {level.name:<8} "
    return "".join([f"{start}{line}\n" for line in _lines(event)])


def asJSON(event: LogEvent) -> str:
    """
    An event as one line of JSON: time, level, message, logger; then its own fields; and
    the traceback, if there is one.
    """
    message, *traceback = _lines(event)
    record: dict[str, object] = {
        "time": _time(event),
        "level": _level(event).name,
        "message": message,
        "logger": str(event.get("log_namespace", "")),
    }
    for name, value in event.items():
        if name.startswith("log_") or name in record:
            continue
        # What Twisted adds for observers of the old kind.
        if name in ("isError", "system", "time", "format", "message", "log_trace"):
            continue
        plain = value is None or isinstance(value, (bool, int, float, str))
        if plain and not isinstance(value, str):
            record[name] = value
        else:
            record[name] = printable(str(value)[:FIELD_CHARACTERS_MAX])
    if traceback:
        record["traceback"] = traceback
    return _json.dumps(record) + "\n"


def _observer(show: Callable[[LogEvent], str]) -> ILogObserver:
    from twisted.internet import reactor

    # Twisted is about to put itself in the place of sys.stdout.
    out: TextIO = sys.__stdout__ or sys.stdout

    def write(event: LogEvent) -> None:
        octets = show(event).encode("utf-8", "backslashreplace")
        out.buffer.write(octets)
        out.buffer.flush()

    summing = Summing(write, reactor)
    anyReactor: Any = reactor
    anyReactor.addSystemEventTrigger("after", "shutdown", summing.flush)
    return summing


def text() -> ILogObserver:
    """Text to standard output; under systemd with levels instead of times."""
    journald = "JOURNAL_STREAM" in os.environ
    return _observer(lambda event: asText(event, journald))


def json() -> ILogObserver:
    """A line of JSON for each event to standard output."""
    return _observer(asJSON)

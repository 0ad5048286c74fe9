"""
Our own logs, as text or as JSON, with a limit on repeated lines.

For twistd's own option C{--logger}::

    twistd --nodaemon --logger=decnet_syslog.logs.text decnet-listener ...
    twistd --nodaemon --logger=decnet_syslog.logs.json decnet-listener ...

What must be true: a peer that can make us log (a stranger who connects, a broken worker) cannot
fill a disk with it, nor hide other messages in the flood. So similar warnings are summed up: the
same words about the same worker, from the same host, are shown a few times a minute; the same words
about any worker, some more times. Lines that were left out are counted, and the count is logged.
Different messages are never merged, and no text of a peer reaches a terminal unescaped.
"""

from __future__ import annotations

import json as _json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TextIO, cast

from twisted.internet.interfaces import IDelayedCall, IReactorCore, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from .boundaries import Foreign
from .untrusted import escapeUntrusted

__all__ = ["Summing", "asJSON", "asText", "json", "text"]

# Similar lines shown in a window: for one worker and host, and for all together.
ALIKE_MAX = 5
ALIKE_OF_ALL_MAX = 100
WINDOW_S = 60.0

# Kinds of lines counted at a time. Beyond that, the oldest is reported and forgotten.
KINDS_MAX = 1024

# Maximum length of a field in a JSON record, in characters: as much as a person reads.
FIELD_CHARACTERS_MAX = 2000

# sd-daemon(3): the levels that journald reads from the beginning of a line.
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
    Similar lines within a time window.

    @ivar hidden: the number of lines that were not shown.
    @ivar last: the last hidden line.
    """

    until: float
    shown: int = 0
    hidden: int = 0
    last: LogEvent | None = None


@implementer(ILogObserver)
class Summing:
    """
    Passes log events on, but limits similar ones.
    """

    def __init__(self, write: Write, clock: IReactorTime) -> None:
        """
        @param clock: L{twisted.internet.interfaces.IReactorTime}.
        """
        self._write = write
        self._clock = clock
        self._windows: OrderedDict[Key, _Window] = OrderedDict()
        self._timer: IDelayedCall | None = None

    @property
    def kinds(self) -> int:
        """The number of kinds of lines that are remembered."""
        return len(self._windows)

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on, or only count it."""
        words = event.get("log_format")
        # A failure is never similar to another one: their tracebacks differ.
        if (
            event.get("log_level") not in _SUMMED
            or not isinstance(words, str)
            or "log_failure" in event
        ):
            self._write(event)
            return
        about = (words, str(event.get("worker")), _host(event.get("address")))
        # Hidden lines of a host do not count for all: its flood must hide no other host.
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
        """Report the number of hidden lines, and forget the window."""
        window = self._windows.pop(key)
        if window.last is None:
            return
        all_ = self._windows.get(key[:1])
        if all_ is not None and all_.hidden:
            # Many hosts do the same: one line for all of them.
            all_.hidden += window.hidden
            return
        words = window.last["log_format"] + " ... and {repeated} similar messages"
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
        """Report all hidden lines: the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The windows of single hosts first: their counts are added to those of all.
        for key in sorted(self._windows, key=len, reverse=True):
            self._end(key)


def _host(address: object) -> str:
    """An address without its port, which differs for every connection."""
    return str(address).rpartition(":")[0] or str(address)


def _lines(event: LogEvent) -> list[str]:
    """The text of an event, then its traceback."""
    lines = [escapeUntrusted(formatEvent(event), None, "readable")]
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        lines += [
            escapeUntrusted(line, None, "readable")
            for line in failure.getTraceback().splitlines()
        ]
    return lines


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _level(event: LogEvent) -> Foreign:
    return event.get("log_level", LogLevel.info)


def asText(event: LogEvent, journald: bool) -> str:
    """
    An event as lines of text.

    @param journald: whether journald reads the lines: it has its own times, and needs levels.
    """
    level = _level(event)
    if journald:
        start = f"<{_PRIORITIES.get(level, 6)}>"
    else:
        start = f"{_time(event)} {level.name:<8} "
    return "".join([f"{start}{line}\n" for line in _lines(event)])


def asJSON(event: LogEvent) -> str:
    """
    An event as one line of JSON: time, level, message, logger; then its own fields; and the
    traceback, if there is one.
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
        # Fields that Twisted adds for old observers.
        if name in ("isError", "system", "time", "format", "message", "log_trace"):
            continue
        plain = value is None or isinstance(value, (bool, int, float, str))
        if plain and not isinstance(value, str):
            record[name] = value
        else:
            record[name] = escapeUntrusted(
                str(value)[:FIELD_CHARACTERS_MAX], None, "readable"
            )
    if traceback:
        record["traceback"] = traceback
    return _json.dumps(record) + "\n"


def _observer(show: Callable[[LogEvent], str]) -> ILogObserver:
    from twisted.internet import reactor

    # Twisted will soon replace sys.stdout.
    out: TextIO = sys.__stdout__ or sys.stdout

    def write(event: LogEvent) -> None:
        octets = show(event).encode("utf-8", "backslashreplace")
        out.buffer.write(octets)
        out.buffer.flush()

    summing = Summing(write, reactor)
    cast(IReactorCore, reactor).addSystemEventTrigger(
        "after", "shutdown", summing.flush
    )
    return summing


def text() -> ILogObserver:
    """Text to standard output; under systemd with levels instead of times."""
    journald = "JOURNAL_STREAM" in os.environ
    return _observer(lambda event: asText(event, journald))


def json() -> ILogObserver:
    """A line of JSON for each event to standard output."""
    return _observer(asJSON)

"""
Events: the log entries that an operator needs to know about.

A log entry with the keyword C{event} is one; code that raises one need not import this module.
Events are counted by kind, and the last few of each kind are kept: a stranger who causes thousands
of one kind does not push out the others.

A log entry can come from any thread. So the counters and lists are of built-in types, each changed
by a single operation; L{EventLog.subscribe} calls in the reactor's thread.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import cast

from twisted.logger import ILogObserver, formatEvent
from zope.interface import implementer

from ..boundaries import Facts
from ..untrusted import escapeUntrusted
from ._factparts import EventFacts

__all__ = [
    "KINDS",
    "REFUSALS",
    "TEXT_CHARACTERS_MAX",
    "Event",
    "EventLog",
    "refusalClass",
]

# Each kind of event and its meaning; docs/watching.rst gives the remedies.
KINDS: Mapping[str, str] = {
    "refused": "A peer was refused, or disconnected because of the data it sent.",
    "revoked": "A peer showed a certificate that is revoked or not allowed.",
    "collision": "One name or stream is used from two addresses.",
    "superseded": "A newer connection has taken over a stream.",
    "limit": "A connection was closed or refused because of a limit.",
    "gap": "Octets of a worker's file are lost.",
    "skipped": "A peer sends empty frames; they are skipped.",
    "silent": "Nothing was received from an expected worker.",
    "lagging": "A worker's oldest undelivered line is too old.",
    "stuck": "A worker cannot read one of its files.",
    "expiring": "A certificate expires soon.",
    "diverged": "The two ends hold different contents for one file.",
    "went-back": "The journal has lost messages and continues from an older state.",
    "repeated": "Lines were written again: nothing proved that the output has them.",
    "unsafe": "The journal's settings could lose lines; the listener accepts nothing.",
    "reloaded": "Certificates or lists were read again.",
    "reload-refused": "New certificates or lists are unusable; the old ones stay in use.",
    "other": "An event of a kind that this table does not have.",
}

# Events kept per kind; together they fit a page of a few hundred rows.
KEPT_OF_KIND = 50

# Maximum length of a text: some of our messages have two sentences.
TEXT_CHARACTERS_MAX = 500

# Words in a reason, and the class that a metric uses for them. Reasons contain the words of peers
# and of OpenSSL: as labels, their number would be unlimited.
_REFUSALS = (
    ("expired", "expired"),
    ("not yet valid", "not-yet-valid"),
    ("revoked", "revoked"),
    ("allow-list", "not-allowed"),
    ("handshake", "handshake"),
    ("issuer", "authority"),
    ("self-signed", "authority"),
    ("self signed", "authority"),
    ("signature", "authority"),
    ("CA's certificate", "usage"),
    ("operator's certificate", "usage"),
    ("not for", "usage"),
    ("master's", "name"),
    ("CN", "name"),
    ("a name", "name"),
)
_CODES = (
    "order",
    "position",
    "line-feed",
    "limit",
    "framing",
    "protocol",
    "hostname",
    "error",
)

# All classes of refusals.
REFUSALS = (*sorted({name for _, name in _REFUSALS}), *_CODES, "other")


def refusalClass(code: object, reason: str) -> str:
    """The class of a refusal: one of a fixed set of words."""
    if code in _CODES:
        return str(code)
    for words, name in _REFUSALS:
        if words in reason:
            return name
    return "other"


@dataclass(frozen=True, slots=True)
class Event:
    """
    An event that an operator needs to know about.

    @ivar time: RFC 3339, UTC.
    @ivar over: whether it reports the end of a problem.
    """

    time: str
    kind: str
    text: str
    worker: str
    address: str
    stream: str
    reason: str
    over: bool = False

    def asRecord(self) -> EventFacts:
        """The event for JSON."""
        return cast(EventFacts, asdict(self))


def _shown(value: object, most: int = TEXT_CHARACTERS_MAX) -> str:
    """Text without control characters, bounded; "" for C{None}."""
    if value is None:
        return ""
    return escapeUntrusted(str(value), most, "readable")


@implementer(ILogObserver)
class EventLog:
    """
    A log observer that keeps events.

    @ivar counts: the number of events of each kind, except those with C{over}.
    @ivar refusals: the number of refusals of each class.
    """

    def __init__(
        self, inReactor: Callable[..., object] = lambda call, event: call(event)
    ) -> None:
        """
        @param inReactor: calls a function in the reactor's thread.
        """
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._kept = {kind: deque[Event](maxlen=KEPT_OF_KIND) for kind in KINDS}
        self._inReactor = inReactor
        self._subscribers: list[Callable[[Event], None]] = []

    def subscribe(self, call: Callable[[Event], None]) -> None:
        """Call with every event from now on, in the reactor's thread."""
        self._subscribers.append(call)

    def unsubscribe(self, call: Callable[[Event], None]) -> None:
        """Call no more."""
        self._subscribers.remove(call)

    def __call__(self, event: Facts) -> None:
        """Take a log entry; most are not events."""
        kind = event.get("event")
        if kind is None:
            return
        if not isinstance(kind, str) or kind not in KINDS:
            kind = "other"
        when = datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)
        found = Event(
            when.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            kind,
            _shown(formatEvent(dict(event))),
            _shown(event.get("worker"), 80),
            _shown(event.get("address"), 80),
            _shown(event.get("stream"), 80),
            _shown(event.get("reason")),
            event.get("over") is True,
        )
        if not found.over:
            self.counts[kind] += 1
            if kind == "limit":
                self.refusals["limit"] += 1
            elif kind in ("refused", "revoked"):
                self.refusals[refusalClass(event.get("code"), found.reason)] += 1
        self._kept[kind].append(found)
        for call in self._subscribers:
            self._inReactor(call, found)

    def recent(self, most: int = 200) -> list[Event]:
        """The newest events of all kinds, newest first."""
        return self._newest()[:most]

    def of(self, worker: str, most: int) -> list[Event]:
        """The newest events of a worker, newest first."""
        return [event for event in self._newest() if event.worker == worker][:most]

    def _newest(self) -> list[Event]:
        every = [event for kept in self._kept.values() for event in list(kept)]
        return sorted(every, key=lambda event: event.time, reverse=True)

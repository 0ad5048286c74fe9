"""
A session with the delivery extension: its control lines, streams and acknowledgements.

Requirements, in addition to those of L{decnet_syslog.receiving._positioned}:

* an acknowledgement covers only octets that a commit has made durable;
* before a peer receives a position, it receives a mark of the journal that comes after that
  position (L{decnet_syslog.receiving._history}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.python.failure import Failure

from ..journal import (
    Batch,
    GroupCommit,
    IJournal,
    JournalBlocked,
    Mark,
    OpenRequest,
    StreamLease,
)
from ..limits import Limits
from ..wire import (
    AT,
    BYE,
    CLOSE,
    EMPTY,
    HISTORY,
    LAST,
    LIMIT,
    LIST,
    OPEN,
    RESUME,
    SEEN,
    SKIP,
    ControlLine,
    ForwarderReport,
)
from ._assembler import Origin
from ._history import SentMarks
from ._holding import FREE, Held, windowOf
from ._known import KnownStreams
from ._openstreams import IStreamRegistry, Key
from ._positioned import PositionedSession
from ._reports import PeerReports
from ._session import IConnection, Violation
from ._unacknowledged import Unacknowledged

__all__ = ["AckedSession"]

# Codes of BYE, and their texts.
_SUPERSEDED = ("superseded", "another connection has taken over the stream")
_WENT_BACK = (
    "journal-went-back",
    "the journal has lost messages: connect again, and offer all files again",
)


class AckedSession(PositionedSession):
    """
    A session with the delivery extension.

    @ivar opened: the streams that are open on this connection.
    """

    def __init__(
        self,
        who: Origin,
        connection: IConnection,
        commits: GroupCommit,
        journal: IJournal,
        limits: Limits,
        registry: IStreamRegistry,
        reported: Callable[[str, ForwarderReport], None] | None = None,
        history: bool = False,
        window: int | None = None,
    ) -> None:
        """
        @param reported: called with worker and report; C{None} if reports were not
            negotiated.
        @param history: whether version 2 was negotiated, with marks of the journal.
        @param window: how many octets the peer may have unacknowledged, 0: no limit; C{None} if
            version 2.1 was not negotiated.
        """
        super().__init__(who, connection, commits, limits)
        self._journal = journal
        self._limits = limits
        self._registry = registry
        self._reports = PeerReports(
            who.worker, reported, window is not None, commits.seconds
        )
        self._window = window
        self.opened: set[Key] = set()
        self._hasListed = self._saidBye = False
        self._hasAsked = self._hasOpened = False
        self._turns = journal.turns
        self._marks = SentMarks(journal, history)
        self._known = KnownStreams(
            who.worker,
            connection,
            journal,
            self._marks.moved,
            self._noSpace,
            self._listingRefused,
        )
        self._acks = commits.acks
        self._unacknowledged = Unacknowledged()

    def greet(self) -> None:
        """Speak first: before this, no line leaves the worker."""
        limits = self._limits
        hello = self._marks.hello(limits.message, limits.filesPerConnection)
        self._connection.sendControl(hello)
        if self._window:
            self.tellHeld(FREE)

    def useWindow(self, window: int, held: Held) -> None:
        """Another number of octets may be unacknowledged."""
        if self._window is not None and self._window != window:
            self._window = window
            self.tellHeld(held)

    def tellHeld(self, held: Held) -> None:
        """Tell the peer what holds it back, if version 2.1 was negotiated."""
        if self._window is not None and not self._over:
            self._connection.sendControl(LIMIT(windowOf(self._window, held), *held))

    def controlReceived(self, line: ControlLine) -> None:
        """
        A control line.

        @raise Violation: the line is not for the listener, or not allowed now.
        """
        if self._saidBye:
            raise Violation("order", "a control line after BYE")
        match line:
            case AT():
                self._at(line)
            case EMPTY(count):
                self._empty(count)
            case LAST():
                self._last()
            case SKIP(octets, reason):
                self._skip(octets, reason)
            case OPEN():
                self._open(line)
            case CLOSE(stream, generation):
                self._shut(stream, generation)
            case LIST():
                if self._hasListed:
                    raise Violation("limit", "a second LIST on one connection")
                self._hasListed = True
                self._commits.listings.begin(self.who.worker, self._known)
            case SEEN(number, token) if self._marks.areSent:
                if self._hasAsked or self._hasListed or self._hasOpened:
                    raise Violation("order", "SEEN is sent once, before LIST and OPEN")
                self._hasAsked = True
                # In the journal's thread before any grant of this connection.
                held = self._commits.perform(self._holds, Mark(number, token))
                held.addCallbacks(self._answer, self._noSpace)
            case _ if self._reports.areNegotiated(line):
                self._reports.lineReceived(line)
            case BYE(code, text):
                self._log.info(
                    "{worker} says goodbye: {code} {text!r}",
                    worker=self.who.worker,
                    code=code,
                    text=text[:200],
                )
                self._saidBye = True
            case _:
                raise Violation(
                    "order", f"{type(line).__name__} is not for the listener"
                )

    def _open(self, line: OPEN) -> None:
        self._streams.request(line)
        self._hasOpened = True
        worker, stream, generation = self.who.worker, line.stream, line.generation
        key = (worker, stream, generation)
        self.opened.add(key)
        self._registry.opened(key, self)
        granted = self._commits.grant(
            OpenRequest(worker, stream, generation, line.start, line.name, self._turns),
            lambda: not self._over,
        )
        granted.addCallbacks(self._granted, self._noSpace, callbackArgs=(line.name,))

    def _granted(self, lease: StreamLease | None, name: str) -> None:
        if lease is None or self._over:
            return
        self._streams.grant(lease, name)
        resume = RESUME(
            lease.stream, lease.generation, lease.offset, lease.base, lease.crc
        )
        self._connection.sendControl(*self._marks.moved(), resume)

    def _shut(self, stream: str, generation: int) -> None:
        """Forget a stream. Octets that were received are still committed and acknowledged."""
        if self._streams.isCurrent(stream, generation):
            if self._isLast:
                raise Violation("order", "CLOSE between LAST and its frame")
            self._cutEarly()
        self._streams.close(stream, generation)
        key = (self.who.worker, stream, generation)
        self.opened.discard(key)
        self._registry.closed(key, self)

    def peerReads(self) -> None:
        """The peer reads again."""
        self._commits.listings.peerReads(self._known)

    def _holds(self, mark: Mark) -> bool:
        """The answer to SEEN; runs in the journal's thread."""
        return self._over or self._journal.holds(mark)

    def _answer(self, kept: bool | None) -> None:
        if kept is not None and not self._over:
            self._connection.sendControl(HISTORY(kept))

    def _noSpace(self, failure: Failure) -> None:
        failure.trap(JournalBlocked)
        self._close("no-space", "the master's journal accepts nothing now")

    def _listingRefused(self) -> None:
        self._close("limit", "the answer to LIST was not read, and others wait")

    def committed(self, batches: Sequence[Batch | None], now: float) -> None:
        """Acknowledge durable octets, now or soon. Close the connection of a stale sender."""
        owed = self._unacknowledged
        for batch in batches:
            if batch is None:
                # Later octets of this connection would overtake the stale ones.
                self._discard()
                self._close(*self._whyStale())
            else:
                owed.add(batch)
        if owed.isDue(now, self._acks.spacing):
            self.acknowledge()
        elif owed:
            self._acks.scheduleAck(self)
        self._settled()

    def _whyStale(self) -> tuple[str, str]:
        """The reason why a deposit was not committed: a code for BYE and a text."""
        journal = self._journal
        if journal.turns != self._turns:
            return _WENT_BACK
        refusal = journal.refusals.get((self.who.worker, self.who.address))
        return refusal or _SUPERSEDED

    def journalWentBack(self) -> None:
        """Close the connection: the journal went back, so our positions are wrong."""
        if self._turns == self._journal.turns:
            # This connection was made after the rollback.
            return
        self._discard()
        # Commits that are not acknowledged yet may be lost.
        self._unacknowledged.discard()
        self._close(*_WENT_BACK)

    def acknowledge(self) -> None:
        """Send the acknowledgements that are due."""
        acks = self._unacknowledged.take(self._commits.seconds())
        if acks and not self._over:
            self._acks.sent += len(acks)
            self._connection.sendControl(*self._marks.moved(), *acks)

    def supersede(self) -> None:
        """
        A newer connection has taken over one of our streams.

        It sends the octets again that we have not handed over yet, in order. If we handed
        them over as well, streams that it has not opened yet would overtake those it has.
        """
        self._discard()
        self._close(*_SUPERSEDED)

    def connectionLost(self) -> None:
        """Discard waiting octets while the disk is full: the forwarder sends them again."""
        if self._commits.full:
            self._discard()
        super().connectionLost()
        self._forgetListing()

    def _close(self, code: str, text: str) -> None:
        super()._close(code, text)
        self._forgetListing()

    def _forgetListing(self) -> None:
        self._known.isOver = True
        self._commits.listings.forget(self.who.worker, self._known)

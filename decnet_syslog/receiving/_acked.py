"""
A session with the delivery extension: positions, gaps, acknowledgements.

Requirements, in addition to those of L{decnet_syslog.receiving._reception}:

* every deposit starts where the previous one ended. The forwarder sends its position (C{AT}),
  and the listener compares it and never adjusts it;
* an acknowledgement covers only octets that a commit has made durable;
* before a peer receives a position, it receives a mark of the journal that comes after that
  position (version 2). A journal that was put back to before the position does not hold the
  mark;
* a line contains no LF: the journal commits the file's own octets, and their CRC is the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from twisted.python.failure import Failure

from ..journal import (
    ACK_OCTETS_MAX,
    DEPOSIT_COST,
    LINE_COST,
    Batch,
    Deposit,
    GroupCommit,
    IJournal,
    JournalBlocked,
    Mark,
    OpenRequest,
    StreamLease,
    StreamPosition,
    cutName,
)
from ..limits import Limits
from ..wire import (
    ACK,
    AT,
    BEAT,
    BYE,
    CLOSE,
    EMPTY,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LAG,
    LAST,
    LIMIT,
    LIST,
    LISTED,
    MARK,
    NAMES_OCTETS_MAX,
    NUMBER_MAX,
    OPEN,
    REPORT,
    RESUME,
    SEEN,
    SKIP,
    STATE,
    TROUBLE,
    ControlLine,
    Lines,
    Report,
    ReportGatherer,
    TooMuch,
    octetsOf,
)
from ._holding import FREE, Held
from ._reception import IConnection, ReceiverSession, Violation, asLines

__all__ = ["AckedSession", "IStreamRegistry", "Key"]

# Empty lines in one EMPTY: they take memory without any octets on the wire.
EMPTY_LINES_MAX = 1024

# The cost of a gap while it waits for the disk: rows in two tables, for ten octets.
GAP_COST = 4 * DEPOSIT_COST

# The longest path of a Linux system.
NAME_OCTETS_MAX = 4096

# A code of BYE, and its text.
_WENT_BACK = (
    "journal-went-back",
    "the journal has lost messages: connect again, and offer all files again",
)

# A stream: worker, id, generation.
Key: TypeAlias = tuple[str, str, int]


class IStreamRegistry(Protocol):
    """A registry of the connection that owns each stream."""

    def opened(self, stream: Key, session: AckedSession) -> None:
        """A connection will request the grant: close an older connection of the stream."""

    def closed(self, stream: Key, session: AckedSession) -> None:
        """A connection has released a stream."""


def _lineFeed() -> Violation:
    return Violation("line-feed", "a line with a line feed inside")


@dataclass
class _Open:
    """A stream that this connection may extend."""

    grant: StreamLease
    name: str
    received: int


class AckedSession(ReceiverSession):
    """
    A session with the delivery extension: positions, gaps, acknowledgements.

    @ivar opened: the streams that are open on this connection.
    """

    def __init__(
        self,
        worker: str,
        fingerprint: str,
        address: str,
        connection: IConnection,
        commits: GroupCommit,
        now: Callable[[], str],
        journal: IJournal,
        limits: Limits,
        owners: IStreamRegistry,
        marks: bool = False,
        reported: Callable[[str, Report], None] | None = None,
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
        super().__init__(worker, fingerprint, address, connection, commits, now, marks)
        self._journal = journal
        self._limits = limits
        self._owners = owners
        self._reported = reported
        self._report = ReportGatherer(commits.seconds)
        self._window = window
        self.opened: set[Key] = set()
        self._nameOctets = 0
        self._streams: dict[tuple[str, int], _Open | None] = {}
        self._current: _Open | None = None
        self._last = False
        self._hasListed = self._saidBye = False
        self._hasAsked = self._hasOpened = False
        self._turns = journal.turns
        # The mark that was sent last; None if marks are not sent.
        self._mark: Mark | None = journal.mark if history else None
        # The committed end of each stream that is not acknowledged yet.
        self._unacknowledged: dict[tuple[str, int], int] = {}
        self._owedOctets = 0
        self._acknowledgedAt = float("-inf")

    def greet(self) -> None:
        """Speak first: before this, no line leaves the worker."""
        journal, limits = self._journal, self._limits
        rest = journal.identity, limits.message, limits.filesPerConnection
        if self._mark is None:
            self._connection.sendControl(HELLO(1, *rest))
            return
        mark = self._mark = journal.mark
        self._connection.sendControl(HELLO2(2, *rest, mark.number, mark.token))
        if self._window:
            self.tellHeld(FREE)

    def tellHeld(self, held: Held) -> None:
        """Tell the peer what holds it back, if version 2.1 was negotiated."""
        if self._window is not None and not self._over:
            self._connection.sendControl(LIMIT(self._window, *held))

    def _newMark(self) -> Sequence[ControlLine]:
        """The mark, if it has moved: it is sent before lines with positions."""
        mark = self._journal.mark
        if self._mark is None or self._mark == mark:
            return ()
        self._mark = mark
        return (MARK(mark.number, mark.token),)

    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages from one receive, each a line of the current stream."""
        if self._last:
            self._lastReceived(self._stream(), messages)
            return
        lines = asLines(messages)
        if lines is not None:
            self.linesReceived(lines)
            return
        self._stream()
        bad = next(at for at, message in enumerate(messages) if b"\n" in message)
        good = asLines(messages[:bad])
        if bad and good is not None:
            self.linesReceived(good)
        raise _lineFeed()

    def linesReceived(self, lines: Lines) -> None:
        """Lines of the current stream."""
        current = self._stream()
        if self._last:
            self._lastReceived(current, lines.messages)
            return
        self._advance(current, len(lines.octets))
        super().linesReceived(lines)

    def _stream(self) -> _Open:
        """
        The stream that frames belong to.

        @raise Violation: there is none.
        """
        if self._current is None:
            raise Violation("order", "a frame before AT")
        return self._current

    def _lastReceived(self, current: _Open, messages: list[bytes]) -> None:
        message, *more = messages
        if b"\n" in message:
            raise _lineFeed()
        self._last = False
        self._cut()
        if not message:
            raise Violation("order", "an empty line as the last of a file")
        start = self._advance(current, len(message))
        self._deposits.append(
            Deposit(
                self._provenance(current.name),
                current.grant,
                start,
                current.received,
                message,
            )
        )
        self._gather(DEPOSIT_COST + len(message))
        # Wherever the receives were cut: no frame may follow until the next AT.
        self._current = None
        if more:
            raise Violation("order", "a frame after the last line of a file")

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
                if self._current is None or not 0 < count <= EMPTY_LINES_MAX:
                    raise Violation("order", f"EMPTY {count}")
                self.linesReceived(Lines(b"\n" * count, count))
            case LAST():
                if self._current is None or self._last:
                    raise Violation("order", "LAST")
                self._last = True
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
                self._commits.listings.begin(self.who.worker, self)
            case SEEN(number, token) if self._mark is not None:
                if self._hasAsked or self._hasListed or self._hasOpened:
                    raise Violation("order", "SEEN is sent once, before LIST and OPEN")
                self._hasAsked = True
                # In the journal's thread before any grant of this connection.
                held = self._commits.perform(self._holds, Mark(number, token))
                held.addCallbacks(self._answer, self._noSpace)
            case STATE() | TROUBLE() | BEAT() | LAG() | REPORT() if self._mayReport(
                line
            ):
                try:
                    report = self._report.lineReceived(line)
                except TooMuch as error:
                    raise Violation("limit", str(error)) from None
                if report is not None and self._reported is not None:
                    self._reported(self.who.worker, report)
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

    def _mayReport(self, line: ControlLine) -> bool:
        """Whether this line of a report was negotiated."""
        if self._reported is None:
            return False
        names = STATE | BEAT if self._window is None else LAG | REPORT
        return isinstance(line, TROUBLE | names)

    def _at(self, line: AT) -> None:
        if self._last:
            raise Violation("order", "AT between LAST and its frame")
        stream = self._streams.get((line.stream, line.generation))
        if stream is None:
            raise Violation("order", "AT for a stream without a RESUME")
        if stream.received != line.offset:
            raise Violation(
                "position",
                f"AT {line.offset}, expected {stream.received} of {stream.name!r}",
            )
        if stream is not self._current:
            if self._blocks:
                self._gather(DEPOSIT_COST)
            self._cut()
            self._current = stream

    def _skip(self, octets: int, reason: str) -> None:
        current = self._current
        if current is None or self._last or octets < 1:
            raise Violation("order", f"SKIP {octets}")
        self._cut()
        start = self._advance(current, octets)
        before = self._deposits[-1] if self._deposits else None
        if before is not None and (before.grant, before.end, before.reason) == (
            current.grant,
            start,
            reason,
        ):
            self._deposits[-1] = replace(before, end=current.received)
            self._gather(LINE_COST)
            return
        self._deposits.append(
            Deposit(
                self._provenance(current.name),
                current.grant,
                start,
                current.received,
                b"",
                reason=reason,
            )
        )
        self._gather(GAP_COST)

    def _advance(self, current: _Open, octets: int) -> int:
        """
        Count octets of the current stream.

        @return: the offset of the first octet.
        @raise Violation: no file can be that long.
        """
        start = current.received
        if start + octets > NUMBER_MAX:
            raise Violation("position", f"{octets} octets after {start}")
        current.received = start + octets
        return start

    def _open(self, line: OPEN) -> None:
        key = (line.stream, line.generation)
        if key in self._streams:
            raise Violation("order", "OPEN of a stream that is open")
        nameOctets = octetsOf(line.name)
        if nameOctets > NAME_OCTETS_MAX:
            raise Violation("limit", f"a name of more than {NAME_OCTETS_MAX} octets")
        most = self._limits.filesPerConnection
        if len(self._streams) >= most:
            raise Violation("limit", f"more than {most} streams")
        if self._nameOctets + nameOctets > NAMES_OCTETS_MAX:
            raise Violation("limit", f"names of more than {NAMES_OCTETS_MAX} octets")
        self._hasOpened = True
        self._nameOctets += nameOctets
        self._streams[key] = None
        self.opened.add((self.who.worker, *key))
        self._owners.opened((self.who.worker, *key), self)
        granted = self._commits.grant(
            OpenRequest(
                self.who.worker,
                line.stream,
                line.generation,
                line.start,
                line.name,
                self._turns,
            ),
            self._isThere,
        )
        granted.addCallbacks(self._granted, self._noSpace, callbackArgs=(line.name,))

    def _shut(self, stream: str, generation: int) -> None:
        """Forget a stream. Octets that were received are still committed and acknowledged."""
        shut = self._streams.get((stream, generation))
        if shut is None:
            raise Violation("order", "CLOSE of a stream without a RESUME")
        if shut is self._current:
            if self._last:
                raise Violation("order", "CLOSE between LAST and its frame")
            if self._blocks:
                self._gather(DEPOSIT_COST)
            self._cut()
            self._current = None
        del self._streams[stream, generation]
        self._nameOctets -= octetsOf(shut.name)
        key = (self.who.worker, stream, generation)
        self.opened.discard(key)
        self._owners.closed(key, self)

    def _isThere(self) -> bool:
        return not self._over

    def ask(self) -> list[StreamPosition]:
        """Read the worker's streams; see L{decnet_syslog.journal._listing.Asker}."""
        return [] if self._over else self._journal.known(self.who.worker)

    def reads(self) -> bool:
        """Whether the peer reads what we send."""
        return self._connection.isRead

    def sendKnown(self, known: list[StreamPosition], isLast: bool) -> None:
        """Send a piece of the answer to LIST."""
        if self._over:
            return
        lines = [
            KNOWN(k.stream, k.generation, k.offset, k.base, k.crc, cutName(k.name))
            for k in known
        ]
        end = (LISTED(),) if isLast else ()
        self._connection.sendControl(*self._newMark(), *lines, *end)

    def listingFailed(self, failure: Failure) -> None:
        """The journal is blocked and cannot be read."""
        self._noSpace(failure)

    def listingRefused(self) -> None:
        """Other connections need the room that the answer takes."""
        self._close("limit", "the answer to LIST was not read, and others wait")

    def peerReads(self) -> None:
        """The peer reads again."""
        self._commits.listings.peerReads(self)

    def _holds(self, mark: Mark) -> bool:
        """The answer to SEEN; runs in the journal's thread."""
        return self._over or self._journal.holds(mark)

    def _answer(self, kept: bool | None) -> None:
        if kept is not None and not self._over:
            self._connection.sendControl(HISTORY(kept))

    def _granted(self, grant: StreamLease | None, name: str) -> None:
        if grant is None or self._over:
            return
        self._streams[grant.stream, grant.generation] = _Open(grant, name, grant.offset)
        self._connection.sendControl(
            *self._newMark(),
            RESUME(grant.stream, grant.generation, grant.offset, grant.base, grant.crc),
        )

    def _noSpace(self, failure: Failure) -> None:
        failure.trap(JournalBlocked)
        self._close("no-space", "the master's journal accepts nothing now")

    def _cut(self) -> None:
        """Make a deposit of the lines gathered for the current stream."""
        if not self._blocks:
            return
        current = self._current
        assert current is not None
        octets, count = self._joined()
        # The position after all gathered lines is known; these are the octets before it.
        end = current.received
        self._deposits.append(
            Deposit(
                self._provenance(current.name),
                current.grant,
                end - len(octets),
                end,
                octets,
                lines=count,
            )
        )

    def take(self) -> Sequence[Deposit]:
        """Everything received since the last call, cut where stream or kind changes."""
        self._cut()
        deposits, self._deposits = self._deposits, []
        self._takeOctets()
        return deposits

    def committed(self, batches: Sequence[Batch | None]) -> None:
        """Acknowledge durable octets, now or soon. Close the connection of a stale sender."""
        for batch in batches:
            if batch is None:
                # Later octets of this connection would overtake the stale ones.
                self._discard()
                self._close(*self._whyStale())
            elif batch.stream is not None:
                self._unacknowledged[batch.stream, batch.generation] = batch.end
                self._owedOctets += len(batch.octets)
        if self._owedOctets >= ACK_OCTETS_MAX:
            self.acknowledge()
        elif self._unacknowledged:
            if (
                self._commits.seconds() - self._acknowledgedAt
                >= self._commits.ackSpacing
            ):
                self.acknowledge()
            else:
                self._commits.scheduleAck(self)
        self._settled()

    def _whyStale(self) -> tuple[str, str]:
        """The reason why a deposit was not committed: a code for BYE and a text."""
        journal = self._journal
        if journal.turns != self._turns:
            return _WENT_BACK
        refusal = journal.refusals.get((self.who.worker, self.who.address))
        return refusal or (
            "superseded",
            "another connection has taken over the stream",
        )

    def journalWentBack(self) -> None:
        """Close the connection: the journal went back, so our positions are wrong."""
        if self._turns == self._journal.turns:
            # This connection was made after the rollback.
            return
        self._discard()
        # Commits that are not acknowledged yet may be lost.
        self._unacknowledged = {}
        self._close(*_WENT_BACK)

    def acknowledge(self) -> None:
        """Send the acknowledgements that are due."""
        owed, self._unacknowledged = self._unacknowledged, {}
        self._owedOctets = 0
        self._acknowledgedAt = self._commits.seconds()
        if owed and not self._over:
            self._commits.acknowledgements += len(owed)
            acks = [ACK(*key, end) for key, end in owed.items()]
            self._connection.sendControl(*self._newMark(), *acks)

    def supersede(self) -> None:
        """
        A newer connection has taken over one of our streams.

        It sends the octets again that we have not handed over yet, in order. If we handed
        them over as well, streams that it has not opened yet would overtake those it has.
        """
        self._discard()
        self._close("superseded", "another connection has taken over the stream")

    def connectionLost(self) -> None:
        """Discard waiting octets while the disk is full: the forwarder sends them again."""
        if self._commits.full:
            self._discard()
        self._commits.listings.forget(self.who.worker, self)
        super().connectionLost()

    def _close(self, code: str, text: str) -> None:
        super()._close(code, text)
        self._commits.listings.forget(self.who.worker, self)

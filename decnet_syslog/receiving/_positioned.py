"""
The lines of a session with the delivery extension: each octet has its position in a stream.

What must be true:

* every deposit starts where the previous one ended. The forwarder sends its position (C{AT}),
  and the listener compares it and never adjusts it;
* a line contains no LF: the journal commits the file's own octets, and their CRC is the file's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..journal import DEPOSIT_COST, LINE_COST, Deposit, GroupCommit
from ..limits import Limits
from ..wire import AT, EMPTY_LINES_MAX, Lines
from ._assembler import Origin, asLines
from ._openstreams import OpenStream, OpenStreams
from ._session import IConnection, ReceiverSession, Violation

__all__ = ["PositionedSession"]


# The cost of a gap while it waits for the disk: rows in two tables, for ten octets.
GAP_COST = 4 * DEPOSIT_COST


def _lineFeed() -> Violation:
    return Violation("line-feed", "a line with a line feed inside")


class PositionedSession(ReceiverSession):
    """A session whose lines belong to open streams."""

    def __init__(
        self,
        who: Origin,
        connection: IConnection,
        commits: GroupCommit,
        limits: Limits,
    ) -> None:
        super().__init__(who, connection, commits)
        self._streams = OpenStreams(limits)
        # Whether the next frame is the last line of a file.
        self._isLast = False

    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages from one receive, each a line of the current stream."""
        if self._isLast:
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
        stream = self._streams.current
        if stream is None or self._isLast:
            self._lastReceived(self._stream(), lines.messages)
            return
        octets = len(lines.octets)
        stream.advance(octets)
        self._assembler.blocks.append(lines)
        # The LFs do not count: the peer has not sent them.
        self._gather(octets + (LINE_COST - 1) * lines.number)

    def _stream(self) -> OpenStream:
        """
        The stream that frames belong to.

        @raise Violation: there is none.
        """
        stream = self._streams.current
        if stream is None:
            raise Violation("order", "a frame before AT")
        return stream

    def _lastReceived(self, stream: OpenStream, messages: list[bytes]) -> None:
        message, *more = messages
        if b"\n" in message:
            raise _lineFeed()
        self._isLast = False
        self._cut()
        if not message:
            raise Violation("order", "an empty line as the last of a file")
        start = stream.advance(len(message))
        self._deposit(stream, start, message)
        self._gather(DEPOSIT_COST + len(message))
        # Wherever the receives were cut: no frame may follow until the next AT.
        self._streams.current = None
        if more:
            raise Violation("order", "a frame after the last line of a file")

    def _deposit(
        self, stream: OpenStream, start: int, octets: bytes, reason: str | None = None
    ) -> None:
        provenance = self._assembler.provenance(stream.name)
        self._assembler.deposits.append(
            Deposit(
                provenance, stream.lease, start, stream.received, octets, reason=reason
            )
        )

    def _at(self, line: AT) -> None:
        if self._isLast:
            raise Violation("order", "AT between LAST and its frame")
        stream = self._streams.at(line)
        if stream is not self._streams.current:
            self._cutEarly()
            self._streams.current = stream

    def _empty(self, count: int) -> None:
        if self._streams.current is None or not 0 < count <= EMPTY_LINES_MAX:
            raise Violation("order", f"EMPTY {count}")
        self.linesReceived(Lines(b"\n" * count, count))

    def _last(self) -> None:
        if self._streams.current is None or self._isLast:
            raise Violation("order", "LAST")
        self._isLast = True

    def _skip(self, octets: int, reason: str) -> None:
        stream = self._streams.current
        if stream is None or self._isLast or octets < 1:
            raise Violation("order", f"SKIP {octets}")
        self._cut()
        start = stream.advance(octets)
        deposits = self._assembler.deposits
        if deposits:
            before = deposits[-1]
            if (before.grant, before.end, before.reason) == (
                stream.lease,
                start,
                reason,
            ):
                deposits[-1] = replace(before, end=stream.received)
                self._gather(LINE_COST)
                return
        self._deposit(stream, start, b"", reason)
        self._gather(GAP_COST)

    def _cutEarly(self) -> None:
        """Make a deposit of the gathered lines, one more than the commit would have made."""
        if self._assembler.blocks:
            self._gather(DEPOSIT_COST)
        self._cut()

    def _cut(self, receivedAt: str | None = None) -> None:
        """Make a deposit of the lines gathered for the current stream."""
        stream = self._streams.current
        if stream is not None:
            self._assembler.cut(stream.name, stream.lease, stream.received, receivedAt)

    def take(self, receivedAt: str) -> Sequence[Deposit]:
        """Everything received since the last call, cut where stream or kind changes."""
        self._cut(receivedAt)
        self._handOver()
        return self._assembler.take()

"""The session of a peer without the extension: plain RFC 5425."""

from __future__ import annotations

from collections.abc import Sequence

from ..journal import DEPOSIT_COST, LINE_COST, Batch, Deposit
from ..wire import Lines, Oversize
from ._assembler import asLines
from ._session import ReceiverSession

__all__ = ["OVERSIZE", "PlainSession"]

# The reason of a gap for a message over the limit; the forwarder uses the same for a line.
OVERSIZE = "oversize"


class PlainSession(ReceiverSession):
    """
    A session from a peer without the extension: plain RFC 5425.

    One LF at the end of a message counts as its line end: rsyslog's own
    RFC 5424 template sends one.
    """

    # All gathered messages one by one, from the first message with an LF inside on.
    _loose: list[bytes] | None = None

    def framesReceived(self, messages: list[bytes]) -> None:
        """Messages from one receive."""
        octets = sum(map(len, messages))
        block = asLines(messages)
        if block is None:
            messages = [m[:-1] if m.endswith(b"\n") else m for m in messages]
            block = asLines(messages)
        if block is None or self._loose is not None:
            self._loosen().extend(messages)
        else:
            self._assembler.blocks.append(block)
        self._gather(octets + LINE_COST * len(messages))

    def linesReceived(self, lines: Lines) -> None:
        """Messages from one receive that contain no LF."""
        super().linesReceived(lines)
        if self._loose is not None:
            self._loosen()

    def _loosen(self) -> list[bytes]:
        """All gathered messages, one by one."""
        blocks, self._assembler.blocks = self._assembler.blocks, []
        loose = [] if self._loose is None else self._loose
        for lines in blocks:
            loose.extend(lines.messages)
        self._loose = loose
        return loose

    def _discard(self) -> None:
        self._loose = None
        super()._discard()

    def oversizeReceived(self, frame: Oversize) -> None:
        """Make a gap record of a message over the limit, with its length and first octets."""
        assembler = self._assembler
        pending = bool(assembler.blocks or self._loose)
        gap = Deposit(
            assembler.provenance(None),
            None,
            0,
            frame.length,
            frame.first,
            reason=OVERSIZE,
        )
        self._cut()
        assembler.deposits.append(gap)
        self._gather((1 + pending) * DEPOSIT_COST + len(frame.first))

    def take(self, receivedAt: str) -> Sequence[Deposit]:
        """Deposits of every message received since the last call."""
        self._cut(receivedAt)
        self._handOver()
        return self._assembler.take()

    def _cut(self, receivedAt: str | None = None) -> None:
        """Make a deposit of the messages that were gathered."""
        loose, self._loose = self._loose, None
        if loose is None:
            self._assembler.cut(None, None, 0, receivedAt)
            return
        provenance = self._assembler.provenance(None, receivedAt)
        lengths = tuple(map(len, loose))
        self._assembler.deposits.append(
            Deposit(provenance, None, 0, 0, b"".join(loose), lengths)
        )

    def committed(self, batches: Sequence[Batch | None], now: float) -> None:
        """Make room; a peer without the extension gets no acknowledgement."""
        self._settled()

    def acknowledge(self) -> None:
        """Do nothing: a peer without the extension gets no acknowledgement."""

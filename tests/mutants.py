"""Mistakes, put in by hand: the model must find each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from decnet_syslog.master import outputfile
from decnet_syslog.master.acknowledged import Acknowledged
from decnet_syslog.master.streams import Position, StreamTable
from decnet_syslog.master.values import Deposit, Grant
from decnet_syslog.wire.control import ACK, RESUME
from decnet_syslog.worker.shipment import Shipment
from decnet_syslog.worker.tail import Tail

__all__ = ["MUTANTS"]


def acknowledgeBeforeCommit() -> AbstractContextManager[object]:
    """The listener acknowledges what it has received, not what it has committed."""
    original = Acknowledged.framesReceived

    def framesReceived(self: Acknowledged, messages: list[bytes]) -> None:
        original(self, messages)
        current = self._current
        if current is not None:
            grant = current.grant
            self._line.sendControl(
                ACK(grant.stream, grant.generation, current.received)
            )

    def committed(self: Acknowledged, batches: Any) -> None:
        self._settled()

    return mock.patch.multiple(
        Acknowledged, framesReceived=framesReceived, committed=committed
    )


def advanceAtDrain() -> AbstractContextManager[object]:
    """The forwarder advances when it has written, and believes itself, as DECNET's did."""
    original = Shipment._send
    resumed = Shipment._resumed

    def _send(self: Shipment, way: Any, piece: Any) -> None:
        original(self, way, piece)
        way.incarnation.acknowledge(*way.sent.popleft())
        way.acknowledged = piece.end

    def _resumed(self: Shipment, line: RESUME) -> None:
        mark = self._way(line.stream, line.generation).incarnation.bookmark
        if line.offset < mark.offset:
            line = RESUME(
                line.stream, line.generation, mark.offset, mark.base, mark.crc
            )
        resumed(self, line)

    def _acknowledged(self: Shipment, line: ACK) -> None:
        """It does not listen."""

    def _at(self: Acknowledged, line: Any) -> None:
        """A listener of that kind does not compare either."""
        stream = self._streams[line.stream, line.generation]
        assert stream is not None
        self._cut()
        self._current = stream

    first = mock.patch.multiple(
        Shipment, _send=_send, _resumed=_resumed, _acknowledged=_acknowledged
    )
    return _Both(first, mock.patch.object(Acknowledged, "_at", _at))


def forgetGeneration() -> AbstractContextManager[object]:
    """A rotated file goes on under the generation of the one before."""
    original = Tail._new

    def _new(self: Tail, descriptor: int, offset: int = 0) -> Any:
        self._generation = -1
        return original(self, descriptor, offset)

    return mock.patch.object(Tail, "_new", _new)


def applyTwice() -> AbstractContextManager[object]:
    """After a crash the batches behind the cursor are written, whatever the file has."""
    original = outputfile.OutputFile.recover.__func__  # type: ignore[attr-defined]

    def recover(cls: Any, path: str, recorded: Any, events: Any) -> Any:
        file = original(cls, path, recorded, events)
        file.surplus = 0
        file._doubted = None
        return file

    return mock.patch.object(outputfile.OutputFile, "recover", classmethod(recover))


def withoutComparing() -> AbstractContextManager[object]:
    """The journal commits a deposit wherever the stream is."""

    def advance(
        self: StreamTable,
        deposit: Deposit,
        grant: Grant,
        positions: dict[int, Position],
    ) -> bool:
        self._db.execute(
            "UPDATE stream SET offset = max(offset, ?) WHERE id = ?",
            (deposit.end, grant.row),
        )
        return True

    return mock.patch.object(StreamTable, "advance", advance)


class _Both:
    """Two patches as one."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __enter__(self) -> None:
        for part in self.parts:
            part.__enter__()

    def __exit__(self, *error: Any) -> None:
        for part in reversed(self.parts):
            part.__exit__(*error)


MUTANTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "acknowledge before commit": acknowledgeBeforeCommit,
    "advance the offset at drain": advanceAtDrain,
    "forget the generation on rotation": forgetGeneration,
    "apply a batch twice after a crash": applyTwice,
    "commit without comparing": withoutComparing,
}

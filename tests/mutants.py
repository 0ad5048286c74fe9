"""Mistakes, put in by hand: the model must find each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from decnet_syslog.files._follower import FileFollower
from decnet_syslog.master import outputfile
from decnet_syslog.master.acknowledged import Acknowledged
from decnet_syslog.master.streams import Position, StreamTable
from decnet_syslog.master.values import Deposit, Grant
from decnet_syslog.wire.control import ACK, RESUME
from decnet_syslog.worker.acked import AckedSender

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
    original = AckedSender._sendChunk
    resumed = AckedSender._resumed

    def _sendChunk(self: AckedSender, content: Any, chunk: Any) -> None:
        original(self, content, chunk)
        stream = self._streams.of[content]
        content.acknowledge(*stream.sent.popleft())
        stream.acknowledged = chunk.end

    def _resumed(self: AckedSender, line: RESUME) -> None:
        mark = self._opened(line.stream, line.generation).content.acknowledged
        if line.offset < mark.offset:
            line = RESUME(
                line.stream, line.generation, mark.offset, mark.base, mark.crc
            )
        resumed(self, line)

    def _acknowledged(self: AckedSender, line: ACK) -> None:
        """It does not listen."""

    def _at(self: Acknowledged, line: Any) -> None:
        """A listener of that kind does not compare either."""
        stream = self._streams[line.stream, line.generation]
        assert stream is not None
        self._cut()
        self._current = stream

    first = mock.patch.multiple(
        AckedSender,
        _sendChunk=_sendChunk,
        _resumed=_resumed,
        _acknowledged=_acknowledged,
    )
    return _Both(first, mock.patch.object(Acknowledged, "_at", _at))


def forgetGeneration() -> AbstractContextManager[object]:
    """A rotated file goes on under the generation of the one before."""
    original = FileFollower.begin

    def begin(self: FileFollower, *arguments: Any, **more: Any) -> Any:
        self.generation = -1
        return original(self, *arguments, **more)

    return mock.patch.object(FileFollower, "begin", begin)


def applyTwice() -> AbstractContextManager[object]:
    """After a crash the batches behind the cursor are written, whatever the file has."""
    original = outputfile.OutputFile.recover.__func__  # type: ignore[attr-defined]

    def recover(cls: Any, path: str, recorded: Any, events: Any) -> Any:
        file = original(cls, path, recorded, events)
        file.surplus = 0
        file._doubtful = False
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

"""An independent reader of the octets from a forwarder to a listener."""

from __future__ import annotations

from decnet_syslog.journal import Batch
from decnet_syslog.wire import (
    AT,
    CLOSE,
    EMPTY,
    LAST,
    OPEN,
    SKIP,
    ControlError,
    ControlLine,
    parseControl,
)
from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import FramingError, Oversize

__all__ = ["Item", "Key", "Sent"]

# The position, and either the octets or the reason of a gap.
Item = tuple[int, int, bytes | str]
Key = tuple[str, int]


class Sent:
    """
    The content sent by a forwarder, read from its own octets without regard to the
    answers.

    @ivar items: the items of each stream at the positions that the forwarder gave, in
        order.
    @ivar messages: all frames from a peer without the extension.
    @ivar opened: the streams that it opened, in order.
    @ivar broken: whether it broke the framing, or sent an invalid control line.
    """

    def __init__(self, control: bool, messageOctetsMax: int) -> None:
        self.items: dict[Key, list[Item]] = {}
        self.messages: list[bytes] = []
        self.names: set[str] = set()
        self.opened: list[Key] = []
        self.broken = False
        self.oversize: list[Oversize] = []
        # A peer without the extension is read leniently.
        self._decoder = FrameDecoder(messageOctetsMax, control, not control)
        self._control = control
        self._current: Key | None = None
        self._position = 0
        self._last = False

    def feed(self, octets: bytes) -> None:
        """Read octets that are about to be received."""
        while not self.broken:
            frames: list[bytes] = []
            line = None
            try:
                line = self._decoder.decode(octets, frames)
            except FramingError:
                self.broken = True
            for frame in frames:
                self._frame(frame)
            if line is None:
                return
            octets = b""
            if isinstance(line, Oversize):
                self.oversize.append(line)
                continue
            try:
                self._line(parseControl(line))
            except ControlError:
                self.broken = True

    def _frame(self, message: bytes) -> None:
        if not self._control:
            self.messages.append(message)
        last, self._last = self._last, False
        self._item(message if last else message + b"\n")
        if last:
            # No line may follow the final line of a file until AT gives a position.
            self._current = None

    def _item(self, what: bytes | str, count: int | None = None) -> None:
        if self._current is None:
            return
        start, end = self._position, self._position + (count or len(what))
        self._position = end
        self.items.setdefault(self._current, []).append((start, end, what))

    def _line(self, line: ControlLine) -> None:
        match line:
            case OPEN():
                self.names.add(line.name)
                self.opened.append((line.stream, line.generation))
            case CLOSE(stream, generation):
                if self._current == (stream, generation):
                    self._current = None
            case AT():
                self._current = (line.stream, line.generation)
                self._position = line.offset
            case EMPTY(count):
                for _ in range(min(count, 1024)):
                    self._item(b"\n")
            case LAST():
                self._last = True
            case SKIP(octets, reason):
                self._item(reason, octets)

    def has(self, batch: Batch) -> bool:
        """Whether a batch equals the octets sent for its position."""
        assert batch.stream is not None
        at, parts = batch.start, []
        for start, end, what in self.items.get((batch.stream, batch.generation), ()):
            if start == at < batch.end:
                parts.append(what)
                at = end
        if at != batch.end or batch.provenance.log not in self.names:
            return False
        if batch.reason is not None:
            return set(parts) == {batch.reason} and not batch.octets
        octets = [part for part in parts if isinstance(part, bytes)]
        return len(octets) == len(parts) and b"".join(octets) == batch.octets

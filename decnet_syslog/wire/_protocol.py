"""The framing as a Twisted protocol, in the manner of Twisted's C{Int32StringReceiver}.

Each receive causes one call of L{OctetCountedReceiver.linesReceived} or of
L{OctetCountedReceiver.framesReceived}, or of both, with all complete messages in it, so no work per
message is done here. Override L{stringReceived} to get single messages.
"""

from __future__ import annotations

from twisted.internet.protocol import Protocol

from ._control import ControlError, encodeControl, parseControl
from ._decoder import FrameDecoder
from ._fields import ControlLine
from ._framing import MESSAGE_OCTETS_MAX, FramingError, LengthError, Lines, Oversize

__all__ = ["OctetCountedReceiver"]


class OctetCountedReceiver(Protocol):
    """
    Receive and send octet-counted frames, and control lines if L{control} is true.

    @cvar MAX_LENGTH: the longest message, in octets.
    @ivar lenient: as in L{FrameDecoder}.
    """

    MAX_LENGTH = MESSAGE_OCTETS_MAX
    control = False
    lenient = False

    _decoder: FrameDecoder | None = None
    _refused = False
    _halted = False
    _decoding = False

    def dataReceived(self, data: bytes) -> None:
        """Decode a receive. After a framing error, everything else is discarded."""
        # After loseConnection, TLS still delivers octets that it had read.
        if self._refused:
            return
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = FrameDecoder(
                self.MAX_LENGTH, self.control, self.lenient
            )
        if self._halted:
            decoder.keep(data)
            return
        message = decoder.only(data)
        if message is not None:
            if b"\n" in message:
                self.framesReceived([message])
            else:
                self.linesReceived(Lines(message + b"\n", 1))
            return
        self._decoding = True
        try:
            self._decode(decoder, data)
        finally:
            self._decoding = False

    def halt(self) -> None:
        """
        Stop decoding for now; the rest of the present receive waits, too.

        The caller must also pause the transport, which may still deliver one receive.
        """
        self._halted = True

    def proceed(self) -> None:
        """Decode again, the waiting octets first."""
        self._halted = False
        if self._decoder is not None and not self._decoding and self._decoder.held:
            self.dataReceived(b"")

    def _decode(self, decoder: FrameDecoder, data: bytes) -> None:
        while True:
            frames: list[bytes] = []
            blocks: list[Lines] = []
            try:
                found = decoder.decode(data, frames, blocks)
            except FramingError as error:
                self._tellEmpty(decoder)
                self._handOver(blocks, frames)
                self._refused = True
                if isinstance(error, LengthError):
                    self.lengthLimitExceeded(error.length)
                self.frameError(error)
                return
            self._tellEmpty(decoder)
            self._handOver(blocks, frames)
            if found is None or self._refused:
                return
            if isinstance(found, Oversize):
                self.oversizeReceived(found)
            else:
                try:
                    value = parseControl(found)
                except ControlError as error:
                    self.refuse()
                    self.frameError(error)
                    return
                self.controlReceived(value)
            if self._refused or self._halted:
                return
            data = b""

    def _handOver(self, blocks: list[Lines], frames: list[bytes]) -> None:
        """Pass messages on, unless an earlier one was refused."""
        for lines in blocks:
            self.linesReceived(lines)
        if frames and not self._refused:
            self.framesReceived(frames)

    def _tellEmpty(self, decoder: FrameDecoder) -> None:
        count, decoder.empty = decoder.empty, 0
        if count:
            self.emptyFramesReceived(count)

    def refuse(self) -> None:
        """Discard everything that is received from now on."""
        self._refused = True

    @property
    def unfinished(self) -> int:
        """Octets held of an incomplete frame; they are lost when the connection is."""
        return 0 if self._decoder is None else self._decoder.held

    def linesReceived(self, lines: Lines) -> None:
        """Complete messages without an LF; the rest of the receive follows them."""
        self.framesReceived(lines.messages)

    def framesReceived(self, messages: list[bytes]) -> None:
        """One or more complete messages, in order."""
        for message in messages:
            self.stringReceived(message)

    def stringReceived(self, message: bytes) -> None:
        """One complete message."""

    def controlReceived(self, line: ControlLine) -> None:
        """One control line; only if L{control} is true."""

    def oversizeReceived(self, frame: Oversize) -> None:
        """A frame over the limit, which is discarded; only if L{lenient} is true."""

    def emptyFramesReceived(self, count: int) -> None:
        """C{count} empty frames were skipped; only if L{lenient} is true."""

    def lengthLimitExceeded(self, length: int) -> None:
        """A frame of C{length} octets was announced. L{frameError} follows."""

    def frameError(self, error: FramingError | ControlError) -> None:
        """The peer broke the framing. The default closes the connection."""
        assert self.transport is not None
        self.transport.loseConnection()

    def sendString(self, message: bytes) -> None:
        """
        Send one message as a frame.

        @raise ValueError: the message is too long, or empty, which no frame can be.
        """
        assert self.transport is not None
        if not 0 < len(message) <= self.MAX_LENGTH:
            raise ValueError(f"a message must have 1 to {self.MAX_LENGTH} octets")
        self.transport.write(b"%d %b" % (len(message), message))

    def sendControl(self, *lines: ControlLine) -> None:
        """Send control lines."""
        assert self.transport is not None
        self.transport.write(b"".join([encodeControl(line) for line in lines]))

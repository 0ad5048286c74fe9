"""
Zstandard (RFC 8878), block by block.

The libraries return everything that their input expands to, and a block of four octets can
expand to 128 KiB. One library does not report the end of a frame. So this module walks the
frames, which is simple, and gives the library one block at a time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._errors import BadOctets, CannotDecode

__all__ = ["ZSTD_MAGIC", "FrameHeader", "ZstdDecoder", "zstdLibrary"]

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

# Section 3.1.2: sixteen magic numbers of frames without content.
_SKIPPABLE = b"\x2a\x4d\x18"

# Section 3.1.1.2.4: of a block, plain or compressed.
BLOCK_OCTETS_MAX = 128 * 1024

# What "zstd" makes without --long, and "zstd -d" takes.
WINDOW_OCTETS_MAX = 128 * 1024 * 1024

# Section 3.1.1.1: the magic number, and at most 14 octets.
HEADER_OCTETS_MAX = 18

_RAW, _RLE, _COMPRESSED = range(3)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """
    The header of a frame.

    @ivar octets: of the header.
    @ivar window: octets that a decoder must remember.
    @ivar size: of the content, if it is there.
    """

    octets: int
    window: int
    size: int | None
    dictionary: int
    checksum: bool

    @classmethod
    def parse(cls, octets: bytes) -> FrameHeader | None:
        """
        Parse a header; C{None}: more octets are needed.

        @param octets: from the magic number on.
        @raise BadOctets: it is none.
        """
        if not octets.startswith(ZSTD_MAGIC[: len(octets)]):
            raise BadOctets("no frame of zstd begins here")
        if len(octets) < 5:
            return None
        flags = octets[4]
        if flags & 8:
            raise BadOctets("a reserved bit of a frame of zstd is set")
        single = bool(flags & 32)
        dictionary = (0, 1, 2, 4)[flags & 3]
        size = (1 if single else 0, 2, 4, 8)[flags >> 6]
        at = 5 if single else 6
        end = at + dictionary + size
        if len(octets) < end:
            return None
        content: int | None = None
        if size:
            # Two octets do not repeat what one could say.
            extra = 256 if size == 2 else 0
            content = int.from_bytes(octets[at + dictionary : end], "little") + extra
        window = content or 0
        if not single:
            exponent, mantissa = octets[5] >> 3, octets[5] & 7
            window = (1 << 10 + exponent) * (8 + mantissa) // 8
        number = int.from_bytes(octets[at : at + dictionary], "little")
        return cls(end, window, content, number, bool(flags & 4))


def zstdLibrary() -> Callable[[], Any]:
    """
    A factory of decoders for a single frame, from the installed library.

    @raise CannotDecode: there is none.
    """
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        pass
    else:
        context = zstandard.ZstdDecompressor(max_window_size=WINDOW_OCTETS_MAX)
        return lambda: context.decompressobj()
    try:
        # Python 3.14 brings its own.
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        raise CannotDecode(
            "zstd needs a library that is not installed: pip install zstandard"
        ) from None
    return lambda: zstd.ZstdDecompressor()


class ZstdDecoder:
    """
    A L{Decoder} of frames of zstd, one behind the other, and zeros.

    @ivar complete: whether the content may end here.
    @ivar streams: how many frames have ended.
    """

    def __init__(self, paddingOctetsMax: int) -> None:
        """
        @param paddingOctetsMax: zeros that may stand between and behind frames.
        @raise CannotDecode: there is no library.
        """
        self.complete = False
        self.streams = 0
        self._begin = zstdLibrary()
        self._padding = paddingOctetsMax
        self._octets = b""
        self._frame: Any = None
        self._header: FrameHeader | None = None
        self._begun = self._last = False
        # Of a skippable frame, still to come.
        self._skip = 0

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the file."""
        self._octets += octets

    def read(self) -> bytes:
        """Give the next octets of the content; none: feed more."""
        step: Callable[[], bytes | None]
        while self._octets:
            if self._skip:
                step = self._skipped
            elif self._header is None:
                step = self._started
            else:
                step = self._ended if self._last else self._block
            plain = step()
            if plain is None:
                # More octets are needed for this.
                return b""
            if plain:
                return plain
        return b""

    def _take(self, count: int) -> bytes:
        taken, self._octets = self._octets[:count], self._octets[count:]
        return taken

    def _skipped(self) -> bytes | None:
        self._skip -= len(self._take(self._skip))
        self.complete = not self._skip and self._begun
        return b""

    def _started(self) -> bytes | None:
        """The beginning of a frame."""
        if self._begun:
            behind = self._octets.lstrip(b"\0")
            self._padding -= len(self._octets) - len(behind)
            if self._padding < 0:
                raise BadOctets("too many zeros follow")
            self._octets = behind
            if not behind:
                return None
        self.complete = False
        if self._octets[1:4] == _SKIPPABLE and self._octets[0] & 0xF0 == 0x50:
            if len(self._octets) < 8:
                return None
            self._skip = int.from_bytes(self._take(8)[4:], "little")
            self._begun = True
            self.complete = not self._skip
            return b""
        header = FrameHeader.parse(self._octets)
        if header is None:
            return None
        if header.dictionary:
            raise CannotDecode(
                f"it needs the dictionary {header.dictionary}: compress without -D"
            )
        if header.window > WINDOW_OCTETS_MAX:
            raise CannotDecode(
                f"it needs {header.window} octets of memory, more than"
                f" {WINDOW_OCTETS_MAX}: compress without --long"
            )
        self._begun, self._header, self._last = True, header, False
        self._frame = self._begin()
        return self._decode(header.octets)

    def _block(self) -> bytes | None:
        """A block of a frame."""
        header = int.from_bytes(self._octets[:3], "little")
        kind, size = header >> 1 & 3, header >> 3
        if len(self._octets) < 3:
            return None
        if kind > _COMPRESSED or size > BLOCK_OCTETS_MAX:
            raise BadOctets("a block of zstd has no such type or size")
        count = 3 + (1 if kind == _RLE else size)
        if len(self._octets) < count:
            return None
        self._last = bool(header & 1)
        plain = self._decode(count)
        if self._last and self._header is not None and not self._header.checksum:
            self._finish()
        return plain

    def _ended(self) -> bytes | None:
        """The checksum of a frame."""
        if len(self._octets) < 4:
            return None
        plain = self._decode(4)
        self._finish()
        return plain

    def _finish(self) -> None:
        self._header = self._frame = None
        self.complete = True
        self.streams += 1

    def _decode(self, count: int) -> bytes:
        try:
            return bytes(self._frame.decompress(self._take(count)))
        except Exception as error:
            # Each library has an error of its own, and neither is imported here.
            raise BadOctets(str(error)) from error

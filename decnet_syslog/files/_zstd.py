"""
Zstandard (RFC 8878), block by block.

The libraries return all the octets that their input expands to, and a block of four octets can
expand to 128 KiB. One library does not report the end of a frame. So this module walks the
frames itself, which is simple, and passes one block at a time to the library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from ..boundaries import Foreign
from ._errors import BadOctets, CannotDecode

__all__ = ["ZSTD_MAGIC", "FrameHeader", "ZstdDecoder", "zstdLibrary"]

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

# Section 3.1.2: the last three octets of the magic numbers of frames without content.
_SKIPPABLE = b"\x2a\x4d\x18"

# Section 3.1.1.2.4: the maximum size of a block, plain or compressed.
BLOCK_OCTETS_MAX = 128 * 1024

# The largest window that "zstd" uses without --long, and that "zstd -d" accepts.
WINDOW_OCTETS_MAX = 128 * 1024 * 1024

# Section 3.1.1.1: the magic number, and at most 14 more octets.
HEADER_OCTETS_MAX = 18

_RAW, _RLE, _COMPRESSED = range(3)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """
    The header of a frame.

    @ivar octets: the size of the header.
    @ivar window: octets that a decoder must remember.
    @ivar size: of the content, if the header states it.
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

        @param octets: begin with the magic number.
        @raise BadOctets: they are not a valid header.
        """
        if not octets.startswith(ZSTD_MAGIC[: len(octets)]):
            raise BadOctets("no zstd frame begins here")
        if len(octets) < 5:
            return None
        flags = octets[4]
        if flags & 8:
            raise BadOctets("a reserved bit of a zstd frame is set")
        single = bool(flags & 32)
        dictionary = (0, 1, 2, 4)[flags & 3]
        size = (1 if single else 0, 2, 4, 8)[flags >> 6]
        at = 5 if single else 6
        end = at + dictionary + size
        if len(octets) < end:
            return None
        content: int | None = None
        if size:
            # Two octets encode sizes from 256, because one octet can encode smaller ones.
            extra = 256 if size == 2 else 0
            content = int.from_bytes(octets[at + dictionary : end], "little") + extra
        window = content or 0
        if not single:
            exponent, mantissa = octets[5] >> 3, octets[5] & 7
            window = (1 << 10 + exponent) * (8 + mantissa) // 8
        number = int.from_bytes(octets[at : at + dictionary], "little")
        return cls(end, window, content, number, bool(flags & 4))


def zstdLibrary() -> Callable[[], Foreign]:
    """
    A factory of decoders for a single frame, from the installed library.

    @raise CannotDecode: no library is installed.
    """
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        pass
    else:
        context = zstandard.ZstdDecompressor(max_window_size=WINDOW_OCTETS_MAX)
        return lambda: context.decompressobj()
    try:
        # Python 3.14 has its own library.
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        raise CannotDecode(
            "zstd needs a library that is not installed: pip install zstandard"
        ) from None
    return lambda: zstd.ZstdDecompressor()


class ZstdDecoder:
    """
    A L{Decoder} of consecutive zstd frames, and of the zeros after them.

    @ivar complete: whether the content may end here.
    @ivar streams: how many frames have ended.
    """

    def __init__(self, paddingOctetsMax: int) -> None:
        """
        @param paddingOctetsMax: maximum number of zeros between and after frames.
        @raise CannotDecode: no library is installed.
        """
        self.complete = False
        self.streams = 0
        self._begin = zstdLibrary()
        self._padding = paddingOctetsMax
        self._octets = b""
        self._frame: Foreign = None
        self._header: FrameHeader | None = None
        self._begun = self._last = False
        # The number of octets of a skippable frame that are still missing.
        self._skip = 0

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the file."""
        self._octets += octets

    def read(self) -> bytes:
        """Return the next octets of the content; empty: feed more."""
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
                # The step needs more octets.
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
        """Decode the beginning of a frame."""
        if self._begun:
            behind = self._octets.lstrip(b"\0")
            self._padding -= len(self._octets) - len(behind)
            if self._padding < 0:
                raise BadOctets("too many zeros follow a frame")
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
        """Decode a block of a frame."""
        header = int.from_bytes(self._octets[:3], "little")
        kind, size = header >> 1 & 3, header >> 3
        if len(self._octets) < 3:
            return None
        if kind > _COMPRESSED or size > BLOCK_OCTETS_MAX:
            raise BadOctets("a zstd block has an invalid type or size")
        count = 3 + (1 if kind == _RLE else size)
        if len(self._octets) < count:
            return None
        self._last = bool(header & 1)
        plain = self._decode(count)
        if self._last and self._header is not None and not self._header.checksum:
            self._finish()
        return plain

    def _ended(self) -> bytes | None:
        """Check the checksum of a frame."""
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
            # Each library has its own errors, and neither library is imported here.
            raise BadOctets(str(error)) from error

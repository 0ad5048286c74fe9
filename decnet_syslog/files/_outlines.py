"""
The first octets and the size of a compressed file's content, without unpacking it.

Both are hints that select archives worth unpacking. Only the content itself proves anything.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ._archives import PACKED_OCTETS, openRegular
from ._codecs import codecOf, decoderFor
from ._errors import BadOctets, CannotDecode
from ._zstd import BLOCK_OCTETS_MAX, FrameHeader

__all__ = ["HEAD_OCTETS", "Outline", "outline"]

# Octets of the content that identify a file at first sight.
HEAD_OCTETS = 4096

# Maximum number of compressed octets to read for the head: bzip2 only decodes whole blocks.
HEAD_PACKED_OCTETS_MAX = 1024 * 1024

# zstd has no index: walk at most this many blocks.
ZSTD_BLOCKS_MAX = 1024

# From the xz file format 1.1.0: the footer of a stream; an index larger than that of any log.
_XZ_FOOTER_OCTETS = 12
_XZ_INDEX_OCTETS_MAX = 1024 * 1024
_XZ_STREAMS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Outline:
    """
    The head and the size of a compressed file's content.

    @ivar head: the first octets of the content.
    @ivar size: of the content; C{None} if the format does not store it, or several streams
        follow one after the other.
    @ivar modulo: the size is known only modulo this; 0: it is exact.
    """

    head: bytes
    size: int | None
    modulo: int = 0

    def admits(self, size: int) -> bool:
        """Whether the content may have a given size."""
        if self.size is None:
            return True
        return self.size == (size % self.modulo if self.modulo else size)


def outline(path: str, headOctets: int = HEAD_OCTETS) -> Outline | None:
    """
    Read the head and the size of a compressed file's content.

    @param headOctets: the maximum length of the head.
    @return: C{None} for a file that is unfinished, damaged, or of a format that cannot be
        decoded here.
    @raise OSError: the file cannot be read; C{FileNotFoundError} if it is not a regular file.
    """
    descriptor = openRegular(path)
    try:
        codec = codecOf(os.path.basename(path), os.pread(descriptor, 16, 0))
        return None if codec is None else _outline(descriptor, codec, headOctets)
    except (BadOctets, CannotDecode):
        return None
    finally:
        os.close(descriptor)


def _outline(descriptor: int, codec: str, headOctets: int) -> Outline | None:
    decoder = decoderFor(codec)
    parts: list[bytes] = []
    have = at = 0
    octets = b"-"
    while have < headOctets and at < HEAD_PACKED_OCTETS_MAX:
        octets = os.pread(descriptor, PACKED_OCTETS, at)
        if not octets:
            break
        at += len(octets)
        decoder.feed(octets)
        while have < headOctets and (plain := decoder.read()):
            parts.append(plain)
            have += len(plain)
    head = b"".join(parts)
    if not octets:
        # The whole file was read, so this is the whole content.
        return Outline(head[:headOctets], len(head)) if decoder.complete else None
    size: int | None = None
    if codec == "xz":
        size = _xzSize(descriptor)
        if size is None:
            return None
    elif codec == "zstd":
        size = _zstdSize(descriptor)
    elif codec == "gzip":
        # RFC 1952 section 2.3.1: a member ends in CRC32 and ISIZE, four octets each.
        end = os.fstat(descriptor).st_size
        if end < 18:
            return None
        if not decoder.streams:
            size = int.from_bytes(os.pread(descriptor, 4, end - 4), "little")
        return Outline(head[:headOctets], size, 2**32)
    return Outline(head[:headOctets], size)


def _zstdSize(descriptor: int) -> int | None:
    """The size of the content, if there is a single, short frame that states it."""
    header = FrameHeader.parse(os.pread(descriptor, 18, 0))
    if header is None or header.size is None:
        return None
    end = os.fstat(descriptor).st_size
    at = header.octets
    for _ in range(ZSTD_BLOCKS_MAX):
        block = int.from_bytes(os.pread(descriptor, 3, at), "little")
        size = 1 if block >> 1 & 3 == 1 else block >> 3
        if at + 3 > end or size > BLOCK_OCTETS_MAX:
            return None
        at += 3 + size
        if block & 1:
            at += 4 if header.checksum else 0
            return header.size if at == end else None
    return None


def _xzSize(descriptor: int) -> int | None:
    """
    The size of the content, from the indexes of all streams.

    @return: C{None} if the file is not finished, or damaged.
    """
    end = os.fstat(descriptor).st_size
    total = 0
    for _ in range(_XZ_STREAMS_MAX):
        # Skip stream padding, if there is any.
        start = max(0, end - PACKED_OCTETS)
        end = start + len(os.pread(descriptor, end - start, start).rstrip(b"\0"))
        stream = _xzStream(descriptor, end)
        if stream is None:
            return None
        end -= stream[0]
        total += stream[1]
        if end == 0:
            return total
    return None


def _xzStream(descriptor: int, end: int) -> tuple[int, int] | None:
    """The sizes of the xz stream that ends at an offset, and of its content."""
    if end < 2 * _XZ_FOOTER_OCTETS:
        return None
    footer = os.pread(descriptor, _XZ_FOOTER_OCTETS, end - _XZ_FOOTER_OCTETS)
    backward = (int.from_bytes(footer[4:8], "little") + 1) * 4
    at = end - _XZ_FOOTER_OCTETS - backward
    if footer[10:] != b"YZ" or backward > _XZ_INDEX_OCTETS_MAX or at < 0:
        return None
    index = os.pread(descriptor, backward, at)
    if index[0] or zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        return None
    numbers = _xzIntegers(index[1:-4])
    count = next(numbers, 0)
    # Each record has two numbers of at least one octet each.
    records = list(islice(numbers, 2 * count)) if 2 * count <= backward else []
    if len(records) != 2 * count:
        return None
    # Blocks are padded to a multiple of four octets.
    packed = sum([-(-size // 4) * 4 for size in records[::2]])
    plain = sum(records[1::2])
    octets = end - at + packed + _XZ_FOOTER_OCTETS
    return (octets, plain) if octets <= end else None


def _xzIntegers(octets: bytes) -> Iterator[int]:
    """Decode integers (section 1.2): seven bits per octet, the lowest first, at most 63 bits."""
    value = shift = 0
    for octet in octets:
        if shift > 56:
            return
        value |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            yield value
            value = shift = 0

"""
Decoders of compressed files that take and return bounded pieces.

A L{Decoder} takes the octets of a file in order. Each call returns at most L{PLAIN_OCTETS} octets
of content, however much the input expands: 32 KiB of zstd can become 1 GiB. The decoder knows
whether the content is complete. A file may hold several streams in a row, and zeros after them
(tapes).

Undecodable octets raise L{BadOctets}. L{CannotDecode} means that decoding needs a library or
more memory.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ._errors import BadOctets, CannotDecode
from ._rotations import compressionOf
from ._zstd import ZSTD_MAGIC, ZstdDecoder

__all__ = ["PLAIN_OCTETS", "Decoder", "codecOf", "decoderFor", "whyUnreadable"]

# Maximum number of plain octets that one call returns.
PLAIN_OCTETS = 1024 * 1024

# Maximum number of zeros between and after the streams of a file: one block of a tape. Without a
# limit, a file that is mostly a hole would be read for hours.
PADDING_OCTETS_MAX = 1024 * 1024

# Memory limit of an xz decoder. "xz -9" needs 65 MiB.
MEMORY_OCTETS_MAX = 128 * 1024 * 1024

# The first octets of a file decide, not its suffix: logrotate's compressext can make them differ.
_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (ZSTD_MAGIC, "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"PK\x03\x04", "zip"),
    (b"LZIP", "lzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x89LZO", "lzop"),
)
_SUFFIXES = {
    ".gz": "gzip",
    ".z": "gzip",
    ".bz2": "bzip2",
    ".bz": "bzip2",
    ".xz": "xz",
    ".lzma": "lzma",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".lz4": "lz4",
    ".Z": "compress",
    ".zip": "zip",
    ".lz": "lzip",
    ".7z": "7z",
    ".lzo": "lzop",
    ".br": "brotli",
    ".sz": "snappy",
}


class Decoder(Protocol):
    """
    A file's content, piece by piece.

    @ivar complete: whether the content may end here.
    @ivar streams: how many streams have ended.
    """

    complete: bool
    streams: int

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the file; L{read} must have returned all earlier ones."""

    def read(self) -> bytes:
        """
        Return the next octets of the content; empty: feed more.

        @raise BadOctets: the file is damaged.
        @raise CannotDecode: decoding needs a missing library, or more memory than is allowed.
        """


class _Stream(Protocol):
    """A decoder of Python's library."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


S = TypeVar("S", bound=_Stream)


class _Streams(Generic[S]):
    """Decodes streams that Python's own library supports, and the zeros after them."""

    def __init__(
        self,
        begin: Callable[[], S],
        errors: tuple[type[Exception], ...],
        piece: Callable[[S, bytes], bytes],
        rest: Callable[[S], bytes],
    ) -> None:
        """
        @param begin: creates the decoder of a stream.
        @param errors: the exceptions that it raises for damaged octets.
        @param piece: returns the next plain octets.
        @param rest: the octets that were fed and are not decoded yet.
        """
        self.complete = False
        self.streams = 0
        self._begin = begin
        self._errors = errors
        self._piece = piece
        self._rest = rest
        self._stream: S | None = None
        self._begun = False
        self._zeros = 0
        self._octets = b""
        self._hungry = True

    def feed(self, octets: bytes) -> None:
        self._octets += octets
        self._hungry = False

    def read(self) -> bytes:
        while not self._hungry:
            stream = self._stream or self._next()
            if stream is None:
                break
            try:
                plain = self._piece(stream, self._octets)
            except self._errors as error:
                if "memory usage limit" in str(error).lower():
                    raise CannotDecode(
                        f"it needs more than {MEMORY_OCTETS_MAX} octets of memory:"
                        " compress with a smaller dictionary (xz -9 or less)"
                    ) from error
                raise BadOctets(str(error)) from error
            if stream.eof:
                self._octets, self._stream = stream.unused_data, None
                self.complete = True
                self.streams += 1
            else:
                self._octets = self._rest(stream)
                self._hungry = not plain and not self._octets
            if plain:
                return plain
        self._hungry = True
        return b""

    def _next(self) -> S | None:
        """Begin the next stream, if any octets follow."""
        if self._begun:
            stream = self._octets.lstrip(b"\0")
            self._zeros += len(self._octets) - len(stream)
            if self._zeros > PADDING_OCTETS_MAX:
                raise BadOctets(f"more than {PADDING_OCTETS_MAX} zeros follow a stream")
            self._octets = stream
        if not self._octets:
            return None
        self._stream = self._begin()
        self._begun = True
        self.complete = False
        return self._stream


def _gzip() -> Decoder:
    return _Streams(
        lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
        (zlib.error,),
        lambda stream, octets: bytes(stream.decompress(octets, PLAIN_OCTETS)),
        lambda stream: bytes(stream.unconsumed_tail),
    )


def _bzip2() -> Decoder:
    return _Streams(
        bz2.BZ2Decompressor,
        (OSError, ValueError),
        lambda stream, octets: bytes(stream.decompress(octets, PLAIN_OCTETS)),
        # The decompressor keeps its undecoded octets; the next call passes none.
        lambda stream: b"",
    )


def _xz() -> Decoder:
    return _Streams(
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY_OCTETS_MAX),
        (lzma.LZMAError,),
        lambda stream, octets: bytes(stream.decompress(octets, PLAIN_OCTETS)),
        lambda stream: b"",
    )


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    # ".lzma", the predecessor of xz, is not supported: it has neither a magic number nor a
    # checksum, and a run of zeros is a valid empty file.
    "xz": _xz,
    "zstd": lambda: ZstdDecoder(PADDING_OCTETS_MAX),
}


def codecOf(name: str, head: bytes) -> str | None:
    """
    The format of a file with a compression suffix; C{None} if its name has none.

    @param head: its first octets, at least 6 unless the file is shorter.
    """
    suffix = compressionOf(name)
    if not suffix:
        return None
    for magic, codec in _MAGICS:
        if head.startswith(magic):
            return codec
    return _SUFFIXES[suffix]


def decoderFor(codec: str) -> Decoder:
    """
    Create a decoder for a format.

    @raise CannotDecode: the format is not supported, or its library is not installed.
    """
    make = _DECODERS.get(codec)
    if make is None:
        raise CannotDecode(
            f"{codec} cannot be read: compress with gzip, bzip2, xz or zstd instead"
        )
    return make()


def whyUnreadable(name: str) -> str | None:
    """
    The reason why a file with a compression suffix cannot be unpacked here, and the remedy.

    @return: C{None} if it can be unpacked, or is not compressed.
    """
    codec = codecOf(name, b"")
    if codec is not None:
        try:
            decoderFor(codec)
        except CannotDecode as error:
            return str(error)
    return None

"""
Compressed bodies: what a cluster stores three times, and sends twice, is a tenth as long.

What must be true: what is unpacked is what was packed, and is no longer than a message can be.
A body that was packed in a way that this program does not know is not left out: another
program wrote it, and will read it.
"""

from __future__ import annotations

from collections.abc import Callable

import zstandard

from ..master.promise import JournalBlocked

__all__ = ["NotPacked", "Pack", "never", "packer", "unpack"]

# Shorter bodies are hardly longer than their headers.
PACKED_MIN = 512

# As much of it must be left at most, or it is stored as it is: it is unpacked for each output.
RATIO_MAX = 0.9

# The fastest: it makes a tenth of log lines, and the next ones not a twelfth.
LEVEL = 1

# NATS servers take no longer messages, and what is packed was cut to be one unpacked.
UNPACKED_OCTETS_MAX = 64 * 1024 * 1024

#: What makes a shorter body of one, or C{None}.
Pack = Callable[[bytes], bytes | None]


class NotPacked(Exception):
    """A body is not what its header says. The text says what is wrong."""


def never(body: bytes) -> None:
    """Leave a body as it is."""


def packer(encoding: str) -> Pack:
    """
    What packs as C{--journal-compression} says: C{zstd}, or C{none}.

    Each thread needs its own.
    """
    if encoding == "none":
        return never
    compressor = zstandard.ZstdCompressor(level=LEVEL)

    def pack(body: bytes) -> bytes | None:
        if len(body) < PACKED_MIN:
            return None
        packed = compressor.compress(body)
        return packed if len(packed) <= RATIO_MAX * len(body) else None

    return pack


def unpack(encoding: str, body: bytes) -> bytes:
    """
    What was packed.

    @raise NotPacked: nothing was, or too much.
    @raise JournalBlocked: this program cannot know.
    """
    if encoding != "zstd":
        raise JournalBlocked(
            f"a message is packed as {ascii(encoding)[:40]}: a newer decnet_syslog wrote it,"
            " and can read it"
        )
    try:
        octets = zstandard.frame_content_size(body)
        if not 0 <= octets <= UNPACKED_OCTETS_MAX:
            raise NotPacked(f"{octets} octets when it is unpacked")
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise NotPacked(str(error)) from None

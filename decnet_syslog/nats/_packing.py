"""
Compressed bodies. A cluster stores a body three times and sends it twice, so size matters.

What must be true: unpacking returns the octets that were packed, and no more than a message can
have. A body with an unknown encoding is never skipped: a newer program wrote it, and can read it.
"""

from __future__ import annotations

from collections.abc import Callable

import zstandard

from ..journal import JournalBlocked
from ..untrusted import escapeUntrusted

__all__ = ["NotPacked", "Pack", "never", "packer", "unpack"]

# Shorter bodies are hardly longer than their headers.
PACKED_MIN = 512

# Maximum ratio of packed to unpacked size. Above it the body is stored unpacked, because each
# output has to unpack it.
RATIO_MAX = 0.9

# The fastest level. It reduces log lines to a tenth; the next levels do not reach a twelfth.
LEVEL = 1

# NATS servers accept no longer messages, and bodies are cut to that size before they are packed.
UNPACKED_OCTETS_MAX = 64 * 1024 * 1024

#: Returns a shorter body, or C{None} to store the body unpacked.
Pack = Callable[[bytes], bytes | None]


class NotPacked(Exception):
    """A body does not have the encoding in its header. The text gives the reason."""


def never(body: bytes) -> None:
    """Store a body unpacked."""


def packer(encoding: str) -> Pack:
    """
    Make the packing function for a value of C{--journal-compression}: C{zstd} or C{none}.

    Each thread needs its own function.
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
    Unpack a body.

    @raise NotPacked: the body is not packed, or too long when unpacked.
    @raise JournalBlocked: this program does not know the encoding.
    """
    if encoding != "zstd":
        raise JournalBlocked(
            f"a message has the unknown encoding {escapeUntrusted(encoding, 40)}: a newer"
            " decnet_syslog wrote it; upgrade this one"
        )
    try:
        octets = zstandard.frame_content_size(body)
        if not 0 <= octets <= UNPACKED_OCTETS_MAX:
            raise NotPacked(f"{octets} octets when unpacked")
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise NotPacked(str(error)) from None

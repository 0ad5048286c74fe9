"""
The first octets of a gzip file's content, without unpacking all of it.

They are a hint that selects archives worth unpacking. Only the content itself proves anything.
"""

from __future__ import annotations

import os

from ._archives import PACKED_OCTETS, openRegular
from ._codecs import codecOf, decoderFor
from ._contents import HEAD_OCTETS
from ._errors import BadOctets

__all__ = ["headOf"]

# Maximum number of compressed octets to read for the head.
HEAD_PACKED_OCTETS_MAX = 1024 * 1024


def headOf(path: str) -> bytes | None:
    """
    Read the first octets of a gzip file's content, at most L{HEAD_OCTETS}.

    @return: C{None} for a file that is unfinished, damaged, or of another format.
    @raise OSError: the file cannot be read; C{FileNotFoundError} if it is not a regular file.
    """
    descriptor = openRegular(path)
    try:
        codec = codecOf(os.path.basename(path), os.pread(descriptor, 16, 0))
        return _head(descriptor) if codec == "gzip" else None
    except BadOctets:
        return None
    finally:
        os.close(descriptor)


def _head(descriptor: int) -> bytes | None:
    decoder = decoderFor("gzip")
    head = b""
    at = 0
    while len(head) < HEAD_OCTETS and at < HEAD_PACKED_OCTETS_MAX:
        octets = os.pread(descriptor, PACKED_OCTETS, at)
        if not octets:
            # The whole file was read, so this is the whole content.
            return head if decoder.complete else None
        at += len(octets)
        decoder.feed(octets)
        while len(head) < HEAD_OCTETS and (plain := decoder.read()):
            head += plain
    return head[:HEAD_OCTETS]

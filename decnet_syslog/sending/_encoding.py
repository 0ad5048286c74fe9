"""Encoding the chunks of a file for the wire."""

from __future__ import annotations

from .. import hotpath
from ..files import Chunk, FinalLine, GapChunk
from ..wire import (
    EMPTY,
    EMPTY_LINES_MAX,
    LAST,
    SKIP,
    encodeControl,
    encodeFrames,
)

__all__ = ["encodeChunk", "encodeLast", "encodeLines", "encodePlain"]

_LAST = encodeControl(LAST())


def encodeChunk(chunk: Chunk) -> bytes:
    """Encode a chunk for a listener with the delivery extension."""
    if isinstance(chunk, GapChunk):
        return encodeControl(SKIP(chunk.end - chunk.start, chunk.reason))
    if isinstance(chunk, FinalLine):
        return encodeLast(chunk.octets)
    return encodeLines(chunk.octets)


def encodeLines(octets: bytes) -> bytes:
    """
    Encode complete lines as frames, and empty lines as EMPTY.

    @param octets: lines, each with its LF.
    """
    frames, end = _encodeBegin(octets)
    if 0 < end == len(octets):
        return frames
    return frames + _encodeRest(octets[end:])


def _encodeBegin(octets: bytes) -> tuple[bytes, int]:
    """
    Encode the first lines with the compiled module, if there is one.

    @return: their frames, and the offset of the first line that is not encoded.
    """
    if hotpath.compiled is None or not octets:
        return b"", 0
    return hotpath.compiled.frames(octets)


def _encodeRest(octets: bytes) -> bytes:
    """L{encodeLines} in Python: the definition. Also encodes what compiled code leaves."""
    lines = octets[:-1].split(b"\n")
    if all(lines):
        return encodeFrames(lines)
    parts = []
    run: list[bytes] = []
    empty = 0
    for line in lines:
        if line:
            if empty:
                parts.append(_encodeEmpty(empty))
                empty = 0
            run.append(line)
        else:
            if run:
                parts.append(encodeFrames(run))
                run = []
            empty += 1
    parts.append(encodeFrames(run) if run else _encodeEmpty(empty))
    return b"".join(parts)


def _encodeEmpty(count: int) -> bytes:
    whole, rest = divmod(count, EMPTY_LINES_MAX)
    octets = encodeControl(EMPTY(EMPTY_LINES_MAX)) * whole
    return octets + encodeControl(EMPTY(rest)) if rest else octets


def encodeLast(octets: bytes) -> bytes:
    """Encode the last line of a file, which has no LF."""
    return _LAST + encodeFrames([octets])


def encodePlain(octets: bytes) -> tuple[bytes, int]:
    """
    Encode lines for a peer without the extension.

    @return: the frames, and the number of empty lines left out: RFC 5425 has no frame without a
        message.
    """
    frames, end = _encodeBegin(octets)
    if 0 < end == len(octets):
        return frames, 0
    lines = octets[end:].removesuffix(b"\n").split(b"\n")
    messages = [line for line in lines if line]
    return frames + encodeFrames(messages), len(lines) - len(messages)

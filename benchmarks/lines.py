"""The lines that are shipped: in DECNET's format, and of any length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["DECNET_OCTETS", "decnetLines", "last", "linesOf", "stamped", "write"]

_DECNET = (
    b"<134>1 2026-04-18T00:00:00.%06d+00:00 decky%02d ssh 1234 auth_attempt"
    b' [relay@55555 src_ip="203.0.113.%03d" src_port="5123" username="root"'
    b' password="123456"] login attempt failed seq=%08d\n'
)

_STAMPED = (
    b"<134>1 2026-04-18T00:00:00.000000+00:00 decky%02d ssh 1234 auth_attempt"
    b' [relay@55555 src_ip="203.0.113.%03d" src_port="51234" username="root"'
    b' password="1234"] login failed at=%020d by=%06d\n'
)

# The length of such a line including its LF: 191.
DECNET_OCTETS = len(_DECNET % (0, 0, 0, 0))

# The number of lines made at a time.
_RUN = 10_000

_SHORT = b"<134>1 - d01 ssh - - - %s seq=%08d\n"


def _decnet(n: int) -> bytes:
    return _DECNET % (n % 10**6, n % 100, n % 256, n)


def decnetLines(count: int, start: int = 0) -> Iterator[bytes]:
    """Blocks of lines, each line different, numbered from C{start}."""
    for at in range(start, start + count, _RUN):
        yield b"".join(map(_decnet, range(at, min(start + count, at + _RUN))))


def linesOf(octets: int, count: int) -> Iterator[bytes]:
    """
    Blocks of lines with the same length.

    @param octets: the length of a line including its LF; at least 50.
    """
    pad = b"x" * (octets - len(_SHORT % (b"", 0)))
    run = max(1, _RUN * 100 // octets)
    for at in range(0, count, run):
        numbers = range(at, min(count, at + run))
        yield b"".join([_SHORT % (pad, n) for n in numbers])


def stamped(number: int, nanoseconds: int) -> bytes:
    """
    A DECNET line with its worker's number and the time of writing.

    @param nanoseconds: of the monotonic clock, which all processes of a machine share.
    """
    return _STAMPED % (number % 100, number % 256, nanoseconds, number)


def last(count: int) -> bytes:
    """Text that only the last of C{count} lines contains."""
    return b"seq=%08d" % (count - 1)


def write(path: Path, runs: Iterable[bytes]) -> int:
    """
    Write a worker's log, and sync it, so that no reader has to wait for the disk.

    @return: its length in octets.
    """
    with open(path, "wb") as file:
        for run in runs:
            file.write(run)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()

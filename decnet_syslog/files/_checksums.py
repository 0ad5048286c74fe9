"""
CRC-32 of files, holes included.

A hole of a terabyte reads as a terabyte of zeros, which takes hours. Instead, this module
computes the CRC-32 after a run of zeros as a product of 32 by 32 bit matrices, as zlib's
C{crc32_combine} does.
"""

from __future__ import annotations

import errno
import os
from zlib import crc32

from ._contents import BLOCK_OCTETS

__all__ = ["dataFrom", "fileChecksum"]

# Shorter holes are read like data.
HOLE_OCTETS = 4 * BLOCK_OCTETS

_POLYNOMIAL = 0xEDB88320

_Matrix = list[int]


def dataFrom(descriptor: int, at: int, end: int) -> int:
    """Skip a hole: the offset of the next octet that was written, at most C{end}."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_DATA), end)
    except OSError as error:
        # ENXIO: the hole reaches the end of the file. Otherwise, holes are not supported.
        return end if error.errno == errno.ENXIO else at


def _times(matrix: _Matrix, vector: int) -> int:
    total = index = 0
    while vector:
        if vector & 1:
            total ^= matrix[index]
        vector >>= 1
        index += 1
    return total


def _square(matrix: _Matrix) -> _Matrix:
    return [_times(matrix, column) for column in matrix]


def zerosChecksum(count: int, crc: int) -> int:
    """The CRC-32 after C{count} zeros, continued from C{crc}."""
    # A matrix that moves the register, before its final inversion, by one bit.
    one = [_POLYNOMIAL, *[1 << n for n in range(31)]]
    octet = _square(_square(_square(one)))
    register = crc ^ 0xFFFFFFFF
    while count:
        if count & 1:
            register = _times(octet, register)
        count >>= 1
        octet = _square(octet)
    return register ^ 0xFFFFFFFF


def fileChecksum(descriptor: int, start: int, end: int, crc: int = 0) -> int | None:
    """
    The CRC-32 of octets [start, end) of an open file, continued from C{crc}. Blocks.

    @return: C{None} if the file is shorter.
    """
    # Without this check, an empty range would match any file, even a shorter one.
    if os.fstat(descriptor).st_size < end:
        return None
    while start < end:
        data = dataFrom(descriptor, start, end)
        if data - start >= HOLE_OCTETS:
            crc = zerosChecksum(data - start, crc)
            start = data
            continue
        block = os.pread(descriptor, min(BLOCK_OCTETS, end - start), start)
        if not block:
            return None
        crc = crc32(block, crc)
        start += len(block)
    return crc

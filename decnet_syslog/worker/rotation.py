"""
Rotation: finding the files that a log file has become.

A file is recognised by content: its head, and the octets just before a known offset. Its
inode only says where to look first: file systems give the inode of a deleted file to the
next one. What rotation makes of C{app.log} is beside it and has its name and a number or a
date: C{app.log.1}, C{app.log-20260418}, C{app.log.2.gz}. Other names are somebody else's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..durable import syncDirectory
from .bookmarks import Bookmark

__all__ = [
    "ANCHOR_OCTETS",
    "BLOCK_OCTETS",
    "HEAD_OCTETS",
    "ROTATED",
    "SEALED",
    "beginningOf",
    "dataFrom",
    "fits",
    "gzipOutline",
    "isRotatedName",
    "openRegular",
    "openSibling",
    "pastOf",
    "rescue",
    "startOf",
]


# Octets of the head that a file is recognised by.
HEAD_OCTETS = 4096

# Octets before the offset that a place in a file is recognised by.
ANCHOR_OCTETS = 256

# A block of what is scanned or summed: the memory that takes.
BLOCK_OCTETS = 1024 * 1024

# Of a compressed file, read at a time. What is behind a member is copied: a file of many
# small ones costs the square of this for each block.
PACKED_OCTETS = 32 * 1024

# Zeros that may stand between and behind the members of a compressed file: the block of a
# tape. A file of holes would be read for hours.
PADDING_OCTETS_MAX = 1024 * 1024

# Left free where the state is when a file is copied or unpacked there: bookmarks of as many
# files as there can be. Without them no new file can begin.
RESERVE_OCTETS = 16 * 1024 * 1024

ROTATED = re.compile(r"[.-][0-9][0-9A-Za-z:_.-]*\Z")

# Endings of what rotation has compressed: never a log that is written.
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

# Of these, what we cannot unpack.
SEALED = (".bz2", ".xz", ".zst")


def openRegular(path: str, follow: bool = True) -> int | None:
    """
    Open a regular file for reading, or C{None}: something else is there.

    @param follow: whether it may be a symbolic link to one.
    @raise OSError: it cannot be opened.
    """
    # A pipe is not opened at all: that would let its writer go on, into nothing.
    if not stat.S_ISREG(os.stat(path, follow_symlinks=follow).st_mode):
        return None
    # O_NONBLOCK: it may be a pipe by now, and must not make us wait for its writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def isRotatedName(path: str, live: Container[str]) -> bool:
    """Whether a path is the name of what one of the live ones was rotated to."""
    if path.endswith(_COMPRESSED):
        return True
    start = len(os.path.dirname(path)) + 1
    return any(
        path[: cut.start()] in live and ROTATED.match(path, cut.start())
        for cut in re.finditer("[.-]", path)
        if cut.start() > start
    )


def openSibling(path: str, directory: Path, head: bytes = b"") -> int | None:
    """
    Open a rotated file; a compressed one as a temporary file of its content.

    @param directory: for the temporary file, which has no name there.
    @param head: what it begins with, if it is worth unpacking.
    @return: C{None} if it is gone, not finished, or compressed and something else.
    @raise OSError: it is there and cannot be read now. That is not "gone".
    """
    try:
        # No rotation makes a link; somebody who can write here might.
        descriptor = openRegular(path, False)
    except FileNotFoundError:
        return None
    if descriptor is None or not path.endswith(".gz"):
        return descriptor
    try:
        if not _gzipHead(descriptor, len(head)).startswith(head):
            return None
        return _decompress(descriptor, directory)
    except zlib.error:
        return None
    finally:
        os.close(descriptor)


def _gzipHead(descriptor: int, count: int) -> bytes:
    """The first octets of the content of a gzip file."""
    block = os.pread(descriptor, 8 * HEAD_OCTETS, 0)
    head = b""
    # Gzip files can be strung together.
    while block and len(head) < max(1, count):
        gz = zlib.decompressobj(zlib.MAX_WBITS | 16)
        head += gz.decompress(block, max(1, count) - len(head))
        block = gz.unused_data.lstrip(b"\0") if gz.eof else b""
    return head


def gzipOutline(path: str) -> tuple[bytes, int] | None:
    """
    Head and size, modulo 2**32, of the content of a gzip file, without unpacking it.

    @return: C{None} if it is no finished gzip file. One of several parts shows the size
        of the last.
    @raise OSError: it cannot be read.
    """
    descriptor = openRegular(path, False) if path.endswith(".gz") else None
    if descriptor is None:
        return None
    try:
        # RFC 1952 section 2.3.1: a member ends in CRC32 and ISIZE, four octets each.
        at = os.fstat(descriptor).st_size - 4
        if at < 14:
            return None
        size = int.from_bytes(os.pread(descriptor, 4, at), "little")
        return _gzipHead(descriptor, HEAD_OCTETS), size
    except zlib.error:
        return None
    finally:
        os.close(descriptor)


def _decompress(descriptor: int, directory: Path) -> int | None:
    directory.mkdir(mode=0o700, exist_ok=True)
    out, name = tempfile.mkstemp(dir=directory)
    os.unlink(name)
    complete = kept = False
    room = _room(directory)
    try:
        gz: Any = zlib.decompressobj(zlib.MAX_WBITS | 16)
        at = zeros = 0
        while block := os.pread(descriptor, PACKED_OCTETS, at):
            at += len(block)
            while block:
                if gz is None:
                    # gzip files can be strung together, with zeros behind the last, on tapes.
                    member = block.lstrip(b"\0")
                    zeros += len(block) - len(member)
                    if zeros > PADDING_OCTETS_MAX:
                        return None
                    block = member
                    if not block:
                        break
                    gz = zlib.decompressobj(zlib.MAX_WBITS | 16)
                    complete = False
                octets = gz.decompress(block, BLOCK_OCTETS)
                room -= len(octets)
                if room < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                _writeAll(out, octets)
                block = gz.unconsumed_tail
                if gz.eof:
                    complete, block, gz = True, gz.unused_data, None
        if complete:
            kept = True
            return out
    finally:
        if not kept:
            os.close(out)
    # It is still being written.
    return None


def _room(directory: Path) -> int:
    """Octets that may be written beside the state."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize - RESERVE_OCTETS


def _writeAll(descriptor: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(descriptor, octets) :]


def fits(descriptor: int, mark: Bookmark, sameInode: bool) -> bool:
    """
    Whether a file is the incarnation of a bookmark.

    @param sameInode: without a head, because nothing was read yet, only that counts.
    """
    if os.fstat(descriptor).st_size < mark.offset:
        return False
    if not mark.head:
        return sameInode
    if os.pread(descriptor, len(mark.head), 0) != mark.head:
        return False
    start = mark.offset - len(mark.anchor)
    return os.pread(descriptor, len(mark.anchor), start) == mark.anchor


def startOf(descriptor: int, mark: Bookmark) -> bool:
    """Whether a file is a copy of the beginning of a finished incarnation, by its head."""
    size = os.fstat(descriptor).st_size
    if not 0 < size < mark.offset:
        return False
    count = min(size, len(mark.head))
    return count > 0 and os.pread(descriptor, count, 0) == mark.head[:count]


def beginningOf(descriptor: int, whole: int) -> bool:
    """Whether a file is a copy of the beginning of another, by both its ends."""
    size = os.fstat(descriptor).st_size
    if size > os.fstat(whole).st_size:
        return False
    tail = max(0, size - HEAD_OCTETS)
    return all(
        os.pread(descriptor, min(HEAD_OCTETS, size), at)
        == os.pread(whole, min(HEAD_OCTETS, size), at)
        for at in (0, tail)
    )


def pastOf(
    path: str, name: str, stream: str, generation: int, directory: Path
) -> Bookmark | None:
    """A finished bookmark for a file that is not ours to ship."""
    outline = gzipOutline(path)
    if outline is not None:
        # Head and size are all that a compressed file is compared by: it is not unpacked.
        head, size = outline
        status = os.stat(path)
        mark = Bookmark(stream, generation, name, status.st_dev, status.st_ino)
        return replace(
            mark,
            size=size,
            head=head,
            offset=size,
            base=size,
            origin=size,
            finished=True,
        )
    try:
        descriptor = openSibling(path, directory)
    except PermissionError:
        return None
    if descriptor is None:
        return None
    try:
        status = os.stat(path)
        size = os.fstat(descriptor).st_size
        start = max(0, size - ANCHOR_OCTETS)
        return Bookmark(
            stream,
            generation,
            name,
            status.st_dev,
            status.st_ino,
            size,
            os.pread(descriptor, HEAD_OCTETS, 0),
            size,
            size,
            0,
            os.pread(descriptor, size - start, start),
            size,
            "",
            True,
        )
    finally:
        os.close(descriptor)


def dataFrom(descriptor: int, at: int, end: int) -> int:
    """Skip a hole: where the next octet is that was written, at most C{end}."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_DATA), end)
    except OSError as error:
        # Nothing but a hole up to the end; or a file system that does not tell.
        return end if error.errno == errno.ENXIO else at


def rescue(
    descriptor: int, mark: Bookmark, path: Path, have: int, modified: int
) -> int:
    """
    Copy what is not acknowledged of a file that was deleted, on disk when this returns.

    The copy has the octets at their offsets, and a hole where they are not needed: it is
    recognised like the file itself. It gets its name when it is complete: a part of it
    would pass for the whole.

    @param mark: as it is in the database.
    @param have: octets of the file that the copy covers already.
    @param modified: when the content was last changed, in nanoseconds.
    @return: octets of the file that it covers now.
    @raise OSError: it cannot be made; what was made of it is gone again, or it would keep the
        disk full.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    first = not have
    had = have
    part = path.with_name(path.name + ".part") if first else path
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    out = os.open(part, flags | (os.O_TRUNC if first else 0), 0o600)
    try:
        if first:
            os.pwrite(out, os.pread(descriptor, HEAD_OCTETS, 0), 0)
            have = max(0, mark.offset - ANCHOR_OCTETS)
        have = _copy(descriptor, out, have, path.parent)
        # Rotated files are read by age, which is not that of what was unpacked.
        os.utime(out, ns=(modified, modified))
        os.fsync(out)
    except BaseException:
        if first:
            part.unlink()
        else:
            os.ftruncate(out, had)
        raise
    finally:
        os.close(out)
    if first:
        part.rename(path)
        syncDirectory(path.parent)
        syncDirectory(path.parent.parent)
    return have


def _holeFrom(descriptor: int, at: int, end: int) -> int:
    """Where the next hole begins, at most C{end}."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_HOLE), end)
    except OSError:
        # A file system that does not tell.
        return end


def _copy(descriptor: int, out: int, have: int, directory: Path) -> int:
    """Copy what was written from an octet on, and leave the holes; how far it is now."""
    status = os.fstat(descriptor)
    end = status.st_size
    # A block is 512 octets, whatever the file system's are.
    if min(end - have, status.st_blocks * 512) > _room(directory):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    while have < end:
        data = dataFrom(descriptor, have, end)
        if data == end:
            # A hole up to the end, if there is one, is a length.
            os.ftruncate(out, end)
            return end
        # What is behind the next hole would be written as zeros with it.
        until = min(_holeFrom(descriptor, data, end), data + BLOCK_OCTETS)
        block = os.pread(descriptor, until - data, data)
        if not block:
            break
        have = data + os.pwrite(out, block, data)
    return have

"""
A file that may be an output's file under another name, or its copy.

A copy may be compressed: its content is read through the decoders of L{decnet_syslog.files},
with bounded memory and from the beginning on.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..durable import syncDirectory
from ..files import BadOctets, CannotDecode, codecOf, decoderFor
from ..journal import FileLength

__all__ = ["ANCHOR_OCTETS", "Copy", "common", "wholeLines"]

# A copy is recognized by this many octets before the counted end.
ANCHOR_OCTETS = 1024

# Read this much of an archive at a time.
PACKED_OCTETS = 32 * 1024

# Enough to recognize the compression format.
HEAD_OCTETS = 16


def common(ours: bytes, theirs: bytes) -> int:
    """The length of the common prefix of two strings."""
    most = min(len(ours), len(theirs))
    if ours[:most] == theirs[:most]:
        return most
    low = 0
    while most - low > 1:
        # Comparing halves runs at the speed of memory.
        middle = (low + most) // 2
        if ours[low:middle] == theirs[low:middle]:
            low = middle
        else:
            most = middle
    return low


def wholeLines(octets: bytes, count: int) -> int:
    """The length of the whole lines among the first C{count} octets."""
    return octets.rfind(b"\n", 0, count) + 1


class _Unpacked:
    """
    The content of an archive. Reading backwards starts again at the beginning.

    @ivar why: the reason why the archive cannot be read to its end; C{None} if none is known.
    """

    def __init__(self, descriptor: int, codec: str) -> None:
        self.why: str | None = None
        self._descriptor = descriptor
        self._codec = codec
        self._begin()

    def _begin(self) -> None:
        self._packedAt = 0
        # The content that was read last, and its offset.
        self._at = 0
        self._block = b""
        self._isEnd = False
        try:
            self._decoder = decoderFor(self._codec)
        except CannotDecode as error:
            self._isEnd, self.why = True, str(error)

    def read(self, at: int, count: int) -> bytes:
        """
        Read octets of the content: fewer at its end, or where it is damaged.

        @raise OSError: the archive cannot be read.
        """
        if at < self._at:
            self._begin()
        while not self._isEnd and at + count > self._at + len(self._block):
            block = self._block + self._next()
            # Keep everything from the requested offset on: after a failure the caller
            # requests the same octets again.
            gone = min(max(0, at - self._at), len(block))
            self._block = block[gone:]
            self._at += gone
        return self._block[at - self._at :][:count]

    def _next(self) -> bytes:
        while True:
            try:
                plain = self._decoder.read()
            except (BadOctets, CannotDecode) as error:
                # The content before the damage counts.
                self._isEnd, self.why = True, str(error)
                return b""
            if plain:
                return plain
            packed = os.pread(self._descriptor, PACKED_OCTETS, self._packedAt)
            if not packed:
                self._isEnd = True
                return b""
            self._packedAt += len(packed)
            self._decoder.feed(packed)


class Copy:
    """
    An open file that may hold octets of an output.

    @ivar path: the path that the search found.
    @ivar isItself: whether this is the output's own file under another name.
    """

    def __init__(self, path: str, descriptor: int, isItself: bool) -> None:
        """
        @param descriptor: for reading; this object closes it.
        @raise OSError: the file cannot be read.
        """
        self.path = path
        self.isItself = isItself
        self._descriptor = descriptor
        head = os.pread(descriptor, HEAD_OCTETS, 0)
        codec = codecOf(os.path.basename(path), head)
        self._unpacked = None if codec is None else _Unpacked(descriptor, codec)

    @property
    def why(self) -> str | None:
        """The reason why an archive cannot be unpacked; C{None} if none is known."""
        return None if self._unpacked is None else self._unpacked.why

    def read(self, at: int, count: int) -> bytes:
        """
        Read octets of the content, unpacked; fewer at its end.

        @raise OSError: the file cannot be read.
        """
        if self._unpacked is None:
            return os.pread(self._descriptor, count, at)
        return self._unpacked.read(at, count)

    def holds(self, recorded: FileLength) -> bool:
        """
        Whether the octets before the counted end are in the same place here.

        Without an anchor only the length is compared.
        """
        end, anchor = recorded.length, recorded.anchor
        count = len(anchor) or min(1, end)
        try:
            octets = self.read(end - count, count)
        except OSError:
            return False
        return octets == anchor if anchor else len(octets) == count

    def isEnd(self, at: int) -> bool:
        """Whether the content ends at an offset."""
        return not self.read(at, 1)

    def complete(self, octets: bytes) -> bool:
        """
        Append the rest of a cut line, if this is the output's own file.

        @return: whether all octets were appended.
        """
        if not self.isItself or self._unpacked is not None:
            return False
        path = f"/proc/self/fd/{self._descriptor}"
        try:
            writable = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.write(writable, octets) == len(octets)
        except OSError:
            return False
        finally:
            os.close(writable)

    def modified(self) -> float:
        """The time of the last write, in seconds."""
        return os.fstat(self._descriptor).st_mtime

    def sync(self) -> None:
        """
        Bring the file and its name to disk: its octets are not written again.

        @raise OSError: the disk has failed.
        """
        try:
            os.fsync(self._descriptor)
            syncDirectory(Path(self.path).parent)
        except OSError as error:
            # The file system has no sync; or the file was moved again meanwhile.
            if error.errno not in (
                errno.EINVAL,
                errno.EROFS,
                errno.ENOENT,
                errno.ENOTDIR,
            ):
                raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

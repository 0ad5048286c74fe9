"""
Unpacks a compressed file into a temporary file without a name.

What must be true:

* memory is bounded, whatever the file contains: a piece of at most 1 MiB at a time, and the
  decoder's own window;
* a decompression bomb costs time and space on the disk that holds the state. The space is
  bounded: a reserve stays free, because the forwarder cannot follow a new file without it. The
  compression ratio is not limited. An attacker who writes one line a million times makes an
  honest log that shrinks to a thousandth, and refusing that log would lose it;
* unfinished and damaged files are distinguished. A file that ends too early is unfinished while
  a process has it open for writing, and for a minute after its last change;
* the caller gets the whole content or nothing. The format must end properly: with its checksum,
  and with only zeros (tapes) after the last stream.

L{openArchive} does all of the work in one call. L{unpacking} does a bounded piece of work per
step, so that a program that stops need not wait for the whole file.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from ._codecs import codecOf, decoderFor
from ._errors import BadOctets, CannotDecode
from ._outcomes import (
    Damaged,
    NoSpace,
    Outcome,
    TooLarge,
    Unfinished,
    Unpacked,
    Unsupported,
)
from ._writers import isOpenForWriting

__all__ = ["PACKED_OCTETS", "RESERVE_OCTETS", "openArchive", "openRegular", "unpacking"]

# Free space to leave on the disk of the state: enough for records of the maximum number of files.
RESERVE_OCTETS = 16 * 1024 * 1024

# Compressed octets to read at a time. The octets after the end of a stream are copied, so a file
# of many small streams costs the square of this number per block.
PACKED_OCTETS = 32 * 1024

# For this many seconds after its last change, a file that ends too early counts as unfinished,
# even if no process has it open: some tools close and reopen it.
UNFINISHED_S = 60.0

# Other programs write to the same disk: check its free space again after this many octets.
_ROOM_OCTETS = 16 * 1024 * 1024

# Enough for the longest magic number.
HEAD_OCTETS = 16

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def openArchive(
    source: str | int,
    directory: Path,
    reserveOctets: int = RESERVE_OCTETS,
    *,
    name: str = "",
    octetsMax: int | None = None,
    isWritten: Callable[[int], bool | None] = isOpenForWriting,
    now: Callable[[], float] = time.time,
) -> Outcome:
    """
    Unpack a compressed file.

    @param source: a path, or a descriptor. A descriptor stays open and may be at any offset.
    @param directory: for the temporary file; created if it does not exist.
    @param reserveOctets: must stay free on its disk.
    @param name: the name of the file, if the source is a descriptor.
    @param octetsMax: maximum size of the content; C{None}: no limit.
    @param isWritten: whether any process has a file open for writing; C{None}: unknown.
    @param now: the wall clock, in seconds.
    @raise OSError: the file cannot be opened or read, C{FileNotFoundError} if it is not a regular
        file or does not exist; or the disk of the temporary file has failed. A full disk is not
        an error, but an outcome.
    """
    work = unpacking(
        source,
        directory,
        reserveOctets,
        name=name,
        octetsMax=octetsMax,
        isWritten=isWritten,
        now=now,
    )
    while True:
        try:
            next(work)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def unpacking(
    source: str | int,
    directory: Path,
    reserveOctets: int = RESERVE_OCTETS,
    *,
    name: str = "",
    octetsMax: int | None = None,
    isWritten: Callable[[int], bool | None] = isOpenForWriting,
    now: Callable[[], float] = time.time,
) -> Generator[None, None, Outcome]:
    """
    L{openArchive} in bounded steps, for a caller that may have to stop in the middle.

    The generator returns the outcome. Closing it removes the temporary file.
    """
    if isinstance(source, str):
        name = os.path.basename(source)
    descriptor = openRegular(source) if isinstance(source, str) else source
    plain = _Plain(directory, reserveOctets, octetsMax)
    try:
        reason = yield from _decode(descriptor, name, plain)
        if isinstance(reason, Unsupported | NoSpace | TooLarge):
            return reason
        writing = isWritten(descriptor)
        if reason is None and not writing:
            return Unpacked(plain.release(), plain.octets)
        # A file that is being overwritten may look damaged, too.
        age = abs(now() - os.fstat(descriptor).st_ctime)
        if writing or age < UNFINISHED_S:
            return Unfinished(plain.octets, writing, max(0.0, UNFINISHED_S - age))
        return Damaged(reason or "it is still open for writing", plain.octets)
    finally:
        plain.close()
        if isinstance(source, str):
            os.close(descriptor)


def _decode(
    descriptor: int, name: str, plain: _Plain
) -> Generator[None, None, Unsupported | NoSpace | TooLarge | str | None]:
    """
    Unpack into a temporary file.

    @return: C{None} if the content is complete; otherwise a text that says why it is not.
    """
    codec = codecOf(name, os.pread(descriptor, HEAD_OCTETS, 0))
    if codec is None:
        return Unsupported("", "the name does not end in a compression suffix")
    try:
        decoder = decoderFor(codec)
        plain.open()
        at = 0
        while octets := os.pread(descriptor, PACKED_OCTETS, at):
            at += len(octets)
            decoder.feed(octets)
            yield
            while piece := decoder.read():
                refused = plain.write(piece)
                if refused is not None:
                    return refused
                yield
    except BadOctets as error:
        return f"it is not valid {codec}: {error}"
    except CannotDecode as error:
        return Unsupported(codec, str(error))
    return None if decoder.complete else "it ends too early"


class _Plain:
    """
    A temporary file without a name, and the space that it may take.

    @ivar octets: its size.
    """

    def __init__(
        self, directory: Path, reserveOctets: int, octetsMax: int | None
    ) -> None:
        self.octets = 0
        self._directory = directory
        self._reserve = reserveOctets
        self._octetsMax = octetsMax
        self._descriptor: int | None = None
        # The maximum size, as the disk last reported it; and the size at which to ask again.
        self._room: int | None = None
        self._end = 0

    def open(self) -> None:
        """Create the file."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = _temporary(self._directory)

    def write(self, octets: bytes) -> NoSpace | TooLarge | None:
        """Append; return the reason if the file must not grow that far."""
        assert self._descriptor is not None
        end = self.octets + len(octets)
        if self._octetsMax is not None and end > self._octetsMax:
            return TooLarge(self._octetsMax)
        try:
            if end > self._end and not self._ask(end):
                return NoSpace(self.octets, self._reserve)
            while octets:
                written = os.write(self._descriptor, octets)
                self.octets += written
                octets = octets[written:]
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return NoSpace(self.octets, self._reserve)
        return None

    def _ask(self, end: int) -> bool:
        """Whether the disk has room up to an octet; other programs write to it, too."""
        disk = os.statvfs(self._directory)
        room = self.octets + disk.f_bavail * disk.f_frsize - self._reserve
        # Some file systems report with a delay that space was used.
        self._room = room if self._room is None else min(room, self._room)
        self._end = min(self._room, self.octets + _ROOM_OCTETS)
        return end <= self._room

    def release(self) -> int:
        """Pass the descriptor to the caller; the caller must close it."""
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def close(self) -> None:
        """Drop the file, unless it was released."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _temporary(directory: Path) -> int:
    """Open a file without a name: closing it deletes it."""
    try:
        return os.open(
            directory,
            os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC,
            stat.S_IRUSR | stat.S_IWUSR,
        )
    except OSError as error:
        # Some file systems do not support O_TMPFILE.
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
    descriptor, name = tempfile.mkstemp(dir=directory)
    os.unlink(name)
    return descriptor


def openRegular(path: str) -> int:
    """
    Open a regular file for reading; symbolic links are refused.

    @raise FileNotFoundError: the path does not exist, or is not a regular file.
    @raise OSError: the file cannot be opened.
    """
    # Rotation does not create links, but an attacker might. Opening a pipe would let its writer
    # continue, and its octets would be lost.
    if stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "not a regular file", path)

"""
File objects: which one a descriptor refers to, and when it was created.

A name leads to another object after each rotation, and inode numbers are reused. The kernel
draws a new inode generation for each use of an inode (C{FS_IOC_GETVERSION}; ext4, xfs, btrfs),
and most file systems record when an object was created (C{statx}).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["NO_FILE", "FileId", "birthTime", "identify", "openRegular"]

# ioctl_iflags(2): FS_IOC_GETVERSION, _IOR('v', 1, long).
_GETVERSION = 0x80087601

# statx(2).
_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_STATX_OCTETS = 256
_BTIME_AT = 80


class FileId(NamedTuple):
    """
    The identity of a file object.

    @ivar version: the inode's generation number; 0 if the file system has none. Without it,
        device and inode prove nothing about a file that was not held open.
    """

    device: int
    inode: int
    version: int

    def isSame(self, other: FileId) -> bool:
        """Whether both may be the same object: an unknown version matches any."""
        return self[:2] == other[:2] and (
            self.version == other.version or not self.version or not other.version
        )


NO_FILE = FileId(0, 0, 0)


def identify(descriptor: int) -> FileId:
    """The identity of an open file."""
    status = os.fstat(descriptor)
    buffer = bytearray(8)
    try:
        fcntl.ioctl(descriptor, _GETVERSION, buffer, True)
    except OSError:
        # tmpfs, NFS and others do not support this.
        return FileId(status.st_dev, status.st_ino, 0)
    # The kernel writes 32 bits, whatever the request's number says.
    return FileId(status.st_dev, status.st_ino, struct.unpack("=I4x", buffer)[0])


_statx: Callable[..., int] | None
try:
    _statx = ctypes.CDLL(None, use_errno=True).statx
except (AttributeError, OSError):  # not glibc 2.28 or newer
    _statx = None


def birthTime(descriptor: int) -> int:
    """
    When the object was created, in nanoseconds: a copy is younger than its original.

    @return: 0 if this is unknown.
    """
    if _statx is None:
        return 0
    buffer = ctypes.create_string_buffer(_STATX_OCTETS)
    if _statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer):
        return 0
    (mask,) = struct.unpack_from("=I", buffer, 0)
    if not mask & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BTIME_AT)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def openRegular(path: str, follow: bool = True) -> int | None:
    """
    Open a regular file for reading; C{None}: the path leads to something else.

    @param follow: whether the path may be a symbolic link to a regular file.
    @raise OSError: the file cannot be opened.
    """
    # Do not open a pipe at all: its writer would continue, and its octets would be lost.
    if not stat.S_ISREG(os.stat(path, follow_symlinks=follow).st_mode):
        return None
    # O_NONBLOCK: if the path is a pipe by now, do not wait for its writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None

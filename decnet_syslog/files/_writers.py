"""
Detects whether any process can still write to a file.

Linux refuses a read lease (C{fcntl(F_SETLEASE, F_RDLCK)}) with EAGAIN while any process has the
file open for writing. Only the owner of the file, or a process with CAP_LEASE, may ask for a
lease, and some file systems do not support leases.
"""

from __future__ import annotations

import errno
import fcntl
import signal

__all__ = ["isOpenForWriting"]


def isOpenForWriting(descriptor: int) -> bool | None:
    """
    Whether any process, ours included, has a file open for writing.

    @param descriptor: of a regular file, opened for reading only.
    @return: C{None} if the kernel cannot say.
    """
    try:
        # A process that opens the file during the next two calls makes the kernel send us a
        # signal. The usual one, SIGIO, would end the process; this one is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False

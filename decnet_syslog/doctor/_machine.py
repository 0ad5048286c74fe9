"""
This machine: directories, space, locks, the clock, limits.

Nothing is written and no database is opened: a second connection to the SQLite file of a running
service would do more harm than any problem that these checks find.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from ._report import DoctorReport

__all__ = [
    "checkClock",
    "checkDatabase",
    "checkDescriptors",
    "checkDirectory",
    "checkSpace",
    "checkUser",
    "isFlocked",
    "portIsTaken",
]

# ntp_adjtime(3): the clock is not synchronised.
TIME_ERROR = 5

# struct flock of 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi4x"

SQLITE_MAGIC = b"SQLite format 3\0"


def checkUser(report: DoctorReport) -> None:
    """Report whose permissions are checked."""
    if os.geteuid() == 0:
        report.note(
            "user",
            "this runs as root, which can read and write everything: permissions are not checked",
            "run it as the service's user: sudo -u decnet-syslog decnet-syslog doctor ...",
        )
    else:
        report.ok("user", f"uid {os.geteuid()}, whose permissions are checked below")


def _kernelClock() -> int:
    """The kernel's state of its clock; -1 if it does not report it."""
    # Large enough for struct timex on every machine; modes 0 only reads.
    octets = ctypes.create_string_buffer(512)
    adjtimex: Callable[..., int] | None = getattr(ctypes.CDLL(None), "adjtimex", None)
    return -1 if adjtimex is None else adjtimex(octets)


def checkClock(
    report: DoctorReport, kernelClock: Callable[[], int] = _kernelClock
) -> None:
    """Whether the clock is synchronised: certificates and records depend on it."""
    state = kernelClock()
    if state == TIME_ERROR:
        report.note(
            "clock",
            "the kernel's clock is not synchronised",
            "run chrony or systemd-timesyncd: certificates have dates, records have times",
        )
    elif state < 0:
        report.note(
            "clock", "the kernel does not report its state", "check it with timedatectl"
        )
    else:
        report.ok("clock", "synchronised")


def checkDirectory(
    report: DoctorReport, check: str, path: Path, writes: bool, get: str = ""
) -> bool:
    """
    Whether a directory exists, this user can use it, and other users cannot replace its files.

    @param get: the remedy for a missing directory, if it is not simply to create it.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        report.fail(
            check,
            f"{path}: {error.strerror}",
            get or f"create it for the service's user: install -d -m 750 {path}",
        )
        return False
    if not stat.S_ISDIR(status.st_mode):
        report.fail(check, f"{path} is not a directory", "give the path of a directory")
        return False
    wanted = os.R_OK | os.X_OK | (os.W_OK if writes else 0)
    if not os.access(path, wanted):
        report.fail(
            check,
            f"{path} cannot be {'written' if writes else 'read'} by uid {os.geteuid()}",
            f"chown or chgrp {path} to the service's user",
        )
        return False
    if stat.S_IMODE(status.st_mode) & 0o002 and not status.st_mode & stat.S_ISVTX:
        report.fail(
            check,
            f"every user can replace files in {path} (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod o-w {path}",
        )
        return False
    report.ok(check, str(path))
    return True


def checkSpace(report: DoctorReport, path: Path, least: int, wished: int) -> None:
    """
    Whether there is enough free space.

    @param least: octets below which nothing works for long.
    @param wished: octets that may be needed.
    """
    check = f"space in {path}"
    try:
        room = os.statvfs(path)
    except OSError as error:
        report.fail(check, error.strerror or str(error), "create the directory")
        return
    free = room.f_bavail * room.f_frsize
    said = f"{free // 1024**2} MiB free"
    # Some file systems have no fixed number of inodes, and report 0 of 0.
    if room.f_files and not room.f_favail:
        report.fail(check, "no inodes are left", "delete files, especially small ones")
    elif free < least:
        report.fail(
            check,
            f"{said}, {least // 1024**2} MiB are needed",
            "free space, or move the directory to another disk",
        )
    elif free < wished:
        report.note(
            check,
            f"{said}, but up to {wished // 1024**2} MiB may be used",
            "free space, or lower the limit; a full disk loses nothing, but stops delivery",
        )
    else:
        report.ok(check, said)


def checkDatabase(report: DoctorReport, check: str, path: Path) -> None:
    """Whether a file is a state database, and which process uses it."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        report.ok(check, f"{path} will be created")
        return
    except OSError as error:
        report.fail(
            check,
            f"{path}: {error.strerror}",
            "run this as the service's user, or give that user the directory",
        )
        return
    if not stat.S_ISREG(status.st_mode):
        report.fail(
            check, f"{path} is not a regular file", "remove it, or choose another path"
        )
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        report.fail(
            check,
            f"{path} cannot be written: {error.strerror}",
            f"its owner is uid {status.st_uid}: chown it, and the files with -wal and -shm",
        )
        return
    try:
        head = os.read(descriptor, len(SQLITE_MAGIC))
        holder = _holder(descriptor)
    finally:
        os.close(descriptor)
    if head and head != SQLITE_MAGIC:
        report.fail(
            check,
            f"{path} is not an SQLite database",
            "move it away: the two ends then compare positions and files again",
        )
    elif holder is not None:
        report.note(
            check,
            f"{path} is in use by process {holder}",
            "fine if that is the service; a second one with this database would exit at once",
        )
    else:
        report.ok(check, f"{path}, not in use")


def _holder(descriptor: int) -> int | None:
    """The process that has a lock on a file, found without taking a lock."""
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        kind, _, _, _, process = struct.unpack(
            _FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question)
        )
    except OSError:
        return None
    return None if kind == fcntl.F_UNLCK else int(process)


def isFlocked(path: Path) -> bool:
    """Whether a process holds a lock on a lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Held only for a moment; a service that starts just now waits longer than that.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def portIsTaken(report: DoctorReport, host: str, port: int) -> bool | None:
    """Whether the port is taken; C{None} if it cannot be used, which is reported."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Linux refuses this while another socket listens; this one never listens.
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            cures = {
                errno.EADDRNOTAVAIL: "give an address of this machine: ip address show",
                errno.EACCES: "choose a port over 1023, or use decnet-syslog-listener.socket",
            }
            report.fail(
                "port",
                f"{host} port {port}: {error.strerror}",
                cures.get(error.errno or 0, "give --host an address, not a name"),
            )
            return None
    return False


def checkDescriptors(report: DoctorReport, wanted: int) -> None:
    """Whether the limit on open files is enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        report.note(
            "open files",
            f"at most {hard}, but --max-connections needs {wanted}: fewer are accepted",
            f"set LimitNOFILE={wanted} in the unit, or ulimit -n",
        )
    else:
        report.ok("open files", f"{wanted} are allowed")

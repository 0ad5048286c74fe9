"""
Files of an authority: created once and never overwritten, or replaced atomically.

A function that writes returns only after the data is on disk.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..durable import syncDirectory
from ..errors import UserError

__all__ = ["alone", "makeDirectory", "readBounded", "replaceFile", "writeNew"]


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, so that commands that run at once lose no changes."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def readBounded(path: Path, octetsMax: int) -> bytes | None:
    """
    Read a file that another program may have written.

    @return: C{None}: there is no such file.
    @raise UserError: it cannot be read, or is longer than C{octetsMax}.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "rb") as file:
            octets = file.read(octetsMax + 1)
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from None
    if len(octets) > octetsMax:
        raise UserError(f"it is longer than {octetsMax} octets")
    return octets


def writeNew(path: Path, octets: bytes, mode: int) -> None:
    """
    Write a file that must not exist yet; it is on disk when this returns.

    @raise UserError: it exists, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise UserError(
            f"{path} exists and is not overwritten: remove it, or choose another directory"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def makeDirectory(path: Path) -> None:
    """
    Make a directory for keys, unless it exists.

    @raise UserError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the directory {path}: {error.strerror}") from None


def replaceFile(path: Path, octets: bytes, mode: int = 0o644) -> None:
    """
    Replace a file atomically.

    The new file gets the owner of the old file, or of the directory: the service that reads it may
    run as another user than the command.

    @raise UserError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        beside.unlink(missing_ok=True)
        owner = os.stat(path if path.exists() else path.parent)
        with os.fdopen(os.open(beside, flags, mode), "wb") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            # Independent of the umask: the service must be able to read a file that root wrote.
            os.fchmod(file.fileno(), mode)
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        syncDirectory(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None

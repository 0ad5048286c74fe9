"""
Private files of a program: the journal, the forwarder's state, a lock.

Another user who can write to their directory could place a link there to one of our files, a pipe,
or a file with content of their choice. Modes do not depend on the umask: twistd changes it when it
becomes a daemon.

Set aside: refusing a file with a second name. A snapshot by hard links gives every file one; and a
file that is not our database is refused and left unchanged, under any name.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from .errors import UserError

__all__ = ["PRIVATE", "make", "openPrivate"]

PRIVATE = 0o600


def make(path: str | Path, flags: int, mode: int) -> int:
    """
    Open a file, or create it with this mode whatever the umask is.

    A symbolic link is not followed, and a pipe does not block.

    @raise OSError: it cannot be opened.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        # If it is gone by now, this creates it: with fewer permissions, never with more.
        return os.open(path, flags | os.O_CREAT, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def openPrivate(path: Path, what: str, advice: str) -> int:
    """
    Open or create a file that only this user may use.

    @param what: the file's purpose, for the error.
    @param advice: the remedy when it cannot be opened.
    @raise UserError: it is a link, not a regular file or another user's, or every user can put
        another file in its place.
    """
    try:
        descriptor = make(path, os.O_RDWR, PRIVATE)
    except OSError as error:
        raise UserError(
            f"cannot open {what} {path}: {error.strerror}; {advice}"
        ) from None
    try:
        _check(path, os.fstat(descriptor), what, advice)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: Path, status: os.stat_result, what: str, advice: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{what} {path} is not a regular file; {advice}")
    us = os.geteuid()
    # Root may open other users' files, for verify.
    if us not in (0, status.st_uid):
        raise UserError(
            f"{what} {path} belongs to {_user(status.st_uid)}, but this is {_user(us)}:"
            " run as that user, or change the owner"
        )
    directory = path.parent.stat()
    if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
        raise UserError(
            f"every user can replace {what} {path} by another file: chmod o-w {path.parent}"
        )
    if us != 0 and directory.st_uid not in (0, us):
        raise UserError(
            f"{path.parent}, the directory of {what}, belongs to {_user(directory.st_uid)}, who"
            f" can replace the file, but this is {_user(us)}; {advice}"
        )


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"

"""
Files that are a program's own: the journal, the forwarder's state, a lock.

Somebody else who can write where they are could put a link there that leads to a file of
ours, a pipe, or a file of theirs that says what they like. Modes do not depend on the
umask: twistd changes it when it becomes a daemon.

Set aside: to refuse a file with a second name. A snapshot by hard links makes one of every
file; and whatever is no database of ours is refused and left as it was, by any name.
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
    Open a file, or make it with a mode, whatever the umask is.

    A symbolic link is not followed, and a pipe does not make us wait.

    @raise OSError: it cannot be opened.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        # It may be gone by now, and is made then: with less of the mode, never with more.
        return os.open(path, flags | os.O_CREAT, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def openPrivate(path: Path, what: str, advice: str) -> int:
    """
    Open or make a file that is ours alone.

    @param what: the file, for the error.
    @param advice: what to do when it cannot be had.
    @raise UserError: it is a link, no regular file, somebody else's, or where everybody can
        put another one.
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
    # Root is asked to look at other users' files, with verify.
    if us not in (0, status.st_uid):
        raise UserError(
            f"{what} {path} belongs to {_user(status.st_uid)}, and this is {_user(us)}:"
            " run as that user, or change the owner"
        )
    directory = path.parent.stat()
    if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
        raise UserError(
            f"every user may put another file in the place of {what} {path}: chmod o-w"
            f" {path.parent}"
        )
    if us != 0 and directory.st_uid not in (0, us):
        raise UserError(
            f"{path.parent}, where {what} is, belongs to {_user(directory.st_uid)}, who can"
            f" put another one there, and this is {_user(us)}; {advice}"
        )


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"

"""The number of files that a forwarder follows, within the limit of open files."""

from __future__ import annotations

from twisted.logger import Logger

from ..openfiles import raiseOpenFiles

__all__ = ["filesThatFit"]

_log = Logger()

# Descriptors for one followed file: its own, one for an unfinished rotated file, and those of the
# files both are compared with. And descriptors for everything else.
DESCRIPTORS_PER_FILE = 4
DESCRIPTORS_KEPT = 256

# Descriptors of the process itself, at least: sockets, state database, loaded libraries.
DESCRIPTORS_MIN = 64


def filesThatFit(filesMax: int) -> int:
    """
    Raise the limit of open files as far as the system allows.

    @param filesMax: the wanted maximum of followed files.
    @return: how many files the limit has room for, up to C{filesMax}; if fewer, a warning is
        logged.
    """
    wanted = DESCRIPTORS_PER_FILE * filesMax + DESCRIPTORS_KEPT
    allowed = raiseOpenFiles(wanted)
    # Each file may have an unfinished rotated file: a quarter of the descriptors is for those.
    fitting = max(1, 3 * (allowed - DESCRIPTORS_MIN) // 4)
    if fitting >= filesMax:
        return filesMax
    _log.warn(
        "this process may open only {allowed} files, so it follows at most {fitting} logs."
        " Raise LimitNOFILE= of the unit or ulimit -n, or lower --max-files",
        allowed=allowed,
        fitting=fitting,
    )
    return fitting

"""How many files a forwarder follows, within the limit of open files."""

from __future__ import annotations

from twisted.logger import Logger

from ..openfiles import raiseOpenFiles

__all__ = ["filesThatFit"]

_log = Logger()

# Descriptors of one followed file: its own, that of a rotated one which is not done, and of what
# both are compared with; and those that are not of files.
DESCRIPTORS_PER_FILE = 4
DESCRIPTORS_KEPT = 256

# Descriptors of the process itself, at least: sockets, the state database, what it has loaded.
DESCRIPTORS_MIN = 64


def filesThatFit(filesMax: int) -> int:
    """
    Raise the limit of open files as far as allowed.

    @param filesMax: files to follow at most.
    @return: the number of them that the limit has room for; a smaller one is logged.
    """
    wanted = DESCRIPTORS_PER_FILE * filesMax + DESCRIPTORS_KEPT
    allowed = raiseOpenFiles(wanted)
    # Of each file there may be a rotated one that is not done: a quarter is left for them.
    fitting = max(1, 3 * (allowed - DESCRIPTORS_MIN) // 4)
    if fitting >= filesMax:
        return filesMax
    _log.warn(
        "this process may have {allowed} files open: it follows at most {fitting} logs."
        " Raise LimitNOFILE= of the unit, or ulimit -n, or lower --max-files",
        allowed=allowed,
        fitting=fitting,
    )
    return fitting

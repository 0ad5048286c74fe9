"""The number of files that a process may open."""

from __future__ import annotations

import resource

__all__ = ["LISTENER_DESCRIPTORS", "raiseOpenFiles"]

# Descriptors of a listener besides its connections: journal, outputs, directories and threads.
LISTENER_DESCRIPTORS = 48


def raiseOpenFiles(wanted: int) -> int:
    """
    Raise the soft limit of open files, as far as the hard one allows.

    @param wanted: the number of descriptors.
    @return: the soft limit that is now in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft

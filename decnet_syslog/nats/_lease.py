"""
The lease on the outputs: its times, the place of its holder, the end of a process that lost it.

L{decnet_syslog.nats._outbox} and L{decnet_syslog.nats._reader} have the theory.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from uuid import uuid4

from twisted.python.failure import Failure

from ..durable import EXIT_SOFTWARE, EXIT_STORAGE, StorageFailed

__all__ = [
    "EXIT_AGAIN",
    "GIVE_UP_S",
    "LEASE_S",
    "RENEW_S",
    "LeaseLost",
    "WentBack",
    "exitAtOnce",
    "placeOf",
]

# Seconds. A cluster does not answer while it elects a leader. That must not end the lease.
LEASE_S = 30.0
RENEW_S = 5.0

# Seconds since the last time that we could write the value. The rest of the lease is for writes
# that are in progress.
GIVE_UP_S = 20.0

# EX_TEMPFAIL of sysexits: nothing is wrong here. The process must be started again, and waits.
EXIT_AGAIN = 75


class LeaseLost(Exception):
    """Another process writes the outputs now: stop without writing more."""


class WentBack(Exception):
    """
    The stream has lost messages at its end, and assigns their sequences to other messages.

    Its store was restored, or most nodes lost power at once. The outputs continue after the last
    unchanged message.
    """


def placeOf(path: Path) -> str:
    """
    Identify a file in a way that no copy shares: its inode and the boot id of this machine. Without
    a boot id the result is different each time.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        boot = uuid4().hex
    status = os.stat(path)
    return f"{boot}:{status.st_dev:x}:{status.st_ino:x}"


def exitAtOnce(failure: Failure) -> None:
    """Stop at once, without writing another octet."""
    if failure.check(LeaseLost, WentBack) is not None:
        os._exit(EXIT_AGAIN)
    storage = failure.check(StorageFailed, OSError, sqlite3.Error)
    os._exit(EXIT_SOFTWARE if storage is None else EXIT_STORAGE)

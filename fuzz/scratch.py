"""A directory for the files of a target, in memory where the system has such a place."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["directory", "fresh"]

_MEMORY = "/dev/shm"


@cache
def directory() -> Path:
    """The directory of this process."""
    # The runner gives its own and removes it: libFuzzer does not end a process gently.
    place = os.environ.get("TMPDIR") or (_MEMORY if os.path.isdir(_MEMORY) else None)
    made = Path(tempfile.mkdtemp(prefix="decnet-fuzz-", dir=place)).resolve()
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def fresh(name: str) -> Path:
    """An empty directory of a name; what was in it is gone."""
    made = directory() / name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    return made

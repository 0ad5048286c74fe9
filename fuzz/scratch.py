"""A directory for a target's files, in memory if the system has a suitable place."""

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
    # The runner provides and removes its own directory, because libFuzzer ends the
    # process abruptly.
    place = os.environ.get("TMPDIR") or (_MEMORY if os.path.isdir(_MEMORY) else None)
    made = Path(tempfile.mkdtemp(prefix="decnet-fuzz-", dir=place)).resolve()
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def fresh(name: str) -> Path:
    """A new empty directory with this name; any earlier one is removed."""
    made = directory() / name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    return made

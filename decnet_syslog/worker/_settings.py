"""The settings of a forwarder that do not change while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import FILES_MAX
from ..sending import CHUNK_OCTETS

__all__ = ["ForwarderSettings"]


@dataclass(frozen=True)
class ForwarderSettings:
    """
    What an operator chooses.

    @ivar patterns: the files to follow.
    @ivar statePath: the state database.
    @ivar delivery: auto, acked or plain.
    @ivar pollSeconds: look at the files at least this often.
    @ivar messageOctetsMax: the longest line that is sent.
    @ivar lagOctetsMax: how far a file may be behind before its oldest lines are skipped; C{None}:
        any distance.
    @ivar filesMax: the number of files to follow at most.
    @ivar rotated: patterns of rotated files in other directories or under other names.
    @ivar chunkOctets: how much is read and sent at a time.
    @ivar decnetPath: the database of DECNET's own forwarder, whose offset counts at first.
    @ivar resendToNewMaster: whether a master with another journal gets everything on disk.
    """

    patterns: Sequence[str]
    statePath: Path
    delivery: str
    pollSeconds: float
    messageOctetsMax: int
    lagOctetsMax: int | None
    filesMax: int = FILES_MAX
    rotated: Sequence[str] = ()
    chunkOctets: int = CHUNK_OCTETS
    resendToNewMaster: bool = True
    decnetPath: Path | None = None

"""What passes between reception, journal and outputs: immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wire.record import Provenance

__all__ = [
    "DEPOSIT_COST",
    "LINE_COST",
    "Absence",
    "Batch",
    "Cursor",
    "Deposit",
    "FileLength",
    "Grant",
    "Known",
    "Mark",
    "batchOf",
    "cutName",
]

# What a deposit, or a line, costs us beside its octets: rows, objects, members of a
# record. Every budget counts it: a worker must not get much for a few octets.
DEPOSIT_COST = 512
LINE_COST = 128


@dataclass(frozen=True, slots=True)
class Mark:
    """
    A point in a journal's history: every batch up to C{number} is before it.

    @ivar number: of a batch. It only grows, until the journal is put back.
    @ivar token: 32 hex digits that tell two histories with this number apart.
    """

    number: int
    token: str


# Of a name in the answer to LIST: it is for people.
KNOWN_NAME_OCTETS_MAX = 100


def cutName(name: str) -> str:
    """A name as the answer to LIST has it: no longer than L{KNOWN_NAME_OCTETS_MAX}."""
    octets = name.encode("utf-8", "surrogateescape")
    return octets[:KNOWN_NAME_OCTETS_MAX].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What OPEN asks for.

    @ivar start: where the stream begins, if it is not known.
    @ivar name: the file, as the worker calls it.
    """

    worker: str
    stream: str
    generation: int
    start: int
    name: str


@dataclass(frozen=True, slots=True)
class Grant:
    """
    The right to extend one stream, until a newer connection is granted it.

    @ivar row: the stream's row in the journal.
    @ivar offset: octets held durably.
    @ivar base: end of the last gap; C{crc} is of the octets [base, offset).
    """

    row: int
    epoch: int
    stream: str
    generation: int
    offset: int
    base: int
    crc: int


@dataclass(frozen=True, slots=True)
class Known:
    """One stream of a worker as the journal has it. Its name may be cut (L{cutName})."""

    stream: str
    generation: int
    offset: int
    base: int
    crc: int
    name: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """
    What one connection hands over to be committed.

    @ivar grant: C{None} for a peer without positions.
    @ivar start: offset of the first octet; with C{end}, what the stream advances by.
    @ivar octets: complete lines with their LFs, or messages if C{lengths} is given; empty
        for a gap of a stream, and the first octets of a message that was too long.
    @ivar lengths: of each message, when one of them holds an LF.
    @ivar reason: of a gap.
    @ivar lines: how many, if that is known: a L{Batch} counts them otherwise.
    """

    provenance: Provenance
    grant: Grant | None
    start: int
    end: int
    octets: bytes
    lengths: tuple[int, ...] | None = None
    reason: str | None = None
    lines: int = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """
    A committed deposit.

    @ivar seq: orders everything that the journal ever took.
    @ivar lines: how many line feeds, or messages, C{octets} has; counted if not given.
    """

    seq: int
    provenance: Provenance
    stream: str | None
    generation: int
    start: int
    end: int
    octets: bytes
    lengths: tuple[int, ...] | None
    reason: str | None
    lines: int = field(default=-1, compare=False)

    def __post_init__(self) -> None:
        """Count once, if nobody has."""
        if self.lines < 0:
            count = (
                self.octets.count(b"\n") if self.lengths is None else len(self.lengths)
            )
            object.__setattr__(self, "lines", count)

    @property
    def cost(self) -> int:
        """What it takes to hold and to render it, in octets, about."""
        return DEPOSIT_COST + LINE_COST * self.lines + len(self.octets)

    def __reduce__(self) -> tuple[object, ...]:
        """Flat: what a frozen dataclass has by itself takes ten times as long."""
        who = self.provenance
        return _batchOf, (
            self.seq,
            (
                who.worker,
                who.fingerprint,
                who.address,
                who.receivedAt,
                who.log,
                who.marks,
            ),
            self.stream,
            self.generation,
            self.start,
            self.end,
            self.octets,
            self.lengths,
            self.reason,
            self.lines,
        )


def _batchOf(
    seq: int, who: tuple[str, str, str, str, str | None, bool], *rest: Any
) -> Batch:
    """A batch that came from another process."""
    return Batch(seq, Provenance(*who), *rest)


@dataclass(frozen=True, slots=True)
class FileLength:
    """
    An output file, and how many octets of it are on disk.

    @ivar inode: 0, with a device of 0: no file yet; the next octets go to a new one.
    @ivar anchor: the last of the octets, at most 1 KiB: a copy is recognised by these.
    @ivar ahead: how many octets of what follows the cursor are on disk already, in files
        that came before this one. Always whole lines.
    @ivar boot: the kernel's boot id when this was recorded; C{""}: not known.
    """

    device: int
    inode: int
    length: int
    anchor: bytes = b""
    ahead: int = 0
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Absence:
    """
    An output was not configured for a time.

    @ivar seq: its cursor before that.
    @ivar since: when the first batch behind it was received; RFC 3339, UTC.
    """

    seq: int
    since: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    An output has every batch up to C{seq} on disk.

    @ivar files: by path, the files that have changed since the cursor before.
    @ivar absence: of an output that comes back; its files lack the batches from there to
        C{seq}.
    """

    output: str
    seq: int
    files: Mapping[str, FileLength]
    absence: Absence | None = None


def batchOf(seq: int, deposit: Deposit) -> Batch:
    """What a deposit is when it is committed."""
    grant = deposit.grant
    return Batch(
        seq,
        deposit.provenance,
        None if grant is None else grant.stream,
        0 if grant is None else grant.generation,
        deposit.start,
        deposit.end,
        deposit.octets,
        deposit.lengths,
        deposit.reason,
        deposit.lines,
    )

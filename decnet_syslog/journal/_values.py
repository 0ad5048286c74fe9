"""The immutable values that pass between receiving sessions, journal and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pickle import PickleBuffer
from typing import SupportsIndex

from ..boundaries import Called
from ..values import value
from ..wire import Provenance

__all__ = [
    "DEPOSIT_COST",
    "LINE_COST",
    "Absence",
    "Batch",
    "Cursor",
    "Deposit",
    "FileLength",
    "Mark",
    "StreamLease",
    "StreamPosition",
    "batchOf",
    "cutName",
]

# The overhead of a deposit and of a line: rows, objects, members of a record. Every budget
# counts it, so that a worker cannot use many resources with few octets.
DEPOSIT_COST = 512
LINE_COST = 128

# From this number on, octets of a batch are sent to another process apart from its other parts.
BESIDE_OCTETS_MIN = 16 * 1024


@dataclass(frozen=True, slots=True)
class Mark:
    """
    A point in a journal's history: every batch up to C{number} is before it.

    @ivar number: the number of a batch. It only grows, until the journal is put back.
    @ivar token: 32 hex digits that tell two histories with this number apart.
    """

    number: int
    token: str


# The length of a name in the answer to LIST, which is for people.
KNOWN_NAME_OCTETS_MAX = 100


def cutName(name: str) -> str:
    """Cut a name to L{KNOWN_NAME_OCTETS_MAX}, for the answer to LIST."""
    octets = name.encode("utf-8", "surrogateescape")
    return octets[:KNOWN_NAME_OCTETS_MAX].decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """
    The request of an OPEN.

    @ivar start: the position at which the stream begins if it is not known.
    @ivar name: the worker's name of the file.
    @ivar turns: the journal's count of rollbacks when the connection was made; C{None}: now.
    """

    worker: str
    stream: str
    generation: int
    start: int
    name: str
    turns: int | None = None


@dataclass(frozen=True, slots=True)
class StreamLease:
    """
    The right to extend one stream, until a newer connection is granted it.

    @ivar row: the stream's row in the journal.
    @ivar offset: the number of durable octets.
    @ivar base: end of the last gap; C{crc} is the CRC-32 of the octets [base, offset).
    """

    row: int
    epoch: int
    stream: str
    generation: int
    offset: int
    base: int
    crc: int


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """A worker's stream in the journal. Its name may be cut (L{cutName})."""

    stream: str
    generation: int
    offset: int
    base: int
    crc: int
    name: str


@value
class Deposit:
    """
    Octets that one connection hands over for a commit.

    @ivar grant: C{None} for a peer without positions.
    @ivar start: offset of the first octet. The stream advances from here to C{end}.
    @ivar octets: complete lines with their LFs, or messages if C{lengths} is given; empty
        for a gap of a stream, and the first octets of a message that was too long.
    @ivar lengths: the length of each message, when one of them contains an LF.
    @ivar reason: C{None} for lines. Otherwise the deposit is a gap: [start, end) will never arrive,
        and this is the reason.
    @ivar lines: the number of lines, if known: a L{Batch} counts them otherwise.
    """

    provenance: Provenance
    grant: StreamLease | None
    start: int
    end: int
    octets: bytes
    lengths: tuple[int, ...] | None = None
    reason: str | None = None
    lines: int = -1


@value
class Batch:
    """
    A committed deposit.

    @ivar seq: orders all batches of a journal.
    @ivar lines: the number of line feeds, or messages, in C{octets}; counted if not given.
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
        """Count the lines, if that was not done."""
        if self.lines < 0:
            count = (
                self.octets.count(b"\n") if self.lengths is None else len(self.lengths)
            )
            object.__setattr__(self, "lines", count)

    @property
    def cost(self) -> int:
        """The approximate cost to hold and to render the batch, in octets."""
        return DEPOSIT_COST + LINE_COST * self.lines + len(self.octets)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        """
        Pickle flat: the default of a frozen dataclass takes ten times as long. The newest
        protocol can have large octets beside the pickle.
        """
        who = self.provenance
        isBeside = protocol.__index__() >= 5 and len(self.octets) >= BESIDE_OCTETS_MIN
        return _batchOf, (
            self.seq,
            (
                who.worker,
                who.fingerprint,
                who.address,
                who.receivedAt,
                who.log,
                who.flagHostnameMismatch,
            ),
            self.stream,
            self.generation,
            self.start,
            self.end,
            PickleBuffer(self.octets) if isBeside else self.octets,
            self.lengths,
            self.reason,
            self.lines,
        )


def _batchOf(
    seq: int, who: tuple[str, str, str, str, str | None, bool], *rest: Called
) -> Batch:
    """Make a batch that came from another process."""
    return Batch(seq, Provenance(*who), *rest)


@dataclass(frozen=True, slots=True)
class FileLength:
    """
    An output file, and the number of its octets that are on disk.

    @ivar inode: 0, with a device of 0: no file yet; the next octets go to a new one.
    @ivar anchor: the last of these octets, at most 1 KiB: they identify a copy.
    @ivar ahead: the number of octets after the cursor that are on disk already, in earlier
        files. Always whole lines.
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
    A time in which an output was not configured.

    @ivar seq: its cursor at the beginning of that time.
    @ivar since: the time when the first batch after that was received; RFC 3339, UTC.
    """

    seq: int
    since: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    An output has every batch up to C{seq} on disk.

    @ivar files: by path, the files that have changed since the cursor before.
    @ivar absence: the absence of an output that is configured again: its files lack the
        batches from there to C{seq}.
    """

    output: str
    seq: int
    files: Mapping[str, FileLength]
    absence: Absence | None = None


def batchOf(seq: int, deposit: Deposit) -> Batch:
    """The batch of a committed deposit."""
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

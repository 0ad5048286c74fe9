"""
decnet-syslog verify: compare a worker's files with the master's outputs, octet for octet.

The claim is: octets in the files = octets delivered + octets in gap records. The records in
master.json contain the offset of each line in the worker's file; to go through them in order is to
go through the files, oldest first.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from twisted.python import usage

from ..boundaries import JSONObject
from ..errors import UserError
from ..journal import Journal
from ..options import Described
from ..untrusted import escapeUntrusted

__all__ = ["Difference", "Options", "Sum", "compare", "run"]

# Names that a line lists.
SEEN_MAX = 8


class Options(Described):
    """Options of verify."""

    synopsis = "--worker NAME --json FILE [--json FILE ...] [options] LOG [LOG ...]"
    longdesc = """\
Compare a worker's log files with the master's records: every octet of the files must be in a
record or in a gap record, once and in order. Give the worker's files and the master's outputs
oldest first. Shows the first difference; exit status 0 if there is none.

Example:
    decnet-syslog verify --worker decky-01 --log /var/log/decnet/decnet.log \\
        --json master.json.1 --json master.json decnet.log.1 decnet.log"""

    optParameters = [
        ["worker", "w", None, "The worker's name, as in its certificate"],
        ["log", None, None, "The log's path on the worker, if it sends several logs"],
        [
            "journal",
            None,
            None,
            "The master's listener.db, while no listener is running",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[str] = []
        self.files: list[str] = []

    def opt_json(self, path: str) -> None:
        """JSON output of the listener, rotated ones first; repeatable"""
        self.outputs.append(path)

    def parseArgs(self, *files: str) -> None:
        """The worker's files."""
        self.files = list(files)

    def postOptions(self) -> None:
        """Check that the required options are given."""
        if not self["worker"]:
            raise usage.UsageError("worker's name missing: add --worker NAME")
        if not self.outputs or not self.files:
            raise usage.UsageError(
                "files missing: give at least one --json FILE and one LOG of the worker"
            )


@dataclass
class Difference(Exception):
    """
    The first place where files and records differ.

    @ivar file: the worker's file; C{None} after the last one.
    @ivar offset: the offset in that file.
    @ivar expected: the octets of the file there.
    @ivar found: the octets of the record, or its claim.
    """

    file: str | None
    offset: int
    expected: bytes
    found: str

    def __str__(self) -> str:
        where = (
            f"{self.file}, offset {self.offset}" if self.file else "after the last file"
        )
        return f"{where}: the file has {self.expected[:60]!r}, the records have {self.found}"


@dataclass
class Sum:
    """
    The counted octets.

    @ivar rest: octets at the end of the last file that are not delivered yet.
    """

    files: int = 0
    delivered: int = 0
    gaps: int = 0
    rest: int = 0
    lines: int = 0


@dataclass
class _Place:
    """The present position in the files."""

    paths: list[str]
    index: int = 0
    offset: int = 0
    octets: bytes = b""

    def __post_init__(self) -> None:
        self._load()

    @property
    def path(self) -> str | None:
        return self.paths[self.index] if self.index < len(self.paths) else None

    @property
    def ended(self) -> bool:
        return self.offset >= len(self.octets)

    def _load(self) -> None:
        self.octets = b""
        if self.path is not None:
            try:
                self.octets = Path(self.path).read_bytes()
            except OSError as error:
                raise UserError(f"cannot read {self.path}: {error.strerror}") from None

    def next(self) -> None:
        """Go to the next file that has octets."""
        while self.ended and self.path is not None:
            self.index += 1
            self.offset = 0
            self._load()


@dataclass
class Seen:
    """Whether a record to compare was seen; and some other workers and logs."""

    isFound: bool = False
    workers: set[str] = field(default_factory=set)
    logs: set[str] = field(default_factory=set)

    def note(self, names: set[str], name: object) -> None:
        """Note another name."""
        if len(names) < SEEN_MAX:
            names.add(str(name))

    def why(self, worker: str, log: str | None) -> str | None:
        """What was given wrongly, if no record was found."""
        if self.isFound:
            return None
        of = "log" if self.logs else "worker"
        asked, names = (log, self.logs) if self.logs else (worker, self.workers)
        have = ", ".join(escapeUntrusted(name, 80) for name in sorted(names)) or "none"
        return f"No record of the {of} {escapeUntrusted(str(asked), 80)}. Of others: {have}."


def records(
    paths: Iterable[str], worker: str, log: str | None, seen: Seen | None = None
) -> Iterator[JSONObject]:
    """
    The records of a worker's lines that have positions, in order.

    @param seen: receives the existing workers and logs.
    """
    seen = Seen() if seen is None else seen
    for path in paths:
        try:
            with open(path, "rb") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record: JSONObject = json.loads(line)
                    except ValueError:
                        raise UserError(
                            f"{path}, line {number}: not a record"
                        ) from None
                    if record.get("source_worker") != worker:
                        seen.note(seen.workers, record.get("source_worker"))
                        continue
                    if record.get("source_offset") is None:
                        continue
                    if log is None or record.get("source_log") == log:
                        seen.isFound = True
                        yield record
                    else:
                        seen.note(seen.logs, record.get("source_log"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None


def compare(files: list[str], found: Iterable[JSONObject]) -> Sum:
    """
    Go through files and records together.

    @raise Difference: at the first place where they differ.
    """
    total = Sum()
    place = _Place(files)
    total.files += len(place.octets)
    for record in found:
        if place.ended:
            place.next()
            total.files += len(place.octets)
        gap = record.get("gap")
        start = record["source_offset"]
        message = b"" if gap else _octets(record)
        if start != place.offset or place.path is None:
            raise Difference(
                place.path,
                place.offset,
                place.octets[place.offset : place.offset + 60],
                f"offset {start}: {escapeUntrusted(message.decode('utf-8', 'replace'))}",
            )
        if gap:
            end = gap["end"]
            total.gaps += end - start
        else:
            end = start + len(message) + 1
            there = place.octets[start:end]
            if there not in (message + b"\n", message):
                raise Difference(
                    place.path,
                    start,
                    there,
                    escapeUntrusted(message.decode("utf-8", "replace")),
                )
            end = start + len(there)
            total.delivered += len(there)
            total.lines += 1
        place.offset = end
    total.rest = len(place.octets) - place.offset
    while place.path is not None:
        place.offset = len(place.octets)
        place.next()
        total.files += len(place.octets)
        total.rest += len(place.octets)
    return total


def _octets(record: Mapping[str, object]) -> bytes:
    if "raw_base64" in record:
        return b64decode(cast(str, record["raw_base64"]))
    return str(record["raw_line"]).encode("utf-8")


def _pending(path: Path, worker: str) -> int:
    """Octets of a worker in the journal that may not be in every output yet."""
    if not path.exists():
        raise UserError(f"there is no journal {path}: give the listener's --journal")
    journal = Journal.open(path)
    try:
        batches = journal.read(0, 2**62)
    finally:
        journal.close()
    return sum(b.end - b.start for b in batches if b.provenance.worker == worker)


def run(options: Options) -> int:
    """Run the comparison. The exit status."""
    seen = Seen()
    found = records(options.outputs, options["worker"], options["log"], seen)
    try:
        total = compare(options.files, found)
    except Difference as difference:
        print(f"DIFFERENT at {difference}")
        return 1
    print(f"octets in the files      {total.files:>14}")
    print(f"octets delivered         {total.delivered:>14}  in {total.lines} lines")
    print(f"octets in gap records    {total.gaps:>14}")
    print(f"octets not delivered yet {total.rest:>14}")
    if options["journal"]:
        pending = _pending(Path(options["journal"]), options["worker"])
        print(f"octets in the journal    {pending:>14}  not in every output yet")
    if why := seen.why(options["worker"], options["log"]):
        print(why)
        return 1
    if total.rest:
        print("The delivered octets are correct, but some are not delivered yet.")
        return 1
    print("Every octet once, in order.")
    return 0

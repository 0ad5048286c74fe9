"""decnet-syslog tail: the lines of a worker, as they come to the master."""

from __future__ import annotations

import glob
import json
import os
import select
import sys
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from twisted.python import usage

from ..errors import UserError
from ..logs import printable
from ..master.rendering import oneLine
from ..options import Described, count, octets
from ..trust.names import NameRefused, checkName
from ..wire.record import MISMATCH
from .tailing import Followed, Place, findLast, rotatedFrom

__all__ = ["Filter", "Options", "Tail", "asText", "message", "run"]

# Where a listener writes that was not told, and where the README and its unit have it write.
PLACES = ("master.json", "/var/log/decnet/master.json")

LINES = 10

# A worker that has been silent for so long is not searched for farther: a GiB that is not
# in memory takes some seconds.
SEARCH_OCTETS_MAX = 1024**3

# How often a file is looked at. A person does not notice it, nor does a processor.
POLL_S = 0.2


def _mayBeThere(path: str) -> bool:
    """Whether there is such a file, or this user may not know."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _lines(value: str) -> int:
    return 0 if value == "0" else count(value)


class Options(Described):
    """Options of tail."""

    synopsis = "[NAME ...] [options]"
    longdesc = f"""\
Show the newest lines of a worker at the master, and go on with what comes until interrupted;
of all workers, if no NAME is given. NAME is the certificate's, source_worker of a record,
whatever a line says of itself. It reads the listener's --json-path, through rotations.

A line: when it came (UTC), whose it is, service, event, attacker, text and fields. "(says X)"
stands where its HOSTNAME is another machine's, "GAP" where octets will never come. Control
characters are shown as escapes. --raw to a pipe or a file has the octets as they came.

Examples:
    decnet-syslog tail decky-01
    decnet-syslog tail -n 100 --no-follow decky-01 decky-02
    decnet-syslog tail decky-01 --json | jq -r .attacker_ip
    decnet-syslog tail --file '{os.path.dirname(PLACES[1])}/{{worker}}.json' decky-01"""

    optFlags = [
        ["json", None, "The records as they are, a line of JSON each"],
        ["raw", None, "The lines as the worker wrote them, as in master.log"],
        ["no-follow", None, "Show what is there, and end"],
    ]
    optParameters = [
        ["lines", "n", LINES, "How many old lines to begin with", _lines],
        [
            "file",
            None,
            None,
            "The listener's --json-path, {worker} and all [master.json here, else in"
            f" {os.path.dirname(PLACES[1])}]",
        ],
        [
            "search",
            None,
            SEARCH_OCTETS_MAX,
            "Look for old lines not farther back than so many octets",
            octets,
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.workers: list[str] = []

    def parseArgs(self, *workers: str) -> None:
        """The workers' names."""
        self.workers = list(workers)

    def postOptions(self) -> None:
        """Check names and file."""
        for worker in self.workers:
            try:
                checkName(worker)
            except NameRefused as refused:
                raise usage.UsageError(f"no worker's name: {refused}") from None
        if self["json"] and self["raw"]:
            raise usage.UsageError("--json or --raw, not both")
        if self["file"] is None:
            there = [place for place in PLACES if _mayBeThere(place)]
            if not there:
                raise usage.UsageError(
                    f"there is no {' and no '.join(PLACES)} here: give the listener's"
                    " --json-path with --file"
                )
            self["file"] = there[0]
        self["file"] = os.path.abspath(os.path.expanduser(self["file"]))


class Filter:
    """
    Whose lines are wanted.

    @ivar needles: a wanted record has one of these, as the listener writes it. Others may
        have it, too: a worker chooses the names of its fields.
    """

    def __init__(self, workers: Iterable[str]) -> None:
        self._workers = frozenset(workers)
        start = b'"source_worker": "'
        self.needles = [
            start + worker.encode("ascii") + b'"' for worker in sorted(self._workers)
        ] or [start]

    def record(self, line: bytes) -> dict[str, Any] | None:
        """The record that a line is; C{None}: it is none, or not wanted."""
        if not any(needle in line for needle in self.needles):
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        worker = record.get("source_worker")
        if not isinstance(worker, str) or (
            self._workers and worker not in self._workers
        ):
            return None
        return record

    def wants(self, line: bytes) -> bool:
        """Whether a line is a record that is wanted."""
        return self.record(line) is not None


def message(record: Mapping[str, Any]) -> bytes:
    """The octets of a record's line."""
    if "raw_base64" in record:
        return b64decode(record["raw_base64"])
    return str(record.get("raw_line", "")).encode("utf-8", "backslashreplace")


def asText(record: Mapping[str, Any]) -> str:
    """
    A record for people, in one line that a terminal obeys in nothing.

    What stands before the first ": " is ours, but for the HOSTNAME in "(says X)": no text
    of a worker looks like it.
    """
    # As far as seconds, of 2026-11-23T16:41:04.123456Z; DECNET's own records have no other.
    moment = str(record.get("received_at", record.get("timestamp", "-")))[:19]
    who = f"{moment} {record['source_worker']}"
    gap = record.get("gap")
    if isinstance(gap, dict):
        if "first" in gap:
            return printable(
                f"{who} GAP: a message of {gap.get('octets')} octets was not taken:"
                f" {gap.get('reason')}; it begins {gap['first']}"
            )
        lost = f"octets {gap.get('start')} to {gap.get('end')}"
        log = record.get("source_log") or "a file without a name"
        return printable(f"{who} GAP: {lost} of {log} were lost: {gap.get('reason')}")
    if record.get(MISMATCH):
        # It has no space: what is before the first ": " stays before it.
        who += f" (says {record.get('decky')})"
    event = record.get("event_type")
    said = "" if event == "unparsed" else f" {record.get('service')} {event}"
    if record.get("attacker_ip") not in (None, "Unknown"):
        said += f" from {record['attacker_ip']}"
    text = str(record.get("msg") or "")
    fields = record.get("fields")
    members = fields.items() if isinstance(fields, dict) else ()
    shown = " ".join([f'{name}="{value}"' for name, value in members])
    return printable(" ".join([f"{who}:{said}", *filter(None, (text, shown))]))


class Tail:
    """
    Files of records, shown from their last wanted lines on.

    @ivar found: of the old lines, how many were found.
    @ivar searched: octets that were looked at for them.
    """

    def __init__(
        self,
        path: str,
        workers: Sequence[str],
        show: Callable[[bytes, Mapping[str, Any]], None],
    ) -> None:
        """
        @param path: C{{worker}} in it stands for each of the workers; for any, if none is
            named.
        @param show: told each line that is wanted, and the record that it is.
        """
        self._pattern = path
        self._workers = workers
        self._filter = Filter(workers)
        self._show = show
        self._files: dict[str, Followed] = {}
        self.found = 0
        self.searched = 0

    def _paths(self) -> list[str]:
        directory, name = os.path.split(self._pattern)
        if "{worker}" not in name:
            return [self._pattern]
        if self._workers:
            return [self._pattern.replace("{worker}", w) for w in self._workers]
        before, after = name.split("{worker}", 1)
        fits = f"{glob.escape(before)}[!.]*{glob.escape(after)}"
        return sorted(glob.glob(os.path.join(glob.escape(directory), fits)))

    def start(self, count: int, most: int) -> None:
        """
        Show the last so many lines of each file.

        @param most: search for them not farther back than so many octets.
        @raise UserError: there is no such file, or it may not be read.
        """
        for path in self._paths():
            try:
                file = self._files[path] = Followed(path)
            except FileNotFoundError:
                continue
            except PermissionError:
                raise UserError(
                    f"this user may not read {path}: run as the listener's user, or as a"
                    " member of its group"
                ) from None
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror}") from None
            self._startOne(file, count, most)
        if not self._files:
            raise UserError(
                f"there is no {self._pattern}: give the listener's --json-path with --file"
            )

    def _find(self, file: Followed, count: int, most: int) -> int:
        """Have a file go on where its last wanted lines begin. How many these are."""
        place: Place = findLast(
            file.descriptor, count, self._filter.wants, self._filter.needles, most
        )
        file.seek(place)
        self.searched += place.searched
        return place.found

    def _startOne(self, file: Followed, count: int, most: int) -> None:
        most += self.searched
        found = self._find(file, count, most - self.searched)
        older = []
        for path in rotatedFrom(file.path) if count else ():
            if found >= count or self.searched >= most:
                break
            try:
                old = Followed(path)
            except (OSError, UserError):
                continue
            older.append(old)
            if old.identity() != file.identity():
                found += self._find(old, count - found, most - self.searched)
        self.found += found
        for old in reversed(older):
            if old.identity() != file.identity():
                self._showAll(old.lines())
            old.close()
        self._showAll(file.lines())

    def look(self) -> None:
        """Show what has come."""
        for path in self._paths():
            if path not in self._files:
                try:
                    self._files[path] = Followed(path)
                except (OSError, UserError):
                    continue
            self._showAll(self._files[path].lines())

    def _showAll(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            record = self._filter.record(line)
            if record is not None:
                self._show(line, record)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()


def _octets(options: Options, terminal: bool, encoding: str) -> Any:
    """How a record is shown: of its line and of what it says, the octets."""

    def asJSON(line: bytes, record: Mapping[str, Any]) -> bytes:
        if line.isascii() and line.decode("ascii").isprintable():
            return line
        # Not as the listener writes it; and DEL, which JSON does not escape.
        return json.dumps(record).encode("ascii").replace(b"\x7f", b"\\u007f")

    def asRaw(line: bytes, record: Mapping[str, Any]) -> bytes:
        octets = oneLine(message(record))
        if not terminal:
            return octets
        text = printable(octets.decode("utf-8", "backslashreplace"))
        return text.encode(encoding, "backslashreplace")

    def asShown(line: bytes, record: Mapping[str, Any]) -> bytes:
        return asText(record).encode(encoding, "backslashreplace")

    return asJSON if options["json"] else asRaw if options["raw"] else asShown


def _tellOfSearch(options: Options, tail: Tail) -> None:
    """Say why fewer lines were shown than somebody may expect."""
    far = tail.searched >= options["search"]
    if not options["lines"] or (tail.found and not far):
        return
    whose = " or ".join(options.workers) or "any worker"
    where = f"the newest {tail.searched} octets" if far else options["file"]
    more = "; --search has it look farther" if far else ""
    then = "" if options["no-follow"] else "; waiting for more"
    print(
        f"decnet-syslog: {tail.found} lines of {whose} in {where}{more}{then}",
        file=sys.stderr,
    )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    out = sys.stdout.buffer
    asOctets = _octets(options, sys.stdout.isatty(), sys.stdout.encoding or "ascii")
    # Who reads us may end while no line comes.
    reader = select.poll()
    reader.register(out.fileno(), 0)

    def show(line: bytes, record: Mapping[str, Any]) -> None:
        out.write(asOctets(line, record) + b"\n")

    tail = Tail(options["file"], options.workers, show)
    try:
        tail.start(options["lines"], options["search"])
        out.flush()
        _tellOfSearch(options, tail)
        while not options["no-follow"]:
            if reader.poll(POLL_S * 1000):
                raise BrokenPipeError
            tail.look()
            out.flush()
    finally:
        tail.close()
    return 0

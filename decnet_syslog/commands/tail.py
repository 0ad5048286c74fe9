"""decnet-syslog tail: the lines of workers, as they arrive at the master."""

from __future__ import annotations

import glob
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from twisted.python import usage

from ..errors import UserError
from ..options import Described, count, octets
from ..trust import NameRefused, checkName
from .jsonfollow import Followed, Place, findLast, rotatedFrom
from .records import Filter, printedAs

__all__ = ["Options", "RecordFollower", "run"]

# The listener's default file, and the file in the README and the unit.
PLACES = (
    "master.json",
    "/var/log/decnet-syslog/master.json",
    # DECNET's own.
    "/var/log/decnet/master.json",
)

LINES = 10

# How far back to search for the lines of a silent worker: a GiB that is not in memory takes some
# seconds.
SEARCH_OCTETS_MAX = 1024**3

# The interval between two looks at a file: neither a person nor the processor notices it.
POLL_S = 0.2


def _mayBeThere(path: str) -> bool:
    """Whether a file exists, or this user may not find out."""
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
Show the newest lines of a worker at the master, and follow new ones until interrupted; of all
workers, if no NAME is given. NAME is the name in the worker's certificate (source_worker of a
record), not a name in the line. The command reads the listener's --json-path, through rotations.

Each line shows: time of arrival (UTC), worker, service, event, attacker, text and fields.
"(says X)" marks a line whose HOSTNAME is another machine's, "GAP" marks octets that will never
arrive. Control characters are shown as escapes. --raw to a pipe or a file has the original octets.

Examples:
    decnet-syslog tail decky-01
    decnet-syslog tail -n 100 --no-follow decky-01 decky-02
    decnet-syslog tail decky-01 --json | jq -r .attacker_ip
    decnet-syslog tail --file '{os.path.dirname(PLACES[1])}/{{worker}}.json' decky-01"""

    optFlags = [
        ["json", None, "Print the records unchanged, one line of JSON each"],
        ["raw", None, "Print the lines as the worker wrote them, as in master.log"],
        ["no-follow", None, "Show the existing lines and exit"],
    ]
    optParameters = [
        ["lines", "n", LINES, "Number of old lines to show first", _lines],
        [
            "file",
            None,
            None,
            "The listener's --json-path, including {worker} [master.json here, else in"
            f" {os.path.dirname(PLACES[1])}]",
        ],
        [
            "search",
            None,
            SEARCH_OCTETS_MAX,
            "How far back to search for old lines, in octets",
            octets,
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[str] = []

    def parseArgs(self, *workers: str) -> None:
        """The workers' names."""
        self.workers = list(workers)

    def postOptions(self) -> None:
        """Check the names and the file."""
        for worker in self.workers:
            try:
                checkName(worker)
            except NameRefused as refused:
                raise usage.UsageError(f"not a worker's name: {refused}") from None
        if self["json"] and self["raw"]:
            raise usage.UsageError("--json and --raw exclude each other: give one")
        if self["file"] is None:
            there = [place for place in PLACES if _mayBeThere(place)]
            if not there:
                raise usage.UsageError(
                    f"there is no {' and no '.join(PLACES)} here: give the listener's"
                    " --json-path with --file"
                )
            self["file"] = there[0]
        self["file"] = os.path.abspath(os.path.expanduser(self["file"]))


class RecordFollower:
    """
    Files of records, shown from their last wanted lines on.

    @ivar found: the number of old lines found.
    @ivar searched: the octets searched for them.
    """

    def __init__(
        self,
        path: str,
        workers: Sequence[str],
        show: Callable[[bytes, Mapping[str, object]], None],
    ) -> None:
        """
        @param path: C{{worker}} in it stands for each of the workers; for every one, if none is
            named.
        @param show: called with each wanted line and its record.
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
        Show the last C{count} lines of each file.

        @param most: the number of octets to search, counted back from the end.
        @raise UserError: there is no such file, or this user cannot read it.
        """
        for path in self._paths():
            try:
                file = self._files[path] = Followed(path)
            except FileNotFoundError:
                continue
            except PermissionError:
                raise UserError(
                    f"this user may not read {path}: run as the listener's user, or as a member"
                    " of its group"
                ) from None
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror}") from None
            self._startOne(file, count, most)
        if not self._files:
            raise UserError(
                f"there is no {self._pattern}: start the listener, which creates it, or give the"
                " listener's --json-path with --file"
            )

    def _find(self, file: Followed, count: int, most: int) -> int:
        """Continue a file where its last wanted lines begin. Return their number."""
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

    def poll(self) -> None:
        """Show new lines."""
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


def _tellOfSearch(options: Options, tail: RecordFollower) -> None:
    """Explain why fewer lines were shown than expected."""
    far = tail.searched >= options["search"]
    if not options["lines"] or (tail.found and not far):
        return
    whose = " or ".join(options.workers) or "any worker"
    where = f"the newest {tail.searched} octets" if far else options["file"]
    more = "; --search makes it search farther" if far else ""
    then = "" if options["no-follow"] else "; waiting for more"
    print(
        f"decnet-syslog: {tail.found} lines of {whose} in {where}{more}{then}",
        file=sys.stderr,
    )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    out = sys.stdout.buffer
    format = "json" if options["json"] else "raw" if options["raw"] else "text"
    asOctets = printedAs(format, sys.stdout.isatty(), sys.stdout.encoding or "ascii")
    # The reader of our output may exit while no line comes.
    reader = select.poll()
    reader.register(out.fileno(), 0)

    def show(line: bytes, record: Mapping[str, object]) -> None:
        out.write(asOctets(line, record) + b"\n")

    tail = RecordFollower(options["file"], options.workers, show)
    try:
        tail.start(options["lines"], options["search"])
        out.flush()
        _tellOfSearch(options, tail)
        while not options["no-follow"]:
            if reader.poll(POLL_S * 1000):
                raise BrokenPipeError
            tail.poll()
            out.flush()
    finally:
        tail.close()
    return 0

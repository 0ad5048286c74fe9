"""
The cursors of the outputs, and the lease: the right to write the outputs.

What must be true:

* an output's cursor and the lengths of its files are in one local database, saved in one
  transaction (L{decnet_syslog.nats.outputstate}). The cursors are then copied to a value in a
  key-value bucket of JetStream, for other hosts;
* that value is the lease as well. Each write names the previous revision. So a process that has
  lost the lease cannot move a cursor, and notices the loss;
* clocks of different hosts are not compared. The holder writes the value regularly. A waiting
  process takes the lease when the value has not changed for C{LEASE_S} by its own clock. The holder
  stops when it has not been able to write for C{GIVE_UP_S}, which is less;
* the lease belongs to a running process. A process may take it over at once only if the last holder
  had locked the same file: the same inode, since the same boot of the machine. Files and
  machines can be copied, so the content of the file proves nothing;
* a cursor is a position in a history (L{decnet_syslog.nats.history}). Both are saved together, in
  the file and in the bucket. After a rollback the outputs continue after the last message that is
  unchanged, and skip octets that they have written (L{decnet_syslog.nats.written}).

On one host, a second process also waits for a lock on the database. It continues in the same
files where the first was killed, so each line is in the files once. A process on another host with
its own files continues at the cursors in the bucket. Lines that the first host had written after
these cursors are in the files of both hosts, and no line is missing. docs/jetstream.rst has the
details.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.logger import Logger

from ..master.promise import JournalBlocked
from ..master.values import Cursor
from .bus import Bus, Silent
from .history import History
from .lease import LEASE_S, LeaseLost, WentBack
from .outputstate import OutputState
from .stream import EXPECTED, NAME_TAKEN, Layout, Stream, errorOf, opening
from .written import Written

__all__ = ["Outbox", "Plan", "placeOf", "releasedOf"]

BUCKET_OCTETS_MAX = 1024 * 1024
KEY = "outputs"

# Maximum number of eras in the bucket's value. It must cover the time between two holders.
BUCKET_ERAS = 32


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


@dataclass(frozen=True, slots=True)
class _Value:
    """
    The value in the bucket.

    @ivar revision: of the value's message; 0: there is no value.
    @ivar holder: the process that writes the outputs; "": none.
    @ivar place: the identity of the database with the cursors.
    @ivar host: as of L{placeOf}; "": not known.
    @ivar journal: the identity of the stream.
    @ivar history: the history of the cursors; C{None} if an older program wrote the value.
    @ivar times: of each cursor, when its message was stored; only from an older program.
    """

    revision: int = 0
    holder: str = ""
    place: str = ""
    host: str = ""
    journal: str = ""
    history: History | None = None
    cursors: dict[str, int] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    attempt: str = ""

    @property
    def released(self) -> int:
        """Every output has all messages up to this one."""
        return min(self.cursors.values(), default=0)


def _bucket(name: str) -> str:
    return f"{name}-outputs"


def _subject(name: str) -> str:
    return f"$KV.{_bucket(name)}.{KEY}"


async def _read(stream: Stream, name: str) -> _Value:
    last = await stream.last(_subject(name))
    if last is None:
        return _Value()
    try:
        said: dict[str, Any] = json.loads(last.data)
        return _Value(
            last.seq,
            str(said["holder"]),
            str(said["place"]),
            str(said.get("host", "")),
            str(said["journal"]),
            History.parse(said["history"]) if said.get("history") else None,
            {str(output): int(seq) for output, seq in said["cursors"].items()},
            {str(output): int(time) for output, time in said["times"].items()},
            str(said["attempt"]),
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        raise JournalBlocked(
            f"the value of {KEY} in the bucket {_bucket(name)} was written by another program;"
            " choose another --journal-name"
        ) from None


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Where the outputs continue.

    @ivar cursors: the cursor of each output.
    @ivar at: after a rollback, the last message that is unchanged; otherwise C{None}.
    """

    cursors: dict[str, Cursor]
    at: int | None


async def releasedOf(bus: Bus, name: str) -> int:
    """Read the last message up to which every output has everything."""
    return (await _read(Stream(bus, f"KV_{_bucket(name)}"), name)).released


class Outbox:
    """
    The right to write the outputs, and their cursors.

    @ivar released: every output has all messages up to this one on disk.
    @ivar before: the bucket's value when this process took the lease.
    @ivar renewed: when the last successful write of the value began.
    @ivar written: for each output, the end of each stream.
    @ivar state: the file of the cursors.
    @ivar known: the history that the cursors belong to.
    """

    _log = Logger()

    def __init__(
        self,
        bus: Bus,
        layout: Layout,
        state: OutputState,
        holder: str,
        clock: Callable[[], float],
    ) -> None:
        """
        @param state: the database of the cursors and the lengths of the files.
        @param holder: our name, for operators.
        @param clock: returns seconds, and never jumps.
        """
        self._bus = bus
        self._layout = layout
        self.state = state
        self._host = placeOf(state.path)
        self._holder = f"{holder} {uuid4().hex[:8]}"
        self._clock = clock
        self._stream = Stream(bus, f"KV_{_bucket(layout.name)}")
        self._value = _Value()
        self._changed = float("-inf")
        self._cursors: dict[str, int] = {}
        self.written: dict[str, Written] = {}
        self.known: History | None = None
        # The identity of the stream.
        self._journal = ""
        # The attempts of writes without an answer.
        self._attempts: list[str] = []
        self.released = 0
        self.before = _Value()
        self.renewed = float("-inf")

    @property
    def isHeld(self) -> bool:
        """Whether this process had the lease at the last answer."""
        return self._value.holder == self._holder

    @property
    def holder(self) -> str:
        """The process that writes the outputs."""
        return self._value.holder

    def prepare(self) -> None:
        """
        Create the bucket.

        @raise UserError: that is impossible.
        """
        opening(self._bus, f"the bucket {_bucket(self._layout.name)}", self._prepare)

    async def _prepare(self) -> None:
        info = await Stream(self._bus, self._layout.name).ask("STREAM.INFO")
        if errorOf(info) is not None:
            # Its number of replicas is needed: the bucket keeps that number for ever.
            raise JournalBlocked(f"the stream {self._layout.name} is gone")
        replicas = info["config"]["num_replicas"]
        answer = await self._bus.api(
            f"STREAM.CREATE.{self._stream.name}",
            name=self._stream.name,
            subjects=[f"$KV.{_bucket(self._layout.name)}.>"],
            retention="limits",
            storage="file",
            discard="new",
            max_msgs_per_subject=1,
            max_bytes=BUCKET_OCTETS_MAX,
            max_msgs=-1,
            max_age=0,
            max_msg_size=-1,
            max_consumers=-1,
            num_replicas=replicas,
            duplicate_window=120 * 10**9,
            allow_rollup_hdrs=True,
            deny_delete=True,
            allow_direct=False,
        )
        error = errorOf(answer)
        if error is not None and error[0] != NAME_TAKEN:
            raise JournalBlocked(f"JetStream refuses: {error[1]}")

    def acquire(self) -> bool:
        """
        Take the lease if it is free, or if its holder has not renewed it for C{LEASE_S}.

        @return: whether this process has the lease; if not, call again soon.
        """
        try:
            value = self._bus.run(_read(self._stream, self._layout.name))
        except (JournalBlocked, Silent):
            # Perhaps the holder cannot renew either: do not count this time against it.
            self._changed = self._clock()
            return False
        if value.revision != self._value.revision or self._changed == float("-inf"):
            self._value = value
            self._changed = self._clock()
        # A holder in our own place was killed, because we have the lock.
        isFree = value.holder in ("", self._holder) or value.host == self._host
        if not isFree and self._clock() - self._changed < LEASE_S:
            return False
        self.before = value
        self.known, self._journal = value.history, value.journal
        self._cursors = dict(value.cursors)
        try:
            self._write(self._holder)
        except (JournalBlocked, LeaseLost):
            return False
        if not isFree:
            self._log.warn(
                "taking over the outputs from {before}, which has not renewed its lease",
                event="superseded",
                before=value.holder,
                reason="silent",
            )
        return True

    def renew(self) -> None:
        """
        Renew the lease.

        @raise LeaseLost: another process has taken over.
        """
        self._write(self._holder)

    def plan(self, names: Sequence[str], now: History, isTrusted: bool = True) -> Plan:
        """
        Find where each output continues. Batches wait for these outputs only.

        @param now: the stream's present history.
        @param isTrusted: whether to use cursors that have no history.
        """
        value = self._value
        local = self.state.useOutputs(names)
        mine, theirs = self.state.history(), value.history

        def still(seq: int, known: History | None) -> int:
            if known is None:
                return min(seq, now.last) if isTrusted else 0
            return min(seq, known.upTo(seq).common(now))

        cursors: dict[str, Cursor] = {}
        lost: list[int] = []
        for name in names:
            cursor = local[name]
            said = value.cursors.get(name, value.released)
            here, there = still(cursor.seq, mine), still(said, theirs)
            # Our own cursor can be too old to compare. Then the bucket's newer one is enough.
            isKnown = there == said and (here == cursor.seq or cursor.seq <= said)
            if not isKnown:
                lost.append(max(here, there))
                self._log.error(
                    "{output}: the stream went back behind the output. The output has messages up"
                    " to {seq}, but only those up to {at} are unchanged; continuing after {at}."
                    " Lines of plain senders after message {at} may be repeated",
                    event="went-back",
                    output=name,
                    at=max(here, there),
                    seq=max(cursor.seq, said),
                    reason="restored from a copy, recreated, or its end was lost",
                )
            elif name in value.cursors and here < there:
                # Meanwhile another host has written into its own files.
                self._log.warn(
                    "{output} continues after batch {seq}: the batches before are in the files"
                    " of {place}",
                    event="diverged",
                    output=name,
                    seq=said,
                    place=value.place or "another host",
                    reason=f"the files here have everything up to batch {cursor.seq}",
                )
            cursors[name] = replace(cursor, seq=max(here, there))
        return Plan(cursors, min(lost) if lost else None)

    def begin(
        self, plan: Plan, journal: str, known: History, owesFork: bool = False
    ) -> None:
        """
        Continue as planned.

        @param journal: the identity of the stream.
        @param known: the stream's present history.
        @param owesFork: whether the rollback must still be announced: see L{owesFork}.
        @raise LeaseLost: another process has taken over.
        """
        for name in plan.cursors:
            if plan.at is not None:
                self.state.carryOut(name)
            self.written[name] = Written(
                name, self.state.ends(name), self.state.again(name)
            )
        # From the first write of a new holder on, cursors of the previous holder are refused.
        notes = {"history": known.asText(), "fork": "owed" if owesFork else None}
        if plan.at is not None:
            notes["back"] = "yes"
        self.state.save(list(plan.cursors.values()), notes, {})
        self.known, self._journal = known, journal
        self._cursors = {name: cursor.seq for name, cursor in plan.cursors.items()}
        self._write(self._holder)

    def _historyNote(self, known: History) -> dict[str, str | None]:
        """The history to save, if its eras have changed."""
        if self.known is not None and self.known.eras == known.eras:
            return {}
        return {"history": known.asText()}

    @property
    def owesFork(self) -> bool:
        """Whether a rollback must still be announced to the listeners."""
        return self.state.note("fork") is not None

    @property
    def isBack(self) -> bool:
        """Whether the stream went back, and its lost lines may still come again."""
        return self.state.note("back") is not None

    def hasSettled(self) -> None:
        """Record that lost lines are not expected any more."""
        self.state.keep("back", None)

    def hasForked(self) -> None:
        """Record that the rollback was announced."""
        self.state.keep("fork", None)

    def save(
        self, cursors: Iterable[Cursor], known: History, tell: bool = True
    ) -> None:
        """
        Save the cursors: first in the local database, from which this host continues, then in the
        bucket for other hosts. If the latter is impossible now, L{renew} does it.

        @param known: the history that the cursors belong to.
        @param tell: whether to write them to the bucket as well.
        @raise LeaseLost: another process has taken over.
        """
        cursors = list(cursors)
        advances = {
            cursor.output: self.written[cursor.output].saved(cursor.seq)
            for cursor in cursors
            if cursor.output in self.written
        }
        self.state.save(cursors, self._historyNote(known), advances)
        for output in advances:
            surplus = self.written[output].surplus()
            if surplus:
                self.state.forget(output, surplus)
        self.known = known
        for cursor in cursors:
            self._cursors[cursor.output] = cursor.seq
        if not tell:
            return
        try:
            self._write(self._holder)
        except JournalBlocked:
            pass

    def leave(self) -> None:
        """Give up the lease, so that another process can take over at once."""
        if self.isHeld:
            try:
                self._write("")
            except (JournalBlocked, LeaseLost, WentBack):
                pass

    def close(self) -> None:
        """Close the database."""
        self.state.close()

    def _write(self, holder: str) -> None:
        """
        Write the value, as the successor of the revision that we know.

        @raise JournalBlocked: it may be written or not; the next write finds out.
        @raise LeaseLost: the bucket has another revision.
        """
        begun = self._clock()
        try:
            value = self._bus.run(self._put(holder))
        except Silent as error:
            raise JournalBlocked(f"JetStream does not answer ({error})") from None
        self._value = value
        self.released = value.released
        self.renewed = begun

    async def _put(self, holder: str) -> _Value:
        attempt = uuid4().hex
        cursors, known = dict(self._cursors), self.known
        value = {
            "holder": holder,
            "place": self.state.identity,
            "host": self._host,
            "journal": self._journal,
            "history": None if known is None else known.asText(BUCKET_ERAS),
            "cursors": cursors,
            # For older programs, which ask for them.
            "times": {},
            "attempt": attempt,
        }
        subject = _subject(self._layout.name)
        before = self._value.revision
        self._attempts.append(attempt)
        while True:
            seq = await self._stream.publish(
                subject, json.dumps(value).encode(), {EXPECTED: str(before)}
            )
            if seq is not None:
                break
            there = await _read(self._stream, self._layout.name)
            if there.revision < before:
                raise WentBack(
                    f"the bucket {_bucket(self._layout.name)} went back: it was at revision"
                    f" {before} and is at {there.revision}"
                )
            if there.attempt not in self._attempts or there.revision <= before:
                raise LeaseLost(
                    f"{there.holder or 'no process'} has the lease on the outputs of"
                    f" {self._layout.name} now"
                )
            # Our own write, whose answer was lost: this one follows it.
            before = there.revision
        self._attempts = []
        return _Value(
            seq,
            holder,
            self.state.identity,
            self._host,
            self._journal,
            known,
            cursors,
            {},
            attempt,
        )

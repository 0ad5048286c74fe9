"""
The cursors of the outputs, and the lease: the right to write the outputs.

What must be true:

* an output's cursor and the lengths of its files are in one local database, saved in one
  transaction (L{decnet_syslog.nats._outputstate}), without waiting for the network
  (L{decnet_syslog.nats._keeping}). The cursors are then copied to a value in a key-value bucket of
  JetStream, for other hosts;
* that value is the lease as well. Each write names the previous revision. So a process that has
  lost the lease cannot move a cursor, and notices the loss;
* clocks of different hosts are not compared. The holder writes the value regularly. A waiting
  process takes the lease when the value has not changed for C{LEASE_S} by its own clock. The holder
  stops when it has not been able to write for C{GIVE_UP_S}, which is less;
* the lease belongs to a running process. A process may take it over at once only if the last holder
  had locked the same file: the same inode, since the same boot of the machine. Files and
  machines can be copied, so the content of the file proves nothing;
* a cursor is a position in a history (L{decnet_syslog.nats._history}). Both are saved together, in
  the file and in the bucket. After a rollback the outputs continue after the last message that is
  unchanged, and skip octets that they have written (L{decnet_syslog.nats._written}).

On one host, a second process also waits for a lock on the database, and continues in the same
files: each line is in the files once. A process on another host continues at the cursors in the
bucket, in its own files. docs/jetstream.rst has the details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from uuid import uuid4

from twisted.logger import Logger

from ..journal import Cursor, JournalBlocked
from ._bucket import Bucket, Value
from ._bus import Bus, NoResponse
from ._history import StreamHistory
from ._layout import Layout
from ._lease import GIVE_UP_S, LEASE_S, LeaseLost, WentBack, placeOf
from ._outputstate import OutputState
from ._planning import Plan, planOf
from ._written import Written

__all__ = ["Outbox"]


class Outbox:
    """
    The right to write the outputs, and their cursors.

    @ivar bus: the connection to the servers.
    @ivar released: every output has all messages up to this one on disk.
    @ivar before: the bucket's value when this process took the lease.
    @ivar written: for each output, the end of each stream.
    @ivar state: the file of the cursors.
    @ivar known: the history that all batches read so far, and the cursors, belong to.
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
        self.bus = bus
        self.state = state
        self._host = placeOf(state.path)
        self._holder = f"{holder} {uuid4().hex[:8]}"
        self._clock = clock
        self._bucket = Bucket(bus, layout.name)
        self._value = Value()
        self._changed = float("-inf")
        self._cursors: dict[str, int] = {}
        self.written: dict[str, Written] = {}
        self.known: StreamHistory | None = None
        # The history in the local database.
        self._savedHistory: StreamHistory | None = None
        # The identity of the stream.
        self._journal = ""
        self.released = 0
        self.before = Value()
        # When the last successful write of the value began.
        self._renewed = float("-inf")

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
        self._bucket.prepare()

    def acquire(self) -> bool:
        """
        Take the lease if it is free, or if its holder has not renewed it for C{LEASE_S}.

        @return: whether this process has the lease; if not, call again soon.
        """
        try:
            value = self.bus.run(self._bucket.read())
        except (JournalBlocked, NoResponse):
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

    def checkLease(self) -> None:
        """
        Stop before the lease can expire for other processes.

        @raise LeaseLost: it was not renewed for C{GIVE_UP_S}.
        """
        silent = self._clock() - self._renewed
        if silent > GIVE_UP_S:
            raise LeaseLost(
                f"the lease could not be renewed for {silent:.0f} s: another process may soon"
                " write the outputs"
            )

    def plan(
        self, names: Sequence[str], now: StreamHistory, isTrusted: bool = True
    ) -> Plan:
        """
        Find where each output continues. Batches wait for these outputs only.

        @param now: the stream's present history.
        @param isTrusted: whether to use cursors that have no history.
        """
        local = self.state.useOutputs(names)
        return planOf(local, self.state.history(), self._value, now, isTrusted)

    def begin(
        self, plan: Plan, journal: str, known: StreamHistory, owesFork: bool = False
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
                name,
                self.state.ends(name),
                self.state.again(name),
                self.state.lock,
            )
        # From the first write of a new holder on, cursors of the previous holder are refused.
        notes = {"history": known.asText(), "fork": "owed" if owesFork else None}
        if plan.at is not None:
            notes["back"] = "yes"
        self.state.save(list(plan.cursors.values()), notes, {})
        self.known = self._savedHistory = known
        self._journal = journal
        self._cursors = {name: cursor.seq for name, cursor in plan.cursors.items()}
        self._write(self._holder)

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

    def hasRead(self, known: StreamHistory) -> None:
        """Record the history that all batches read so far belong to."""
        with self.state.lock:
            self.known = known

    def save(self, cursors: Iterable[Cursor]) -> None:
        """
        Save the cursors of batches in the local database, from which this host continues. L{renew}
        copies them to the bucket. Any thread can call this.

        @raise JournalBlocked: the database cannot be written now; nothing was saved.
        """
        cursors = list(cursors)
        with self.state.lock:
            advances = {
                cursor.output: self.written[cursor.output].advance(cursor.seq)
                for cursor in cursors
                if cursor.output in self.written
            }
            known = self.known
            isSaved = known is None or (
                self._savedHistory is not None and self._savedHistory.eras == known.eras
            )
            notes = {} if known is None or isSaved else {"history": known.asText()}
            self.state.save(cursors, notes, advances)
            self._savedHistory = known
            for cursor in cursors:
                self._cursors[cursor.output] = cursor.seq
                if cursor.output in advances:
                    self.written[cursor.output].saved(cursor.seq)
            for output in advances:
                forgotten = self.written[output].forgetOldest()
                if forgotten:
                    self.state.forget(output, forgotten)

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
        with self.state.lock:
            known, cursors = self.known, dict(self._cursors)
        value = Value(
            self._value.revision,
            holder,
            self.state.identity,
            self._host,
            self._journal,
            known,
            cursors,
        )
        try:
            value = self.bus.run(self._bucket.write(value))
        except NoResponse as error:
            raise JournalBlocked(f"JetStream does not answer ({error})") from None
        self._value = value
        self.released = value.released
        self._renewed = begun

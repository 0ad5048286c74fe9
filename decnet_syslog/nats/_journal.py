"""
The journal in JetStream: many listeners, one authority.

What must be true (L{decnet_syslog.journal._promise} has the promises of every journal):

* octets and the position after them are one message. The server accepts it only if it follows the
  message that we expect as the last one of its subject. A listener that expects another message,
  because a second listener has extended the stream meanwhile, is stale;
* a listener keeps no state that it could lose. Its memory of a stream only saves a request, and the
  server compares it. So a listener can be killed at any time;
* a missing answer proves nothing. The same message is sent again, with the same predecessor. If
  the server accepted the first one, it refuses the second, and the attempt in the subject's last
  message shows whether that message is ours.

A grant asks the stream's leader for the last message. A leader that was deposed and has not
noticed could return an old one. The forwarder then learns an old position, and may even decide on
a gap. But its next message names an old predecessor and is refused, so the only effect is another
connection.

The stream can go back (L{decnet_syslog.nats._history}). L{Chronicle.sure} detects this before each
publish. After a rollback all grants are void, pending deposits are not committed, and the listener
closes all connections with C{journal-went-back}. The forwarders then ask about their mark, learn
that it is lost, and offer all files on their disks again.

Of two connections with the same stream, the newer one is granted. At the same listener the older
connection is stale at once, because its row is forgotten. At another listener it is stale when the
newer connection has committed something. Until then both may continue: the later commit is refused.

This module is long because it is a surface: a short method for each promise, for listeners and for
the process that writes the outputs. The work is in the modules that it imports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.logger import Logger

from ..errors import UserError
from ..journal import (
    Batch,
    Cursor,
    Deposit,
    JournalBlocked,
    Mark,
    OpenRequest,
    StreamLease,
    StreamPosition,
)
from ..limits import Limits
from ..wire import NUMBER_MAX
from ._bus import Bus, NoResponse
from ._chronicle import Chronicle
from ._committing import Committer, committedSubject
from ._layout import Layout
from ._lease import WentBack
from ._messages import HEADERS_OCTETS_MAX, Entry
from ._opening import opening
from ._outbox import Outbox
from ._outputstate import End, Limbo
from ._packing import packer
from ._planning import Plan
from ._positions import Positions
from ._proving import Prover, WrittenView
from ._reader import Reader
from ._removing import Remover
from ._room import Room
from ._shortening import Shortener
from ._stream import JournalStream, StreamFull

__all__ = ["JetStreamJournal", "committedSubject"]

T = TypeVar("T")

# Maximum number of concurrent requests. Each can carry a message of 128 KiB.
AT_ONCE = 64


class JetStreamJournal:
    """
    A journal in a cluster.

    @ivar octets: 0: the stream has one limit for all listeners.
    @ivar keptOctets: 0, for the same reason.
    @ivar bus: the connection to the servers.
    @ivar chronicle: the history of the stream.
    @ivar stream: the stream that holds the lines.
    @ivar prover: proves which octets an output has written.
    @ivar outbox: the outputs' part; C{None}: no output is here.
    """

    _log = Logger()

    def __init__(
        self,
        bus: Bus,
        stream: JournalStream,
        chronicle: Chronicle,
        outbox: Outbox | None,
        streamsPerWorkerMax: int,
        encoding: str,
        messageOctetsMax: int,
    ) -> None:
        """Use L{open} instead."""
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self._messageOctetsMax = messageOctetsMax
        self._saidPayload = 0
        self.octets = self.keptOctets = 0
        self.capacity = NUMBER_MAX
        self.hasSpare = False
        self.bus = bus
        self.stream = stream
        self.outbox = outbox
        self.chronicle = chronicle
        self.chronicle.wentBack = self._wentBack
        self._heardWentBack: Callable[[], None] = lambda: None
        self._makeReader()
        self._positions = Positions(
            bus, stream, chronicle, streamsPerWorkerMax, asyncio.Semaphore(AT_ONCE)
        )
        self._committer = Committer(
            bus,
            stream,
            chronicle,
            self._positions,
            packer(encoding),
            Room(stream, chronicle, self._isAllWritten),
        )

    @classmethod
    def open(
        cls,
        bus: Bus,
        layout: Layout,
        messageOctetsMax: int,
        outbox: Outbox | None = None,
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        encoding: str = "zstd",
    ) -> JetStreamJournal:
        """
        Open the stream, or create it.

        @param messageOctetsMax: maximum length of a line.
        @param outbox: the cursors of the outputs; C{None}: this process has no outputs.
        @param streamsPerWorkerMax: with more streams of a worker, the one that advanced longest ago
            is forgotten, unless it has lines that are not in every output. Other listeners create
            streams at the same time, so the limit is approximate.
        @param encoding: the compression of committed batches, C{zstd} or C{none}. Both can be read.
        @raise UserError: the stream cannot be used.
        """
        if messageOctetsMax + 1 + HEADERS_OCTETS_MAX > bus.payloadMax:
            raise UserError(
                f"the NATS server accepts messages of at most {bus.payloadMax} octets, too few for"
                f" lines of {messageOctetsMax}: set max_payload on all servers to"
                f" {messageOctetsMax + 1 + HEADERS_OCTETS_MAX} or more, or lower"
                " --max-message"
            )
        stream = JournalStream(bus, layout.name)
        what = f"the journal {layout.name}"
        mayMake = outbox is None or outbox.state.history() is None
        opening(bus, what, lambda: stream.ensure(layout, mayMake))
        chronicle = Chronicle(stream, layout)
        opening(bus, what, chronicle.open)
        return cls(
            bus,
            stream,
            chronicle,
            outbox,
            streamsPerWorkerMax,
            encoding,
            messageOctetsMax,
        )

    def _makeReader(self) -> None:
        """Begin to read in the present history."""
        stream, chronicle = self.stream, self.chronicle
        self._reader = Reader(stream, chronicle)
        self._remover = Remover(stream, self._reader)
        self._shortener = Shortener(stream, chronicle, self._reader, self._remover)

    @property
    def identity(self) -> str:
        """32 hex digits, made with the stream; the same at every listener."""
        return self.stream.identity

    @property
    def mark(self) -> Mark:
        """The last message that this process knows, and its era."""
        return self.chronicle.mark

    @property
    def turns(self) -> int:
        """As L{decnet_syslog.journal._promise.IJournal.turns}."""
        return self.chronicle.turns

    @property
    def refusals(self) -> Mapping[tuple[str, str], tuple[str, str]]:
        """As L{decnet_syslog.journal._promise.IJournal.refusals}."""
        return self._committer.refusals

    @property
    def octetsOf(self) -> Mapping[str, int]:
        """
        Empty: the commits of other listeners are unknown here, and the stream has one limit for all
        workers.
        """
        return {}

    def close(self) -> None:
        """Give up the lease on the outputs, and close the connection."""
        if self.outbox is not None:
            self.outbox.leave()
            self.outbox.close()
        self.bus.close()

    def giveBack(self) -> bool:
        """As L{decnet_syslog.journal._promise.IJournal.giveBack}: the servers free room."""
        return False

    # History.

    def holds(self, mark: Mark) -> bool:
        """As L{decnet_syslog.journal._promise.IJournal.holds}."""
        return self._run(self.chronicle.holds(mark))

    def checkHistory(self) -> None:
        """
        Check the stream's history and its settings. Call this regularly, also while no lines
        arrive.

        @raise JournalBlocked: try again later.
        @raise WentBack: the stream went back, and this process writes the outputs.
        """
        if self.outbox is None:
            self._run(self.chronicle.check())
            self._lookAtPayload()
            return
        self._run(self._reader.check())
        self._run(self._remover.sweepSome())
        if self.outbox.owesFork:
            self._run(self.chronicle.fork())
            self.outbox.hasForked()

    def onWentBack(self, heard: Callable[[], None]) -> None:
        """Call C{heard}, in the bus's thread, after each rollback."""
        self._heardWentBack = heard

    def _wentBack(self) -> None:
        """Forget all grants and positions."""
        self._positions.clear()
        if self.outbox is None:
            # A listener reads only to explain a full stream.
            self._makeReader()
        self._heardWentBack()

    def _lookAtPayload(self) -> None:
        """Log when the servers stop accepting our longest lines, and when they resume."""
        most = self.bus.payloadMax
        needs = self._messageOctetsMax + 1 + HEADERS_OCTETS_MAX
        if most == self._saidPayload or (most >= needs and not self._saidPayload):
            return
        if most < needs:
            self._saidPayload = most
            self._log.error(
                "the NATS server accepts messages of at most {most} octets now, so longer lines"
                " wait at their workers; set max_payload to {needs} or more",
                event="unsafe",
                most=most,
                needs=needs,
                reason="max_payload",
            )
        else:
            self._saidPayload = 0
            self._log.info(
                "the NATS server accepts messages of {most} octets again",
                event="unsafe",
                over=True,
                most=most,
                reason="max_payload",
            )

    # Positions.

    def grant(
        self, worker: str, stream: str, generation: int, start: int, name: str
    ) -> StreamLease:
        """Grant one stream, as of L{grants}."""
        return self.grants([OpenRequest(worker, stream, generation, start, name)])[0]

    def grants(self, requests: Sequence[OpenRequest]) -> list[StreamLease]:
        """As L{decnet_syslog.journal._promise.IJournal.grants}."""
        return self._run(self._positions.grants(requests))

    def known(self, worker: str) -> list[StreamPosition]:
        """As L{decnet_syslog.journal._promise.IJournal.known}."""
        entries = self._run(self._positions.known(worker))
        if entries:
            self.chronicle.noted(entries[0].seq)
        return [entry.known() for entry in entries[: self._streamsPerWorkerMax]]

    # Batches.

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """As L{decnet_syslog.journal._promise.IJournal.commit}."""
        batches = self._run(self._committer.commit(deposits)) if deposits else []
        cursors = list(cursors)
        if cursors and self.outbox is not None:
            if max(c.seq for c in cursors) > self._reader.history.last:
                # The saved history must include the cursor.
                self._run(self.chronicle.check())
            self.outbox.hasRead(self._reader.history)
            self.outbox.save(cursors)
            try:
                self.share()
            except JournalBlocked:
                # This is not urgent: try again after the next commit.
                pass
        return batches

    def share(self) -> None:
        """
        Renew the lease, copy the saved cursors to the bucket for other hosts, and remove written
        messages.

        @raise JournalBlocked: try again later.
        @raise LeaseLost: another process has the outputs.
        """
        assert self.outbox is not None, "no output is here"
        self.outbox.renew()
        self._run(self._remover.release(self.outbox.released))

    async def _isAllWritten(self, written: int) -> bool:
        """Whether only eras and positions follow the last written message."""
        known = self.chronicle.known
        if known.last - written <= known.erasBehind(written):
            return True
        try:
            return not await self._reader.read(written, 1)
        except WentBack:
            # It went back at this moment.
            return False

    def isAllWritten(self) -> bool:
        """
        Whether every output has all lines of the stream.

        @raise JournalBlocked: try again later.
        """
        assert self.outbox is not None, "no output is here"
        self._run(self.chronicle.check())
        return self._run(self._isAllWritten(self.outbox.released))

    def read(self, after: int, costMax: int) -> list[Batch]:
        """As L{decnet_syslog.journal._promise.IJournal.read}."""
        entries = self._entries(after, costMax)
        return [entry.batch for entry in entries if entry.batch is not None]

    def _entries(self, after: int, costMax: int) -> list[Entry]:
        """The messages with batches behind C{after}, as of L{Reader.read}."""
        if self.outbox is None:
            return self._run(self._reader.read(after, costMax))
        after = max(after, self.outbox.released)
        entries = self._run(self._reader.read(after, costMax))
        # Before an output can write them: a cursor is saved with this history.
        self.outbox.hasRead(self._reader.history)
        return entries

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """As L{decnet_syslog.journal._promise.IJournal.useOutputs}."""
        assert self.outbox is not None, "no output is here"
        outbox = self.outbox
        plan = self._run(self._plan(outbox, names))
        owes = False
        if plan.at is not None and not self.chronicle.known.isForkedBehind(plan.at):
            # Before our own record changes: listeners and workers must learn of the rollback.
            try:
                self._run(self.chronicle.fork())
            except StreamFull:
                # Announce it later, when written messages have made room.
                owes = True
        outbox.begin(plan, self.identity, self.chronicle.known, owes)
        self._makeReader()
        self._reader.forgiven = outbox.before.released
        self.prover = Prover(self.stream, self._reader, outbox.isBack)
        self._limbo = Limbo(outbox.state)
        self._run(self._shortener.restore(self._limbo))
        self._run(self._remover.sweep(outbox.released))
        return plan.cursors

    async def _plan(self, outbox: Outbox, names: Sequence[str]) -> Plan:
        """Find where the outputs continue in the present stream."""
        await self.chronicle.check()
        before, isTrusted = outbox.before, True
        if before.history is None:
            # An older program wrote it: it has only the storage times of the messages.
            isTrusted = before.journal in ("", self.identity)
            for output, seq in before.cursors.items():
                time = before.times.get(output, 0)
                if time and not await self._reader.isStill(seq, time):
                    isTrusted = False
        return outbox.plan(names, self.chronicle.known, isTrusted)

    def written(self, output: str) -> WrittenView:
        """The journal without the octets that an output has written."""
        assert self.outbox is not None, "no output is here"

        def judge(entry: Entry, end: End) -> bool:
            return self._run(self.prover.judge(entry, end))

        return WrittenView(
            self._entries,
            lambda: self.mark.number,
            self.outbox.written[output],
            judge,
            partial(self.outbox.state.decide, output),
        )

    def tidy(self) -> None:
        """
        Shorten messages that are kept only as positions. The process that writes the outputs calls
        this regularly.

        @raise JournalBlocked: try again later.
        """
        assert self.outbox is not None, "no output is here"
        self._run(self._shortener.tidy(self.outbox.released, self._limbo))
        if self.outbox.isBack and not self.prover.isPatient:
            self.outbox.hasSettled()

    @property
    def octetsMax(self) -> int:
        """Maximum size of the stream, in octets."""
        return self.stream.octetsMax

    def size(self) -> tuple[int, int]:
        """
        Return the size of the stream in octets, and its last message.

        @raise JournalBlocked: try again later.
        """
        octets, _, last = self._run(self.stream.state())
        return octets, last

    def onCommitted(self, heard: Callable[[], None]) -> None:
        """
        Call C{heard}, in the bus's thread, when a listener has committed something.

        A notice can get lost, so read regularly as well.
        """
        self._run(self.bus.listen(committedSubject(self.stream.name), heard))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.bus.run(work)
        except NoResponse as error:
            raise JournalBlocked(f"JetStream does not answer ({error})") from None

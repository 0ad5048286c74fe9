"""
The journal in JetStream, as the process that writes the outputs uses it.

It is a listener's journal with an L{Outbox<decnet_syslog.nats._outbox.Outbox>}: cursors, and the
right to move them. It reads in one history only. After a rollback every reading raises L{WentBack},
and the process ends and starts again from its cursors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ..journal import Batch, Cursor, Deposit, JournalBlocked
from ._bus import Bus
from ._chronicle import Chronicle
from ._committing import committedSubject
from ._journal import JetStreamJournal
from ._layout import Layout
from ._messages import Entry
from ._opening import openStream
from ._outbox import Outbox
from ._outputstate import End, Limbo
from ._planning import Plan
from ._proving import Prover, WrittenView
from ._removing import Remover
from ._safety import PayloadLimit
from ._shortening import Shortener
from ._stream import JournalStream, StreamFull

__all__ = ["OutputsJournal"]


class OutputsJournal(JetStreamJournal):
    """
    A journal in a cluster, and the cursors of the outputs.

    @ivar outbox: the cursors, and the right to write the outputs.
    @ivar prover: proves which octets an output has written.
    """

    def __init__(
        self,
        bus: Bus,
        stream: JournalStream,
        chronicle: Chronicle,
        payload: PayloadLimit,
        outbox: Outbox,
    ) -> None:
        """Use L{openWith} instead."""
        super().__init__(bus, stream, chronicle, payload)
        self.outbox = outbox

    @classmethod
    def openWith(
        cls, bus: Bus, layout: Layout, outbox: Outbox, messageOctetsMax: int = 0
    ) -> OutputsJournal:
        """
        Open the stream, or create it if the outputs were never written.

        @param messageOctetsMax: maximum length of a line that this process commits.
        @raise UserError: the stream cannot be used.
        """
        payload = PayloadLimit(bus, messageOctetsMax)
        mayMake = outbox.state.history() is None
        stream, chronicle = openStream(bus, layout, payload, mayMake)
        return cls(bus, stream, chronicle, payload, outbox)

    def _beginReading(self) -> None:
        super()._beginReading()
        self._remover = Remover(self.stream, self._reader)
        self._shortener = Shortener(
            self.stream, self.chronicle, self._reader, self._remover
        )

    def close(self) -> None:
        """Give up the lease on the outputs, and close the connection."""
        self.outbox.leave()
        self.outbox.close()
        super().close()

    # History.

    def checkHistory(self) -> None:
        """
        As L{JetStreamJournal.checkHistory}; also announce a rollback that was not announced yet.

        @raise JournalBlocked: try again later.
        @raise WentBack: the stream went back.
        """
        self._run(self._reader.check())
        self._run(self._remover.sweepSome())
        if self.outbox.owesFork:
            self._run(self.chronicle.fork())
            self.outbox.hasForked()

    def _wentBack(self) -> None:
        """Forget all grants and positions. The reader refuses to continue in another history."""
        self._positions.clear()
        self._heardWentBack()

    # Cursors.

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """As L{decnet_syslog.journal._promise.IJournal.useOutputs}."""
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
        self._beginReading()
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

    def commit(
        self, deposits: Sequence[Deposit], cursors: Iterable[Cursor] = ()
    ) -> list[Batch | None]:
        """As L{decnet_syslog.journal._promise.IJournal.commit}."""
        batches = super().commit(deposits)
        cursors = list(cursors)
        if cursors:
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
        self.outbox.renew()
        self._run(self._remover.release(self.outbox.released))

    # Batches.

    def _entries(self, after: int, costMax: int) -> list[Entry]:
        entries = super()._entries(max(after, self.outbox.released), costMax)
        # Before an output can write them: a cursor is saved with this history.
        self.outbox.hasRead(self._reader.history)
        return entries

    def written(self, output: str) -> WrittenView:
        """The journal without the octets that an output has written."""

        def judge(entry: Entry, end: End) -> bool:
            return self._run(self.prover.judge(entry, end))

        return WrittenView(
            self._entries,
            lambda: self.mark.number,
            self.outbox.written[output],
            judge,
            partial(self.outbox.state.decide, output),
        )

    def isAllWritten(self) -> bool:
        """
        Whether every output has all lines of the stream.

        @raise JournalBlocked: try again later.
        """
        self._run(self.chronicle.check())
        return self._run(self._isAllWritten(self.outbox.released))

    def tidy(self) -> None:
        """
        Shorten messages that are kept only as positions. The process that writes the outputs calls
        this regularly.

        @raise JournalBlocked: try again later.
        """
        self._run(self._shortener.tidy(self.outbox.released, self._limbo))
        if self.outbox.isBack and not self.prover.isPatient:
            self.outbox.hasSettled()

    def onCommitted(self, heard: Callable[[], None]) -> None:
        """
        Call C{heard}, in the bus's thread, when a listener has committed something.

        A notice can get lost, so read regularly as well.
        """
        self._run(self.bus.listen(committedSubject(self.stream.name), heard))

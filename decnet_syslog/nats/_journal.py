"""
The journal in JetStream, as a listener uses it: many listeners, one authority.

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
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TypeVar

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
from ._committing import Committer
from ._layout import Layout
from ._lease import WentBack
from ._messages import Entry
from ._opening import openStream
from ._packing import packer
from ._positions import Positions
from ._reader import Reader
from ._room import Room
from ._safety import PayloadLimit
from ._stream import JournalStream

__all__ = ["JetStreamJournal"]

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
    """

    def __init__(
        self,
        bus: Bus,
        stream: JournalStream,
        chronicle: Chronicle,
        payload: PayloadLimit,
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        encoding: str = "zstd",
    ) -> None:
        """Use L{open} instead."""
        self._streamsPerWorkerMax = streamsPerWorkerMax
        self._payload = payload
        self.octets = self.keptOctets = 0
        self.capacity = NUMBER_MAX
        self.hasSpare = False
        self.bus = bus
        self.stream = stream
        self.chronicle = chronicle
        self.chronicle.wentBack = self._wentBack
        self._heardWentBack: Callable[[], None] = lambda: None
        self._beginReading()
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
        streamsPerWorkerMax: int = Limits.filesPerWorker,
        encoding: str = "zstd",
    ) -> JetStreamJournal:
        """
        Open the stream, or create it.

        @param messageOctetsMax: maximum length of a line.
        @param streamsPerWorkerMax: with more streams of a worker, the one that advanced longest ago
            is forgotten, unless it has lines that are not in every output. Other listeners create
            streams at the same time, so the limit is approximate.
        @param encoding: the compression of committed batches, C{zstd} or C{none}. Both can be read.
        @raise UserError: the stream cannot be used.
        """
        payload = PayloadLimit(bus, messageOctetsMax)
        stream, chronicle = openStream(bus, layout, payload)
        return cls(bus, stream, chronicle, payload, streamsPerWorkerMax, encoding)

    def _beginReading(self) -> None:
        """Begin to read in the present history."""
        self._reader = Reader(self.stream, self.chronicle)

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

    def close(self) -> None:
        """Close the connection."""
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
        """
        self._run(self.chronicle.check())
        self._payload.report()

    def onWentBack(self, heard: Callable[[], None]) -> None:
        """Call C{heard}, in the bus's thread, after each rollback."""
        self._heardWentBack = heard

    def _wentBack(self) -> None:
        """Forget all grants and positions, and read in the present history."""
        self._positions.clear()
        self._beginReading()
        self._heardWentBack()

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
        """As L{decnet_syslog.journal._promise.IJournal.commit}. A listener has no cursors."""
        return self._run(self._committer.commit(deposits)) if deposits else []

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

    def read(self, after: int, costMax: int) -> list[Batch]:
        """As L{decnet_syslog.journal._promise.IJournal.read}."""
        entries = self._entries(after, costMax)
        return [entry.batch for entry in entries if entry.batch is not None]

    def _entries(self, after: int, costMax: int) -> list[Entry]:
        """The messages with batches behind C{after}, as of L{Reader.read}."""
        return self._run(self._reader.read(after, costMax))

    def useOutputs(self, names: Sequence[str]) -> dict[str, Cursor]:
        """As L{decnet_syslog.journal._promise.IJournal.useOutputs}: no output is at a listener."""
        assert not names, "decnet-outputs writes the outputs"
        return {}

    def _run(self, work: Coroutine[object, None, T]) -> T:
        try:
            return self.bus.run(work)
        except NoResponse as error:
            raise JournalBlocked(f"JetStream does not answer ({error})") from None

"""
L{decnet_syslog.receiving._acked}, L{decnet_syslog.receiving._session} and group
commit, with workers that send anything in any order on several connections.

A second decoder reads what each connection sends. At the end, everything in the journal
must equal octets that one connection sent for that position; streams must have no
holes, and checksums must be right. A line must be in the journal by the time it is
acknowledged. Waiting octets must be bounded and counted. No internal error may be
logged. Any position is preceded by a mark of the journal's history that covers it, and
SEEN is answered before any position.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from decnet_syslog.journal import Batch, Mark
from decnet_syslog.journal._ackschedule import ACK_SPACING_S
from decnet_syslog.journal._groupcommit import FULL_RETRY_S, GroupCommit
from decnet_syslog.journal._segments import Segments
from decnet_syslog.journal._space import Space
from decnet_syslog.journal._spacing import SPACING_S
from decnet_syslog.journal._sqlite import Journal, JournalFull
from decnet_syslog.journal._transactions import identityOf
from decnet_syslog.limits import Limits
from decnet_syslog.receiving._acked import AckedSession
from decnet_syslog.receiving._assembler import Origin
from decnet_syslog.receiving._flowcontrol import Pause
from decnet_syslog.receiving._plain import PlainSession
from decnet_syslog.receiving._registry import ConnectionRegistry
from decnet_syslog.receiving._session import ReceiverSession, Violation
from decnet_syslog.wire import (
    ACK,
    AT,
    BYE,
    CLOSE,
    EMPTY,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LAST,
    LIST,
    LISTED,
    MARK,
    NUMBER_MAX,
    OPEN,
    RESUME,
    SEEN,
    SKIP,
    ControlError,
    ControlLine,
    FramingError,
    OctetCountedReceiver,
    Oversize,
    encodeControl,
    encodeFrames,
    parseControl,
)
from tests.doubles import LaterThread

from ..log import watched
from ..scratch import fresh
from ..sent import Key, Sent
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 512
OPAQUE = False

MESSAGE_OCTETS_MAX = 2048

# A low limit on a connection's waiting octets, so that few octets reach it.
_RECEIVED_OCTETS_MAX = 8192

_LIMITS = Limits(
    message=MESSAGE_OCTETS_MAX,
    pendingPerConnection=_RECEIVED_OCTETS_MAX,
    filesPerConnection=6,
)

# The maximum cost of one receive here, including the cost of its lines.
_RECEIVE_COST_MAX = 256 * 1024

_CONNECTIONS_MAX = 6

_STREAMS = ("5" * 32, "6" * 32, "7" * 32)
_GENERATIONS = (0, 1, NUMBER_MAX)
_NAMES = ("app.log", "b", "/var/log/\udcff\n]")
_STARTS = (0, 0, 5, NUMBER_MAX - 20, NUMBER_MAX)
_COUNTS = (0, 1, 2, 1024, 1025, NUMBER_MAX)
_SECONDS = (FULL_RETRY_S, SPACING_S, ACK_SPACING_S)
_REASONS = ("lag-cap", "oversize")
_LINES = (b"a", b"line", b"a\nb", b"\n", b"x\n", b"x" * 2048, b"y" * 700, b"\xff\x00")
_STRANGE: tuple[ControlLine, ...] = (
    HELLO(1, _STREAMS[0], 5, 9),
    HELLO2(2, _STREAMS[0], 5, 9, 0, _STREAMS[0]),
    HISTORY(True),
    MARK(0, _STREAMS[0]),
    RESUME(_STREAMS[0], 0, 5, 0, 0),
    ACK(_STREAMS[0], 0, 5),
    KNOWN(_STREAMS[0], 0, 5, 0, 0, "x"),
    LISTED(),
)

# Steps: the low bits of a decision; HOLD: the receive continues with the next step.
HOLD = 0x80
_OPEN, _AT, _AT_OTHER, _FRAMES, _EMPTY, _LAST, _SKIP, _LIST, _BYE = range(9)
_STRANGER, _RAW, _RUN, _DELIVER, _CONNECT, _SWITCH, _LOSE, _FULL, _WAIT = range(9, 18)
_CLOSE, _SEEN = 18, 19
_STEPS = 20

WORDS = (
    bytes([_OPEN, 0, 0, 0, 0, _RUN, 1, _AT, 0, 0]),
    bytes([_FRAMES, 1, 0]),
    bytes([_FRAMES, 2, 0, 1]),
    bytes([_LAST, _FRAMES, 1, 0]),
    bytes([_LAST | HOLD, _FRAMES, 1, 0]),
    bytes([_SKIP, 1, 0]),
    bytes([_EMPTY, 1]),
    bytes([_CONNECT, 0]),
    bytes([_SWITCH, 0]),
    bytes([_FULL, 1, _WAIT, 0]),
    bytes([_FULL, 0, _WAIT, 0]),
    bytes([_RUN, 3]),
    bytes([_WAIT, 1, _RUN, 3]),
    bytes([_WAIT, 2]),
    bytes([_CLOSE, 0, 0]),
    bytes([_SEEN, 0]),
    bytes([_RAW, 5]) + b"LIST\n",
    bytes([_RAW, 7]) + b"0 2049 ",
    bytes([_RAW, 5]) + b"2049 " + bytes([_FRAMES, 4, 5, 5, 5, 5]),
)

_BEGIN = bytes([_CONNECT, 0, _OPEN, 0, 0, 0, 0, _RUN, 1, _AT, 0, 0])

SEEDS = (
    _BEGIN
    + bytes(
        [_FRAMES, 2, 0, 1, _RUN, 1, _WAIT, 1, _WAIT, 2, _EMPTY, 1, _SKIP, 1, 0, _RUN, 2]
    ),
    _BEGIN + bytes([_LAST, _FRAMES, 1, 0, _RUN, 2, _AT, 0, 0, _FRAMES, 1, 1, _RUN, 2]),
    _BEGIN + bytes([_FRAMES, 1, 5]) * 6 + bytes([_RUN, 1, _LIST, _RUN, 3, _BYE]),
    _BEGIN + bytes([_FRAMES, 1, 0]) + _BEGIN + bytes([_FRAMES, 1, 1, _RUN, 5, _LOSE]),
    bytes([_CONNECT, 4, _FRAMES, 3, 0, 3, 2, _RUN, 1, _FULL, 1, _FRAMES, 1, 4, _RUN, 2])
    + bytes([_WAIT, 0, _FULL, 0, _WAIT, 0, _RUN, 3]),
    _BEGIN + bytes([_AT_OTHER, 0, 0, 3, _FRAMES, 1, 0, _WAIT, 0, _RUN, 2]),
    # Superseded while it has lines that are not handed over.
    _BEGIN + bytes([_FRAMES, 1, 0, _FRAMES, 1, 1]) + _BEGIN + bytes([_RUN, 5]),
    bytes([_CONNECT, 0, _OPEN, 0, 0, 3, 0, _RUN, 1, _AT, 0, 0, _FRAMES, 4, 1, 1, 1, 1])
    + bytes([_FRAMES, 4, 1, 1, 1, 1, _WAIT, 0, _RUN, 3]),
    # Closed while its lines are being committed, and opened again.
    _BEGIN + bytes([_FRAMES, 1, 0, _CLOSE, 0, 0, _OPEN, 0, 0, 0, 0, _RUN, 5, _WAIT, 2]),
    bytes([_CONNECT, 0, _STRANGER, 0, _CONNECT, 0, _RAW, 2]) + b"0 ",
    # A plain peer: an empty frame, and a skipped one.
    bytes([_CONNECT, 4, _RAW, 7]) + b"0 2055 " + bytes([_FRAMES, 2, 5, 0, _RUN, 5]),
    # Marks: another worker's lines advance the journal between the marks sent to one
    # worker.
    bytes([_CONNECT, 2, _SEEN, 0, _OPEN, 0, 0, 0, 0, _RUN, 3, _AT, 0, 0])
    + bytes([_FRAMES, 1, 0, _RUN, 2, _CONNECT, 3, _SEEN, 1, _OPEN, 0, 0, 0, 0, _RUN, 3])
    + bytes(
        [_AT, 0, 0, _FRAMES, 1, 0, _RUN, 2, _SWITCH, 0, _LIST, _FRAMES, 1, 1, _RUN, 5]
    ),
)


class _End(OctetCountedReceiver):
    """A connection on the listener's side, without a real transport."""

    MAX_LENGTH = MESSAGE_OCTETS_MAX
    isRead = True

    def __init__(
        self, world: _World, worker: str, control: bool, history: bool
    ) -> None:
        self.control = control
        self.lenient = not control
        self.history = history
        self.mark = -1
        self.asked = 0
        self.worker = worker
        self.sent = Sent(control, MESSAGE_OCTETS_MAX)
        self.pending = b""
        self.lost = self.closed = False
        self.resumed: dict[Key, int] = {}
        self._world = world
        rest = (Origin(worker, "f", "a"), self, world.commits)
        self.session: ReceiverSession
        if control:
            self.session = AckedSession(
                *rest, world.journal, _LIMITS, world.registry, history=history
            )
        else:
            self.session = PlainSession(*rest)
        self.session.start()
        if isinstance(self.session, AckedSession):
            self.session.greet()

    def framesReceived(self, messages: list[bytes]) -> None:
        try:
            self.session.framesReceived(messages)
        except Violation as violation:
            self.close(BYE(violation.code, violation.text))

    def controlReceived(self, line: ControlLine) -> None:
        assert isinstance(self.session, AckedSession)
        self.asked += isinstance(line, SEEN)
        try:
            self.session.controlReceived(line)
        except Violation as violation:
            self.close(BYE(violation.code, violation.text))

    def oversizeReceived(self, frame: Oversize) -> None:
        assert isinstance(self.session, PlainSession)
        self.session.oversizeReceived(frame)

    def frameError(self, error: FramingError | ControlError) -> None:
        self.close(BYE("framing", str(error)))

    def sendControl(self, *lines: ControlLine) -> None:
        assert not self.lost, lines
        if self.closed:
            # The TLS connection no longer accepts anything.
            return
        for line in lines:
            assert parseControl(encodeControl(line)[:-1]) == line
            if isinstance(line, RESUME):
                self.resumed[line.stream, line.generation] = line.offset
            if isinstance(line, ACK | RESUME):
                self._world.durable(self.worker, line)
            self._tells(line)

    def _tells(self, line: ControlLine) -> None:
        """Check that a line's claim about the journal's history is right."""
        if isinstance(line, HELLO):
            assert isinstance(line, HELLO2) == self.history, line
        if isinstance(line, MARK | HELLO2):
            assert self.history and line.number >= self.mark, (line, self.mark)
            journal = self._world.journal
            assert Mark(line.number, line.token) == journal.mark, (line, journal.mark)
            self.mark = line.number
        elif isinstance(line, HISTORY):
            self.asked -= 1
            assert self.asked >= 0, line
        elif self.history and isinstance(line, ACK | RESUME | KNOWN):
            assert not (self.asked and isinstance(line, RESUME | KNOWN)), line
            last = self._world.lastBatch(self.worker, line)
            assert last <= self.mark, (line, last, self.mark)

    def close(self, bye: BYE) -> None:
        assert bye.code != "error", bye
        self.refuse()
        self.closed = True

    def pause(self, why: Pause) -> None:
        self.halt()

    def resume(self, why: Pause) -> None:
        self.proceed()

    def position(self, key: Key) -> int:
        """The position at which this connection would continue."""
        items = self.sent.items.get(key)
        return items[-1][1] if items else self.resumed.get(key, 0)

    def deliver(self) -> None:
        """Let sent octets arrive."""
        octets, self.pending = self.pending, b""
        if octets and not self.lost:
            self.sent.feed(octets)
            self.dataReceived(octets)

    def lose(self) -> None:
        """The connection is lost."""
        if not self.lost:
            self.lost = True
            if not self.control:
                # As in the listener: no second BYE is sent.
                self.proceed()
            self.session.connectionLost()


@cache
def _database() -> sqlite3.Connection:
    """
    The journal's tables; they are emptied for each run, which is faster than a new
    database.
    """
    path = fresh("reception") / "listener.db"
    Journal.open(path).close()
    return sqlite3.connect(path, isolation_level=None)


def _emptyJournal() -> Journal:
    db = _database()
    tables = ("batch", "gap", "stream", "cursor", "output_file", "sqlite_sequence")
    for table in tables:
        db.execute(f"DELETE FROM {table}")
    db.execute("DELETE FROM era")
    db.execute("INSERT INTO era (token, first) VALUES (?, 0)", (_STREAMS[0],))
    path = fresh("journal") / "listener.db"
    space = Space(path, db, False)
    return Journal(
        path, db, 4096, space, Segments(path, identityOf(db), (), space.mayExtend)
    )


class _World:
    """A listener without sockets."""

    def __init__(self) -> None:
        self.journal = _emptyJournal()
        self.clock = Clock()
        self.thread = LaterThread()
        self.full = False
        self.failures: list[Failure] = []
        self.commits = GroupCommit(
            self.journal, self.inThread, self.clock, self.failures.append, _LIMITS
        )
        self.ends: list[_End] = []
        self.registry = ConnectionRegistry(16)
        self.current = 0

    def inThread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """The journal's thread; its disk can be full."""

        def call() -> Any:
            if self.full and function == self.journal.commit:
                raise JournalFull("no space")
            return function(*arguments)

        return self.thread(call)

    def durable(self, worker: str, line: ACK | RESUME) -> None:
        """Check that an acknowledged position is in the journal."""
        offsets = [
            known.offset
            for known in self.journal.known(worker)
            if (known.stream, known.generation) == (line.stream, line.generation)
        ]
        assert offsets and line.offset <= offsets[0], (line, offsets)

    def lastBatch(self, worker: str, line: ACK | RESUME | KNOWN) -> int:
        """The last batch that a position covers."""
        return max(
            [
                batch.seq
                for batch in self.journal.read(0, 10**9)
                if batch.provenance.worker == worker
                and (batch.stream, batch.generation) == (line.stream, line.generation)
                and batch.end <= line.offset
            ],
            default=0,
        )

    def connect(self, kind: int) -> None:
        if len(self.ends) < _CONNECTIONS_MAX:
            self.current = len(self.ends)
            self.ends.append(_End(self, f"w{kind % 2}", kind < 4, kind in (2, 3)))

    def look(self) -> None:
        """Check that waiting octets are bounded and counted."""
        waiting = 0
        for end in self.ends:
            mine = end.session._waiting + end.session._taken
            waiting += mine
            assert mine < _RECEIVED_OCTETS_MAX + _RECEIVE_COST_MAX, mine
            if not end.session._paused and not end.closed and not end.lost:
                assert mine < _RECEIVED_OCTETS_MAX, mine
        assert self.commits.pendingOctets == waiting, (self.commits, waiting)
        assert not self.failures, self.failures

    def finish(self) -> None:
        """End all connections, and commit everything that is not refused."""
        self.full = False
        for end in self.ends:
            end.deliver()
            end.lose()
        for _ in range(100):
            self.thread.run()
            self.clock.advance(FULL_RETRY_S)
            if not self.thread.calls and not self.clock.getDelayedCalls():
                break
        else:
            raise AssertionError("the commits never finish")
        self.look()
        assert self.commits.pendingOctets == 0, self.commits.pendingOctets
        self.check()

    def check(self) -> None:
        """
        Check that everything in the journal was sent, and that nothing is missing in
        between.
        """
        streams: dict[tuple[str, str, int], list[Batch]] = {}
        plain: dict[str, list[bytes | Oversize]] = {}
        for batch in self.journal.read(0, 10**9):
            worker = batch.provenance.worker
            mine = [end.sent for end in self.ends if end.worker == worker]
            if batch.stream is None:
                items = plain.setdefault(worker, [])
                if batch.reason is None:
                    items.extend(_messages(batch))
                else:
                    items.append(Oversize(batch.end, batch.octets))
                continue
            assert any(sent.has(batch) for sent in mine), batch
            streams.setdefault((worker, batch.stream, batch.generation), []).append(
                batch
            )
        for worker, found in plain.items():
            mine = [end.sent for end in self.ends if end.worker == worker]
            sent: list[bytes | Oversize] = [
                m.removesuffix(b"\n") for one in mine for m in one.messages
            ]
            sent += [frame for one in mine for frame in one.oversize]
            assert sorted(found, key=repr) == sorted(sent, key=repr), (found, sent)
        for worker in ("w0", "w1"):
            for known in self.journal.known(worker):
                batches = streams.pop((worker, known.stream, known.generation), [])
                crc = base = None
                for batch in batches:
                    assert crc is None or batch.start == base, batches
                    base = batch.end
                    crc = 0 if batch.reason else crc32(batch.octets, crc or 0)
                if batches:
                    assert (known.offset, known.crc) == (base, crc), (known, batches)
        assert not streams, streams


def _messages(batch: Batch) -> list[bytes]:
    if batch.lengths is None:
        return batch.octets[:-1].split(b"\n")
    at, messages = 0, []
    for length in batch.lengths:
        messages.append(batch.octets[at : at + length])
        at += length
    assert at == len(batch.octets)
    return messages


def _said(source: Source, end: _End, step: int) -> bytes:
    """The octets for a step of the worker."""
    if step == _OPEN:
        return encodeControl(
            OPEN(
                source.choose(_STREAMS),
                source.choose(_GENERATIONS),
                source.choose(_STARTS),
                source.choose(_NAMES),
            )
        )
    if step in (_AT, _AT_OTHER):
        key = (source.choose(_STREAMS), source.choose(_GENERATIONS))
        offset = end.position(key) + (source.octet() if step == _AT_OTHER else 0)
        return encodeControl(AT(*key, min(offset, NUMBER_MAX)))
    if step == _FRAMES:
        return encodeFrames([source.choose(_LINES) for _ in range(source.below(5))])
    if step == _CLOSE:
        return encodeControl(
            CLOSE(source.choose(_STREAMS), source.choose(_GENERATIONS))
        )
    if step == _EMPTY:
        return encodeControl(EMPTY(source.choose(_COUNTS)))
    if step == _SKIP:
        return encodeControl(SKIP(source.choose(_COUNTS), source.choose(_REASONS)))
    if step == _RAW:
        return source.some()
    if step == _SEEN:
        mark = end._world.journal.mark if source.below(2) else Mark(0, _STREAMS[0])
        return encodeControl(SEEN(mark.number, mark.token))
    lines = {_LAST: LAST(), _LIST: LIST(), _BYE: BYE("shutdown", "\n\x1b[2J")}
    return encodeControl(lines.get(step) or source.choose(_STRANGE))


def _act(world: _World, source: Source) -> None:
    """Run one step."""
    decision = source.octet()
    step = (decision & ~HOLD) % _STEPS
    if not world.ends or step == _CONNECT:
        world.connect(source.below(6))
        return
    end = world.ends[world.current]
    if step == _RUN:
        world.thread.run(1 + source.below(8))
    elif step == _DELIVER:
        end.deliver()
    elif step == _SWITCH:
        world.current = source.below(len(world.ends))
    elif step == _LOSE:
        end.lose()
    elif step == _FULL:
        world.full = bool(source.below(2))
    elif step == _WAIT:
        world.clock.advance(source.choose(_SECONDS))
    else:
        end.pending += _said(source, end, step)
        if not decision & HOLD:
            end.deliver()


def run(octets: bytes) -> None:
    """Run steps."""
    source = Source(octets)
    with watched():
        world = _World()
        while source.left:
            _act(world, source)
            world.look()
        world.finish()

"""
L{decnet_syslog.sending._acked} with masters that send anything in any order.

Whatever they send: sent octets equal the file's at that position; a position moves only
to the end of a sent chunk, or to one that the master claimed and the file confirms;
none of their numbers changes the worker's own facts about a content; a pump without new
octets sends nothing; memory is bounded; no internal error is logged, and no control
character from the master.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from twisted.internet.task import Clock

from decnet_syslog.files import FollowedFiles, StateStore
from decnet_syslog.sending import AckedSender, Counts
from decnet_syslog.sending._connection import ListenerProtocolError
from decnet_syslog.sending._recognition import KNOWN_MAX
from decnet_syslog.wire import (
    ACK,
    AT,
    BYE,
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
    SKIP,
    ControlLine,
)

from ..log import watched
from ..scratch import fresh
from ..sent import Sent
from ..source import Source

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 128
OPAQUE = False

MESSAGE_OCTETS_MAX = 2048
_CHUNK_OCTETS = 64

_JOURNALS = ("a" * 32, "b" * 32)
_LIMITS = (2048, NUMBER_MAX, 480, 1, 0)
_STREAMS_MAX = (256, 1, 0, NUMBER_MAX)
_VERSIONS = (1, 2, 1, 0, 2)
_MARKS = ((1, "1" * 32), (2, "1" * 32), (NUMBER_MAX, "2" * 32), (0, "3" * 32))
_LINES = (
    b"a line\n",
    b"\n",
    b"x" * 63 + b"\n",
    b"part",
    b"y" * 3000 + b"\n",
    b"z" * 300,
)
_TEXTS = ("bye", "\n\x1b[2J", "\udcff" * 300)
_STRANGE: tuple[ControlLine, ...] = (
    LIST(),
    LAST(),
    EMPTY(5),
    SKIP(5, "x"),
    OPEN("5" * 32, 0, 0, "x"),
    AT("5" * 32, 0, 0),
)

_HELLO, _RESUME, _ACK, _KNOWN, _LISTED, _BYE, _STRANGER, _APPEND, _ROTATE = range(9)
_COPYTRUNCATE, _TRUNCATE, _DELETE, _POLL, _PAUSE, _CONNECT, _RUN, _WAIT = range(9, 17)
_RESTART, _HONEST, _HISTORY, _MARK = range(17, 21)
_STEPS = 21

WORDS = (
    bytes([_HELLO, 0, 0, 0, _LISTED]),
    bytes([_RESUME, 0, 0, 0]),
    bytes([_RESUME, 0, 1, 1, _RUN, 1]),
    bytes([_ACK, 0, 0]),
    bytes([_KNOWN, 0, 2, 1]),
    bytes([_LISTED, _RUN, 1]),
    bytes([_APPEND, 0, _POLL]),
    bytes([_APPEND, 3, _ROTATE, _POLL]),
    bytes([_CONNECT, _HELLO, 0, 0, 0]),
    bytes([_HONEST, _RUN, 3, _HONEST]),
    bytes([_WAIT, 20, _POLL]),
    bytes([_RESTART, 1, _HELLO, 0, 0, 0]),
)

_BEGIN = bytes([_APPEND, 0, _POLL, _HELLO, 0, 0, 0, _LISTED, _RUN, 1])

SEEDS = (
    # A position beyond the sent octets, or with another checksum.
    _BEGIN + bytes([_HONEST, _APPEND, 0, _POLL, _ACK, 0, 24]),
    _BEGIN + bytes([_RESUME, 0, 2, 2, _RUN, 1, _APPEND, 0, _POLL]),
    _BEGIN
    + bytes([_RESUME, 0, 0, 0, _ACK, 0, 0, _APPEND, 0, _POLL, _ACK, 0, 0, _BYE, 1]),
    _BEGIN + bytes([_HONEST, _APPEND, 2, _POLL, _HONEST, _ROTATE, _APPEND, 0, _POLL]),
    _BEGIN + bytes([_RESUME, 0, 3, 0, _RUN, 1, _KNOWN, 0, 2, 1, _LISTED, _RUN, 1]),
    _BEGIN
    + bytes([_HONEST, _CONNECT, _HELLO, 0, 1, 0, _RESUME, 0, 2, 1, _RUN, 1, _ACK, 0, 0])
    + bytes([_COPYTRUNCATE, _POLL, _WAIT, 20, _POLL, _APPEND, 0, _RESTART, 1, _POLL]),
)


class _Line:
    """A connection to the master that records instead of sending."""

    def __init__(self, world: _World) -> None:
        self.world = world
        self.paused = False
        self.closed = False
        self.octets = 0
        self.sent = Sent(True, MESSAGE_OCTETS_MAX)

    def sendOctets(self, octets: bytes) -> None:
        self.octets += len(octets)
        self.sent.feed(octets)
        assert not self.sent.broken, octets[:80]

    def close(self, bye: BYE) -> None:
        self.closed = True

    def accepted(self) -> None:
        """Ignore: the delay until the next connection does not matter here."""

    def whenArrived(self, call: Callable[[], None]) -> None:
        """Refuse: a sender with acknowledgements does not ask for this."""


class _World:
    """A worker with one log file and its connection."""

    def __init__(self) -> None:
        directory = fresh("sender")
        self.state = directory / "forwarder.db"
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.log = self.logs / "app.log"
        self.log.touch()
        self.contents = [b""]
        self.clock = Clock()
        self.serial = 0
        # The allowed positions.
        self.allowed: set[int] = {0}
        self.claims: list[RESUME] = []
        self.start()

    def start(self) -> None:
        self.store = StateStore.open(self.state)
        self.files = FollowedFiles(
            [str(self.log)],
            self.store,
            self.clock.seconds,
            messageOctetsMax=MESSAGE_OCTETS_MAX,
            lagOctetsMax=None,
            events=lambda name, **facts: None,
        )
        self.files.poll()
        self.connect()

    def connect(self) -> None:
        self.line = _Line(self)
        self.sender = AckedSender(
            self.files, self.line, self.clock, Counts(), "w1", True, _CHUNK_OCTETS
        )

    def lose(self) -> None:
        """The connection is lost, and a new one opens."""
        self.sender.connectionLost()
        self.connect()

    def stop(self) -> None:
        self.sender.connectionLost()
        self.files.close()
        self.store.close()

    def say(self, line: ControlLine) -> None:
        """The master sends a line."""
        if isinstance(line, RESUME):
            self.claims.append(line)
            self.allow()
        if isinstance(line, KNOWN):
            self.claims.append(
                RESUME(line.stream, line.generation, line.offset, line.base, line.crc)
            )
        try:
            self.sender.controlReceived(line)
        except ListenerProtocolError as error:
            assert str(error).isprintable(), str(error)
            self.line.closed = True
        else:
            self.clock.advance(0)
            if isinstance(line, ACK):
                items = self.line.sent.items[line.stream, line.generation]
                assert line.offset <= items[-1][1], line

    def allow(self) -> None:
        """Record the positions that a file confirms, now or earlier."""
        for line in self.claims:
            if self.agrees(line):
                self.allowed.add(line.offset)

    def agrees(self, line: RESUME) -> bool:
        """Whether some file confirms a position, or there is nothing to compare."""
        if any(one.lostReason or one.isCopied for one in self.files.opened):
            return True
        there = (line.offset, line.base, line.crc)
        marks = [one.acknowledged for one in self.files.opened]
        return any(there == (m.offset, m.base, m.crc) for m in marks) or any(
            line.base <= line.offset <= len(content)
            and crc32(content[line.base : line.offset]) == line.crc
            for content in self.contents
        )

    def poll(self) -> None:
        self.clock.advance(0.6)
        self.files.poll()
        self.sender.pump()

    def append(self, octets: bytes) -> None:
        if not self.contents[-1]:
            # Two contents begin with different octets.
            self.serial += 1
            octets = b"%d:" % self.serial + octets
        with open(self.log, "ab") as file:
            file.write(octets)
        self.contents[-1] += octets

    def another(self) -> None:
        """Another content takes the log's name."""
        self.log.touch()
        self.contents.append(b"")

    def rotate(self) -> None:
        for number in range(9, 0, -1):
            old = self.logs / f"app.log.{number}"
            if old.exists():
                old.rename(self.logs / f"app.log.{number + 1}")
        self.log.rename(self.logs / "app.log.1")
        self.another()

    def look(self) -> None:
        """Check the invariants."""
        if self.line.closed:
            self.lose()
        self.sender.pump()
        before = self.line.octets
        self.sender.pump()
        assert self.line.octets == before, "the sender never stops sending"
        for items in self.line.sent.items.values():
            for start, end, what in items:
                self.allowed.add(end)
                if isinstance(what, bytes):
                    assert any(c[start:end] == what for c in self.contents), what
        self.allow()
        most = max(map(len, self.contents))
        for one in self.files.opened:
            one.invariants()
            assert one.acknowledged.offset in self.allowed, one
            assert one.content.seen <= most and one.content.generation < 1000, one
        assert len(self.sender._comparison.listed) <= KNOWN_MAX

    def honest(self) -> None:
        """Answer like a master that has received everything."""
        sent = self.line.sent
        for one in list(self.files.opened):
            mark = one.acknowledged
            key = (mark.stream, mark.generation)
            if key not in sent.opened:
                continue
            if key in sent.items:
                self.say(ACK(*key, sent.items[key][-1][1]))
            else:
                self.say(RESUME(*key, mark.offset, mark.base, mark.crc))


def _position(world: _World, source: Source) -> tuple[str, int, int, int, int]:
    """Stream, generation, offset, base, crc: of some file, or of none."""
    opened = [*world.line.sent.opened[-4:], ("5" * 32, 0)]
    stream, generation = opened[source.below(len(opened))]
    mark = next(
        (
            one.acknowledged
            for one in world.files.opened
            if (one.acknowledged.stream, one.acknowledged.generation)
            == (stream, generation)
        ),
        None,
    )
    content = world.contents[-1]
    offset = (
        *(mark.offset if mark else 0, content.find(b"\n") + 1, len(content)),
        *(len(content) + 1, NUMBER_MAX, 0, 3),
    )[source.below(7)]
    kind = source.below(6)
    base = (0, 0, mark.base if mark else 0, min(offset, 2), offset, NUMBER_MAX)[kind]
    crc = mark.crc if kind in (0, 2) and mark else crc32(content[base:offset])
    return stream, generation, offset, base, crc


def _acknowledged(world: _World, source: Source) -> ACK:
    opened = [*world.line.sent.opened[-4:], ("5" * 32, 0)]
    key = opened[source.below(len(opened))]
    items = world.line.sent.items.get(key, [(0, 0, b"")])
    kind = source.octet()
    offset = items[-1 - kind % min(len(items), 3)][1]
    return ACK(
        *key, max(0, offset + (0, 0, 0, 1, -1, NUMBER_MAX - offset)[kind // 8 % 6])
    )


def _act(world: _World, source: Source) -> None:
    """Run one step."""
    step = source.below(_STEPS)
    if step == _HELLO:
        version, journal = source.choose(_VERSIONS), source.choose(_JOURNALS)
        rest = (journal, source.choose(_LIMITS), source.choose(_STREAMS_MAX))
        if version == 2:
            world.say(HELLO2(2, *rest, *source.choose(_MARKS)))
        else:
            world.say(HELLO(version, *rest))
    elif step == _HISTORY:
        world.say(HISTORY(source.below(2) > 0))
    elif step == _MARK:
        world.say(MARK(*source.choose(_MARKS)))
    elif step == _RESUME:
        world.say(RESUME(*_position(world, source)))
    elif step == _ACK:
        world.say(_acknowledged(world, source))
    elif step == _KNOWN:
        world.say(KNOWN(*_position(world, source), "app.log"))
    elif step == _LISTED:
        world.say(LISTED())
    elif step == _BYE:
        world.say(BYE("error", source.choose(_TEXTS)))
    elif step == _STRANGER:
        world.say(source.choose(_STRANGE))
    elif step == _APPEND:
        world.append(source.choose(_LINES))
    elif step == _PAUSE:
        world.line.paused = not world.line.paused
    elif step == _CONNECT:
        world.lose()
    elif step == _RUN:
        source.below(4)
        world.clock.advance(0)
    elif step == _WAIT:
        world.clock.advance(source.octet())
    elif step == _HONEST:
        world.honest()
    elif step == _RESTART:
        if source.below(2):
            world.files.save()
        world.stop()
        world.start()
    else:
        _turn(world, step)


def _turn(world: _World, step: int) -> None:
    """Change the file."""
    if step == _POLL:
        world.poll()
    elif step == _ROTATE:
        world.rotate()
    elif step == _COPYTRUNCATE:
        (world.logs / "app.log.1").write_bytes(world.log.read_bytes())
        world.log.write_bytes(b"")
        world.another()
    elif step == _TRUNCATE:
        world.log.write_bytes(b"")
        world.another()
    elif step == _DELETE:
        world.log.unlink()
        world.another()


def run(octets: bytes) -> None:
    """Run steps."""
    source = Source(octets)
    with watched():
        world = _World()
        try:
            while source.left:
                _act(world, source)
                world.look()
            world.poll()
            world.clock.advance(1)
            world.look()
        finally:
            world.stop()

"""
A listener's status with a fleet of twelve workers, some of them with problems, in
memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from zope.interface import implementer

from decnet_syslog.journal._values import Batch
from decnet_syslog.master._service import ListenerService
from decnet_syslog.master._status import ListenerStatus
from decnet_syslog.monitoring._enrolled import Enrolled
from decnet_syslog.monitoring._events import EventLog
from decnet_syslog.monitoring._facts import ListenerFacts
from decnet_syslog.monitoring._fleet import REFRESH_S
from decnet_syslog.monitoring._pages import makePages
from decnet_syslog.monitoring._port import StatusPort
from decnet_syslog.monitoring._ready import Ready
from decnet_syslog.monitoring._site import Facts, makeSite
from decnet_syslog.outputs._feeds import OutputWriter
from decnet_syslog.receiving._holding import FREE, Holding
from decnet_syslog.wire import STATE
from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.wire._report import ForwarderReport

# 2026-11-23, 14:00 UTC.
WALL = 1_795_442_400.0
DAY = 86400.0

# The listener's machine.
HOST = "master.example.org"

# Text by an attacker who targets a browser, a terminal, or a parser of lines.
SCRIPT = "<script>document.title='owned'</script>"
HOSTILE_LINE = (
    f"{SCRIPT}<img src=x onerror=alert(1)>\x1b[2J\u202egnp.\u2028" + "y" * 400
).encode()
FILE = "/var/log/decnet.log"
HOSTILE_FILE = f"/var/log/{SCRIPT}\"'&\udcff\n.log"

NAMES = [f"decky-{number:02d}" for number in range(1, 13)]
SILENT, LAGGING, EXPIRING, REVOKED, GAPPED, HOSTILE = NAMES[6:]

_LINE = (
    '<134>1 {at} {name} {service} 4711 login [decnet@55555 event_type="login_attempt"'
    ' attacker_ip="203.0.113.{octet}" username="{user}"] {service}: login as {user} failed\n'
)
_SERVICES = ("ssh", "smtp", "rdp", "mysql", "ftp")
_USERS = ("root", "admin", "oracle", "postgres", "test", "ubuntu", "pi")


def batch(
    octets: bytes,
    name: str = "decky-01",
    log: str | None = "/var/log/decnet/decnet.log",
    at: str = "2026-11-23T14:00:00.000000Z",
    start: int = 0,
    gap: int = 0,
    reason: str | None = None,
    stream: str | None = "5" * 32,
    generation: int = 0,
    lengths: tuple[int, ...] | None = None,
    address: str = "192.0.2.1:5",
) -> Batch:
    """A committed deposit."""
    who = Provenance(name, "sha-256:AA", address, at, log, False)
    end = start + (gap or len(octets))
    return Batch(1, who, stream, generation, start, end, octets, lengths, reason)


def _certificate(ends: float) -> Any:
    when = datetime.fromtimestamp(ends, timezone.utc)
    return SimpleNamespace(not_valid_after_utc=when)


class _Commits:
    """The facts about commits that the status uses."""

    took = 0.002
    full = False
    why = ""
    acknowledgements = 0
    pendingOctets = 4096

    @property
    def obstacle(self) -> str | None:
        """The reason for which nothing is accepted."""
        return self.why if self.full else None

    def onBatches(self, listener: Callable[[list[Batch]], None]) -> None:
        """Register for notification of batches."""
        self.tell = listener


def _stream(name: str, log: str) -> str:
    """The stream of a worker's file."""
    return sha256(f"{name} {log!a}".encode()).hexdigest()[:32]


@implementer(ILogObserver)
class Watched:
    """
    A listener's status, in which everything is real except the listener.

    @ivar status: the status.
    @ivar site: the factory for the port.
    @ivar enrolled: the expected workers.
    """

    log = Logger()

    def __init__(
        self, reactor: Any = None, hideLines: bool = False, host: str = HOST
    ) -> None:
        """
        @param reactor: the reactor that serves; by default a separate clock.
        @param host: the name of the listener's machine.
        """
        self.host = host
        self.clock = Clock()
        self.enrolled: dict[str, Enrolled] = {}
        self.events = EventLog()
        self.commits = _Commits()
        self.lines: dict[str, Any] = {}
        self._sent: dict[str, int] = {}
        self.outputs = [self._output("raw", "log"), self._output("json", "json")]
        components = SimpleNamespace(
            factory=SimpleNamespace(
                connections=[],
                reported=None,
                emptyFrames=Counter(),
                holding=Holding(self.clock, 0, lambda worker: FREE),
            ),
            commits=self.commits,
            journal=SimpleNamespace(octets=31_457_280, keptOctets=1_048_576),
            writers=self.outputs,
            handshakes=1,
            journalOctetsMax=1024**3,
        )
        self.components = components
        ours = SimpleNamespace(
            authorities=[_certificate(WALL + 3000 * DAY)],
            certificate=_certificate(WALL + 300 * DAY),
        )
        self.status = ListenerStatus(
            cast(ListenerService, SimpleNamespace(components=components)),
            self.clock.seconds,
            lambda: self.enrolled,
            lambda: cast(Any, ours),
            self.wall,
            hideLines,
        )
        facts = Facts(self.facts, self.clock.seconds)
        self.site: StatusPort = makeSite(
            self.clock if reactor is None else reactor,
            facts,
            lambda: b"metrics\n",
            b"text/plain",
            makePages(facts, self.status.fleet.workers.get, self.events.of, hideLines),
            ready=Ready(self.clock, list, dict),
        )
        if reactor is None:
            # A real port does this.
            self.site.doStart()
        self.look()

    def _output(self, name: str, kind: str) -> OutputWriter:
        """A feed that is never started: only its output is used."""
        output: Any = SimpleNamespace(
            name=name, path=f"/var/log/decnet-syslog/master.{kind}", seq=0, lineWork=1
        )
        missing: Any = None
        return OutputWriter(output, missing, missing, missing, self.clock, missing)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Keep an event, with this listener's time."""
        self.events({**event, "log_time": self.wall()})

    def wall(self) -> float:
        """Seconds since the epoch."""
        return WALL + self.clock.seconds()

    def at(self) -> str:
        """The time in the format of records."""
        now = datetime.fromtimestamp(self.wall(), timezone.utc)
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def facts(self) -> ListenerFacts:
        """The facts, collected as by the service."""
        recent = [event.asRecord() for event in self.events.recent()]
        found = self.status.facts()
        found["host"] = self.host
        found["events"] = {"counts": {}, "refusals": {}, "recent": recent}
        return found

    def look(self) -> None:
        """Check the fleet, as the service does."""
        self.components.factory.connections = list(self.lines.values())
        self.status.refresh()

    def enroll(self, name: str, days: float = 400, revoked: bool = False) -> None:
        """Add an expected worker."""
        self.enrolled[name] = Enrolled(WALL + days * DAY, revoked)

    def connect(self, name: str, number: int) -> None:
        """A worker connects."""
        ends = self.enrolled[name].expires
        assert ends is not None
        self.lines[name] = SimpleNamespace(
            worker=name,
            certificate=_certificate(ends),
            address=f"198.51.100.{number}:{40000 + 7 * number}",
            heard=self.clock.seconds(),
            reports=True,
            reading=True,
        )

    def disconnect(self, name: str) -> None:
        """A worker disconnects."""
        del self.lines[name]

    def beat(self) -> None:
        """Every connected worker sends something."""
        for line in self.lines.values():
            line.heard = self.clock.seconds()

    def send(self, name: str, octets: bytes, log: str = FILE) -> None:
        """A worker's lines are committed."""
        self._commit(name, log, octets)

    def skip(self, name: str, octets: int, log: str = FILE) -> None:
        """A worker reports a gap."""
        self._commit(name, log, b"", octets, "deleted")

    def _commit(
        self, name: str, log: str, octets: bytes, gap: int = 0, why: str | None = None
    ) -> None:
        stream = _stream(name, log)
        start = self._sent.get(stream, 0)
        self._sent[stream] = start + (gap or len(octets))
        address = self.lines[name].address
        found = batch(
            octets, name, log, self.at(), start, gap, why, stream, address=address
        )
        self.commits.tell([found])

    def report(self, name: str, octets: int, seconds: float) -> None:
        """A worker reports its lag."""
        states = []
        if octets:
            stream = _stream(name, FILE)
            sent = self._sent.get(stream, 0)
            states = [STATE(stream, 0, sent + octets, sent, round(seconds * 1000))]
        self.components.factory.reported(
            name, ForwarderReport(1, octets, seconds, tuple(states))
        )

    def live(self, seconds: float) -> None:
        """Let the fleet run for some time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(REFRESH_S)
            self.beat()
            tick = round(self.clock.seconds() / REFRESH_S)
            for number, name in enumerate(NAMES):
                if name in self.lines and name != HOSTILE:
                    self._chatter(name, number, tick)
                    self.report(
                        name, *((5_242_880, 95.0) if name == LAGGING else (0, 0))
                    )
            self.look()

    def _chatter(self, name: str, number: int, tick: int) -> None:
        """Attackers try passwords, now and then many of them."""
        wave = (tick * (number + 3)) % 41
        burst = 60 if (tick // (17 + number)) % 9 == number % 9 else 0
        lines = [
            _LINE.format(
                at=self.at(),
                name=name,
                service=_SERVICES[number % len(_SERVICES)],
                octet=(tick * 31 + n) % 250 + 1,
                user=_USERS[(tick + n) % len(_USERS)],
            )
            for n in range((wave if wave < 13 else 0) + burst)
        ]
        if lines:
            self.send(name, "".join(lines).encode())


def twelve(watched: Watched) -> None:
    """
    Twelve workers, of which one each is silent, lagging, expiring, revoked, and has a
    gap.
    """
    globalLogPublisher.addObserver(watched)
    try:
        for number, name in enumerate(NAMES, 1):
            days = 12 if name == EXPIRING else 380 + number
            watched.enroll(name, days, name == REVOKED)
            if name != REVOKED:
                watched.connect(name, 10 + number)
        watched.live(2400)
        watched.disconnect(SILENT)
        watched.live(120)
        watched.skip(GAPPED, 73_112)
        watched.log.warn(
            "refused {address}: {reason}",
            event="refused",
            address="203.0.113.9:51344",
            reason="its certificate is of another authority",
        )
        watched.send(HOSTILE, HOSTILE_LINE + b"\n", HOSTILE_FILE)
        watched.outputs[0].output.seq = watched.outputs[1].output.seq = 1
        watched.live(6)
    finally:
        globalLogPublisher.removeObserver(watched)

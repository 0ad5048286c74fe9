"""The listener under siege, and the observed outcome."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from OpenSSL import SSL

from decnet_syslog.testing import LocalCluster
from decnet_syslog.trust._bundles import Bundle, readKey

from .papers import Papers
from .peer import CLOSED, PATIENCE_S, Peer, TLSPeer, context
from .witness import NAME, WAITS, Seen

__all__ = ["ANY", "REFUSED", "Attack", "Field", "Outcome", "Row", "try_"]

# The connection ended before the listener had accepted it.
REFUSED = "refused"

ANY = -1

# How long to wait for late or excess messages, in seconds.
SEEN_S = 20.0
SURPLUS_S = 0.2


@dataclass(frozen=True)
class Row:
    """
    A hostile input or peer.

    @ivar name: also the CN of its certificate.
    @ivar sent: a description of the attack.
    @ivar wire: how its connection must end; or the result that the attack must return.
    @ivar says: the text that the listener's log must have about it.
    @ivar stored: the messages that must be stored under its name, and no others.
    @ivar counted: the required number of messages instead, whatever their content;
        L{ANY} accepts any number.
    @ivar alone: whether no other row may run at the same time.
    """

    kind: str
    name: str
    sent: str
    attack: Callable[[Attack], str]
    wire: str
    says: str = ""
    stored: tuple[bytes, ...] = ()
    counted: int | None = None
    alone: bool = False

    @property
    def expected(self) -> str:
        """The expectation in words."""
        return _words(self.wire, self.says, max(self.counted or 0, len(self.stored)))


def _words(wire: str, says: str, stored: int) -> str:
    said = f": {says}" if says else ""
    kept = f"; {stored:,} stored" if stored else ""
    return f"{wire}{said}{kept}"


@dataclass(frozen=True)
class Outcome:
    """
    The outcome of a row.

    @ivar waits: how long each line took that the well-behaved worker wrote during the
        attack, in seconds; sorted. Only for a row that was tried alone.
    """

    row: Row
    seen: str
    good: bool
    waits: Sequence[float] = ()

    @property
    def beside(self) -> str:
        """In words, how long the well-behaved worker's lines took during the attack."""
        if not self.waits:
            return ""
        middle = self.waits[len(self.waits) // 2]
        return f"; delay {middle * 1000:.0f} ms, {self.waits[-1] * 1000:.0f} at worst"


@dataclass
class Field:
    """
    A listener, a well-behaved worker, and room for others.

    @ivar options: more options for the listener.
    """

    directory: Path
    options: Sequence[str] = ()
    witnessed: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pair = LocalCluster(self.directory, self.options)
        self.target = self.pair.host, self.pair.port
        key = readKey(self.pair.caDirectory / "ca.key")
        self.ca = Papers(self.pair.authority.certificate, key)
        self._witness: subprocess.Popen[bytes] | None = None
        self._at = 0
        self._rest = b""
        self._messages: dict[str, list[bytes]] = {}
        self._sources = 1

    def start(self) -> None:
        """Start the listener and the worker."""
        self.pair.startListener()
        if not self.witnessed:
            return
        self.good = self.pair.enroll(NAME)
        self.good.forwarder.start()
        self._witness = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.campaigns.siege.witness"),
                *(str(self.good.file), str(self.pair.jsonPath)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent.parent.parent,
        )
        self.pair.wait(lambda: self.messages(NAME), "the worker's lines do not arrive")

    def finish(self) -> Seen:
        """Have the worker finish, and report the fate of its lines."""
        assert self._witness is not None
        said, _ = self._witness.communicate()
        return Seen(**json.loads(said))

    def stop(self) -> None:
        """End all processes."""
        if self._witness is not None:
            self._witness.kill()
            self._witness.wait()
        self.pair.stop()

    def enroll(self, name: str) -> Papers:
        """A valid certificate for a name."""
        out = self.directory / f"bundle-{name}"
        with self._lock:
            self.pair.authority.enroll(name, out)
        bundle = Bundle.load(out)
        return Papers(bundle.certificate, bundle.privateKey)

    def waits(self, since: float) -> list[float]:
        """How long the worker's lines took since a time; sorted."""
        if not self.witnessed:
            return []
        text = self.good.file.with_name(WAITS).read_text()
        pairs = [map(float, line.split()) for line in text.splitlines()[:-1]]
        return sorted(wait for at, wait in pairs if at >= since)

    def address(self) -> str:
        """A loopback address that no other peer uses."""
        with self._lock:
            self._sources += 1
            number = self._sources
        return f"127.250.{number // 250}.{number % 250 + 1}"

    def said(self, *of: str) -> list[str]:
        """The lines of the listener's log that contain one of these texts."""
        return [
            line
            for line in self.pair.listener.output().splitlines()
            if any(mark in line for mark in of)
        ]

    def messages(self, worker: str) -> list[bytes]:
        """The messages in master.json from a worker, as octets."""
        with self._lock:
            self._look()
            return list(self._messages.get(worker, ()))

    def _look(self) -> None:
        if not self.pair.jsonPath.exists():
            return
        with open(self.pair.jsonPath, "rb") as file:
            file.seek(self._at)
            octets = file.read()
        self._at += len(octets)
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            record = json.loads(line)
            message = (
                base64.b64decode(record["raw_base64"])
                if "raw_base64" in record
                else record["raw_line"].encode("utf-8", "surrogatepass")
            )
            self._messages.setdefault(record["source_worker"], []).append(message)


class Attack:
    """
    One row while it is tried.

    @ivar source: the address that it connects from.
    """

    def __init__(self, field_: Field, row: Row) -> None:
        self.field = field_
        self.row = row
        self.name = row.name
        self.source = field_.address()
        self._own: Papers | None = None

    @property
    def own(self) -> Papers:
        """A valid certificate for the row's name."""
        if self._own is None:
            self._own = self.field.enroll(self.name)
        return self._own

    def tcp(self) -> Peer:
        """Connect without TLS."""
        return Peer(self.field.target, self.source)

    def tls(
        self,
        papers: Papers | None = None,
        protocols: tuple[bytes, ...] = (),
        with_: SSL.Context | None = None,
    ) -> TLSPeer:
        """Connect with TLS; with a valid certificate unless another is given."""
        made = with_ or context(papers or self.own, protocols=protocols)
        return TLSPeer(self.field.target, self.source, made)

    def isThere(self, *messages: bytes) -> bool:
        """Whether exactly the expected messages are stored."""
        return self.field.messages(self.name) == list(messages)

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
        """Wait for a condition. Returns whether it became true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _attack(attack: Attack) -> str:
    try:
        wire = attack.row.attack(attack)
    except (SSL.Error, ConnectionError):
        # During a handshake, or while sending: the other end has closed.
        wire = CLOSED
    except TimeoutError:
        wire = "stuck"
    except Exception as error:
        # Log lines about this row, not about the others.
        wire = f"not tried: {error!r}"
    if wire == CLOSED and not attack.field.said(f"connected from {attack.source}:"):
        return REFUSED
    return wire


def try_(field_: Field, row: Row) -> Outcome:
    """Try a row, and observe the outcome."""
    attack = Attack(field_, row)
    begun = time.monotonic()
    wire = _attack(attack)

    def said() -> list[str]:
        # A certificate without a name is identified by its address.
        mine = field_.said(f"{attack.source}:", f"{attack.name} ")
        return [line for line in mine if row.says in line]

    def stored() -> int:
        return len(field_.messages(attack.name))

    wanted = len(row.stored) if row.counted is None else row.counted
    attack.until(lambda: stored() >= wanted and bool(said() or not row.says), SEEN_S)
    time.sleep(SURPLUS_S)
    messages = tuple(field_.messages(attack.name))
    same = messages == row.stored
    if row.counted is not None:
        same = row.counted in (ANY, len(messages))
    good = (
        wire == row.wire
        and (bool(said()) or not row.says)
        and same
        and field_.pair.listener.alive
    )
    seen = _words(wire, row.says if said() else "", len(messages))
    if not good:
        every = field_.said(f"{attack.source}:", f"{attack.name} ")
        seen += f" -- log: {every[-3:]}; {[m[:60] for m in messages[:4]]}"
    return Outcome(row, seen, good, field_.waits(begun) if row.alone else ())

"""
What a listener lets its peers take of it: every limit, and why it is what it is.

What must be true: whatever a peer does, what it makes us hold is bounded by numbers that are
here; and none of them is kept by throwing lines away. Who reaches one waits, or is closed and
comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..options import count, octets, seconds, secondsOrNever
from ..wire.framing import MESSAGE_OCTETS_MAX
from .pacing import RATE_MIN

__all__ = ["DEFAULTS", "LIMIT_PARAMETERS", "Limits"]

# A message of RFC 5425 may be so long (section 4.3.1), and every receiver must take it.
MESSAGE_OCTETS_MIN = 2048

# With less, every receive would wait for a commit of its own.
PENDING_OCTETS_MIN = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """
    The limits of a listener. Octets and seconds; what is not said to be of one connection, or
    of one worker (one name), is of all together.
    """

    # Each costs about 50 KiB; a fleet is smaller than this, a flood is not.
    connections: int = 16384

    # Of one name. A forwarder has one, and for a moment the dead one before it; other
    # programs may have one for each of their threads. When there are more the oldest goes.
    connectionsPerWorker: int = 16

    # Not authenticated yet. A whole fleet may return at once after our restart; a
    # flood of strangers must not take the places of those who have a certificate.
    handshakes: int = 8192

    # Of these, from one address. A fleet behind one address returns at once, too; who is
    # refused comes again in a second or two, when others have finished.
    handshakesPerAddress: int = 1024

    # A handshake is two round trips; who needs longer holds a connection for nothing.
    handshakeSeconds: float = 15.0

    # Until the first octet behind the handshake; 0: for ever. Who has no line to send is
    # silent, and what it holds is bounded by the connections of its name.
    silenceSeconds: float = 0.0

    # A frame that is begun must end: who needs longer for one holds memory for nothing.
    frameSeconds: float = 60.0

    # A peer whose host is gone: TCP probes it when it has been silent for half of that, and
    # gives up when it has answered nothing, or has not acknowledged what we sent, for all.
    peerSeconds: float = 120.0

    # Honeypots log payloads.
    message: int = MESSAGE_OCTETS_MAX

    # Of unfinished frames: sixty-four of the longest at once.
    unfinished: int = 64 * 1024 * 1024

    # A second, of one worker on all its connections; 0: as many as it can.
    rate: int = 0

    # Received and not committed, in memory: two commits' worth at the speed of a fast disk; a
    # hundred workers' 64 KiB receives fit many times over.
    pending: int = 32 * 1024 * 1024

    # Of these, of one worker on all its connections. Four would have to flood to fill it.
    pendingPerWorker: int = 8 * 1024 * 1024

    # Of these, of one connection: one megabyte or two that are being committed, as many that
    # come meanwhile.
    pendingPerConnection: int = 4 * 1024 * 1024

    # Undelivered batches on disk. When an output is blocked for so long that the journal
    # reaches this, nothing more is accepted: the backlog stays on the workers' disks.
    journal: int = 1024 * 1024 * 1024

    # Files that one connection has open: each is an entry here and a grant. A forwarder has
    # 1024 at most, and of each what was rotated and is not delivered.
    filesPerConnection: int = 2048

    # Files of one worker whose positions are kept. A worker makes the ids: without a bound, one
    # that has been broken into could fill the disk with rows. Reached after so many rotations,
    # those that advanced longest ago go first.
    filesPerWorker: int = 4096

    @classmethod
    def fromOptions(cls, options: Mapping[str, Any]) -> Limits:
        """
        What the options of L{LIMIT_PARAMETERS} say.

        @raise ValueError: they do not go together, or nothing could be received.
        """
        limits = cls(**{field: options[name] for field, name, _, _ in _OPTIONS})
        for wrong, why in (
            (
                limits.message < MESSAGE_OCTETS_MIN,
                f"--max-message: RFC 5425 asks for at least {MESSAGE_OCTETS_MIN} octets",
            ),
            (
                0 < limits.rate < RATE_MIN,
                f"--max-rate is 0, or at least {RATE_MIN}",
            ),
            (
                limits.unfinished < limits.message,
                "--max-unfinished: no less than --max-message, or the longest never ends",
            ),
            (
                min(
                    limits.pending, limits.pendingPerWorker, limits.pendingPerConnection
                )
                < PENDING_OCTETS_MIN,
                f"--max-pending, for a worker and for a connection, too: at least"
                f" {PENDING_OCTETS_MIN}",
            ),
            (
                limits.filesPerWorker < 2 * limits.filesPerConnection,
                "--max-files-per-worker: at least twice --max-files, or what is open is"
                " forgotten",
            ),
        ):
            if wrong:
                raise ValueError(why)
        return limits


DEFAULTS = Limits()

_OPTIONS: tuple[tuple[str, str, str, Callable[[str], object]], ...] = (
    (
        "connections",
        "max-connections",
        "Connections in all; fewer if the limit on open files is lower",
        count,
    ),
    (
        "connectionsPerWorker",
        "max-connections-per-worker",
        "Connections of one name; of more the oldest is closed",
        count,
    ),
    (
        "handshakes",
        "max-handshakes",
        "Connections that have no certificate yet",
        count,
    ),
    (
        "handshakesPerAddress",
        "max-handshakes-per-address",
        "Of these, of one address (IPv6: of one /64)",
        count,
    ),
    (
        "handshakeSeconds",
        "handshake-timeout",
        "Cut a connection whose handshake is not done after so many seconds",
        seconds,
    ),
    (
        "silenceSeconds",
        "max-silence",
        "Close a connection that has not said one octet in so many seconds; 0: never",
        secondsOrNever,
    ),
    (
        "frameSeconds",
        "frame-timeout",
        "Close a connection whose frame has not ended after so many seconds",
        seconds,
    ),
    (
        "peerSeconds",
        "peer-timeout",
        "Give up a peer whose host has not answered for so many seconds",
        seconds,
    ),
    (
        "message",
        "max-message",
        "The longest message accepted, in octets",
        octets,
    ),
    (
        "unfinished",
        "max-unfinished",
        "Octets of unfinished frames of all connections",
        octets,
    ),
    (
        "rate",
        "max-rate",
        "Octets a second of one worker, on all its connections; 0: no limit. It has to"
        " wait, nothing is lost",
        octets,
    ),
    (
        "pending",
        "max-pending",
        "Octets in memory that are not committed yet; beyond, peers wait",
        octets,
    ),
    (
        "pendingPerWorker",
        "max-pending-per-worker",
        "Of these, of one worker on all its connections",
        octets,
    ),
    (
        "pendingPerConnection",
        "max-pending-per-connection",
        "Of these, of one connection",
        octets,
    ),
    (
        "journal",
        "journal-max",
        "Stop accepting when the journal holds so many octets",
        octets,
    ),
    (
        "filesPerConnection",
        "max-files",
        "Files that one connection has open",
        count,
    ),
    (
        "filesPerWorker",
        "max-files-per-worker",
        "Files of one worker whose positions are kept; of more the oldest is forgotten",
        count,
    ),
)

#: As C{optParameters} has them.
LIMIT_PARAMETERS: list[list[Any]] = [
    [name, None, getattr(Limits, field), text, coerce]
    for field, name, text, coerce in _OPTIONS
]

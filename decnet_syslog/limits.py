"""
The listener's limits on its peers, and the reason for each value.

Requirements: the resources that a peer can make the listener hold are bounded by the numbers in
this module, whatever the peer does. No limit is enforced by discarding lines. A peer that reaches
a limit has to wait, or its connection is closed and it connects again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .boundaries import OptionRow, OptionValue
from .options import count, octets, seconds, secondsOrNever
from .wire import MESSAGE_OCTETS_MAX

__all__ = ["CHANGEABLE_LIMITS", "DEFAULTS", "LIMIT_PARAMETERS", "RATE_MIN", "Limits"]

# A receive has at most 256 KiB, and its debt lasts 16 s at this rate. At a much lower one the
# forwarder would consider the listener dead and send everything again.
RATE_MIN = 16 * 1024

# Every receiver must accept messages of this length (RFC 5425, section 4.3.1).
MESSAGE_OCTETS_MIN = 2048

# With less, every receive would have to wait for its own commit.
PENDING_OCTETS_MIN = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """
    The limits of a listener, in octets and seconds. A limit applies to all connections together
    unless its comment names one connection or one worker (one certificate name).
    """

    # Each costs about 50 KiB. A fleet is smaller than this, a flood is not.
    connections: int = 16384

    # Per worker. A forwarder has one connection, and for a moment also its previous, dead one.
    # Other programs may open one per thread. Beyond the limit the oldest is closed.
    connectionsPerWorker: int = 16

    # Connections that are not authenticated yet. A whole fleet may return at once after a
    # restart; a flood of strangers must not take the places of peers with a certificate.
    handshakes: int = 8192

    # Handshakes from one address. A fleet behind one address also returns at once; a refused
    # peer connects again in a second or two, when others have finished.
    handshakesPerAddress: int = 1024

    # A handshake takes two round trips. A slower peer only holds a connection.
    handshakeSeconds: float = 15.0

    # The wait for the first octet after the handshake; 0: for ever. A peer without lines to
    # send is silent, and its connections are limited anyway.
    silenceSeconds: float = 0.0

    # The longest time for one frame. A slower peer only holds memory.
    frameSeconds: float = 60.0

    # The time until a peer counts as dead. TCP probes a peer that has been silent for half of
    # this time. It gives up when the peer answers nothing, or does not acknowledge sent octets,
    # for the whole time.
    peerSeconds: float = 120.0

    # Honeypots log payloads.
    message: int = MESSAGE_OCTETS_MAX

    # Octets of unfinished frames: 64 of the longest at once.
    unfinished: int = 64 * 1024 * 1024

    # Octets per second of a worker, on all its connections; 0: no limit.
    rate: int = 0

    # Octets in memory that are received and not committed: enough for two commits on a fast
    # disk. A receive of 64 KiB from each of a hundred workers fits five times; of 256 KiB, once.
    pending: int = 32 * 1024 * 1024

    # Pending octets of a worker, on all its connections. Four workers would have to flood to
    # fill the whole.
    pendingPerWorker: int = 8 * 1024 * 1024

    # Pending octets of a connection: one or two megabytes that are being committed, and the
    # same amount that arrives meanwhile.
    pendingPerConnection: int = 4 * 1024 * 1024

    # Octets of undelivered batches on disk. If a blocked output makes the journal reach this
    # size, the listener accepts nothing more, and the backlog stays on the workers' disks.
    journal: int = 1024 * 1024 * 1024

    # Open files of a connection. Each costs an entry in memory and a grant. A forwarder has
    # at most 1024 logs, and rotated files that are not delivered yet.
    filesPerConnection: int = 2048

    # Files of a worker whose positions are kept. The worker chooses the ids, so without a
    # bound a compromised worker could fill the disk with rows. Beyond the limit the journal
    # forgets the files that advanced longest ago.
    filesPerWorker: int = 4096

    @classmethod
    def fromOptions(cls, options: Mapping[str, OptionValue]) -> Limits:
        """
        The limits that the options of L{LIMIT_PARAMETERS} give.

        @raise ValueError: the options contradict one another, or the listener could receive
            nothing.
        """
        limits = cls(**{field: options[name] for field, name, _, _ in _OPTIONS})
        for wrong, why in (
            (
                limits.message < MESSAGE_OCTETS_MIN,
                f"--max-message must be at least {MESSAGE_OCTETS_MIN} octets (RFC 5425)",
            ),
            (
                limits.journal < MESSAGE_OCTETS_MIN,
                f"--journal-max must be at least {MESSAGE_OCTETS_MIN} octets, or nothing is"
                " accepted",
            ),
            (
                0 < limits.rate < RATE_MIN,
                f"--max-rate must be 0 or at least {RATE_MIN}",
            ),
            (
                limits.unfinished < limits.message,
                "--max-unfinished must be at least --max-message, or the longest message"
                " can never end",
            ),
            (
                min(
                    limits.pending, limits.pendingPerWorker, limits.pendingPerConnection
                )
                < PENDING_OCTETS_MIN,
                "--max-pending, --max-pending-per-worker and --max-pending-per-connection"
                f" must be at least {PENDING_OCTETS_MIN}",
            ),
            (
                limits.filesPerWorker < 2 * limits.filesPerConnection,
                "--max-files-per-worker must be at least twice --max-files, or the journal"
                " would forget open files",
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
        "Maximum number of connections; fewer if the limit on open files is lower",
        count,
    ),
    (
        "connectionsPerWorker",
        "max-connections-per-worker",
        "Maximum number of connections per worker; beyond it the oldest is closed",
        count,
    ),
    (
        "handshakes",
        "max-handshakes",
        "Maximum number of unauthenticated connections",
        count,
    ),
    (
        "handshakesPerAddress",
        "max-handshakes-per-address",
        "Maximum number of unauthenticated connections per address (IPv6: per /64)",
        count,
    ),
    (
        "handshakeSeconds",
        "handshake-timeout",
        "Seconds until a connection without a complete handshake is cut",
        seconds,
    ),
    (
        "silenceSeconds",
        "max-silence",
        "Seconds until a connection that has sent no octet is closed; 0: never",
        secondsOrNever,
    ),
    (
        "frameSeconds",
        "frame-timeout",
        "Seconds until a connection with an unfinished frame is closed",
        seconds,
    ),
    (
        "peerSeconds",
        "peer-timeout",
        "Seconds until a peer whose host does not answer counts as dead",
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
        "Maximum octets of unfinished frames, all connections together",
        octets,
    ),
    (
        "rate",
        "max-rate",
        "Maximum octets per second of one worker; 0: no limit. A faster worker has to wait,"
        " and loses nothing",
        octets,
    ),
    (
        "pending",
        "max-pending",
        "Maximum octets in memory that are not committed yet; beyond it peers wait",
        octets,
    ),
    (
        "pendingPerWorker",
        "max-pending-per-worker",
        "The same for one worker, on all its connections",
        octets,
    ),
    (
        "pendingPerConnection",
        "max-pending-per-connection",
        "The same for one connection",
        octets,
    ),
    (
        "journal",
        "journal-max",
        "Octets in the journal at which the listener stops accepting lines",
        octets,
    ),
    (
        "filesPerConnection",
        "max-files",
        "Maximum number of open files per connection",
        count,
    ),
    (
        "filesPerWorker",
        "max-files-per-worker",
        "Maximum number of files per worker; beyond it the oldest position is forgotten",
        count,
    ),
)

#: Entries for C{optParameters}.
LIMIT_PARAMETERS: list[OptionRow] = [
    [name, None, getattr(Limits, field), text, coerce]
    for field, name, text, coerce in _OPTIONS
]

#: The options that can change while the listener runs. The others decide what it opens at first.
CHANGEABLE_LIMITS = frozenset(name for _, name, _, _ in _OPTIONS) - {
    "max-connections",
    "max-files",
    "max-files-per-worker",
}

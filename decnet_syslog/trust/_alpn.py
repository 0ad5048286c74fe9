"""The versions of the delivery extension, as TLS negotiates them (docs/protocol.rst)."""

from __future__ import annotations

__all__ = [
    "DELIVERY_PROTOCOL",
    "DELIVERY_PROTOCOLS",
    "HISTORY_PROTOCOL",
    "HISTORY_PROTOCOLS",
    "LAG_PROTOCOL",
    "STATE_PROTOCOL",
    "STATE_PROTOCOLS",
]

# Positions and acknowledgements.
DELIVERY_PROTOCOL = b"decnet-syslog/1"

# The same with reports on the forwarder's state. An end without it uses the other.
STATE_PROTOCOL = b"decnet-syslog/1.1"

# Also with the journal's history, so that a forwarder notices a journal that went back.
HISTORY_PROTOCOL = b"decnet-syslog/2"

# Also with reports that carry their time, and a listener that reports what it holds back.
LAG_PROTOCOL = b"decnet-syslog/2.1"

# The best first.
DELIVERY_PROTOCOLS = (
    LAG_PROTOCOL,
    HISTORY_PROTOCOL,
    STATE_PROTOCOL,
    DELIVERY_PROTOCOL,
)

# Those with which the forwarder reports its state.
STATE_PROTOCOLS = (LAG_PROTOCOL, HISTORY_PROTOCOL, STATE_PROTOCOL)

# Those with the journal's history.
HISTORY_PROTOCOLS = (LAG_PROTOCOL, HISTORY_PROTOCOL)

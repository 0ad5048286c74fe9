"""Receiving: what a connection sends to the listener, from the handshake to the ACK."""

# Imported for its side effect: it must load OpenSSL before cryptography is imported here.
from .. import trust as trust
from ._connectionlimits import ConnectionLimit, showAddress
from ._factory import HOSTNAME_POLICIES, ListenerFactory, Refuse, acceptAll
from ._flowcontrol import Pause
from ._holding import HELD_REASONS
from ._proxied import Network, ProxiedFactory, parseNetworks
from ._transport import ListenerTLSFactory

__all__ = [
    "HELD_REASONS",
    "HOSTNAME_POLICIES",
    "ConnectionLimit",
    "ListenerFactory",
    "ListenerTLSFactory",
    "Network",
    "Pause",
    "ProxiedFactory",
    "Refuse",
    "acceptAll",
    "parseNetworks",
    "showAddress",
]

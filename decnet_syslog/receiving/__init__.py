"""
Receiving: what a connection sends to the listener, from the handshake to the ACK.

What other packages use, by the question that it answers:

* I{How is a listener assembled?} L{ListenerFactory} makes the connections' protocols and has
  what they share; L{ListenerTLSFactory} puts TLS below it, and L{ProxiedFactory} the PROXY
  header of a balancer below that. L{Network} and L{parseNetworks} are the balancers that may
  send one.
* I{Who may connect?} C{Refuse} is the type of a check of certificates, L{acceptAll} the one that
  refuses none. L{ConnectionLimit} bounds the connections before TLS; L{showAddress} names one in
  logs.
* I{What may a line claim?} C{HOSTNAME_POLICIES}: what happens to one with another machine's
  HOSTNAME.
* I{Why is a worker not read?} L{Pause} has the reasons for one connection, C{HELD_REASONS} those
  that the worker hears.
"""

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

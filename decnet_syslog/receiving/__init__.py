"""Receiving: what a connection sends to the listener, from the handshake to the ACK."""

# Not for its names: OpenSSL must be loaded by it, before cryptography is imported here.
from .. import trust as trust

"""
A handmade ClientHello: it offers options that no current library would; the answer is
parsed.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

__all__ = [
    "DEFLATE",
    "HANDSHAKE_FAILURE",
    "NULL",
    "PROTOCOL_VERSION",
    "SSL3",
    "TLS1_0",
    "TLS1_1",
    "TLS1_2",
    "answer",
    "hello",
]

# RFC 8446 section 4.2.1, RFC 6101.
SSL3, TLS1_0, TLS1_1, TLS1_2 = 0x0300, 0x0301, 0x0302, 0x0303

# RFC 3749: compression methods.
NULL, DEFLATE = 0, 1

# RFC 8446 section 6: alerts.
HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70

# RFC 5746 section 3.3: the client supports secure renegotiation.
_SIGNALLING = 0x00FF

_ALERT, _HANDSHAKE, _SERVER_HELLO = 21, 22, 2

# The time limit for the listener's answer, in seconds.
_PATIENCE_S = 25.0


def _sized(octets: bytes, width: int) -> bytes:
    return len(octets).to_bytes(width, "big") + octets


def _extension(number: int, octets: bytes) -> bytes:
    return number.to_bytes(2, "big") + _sized(octets, 2)


# X25519 and P-256, uncompressed; ECDSA and both kinds of RSA signature, with SHA-256.
_EXTENSIONS = (
    _extension(10, _sized(bytes.fromhex("001d0017"), 2))
    + _extension(11, _sized(b"\0", 1))
    + _extension(13, _sized(bytes.fromhex("040308040401"), 2))
)


def hello(
    suites: Sequence[int], version: int = TLS1_2, methods: Sequence[int] = (NULL,)
) -> bytes:
    """
    A record with a ClientHello for TLS 1.2 or older.

    @param suites: the offered cipher suites, by their IANA numbers.
    @param methods: the offered compression methods.
    """
    offered = b"".join([n.to_bytes(2, "big") for n in [*suites, _SIGNALLING]])
    body = (
        version.to_bytes(2, "big")
        + bytes(32)
        + _sized(b"", 1)
        + _sized(offered, 2)
        + _sized(bytes(methods), 1)
        + _sized(_EXTENSIONS, 2)
    )
    message = b"\x01" + _sized(body, 3)
    return bytes([_HANDSHAKE]) + TLS1_0.to_bytes(2, "big") + _sized(message, 2)


def answer(target: tuple[str, int], source: str, octets: bytes) -> dict[str, int]:
    """
    Send a hello and read the first record of the answer.

    @return: C{alert}; or the server's choice: C{version}, C{suite}, C{method}.
    @raise ValueError: the record is neither an alert nor a ServerHello.
    """
    with socket.create_connection(target, _PATIENCE_S, (source, 0)) as peer:
        peer.sendall(octets)
        with peer.makefile("rb") as stream:
            head = stream.read(5)
            body = stream.read(int.from_bytes(head[3:5], "big"))
    if head[:1] == bytes([_ALERT]):
        return {"alert": body[1]}
    if head[:1] != bytes([_HANDSHAKE]) or body[:1] != bytes([_SERVER_HELLO]):
        raise ValueError(f"{head!r} {body[:40]!r}")
    # After the 4 octets of the message header: version, 32 random octets, session id,
    # choice.
    behind = 4 + 2 + 32 + 1 + body[4 + 2 + 32]
    return {
        "version": int.from_bytes(body[4:6], "big"),
        "suite": int.from_bytes(body[behind : behind + 2], "big"),
        "method": body[behind + 2],
    }

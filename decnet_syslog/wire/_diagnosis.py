"""
The probable mistake of a sender that does not count octets, and the remedy, for the log.

RFC 5425 has one framing; senders have many, and often another default. The first octets in the
place of MSG-LEN identify each. A failed handshake is identified by OpenSSL's error text. This is a
guess for people: nothing depends on it.
"""

from __future__ import annotations

import re

__all__ = ["diagnose", "diagnoseHandshake"]

_OCTET_COUNTING = (
    'switch on octet counting (rsyslog: TCP_Framing="octet-counted"; syslog-ng: the syslog()'
    " driver instead of network())"
)

# The first octets, and their meaning. The first matching pattern counts.
_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    [
        (re.compile(pattern, re.DOTALL), text)
        for pattern, text in (
            (rb"<[0-9]{1,3}>", f"frames by line feed: {_OCTET_COUNTING}"),
            (
                rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) |PRI \* HTTP",
                "speaks HTTP: this port is for syslog (RFC 5425); the status has its own port,"
                " --status-port",
            ),
            (
                rb"\x16\x03",
                "speaks TLS inside TLS: switch off one TLS layer, in the sender or in the proxy",
            ),
            (
                rb"PROXY |\r\n\r\n\0\r\nQUIT\n",
                "a balancer sends a PROXY header inside TLS: have it pass TLS through, and name"
                " it with --proxy-protocol",
            ),
            (
                rb".{0,8}open [0-9]+ relp_version|pen [0-9]+ relp_version",
                "speaks RELP: have it send syslog over TLS (rsyslog: omfwd instead of omrelp)",
            ),
            (
                rb"\{",
                "sends JSON without a frame (GELF, json_lines): have it send syslog (RFC 5424)"
                " with octet counting",
            ),
            (
                rb"\0",
                "sends NUL between frames or as the delimiter: switch off the delimiter, octet"
                " counting needs none",
            ),
            (
                rb"[\r\n]",
                "sends a line feed between frames: switch off the delimiter, or count it in"
                " MSG-LEN",
            ),
            (
                rb"(?:OPEN|LIST|AT|SEEN|HISTORY|STATE|BEAT|BYE)[ \n]",
                "speaks the delivery extension without ALPN: have the proxy in between pass TLS"
                " through",
            ),
            (
                rb"0[0-9]* ",
                "writes zeros before MSG-LEN: have it write the number without them",
            ),
            (
                rb"[0-9]",
                f"MSG-LEN is not a length: if it frames by line feed, {_OCTET_COUNTING}",
            ),
            (
                rb"[ -~]",
                f"if it frames by line feed, {_OCTET_COUNTING}; if it counts, MSG-LEN was too"
                " small: count octets, not characters",
            ),
        )
    ]
)

_UNKNOWN = "the octets are not syslog: find the program that uses this certificate"


def diagnose(seen: bytes) -> str:
    """
    The sender's probable mistake, and the remedy.

    @param seen: the first octets in the place where a frame should begin.
    """
    for pattern, text in _KINDS:
        if pattern.match(seen):
            return text
    return _UNKNOWN


# Parts of OpenSSL's error texts, and the remedies. The first part that is found counts.
_HANDSHAKES = (
    (
        "http request",
        "it speaks HTTP without TLS: this port is for syslog (RFC 5425); the status has its own"
        " port, --status-port",
    ),
    (
        "did not return a certificate",
        "it has no certificate: enroll it, and configure worker.crt and worker.key there",
    ),
    (
        "unsupported protocol",
        "it supports only older versions: have it use TLS 1.2 or 1.3",
    ),
    (
        "no shared cipher",
        "have it offer TLS 1.3, or for TLS 1.2 ECDHE with AES-GCM or ChaCha20-Poly1305",
    ),
    (
        "no suitable key share",
        "have it offer X25519, or a NIST curve",
    ),
    *[
        (
            words,
            'it does not speak TLS: switch TLS on in the sender (rsyslog: StreamDriverMode="1";'
            ' syslog-ng: transport("tls")), or a health check connects here',
        )
        for words in ("wrong version number", "packet length too long", "record layer")
    ],
    *[
        (
            words,
            "it closed the connection without a reason: a health check, a port scan, or a"
            " network failure",
        )
        for words in ("Connection lost", "closed cleanly", "unexpected eof")
    ],
)


def diagnoseHandshake(reason: str) -> str:
    """
    The remedy for a failed handshake; empty if none is known.

    @param reason: the error text of OpenSSL or Twisted.
    """
    for words, text in _HANDSHAKES:
        if words in reason:
            return text
    return ""

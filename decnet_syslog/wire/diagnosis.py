"""
What a sender does instead of octet counting, and the remedy, for the log.

RFC 5425 has one framing. Senders have many, and their defaults are others. Each is known by
the first octets where MSG-LEN should stand. A failed handshake is known by OpenSSL's words for
it. This is a guess for people: nothing depends on it.
"""

from __future__ import annotations

import re

__all__ = ["diagnose", "diagnoseHandshake"]

_OCTET_COUNTING = (
    'switch on octet counting (rsyslog: TCP_Framing="octet-counted"; syslog-ng: the syslog()'
    " driver instead of network())"
)

# The beginning of the octets, and its meaning. The first pattern that matches counts.
_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    [
        (re.compile(pattern, re.DOTALL), text)
        for pattern, text in (
            (rb"<[0-9]{1,3}>", f"frames by line feed: {_OCTET_COUNTING}"),
            (
                rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) |PRI \* HTTP",
                "speaks HTTP: this port is for syslog (RFC 5425); the status has a port of its"
                " own, --status-port",
            ),
            (
                rb"\x16\x03",
                "speaks TLS inside TLS: switch it off in the sender, or in the proxy before it",
            ),
            (
                rb"PROXY |\r\n\r\n\0\r\nQUIT\n",
                "a balancer announces the sender inside TLS: let it pass TLS through, and name"
                " it with --proxy-protocol",
            ),
            (
                rb".{0,8}open [0-9]+ relp_version|pen [0-9]+ relp_version",
                "speaks RELP: let it send syslog over TLS (rsyslog: omfwd instead of omrelp)",
            ),
            (
                rb"\{",
                "sends JSON without a frame (GELF, json_lines): let it send syslog (RFC 5424),"
                " octet-counted",
            ),
            (
                rb"\0",
                "sends NUL between frames, or frames by NUL: switch off the delimiter, octet"
                " counting needs none",
            ),
            (
                rb"[\r\n]",
                "sends a line feed between frames: switch off the delimiter, or count it in"
                " MSG-LEN",
            ),
            (
                rb"(?:OPEN|LIST|AT|SEEN|HISTORY|STATE|BEAT|BYE)[ \n]",
                "speaks the delivery extension without ALPN: let the proxy before it pass TLS"
                " through",
            ),
            (
                rb"0[0-9]* ",
                "writes zeros before MSG-LEN: let it write the number without them",
            ),
            (
                rb"[0-9]",
                f"MSG-LEN is no length: if it frames by line feed, {_OCTET_COUNTING}",
            ),
            (
                rb"[ -~]",
                f"if it frames by line feed, {_OCTET_COUNTING}; if it counts, MSG-LEN was too"
                " small: octets count, not characters",
            ),
        )
    ]
)

_UNKNOWN = "the octets are no syslog: look which program has this certificate"


def diagnose(seen: bytes) -> str:
    """
    What the sender does, and the remedy.

    @param seen: what stands where a frame should begin, its first octets.
    """
    for pattern, text in _KINDS:
        if pattern.match(seen):
            return text
    return _UNKNOWN


# OpenSSL's words, and the remedy. The first that is there counts.
_HANDSHAKES = (
    (
        "http request",
        "it speaks HTTP without TLS: this port is for syslog (RFC 5425); the status has a port of"
        " its own, --status-port",
    ),
    (
        "did not return a certificate",
        "it has no certificate: enrol it, and give it worker.crt and worker.key of its bundle",
    ),
    (
        "unsupported protocol",
        "it speaks older versions only: let it use TLS 1.2 or 1.3",
    ),
    (
        "no shared cipher",
        "let it offer TLS 1.3, or for TLS 1.2 ECDHE with AES-GCM or ChaCha20-Poly1305",
    ),
    (
        "no suitable key share",
        "let it offer X25519, or a curve of NIST's",
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
            "it left without a word: a health check or a port scan, or the network was cut",
        )
        for words in ("Connection lost", "closed cleanly", "unexpected eof")
    ],
)


def diagnoseHandshake(reason: str) -> str:
    """
    The remedy for a handshake that came to nothing; empty if there is none to say.

    @param reason: in OpenSSL's words, or Twisted's.
    """
    for words, text in _HANDSHAKES:
        if words in reason:
            return text
    return ""

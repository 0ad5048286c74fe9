"""
L{tests.rfc5424}: a message, or a L{MessageError} with a position inside
it.
"""

from __future__ import annotations

from tests.rfc5424 import MessageError, SyslogMessage, parseMessage

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 4096
OPAQUE = False

WORDS = (
    *(b"<134>1 ", b"- ", b" - - - - -", b"[a@1 b=\"c\"]", b"\\]", b'\\"', b"\\\\"),
    *(b"\xef\xbb\xbf", b"2026-02-29", b"2024-02-29T23:59:59.999999Z", b"+23:59", b'="'),
    *(b"][", b" x=", b"relay@55555", b"\xff", b"\xc3\xa9"),
)  # fmt: skip

SEEDS = (
    b"<134>1 2026-04-18T00:00:00.123456+00:00 decky04 ssh 1234 auth"
    b' [relay@55555 src_ip="203.0.113.7" user="ro\\"o\\]t\\\\"][b c="\xc3\xa9"] \xef\xbb\xbflogin',
    b"<0>1 - - - - - -",
    b'<0>1 - - - - - [a b="]"]',
    b"<191>999 2024-02-29T23:59:59Z h a p m - \xff",
)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _render(message: SyslogMessage) -> bytes:
    """A message rendered by the grammar."""
    elements = "".join(
        [
            f"[{element.id}"
            + "".join(
                [f' {name}="{_escaped(value)}"' for name, value in element.params]
            )
            + "]"
            for element in message.structuredData
        ]
    )
    pri = 8 * message.facility + message.severity
    fields = (
        *(message.timestamp, message.hostname, message.appName, message.procID),
        *(message.msgID, elements or None),
    )
    header = " ".join(["-" if field is None else field for field in fields])
    made = f"<{pri}>{message.version} {header}".encode()
    if message.msg is not None:
        made += b" " + (b"\xef\xbb\xbf" if message.utf8 else b"") + message.msg
    return made


def run(octets: bytes) -> None:
    """A message."""
    try:
        message = parseMessage(octets)
    except MessageError as error:
        assert 0 <= error.position <= len(octets), error
        return
    assert 0 <= message.facility < 24 and 0 <= message.severity < 8
    names = [element.id for element in message.structuredData]
    assert len(set(names)) == len(names)
    assert message.msg is None or octets.endswith(message.msg)
    rendered = _render(message)
    assert parseMessage(rendered) == message
    # Everything is unchanged, except a backslash that escapes nothing.
    assert rendered == octets or b"\\" in octets, rendered

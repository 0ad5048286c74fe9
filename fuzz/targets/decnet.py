"""
L{decnet_syslog.wire._decnet}: any text is parsed, and the values come from the text.
"""

from __future__ import annotations

from decnet_syslog.wire._addresses import isAddress, splitAddress
from decnet_syslog.wire._decnet import ADDRESS_NAMES, read

__all__ = ["OCTETS_MAX", "OPAQUE", "SEEDS", "WORDS", "run"]

OCTETS_MAX = 4096
OPAQUE = False

WORDS = (
    *[name.encode("ascii") + b'="' for name in ADDRESS_NAMES],
    *(b"<134>1 ", b" - - - - ", b"[relay@55555 ", b"[", b"]", b'"', b"\\", b"=", b":"),
    *(b"2026-04-18T00:00:00Z ", b"2026-02-29", b"T24", b"CMD ", b"Unknown", b" from "),
    *(b"rhost=", b"192.0.2.1", b"::1", b"[::1]:80", b"\xc2\x85", b"\xe2\x80\xa8"),
)

SEEDS = (
    b"2001:db8::1:80",
    b"[2001:db8::1]:80",
    b"2001:db8::1:49255",
    b"::ffff:192.0.2.1:22",
    b"fe80::1%eth0:22",
    b'<13>1 2026-02-30T00:00:00Z d s 1 e [o@1 a=b][relay@55555 n=5 src="::1"] \xef\xbb\xbfx',
    b'<134>1 2026-04-18T00:00:00Z d s 1 e [relay@55555 src_ip="1.2.3.4:5" a="\\]"] x',
    b"<14>1 - d s - - - 2026-04-18T00:00:00Z d2 s2 - e2 - from 192.0.2.1 port 5",
    b'<14>1 x d s - - [other a="1"][relay@55555 src="Unknown"] CMD ip=1.2.3.4 rhost=::1',
)


def run(octets: bytes) -> None:
    """A message; invalid UTF-8 is replaced."""
    text = octets.decode("utf-8", "replace")
    host, port = splitAddress(text)
    if port is None:
        assert host == text or (isAddress(host) and text == f"[{host}]")
    else:
        assert port.isascii() and port.isdigit() and text.endswith(f":{port}")
        assert host and host in text
        before = text[: -len(port) - 1]
        assert before.strip("[]") == host
        # The longest possible IPv6 address must be taken, not a shorter prefix.
        assert not isAddress(text)
        if ":" in before and before[0] != "[":
            assert isAddress(host)
    reading = read(text)
    if reading is None:
        return
    assert reading == read(text)
    stamp, decky, service, event, attacker, fields, msg = reading
    for word in (decky, service):
        assert word and not any(character.isspace() for character in word), word
        assert word in text
    assert event == "command" or event in text
    assert attacker == "Unknown" or attacker in text or "\\" in text, attacker
    assert msg in text
    assert stamp is None or len(stamp) == 19
    for name, value in fields.items():
        assert name in text or name == "remote_port"
        assert value in text or "\\" in text

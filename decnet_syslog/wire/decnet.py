"""
What DECNET reads in a message: its columns, from text that an attacker may have shaped.

The rules are those of DECNET's own parser, so that its consumers see the values they know:
which parameter is the attacker's address, when the port is split off, what is tried when
there is no such parameter, the message that a second syslog has wrapped.

Right by RFC 5424 where that parser is not: an escaped bracket or quote ends nothing, every
SD-ELEMENT is passed over, a bracket in the text is text. More tolerant than the RFC where
there is only one reading: more than one space before a parameter, names that are long or
not ASCII, an SD-ID that comes twice, an unescaped C{]} between quotes (section 6.3.3: to
escape it is not strictly necessary). An element that has no reading stays in the text.

Differs from DECNET on one point that is not the RFC's: an IPv6 address without brackets is
left whole. DECNET takes its last group for a port, and its attacker has half an address.

What must be true: linear in the octets (a word is not looked at from each of its letters,
a repeat is bounded so that it keeps no trail), and independent of the Python release (a
record that an upgraded master renders again is the same): so no C{fromisoformat}.
"""

from __future__ import annotations

import calendar
import re

from .rfc5424 import FULL_DATE, unescape

__all__ = ["ADDRESS_NAMES", "SD_ID", "Reading", "read", "splitAddress"]

# timestamp, decky, service, event_type, attacker_ip, fields, msg.
Reading = tuple[str, str, str, str, str, dict[str, str], str]

# DECNET's services write their parameters in this element; others are not theirs.
SD_ID = "relay@55555"

# Where the attacker's address is looked for, the first that is there.
ADDRESS_NAMES = (
    "src_ip",
    "src",
    "client_ip",
    "remote_ip",
    "remote_addr",
    "target_ip",
    "ip",
)
_ADDRESS_NAMES = frozenset(ADDRESS_NAMES)

_HEADER = re.compile(r"<[0-9]+>1 (\S+) (\S+) (\S+) \S+ (\S+) (.+)\Z", re.DOTALL)
# A message in a message: the shell of a honeypot writes one to the log of its container.
_INNER = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+\s+(\S+)\s+(\S+)\s+\S+\s+(\S+)\s+(.+)\Z", re.DOTALL
)
_TIME = re.compile(
    rf"({FULL_DATE})"
    r"(?:[Tt]([01][0-9]|2[0-3])(?::([0-5][0-9])(?::([0-5][0-9])(?:[.,][0-9]+)?)?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?\Z"
)

_ELEMENT = re.compile(r'\[([^\s=\]"]+)')
# To its end, or its first escape.
_PARAM = re.compile(r'\s+([^\s=\]"]+)="([^"\\]*)(["\\])')
# As many escapes as sre may keep a trail of; the loop around it takes the rest.
_ESCAPES = re.compile(r'(?:\\.[^"\\]*){1,256}', re.DOTALL)
_END = re.compile(r"\s*\]")

# Only from the beginning of a word: else a long word costs its length squared.
_PAIR = re.compile(r"(?<!\w)(\w+)=(\S+)")
_IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
# sshd: "from 192.0.2.1 port 5 on 10.0.0.2"; PAM: "rhost=192.0.2.1".
_ANCHORED = re.compile(
    rf"\b(?:from|rhost[:=]|client[:=]|src[:=])\s*({_IPV4}|[0-9A-F:]+:[0-9A-F:]+)",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(rf"\b{_IPV4}\b")


def _time(text: str) -> str:
    """A timestamp as DECNET shows it: local to its own offset, whole seconds."""
    match = _TIME.match(text)
    if match is None:
        return text
    date, hour, minute, second = match.groups("00")
    year = int(date[:4])
    if year == 0 or (date.endswith("02-29") and not calendar.isleap(year)):
        return text
    return f"{date} {hour}:{minute}:{second}"


def _elements(text: str) -> tuple[dict[str, str], int] | None:
    """
    Read the SD-ELEMENTs that text begins with.

    @return: the parameters of DECNET's own, the last of each name, and where the elements
        end; C{None} if they have no reading.
    """
    fields: dict[str, str] = {}
    at = 0
    while text.startswith("[", at):
        element = _ELEMENT.match(text, at)
        if element is None:
            return None
        theirs = element[1] == SD_ID
        at = element.end()
        while True:
            param = _PARAM.match(text, at)
            if param is None:
                break
            name, value, end = param.groups()
            at = param.end()
            if end == "\\":
                begin, at = at - 1 - len(value), at - 1
                escapes = _ESCAPES.match(text, at)
                while escapes is not None:
                    at = escapes.end()
                    escapes = _ESCAPES.match(text, at)
                if not text.startswith('"', at):
                    return None
                value = unescape(text[begin:at])
                at += 1
            if theirs:
                fields[name] = value
        bracket = _END.match(text, at)
        if bracket is None:
            return None
        at = bracket.end()
    return fields, at


def _structuredData(text: str) -> tuple[dict[str, str], str]:
    """The parameters of DECNET's own element, and the text behind all elements."""
    if text.startswith("-"):
        return {}, text[1:].lstrip()
    if text.startswith("["):
        found = _elements(text)
        if found is not None:
            return found[0], text[found[1] :].strip()
    return {}, text


def splitAddress(address: str) -> tuple[str, str | None]:
    """An address as a service writes it: the host, and its port if it has one."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        return address, None
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return address, None
    return host.strip("[]"), port


def _inText(msg: str) -> str:
    """The address that free text has: in a pair, behind a word for it, or anywhere."""
    # Three searches for a constant spare most texts a match at each of their words.
    if "ip=" in msg or "src=" in msg or "addr=" in msg:
        for pair in _PAIR.finditer(msg):
            if pair[1] in _ADDRESS_NAMES:
                if pair[2] != "Unknown":
                    return pair[2]
                break
    anchored = _ANCHORED.search(msg)
    if anchored is not None:
        return anchored[1]
    anywhere = _ANYWHERE.search(msg)
    return "Unknown" if anywhere is None else anywhere[0]


def _attacker(fields: dict[str, str], msg: str) -> str:
    """The attacker's address. Adds C{remote_port} to the fields if it had one."""
    for name in ADDRESS_NAMES:
        if name in fields:
            address, port = splitAddress(fields[name])
            if port is not None:
                fields.setdefault("remote_port", port)
            if address != "Unknown":
                return address
            break
    return _inText(msg)


def read(text: str) -> Reading | None:
    """
    Read a message.

    @return: C{None} if it is none that DECNET knows.
    """
    header = _HEADER.match(text)
    if header is None:
        return None
    stamp, decky, service, event, rest = header.groups()
    fields, msg = _structuredData(rest)
    if event == "-" and rest.startswith("-"):
        inner = _INNER.match(msg)
        if inner is not None:
            # Not its timestamp: DECNET shows the outer one.
            decky, service, event, rest = inner.groups()
            fields, msg = _structuredData(rest)
    if event == "-" and msg.startswith("CMD "):
        event = "command"
    return _time(stamp), decky, service, event, _attacker(fields, msg), fields, msg

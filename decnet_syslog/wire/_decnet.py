"""
DECNET's columns, read from a message whose text an attacker may have shaped.

The rules are those of DECNET's own parser, so that its consumers see the values that they know:
which parameter is the attacker's address, when the port is separated, where to look without such a
parameter, and how to read a message that a second syslog has wrapped.

Where that parser is wrong, RFC 5424 applies: an escaped bracket or quote ends nothing, every
SD-ELEMENT is skipped, a bracket in the text is text, a BOM is not part of MSG. This module is more
tolerant than the RFC where only one reading is possible: spaces before a parameter, names that are
long or not ASCII, an SD-ID that comes twice, an unescaped C{]} between quotes (section 6.3.3: to
escape it is not strictly necessary).

An unreadable parameter or element does not spoil the others: the readable parameters of DECNET's
own element count. An unreadable text in brackets without a C{=} is not an element, and stays in
the text.

L{ipaddress} decides whether a text is an address, not the text's shape; see
L{decnet_syslog.wire._addresses}. A timestamp that is not a date is replaced by the time of arrival,
because DECNET's database would refuse it and its ingester would stop there.

What must be true: the cost is linear in the octets (a word is not matched from each of its letters;
each repeat is bounded, so that it keeps no trail), and the result does not depend on the Python
release (a record that an upgraded master renders again is the same): so no C{fromisoformat}.
"""

from __future__ import annotations

import calendar
import re

from ._addresses import firstAddress, firstIPv4, leadingAddress, splitAddress
from ._rfc5424 import FULL_DATE, unescape

__all__ = ["ADDRESS_NAMES", "SD_ID", "Reading", "read"]

# timestamp (None: the message has no date), decky, service, event_type, attacker_ip, fields, msg.
Reading = tuple[str | None, str, str, str, str, dict[str, str], str]

# DECNET's services write their parameters in this element; other elements are not theirs.
SD_ID = "relay@55555"

# The parameters that may contain the attacker's address; the first one present counts.
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
# A message within a message: the shell of a honeypot writes one to the log of its container.
_INNER = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+\s+(\S+)\s+(\S+)\s+\S+\s+(\S+)\s+(.+)\Z", re.DOTALL
)
_TIME = re.compile(
    rf"({FULL_DATE})"
    r"(?:[Tt]([01][0-9]|2[0-3])(?::([0-5][0-9])(?::([0-5][0-9])(?:[.,][0-9]+)?)?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?\Z"
)

_ELEMENT = re.compile(r'\[([^\s=\]"]+)')
# To the end of the value, or its first escape.
_PARAM = re.compile(r'\s*([^\s=\]"]+)="([^"\\]*)(["\\])')
# As many escapes as the regular expression may remember; the loop around it takes the rest.
_ESCAPES = re.compile(r'(?:\\.[^"\\]*){1,256}', re.DOTALL)
_END = re.compile(r"\s*\]")
# Up to the next place where a parameter, a quote or the end can be.
_UNREADABLE = re.compile(r'\s*([^\s"\]]+|"[^"\\]*)')
# The beginning of our element after an unreadable one.
_OURS = f"][{SD_ID}"

# Only from the beginning of a word: otherwise a long word would cost the square of its length.
_PAIR = re.compile(r"(?<!\w)(\w+)=(\S+)")
_BOM = "\ufeff"


def _time(text: str) -> str | None:
    """A timestamp in DECNET's form, in its own offset and whole seconds; C{None}: not a date."""
    match = _TIME.match(text)
    if match is None:
        return None
    date, hour, minute, second = match.groups("00")
    year = int(date[:4])
    if year == 0 or (date.endswith("02-29") and not calendar.isleap(year)):
        return None
    return f"{date} {hour}:{minute}:{second}"


def _quoted(text: str, at: int) -> int:
    """
    Find the quote that ends a value.

    @param at: the position of a character in the value, or of its first escape.
    @return: the position of the quote; -1 if the value has no end.
    """
    escapes = _ESCAPES.match(text, at)
    while escapes is not None:
        at = escapes.end()
        escapes = _ESCAPES.match(text, at)
    return at if text.startswith('"', at) else -1


class _Elements:
    """
    The SD-ELEMENTs at the beginning of a text.

    @ivar fields: the parameters of DECNET's own element; of equal names the last counts.
    @ivar end: the end of the elements.
    """

    def __init__(self, text: str) -> None:
        self.fields: dict[str, str] = {}
        self.end = 0
        self._text = text
        while text.startswith("[", self.end):
            end = self._element(self.end)
            if end < 0:
                break
            self.end = end

    def _element(self, begin: int) -> int:
        """Read an element; return its end, or -1."""
        text = self._text
        name = _ELEMENT.match(text, begin)
        ours = name is not None and name[1] == SD_ID
        at = begin + 1 if name is None else name.end()
        at, clean = self._params(at, ours)
        if ours or (clean and name is not None):
            return at
        # Our element can begin within an unreadable one that has no end of its own. After a sound
        # end it is text, which an attacker may have written.
        sound = at >= 0 and text[at : at + 1] in ("", " ", "[")
        found = text.find(_OURS, begin, at + len(_OURS) if sound else len(text))
        if found >= 0:
            return found + 1
        if at < 0 or not (text.startswith("[", at) or "=" in text[begin:at]):
            return -1
        return at

    def _params(self, at: int, ours: bool) -> tuple[int, bool]:
        """Read parameters; return the element's end, or -1, and whether all were readable."""
        text = self._text
        clean = True
        readable = at
        while True:
            param = _PARAM.match(text, at)
            if param is not None:
                name, value, last = param.groups()
                end = param.end()
                if last == "\\":
                    begin = end - 1 - len(value)
                    end = _quoted(text, end - 1) + 1
                    if not end:
                        break
                    value = unescape(text[begin : end - 1])
                at = readable = end
                if ours:
                    self.fields[name] = value
                continue
            bracket = _END.match(text, at)
            if bracket is not None:
                return bracket.end(), clean
            clean = False
            unreadable = _UNREADABLE.match(text, at)
            if unreadable is None:
                break
            at = unreadable.end()
            if unreadable[1][0] == '"':
                at = _quoted(text, at) + 1
                if not at:
                    break
        # A quote without an end means nothing, or the element was cut off.
        end = text.find("]", readable)
        return (end + 1 or -1), False


def _structuredData(text: str) -> tuple[dict[str, str], str]:
    """The parameters of DECNET's own element, and the text after all elements."""
    fields: dict[str, str] = {}
    if text.startswith("-"):
        text = text[1:].lstrip()
    elif text.startswith("["):
        elements = _Elements(text)
        fields = elements.fields
        if elements.end:
            text = text[elements.end :].strip()
    return fields, text.removeprefix(_BOM).lstrip() if text[:1] == _BOM else text


def _inText(msg: str) -> str:
    """The address in free text: in a pair, after a word that announces it, or anywhere."""
    # Three searches for constants save most texts a match at each word.
    if "ip=" in msg or "src=" in msg or "addr=" in msg:
        for pair in _PAIR.finditer(msg):
            if pair[1] in _ADDRESS_NAMES:
                address = leadingAddress(pair[2])
                if address != "Unknown":
                    return address
                break
    return firstAddress(msg) or firstIPv4(msg) or "Unknown"


def _attacker(fields: dict[str, str], msg: str) -> str:
    """The attacker's address. Adds C{remote_port} to the fields if the address has a port."""
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

    @return: C{None} if the message is not in a form that DECNET knows.
    """
    header = _HEADER.match(text)
    if header is None:
        return None
    stamp, decky, service, event, rest = header.groups()
    fields, msg = _structuredData(rest)
    if event == "-" and rest.startswith("-"):
        inner = _INNER.match(msg)
        if inner is not None:
            # Not the inner timestamp: DECNET shows the outer one.
            decky, service, event, rest = inner.groups()
            fields, msg = _structuredData(rest)
    if event == "-" and msg.startswith("CMD "):
        event = "command"
    return _time(stamp), decky, service, event, _attacker(fields, msg), fields, msg

"""
The oracle of RFC 5424: a message, octets to a value.

The product needs no such parser: L{decnet_syslog.wire._record} is lenient and never refuses. The
tests and the fuzzing targets compare records and gap records with this one, and
C{tests.campaigns.parsers} compares it with those of other programs.

Strict: octets that the grammar of section 6 does not allow raise a L{MessageError} with a position.
The cost is linear in the octets, in time and in memory: lines are hostile, so no pattern here can
backtrack, and no repeat is so long that the regular expression's trail would cost more than the
line.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

from decnet_syslog.wire._rfc5424 import FULL_DATE, unescape

__all__ = ["Element", "MessageError", "SyslogMessage", "parseMessage"]

# SD-NAME: section 6.3, 1 to 32 of PRINTUSASCII without = ] " and space.
_SD_NAME = re.compile(r"[!#-<>-\\^-~]{1,32}")
# A PARAM-VALUE up to the first character that needs an escape, and on from an escape.
_PLAIN = re.compile(r'[^"\\\]]*')
_ESCAPES = re.compile(r'(?:\\.[^"\\\]]*){1,256}', re.DOTALL)

_PRI = re.compile(rb"<(0|[1-9][0-9]{0,2})>")
_VERSION = re.compile(rb"[1-9][0-9]{0,2} ")
_TIMESTAMP = re.compile(
    FULL_DATE.encode("ascii")
    + rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    rb"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\Z"
)
# The longest timestamp has 32 octets; a space follows it.
_TIMESTAMP_OCTETS_MAX = 32
_PRINTABLE = re.compile(rb"[!-~]+\Z")
_BOM = b"\xef\xbb\xbf"


@dataclass(unsafe_hash=True)
class MessageError(Exception):
    """
    The octets are not a message.

    @ivar reason: the part that the grammar requires.
    @ivar position: the octet where that part is missing.
    """

    reason: str
    position: int

    def __str__(self) -> str:
        return f"expected {self.reason} at octet {self.position}"


@dataclass(frozen=True, slots=True)
class Element:
    """An SD-ELEMENT: its SD-ID, and its parameters in order, unescaped."""

    id: str
    params: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SyslogMessage:
    """
    A message. C{None} stands for NILVALUE.

    @ivar msg: MSG without its BOM; C{None} if there is no MSG.
    @ivar utf8: whether MSG began with the BOM, which declares it as UTF-8.
    """

    facility: int
    severity: int
    version: int
    timestamp: str | None
    hostname: str | None
    appName: str | None
    procID: str | None
    msgID: str | None
    structuredData: tuple[Element, ...]
    msg: bytes | None
    utf8: bool


def _structuredData(text: str, at: int) -> tuple[tuple[Element, ...], int]:
    """
    Parse the SD-ELEMENTs that begin at C{at} with C{[}.

    @return: the elements, and their end.
    @raise MessageError: something else is there.
    """
    elements: list[Element] = []
    seen: set[str] = set()
    while at < len(text) and text[at] == "[":
        name = _SD_NAME.match(text, at + 1)
        if name is None:
            raise MessageError("an SD-ID", at + 1)
        if name[0] in seen:
            raise MessageError("an SD-ID that is not used yet", at + 1)
        seen.add(name[0])
        at = name.end()
        params: list[tuple[str, str]] = []
        while text.startswith(" ", at):
            param = _SD_NAME.match(text, at + 1)
            if param is None:
                raise MessageError("a PARAM-NAME", at + 1)
            at = param.end()
            if not text.startswith('="', at):
                raise MessageError('="', at)
            begin = at + 2
            value = _PLAIN.match(text, begin)
            while value is not None:
                at = value.end()
                value = _ESCAPES.match(text, at)
            if not text.startswith('"', at):
                raise MessageError("the end of a PARAM-VALUE", at)
            params.append((param[0], unescape(text[begin:at])))
            at += 1
        if not text.startswith("]", at):
            raise MessageError("] or a parameter", at)
        at += 1
        elements.append(Element(name[0], tuple(params)))
    return tuple(elements), at


def _headerField(
    octets: bytes, at: int, name: str, longest: int
) -> tuple[str | None, int]:
    end = octets.find(b" ", at, at + longest + 1)
    field = octets[at:end] if end >= 0 else b""
    if not _PRINTABLE.match(field):
        raise MessageError(f"{name}, 1 to {longest} printable octets and a space", at)
    return (None if field == b"-" else field.decode("ascii")), end + 1


def _timestamp(octets: bytes, at: int) -> tuple[str | None, int]:
    end = octets.find(b" ", at, at + _TIMESTAMP_OCTETS_MAX + 1)
    field = octets[at:end] if end >= 0 else b""
    if field != b"-" and not (
        _TIMESTAMP.match(field)
        and (field[5:10] != b"02-29" or calendar.isleap(int(field[:4])))
    ):
        raise MessageError("TIMESTAMP", at)
    return (None if field == b"-" else field.decode("ascii")), end + 1


def _values(elements: tuple[Element, ...], at: int) -> tuple[Element, ...]:
    """Convert parameter values from octets to text: they are UTF-8."""
    try:
        return tuple(
            Element(
                element.id,
                tuple(
                    [
                        (n, v.encode("latin-1").decode("utf-8"))
                        for n, v in element.params
                    ]
                ),
            )
            for element in elements
        )
    except UnicodeDecodeError:
        raise MessageError("PARAM-VALUEs in UTF-8", at) from None


def parseMessage(octets: bytes) -> SyslogMessage:
    """
    Parse a message (RFC 5424 section 6).

    @raise MessageError: the octets are not a message.
    """
    pri = _PRI.match(octets)
    if pri is None or int(pri[1]) > 191:
        raise MessageError("PRI, <0> to <191>", 0)
    version = _VERSION.match(octets, pri.end())
    if version is None:
        raise MessageError("VERSION and a space", pri.end())
    timestamp, at = _timestamp(octets, version.end())
    hostname, at = _headerField(octets, at, "HOSTNAME", 255)
    appName, at = _headerField(octets, at, "APP-NAME", 48)
    procID, at = _headerField(octets, at, "PROCID", 128)
    msgID, at = _headerField(octets, at, "MSGID", 32)
    if octets.startswith(b"-", at):
        elements: tuple[Element, ...] = ()
        end = at + 1
    elif octets.startswith(b"[", at):
        # One character per octet, so that the positions count octets.
        elements, end = _structuredData(octets.decode("latin-1"), at)
        elements = _values(elements, at)
    else:
        raise MessageError("STRUCTURED-DATA", at)
    msg: bytes | None = None
    utf8 = False
    if end < len(octets):
        if octets[end] != 0x20:
            raise MessageError("a space before MSG", end)
        msg = octets[end + 1 :]
        if msg.startswith(_BOM):
            msg, utf8 = msg[len(_BOM) :], True
            try:
                msg.decode("utf-8")
            except UnicodeDecodeError as error:
                raise MessageError(
                    "MSG in UTF-8, as its BOM says", end + 1 + len(_BOM) + error.start
                ) from None
    number = int(pri[1])
    return SyslogMessage(
        number // 8,
        number % 8,
        int(version[0]),
        timestamp,
        hostname,
        appName,
        procID,
        msgID,
        elements,
        msg,
        utf8,
    )

"""The fields of control lines: octets to values and back.

The type of a member of a control line is a type of this module. It names the Python type, for the
type checker, and the L{Codec}, from which L{decnet_syslog.wire._control} parses and renders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import methodcaller
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..values import value

__all__ = [
    "AGES_MAX",
    "EMPTY_LINES_MAX",
    "NAMES_OCTETS_MAX",
    "NUMBER_MAX",
    "Ages",
    "Codec",
    "ControlLine",
    "Crc",
    "Id",
    "Kept",
    "Name",
    "Number",
    "Word",
    "octetsOf",
    "readNumber",
]

# SQLite's and every peer's signed 64-bit integer.
NUMBER_MAX = 2**63 - 1

# The names of all streams that a connection has open, in octets: a listener keeps them.
NAMES_OCTETS_MAX = 1024 * 1024

# Points of a file's ages: enough to follow 10 % steps over a factor of four.
AGES_MAX = 16

# Empty lines in one EMPTY: they take memory without any octets on the wire.
EMPTY_LINES_MAX = 1024

T = TypeVar("T")


@value
class ControlLine:
    """
    A line between frames. Each subclass is a verb, and has the name of the verb; its members are
    in the order of the wire.
    """


class Codec(NamedTuple):
    """
    The form of a field.

    @ivar read: octets to a value. Raises C{ValueError} with the name of the field's form.
    @ivar write: a value to ASCII text.
    """

    read: Callable[[bytes], object]
    write: Callable[[Any], str]


def _reader(
    form: str, pattern: bytes, valueOf: Callable[[bytes], T]
) -> Callable[[bytes], T]:
    """C{valueOf}, but only for octets that match the pattern."""
    matches = re.compile(pattern).fullmatch

    def read(octets: bytes) -> T:
        if matches(octets) is None:
            raise ValueError(form)
        return valueOf(octets)

    return read


_isNumber = re.compile(rb"0|[1-9][0-9]{0,18}").fullmatch


def readNumber(octets: bytes) -> int:
    """
    The value of a number.

    @raise ValueError: the octets are not a number, or it is over L{NUMBER_MAX}.
    """
    if _isNumber(octets) is None or (number := int(octets)) > NUMBER_MAX:
        raise ValueError("number")
    return number


def _readAges(octets: bytes) -> tuple[tuple[int, int], ...]:
    points = octets.split(b",")
    if len(points) > AGES_MAX:
        raise ValueError("ages")
    ages: list[tuple[int, int]] = []
    for point in points:
        at, colon, age = point.partition(b":")
        if not colon or (ages and readNumber(at) < ages[-1][0]):
            raise ValueError("ages")
        ages.append((readNumber(at), readNumber(age)))
    return tuple(ages)


def _writeAges(ages: tuple[tuple[int, int], ...]) -> str:
    return ",".join([f"{at}:{age}" for at, age in ages])


def _readKept(octets: bytes) -> bool:
    if octets not in (b"kept", b"lost"):
        raise ValueError("kept")
    return octets == b"kept"


def _nameOf(octets: bytes) -> str:
    # surrogateescape: a file name is octets, and must come back unchanged.
    return unquote_to_bytes(octets).decode("utf-8", "surrogateescape")


def _writeName(name: str) -> str:
    octets = name.encode("utf-8", "surrogateescape")
    # "~" is unreserved for quote_from_bytes but not in our grammar.
    return quote_from_bytes(octets, safe="/").replace("~", "%7E")


def octetsOf(name: str) -> int:
    """The length of a name in octets."""
    return len(name.encode("utf-8", "surrogateescape"))


_textOf: Callable[[bytes], str] = methodcaller("decode", "ascii")

# "0", or digits without a leading zero; at most NUMBER_MAX.
Number = Annotated[int, Codec(readNumber, str)]

# A stream, a journal or a token: 128 random bits.
Id = Annotated[str, Codec(_reader("stream", rb"[0-9a-f]{32}", _textOf), str)]

# The CRC-32 of zlib.
Crc = Annotated[
    int,
    Codec(
        _reader("crc", rb"[0-9a-f]{8}", lambda octets: int(octets, 16)), "{:08x}".format
    ),
]

# A code for programs.
Word = Annotated[str, Codec(_reader("word", rb"[a-z][a-z0-9-]{0,31}", _textOf), str)]

# A file name or a text: octets other than A-Z a-z 0-9 - . _ / are %XX.
Name = Annotated[
    str,
    Codec(_reader("name", rb"(?:[A-Za-z0-9._/-]|%[0-9A-F]{2})+", _nameOf), _writeName),
]

# position:age, separated by commas; the positions do not go back. AGES_MAX points at most.
Ages = Annotated[tuple[tuple[int, int], ...], Codec(_readAges, _writeAges)]

# "kept" or "lost".
Kept = Annotated[bool, Codec(_readKept, lambda kept: "kept" if kept else "lost")]

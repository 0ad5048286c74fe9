"""
Records of messages that have the common shape, the fast path of L{decnet_syslog.wire._record}.

Most messages have one shape: a fraction in the time, one element of DECNET's, printable ASCII, no
backslash. Such a message is split at its quotes. The parts around its values repeat from message to
message, so they are checked and turned into JSON once and looked up from then on; the values need
no escape and are copied. Set aside: a regular expression for such a message, which took as long as
everything else together.
"""

from __future__ import annotations

import re
from typing import TypeVar

from ._addresses import splitAddress
from ._decnet import ADDRESS_NAMES, SD_ID
from ._hostname import contradicts
from ._rfc5424 import FULL_DATE

__all__ = ["addCommon"]

# Cached seconds, and cached shapes. A run of messages has a handful; an attacker who invents new
# ones empties the cache now and then, which costs us less than them.
KNOWN_MAX = 4096

# A longer shape is not cached: an entry takes about five times its octets.
SHAPE_OCTETS_MAX = 1024

# More parameters than any service writes.
PARAMS_MAX = 32
PIECES_MAX = 2 * PARAMS_MAX + 1

# The part before the fraction.
_SECOND = re.compile(
    rf"<[0-9]{{1,3}}>1 (?!0000|.....02-29)({FULL_DATE})"
    r"T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
)
_WORD = r"[!#-~]+"
_NAME = r"[A-Za-z0-9_.-]+"
# The part after the fraction, without the values.
_SHAPE = re.compile(
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    rf" ({_WORD}) ({_WORD}) {_WORD} (?!- )({_WORD})"
    rf' \[{SD_ID} ({_NAME}(?:="" {_NAME}){{0,{PARAMS_MAX - 1}}})='
)

# The JSON around the values: the members from the second to the attacker's address; the pieces from
# there to the text; the index of that address among them; whether its port may be added; the
# HOSTNAME.
_Shape = tuple[bytes, list[bytes], int, bool, str]
_shapes: dict[tuple[bytes, ...], _Shape] = {}
_seconds: dict[bytes, bytes] = {}

_K = TypeVar("_K")
_V = TypeVar("_V")


def _keep(known: dict[_K, _V], key: _K, value: _V) -> _V:
    """Add to a cache; a full cache is emptied first."""
    if len(known) >= KNOWN_MAX:
        known.clear()
    known[key] = value
    return value


def _newSecond(text: bytes) -> bytes | None:
    """The beginning of a record for the beginning of a message; C{None} if it is uncommon."""
    match = _SECOND.fullmatch(text.decode("ascii"))
    if match is None:
        return None
    made = f'{{"timestamp": "{match[1]} {match[2]}", "decky": "'
    return _keep(_seconds, text, made.encode("ascii"))


def _newShape(around: tuple[bytes, ...]) -> _Shape | None:
    """
    The shape for the parts around a message's values; C{None} if it is uncommon.

    @param around: C{+00:00 decky service procid event [relay@55555 name=}, then C{ name=} for each
        further value.
    """
    text = b'""'.join(around).decode("ascii")
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    decky, service, event, params = match.groups()
    names = params.split('="" ')
    address = next((name for name in ADDRESS_NAMES if name in names), None)
    if address is None or len(set(names)) != len(names):
        return None
    head = (
        f'{decky}", "service": "{service}", "event_type": "{event}", "attacker_ip": "'
    )
    inside = '", "fields": {' + ", ".join([f'"{name}": "|"' for name in names])
    shape = (
        head.encode("ascii"),
        f'{inside}}}, "msg": "'.encode("ascii").split(b"|"),
        2 * names.index(address) + 1,
        "remote_port" not in names,
        decky,
    )
    return _keep(_shapes, around, shape) if len(text) <= SHAPE_OCTETS_MAX else shape


def addCommon(
    message: bytes,
    made: list[bytes],
    before: bytes,
    offset: bytes,
    after: bytes,
    marked: bytes,
    worker: str | None,
) -> bool:
    """
    Add the record of a message to C{made}, if the message has the common shape.

    @param message: contains only characters that JSON contains unescaped, and quotes.
    @param before: the part from the end of C{raw_line} to the offset.
    @param marked: used instead of C{after} if the HOSTNAME is not the worker's.
    @param worker: the expected HOSTNAME; C{None}: do not mark.
    @return: whether the record was added; otherwise C{made} is unchanged.
    """
    # Parts alternate with values; the last part has the element's end and the text.
    pieces = message.split(b'"', PIECES_MAX)
    text = pieces[-1]
    if len(pieces) % 2 == 0 or (text[:2] != b"] " and text != b"]"):
        # The text has quotes, too: it begins at the first end that is not within a value.
        ends = [at for at in range(2, len(pieces), 2) if pieces[at][:2] == b"] "]
        if not ends or len(pieces) > PIECES_MAX:
            return False
        text = b'\\"'.join(pieces[ends[0] :])
        pieces[ends[0] :] = [text]
    raw = b'\\"'.join(pieces)
    header = pieces[0]
    first, _, rest = header.partition(b".")
    second = _seconds.get(first) or _newSecond(first)
    pieces[0] = rest.lstrip(b"0123456789")
    if second is None:
        # A time without a fraction: 19 octets after the first space.
        at = header.find(b" ") + 20
        first, pieces[0] = header[:at], header[at:]
        second = _seconds.get(first) or _newSecond(first)
        if second is None:
            return False
    elif pieces[0] == rest:
        return False
    around = tuple(pieces[:-1:2])
    shape = _shapes.get(around) or _newShape(around)
    if shape is None:
        return False
    head, inside, which, portMissing, decky = shape
    attacker = pieces[which]
    pieces[::2] = inside
    if 0x3A in attacker or 0x5B in attacker:
        host, port = splitAddress(attacker.decode("ascii"))
        attacker = host.encode("ascii")
        if port is not None and portMissing:
            pieces[-1] = f'", "remote_port": "{port}"}}, "msg": "'.encode("ascii")
    if attacker == b"Unknown":
        return False
    made += (
        second,
        head,
        attacker,
        b"".join(pieces),
        text[2:].strip(),
        b'", "raw_line": "',
        raw,
        before,
        offset,
        marked if worker is not None and contradicts(decky, worker) else after,
    )
    return True

"""The control lines of the delivery extension, ``decnet-syslog``: parsing and rendering.

docs/protocol.rst describes the lines for implementers. Here, a line is described once, by a class
named like its verb, in the module of its conversation: L{_hello<decnet_syslog.wire._hello>},
L{_opening<decnet_syslog.wire._opening>}, L{_delivering<decnet_syslog.wire._delivering>},
L{_state<decnet_syslog.wire._state>}. The types of its members, in the order of the wire, say how
each field is parsed and rendered (L{_fields<decnet_syslog.wire._fields>})::

    line = verb *(SP field) LF            ; CONTROL_LINE_OCTETS_MAX octets at most
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

from . import _delivering, _hello, _opening, _state
from ._fields import ControlLine, readNumber
from ._framing import CONTROL_LINE_OCTETS_MAX
from ._hello import HELLO, HELLO2

__all__ = ["ControlError", "encodeControl", "parseControl"]


@dataclass
class ControlError(Exception):
    """
    A control line that does not match the grammar.

    @ivar reason: the reason.
    @ivar seen: the first octets of the line, at most 80.
    """

    reason: str
    seen: bytes

    def __str__(self) -> str:
        return f"{self.reason} (saw {self.seen!r})"


class _Form(NamedTuple):
    """
    The form of a control line.

    @ivar readers: from octets to a value, for each field.
    @ivar writers: the name of each field, and from its value to text.
    """

    kind: type[ControlLine]
    verb: str
    readers: list[Callable[[bytes], object]]
    writers: list[tuple[str, Callable[[Any], str]]]


def _formOf(kind: type[ControlLine], verb: str) -> _Form:
    hints = get_type_hints(kind, include_extras=True)
    codecs = [(name, hint.__metadata__[0]) for name, hint in hints.items()]
    return _Form(
        kind,
        verb,
        [codec.read for _, codec in codecs],
        [(name, codec.write) for name, codec in codecs],
    )


# HELLO has a form for each version, which is its first field.
_HELLOS = {b"1": _formOf(HELLO, "HELLO"), b"2": _formOf(HELLO2, "HELLO")}
_VERSIONS = " and ".join([version.decode("ascii") for version in _HELLOS])

# The module of a conversation offers its lines, and nothing else.
_FORMS = [
    *_HELLOS.values(),
    *[
        _formOf(getattr(conversation, verb), verb)
        for conversation in (_hello, _opening, _delivering, _state)
        for verb in conversation.__all__
        if not verb.startswith("HELLO")
    ],
]
_BY_KIND = {form.kind: form for form in _FORMS}
_BY_VERB = {form.verb.encode("ascii"): form for form in _FORMS}


def parseControl(line: bytes) -> ControlLine:
    """
    Parse one control line, without its LF.

    @raise ControlError: an unknown verb, a wrong number of fields or a malformed field.
    """
    verb, *fields = line.split(b" ")
    form = _BY_VERB.get(verb)
    if form is None:
        raise ControlError("an unknown control line", line[:80])
    if verb == b"HELLO":
        form = _helloOf(fields, line)
    kind, _, readers, _ = form
    if len(fields) != len(readers):
        raise ControlError(
            f"{kind.__name__} takes {len(readers)} fields, not {len(fields)}", line[:80]
        )
    try:
        return kind(*[read(field) for read, field in zip(readers, fields, strict=True)])
    except ValueError as error:
        raise ControlError(
            f"{kind.__name__} has a malformed {error}", line[:80]
        ) from None


def _helloOf(fields: list[bytes], line: bytes) -> _Form:
    """
    The form of a HELLO line.

    @raise ControlError: the listener's release has another HELLO.
    """
    try:
        version = readNumber(fields[0])
    except (IndexError, ValueError):
        raise ControlError("HELLO without a version", line[:80]) from None
    form = _HELLOS.get(fields[0])
    if form is None:
        raise ControlError(
            f"HELLO has version {version}, this program knows {_VERSIONS}: upgrade"
            " decnet_syslog at the older of the two ends",
            line[:80],
        )
    if len(fields) != len(form.readers):
        raise ControlError(
            f"HELLO {version} takes {len(form.readers)} fields, not {len(fields)}:"
            " upgrade decnet_syslog at the other end",
            line[:80],
        )
    return form


def encodeControl(value: ControlLine) -> bytes:
    """Render a control line, including its LF."""
    _, verb, _, writers = _BY_KIND[type(value)]
    parts = [verb]
    for name, write in writers:
        parts.append(write(getattr(value, name)))
    line = " ".join(parts).encode("ascii") + b"\n"
    assert len(line) <= CONTROL_LINE_OCTETS_MAX, line[:80]
    return line

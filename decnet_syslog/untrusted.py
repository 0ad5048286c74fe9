"""
Untrusted text for people: in logs, errors, pages and gap records.

Names, reasons and lines come from peers, certificates, files and servers. They must not move a
cursor, turn the text around them, end a line, hide, or fill a page. Only this module decides how
they are shown, except in TOML (L{decnet_syslog.configuration}), which has escapes of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Literal

__all__ = ["escapeUntrusted"]

Form = Literal["quoted", "ascii", "readable"]

# Shows that text was cut.
_CUT = "..."


def _asASCII(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _readable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else _asASCII(c) for c in text])


_FORMS: dict[str, Callable[[str], str]] = {
    "quoted": ascii,
    "ascii": _asASCII,
    "readable": _readable,
}


def escapeUntrusted(text: str, most: int | None = 80, form: Form = "quoted") -> str:
    r"""
    One line of valid UTF-8, without control, invisible or bidirectional characters.

    The forms differ because their readers do:

    * C{quoted}: printable ASCII in quotes, for a name in a sentence. A look-alike letter cannot
      pass for an ASCII one, and the text cannot continue our sentence. Two texts never look the
      same, unless both were cut.
    * C{ascii}: the same without quotes, for gap records, whose octets consumers compare: every
      version must write the same ones.
    * C{readable}: for lines and pages, which also contain text of ours. Characters of every script
      stay, and so do backslashes: the text C{\n} and a line end look the same.

    Other characters appear as Python escapes, as C{\x1b} or C{\u202e}.

    @param most: the maximum length of the result, in characters, at least 5; C{None} if the text is
        already bounded. A longer result is cut between two characters and ends in C{...}.
    """
    escape = _FORMS[form]
    if most is None:
        return escape(text)
    if len(text) <= most:
        whole = escape(text)
        if len(whole) <= most:
            return whole
    room = most - len(_CUT)
    # Each character adds at least one to the result.
    ends = range(min(len(text), most) + 1)
    end = bisect_right(ends, room, key=lambda end: len(escape(text[:end]))) - 1
    return escape(text[: max(0, end)]) + _CUT

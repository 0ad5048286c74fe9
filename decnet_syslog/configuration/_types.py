"""The TOML types of an option's value in a configuration file, and the words that stand for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from ..addresses import portElsewhere, portNumber
from ..options import count, octets, seconds, secondsOrNever

__all__ = ["FLAG", "LIST", "NUMBERS", "TEXT", "Types", "checkType", "wordsOf"]

#: The types that a value may have, and their names for people.
Types = tuple[tuple[type, ...], str]

# The TOML types of options that are not text, and their names for people.
NUMBERS: Mapping[Callable[[str], object], Types] = {
    count: ((int,), "a whole number, such as 64"),
    portNumber: ((int,), "a whole number, such as 6514"),
    portElsewhere: ((int,), "a whole number, such as 6514"),
    octets: ((int, str), 'a number or a size, such as 65536 or "64k"'),
    seconds: ((int, float), "a number of seconds, such as 2.5"),
    secondsOrNever: ((int, float), "a number of seconds, such as 2.5"),
}
FLAG: Types = ((bool,), "true or false")
TEXT: Types = ((str,), 'text in quotes ("...")')
LIST: Types = ((str, list), 'text in quotes, or a list: ["...", "..."]')


def checkType(name: str, value: object, types: Types) -> None:
    """
    Check the type of a value in a file, and that it can be a word of a command line.

    @raise ValueError: it is not of these types, is empty, or has control characters.
    """
    allowed, said = types
    # A bool is an int in Python.
    if type(value) not in allowed or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f"{name} must be {said}, not {_typeName(value)}")
    parts = value if isinstance(value, list) else [value]
    if not parts:
        raise ValueError(f"{name} is empty: delete it, or give at least one")
    for part in parts:
        if isinstance(value, list) and not isinstance(part, str):
            raise ValueError(
                f"{name} must be a list of texts in quotes, and has {_typeName(part)}"
            )
        if isinstance(part, str) and re.search(r"[\0-\x1f\x7f]", part):
            raise ValueError(
                f"{name} has a control character in {part[:80]!a}: in TOML, write a"
                " backslash as \\\\, or use single quotes"
            )


def wordsOf(name: str, value: object) -> list[str]:
    """An option and its value as words of a command line."""
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    parts = value if isinstance(value, list) else [value]
    return [word for part in parts for word in (f"--{name}", str(part))]


def _typeName(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:80]!a}"
    if isinstance(value, int | float):
        return f"the number {str(value)[:40]}"
    if isinstance(value, list):
        return "a list"
    return "a section" if isinstance(value, dict) else "a date or time"

"""Option values that both commands share: environment, numbers, sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from twisted.python.usage import UsageError

__all__ = [
    "directory",
    "fromEnvironment",
    "octets",
    "portNumber",
    "seconds",
    "secondsOrNever",
]

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def portNumber(value: str) -> int:
    """A TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", value) or not int(value) < 65536:
        raise ValueError(f"{value!r} is not a port: a number from 0 to 65535")
    return int(value)


def count(text: str) -> int:
    """
    A number of things, at least one.

    @raise ValueError: with what is wrong.
    """
    number = int(text)
    if number < 1:
        raise ValueError("at least 1")
    return number


def octets(value: str) -> int:
    """A number of octets, with k, m or g for powers of 1024."""
    match = re.fullmatch(r"([0-9]{1,15})([kmg]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise ValueError(f"{value!r} is not a size: say 65536, 64k, 128m or 1g")
    return int(match[1]) * _UNITS[match[2]]


def seconds(value: str) -> float:
    """A positive time."""
    try:
        number = float(value)
    except ValueError:
        number = 0
    if not 0 < number < 1e6:
        raise ValueError(f"{value!r} is not a time in seconds")
    return number


def secondsOrNever(value: str) -> float:
    """A time, or 0 for never."""
    return 0.0 if value.strip() == "0" else seconds(value)


def directory(value: str) -> Path:
    """A directory, with ~ for the home of this user."""
    return Path(os.path.abspath(os.path.expanduser(value)))


def fromEnvironment(
    options: MutableMapping[str, Any],
    name: str,
    variables: Mapping[str, str],
    convert: Callable[[str], object],
    default: object,
) -> None:
    """
    Give an option that was not given its environment variable's value, or its default.

    @raise UsageError: the variable has no usable value.
    """
    if options[name] is not None:
        return
    value = os.environ.get(variables[name])
    try:
        options[name] = convert(value) if value else default
    except ValueError as error:
        raise UsageError(f"{variables[name]}: {error}") from None

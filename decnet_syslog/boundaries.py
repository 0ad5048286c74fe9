"""
Names for values whose types other programs and libraries decide.

mypy cannot check them. Each name tells a reader which program decides the type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = [
    "Called",
    "Facts",
    "Foreign",
    "JSONObject",
    "OptionRow",
    "OptionValue",
    "Stored",
]

# An object in JSON that another program has written. Its reader checks it.
JSONObject: TypeAlias = dict[str, Any]

# The same, when it is only read: the status of a service, or a record.
Facts: TypeAlias = Mapping[str, Any]

# The value of an option: the row of the option in optParameters decides.
OptionValue: TypeAlias = Any

# Such rows: name, letter, default, help, and the function that converts a value.
OptionRow: TypeAlias = list[object]

# An object of a library without annotations, or of C.
Foreign: TypeAlias = Any

# A value in a row of a database. STRANGE (database.py) has the errors of damaged ones.
Stored: TypeAlias = Any

# What a call returns that one process or thread makes for another one.
Called: TypeAlias = Any

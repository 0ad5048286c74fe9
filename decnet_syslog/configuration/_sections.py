"""The sections and options of a configuration file: names that do not exist are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.python import usage

from ..options import nearest
from ..untrusted import escapeUntrusted
from ._document import Entry
from ._types import Types, checkType

__all__ = ["checkEntries"]


class IFileOptions(Protocol):
    """The options that a file can have, as L{Configured<decnet_syslog.configuration._options>}."""

    service: str

    @property
    def groups(self) -> Mapping[str, tuple[str, Sequence[str]]]: ...

    @property
    def names(self) -> list[str]: ...

    def typesOf(self, name: str) -> Types:
        """The TOML types of an option."""


def checkEntries(
    options: IFileOptions, file: str, entries: Sequence[Entry]
) -> dict[str, Entry]:
    """
    The entries by the option's name.

    @param file: the path of the file, for errors.
    @raise usage.UsageError: an entry is neither an option nor a section, or has the wrong type.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        try:
            if _isSection(options, entry):
                continue
            name = entry.path[-1]
            if name in found:
                raise ValueError(
                    f"{name} is in line {found[name].line} already: delete one of them"
                )
            checkType(name, entry.value, options.typesOf(name))
        except ValueError as error:
            raise usage.UsageError(f"{file}:{entry.line}: {error}") from None
        found[name] = entry
    return found


def _isSection(options: IFileOptions, entry: Entry) -> bool:
    """
    Whether an entry is a section, not an option.

    @raise ValueError: it is neither.
    """
    *sections, name = entry.path
    names, said = options.names, escapeUntrusted(name, 80, "readable")
    isTable = isinstance(entry.value, dict)
    if sections and (len(sections) > 1 or sections[0] not in options.groups):
        raise ValueError(
            f"{said} is in the section {'.'.join(sections)[:80]!a}: the sections"
            f" are {', '.join(options.groups)}"
        )
    # An option can have the name of a section.
    if not sections and name in options.groups and (isTable or name not in names):
        if not isTable:
            raise ValueError(f"{name} is a section: write [{name}]")
        return True
    if name not in names:
        if isTable and not sections:
            similar = nearest(name, options.groups) or nearest(name, names)
            raise ValueError(
                f"there is no section [{said}]: the sections are"
                f" {', '.join(options.groups)}{similar}"
            )
        raise ValueError(
            f"there is no option {said} of {options.service}{nearest(name, names)}"
        )
    return False

"""
The help of every command as values, for the manual pages and the completion of shells.

Nothing here has a text of its own: purpose, examples and options are those of C{--help}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twisted.python.reflect import accumulateClassList

from ..boundaries import OptionRow
from ..configuration import Configured
from ..options import Described, asSize, octets

__all__ = ["Command", "Option", "describe"]

OPTIONS = "Options"
OTHER_OPTIONS = "Other options"


@dataclass(frozen=True, slots=True)
class Option:
    """
    An option.

    @ivar name: its long name, without C{--}.
    @ivar short: its letter; C{None}: it has none.
    @ivar takesValue: whether a value follows it.
    @ivar text: what the help says about it, with its default.
    @ivar section: its section in a configuration file; C{None}: a file cannot have it.
    @ivar kind: what its value in a file must be.
    """

    name: str
    short: str | None
    takesValue: bool
    text: str
    section: str | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """
    A command, or decnet-syslog itself.

    @ivar path: the words after C{decnet-syslog}.
    @ivar summary: one sentence.
    @ivar synopsis: what may follow these words.
    @ivar paragraphs: the description.
    @ivar examples: shell commands, with line breaks as written.
    @ivar groups: the options by the title of their group.
    @ivar commands: the subcommands.
    @ivar service: the name of the service that has these options; C{None}: they are not those
        of a service.
    @ivar environment: the variables that set an option, by the option's name.
    """

    path: tuple[str, ...]
    summary: str
    synopsis: str
    paragraphs: tuple[str, ...]
    examples: str
    groups: tuple[tuple[str, tuple[Option, ...]], ...]
    commands: tuple[Command, ...]
    service: str | None
    environment: Mapping[str, str]

    @property
    def options(self) -> tuple[Option, ...]:
        """The options of all groups."""
        return tuple(one for _, options in self.groups for one in options)

    def walk(self) -> Iterator[Command]:
        """The command and all below it, each before its subcommands."""
        yield self
        for one in self.commands:
            yield from one.walk()


def describe(
    options: Described,
    path: tuple[str, ...] = (),
    summary: str = "",
    parent: Described | None = None,
) -> Command:
    """
    The help of a command.

    @param options: its options, not parsed yet.
    """
    if parent is not None:
        # What Twisted sets when it parses the command.
        options.parent, parent.subCommand = parent, path[-1]
    described, examples = _divided(options.longdesc)
    return Command(
        path,
        summary,
        options.getSynopsis().removeprefix("Usage: "),
        described,
        examples,
        tuple(_groups(options)),
        tuple(
            describe(make(), (*path, name), text, options)
            for name, _, make, text in getattr(options, "subCommands", ())
        ),
        options.service if isinstance(options, Configured) else None,
        options.environment if isinstance(options, Configured) else {},
    )


def _divided(text: str) -> tuple[tuple[str, ...], str]:
    """The paragraphs of a description, and its examples."""
    paragraphs, examples = [], ""
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if found := re.match(r"Examples?:\n", part):
            examples = "\n".join(
                line.removeprefix("    ") for line in part[found.end() :].splitlines()
            )
        else:
            paragraphs.append(" ".join(part.split()))
    return tuple(paragraphs), examples


def _groups(options: Described) -> Iterator[tuple[str, tuple[Option, ...]]]:
    names = [word.rstrip("=") for word in options.longOpt]
    if not isinstance(options, Configured):
        yield OPTIONS, tuple(_option(options, name) for name in sorted(names))
        return
    titles: dict[str, list[str]] = {}
    for name in options.names:
        titles.setdefault(options.groups[options.groupOf(name)][0], []).append(name)
    others = [name for name in sorted(names) if name not in options.names]
    for title, ones in (*titles.items(), (OTHER_OPTIONS, others)):
        yield title, tuple(_option(options, name) for name in ones)


def _option(options: Described, name: str) -> Option:
    takes = f"{name}=" in options.longOpt
    text = " ".join((options.docs.get(name) or "").split()).rstrip(".")
    rows: list[OptionRow] = []
    accumulateClassList(type(options), "optParameters", rows)
    default = options.defaults.get(name)
    if takes and default is not None:
        isSize = any(row[0] == name and row[4:5] == [octets] for row in rows)
        text += f" [default: {asSize(default) if isSize else default}]"
    letter = next(
        (one for one, long in options.synonyms.items() if long == name and not one[1:]),
        None,
    )
    if isinstance(options, Configured) and name in options.names:
        section, (_, kind) = options.groupOf(name), options.typesOf(name)
        return Option(name, letter, takes, text, section, kind)
    return Option(name, letter, takes, text)

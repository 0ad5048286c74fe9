"""decnet-syslog manual: write the manual pages of all commands, from the texts of --help."""

from __future__ import annotations

import importlib
import os
import re
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from twisted.python import usage

from ..options import Described
from .helptext import Command, Option, describe

__all__ = ["Options", "manualPages", "run"]

_PROGRAM = "decnet-syslog"
_FILE = "decnet-syslog.toml"

# The one text that is not in the help.
_CONFIGURATION = (
    "Every option of a service can be in its configuration file, under its long name without"
    ' "--". The file is in TOML: text is in quotes; a size is a number, or text with a unit'
    ' ("64k"); an option without a value is true or false; an option that can be repeated is a'
    " text or a list of texts.",
    "decnet-syslog config show SERVICE prints every option in its section. The sections keep the"
    " file in order and have no meaning: an option can be in any section, or above the"
    " first one, but only once.",
    "The command line has precedence over the environment, the environment over the file, and"
    " the file over the defaults. The source of highest precedence that gives an option gives"
    " all its values.",
    "The service reads the file at its start. It does not start with a mistake in the file, and"
    " does not ignore a file that it cannot read. A file that every user can change is refused.",
)


class Options(Described):
    """Options of manual."""

    synopsis = "DIRECTORY [options]"
    longdesc = """\
Write the manual pages of all commands to the directories man1 and man5 in DIRECTORY. They have the
texts of --help. The packages contain these pages already.

Examples:
    decnet-syslog manual ./man
    man -M ./man decnet-syslog-forwarder"""

    optParameters = [
        ["date", None, None, "Date at the foot of the pages, as 2026-11-28 [today]"],
    ]

    def parseArgs(self, directory: str = "") -> None:
        """The directory."""
        self["directory"] = directory

    def postOptions(self) -> None:
        """
        Check the directory and the date.

        @raise usage.UsageError: one of them is missing or has another form.
        """
        if not self["directory"]:
            raise usage.UsageError("directory missing: manual DIRECTORY")
        if self["date"] is None:
            self["date"] = time.strftime("%Y-%m-%d", time.gmtime())
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", self["date"]):
            raise usage.UsageError(
                f"--date: {self['date'][:40]!a} is not a date such as 2026-11-28"
            )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    pages = manualPages(options["date"])
    for name, text in pages.items():
        path = Path(options["directory"], f"man{name[-1]}", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A reader finds the old page or the new one, never a mixture.
        new = path.with_name(f".{name}.new")
        new.write_text(text, "utf-8")
        os.replace(new, path)
    print(f"{len(pages)} pages are in {options['directory']}")
    return 0


def manualPages(date: str) -> dict[str, str]:
    """
    All pages.

    @return: the texts in man(7), by the names of their files.
    """
    every = describe(importlib.import_module("decnet_syslog.cli").Options())
    found = {
        f"{_PROGRAM}.1": _overview(every, date),
        f"{_FILE}.5": _filePage(every, date),
    }
    for one in every.commands:
        found[f"{_nameOf(one)}.1"] = _page(one, every, date)
    return found


def _overview(every: Command, date: str) -> str:
    return _joined(
        _head(_PROGRAM, 1, date, every.paragraphs[0]),
        [".SH SYNOPSIS", f".B {_argument(_PROGRAM)}", ".I command", "[options]"],
        _description(every.paragraphs[1:]),
        [".SH COMMANDS"],
        _table((f"{_nameOf(one)}(1)", one.summary) for one in every.commands),
        [".SH OPTIONS"],
        _options(every.options),
        _examples(every),
        [".SH FILES"],
        _table(
            (f"/etc/decnet-syslog/{one.service}.toml", f"See {_FILE}(5)")
            for one in every.commands
            if one.service is not None
        ),
        _statuses(),
    )


def _page(one: Command, every: Command, date: str) -> str:
    return _joined(
        _head(_nameOf(one), 1, date, one.summary),
        _synopsis(one),
        _description(one.paragraphs),
        _subcommands(one, every),
        [".SH OPTIONS"],
        *_grouped(one),
        _environment(one),
        _examples(one),
        _statuses(),
        _seeAlso(one, every),
    )


def _filePage(every: Command, date: str) -> str:
    services = [one for one in every.commands if one.service is not None]
    names = [f"/etc/decnet-syslog/{one.service}.toml" for one in services]
    parts: list[Iterable[str]] = [
        _head(_FILE, 5, date, "configuration files of the services of decnet-syslog"),
        [".SH SYNOPSIS", "\n.br\n".join(f".I {_argument(name)}" for name in names)],
        _description(_CONFIGURATION),
    ]
    for one in services:
        parts.append([f".SH OPTIONS OF THE {str(one.service).upper()}"])
        section = None
        for option in one.options:
            if option.section is not None:
                if option.section != section:
                    section = option.section
                    parts.append([f".SS [{_text(section)}]"])
                value = f"{option.text}. The value is {option.kind}"
                parts.append(_table([(option.name, value)]))
    pages = [f"{_PROGRAM}-config", *(_nameOf(one) for one in services)]
    return _joined(*parts, [".SH SEE ALSO", _references([(p, 1) for p in pages])])


def _head(name: str, section: int, date: str, summary: str) -> list[str]:
    said = summary.rstrip(".")
    manual = {1: "User Commands", 5: "File Formats"}[section]
    return [
        '.\\" Made by "decnet-syslog manual" from the texts of --help.',
        f'.TH {_argument(name.upper())} {section} "{date}" decnet_syslog "{manual}"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(said[0].lower() + said[1:])}",
    ]


def _synopsis(one: Command) -> list[str]:
    words = " ".join((_PROGRAM, *one.path))
    # Each way to call the command has a line of its own.
    ways = re.split(r" \| (?=--|[A-Z]+ )", one.synopsis.removeprefix(words).strip())
    lines = [f".B {_argument(words)}\n{_text(way)}" for way in ways]
    return [".SH SYNOPSIS", "\n.br\n".join(lines)]


def _description(paragraphs: Iterable[str]) -> list[str]:
    return [".SH DESCRIPTION", *_paragraphs(paragraphs)]


def _paragraphs(paragraphs: Iterable[str]) -> list[str]:
    return ["\n.PP\n".join("\n".join(_filled(text)) for text in paragraphs)]


def _grouped(one: Command) -> Iterator[Iterable[str]]:
    for title, options in one.groups:
        if len(one.groups) > 1:
            yield [f".SS {_text(title)}"]
        yield _options(options)


def _options(options: Iterable[Option]) -> Iterator[str]:
    for one in options:
        letter = f"\\fB\\-{one.short}\\fP, " if one.short else ""
        value = "=\\fIVALUE\\fP" if one.takesValue else ""
        yield f".TP\n{letter}\\fB\\-\\-{_text(one.name)}\\fP{value}"
        yield from _filled(f"{one.text}.")


def _subcommands(one: Command, every: Command) -> Iterator[str]:
    """Below a command: each with its description, and the options that are its own."""
    if one.commands:
        yield ".SH COMMANDS"
    for below in one.commands:
        for sub in below.walk():
            words = " ".join((_PROGRAM, *sub.path))
            after = sub.synopsis.removeprefix(words).strip()
            yield f".SS {_text(' '.join(sub.path))} {_text(after)}"
            yield from _paragraphs(sub.paragraphs)
            known = {"help", "version"}
            if sub.service is not None:
                # A page of its own has these.
                service = next(c for c in every.commands if c.service == sub.service)
                known |= {option.name for option in service.options}
                yield f".PP\nIts options are those of\n.BR {_argument(_nameOf(service))} (1)."
            yield from _options(o for o in sub.options if o.name not in known)
            if sub.examples:
                yield from [".PP", *_literal(sub.examples)]


def _environment(one: Command) -> Iterator[str]:
    if one.service is not None and one.environment:
        yield ".SH ENVIRONMENT"
        yield from _table(
            (variable, f"The value of --{name}, if the command line does not give it")
            for name, variable in sorted(one.environment.items())
        )


def _examples(one: Command) -> list[str]:
    return [".SH EXAMPLES", *_literal(one.examples)] if one.examples else []


def _statuses() -> list[str]:
    rows = (
        ("0", "The command succeeded"),
        ("1", "It did not, or has found a problem; the message says which"),
        ("2", "The command line or a configuration file is wrong"),
    )
    return [".SH EXIT STATUS", *_table(rows)]


def _seeAlso(one: Command, every: Command) -> list[str]:
    said = " ".join((*one.paragraphs, one.examples))
    named = set(re.findall(r"decnet-syslog ([a-z]+)", said)) - {one.path[0]}
    others = [_nameOf(c) for c in every.commands if c.path[0] in named]
    pages = [(_PROGRAM, 1), *((name, 1) for name in sorted(others))]
    if one.service is not None:
        pages.append((_FILE, 5))
    return [".SH SEE ALSO", _references(pages)]


def _references(pages: Iterable[tuple[str, int]]) -> str:
    return " ,\n".join(
        f".BR {_argument(name)} ({section})" for name, section in pages
    ).replace(") ,", "),")


def _literal(text: str) -> list[str]:
    return [".nf", *(_text(line) for line in text.splitlines()), ".fi"]


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield f".TP\n.B {_argument(name)}"
        yield from _filled(f"{text.rstrip('.')}.")


def _filled(text: str) -> list[str]:
    """Short lines of source; the formatter fills them anew."""
    found = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return [_text(line) for line in found]


def _text(text: str) -> str:
    """A text without anything that a formatter would interpret."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    # At the beginning of a line, these begin a request.
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _argument(text: str) -> str:
    """The same for an argument of a request."""
    text = _text(text)
    return f'"{text}"' if " " in text else text


def _nameOf(one: Command) -> str:
    return "-".join((_PROGRAM, *one.path))


def _joined(*parts: Iterable[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"

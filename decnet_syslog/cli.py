"""decnet-syslog: the table of its commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.python import usage

from .errors import UserError
from .options import Described

__all__ = ["main"]

COMMANDS = (
    (
        "demo",
        "The whole pipeline on this machine: a CA, a master, two workers, a count.",
    ),
    ("ca", "Make a certificate authority and the master's identity, or show them."),
    ("enroll", "Make a worker's bundle of certificates."),
    ("revoke", "Refuse a worker's certificate from now on, and close its connections."),
    ("doctor", "What keeps a forwarder or a listener from working, and what to do."),
    ("status", "Show how a listener or a forwarder is that is running."),
    ("tail", "Show a worker's lines as they come to the master."),
    ("verify", "Compare workers' files with the master's outputs, octet for octet."),
    ("prove", "Kill, cut and rotate a throwaway pair, and count what was lost."),
    ("completion", "Print what bash needs to complete these commands."),
)


def _options(name: str) -> Any:
    """The options of a command, imported when it is asked for."""

    def make() -> usage.Options:
        options: usage.Options = importlib.import_module(
            f"decnet_syslog.commands.{name}"
        ).Options()
        return options

    return make


class Options(Described):
    """Options of decnet-syslog itself."""

    synopsis = "Usage: decnet-syslog COMMAND [options]"
    longdesc = """\
Log lines from machines under attack to a master, once, over RFC 5425.

The services are "twistd decnet-forwarder" and "twistd decnet-listener".

Examples:
    decnet-syslog demo
    decnet-syslog ca init --san master.example.org
    decnet-syslog enroll decky-01 --out ./decky-01
    decnet-syslog doctor forwarder --master-host master.example.org --log-file app.log
    decnet-syslog tail decky-01
    decnet-syslog enroll --help"""

    # subCommands are read as an attribute; twistd does the same.
    subCommands = [[name, None, _options(name), help_] for name, help_ in COMMANDS]


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run a command and exit: 0 if it did what was asked, 1 if not, 2 if it was not understood.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = Options()  # type: ignore[no-untyped-call]
    try:
        status = _run(options, arguments)
        sys.stdout.flush()
    except usage.UsageError as error:
        print(
            f'decnet-syslog: {error}; see "{_called(options)} --help"', file=sys.stderr
        )
        status = 2
    except UserError as error:
        print(f"decnet-syslog: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # Whoever read us has had enough; say nothing at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 0
    raise SystemExit(status)


def _called(options: Any) -> str:
    """The command that was understood, as far as it was."""
    words = ["decnet-syslog"]
    while getattr(options, "subCommand", None):
        words.append(str(options.subCommand))
        options = getattr(options, "subOptions", None)
    return " ".join(words)


def _run(options: Any, arguments: list[str]) -> int:
    try:
        options.parseOptions(arguments)
    except SystemExit as over:
        # --help or --version, printed; not yet read.
        return int(over.code or 0)
    command = options.subCommand
    if command is None:
        print(str(options))
        return 2 if arguments else 0
    module = importlib.import_module(f"decnet_syslog.commands.{command}")
    status: int = module.run(options.subOptions)
    return status

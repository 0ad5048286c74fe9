"""decnet-syslog: the table of its commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from twisted.python import usage

from .errors import UserError, withRemedy
from .options import Described
from .signals import holdSignals, importing

__all__ = ["main"]

COMMANDS = (
    (
        "demo",
        "Run the whole pipeline on this machine: a CA, a master, two workers, a count.",
    ),
    (
        "ca",
        "Make, show or replace the certificate authority and the master's certificate.",
    ),
    ("forwarder", "Run a worker's service: ship log files to the master."),
    ("listener", "Run the master's service: collect the workers' lines."),
    ("outputs", "Write the ingest files of a journal that several listeners share."),
    ("config", "Check a configuration file, or show what a service would use."),
    ("enroll", "Make the certificates of a worker or an operator."),
    ("request", "Make a key on a worker, and a request for its certificate."),
    ("install", "Put certificates in their place on a worker."),
    (
        "offset",
        "Hand over how far a log is shipped, to DECNET's own forwarder or from it.",
    ),
    (
        "revoke",
        "Make masters refuse a worker's certificate, and close its connections.",
    ),
    ("doctor", "Find what would keep a forwarder or a listener from working."),
    ("status", "Show the state of a running listener or forwarder."),
    ("tail", "Show the lines of workers as they arrive at the master."),
    ("verify", "Compare a worker's files with the master's outputs, octet for octet."),
    (
        "prove",
        "Kill, cut and rotate a temporary pair, and count lost and repeated lines.",
    ),
    ("completion", "Print a script that lets a shell complete these commands."),
    ("manual", "Write the manual pages of these commands."),
)


# Commands that run until they are stopped.
SERVICES = frozenset({"forwarder", "listener", "outputs"})


def _options(name: str) -> Callable[[], usage.Options]:
    """A function that imports a command's module and makes its options."""

    def make() -> usage.Options:
        with importing():
            module = importlib.import_module(f"decnet_syslog.commands.{name}")
        options: usage.Options = module.Options()
        return options

    return make


class Options(Described):
    """Options of decnet-syslog itself."""

    synopsis = "Usage: decnet-syslog COMMAND [options]"
    longdesc = """\
Deliver log lines from machines under attack to a master exactly once, over RFC 5425.

The services are the commands forwarder, listener and outputs; twistd has them, too, as
decnet-forwarder, decnet-listener and decnet-outputs.

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
    Run a command and exit: 0 if it succeeded, 1 if not, 2 for a usage error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and arguments[:1] and arguments[0] in SERVICES:
        # Before the modules of the service are imported.
        holdSignals()
    options = Options()
    try:
        status = _run(options, arguments)
        sys.stdout.flush()
    except usage.UsageError as error:
        # Twisted ends some of its reasons with a full stop.
        said = withRemedy(str(error), f'see "{_called(options)} --help"')
        print(f"decnet-syslog: {said}", file=sys.stderr)
        status = 2
    except UserError as error:
        print(f"decnet-syslog: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader of our output has exited. Print nothing at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 0
    except OSError as error:
        if error.filename is None:
            raise
        # A file that may not be read, or a full disk: not a fault of the program.
        print(
            f"decnet-syslog: {error.filename}: {error.strerror}; correct that and run the"
            " same command again",
            file=sys.stderr,
        )
        status = 1
    raise SystemExit(status)


def _called(options: usage.Options | None) -> str:
    """The part of the command line that was understood as commands."""
    words = ["decnet-syslog"]
    while options is not None and options.subCommand:
        words.append(str(options.subCommand))
        options = getattr(options, "subOptions", None)
    return " ".join(words)


def _run(options: Options, arguments: list[str]) -> int:
    try:
        options.parseOptions(arguments)
    except SystemExit as over:
        # --help or --version was printed, but standard output is not flushed yet.
        return int(over.code or 0)
    command = options.subCommand
    if command is None:
        print(str(options))
        return 2 if arguments else 0
    module = importlib.import_module(f"decnet_syslog.commands.{command}")
    status: int = module.run(options.subOptions)
    return status

"""decnet-syslog config: check a configuration file, or show what a service would use."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from twisted.python import usage

from ..configuration import Configured, showConfiguration
from ..errors import UserError
from ..master.tap import Options as ListenerOptions
from ..nats.tap import Options as OutputsOptions
from ..options import Described, MachineError, MissingOption, nearest
from ..worker.tap import Options as ForwarderOptions

__all__ = ["Options", "run"]

SERVICES: dict[str, type[Configured]] = {
    one.service: one for one in (ForwarderOptions, ListenerOptions, OutputsOptions)
}


def _show(text: str) -> None:
    """Print. The terminal's encoding may lack characters of a path."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


class _CheckOptions(Described):
    """Options of config check."""

    synopsis = "FILE ... [options]"
    longdesc = """\
Check configuration files: names, types, values, and combinations of options. The exit status is 0
if a service would accept each of them, and 2 if not. Whatever is wrong only with this machine
(a missing directory or certificate), and options that are still to come from the command line, are
notes.

Examples:
    decnet-syslog config check /etc/decnet-syslog/forwarder.toml
    decnet-syslog config check ./tokyo.toml --service forwarder"""

    optParameters = [
        [
            "service",
            None,
            None,
            "The file's service: forwarder, listener or outputs [the one in the file's name]",
        ],
    ]

    def parseArgs(self, *files: str) -> None:
        """The files."""
        self.files = files

    def postOptions(self) -> None:
        """
        Check that there are files, and that their services are known.

        @raise usage.UsageError: that is not so.
        """
        if not all(self.files) or not self.files:
            raise usage.UsageError("file missing: config check FILE")
        given = self["service"]
        if given is not None and given not in SERVICES:
            raise usage.UsageError(
                f"--service: {given!r} is not {', '.join(SERVICES)}{nearest(given, SERVICES)}"
            )
        self.services = [given or self._serviceOf(path) for path in self.files]

    def _serviceOf(self, path: str) -> str:
        found = [name for name in SERVICES if name in os.path.basename(path)]
        if len(found) != 1:
            raise usage.UsageError(
                f"{path}: the file name does not show which service it is for:"
                " add --service forwarder, listener or outputs"
            )
        return found[0]

    def run(self) -> int:
        """Check each file."""
        status = 0
        for path, service in zip(self.files, self.services, strict=True):
            options = SERVICES[service]()
            # Its errors are ours to report.
            options.parent = self
            try:
                options.parseOptions(["--config", path])
            except (MissingOption, MachineError) as error:
                said = str(error).removeprefix(f"{path}:")
                _show(f"{path}: ok for the {service}; note: {said.strip()}")
            except usage.UsageError as error:
                said = str(error)
                _show(said if said.startswith(path) else f"{path}: {said}")
                status = 2
            else:
                lacking = options.lacking()
                note = f"; note: {lacking}" if lacking else ""
                _show(f"{path}: ok for the {service}{note}")
        return status


# Only mypy sees the base: it is the one of the service's options.
if TYPE_CHECKING:
    _Base = Configured
else:
    _Base = object


class _Shown(_Base):
    """
    The options of a service, to be shown even if it would not start with them.

    @ivar trouble: the reason why it would not start.
    """

    trouble: str | None = None

    def postOptions(self) -> None:
        """Keep an error for the end."""
        try:
            super().postOptions()  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            self.trouble = self.located(str(error))

    def run(self) -> int:
        """Show the options."""
        _show(showConfiguration(self))
        if self.trouble is not None:
            raise UserError(f"the {self.service} would not start: {self.trouble}")
        return 0


def _shown(service: type[Configured]) -> type[Configured]:
    name = service.service
    long = f"""\
Show every option of the {name} with its value and where that comes from: the command line, the
environment, a line of the configuration file, or the default. The output is a configuration file.

Example:
    decnet-syslog config show {name} --config ./{name}.toml"""
    synopsis = f"[options of the {name}]"
    return type("_Show", (_Shown, service), {"longdesc": long, "synopsis": synopsis})


class _ShowOptions(Described):
    """Options of config show."""

    kindOfCommand = "service"
    synopsis = "forwarder|listener|outputs [options]"
    longdesc = """\
Show what a service would use: every option, its value, and where it comes from. Give the options
with which the service is started, if any.

Examples:
    decnet-syslog config show forwarder
    decnet-syslog config show listener --max-rate 2m"""

    subCommands = [
        [name, None, _shown(one), f"The options of the {name}"]
        for name, one in SERVICES.items()
    ]

    def run(self) -> int:
        """Show the service's options."""
        shown = self.subOptions
        assert isinstance(shown, _Shown)
        return shown.run()


class Options(Described):
    """Options of config."""

    synopsis = "check|show [options]"
    longdesc = """\
Check a configuration file before a service reads it, or show what a service would use.

Examples:
    decnet-syslog config check /etc/decnet-syslog/forwarder.toml
    decnet-syslog config show forwarder"""

    subCommands = [
        [
            "check",
            None,
            _CheckOptions,
            "Check files, and name the line of each mistake.",
        ],
        ["show", None, _ShowOptions, "Show each value and where it comes from."],
    ]


def run(options: Options) -> int:
    """Run the command. The exit status."""
    chosen = options.subOptions
    assert isinstance(chosen, (_CheckOptions, _ShowOptions))
    return chosen.run()

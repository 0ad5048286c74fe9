"""decnet-syslog doctor: what keeps an end from working, and what to do about it."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.python import usage

from ..doctor.ends import examineForwarder, examineListener
from ..doctor.report import Report
from ..master.tap import Options as ListenerOptions
from ..options import Described
from ..worker.tap import Options as ForwarderOptions

__all__ = ["Options", "run"]

ROTATIONS = "/etc/logrotate.d"


class _Examined:
    """
    The options of a service, and what a doctor adds to them.

    @ivar trouble: what the service would say instead of starting.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rotations: list[str] = []
        self.trouble: str | None = None

    def opt_logrotate(self, path: str) -> None:
        """A configuration of logrotate, or a directory of them; repeatable [/etc/logrotate.d]"""
        self.rotations.append(path)

    def postOptions(self) -> None:
        """What the service would refuse is a finding here."""
        try:
            super().postOptions()  # type: ignore[misc]
        except usage.UsageError as error:
            self.trouble = str(error)


class _Forwarder(_Examined, ForwarderOptions):
    """A worker, with the options of twistd decnet-forwarder."""

    synopsis = "[options of twistd decnet-forwarder]"
    longdesc = """\
Look at everything between a log file and the master's journal: the bundle, the log files
and what logrotate will do to them, the state, name, TCP, TLS in both directions, ALPN, and
a round trip to the master's journal. Nothing is written, on neither side.

Example:
    sudo -u decnet decnet-syslog doctor forwarder --master-host master.example.org \\
        --agent-dir /etc/decnet/agent --state-db /var/lib/decnet/forwarder.db \\
        --log-file /var/log/decnet/decnet.log"""

    optFlags = [["json", None, "Print JSON"]]


class _Listener(_Examined, ListenerOptions):
    """A master, with the options of twistd decnet-listener."""

    synopsis = "[options of twistd decnet-listener]"
    longdesc = """\
Look at everything that a listener needs: its identity, journal, outputs and what logrotate
will do to them, space, limits, the port; with --as-worker also at a worker's way to it.

Example:
    sudo -u decnet decnet-syslog doctor listener --ca-dir /etc/decnet/ca \\
        --journal /var/lib/decnet/listener.db --log-path /var/log/decnet/master.log \\
        --json-path /var/log/decnet/master.json --as-worker ./decky-01"""

    optFlags = [["json", None, "Print JSON"]]
    optParameters = [
        ["as-worker", None, None, "A worker's bundle, to go to the listener and back"],
    ]


class Options(Described):
    """Options of doctor."""

    synopsis = "forwarder|listener [options]"
    longdesc = """\
Look at an end with the options that its service has. Each line is ok, note or FAIL; below
it what to do. The exit status is 1 if something has failed.

Examples:
    decnet-syslog doctor forwarder --master-host master --log-file /var/log/decnet/decnet.log
    decnet-syslog doctor listener --ca-dir /etc/decnet/ca --json"""

    subCommands = [
        ["forwarder", None, _Forwarder, "A worker"],
        ["listener", None, _Listener, "A master"],
    ]

    def postOptions(self) -> None:
        """Check that an end is named."""
        if self.subCommand is None:
            raise usage.UsageError(
                "say which end: doctor forwarder, or doctor listener"
            )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    report = Report()
    end: Any = options.subOptions
    if end.trouble is not None:
        report.fail(
            "options", end.trouble, "the service would not start: mend this first"
        )
    else:
        rotations = end.rotations or [ROTATIONS]
        if isinstance(end, _Forwarder):
            examineForwarder(report, end, rotations)
        else:
            examineListener(report, end, rotations, end["as-worker"])
    if end["json"]:
        print(json.dumps(report.asJSON(), indent=2))
    else:
        # A terminal may not know every letter of a path.
        encoding = sys.stdout.encoding or "ascii"
        text = report.asText().encode(encoding, "backslashreplace")
        print(text.decode(encoding))
    return 0 if report.well else 1

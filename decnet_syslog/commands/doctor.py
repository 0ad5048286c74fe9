"""decnet-syslog doctor: find what would keep a service from working, with the remedy."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from twisted.python import usage

from ..configuration import Configured
from ..doctor import DoctorReport, examineForwarder, examineListener
from ..master.tap import Options as ListenerOptions
from ..options import Described
from ..worker.tap import Options as ForwarderOptions

__all__ = ["Options", "run"]

ROTATIONS = "/etc/logrotate.d"


# Only mypy sees the base: it is the one of the service's options.
if TYPE_CHECKING:
    _Base = Configured
else:
    _Base = object


class _Examined(_Base):
    """
    The options of a service, and those of the doctor.

    @ivar trouble: the usage error with which the service would refuse to start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rotations: list[str] = []
        self.trouble: str | None = None

    def opt_logrotate(self, path: str) -> None:
        """Configuration of logrotate, or a directory of them; repeatable [/etc/logrotate.d]"""
        self.rotations.append(path)

    def postOptions(self) -> None:
        """Turn a usage error of the service into a finding."""
        try:
            super().postOptions()  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            self.trouble = self.located(str(error))


class _Forwarder(_Examined, ForwarderOptions):
    """A worker, with the options of twistd decnet-forwarder."""

    synopsis = "[options of twistd decnet-forwarder]"
    longdesc = """\
Check everything between a log file and the master's journal: the certificates, the log files
and what logrotate will do to them, the state, name, TCP, TLS in both directions, ALPN, and a
round trip to the master's journal. Nothing is written, on either side.

Example:
    sudo -u decnet-syslog decnet-syslog doctor forwarder --master-host master.example.org \\
        --agent-dir /etc/decnet-syslog/agent --state-db /var/lib/decnet-syslog/forwarder.db \\
        --log-file /var/log/decnet/decnet.log"""

    optFlags = [["json", None, "Print JSON"]]


class _Listener(_Examined, ListenerOptions):
    """A master, with the options of twistd decnet-listener."""

    synopsis = "[options of twistd decnet-listener]"
    longdesc = """\
Check everything that a listener needs: its certificates, journal, outputs and what logrotate
will do to them, space, limits, the port; with --as-worker also a worker's connection to it.

Example:
    sudo -u decnet-syslog decnet-syslog doctor listener --ca-dir /etc/decnet-syslog/ca \\
        --journal /var/lib/decnet-syslog/listener.db --log-path /var/log/decnet-syslog/master.log \\
        --json-path /var/log/decnet-syslog/master.json --as-worker ./decky-01"""

    optFlags = [["json", None, "Print JSON"]]
    optParameters = [
        [
            "as-worker",
            None,
            None,
            "Directory of a worker's certificates, to test the connection with",
        ],
    ]


class Options(Described):
    """Options of doctor."""

    synopsis = "forwarder|listener [options]"
    longdesc = """\
Check a service with its own options. Each line is ok, note or FAIL, with the remedy below it.
The exit status is 1 if a check failed.

Examples:
    decnet-syslog doctor forwarder --master-host master --log-file /var/log/decnet/decnet.log
    decnet-syslog doctor listener --ca-dir /etc/decnet-syslog/ca --json"""

    subCommands = [
        ["forwarder", None, _Forwarder, "A worker"],
        ["listener", None, _Listener, "A master"],
    ]


def run(options: Options) -> int:
    """Run the command. The exit status."""
    report = DoctorReport()
    end = options.subOptions
    assert isinstance(end, (_Forwarder, _Listener))
    if end.trouble is not None:
        report.fail(
            "options", end.trouble, "the service would not start: correct this first"
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
        # The terminal's encoding may lack characters of a path.
        encoding = sys.stdout.encoding or "ascii"
        text = report.asText().encode(encoding, "backslashreplace")
        print(text.decode(encoding))
    return 0 if report.well else 1

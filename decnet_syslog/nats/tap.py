"""twistd decnet-outputs: options, and a service made of them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.application.service import IService, MultiService
from twisted.python import usage

from ..clock import useMonotonicClock
from ..master.limits import Limits
from ..master.outputoptions import OUTPUT_FLAGS, OutputOptions, makeOutputs
from ..master.outputprocess import ListenerLock
from ..notify import managed
from ..options import octets
from ..watch.service import STATUS_PARAMETERS, statusOptions
from .options import NATS_FLAGS, NATS_PARAMETERS, isNats, natsOutbox
from .service import OutputsService
from .status import watchOutputs

__all__ = ["Options", "makeService"]


class Options(OutputOptions):
    """Command-line options of the outputs."""

    synopsis = "[options]"
    longdesc = """\
Append what listeners have put into a journal in NATS JetStream to the ingest files, each
line once. Start it on one host, or on more: one writes, the others wait to take over.

Example:
    twistd -n decnet-outputs --journal nats://127.0.0.1:4222 \\
        --log-path /var/log/decnet/master.log --json-path /var/log/decnet/master.json

Rename the output files and send SIGHUP, or let logrotate do it, at any time."""

    optParameters = [
        ["journal", None, None, "Where the journal is: nats://host:port,..."],
        [
            "journal-max",
            None,
            Limits.journal,
            "What the journal's stream may hold, if we are the first to make it",
            octets,
        ],
        [
            "state",
            None,
            None,
            "How far the outputs are [outputs.db beside --log-path]",
        ],
        *NATS_PARAMETERS,
        *STATUS_PARAMETERS,
    ]

    optFlags = [*OUTPUT_FLAGS, *NATS_FLAGS]

    compData = usage.Completions()

    def postOptions(self) -> None:
        """Fill in the defaults, and check."""
        if self["journal"] is None or not isNats(self["journal"]):
            raise usage.UsageError(
                "--journal nats://host:port,...: a journal in a file has its outputs in"
                " twistd decnet-listener"
            )
        self.checkPaths()
        if not self.paths["log"] + self.paths["json"]:
            raise usage.UsageError("no output: give --log-path or --json-path")
        self.status = statusOptions(self, operators=False)
        if self["state"] is None:
            self["state"] = self.beside("outputs.db")
        self["state"] = os.path.abspath(os.path.expanduser(self["state"]))
        if not os.path.isdir(os.path.dirname(self["state"])):
            raise usage.UsageError(f"no directory for the state {self['state']}")


def makeService(options: Options) -> IService:
    """Make the service that writes the outputs."""
    from twisted.internet import reactor

    useMonotonicClock(reactor)
    state = Path(options["state"])
    lock = ListenerLock(state.with_name(state.name + ".lock"))
    ours = [f"{state}{end}" for end in ("", "-wal", "-shm", "-journal", ".lock")]
    service = OutputsService(
        reactor,
        natsOutbox(options, state, socket.gethostname(), reactor.seconds),
        options["journal"],
        makeOutputs(options, lock, ours),
        lock,
    )
    whole = MultiService()
    service.setServiceParent(whole)  # type: ignore[no-untyped-call]
    watch = watchOutputs(reactor, service, options.status)
    watch.setServiceParent(whole)  # type: ignore[no-untyped-call]
    return managed(service, whole, reactor)

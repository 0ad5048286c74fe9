"""twistd decnet-outputs: its options, and the service that they make."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import cast

from twisted.application.service import IService, MultiService
from twisted.python import usage

from ..clock import useMonotonicClock
from ..errors import UserError
from ..limits import Limits
from ..monitoring import STATUS_PARAMETERS, statusOptions
from ..notify import managed
from ..options import MissingOption, checkDatabase, octets
from ..outputs import OUTPUT_FLAGS, ListenerLock, OutputOptions, makeOutputs
from ..reactors import IReactor
from ._options import (
    NATS_FLAGS,
    NATS_PARAMETERS,
    checkNats,
    isNats,
    natsAccess,
    natsOutbox,
)
from ._service import OutputsService
from ._status import watchOutputs

__all__ = ["Options", "makeService"]


class Options(OutputOptions):
    """Command-line options of the outputs."""

    service = "outputs"
    common = (
        "journal",
        "journal-credentials",
        "log-path",
        "json-path",
        "state",
        "status-port",
    )

    synopsis = "[options]"
    longdesc = """\
Append the lines in a journal in NATS JetStream to the ingest files, each line once. Start it
on one host or on several: one process writes, the others wait to take over.

Example:
    twistd -n decnet-outputs --journal nats://127.0.0.1:4222 \\
        --log-path /var/log/decnet-syslog/master.log --json-path /var/log/decnet-syslog/master.json

To rotate the output files, rename them and send SIGHUP at any time, or use logrotate."""

    optParameters = [
        ["journal", None, None, "Address of the journal: nats://host:port,..."],
        [
            "journal-max",
            None,
            Limits.journal,
            "Maximum size of the journal's stream, if this process creates it",
            octets,
        ],
        [
            "state",
            None,
            None,
            "Database of the outputs' positions [outputs.db in the directory of --log-path]",
        ],
        *NATS_PARAMETERS,
        *STATUS_PARAMETERS,
    ]

    optFlags = [*OUTPUT_FLAGS, *NATS_FLAGS]

    compData = usage.Completions()

    def postOptions(self) -> None:
        """Fill in defaults, and check the options."""
        if self["journal"] is not None and not isNats(self["journal"]):
            raise usage.UsageError(
                "--journal must be nats://host:port,...; twistd decnet-listener writes the outputs"
                " of a journal in a file"
            )
        self.checkPaths()
        if self["journal"] is not None:
            try:
                checkNats(self)
            except UserError as error:
                raise usage.UsageError(str(error)) from None
        if not self.allPaths:
            raise usage.UsageError(f"no output: give {self.pathOptions('or')}")
        self.status = statusOptions(self, operators=False)
        if self["journal"] is None:
            raise MissingOption("no journal given: add --journal nats://host:port,...")
        if self["state"] is None:
            self["state"] = self.beside("outputs.db")
        self["state"] = os.path.abspath(os.path.expanduser(self["state"]))
        checkDatabase("state", self["state"])

    def lacking(self) -> str:
        """What the service needs and this machine does not have."""
        try:
            natsAccess(self)
        except UserError as error:
            return str(error)
        return ""


def makeService(options: Options) -> IService:
    """Make the service that writes the outputs."""
    from twisted.internet import reactor as reactorModule

    reactor = cast(IReactor, reactorModule)
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

"""twistd decnet-forwarder: options, and a service made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import IService
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python import usage

from ..clock import useMonotonicClock
from ..errors import UserError
from ..files import FILES_MAX
from ..notify import managed
from ..options import (
    Described,
    count,
    directory,
    fromEnvironment,
    octets,
    portNumber,
    seconds,
)
from ..trust.bundles import Bundle
from ..trust.contexts import forwarderContext
from ..trust.names import NameRefused, peerName
from ..trust.refusals import remedyFor
from ..trust.renewal import Renewal
from ..trust.watching import together
from ..watch.service import STATUS_PARAMETERS, statusOptions
from ..wire.framing import MESSAGE_OCTETS_MAX
from .masters import Address, Masters
from .service import ForwarderService
from .srv import Directory
from .status import watchForwarder
from .window import CHUNK_OCTETS

__all__ = ["Options", "makeService"]

# DECNET's own default. A worker that is behind by more has lost its master for hours.
LAG_OCTETS_MAX = 128 * 1024 * 1024

ENVIRONMENT = {
    "master-port": "DECNET_SWARM_SYSLOG_PORT",
    "agent-dir": "DECNET_AGENT_DIR",
}


class Options(Described):
    """Command-line options of the forwarder."""

    synopsis = "[options]"
    longdesc = """\
Ship the complete lines of local log files to the master over mutual TLS (RFC 5425). To a
decnet-listener every line arrives once, whatever dies; to any other receiver as well as
the protocol allows. Get the bundle of certificates with "decnet-syslog enroll".

Example:
    twistd -n decnet-forwarder --master-host master.example.org \\
        --log-file /var/log/decnet/decnet.log"""

    optParameters = [
        [
            "master-port",
            None,
            None,
            "The port of masters given without one [DECNET_SWARM_SYSLOG_PORT, 6514]",
            portNumber,
        ],
        [
            "master-domain",
            None,
            None,
            "Ask the DNS for the masters: _syslog-tls._tcp of this domain",
        ],
        [
            "master-name",
            None,
            "decnet-master",
            "The name that the master's certificate must have",
        ],
        [
            "agent-dir",
            None,
            None,
            "Directory of ca.crt, worker.crt, worker.key [DECNET_AGENT_DIR, ~/.decnet/agent]",
        ],
        ["state-db", None, None, "The offsets [forwarder.db in --agent-dir]"],
        [
            "poll-interval",
            None,
            0.5,
            "Look at the files at least so often, in seconds",
            seconds,
        ],
        [
            "delivery",
            None,
            "auto",
            "acked: only to a master that acknowledges; plain: RFC 5425 and no more; auto: the"
            " best that the master speaks",
        ],
        [
            "on-new-master",
            None,
            "resend",
            "A master with another journal gets again what is on disk (resend), or only what"
            " was never acknowledged (resume)",
        ],
        [
            "max-message",
            None,
            MESSAGE_OCTETS_MAX,
            "The longest line shipped, in octets",
            octets,
        ],
        [
            "max-lag-bytes",
            None,
            LAG_OCTETS_MAX,
            "Skip the oldest lines of a file that is behind by more octets; 0: never",
            octets,
        ],
        [
            "max-files",
            None,
            FILES_MAX,
            "Maximum number of files to follow; extra files are reported and ignored",
            count,
        ],
        [
            "batch-bytes",
            None,
            CHUNK_OCTETS,
            "Octets read and sent at a time",
            octets,
        ],
        *STATUS_PARAMETERS,
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.logFiles: list[str] = []
        self.rotated: list[str] = []
        self.hosts: list[str] = []
        self.masters: list[Address] = []

    def opt_master_host(self, host: str) -> None:
        """A master: host or host:port; repeatable, the best first [DECNET_SWARM_MASTER_HOST]"""
        self.hosts.append(host)

    def opt_log_file(self, path: str) -> None:
        """The log to ship, or a pattern of them; repeatable [DECNET_INGEST_LOG_FILE]"""
        self.logFiles.append(path)

    def opt_rotated(self, pattern: str) -> None:
        """Where rotated files are, or a pattern of their names, if they are not beside the log
        or are named otherwise; relative to the log's directory; repeatable"""
        self.rotated.append(os.path.expanduser(pattern))

    def postOptions(self) -> None:
        """Fill in the environment and the defaults, and check."""
        fromEnvironment(self, "master-port", ENVIRONMENT, portNumber, 6514)
        fromEnvironment(self, "agent-dir", ENVIRONMENT, str, "~/.decnet/agent")
        if not self.logFiles:
            self.logFiles = [
                p for p in (os.environ.get("DECNET_INGEST_LOG_FILE"),) if p
            ]
        self.logFiles = [
            os.path.abspath(os.path.expanduser(path)) for path in self.logFiles
        ]
        self._findMasters()
        if not self.logFiles:
            raise usage.UsageError("say what to ship: --log-file PATH")
        if self["delivery"] not in ("auto", "acked", "plain"):
            raise usage.UsageError("--delivery is auto, acked or plain")
        if self["on-new-master"] not in ("resend", "resume"):
            raise usage.UsageError("--on-new-master is resend or resume")
        if self["max-message"] < 2048:
            raise usage.UsageError(
                "--max-message: RFC 5425 asks for at least 2048 octets"
            )
        if not 1024 <= self["batch-bytes"] <= 16 * 1024 * 1024:
            raise usage.UsageError("--batch-bytes is from 1k to 16m")
        if 0 < self["max-lag-bytes"] < self["max-message"]:
            raise usage.UsageError("--max-lag-bytes must not be below --max-message")
        self.status = statusOptions(self, operators=False)
        if self["state-db"] is None:
            # If there is no such directory, there is no bundle: that will be said.
            self["state-db"] = directory(self["agent-dir"]) / "forwarder.db"
        elif not os.path.isdir(os.path.dirname(os.path.abspath(self["state-db"]))):
            state = os.path.dirname(os.path.abspath(self["state-db"]))
            raise usage.UsageError(f"no directory {state} for --state-db: make it")

    def _findMasters(self) -> None:
        if not self.hosts:
            listed = os.environ.get("DECNET_SWARM_MASTER_HOST", "").split(",")
            self.hosts = [host for host in map(str.strip, listed) if host]
        domain = self["master-domain"]
        if domain is not None and self.hosts:
            raise usage.UsageError("--master-host or --master-domain, not both")
        if domain is not None:
            # Where the DNS has no records, RFC 2782 has the domain's own address tried.
            self.hosts = [domain]
        if not self.hosts:
            raise usage.UsageError("say where the master is: --master-host NAME")
        try:
            self.masters = [
                Address.parse(host, self["master-port"]) for host in self.hosts
            ]
        except ValueError as error:
            raise usage.UsageError(f"--master-host: {error}") from None


def _nameOf(bundle: Bundle) -> str:
    """The name that the master knows us by; C{?}: it will refuse this certificate."""
    try:
        return peerName(bundle.certificate)
    except NameRefused:
        return "?"


def makeService(options: Options) -> IService:
    """
    Make the forwarder.

    @raise SystemExit: something is missing; one line says what to do.
    """
    from twisted.internet import reactor as reactorModule

    reactor: Any = reactorModule
    useMonotonicClock(reactor)
    offer = options["delivery"] != "plain"
    try:
        bundle = Bundle.load(directory(options["agent-dir"]))
        if _nameOf(bundle) == "?":
            raise UserError(
                f"the certificate in {options['agent-dir']} has no name that a master accepts"
                " (exactly one CN of letters, digits, dot, hyphen or underscore): enrol this"
                " worker again (decnet-syslog enroll NAME on the master)"
            )
        context = forwarderContext(bundle, options["master-name"], offer)
    except UserError as error:
        raise SystemExit(f"decnet-forwarder: {error}") from None

    def current() -> IOpenSSLClientConnectionCreator:
        return context

    def refusal() -> str | None:
        last = context.lastRefusal
        if last is None:
            return None
        return f"{last}; {remedyFor(last, options['master-name'])}"

    masters = Masters(options.masters, reactor)
    records = None
    if options["master-domain"] is not None:
        # Only who needs it has it in memory.
        from twisted.names.client import Resolver

        resolver = Resolver(resolv="/etc/resolv.conf", reactor=reactor)
        records = Directory(reactor, resolver, options["master-domain"], masters.use)
    forwarder = ForwarderService(
        reactor,
        current,
        refusal,
        masters,
        options.logFiles,
        Path(os.path.abspath(options["state-db"])),
        delivery=options["delivery"],
        pollSeconds=options["poll-interval"],
        messageOctetsMax=options["max-message"],
        lagOctetsMax=options["max-lag-bytes"] or None,
        filesMax=options["max-files"],
        rotated=options.rotated,
        chunkOctets=options["batch-bytes"],
        resendToNewMaster=options["on-new-master"] == "resend",
        directory=records,
        workerName=lambda: _nameOf(renewal.bundle),
    )
    renewal = Renewal(bundle, ExtendedKeyUsageOID.CLIENT_AUTH, context.use)
    service = together(forwarder, renewal.look)
    watch = watchForwarder(reactor, forwarder, options.status, lambda: renewal.bundle)
    watch.setServiceParent(service)  # type: ignore[no-untyped-call]
    return managed(forwarder, service, reactor)

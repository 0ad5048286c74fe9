"""
twistd decnet-forwarder: its options, and the service that they describe.

This module is long because the help of each option is in it, next to the service that uses it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import IService
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python import usage

from ..addresses import portElsewhere
from ..clock import useMonotonicClock
from ..configuration import COMMON_GROUPS, Configured, Reread
from ..errors import UserError
from ..files import FILES_MAX
from ..monitoring import STATUS_PARAMETERS, statusOptions
from ..notify import managed
from ..options import (
    MachineError,
    MissingOption,
    checkDatabase,
    count,
    directory,
    fromEnvironment,
    octets,
    seconds,
)
from ..sending import CHUNK_OCTETS
from ..trust import (
    Bundle,
    NameRefused,
    Renewal,
    forwarderContext,
    peerName,
    remedyFor,
    together,
)
from ..wire import MESSAGE_OCTETS_MAX
from ._masters import Address, MasterSelector
from ._service import ForwarderService
from ._settings import ForwarderSettings
from ._srv import Directory, checkDomain
from ._status import watchForwarder

__all__ = ["Options", "makeService"]

# DECNET's own default. A worker that is further behind has lost its master for hours.
LAG_OCTETS_MAX = 128 * 1024 * 1024

ENVIRONMENT = {
    "master-port": "DECNET_SWARM_SYSLOG_PORT",
    "agent-dir": "DECNET_AGENT_DIR",
    "master-host": "DECNET_SWARM_MASTER_HOST",
    "log-file": "DECNET_INGEST_LOG_FILE",
}


# What DECNET's agent gives its own forwarder.
DECNET = {
    "master-host": ("DECNET_SWARM_MASTER_HOST", "DECNET_MASTER_HOST"),
    "master-port": ("DECNET_SWARM_SYSLOG_PORT",),
    "agent-dir": ("DECNET_AGENT_DIR",),
    "log-file": ("DECNET_AGENT_LOG_FILE", "DECNET_INGEST_LOG_FILE"),
}


class Options(Configured):
    """Command-line options of the forwarder."""

    service = "forwarder"
    groups = {
        "files": ("What to ship", ("log-file", "rotated", "poll-interval")),
        "masters": (
            "Where to",
            (
                "master-host",
                "master-port",
                "master-domain",
                "on-new-master",
                "delivery",
            ),
        ),
        "tls": ("TLS", ("agent-dir", "master-name")),
        **COMMON_GROUPS,
    }
    common = (
        "log-file",
        "master-host",
        "agent-dir",
        "state-db",
        "max-lag-bytes",
        "status-port",
    )
    environment = ENVIRONMENT
    decnet = DECNET
    repeated = {"log-file": "logFiles", "rotated": "rotated", "master-host": "hosts"}
    alternatives = (frozenset({"master-host", "master-domain"}),)

    synopsis = "[options]"
    longdesc = """\
Follow local log files and send every complete line to the master over mutual TLS (RFC 5425).
A decnet-listener gets every line exactly once, whichever side crashes; any other receiver gets
what RFC 5425 allows. Get the certificates with "decnet-syslog enroll" on the master.

Example:
    twistd -n decnet-forwarder --master-host master.example.org \\
        --log-file /var/log/decnet/decnet.log"""

    optParameters = [
        [
            "master-port",
            None,
            None,
            "Port of each master given without one [DECNET_SWARM_SYSLOG_PORT, 6514]",
            portElsewhere,
        ],
        [
            "master-domain",
            None,
            None,
            "Look up the masters in the DNS: _syslog-tls._tcp of this domain",
        ],
        [
            "master-name",
            None,
            "decnet-master",
            "Name that the master's certificate must have",
        ],
        [
            "agent-dir",
            None,
            None,
            "Directory of ca.crt, worker.crt, worker.key [DECNET_AGENT_DIR, ~/.decnet/agent]",
        ],
        ["state-db", None, None, "State database [forwarder.db in --agent-dir]"],
        [
            "poll-interval",
            None,
            0.5,
            "Look at the files at least this often, in seconds",
            seconds,
        ],
        [
            "delivery",
            None,
            "auto",
            "acked: only to a master that acknowledges; plain: RFC 5425 only; auto: the best"
            " that the master supports",
        ],
        [
            "on-new-master",
            None,
            "resend",
            "What a master with another journal gets: everything still on disk (resend), or"
            " only lines that no master has acknowledged (resume)",
        ],
        [
            "max-message",
            None,
            MESSAGE_OCTETS_MAX,
            "Longest line to send, in octets; longer ones become gap records",
            octets,
        ],
        [
            "max-lag-bytes",
            None,
            LAG_OCTETS_MAX,
            "Skip the oldest lines of a file that is further behind, in octets; 0: never",
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
            "Octets read and sent at a time, from 1k to 16m",
            octets,
        ],
        *STATUS_PARAMETERS,
    ]

    def __init__(self) -> None:
        super().__init__()
        self.logFiles: list[str] = []
        self.rotated: list[str] = []
        self.hosts: list[str] = []
        self.masters: list[Address] = []

    def opt_master_host(self, host: str) -> None:
        """Master, as host or host:port; repeatable, best first [DECNET_SWARM_MASTER_HOST]"""
        self.hosts.append(host)

    def opt_log_file(self, path: str) -> None:
        """Log file to follow, or a pattern; repeatable [DECNET_INGEST_LOG_FILE]"""
        self.logFiles.append(path)

    def opt_rotated(self, pattern: str) -> None:
        """Directory or pattern of rotated files elsewhere, relative to the log's; repeatable"""
        self.rotated.append(os.path.expanduser(pattern))

    def postOptions(self) -> None:
        """Fill in the environment and the defaults, then check the values."""
        fromEnvironment(self, "master-port", ENVIRONMENT, portElsewhere, 6514)
        fromEnvironment(self, "agent-dir", ENVIRONMENT, str, "~/.decnet/agent")
        if not self.logFiles:
            self.logFiles = [
                p for p in (os.environ.get("DECNET_INGEST_LOG_FILE"),) if p
            ]
        self.logFiles = [
            os.path.abspath(os.path.expanduser(path)) for path in self.logFiles
        ]
        self._findMasters()
        if self["delivery"] not in ("auto", "acked", "plain"):
            raise usage.UsageError("--delivery must be auto, acked or plain")
        if self["on-new-master"] not in ("resend", "resume"):
            raise usage.UsageError("--on-new-master must be resend or resume")
        if self["max-message"] < 2048:
            raise usage.UsageError(
                "--max-message must be at least 2048 octets (RFC 5425)"
            )
        if not 1024 <= self["batch-bytes"] <= 16 * 1024 * 1024:
            raise usage.UsageError("--batch-bytes must be from 1k to 16m")
        if 0 < self["max-lag-bytes"] < self["max-message"]:
            raise usage.UsageError(
                "--max-lag-bytes must be 0 or at least --max-message"
            )
        self.status = statusOptions(self, operators=False)
        unread = f" ({self.decnetTrouble})" if self.decnetTrouble else ""
        if not self.hosts:
            raise MissingOption(f"no master given: add --master-host NAME{unread}")
        if not self.logFiles:
            raise MissingOption(f"no log file given: add --log-file PATH{unread}")
        for path in self.logFiles:
            if os.path.isdir(path):
                raise MachineError(
                    f"--log-file {path} is a directory: give a file in it, or a pattern"
                    f" such as '{path.rstrip('/')}/*.log'"
                )
        if self["state-db"] is None:
            # A missing directory has no certificates either: loading them reports it.
            self["state-db"] = directory(self["agent-dir"]) / "forwarder.db"
        else:
            checkDatabase("state-db", self["state-db"])
            self["state-db"] = directory(self["state-db"])

    def lacking(self) -> str:
        """What the service needs and this machine does not have."""
        try:
            Bundle.load(directory(self["agent-dir"]))
        except UserError as error:
            return f"--agent-dir: {error}"
        return ""

    def _findMasters(self) -> None:
        if not self.hosts and self["master-domain"] is None:
            listed = os.environ.get("DECNET_SWARM_MASTER_HOST", "").split(",")
            self.hosts = [host for host in map(str.strip, listed) if host]
        domain = self["master-domain"]
        if domain is not None and self.hosts:
            raise usage.UsageError(
                "--master-host and --master-domain exclude each other: give one"
            )
        if domain is not None:
            try:
                checkDomain(domain)
            except ValueError as error:
                raise usage.UsageError(f"--master-domain: {error}") from None
            # RFC 2782: if the DNS has no SRV records, try the address of the domain itself.
            self.hosts = [domain]
        try:
            self.masters = [
                Address.parse(host, self["master-port"]) for host in self.hosts
            ]
        except ValueError as error:
            raise usage.UsageError(f"--master-host: {error}") from None


def _nameOf(bundle: Bundle) -> str:
    """The name that the master knows us by; C{?}: a master would refuse this certificate."""
    try:
        return peerName(bundle.certificate)
    except NameRefused:
        return "?"


def makeService(options: Options) -> IService:
    """
    Make the forwarder.

    @raise SystemExit: the certificates are missing or unusable; one line gives the remedy.
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
                " (exactly one CN of letters, digits, dot, hyphen or underscore): enroll this"
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

    masters = MasterSelector(options.masters, reactor)
    records = None
    if options["master-domain"] is not None:
        # Imported here, because it costs memory and most forwarders do not need it.
        from twisted.names.client import Resolver

        resolver = Resolver(resolv="/etc/resolv.conf", reactor=reactor)
        records = Directory(reactor, resolver, options["master-domain"], masters.use)
    forwarder = ForwarderService(
        reactor,
        current,
        refusal,
        masters,
        ForwarderSettings(
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
            decnetPath=directory(options["agent-dir"]) / "forwarder.db",
        ),
        directory=records,
        workerName=lambda: _nameOf(renewal.bundle),
    )
    renewal = Renewal(bundle, ExtendedKeyUsageOID.CLIENT_AUTH, context.use)
    service = together(forwarder, renewal.reloadIfChanged)
    watch = watchForwarder(reactor, forwarder, options.status, lambda: renewal.bundle)
    watch.setServiceParent(service)  # type: ignore[no-untyped-call]
    forwarder.reread = Reread(
        options,
        (
            (
                frozenset({"master-host", "master-port"}),
                lambda new: forwarder.useMasters(new.masters),
            ),
            (
                frozenset({"poll-interval"}),
                lambda new: forwarder.usePollSeconds(new["poll-interval"]),
            ),
            (
                frozenset({"on-event"}),
                lambda new: watch.useCommand(new.status.command),
            ),
        ),
    )
    return managed(forwarder, service, reactor)

"""The options of twistd decnet-forwarder."""

from __future__ import annotations

import os

from twisted.python import usage

from ..addresses import portElsewhere
from ..configuration import COMMON_GROUPS, Configured
from ..errors import UserError
from ..files import FILES_MAX
from ..monitoring import STATUS_PARAMETERS, statusOptions
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
from ..trust import Bundle
from ..wire import MESSAGE_OCTETS_MAX
from ._masterselector import Address
from ._srv import checkDomain

__all__ = ["Options"]

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

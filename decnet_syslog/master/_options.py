"""The options of twistd decnet-listener."""

from __future__ import annotations

from twisted.python import usage

from ..addresses import checkHost, portNumber
from ..errors import UserError
from ..journal import journalProviders, providerOf
from ..limits import LIMIT_PARAMETERS, Limits
from ..monitoring import STATUS_PARAMETERS, statusOptions
from ..options import checkDatabase, directory, fromEnvironment
from ..outputs import OUTPUT_FLAGS, OutputOptions
from ..receiving import HOSTNAME_POLICIES, Network, parseNetworks
from ..trust import Bundle, readAllowList

__all__ = ["Options"]

ENVIRONMENT = {"host": "DECNET_LISTENER_HOST", "port": "DECNET_SWARM_SYSLOG_PORT"}

# What DECNET's own listener takes.
DECNET = {
    "host": ("DECNET_LISTENER_HOST",),
    "port": ("DECNET_SWARM_SYSLOG_PORT",),
    "ca-dir": ("DECNET_CA_DIR",),
}


class Options(OutputOptions):
    """Command-line options of the listener."""

    service = "listener"
    groups = {
        "listen": ("Where to listen", ("host", "port", "proxy-protocol", "reuse-port")),
        "tls": ("TLS", ("ca-dir", "allow", "on-hostname-mismatch")),
        **OutputOptions.groups,
    }
    common = (
        "log-path",
        "json-path",
        "ca-dir",
        "journal",
        "port",
        "status-port",
    )
    environment = ENVIRONMENT
    decnet = DECNET
    repeated = {"proxy-protocol": "proxyNetworks"}

    synopsis = "[options]"
    longdesc = """\
Collect the log lines of enrolled workers over mutual TLS (RFC 5425) and append them to
the ingest files, each line once. Make the certificates with "decnet-syslog ca init".

Example:
    twistd -n decnet-listener --log-path /var/log/decnet-syslog/master.log \\
        --json-path /var/log/decnet-syslog/master.json --ca-dir /etc/decnet-syslog/ca

Rename the output files and send SIGHUP, or let logrotate do it, at any time."""

    optParameters = [
        ["host", None, None, "Address to listen on [DECNET_LISTENER_HOST, 0.0.0.0]"],
        ["port", "p", None, "TCP port [DECNET_SWARM_SYSLOG_PORT, 6514]", portNumber],
        [
            "ca-dir",
            None,
            "~/.decnet/ca",
            "The CA; the master's identity is in its master/",
        ],
        [
            "journal",
            None,
            None,
            "Keeps the lines that are not in every output yet: a file, or nats://host:port,...,"
            " which many listeners share [listener.db beside --log-path]",
        ],
        [
            "allow",
            None,
            None,
            "A file with the names and fingerprints of workers that may send; read again when"
            " it changes [every certificate of the CA that is not revoked]",
        ],
        [
            "on-hostname-mismatch",
            None,
            "tag",
            "A HOSTNAME that is not the worker's: tag marks the record, accept does not,"
            " reject closes the connection",
        ],
        *LIMIT_PARAMETERS,
        *[one for provider in journalProviders() for one in provider.parameters],
        *STATUS_PARAMETERS,
    ]

    optFlags = [
        [
            "reuse-port",
            None,
            "Allow other listeners run by this user to share the port (SO_REUSEPORT)",
        ],
        ["hide-lines", None, "Do not show workers' log lines in the status"],
        *OUTPUT_FLAGS,
        *[one for provider in journalProviders() for one in provider.flags],
    ]

    compData = usage.Completions()

    def __init__(self) -> None:
        super().__init__()
        self.proxies: list[Network] = []
        self.proxyNetworks: list[str] = []

    def opt_proxy_protocol(self, networks: str) -> None:
        """Only balancers at these addresses or networks may connect, by PROXY v2; repeatable"""
        self.proxyNetworks.append(networks)
        try:
            self.proxies += parseNetworks(networks)
        except ValueError as error:
            raise usage.UsageError(f"--proxy-protocol: {error}") from None

    def postOptions(self) -> None:
        """Fill in the environment and the defaults, and check."""
        fromEnvironment(self, "host", ENVIRONMENT, str, "0.0.0.0")
        fromEnvironment(self, "port", ENVIRONMENT, portNumber, 6514)
        try:
            checkHost(self["host"])
        except ValueError as error:
            raise usage.UsageError(f"--host: {error}") from None
        provider = providerOf(self["journal"])
        if provider is not None:
            self._writeNothing()
            try:
                provider.check(self)
            except UserError as error:
                raise usage.UsageError(str(error)) from None
        else:
            self.checkPaths()
        try:
            self.limits = Limits.fromOptions(self)
        except ValueError as error:
            raise usage.UsageError(str(error)) from None
        if self["on-hostname-mismatch"] not in HOSTNAME_POLICIES:
            raise usage.UsageError(
                f"--on-hostname-mismatch is one of {', '.join(HOSTNAME_POLICIES)}"
            )
        if self["journal"] is None:
            self["journal"] = self.beside("listener.db")
        self.status = statusOptions(self, operators=True)
        if providerOf(self["journal"]) is None:
            checkDatabase("journal", self["journal"])
            self["journal"] = str(directory(self["journal"]))

    def lacking(self) -> str:
        """What the service needs and this machine does not have."""
        provider = providerOf(self["journal"])
        found = []
        try:
            Bundle.load(directory(self["ca-dir"]) / "master")
        except UserError as error:
            found.append(f"--ca-dir: {error}")
        try:
            if self["allow"] is not None:
                readAllowList(directory(self["allow"]))
        except UserError as error:
            found.append(f"--allow {self['allow']}: {error}")
        try:
            if provider is not None:
                provider.checkFiles(self)
        except UserError as error:
            found.append(str(error))
        return "; ".join(found)

    def _writeNothing(self) -> None:
        """
        Write no outputs in this process.

        @raise usage.UsageError: the options name an output.
        """
        if any(self.allPaths):
            raise usage.UsageError(
                "with a journal in NATS, twistd decnet-outputs writes the outputs: give it"
                f" {self.pathOptions('and')}"
            )
        self.paths = {kind: [] for kind in self.paths}

"""
twistd decnet-listener: its options, and the assembly of the service.

This module is long because the help of each option is in it, next to the service that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from ..addresses import checkHost, portNumber
from ..clock import useMonotonicClock
from ..errors import UserError
from ..journal import (
    IJournal,
    Journal,
    available,
    fitting,
    journalFiles,
    journalProviders,
    providerOf,
)
from ..limits import LIMIT_PARAMETERS, Limits
from ..monitoring import STATUS_PARAMETERS, EnrolledList, statusOptions
from ..notify import managed
from ..options import checkDatabase, directory, fromEnvironment
from ..outputs import OUTPUT_FLAGS, ListenerLock, OutputOptions, makeOutputs
from ..receiving import HOSTNAME_POLICIES, Network, parseNetworks
from ..trust import (
    CRL_FILE,
    TICKETS_SENT,
    Admission,
    Bundle,
    Refusal,
    Renewal,
    eventOf,
    listenerContext,
    operatorContext,
    readAllowList,
    remedyOnMaster,
    ticketsSent,
    together,
)
from ._changes import rereadListener
from ._service import ListenerService
from ._settings import ListenerSettings
from ._status import watchListener

__all__ = ["Options", "makeService"]

_log = Logger()

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


def _refused(refusal: Refusal) -> None:
    _log.warn(
        "refused {address}: {reason}; certificate {subject} {fingerprint}; {remedy}",
        event=eventOf(refusal.code),
        address=refusal.address,
        reason=refusal.reason,
        subject=refusal.subject,
        fingerprint=refusal.fingerprint,
        remedy=remedyOnMaster(refusal.code, refusal.reason),
    )


def makeService(options: Options) -> IService:
    """
    Make the listener.

    @raise SystemExit: a file is missing or wrong; the text gives the remedy.
    """
    from twisted.internet import reactor

    useMonotonicClock(reactor)
    provider, limits = providerOf(options["journal"]), options.limits
    shared = provider is not None
    journal = Path(
        os.path.abspath(options.beside("listener.db") if shared else options["journal"])
    )
    saved = journal.with_name(journal.name + ".crl")
    authority = directory(options["ca-dir"])
    try:
        bundle = Bundle.load(authority / "master")
        allow = None if options["allow"] is None else directory(options["allow"])
        admission = Admission(bundle, authority / CRL_FILE, saved, allow)
        context = listenerContext(
            bundle, _refused, admission.refuse, admission.refuseIssuer
        )
        operators = operatorContext(
            bundle, _refused, admission.refuseOperator, admission.refuseIssuer
        )
    except UserError as error:
        raise SystemExit(f"decnet-listener: {error}") from None
    if ticketsSent():
        _log.warn(TICKETS_SENT)
    lock = ListenerLock(journal.with_name(journal.name + ".lock"))
    ours = list(map(str, journalFiles(journal)))
    openJournal: Callable[[], IJournal]
    if provider is None:
        limits = fitting(limits, available(journal))
        openJournal = partial(
            Journal.open, journal, limits.filesPerWorker, reserve=True
        )
    else:
        openJournal = provider.opener(options, limits.message, limits.filesPerWorker)
    listener = ListenerService(
        reactor,
        context,
        ListenerSettings(
            options["host"],
            options["port"],
            options["journal"] if shared else str(journal),
            limits,
            onHostnameMismatch=options["on-hostname-mismatch"],
            proxies=options.proxies,
            reusePort=bool(options["reuse-port"]),
        ),
        openJournal,
        makeOutputs(options, lock, ours),
        lock=None if shared else lock,
        refuseCertificate=admission.refuse,
    )

    def use(bundle: Bundle) -> None:
        # First, because it may refuse the bundle.
        admission.use(bundle)
        context.use(bundle)
        operators.use(bundle)
        sweep()

    def sweep() -> None:
        listener.sweep(admission.refuseOpen)
        watch.sweep(admission.refuseOpenOperator)

    renewal = Renewal(bundle, ExtendedKeyUsageOID.SERVER_AUTH, use)
    enrolled = EnrolledList(authority / "enrolled.jsonl", admission)
    watch = watchListener(
        reactor,
        listener,
        options.status,
        enrolled.read,
        lambda: admission.bundle,
        operators,
    )

    def look() -> None:
        if admission.reloadIfChanged():
            sweep()

    service = together(listener, renewal.reloadIfChanged, look)
    watch.setServiceParent(service)  # type: ignore[no-untyped-call]
    room = None if shared else partial(available, journal)
    listener.reread = rereadListener(options, listener, watch.useCommand, room)
    return managed(listener, service, reactor)

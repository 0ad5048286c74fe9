"""twistd decnet-listener: options, and a service made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import IService
from twisted.logger import Logger, LogLevel
from twisted.python import usage

from ..clock import useMonotonicClock
from ..errors import UserError
from ..notify import managed
from ..options import (
    Described,
    count,
    directory,
    fromEnvironment,
    octets,
    portNumber,
    secondsOrNever,
)
from ..trust.admission import REVOKED, Admission
from ..trust.bundles import Bundle
from ..trust.contexts import Refusal, listenerContext, operatorContext
from ..trust.renewal import Renewal
from ..trust.revocation import CRL_FILE
from ..trust.watching import together
from ..watch.enrolled import EnrolledList
from ..watch.service import STATUS_PARAMETERS, statusOptions
from ..wire.framing import MESSAGE_OCTETS_MAX
from .door import CONNECTIONS_MAX, HANDSHAKES_PER_ADDRESS_MAX
from .feeds import Output
from .groupcommit import JOURNAL_OCTETS_MAX
from .listener import HOSTNAME_POLICIES
from .outputprocess import ListenerLock, RemoteOutput
from .outputs import FileOutput
from .pacing import RATE_MIN
from .proxied import Network, parseNetworks
from .rendering import renderRaw
from .roster import CONNECTIONS_PER_WORKER_MAX
from .service import ListenerService
from .status import watchListener

__all__ = ["OUTPUT_EVENTS", "Options", "makeService"]

_log = Logger()

ENVIRONMENT = {"host": "DECNET_LISTENER_HOST", "port": "DECNET_SWARM_SYSLOG_PORT"}


class Options(Described):
    """Command-line options of the listener."""

    synopsis = "[options]"
    longdesc = """\
Collect the log lines of enrolled workers over mutual TLS (RFC 5425) and append them to
the ingest files, each line once. Make the certificates with "decnet-syslog ca init".

Example:
    twistd -n decnet-listener --log-path /var/log/decnet/master.log \\
        --json-path /var/log/decnet/master.json --ca-dir /etc/decnet/ca

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
            "What is received and not yet in every output [listener.db beside --log-path]",
        ],
        [
            "journal-max",
            None,
            JOURNAL_OCTETS_MAX,
            "Stop accepting when the journal holds so many octets",
            octets,
        ],
        [
            "max-message",
            None,
            MESSAGE_OCTETS_MAX,
            "The longest message accepted, in octets",
            octets,
        ],
        [
            "allow",
            None,
            None,
            "A file of the names and fingerprints that may send; read again when it changes"
            " [every certificate of the CA that is not revoked]",
        ],
        [
            "max-connections",
            None,
            CONNECTIONS_MAX,
            "Connections in all; fewer if the limit on open files is lower",
            count,
        ],
        [
            "max-connections-per-worker",
            None,
            CONNECTIONS_PER_WORKER_MAX,
            "Connections of one name; of more the oldest is closed",
            count,
        ],
        [
            "max-handshakes-per-address",
            None,
            HANDSHAKES_PER_ADDRESS_MAX,
            "Connections of one address (IPv6: of one /64) that have no certificate yet",
            count,
        ],
        [
            "max-rate",
            None,
            0,
            "Octets a second of one worker, on all its connections; 0: no limit. It has to"
            " wait, nothing is lost",
            octets,
        ],
        [
            "max-silence",
            None,
            0.0,
            "Close a connection that has not said one octet in so many seconds; 0: never",
            secondsOrNever,
        ],
        [
            "on-hostname-mismatch",
            None,
            "tag",
            "A HOSTNAME that is not the worker's: tag marks the record, accept does not,"
            " reject closes the connection",
        ],
        *STATUS_PARAMETERS,
    ]

    optFlags = [
        [
            "reuse-port",
            None,
            "Let other listeners of this user have the same port (SO_REUSEPORT)",
        ],
        ["hide-lines", None, "Show no line of a worker in the status"],
    ]

    compData = usage.Completions()

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths: dict[str, list[str]] = {"log": [], "json": []}
        self.proxies: list[Network] = []

    def opt_proxy_protocol(self, networks: str) -> None:
        """Only balancers at these addresses or networks may connect, by PROXY v2; repeatable"""
        try:
            self.proxies += parseNetworks(networks)
        except ValueError as error:
            raise usage.UsageError(f"--proxy-protocol: {error}") from None

    def opt_log_path(self, path: str) -> None:
        """Raw lines go here; {worker}: a file for each sender; "": off; repeatable [master.log]"""
        self.paths["log"].append(path)

    def opt_json_path(self, path: str) -> None:
        """JSON records go here; {worker}, "" and repeating as for --log-path [master.json]"""
        self.paths["json"].append(path)

    def postOptions(self) -> None:
        """Fill in the environment and the defaults, and check."""
        fromEnvironment(self, "host", ENVIRONMENT, str, "0.0.0.0")
        fromEnvironment(self, "port", ENVIRONMENT, portNumber, 6514)
        for kind, paths in self.paths.items():
            given = paths or [f"master.{kind}"]
            self.paths[kind] = [
                os.path.abspath(os.path.expanduser(p)) for p in given if p
            ]
        every = self.paths["log"] + self.paths["json"]
        if len(set(every)) != len(every):
            raise usage.UsageError("two outputs have the same path")
        for path in every:
            name = os.path.basename(path)
            if path.count("{worker}") > 1 or (
                "{worker}" in path and "{worker}" not in name
            ):
                raise usage.UsageError(
                    f"{path}: {{worker}} stands once, in the name of the file"
                )
            if not os.path.isdir(os.path.dirname(path)):
                raise usage.UsageError(
                    f"no directory {os.path.dirname(path)} for the output"
                    f" {os.path.basename(path)}: make it, or choose another path"
                )
        if self["max-message"] < 2048:
            raise usage.UsageError(
                "--max-message: RFC 5425 asks for at least 2048 octets"
            )
        if 0 < self["max-rate"] < RATE_MIN:
            raise usage.UsageError(f"--max-rate is 0, or at least {RATE_MIN}")
        if self["on-hostname-mismatch"] not in HOSTNAME_POLICIES:
            raise usage.UsageError(
                f"--on-hostname-mismatch is one of {', '.join(HOSTNAME_POLICIES)}"
            )
        if self["journal"] is None:
            beside = (
                os.path.dirname(self.paths["log"][0])
                if self.paths["log"]
                else os.getcwd()
            )
            self["journal"] = os.path.join(beside, "listener.db")
        self.status = statusOptions(self, operators=True)
        if not os.path.isdir(os.path.dirname(os.path.abspath(self["journal"]))):
            raise usage.UsageError(f"no directory for the journal {self['journal']}")


def _refused(refusal: Refusal) -> None:
    _log.warn(
        "refused {address}: {reason}; certificate {subject} {fingerprint}",
        event="revoked" if refusal.reason.startswith(REVOKED) else "refused",
        address=refusal.address,
        reason=refusal.reason,
        subject=refusal.subject,
        fingerprint=refusal.fingerprint,
    )


# What others do to our outputs, and what became of it. That they are renamed is how they
# are rotated.
OUTPUT_EVENTS = {
    "output-renamed": (
        LogLevel.info,
        "{path} was renamed: going on in a new file",
    ),
    "output-truncated": (
        LogLevel.warn,
        "{path} was truncated, from {expected} octets to {size}: going on at its end; what"
        " nobody has copied is gone",
    ),
    "output-foreign-write": (
        LogLevel.warn,
        "somebody else writes to {path}: it has {size} octets and not {expected}; going on at"
        " its end",
    ),
    "output-mended": (
        LogLevel.warn,
        "{path} had {octets} octets at {offset} that were not on disk when the power failed:"
        " written again",
    ),
    "output-refused": (
        LogLevel.warn,
        "{path} is no file of this output's: a worker's lines go to {instead}",
    ),
}


def _event(name: str, **facts: Any) -> None:
    level, words = OUTPUT_EVENTS[name]
    _log.emit(level, words, name=name, **facts)


def makeService(options: Options) -> IService:
    """
    Make the listener.

    @raise SystemExit: something is missing; one line says what to do.
    """
    from twisted.internet import reactor

    useMonotonicClock(reactor)
    journal = Path(os.path.abspath(options["journal"]))
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
    lock = ListenerLock(journal.with_name(journal.name + ".lock"))
    ours = [
        f"{journal}{end}" for end in ("", "-wal", "-shm", "-journal", ".lock", ".crl")
    ]
    ours += [os.path.abspath(p) for p in options.paths["log"] + options.paths["json"]]
    outputs: list[Output] = [
        FileOutput("raw", path, renderRaw, _event, ours)
        for path in options.paths["log"]
    ]
    outputs += [
        RemoteOutput("json", path, _event, lock, ours) for path in options.paths["json"]
    ]
    listener = ListenerService(
        reactor,
        context,
        options["host"],
        options["port"],
        journal,
        outputs,
        options["max-message"],
        options["journal-max"],
        lock=lock,
        connectionsMax=options["max-connections"],
        connectionsPerWorkerMax=options["max-connections-per-worker"],
        refuseCertificate=admission.refuse,
        handshakesPerAddressMax=options["max-handshakes-per-address"],
        rateMax=options["max-rate"],
        silenceMax=options["max-silence"],
        onHostnameMismatch=options["on-hostname-mismatch"],
        proxies=options.proxies,
        reusePort=bool(options["reuse-port"]),
    )

    def use(bundle: Bundle) -> None:
        context.use(bundle)
        operators.use(bundle)
        admission.use(bundle)
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
        if admission.look():
            sweep()

    service = together(listener, renewal.look, look)
    watch.setServiceParent(service)  # type: ignore[no-untyped-call]
    return managed(listener, service, reactor)

"""Monitoring as a service: event log, regular looks, event command, status port."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from twisted.application.service import Service
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
)
from twisted.logger import Logger, globalLogPublisher
from twisted.python import usage
from twisted.python.failure import Failure

from ..addresses import portNumber
from ..boundaries import Called, OptionRow, OptionValue
from ..errors import UserError, withRemedy
from ..options import MachineError
from ..reactors import IReactor
from ..trust import RefuseChain
from ._alarm import REFRESH_S
from ._eventcommand import EventCommand, NoProgram, commandLine
from ._events import KINDS, REFUSALS, EventLog
from ._exposition import Exposition, Metric
from ._facts import AnyFacts
from ._port import OperatorPort, StatusPort, isLoopback

if TYPE_CHECKING:
    from twisted.web.resource import Resource

    from ._site import Facts

__all__ = ["STATUS_PARAMETERS", "StatusOptions", "WatchService", "statusOptions"]

# The options that both ends have.
STATUS_PARAMETERS: list[OptionRow] = [
    [
        "status-port",
        None,
        None,
        "Serve the status over HTTP on this port: /status.json, /metrics, /healthz, /readyz, and"
        " for the listener also a page for people [off]",
        portNumber,
    ],
    [
        "status-address",
        None,
        "127.0.0.1",
        "Address of the status port; a listener's can be other than loopback, and then uses"
        " TLS and operators' certificates",
    ],
    [
        "on-event",
        None,
        None,
        "Command to run, without a shell, for each event that an operator needs to know about;"
        " it gets the event as JSON on its standard input",
    ],
]


@dataclass(frozen=True)
class StatusOptions:
    """
    The options of the status, checked.

    @ivar port: C{None}: no status port.
    @ivar command: run for each event; C{None}: none.
    @ivar hideLines: whether the listener's page shows no worker's lines.
    """

    port: int | None = None
    host: str = "127.0.0.1"
    command: list[str] | None = None
    hideLines: bool = False


def statusOptions(options: Mapping[str, OptionValue], operators: bool) -> StatusOptions:
    """
    Check the options of the status.

    @param operators: whether an address other than loopback is allowed, for operators.
    @raise usage.UsageError: they cannot be used; one line gives the remedy.
    """
    host = options["status-address"]
    if not isLoopback(host):
        if not operators:
            raise usage.UsageError(
                f"--status-address {host}: a forwarder's status has no password, so it is"
                " served on loopback only: use 127.0.0.1 or ::1"
            )
        if not isIPAddress(host) and not isIPv6Address(host):
            raise usage.UsageError(
                f"--status-address {host!r} is not an IP address: give an address of this"
                " machine, or 0.0.0.0 for all"
            )
    sources: Mapping[str, str] = getattr(options, "sources", {})
    if options["status-port"] is None and "status-address" in sources:
        raise usage.UsageError(
            f"--status-address {host} without --status-port: add the port, for example"
            " --status-port 6515"
        )
    try:
        command = options["on-event"]
        words = None if command is None else commandLine(command)
    except NoProgram as error:
        raise MachineError(str(error)) from None
    except UserError as error:
        raise usage.UsageError(str(error)) from None
    hideLines = bool(options.get("hide-lines"))
    return StatusOptions(options["status-port"], host, words, hideLines)


def _remedyFor(error: BaseException | None, host: str) -> str:
    cause = getattr(error, "socketError", error)
    if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
        return (
            f"{host} is not an address of this machine: give one of its addresses as"
            " --status-address"
        )
    return "choose another --status-port"


class WatchService(Service, Generic[AnyFacts]):
    """
    Monitors a listener or forwarder while it runs.

    @ivar events: the events that an operator needs to know about.
    @ivar port: the status port, once it is open; C{None} without one.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        name: str,
        options: StatusOptions,
        look: Callable[[], None],
        gather: Callable[[], AnyFacts],
        metrics: Callable[[AnyFacts], Iterable[Metric]],
        pages: Callable[[Facts[AnyFacts], EventLog], Mapping[bytes, Resource]]
        | None = None,
        context: IOpenSSLServerConnectionCreator | None = None,
        obstacles: Callable[[], list[str]] = list,
        parts: Callable[[], Mapping[str, Deferred[None] | Deferred[bool]]] = dict,
    ) -> None:
        """
        @param name: the program's name, for messages when it cannot start.
        @param look: called every C{REFRESH_S}.
        @param gather: returns the facts, except the events.
        @param metrics: makes the metrics from the facts.
        @param pages: makes further resources from the facts and the events; C{None}: none.
        @param context: the TLS for operators, for an address other than loopback.
        @param obstacles: returns why the process cannot do its work now.
        @param parts: asks the parts that do the work.
        """
        self.events = EventLog(reactor.callFromThread)
        self.port: IListeningPort | None = None
        self._reactor = reactor
        self._program = name
        self._options = options
        self._look = look
        self._gather = gather
        self._metrics = metrics
        self._pages = pages
        self._context = context
        self._obstacles = obstacles
        self._parts = parts
        self._site: StatusPort | None = None
        self._timer: IDelayedCall | None = None
        self._command: EventCommand | None = None

    def facts(self) -> AnyFacts:
        """The complete status, for JSON."""
        found = self._gather()
        found["events"] = {
            # All kinds, including those at 0: a counter that first appears at 1 shows no rise.
            "counts": {kind: self.events.counts[kind] for kind in KINDS},
            "refusals": {name: self.events.refusals[name] for name in REFUSALS},
            "recent": [event.asRecord() for event in self.events.recent()],
        }
        return found

    def privilegedStartService(self) -> None:
        """Open the port. A failure must be reported before any thread is started."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        if self._options.port is not None:
            self._serve(self._options.port, self._options.host)

    def startService(self) -> None:
        """Observe the log, and begin to look."""
        super().startService()  # type: ignore[no-untyped-call]
        globalLogPublisher.addObserver(self.events)
        self.useCommand(self._options.command)
        self._lookAgain()

    def _serve(self, port: int, host: str) -> None:
        # Imported here, because it takes 40 ms to import, and most forwarders have no
        # status port.
        from ._ready import Ready
        from ._site import Facts, makeSite

        facts = Facts(self.facts, self._reactor.seconds)
        exposition = Exposition(lambda: self._metrics(facts()))
        if exposition.missing is not None:
            self._log.warn(
                "the status port serves everything but /metrics: {missing}",
                missing=exposition.missing,
            )
        plain = isLoopback(host)
        self._site = makeSite(
            self._reactor,
            facts,
            exposition.render,
            exposition.contentType,
            None if self._pages is None else self._pages(facts, self.events),
            None if plain else self._context,
            Ready(self._reactor, self._obstacles, self._parts),
        )
        kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
        listening: list[IListeningPort | Failure] = []
        kind(self._reactor, port, interface=host).listen(self._site).addBoth(  # type: ignore[no-untyped-call]
            listening.append
        )
        (result,) = listening
        if isinstance(result, Failure):
            raise SystemExit(
                f"{self._program}: cannot serve the status on {host} port {port}:"
                f" {withRemedy(result.getErrorMessage(), _remedyFor(result.value, host))}"
            )
        self.port = result
        address = result.getHost()
        assert isinstance(address, (IPv4Address, IPv6Address))
        self._log.info(
            "status on {scheme}://{host}:{port}/status.json",
            scheme="http" if plain else "https",
            host=f"[{address.host}]" if ":" in address.host else address.host,
            port=address.port,
        )

    def sweep(self, refuse: RefuseChain) -> None:
        """Close the connections of operators whose certificates are no longer accepted."""
        if isinstance(self._site, OperatorPort):
            self._site.sweep(refuse)

    def useCommand(self, command: list[str] | None) -> None:
        """Run another command for events from now on; C{None}: none."""
        if self._command is not None:
            self.events.unsubscribe(self._command)
            self._command.stop()
            self._command = None
        if command is not None:
            self._command = EventCommand(self._reactor, command)
            self.events.subscribe(self._command)

    def _lookAgain(self) -> None:
        self._timer = self._reactor.callLater(REFRESH_S, self._lookAgain)
        try:
            self._look()
        except Exception:
            self._log.failure(
                "internal error while checking for problems; trying again in 3 s"
            )

    def stopService(self) -> Deferred[Called] | None:
        """Stop looking, and close the port."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        globalLogPublisher.removeObserver(self.events)
        if self._command is not None:
            self._command.stop()
        if self.port is None:
            return None
        return maybeDeferred(self.port.stopListening)

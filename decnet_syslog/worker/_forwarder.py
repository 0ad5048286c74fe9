"""
The factory of the forwarder's connections: one at a time, until the forwarder stops.

It retries; L{decnet_syslog.worker._masterselector} decides when, and to which master. It counts why
connections ended, and logs each reason for a refusal once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IAddress, IConnector, IReactorTime
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..boundaries import Foreign
from ..sending import Session
from ..trust import MASTER_KIND
from ..untrusted import escapeUntrusted
from ..wire import ControlLine
from ._endings import endOf, failureOf, textOf, toldBy
from ._masterselector import DELAY_MAX_S, DELAY_MIN_S, MasterSelector
from ._protocol import ForwarderProtocol

__all__ = ["DELAY_SUPERSEDED_S", "ForwarderFactory"]

# The last logged refusal is kept for this many masters: the DNS can name new ones each time.
SAID_MAX = 64

# Superseded: another connection took over our stream, so another process uses a copy of our
# state. The side that waits longer lets the other send; nothing is lost or repeated meanwhile.
# Hostname: the master refuses our messages until an operator changes something.
DELAY_SUPERSEDED_S = 60.0
_DELAYED = ("superseded", "hostname")


class ForwarderFactory(ReconnectingClientFactory):
    """
    Connects again, until the forwarder stops.

    @ivar line: the present connection, or C{None}.
    @ivar ends: number of attempts and connections that ended, by reason.
    @ivar refusals: number of refused certificates, ours or a master's, by kind
        (L{decnet_syslog.trust._refusals}).
    @ivar why: why there is no connection: the reason of the last end.
    """

    protocol: Foreign = ForwarderProtocol
    noisy = False
    # Set both: ReconnectingClientFactory copies one to the other in its class body.
    initialDelay = DELAY_MIN_S
    delay = DELAY_MIN_S
    maxDelay = int(DELAY_MAX_S)
    clock: Foreign
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        sessionFor: Callable[[ForwarderProtocol], Session | None],
        refusal: Callable[[], str | None],
        masters: MasterSelector,
        connected: Callable[[ForwarderProtocol], None] = lambda connection: None,
        reportDue: Callable[[], None] = lambda: None,
    ) -> None:
        """
        @param sessionFor: returns what a connection carries; C{None} to refuse the master.
        @param refusal: the reason and the remedy if our TLS refused the master's certificate.
        @param masters: learns how connections end; decides where the next one goes, and when.
        @param connected: called when a master has accepted this worker.
        @param reportDue: called when a connection should have a report at once.
        """
        self.clock = clock
        self.sessionFor = sessionFor
        self.connection: ForwarderProtocol | None = None
        self.ends: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.why = "connecting"
        self._connected = connected
        self._reportDue = reportDue
        # The last logged refusal of each master. Repeated refusals are counted, not logged.
        self._said: dict[str, str] = {}
        self._refusal = refusal
        self._masters = masters
        self._superseded = False
        self._whenLost: list[Callable[[], None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Foreign:
        """A protocol, unless the forwarder is stopping."""
        if not self.continueTrying:
            return None
        return super().buildProtocol(addr)

    def connected(self, connection: ForwarderProtocol) -> None:
        """TCP is up."""
        self.connection = connection

    def lost(self, connection: ForwarderProtocol, reason: Failure) -> None:
        """A connection is gone. Remember why here: TLS does not tell the connector."""
        if self.connection is connection:
            self.connection = None
        self._superseded = (
            connection.lastBye is not None and connection.lastBye.code in _DELAYED
        )
        refused = self._refusal() if connection.session is None else None
        told = None if refused is not None else toldBy(connection, reason)
        self.ends[endOf(connection, refused, told, reason)] += 1
        self.why = refused or str(told or textOf(reason))
        if refused is not None:
            self.refusals[MASTER_KIND] += 1
            self._sayOnce(f"this worker refuses its certificate: {refused}")
        elif told is not None:
            self.refusals[told.kind] += 1
            text = (
                f" (it says: {escapeUntrusted(connection.lastBye.text, 200)})"
                if connection.lastBye
                else ""
            )
            self._sayOnce(f"{told.reason}{text}; {told.remedy}")
        elif self.continueTrying:
            self._log.warn(
                "no connection to the master {master}: {why}",
                master=str(self._masters.current),
                why=self.why,
            )
        waiting, self._whenLost = self._whenLost, []
        for call in waiting:
            call()

    def _sayOnce(self, why: str) -> None:
        """
        Log a refusal, unless the last one of this master had the same reason.
        """
        master = str(self._masters.current)
        if self._said.get(master) == why:
            return
        if len(self._said) >= SAID_MAX:
            self._said.clear()
        self._said[master] = why
        self._log.warn(
            "no connection to the master {master}: {reason}. Trying again; this reason is logged"
            " once, repetitions are counted",
            event="refused",
            master=master,
            reason=why,
        )

    def greeted(self, connection: ForwarderProtocol) -> None:
        """The master has accepted us."""
        self._said.pop(str(self._masters.current), None)
        self._connected(connection)
        # It waits for nothing: the travel times of later reports are measured against it.
        self.reportDue(connection)

    def reportDue(self, connection: ForwarderProtocol) -> None:
        """A connection has room for a report that should go before everything else."""
        if connection is self.connection:
            self._reportDue()

    def tell(
        self, lines: Callable[[bool], Iterable[ControlLine]], onlyLag: bool
    ) -> bool:
        """
        Send a report, if a connected master accepts one now.

        @param lines: makes it, with ages of version 2.1 or without.
        @param onlyLag: whether only a master of version 2.1 should have it.
        """
        connection = self.connection
        if connection is None or (onlyLag and not connection.tellsLag):
            return False
        return connection.tell(lambda: lines(connection.tellsLag))

    def whenLost(self, call: Callable[[], None]) -> None:
        """Call once, when the connection is gone."""
        self._whenLost.append(call)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """The connection could not be made: no answer, or no route."""
        self.ends[failureOf(reason)] += 1
        self.why = textOf(reason)
        self._log.warn(
            "cannot connect to the master {master}: {why}. Check that it runs and that a"
            " firewall lets the port through",
            master=str(self._masters.current),
            why=self.why,
        )
        super().clientConnectionFailed(connector, reason)  # type: ignore[no-untyped-call]

    def retry(self, connector: IConnector | None = None) -> None:
        """
        Connect again, when and where L{MasterSelector} decides.

        The jitter of L{ReconnectingClientFactory} can exceed its maximum and make a delay
        negative, so it is not used.
        """
        if not self.continueTrying:
            return
        self.retries += 1
        self.delay = max(self._masters.failed(), 0.001)
        if self._superseded:
            self.delay += DELAY_SUPERSEDED_S
        connector = connector or self.connector
        self.connector = connector
        self._log.info(
            "connecting to {master} in {delay:.1f} s",
            master=str(self._masters.current),
            delay=self.delay,
        )

        def again() -> None:
            self._callID = None
            assert connector is not None
            connector.connect()

        self._callID = self.clock.callLater(self.delay, again)

    def resetDelay(self) -> None:
        """The master accepted us. Unlike the original, this never undoes L{stopTrying}."""
        self._masters.accepted()
        self.retries = 0

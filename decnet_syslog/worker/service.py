"""
The forwarder as a service: bookmarks, tails, connection.

Stopping says goodbye and saves what is acknowledged. A forwarder that is stopped and one
that is killed leave the same promise: the listener knows the position.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, execute, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from ..durable import EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..signals import ServiceSignals
from ..wire.control import BYE, ControlLine
from .bookmarks import Bookmarks
from .connector import EndpointConnector
from .forwarder import ForwarderFactory, ForwarderProtocol, kernelUnsent
from .homing import Homing
from .masters import Address, Masters
from .plain import PlainShipment
from .pulse import Pulse
from .shipment import PIECE_OCTETS, Shipment
from .srv import Directory
from .tails import TAILS_MAX, Tails
from .watch import DirectoryWatch

__all__ = ["ForwarderService", "Works"]

# Acknowledged offsets reach the database so often at most, in seconds. They are a hint:
# the listener holds the position.
SAVE_S = 0.5

# There was no space for them, in seconds.
SAVE_RETRY_S = 5.0

# How long in-flight lines may still be acknowledged when we stop, and the connection to
# end after that, in seconds.
STOP_S = 2.0

# After a directory has changed, look this much later: one look for many changes.
WAKE_S = 0.002

# And so many times as long as the look before has taken, if that is no longer than without a
# change: of very many files looks are not all that is done.
LOOK_SHARE = 4


class Works(NamedTuple):
    """What a forwarder is made of, once it is started."""

    tails: Tails
    factory: ForwarderFactory
    pulse: Pulse
    masters: Masters


class ForwarderService(Service):
    """
    The worker's side.
    """

    _log = Logger()
    name = "decnet-forwarder"

    def __init__(
        self,
        reactor: Any,
        context: Callable[[], IOpenSSLClientConnectionCreator],
        refusal: Callable[[], str | None],
        masters: Masters,
        patterns: Sequence[str],
        statePath: Path,
        *,
        delivery: str,
        pollSeconds: float,
        messageOctetsMax: int,
        lagOctetsMax: int | None,
        filesMax: int = TAILS_MAX,
        pieceOctets: int = PIECE_OCTETS,
        resendToNewMaster: bool = True,
        directory: Directory | None = None,
    ) -> None:
        """
        @param directory: asked for masters first, if there is one.
        @param context: the TLS of the next connection.
        @param refusal: why it has refused the last one.
        @param delivery: auto, acked or plain.
        """
        self._reactor = reactor
        self._context = context
        self._refusal = refusal
        self._masters = masters
        self._patterns = patterns
        self._statePath = statePath
        self._delivery = delivery
        self._pollSeconds = pollSeconds
        self._messageOctetsMax = messageOctetsMax
        self._lagOctetsMax = lagOctetsMax
        self._filesMax = filesMax
        self._pieceOctets = pieceOctets
        self._resend = resendToNewMaster
        self._directory = directory
        self._signals = ServiceSignals(reactor, self._hungUp)
        # How long the last look at the files has taken, in seconds.
        self._looking = 0.0
        self._poll: IDelayedCall | None = None
        self._save: IDelayedCall | None = None

    def startService(self) -> None:
        """Open the state, look at the files, connect."""
        super().startService()  # type: ignore[no-untyped-call]
        self._signals.ignore()
        try:
            self._bookmarks = Bookmarks.open(self._statePath, self._failed)
        except UserError as error:
            raise SystemExit(f"decnet-forwarder: {error}") from None
        self._tails = Tails(
            self._patterns,
            self._bookmarks,
            self._reactor.seconds,
            messageOctetsMax=self._messageOctetsMax,
            lagOctetsMax=self._lagOctetsMax,
            events=self._event,
            filesMax=self._filesMax,
        )
        self._tails.onChanged(self._changed)
        self._pool = ThreadPool(1, 1, "decnet-forwarder-files")
        self._pool.start()
        self._factory = ForwarderFactory(
            self._reactor,
            self._shipmentFor,
            self._refusal,
            self._masters,
            self._connected,
        )
        self._connector = EndpointConnector(self._endpoint, self._factory)
        self._factory.connector = self._connector
        directories = {os.path.dirname(os.path.abspath(p)) for p in self._patterns}
        self._watch = DirectoryWatch(self._reactor, directories, self._wake)
        self._look()
        self._pulse = Pulse(self._tails, self._reactor, self._tell)
        self._pulse.start()
        self._homing = Homing(
            self._reactor, self._masters, self._factory, self._endpoint
        )
        self._homing.start()
        if self._directory is None:
            self._connector.connect()
        else:
            self._directory.ask().addCallback(lambda _: self._connectFirst())
        self._reactor.callWhenRunning(self._signals.catch)
        self._log.info(
            "shipping {files} to {masters}",
            files=", ".join(self._patterns),
            masters=", ".join(map(str, self._masters.addresses)),
        )

    def _connectFirst(self) -> None:
        if self.running:
            self._masters.restart()
            self._connector.connect()

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop without losing or repeating anything."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._signals.stopping()
        self._watch.stop()
        self._pulse.stop()
        self._homing.stop()
        if self._directory is not None:
            self._directory.stop()
        self._factory.stopTrying()  # type: ignore[no-untyped-call]
        self._connector.stopConnecting()
        line = self._factory.line
        if line is not None:
            yield self._wait(
                lambda: line.shipment is None or not line.shipment.inFlight
            )
            lost: Deferred[None] = Deferred()
            self._factory.whenLost(lambda: lost.callback(None))
            line.close(BYE("shutdown", "the forwarder is stopping"))
            if self._factory.line is not None:
                yield lost
        self._pool.stop()
        if self._save is not None:
            self._save.cancel()
        self._saveNow()
        for call in (self._poll, self._save):
            if call is not None and call.active():
                call.cancel()
        self._tails.close()
        self._bookmarks.close()
        self._signals.release()

    def _hungUp(self) -> None:
        """Look at the files now. What else could be read anew is watched anyway."""
        if self.running:
            self._log.info("looking at the files")
            self._wake()

    def parts(self) -> Mapping[str, Deferred[Any]]:
        """
        Ask every part whether it gets on, as L{decnet_syslog.notify} wants it.

        The files are looked at for it: --poll-interval can be longer than a watchdog.
        """
        return {
            "the files' thread": self._inThread(lambda: None),
            "the look at the files": execute(self._ship),
        }

    def status(self) -> str:
        """In one line, what we do and what keeps us from it."""
        files = len(self._tails.incarnations)
        line = self._factory.line
        if line is None or not line.greeted:
            return f"{files} files; no connection to the master"
        kind = "acknowledged" if line.control else "plain RFC 5425"
        return f"{files} files; connected to the master, {kind}"

    @property
    def works(self) -> Works:
        """What there is to look at."""
        return Works(self._tails, self._factory, self._pulse, self._masters)

    def _wait(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fire when a condition holds, or after STOP_S."""
        done: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + STOP_S

        def look() -> None:
            if (
                condition()
                or self._reactor.seconds() > deadline
                or not self._factory.line
            ):
                done.callback(None)
            else:
                self._reactor.callLater(0.02, look)

        look()
        return done

    def _endpoint(self, master: Address | None = None) -> IStreamClientEndpoint:
        host, port = master or self._masters.current
        tcp = HostnameEndpoint(self._reactor, host, port)
        endpoint: IStreamClientEndpoint = wrapClientTLS(self._context(), tcp)
        return endpoint

    def _inThread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._pool, function, *arguments)

    def _shipmentFor(self, line: ForwarderProtocol) -> Shipment | PlainShipment | None:
        """What a connection carries, by what the master speaks and what is wanted."""
        self._pulse.connected()
        if line.control:
            return Shipment(
                self._tails,
                line,
                self._reactor,
                self._inThread,
                self._resend,
                self._pieceOctets,
            )
        if self._delivery == "acked":
            self._log.error(
                "the master does not acknowledge (it does not speak decnet-syslog/1) and"
                " --delivery=acked is set: nothing is sent"
            )
            return None
        return PlainShipment(
            self._tails,
            line,
            self._reactor,
            lambda: kernelUnsent(self._reactor, line.transport),
        )

    def _connected(self, line: ForwarderProtocol) -> None:
        """The master has accepted us."""
        if line.control:
            self._log.info("connected to the master, acknowledged delivery")
            return
        if self._delivery == "auto" and any(
            i.bookmark.journal for i in self._tails.incarnations
        ):
            self._log.warn(
                "the master acknowledged before and does not now: lines can be lost when it"
                " crashes; --delivery=acked would wait for one that does"
            )
        self._log.info(
            "connected to the master, plain RFC 5425 without acknowledgement"
        )

    def _tell(self, lines: Iterable[ControlLine]) -> bool:
        """Say how we are, if there is a master that can hear it."""
        line = self._factory.line
        return line is not None and line.tell(lines)

    def _wake(self) -> None:
        """A directory has changed."""
        if self._poll is not None:
            self._poll.cancel()
        delay = max(WAKE_S, min(LOOK_SHARE * self._looking, self._pollSeconds))
        self._poll = self._reactor.callLater(delay, self._look)

    def _look(self) -> None:
        """Look at the files, and ship what is there."""
        self._poll = None
        # Armed before the look: what changes meanwhile is seen by the next.
        self._watch.arm()
        try:
            self._ship()
        except Exception:
            self._log.failure("cannot read the log files; trying again")
        if self._poll is None:
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)

    def _ship(self) -> None:
        began = self._reactor.seconds()
        self._tails.poll()
        self._looking = self._reactor.seconds() - began
        if self._factory.line is not None:
            self._factory.line.pump()

    def _changed(self) -> None:
        """Offsets have moved: save them soon."""
        if self._save is None:
            self._save = self._reactor.callLater(SAVE_S, self._saveNow)

    def _saveNow(self) -> None:
        self._save = None
        try:
            self._tails.save()
        except sqlite3.DatabaseError as error:
            self._log.warn(
                "cannot save the offsets: {error}; trying again. The master holds them too",
                error=str(error),
            )
            self._save = self._reactor.callLater(SAVE_RETRY_S, self._saveNow)

    def _failed(self, failed: StorageFailed) -> None:
        """A disk has failed: stop at once. What is acknowledged, the master has."""
        self._log.critical(
            "the disk cannot be trusted: {reason}; stopping", reason=str(failed)
        )
        os._exit(EXIT_STORAGE)

    def _event(self, name: str, **facts: Any) -> None:
        """Something happened to a file."""
        self._log.warn("{name}: {facts}", name=name, facts=facts)

"""
The forwarder as a service: state, files, connection.

Files, state database and sender are the files' thread's (L{filesthread}); the connection, the
signals and the reports are the reactor's. Stopping says goodbye and saves what is
acknowledged. A forwarder that is stopped and one that is killed leave the same promise: the
listener knows the position.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.logger import Logger

from ..durable import EXIT_STORAGE, StorageFailed
from ..errors import UserError
from ..files import FILES_MAX, FollowedFiles, StateStore
from ..openfiles import raiseOpenFiles
from ..signals import ServiceSignals
from ..wire.control import BYE, ControlLine
from .acked import AckedSender
from .connection import ISender
from .connector import EndpointConnector
from .counts import Counts
from .fileevents import reportFileEvent
from .filestates import FileStates
from .filesthread import FilesThread
from .forwarder import ForwarderFactory
from .homing import Homing
from .masters import Address, Masters
from .plain import PlainSender
from .protocol import ForwarderProtocol
from .pulse import Pulse
from .session import Session
from .srv import Directory
from .watch import DirectoryWatch
from .window import CHUNK_OCTETS

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

# Descriptors of one followed file: its own, that of a rotated one which is not done, and of what
# both are compared with; and those that are not of files.
DESCRIPTORS_PER_FILE = 4
DESCRIPTORS_KEPT = 256

# And so many times as long as the look before has taken, if that is no longer than without a
# change: of very many files looks are not all that is done.
LOOK_SHARE = 4


class Works(NamedTuple):
    """What a forwarder is made of, once it is started."""

    counts: Counts
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
        filesMax: int = FILES_MAX,
        rotated: Sequence[str] = (),
        chunkOctets: int = CHUNK_OCTETS,
        resendToNewMaster: bool = True,
        directory: Directory | None = None,
        workerName: Callable[[], str] = lambda: "",
    ) -> None:
        """
        @param rotated: patterns of rotated files elsewhere.
        @param workerName: the name that our certificate has now.
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
        self._rotated = rotated
        self._chunkOctets = chunkOctets
        self._workerName = workerName
        self._counts = Counts()
        self._isLooking = False
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
        raiseOpenFiles(DESCRIPTORS_PER_FILE * self._filesMax + DESCRIPTORS_KEPT)
        self._signals.ignore()
        try:
            self._store = StateStore.open(
                self._statePath, self._failed, self._wasSetAside
            )
        except UserError as error:
            raise SystemExit(f"decnet-forwarder: {error}") from None
        self._files = FollowedFiles(
            self._patterns,
            self._store,
            self._reactor.seconds,
            messageOctetsMax=self._messageOctetsMax,
            lagOctetsMax=self._lagOctetsMax,
            events=reportFileEvent,
            filesMax=self._filesMax,
            rotated=self._rotated,
        )
        self._files.onChanged(self._changed)
        self._states = FileStates(self._files, self._counts, self._reactor.seconds)
        self._thread = FilesThread(self._reactor)
        self._thread.start()
        self._factory = ForwarderFactory(
            self._reactor,
            self._sessionFor,
            self._refusal,
            self._masters,
            self._connected,
        )
        self._connector = EndpointConnector(self._endpoint, self._factory)
        self._factory.connector = self._connector
        directories = {os.path.dirname(os.path.abspath(p)) for p in self._patterns}
        self._watch = DirectoryWatch(self._reactor, directories, self._wake)
        self._look()
        self._pulse = Pulse(
            lambda: self._thread.ask(self._states.look), self._reactor, self._tell
        )
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
            yield self._wait(lambda: line.session is None or not line.session.inFlight)
            lost: Deferred[None] = Deferred()
            self._factory.whenLost(lambda: lost.callback(None))
            line.close(BYE("shutdown", "the forwarder is stopping"))
            if self._factory.line is not None:
                yield lost
        if self._poll is not None:
            self._poll.cancel()
        yield self._thread.ask(self._end)
        self._thread.stop()

    def _end(self) -> None:
        """Save and close, behind whatever was under way."""
        if self._save is not None:
            self._save.cancel()
        self._saveNow()
        if self._save is not None:
            self._save.cancel()
        self._files.close()
        self._store.close()
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
            "the files' thread": self._thread.ask(lambda: None),
            "the look at the files": self._thread.ask(self._ship),
        }

    def status(self) -> str:
        """In one line, what we do and what keeps us from it."""
        files = self._pulse.report.followed
        line = self._factory.line
        if line is None or not line.greeted:
            return f"{files} files; no connection to the master"
        kind = "acknowledged" if line.control else "plain RFC 5425"
        return f"{files} files; connected to the master, {kind}"

    @property
    def works(self) -> Works:
        """What there is to look at."""
        return Works(self._counts, self._factory, self._pulse, self._masters)

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

    def _sessionFor(self, line: ForwarderProtocol) -> Session | None:
        """What a connection carries, by what the master speaks and what is wanted."""
        self._pulse.connected()
        session = Session(self._reactor, self._thread, line)
        sender: ISender
        if line.control:
            sender = AckedSender(
                self._files,
                session,
                session,
                self._counts,
                self._workerName(),
                self._resend,
                self._chunkOctets,
            )
        elif self._delivery == "acked":
            self._log.error(
                "the master does not acknowledge (it does not speak decnet-syslog/1) and"
                " --delivery=acked is set: nothing is sent"
            )
            return None
        else:
            sender = PlainSender(self._files, session, session, self._counts)
        session.begin(sender)
        return session

    def _connected(self, line: ForwarderProtocol) -> None:
        """The master has accepted us."""
        if line.control:
            self._log.info("connected to the master, acknowledged delivery")
            return
        if self._delivery == "auto" and self._files.hasJournal:
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
        if self._isLooking:
            # The disk makes the last look wait: there is one to come.
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)
            return
        self._isLooking = True
        self._thread.ask(self._ship).addErrback(
            lambda failure: self._log.failure(
                "cannot read the log files; trying again", failure
            )
        ).addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._isLooking = False
        if self._factory.line is not None:
            self._factory.line.pump()
        if self._poll is None and self.running:
            self._poll = self._reactor.callLater(self._pollSeconds, self._look)

    # In the files' thread

    def _ship(self) -> None:
        began = self._reactor.seconds()
        self._files.poll()
        self._looking = self._reactor.seconds() - began

    def _changed(self) -> None:
        """Offsets have moved: save them soon."""
        if self._save is None:
            self._save = self._thread.callLater(SAVE_S, self._saveNow)

    def _saveNow(self) -> None:
        self._save = None
        try:
            self._files.save()
        except (OSError, sqlite3.DatabaseError) as error:
            self._log.warn(
                "cannot save the offsets: {error}; trying again. The master holds them too",
                error=str(error),
            )
            self._save = self._thread.callLater(SAVE_RETRY_S, self._saveNow)

    def _failed(self, failed: StorageFailed) -> None:
        """A disk has failed: stop at once. What is acknowledged, the master has."""
        self._log.critical(
            "the disk cannot be trusted: {reason}; stopping", reason=str(failed)
        )
        os._exit(EXIT_STORAGE)

    def _wasSetAside(self, path: Path, reason: str) -> None:
        """The state database was damaged."""
        self._log.error(
            "the state database is damaged ({reason!r}): it was renamed to {path!r}, and a new one"
            " was begun. The master holds the positions; delete {path!r} when you have seen it",
            event="other",
            reason=reason,
            path=str(path),
        )

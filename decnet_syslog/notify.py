"""
Notifications to systemd: readiness, status, and progress of the work.

The protocol is that of sd_notify: datagrams of C{NAME=value} lines to the socket in
C{NOTIFY_SOCKET}. Without this variable, nothing is sent.

What must be true: the watchdog is fed only while work progresses, not just while the process is
alive. Before each ping every part is asked, through the same queue as its work; there is no ping
while a part has not answered. A full disk and a master that is away do not stop the pings: there
the service waits, and a restart would help nothing.

Set aside: python-systemd, which needs a compiler and headers for these few datagrams.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .reactors import IReactor
from .untrusted import escapeUntrusted

__all__ = [
    "Notifier",
    "ServiceManager",
    "adoptedSockets",
    "managed",
]

# The first descriptor that a service manager passes on (sd_listen_fds(3)).
FIRST_DESCRIPTOR = 3

# Pings within the watchdog's interval: one may be late on a busy machine.
BEATS_PER_WATCHDOG = 3

# How often the status is updated, in seconds.
STATUS_S = 10.0

# How long a manager that does not read its socket may delay us, in seconds.
SEND_S = 1.0

Parts = Callable[[], Mapping[str, Deferred[None] | Deferred[bool]]]


@dataclass(frozen=True)
class ServiceManager:
    """
    The service manager that started us.

    @ivar address: its socket; a first octet of 0 means Linux's abstract name space.
    @ivar watchdog: it restarts us after this many seconds without a ping, or C{None}.
    """

    address: bytes
    watchdog: float | None = None

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> ServiceManager | None:
        """
        The manager of this process, if there is one.

        Its variables are removed from the environment: children must not send in our name.
        """
        name = environment.pop("NOTIFY_SOCKET", "")
        wanted = environment.pop("WATCHDOG_USEC", "")
        of = environment.pop("WATCHDOG_PID", "")
        if name[:1] not in ("/", "@"):
            return None
        address = os.fsencode(name)
        if name[0] == "@":
            address = b"\0" + address[1:]
        ours = wanted.isdigit() and int(wanted) and of in ("", str(os.getpid()))
        return cls(address, int(wanted) / 1e6 if ours else None)

    def say(self, **values: str) -> None:
        """
        Send values to the manager.

        @raise OSError: it does not receive them.
        """
        lines = [f"{name}={_line(value)}" for name, value in values.items()]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(SEND_S)
            line.sendto("\n".join(lines).encode("utf-8", "replace"), self.address)


def _line(value: str) -> str:
    """A value on a single line: text from a peer must not begin a second one."""
    return escapeUntrusted(value, None, "readable")


class Notifier(Service):
    """
    Keeps the manager informed about another service.

    @ivar waiting: the parts that were asked and have not answered.
    """

    _log = Logger()

    def __init__(
        self,
        manager: ServiceManager,
        reactor: IReactor,
        parts: Parts,
        status: Callable[[], str],
    ) -> None:
        """
        @param parts: asks every part; each answer fires after the work that was queued earlier.
        @param status: returns the service's state in one line.
        """
        self._manager = manager
        self._reactor = reactor
        self._parts = parts
        self._status = status
        self._said = ""
        self._timer: IDelayedCall | None = None
        self._ill = False
        self.waiting: set[str] = set()
        if manager.watchdog is None:
            self._interval = STATUS_S
        else:
            self._interval = min(manager.watchdog / BEATS_PER_WATCHDOG, STATUS_S)

    def startService(self) -> None:
        """Report that the service is ready, once the reactor runs."""
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._ready)

    def stopService(self) -> None:
        """Report that the service is stopping."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._say(STOPPING="1", STATUS="stopping")

    def _ready(self) -> None:
        if self.running:
            self._said = self._status()
            self._say(READY="1", STATUS=self._said)
            self._tick()

    def _tick(self) -> None:
        """Update the status; start a ping if every part has answered the last one."""
        self._timer = self._reactor.callLater(self._interval, self._tick)
        status = self._status()
        if status != self._said:
            self._said = status
            self._say(STATUS=status)
        if self._manager.watchdog is None:
            return
        if self.waiting:
            self._log.error(
                "{parts} did not respond for {seconds:.0f} s: withholding the watchdog ping."
                " systemd restarts the service if this goes on",
                parts=", ".join(sorted(self.waiting)),
                seconds=self._interval,
            )
            return
        try:
            asked = self._parts()
        except Exception:
            self._log.failure(
                "internal error: cannot check whether the service works; withholding the"
                " watchdog ping"
            )
            return
        # Store all names first: some may have answered already.
        self.waiting = set(asked)
        self._ill = False
        for name, answer in asked.items():
            answer.addErrback(self._unwell, name)
            answer.addCallback(self._answered, name)

    def _unwell(self, failure: Failure, name: str) -> None:
        self._ill = True
        self._log.failure(
            "{part} failed; withholding the watchdog ping", failure, part=name
        )

    def _answered(self, _: object, name: str) -> None:
        self.waiting.discard(name)
        if not self.waiting and not self._ill and self.running:
            self._say(WATCHDOG="1")

    def _say(self, **values: str) -> None:
        try:
            self._manager.say(**values)
        except OSError as error:
            self._log.warn(
                "cannot notify the service manager: {reason}", reason=str(error)
            )


class Notified(Protocol):
    """A service that tells how it is."""

    def parts(self) -> Mapping[str, Deferred[None] | Deferred[bool]]:
        """Ask every part whether it makes progress."""
        ...

    def status(self) -> str:
        """The state in one line."""
        ...


def managed(
    service: Notified,
    whole: IService,
    reactor: IReactor,
    environment: MutableMapping[str, str] = os.environ,
) -> IService:
    """
    A service that notifies its manager, if there is one.

    @param service: has C{parts()} and C{status()}, as L{Notifier} needs them.
    @param whole: the service together with its siblings.
    """
    manager = ServiceManager.take(environment)
    if manager is None:
        return whole
    both = MultiService()
    cast(Service, whole).setServiceParent(both)
    # Last: it starts after the service and stops earlier.
    notifier = Notifier(manager, reactor, service.parts, service.status)
    notifier.setServiceParent(both)  # type: ignore[no-untyped-call]
    return cast(IService, both)


def adoptedSockets(environment: Mapping[str, str] | None = None) -> list[int]:
    """
    The descriptors that a service manager opened for this process. Call this once.

    @param environment: by default the one that the process was started with: Twisted removes
        these variables from its own when it is imported, and its use of them does not help us
        without names.
    """
    environment = _firstEnvironment() if environment is None else environment
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return []
    descriptors = list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors


def _firstEnvironment() -> dict[str, str]:
    try:
        octets = Path("/proc/self/environ").read_bytes()
    except OSError:
        return {}
    entries = [os.fsdecode(entry).partition("=") for entry in octets.split(b"\0")]
    return {name: value for name, _, value in entries}

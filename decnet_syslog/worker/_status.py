"""The status of a forwarder, gathered on request."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from twisted.logger import Logger

from .. import __version__, hotpath
from ..monitoring import (
    EASE_S,
    EXPIRING_S,
    LAGGING_S,
    Alarm,
    CertificateFacts,
    ForwarderFacts,
    FoundFacts,
    StatusOptions,
    WatchService,
    buildFacts,
    forwarderMetrics,
    utcText,
)
from ..reactors import IReactor
from ..sending import NOT_LIMITED
from ..trust import KINDS, Bundle
from ..untrusted import escapeUntrusted
from ._service import ForwarderService

__all__ = ["ForwarderStatus", "watchForwarder"]

# The remedy for a certificate that expires soon, by its role.
_RENEWAL = {
    "ca": "replace the CA (decnet-syslog ca replace on the master)",
    "master": "enroll the master again",
    "worker": "enroll this worker again",
}

_OF = {"ca": "the CA", "master": "the master", "worker": "this worker"}

# Logged when a problem is over, by its kind.
_OVER = {
    "stuck": "every followed file can be delivered again",
    "lagging": "the oldest undelivered line is no longer too old",
    "expiring": "no certificate expires soon any more",
}


class ForwarderStatus:
    """The status of a forwarder."""

    _log = Logger()

    def __init__(
        self,
        forwarder: ForwarderService,
        clock: Callable[[], float],
        bundle: Callable[[], Bundle],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param bundle: returns our certificates in use.
        """
        self._forwarder = forwarder
        self._clock = clock
        self._wallClock = wallClock
        self._bundle = bundle
        self._started = wallClock()
        self._startedAt = clock()
        # The end of the validity of the certificate that the last master had.
        self._masterEnds: float | None = None
        self._alarms = {
            "stuck": Alarm(EASE_S),
            "lagging": Alarm(EASE_S),
            "expiring": Alarm(0.0),
        }

    def refresh(self) -> None:
        """Raise and clear alarms; log each change."""
        now = self._clock()
        components = self._forwarder.components
        stuck = [
            f"cannot deliver {escapeUntrusted(trouble.name, 300)}:"
            f" {escapeUntrusted(trouble.reason, 200)}"
            for trouble in components.reporter.troubles()
            if trouble.kind == "stuck"
        ]
        lagging = self._alarms["lagging"].raised
        age = components.reporter.age
        late = age >= (LAGGING_S / 2 if lagging else LAGGING_S)
        first = min(self._certificates(), key=lambda one: float(one["expires"]))
        ends, role = first["expires"], first["role"]
        wrong = {
            "stuck": stuck[0] if stuck else None,
            "lagging": f"the oldest undelivered line is {age:.0f} s old: {self._whyLate()}"
            if late
            else None,
            "expiring": f"the certificate of {_OF[role]} expires on {utcText(ends)}:"
            f" {_RENEWAL[role]}"
            if ends - self._wallClock() < EXPIRING_S
            else None,
        }
        for kind, text in wrong.items():
            alarm = self._alarms[kind]
            if alarm.see(text, now):
                if alarm.raised:
                    self._log.warn("{reason}", event=kind, reason=text)
                else:
                    self._log.info(
                        "{reason}", event=kind, reason=_OVER[kind], over=True
                    )

    def _whyLate(self) -> str:
        reason, text = self._forwarder.components.counts.limit
        if reason == "none":
            return "check the connection to the master, and its outputs"
        return f"the master holds this worker back: {escapeUntrusted(text, 200)}"

    def _certificates(self) -> list[CertificateFacts]:
        bundle = self._bundle()
        authorities = [ca.not_valid_after_utc for ca in bundle.authorities]
        found: list[CertificateFacts] = [
            {"role": "ca", "name": "", "expires": min(authorities).timestamp()},
            {
                "role": "worker",
                "name": "",
                "expires": bundle.certificate.not_valid_after_utc.timestamp(),
            },
        ]
        connection = self._forwarder.components.factory.connection
        if connection is not None and connection.session is not None:
            theirs = connection.transport.getPeerCertificate().to_cryptography()
            self._masterEnds = theirs.not_valid_after_utc.timestamp()
        if self._masterEnds is not None:
            found.append({"role": "master", "name": "", "expires": self._masterEnds})
        return found

    def obstacles(self) -> list[str]:
        """Why nothing can be delivered now."""
        if not self._forwarder.running:
            return ["starting"]
        factory = self._forwarder.components.factory
        connection = factory.connection
        if connection is None or not connection.greeted:
            return [f"no connection to the master: {factory.why}"]
        return []

    def facts(self) -> ForwarderFacts:
        """The complete status, for JSON."""
        components = self._forwarder.components
        pulse, counts = components.reporter, components.counts
        connection = components.factory.connection
        session = None if connection is None else connection.session
        # With no file to open, only the greeting shows that the master accepts us.
        greeted = session is not None and session.isGreeted
        connected = connection is not None and (connection.isAccepted or greeted)
        now = self._clock()
        problems: list[FoundFacts] = [
            {
                "kind": kind,
                "what": "",
                "text": alarm.text,
                "seconds": now - (alarm.since or now),
            }
            for kind, alarm in self._alarms.items()
            if alarm.raised
        ]
        if not connected:
            problems.append(
                {
                    "kind": "disconnected",
                    "what": "master",
                    "text": components.factory.why,
                    "seconds": 0,
                }
            )
        report = pulse.report
        return {
            "role": "forwarder",
            "version": __version__,
            "hot_path": hotpath.description,
            "host": socket.gethostname(),
            "build": buildFacts(),
            "time": utcText(self._wallClock()),
            "started": utcText(self._started),
            "uptime": round(self._clock() - self._startedAt, 3),
            "ok": not problems,
            "problems": problems,
            "master": {
                "host": components.masters.current.host,
                "port": components.masters.current.port,
                "all": [str(address) for address in components.masters.addresses],
                "connected": connected,
                "acknowledges": connection is not None and connection.control,
                "ends": dict(components.factory.ends),
                # All kinds, including those at 0: a counter that first appears at 1 shows no rise.
                "refusals": {kind: components.factory.refusals[kind] for kind in KINDS},
            },
            "followed": report.followed,
            "files": [
                {
                    "name": file.name,
                    "stream": file.stream,
                    "generation": file.generation,
                    "size": file.size,
                    "position": file.position,
                    "behind_seconds": file.age,
                }
                for file in sorted(report.files, key=lambda file: -file.behind)
            ],
            "troubles": [
                {"kind": one.kind, "name": one.name, "reason": one.reason}
                for one in pulse.troubles()
            ],
            "behind_octets": pulse.behind,
            "behind_seconds": pulse.age,
            "throttled": None
            if counts.limit == NOT_LIMITED
            else {"reason": counts.limit[0], "text": counts.limit[1]},
            "throttled_seconds": counts.limitedSeconds(now),
            "in_flight_octets": 0 if session is None else session.inFlight,
            "acknowledgements": counts.acknowledgements,
            "octets": counts.octets,
            "gaps": dict(counts.gaps),
            "gap_octets": dict(counts.gapOctets),
            "certificates": self._certificates(),
        }


def watchForwarder(
    reactor: IReactor,
    forwarder: ForwarderService,
    options: StatusOptions,
    bundle: Callable[[], Bundle],
) -> WatchService[ForwarderFacts]:
    """The status service of a forwarder; start it after the forwarder."""
    status = ForwarderStatus(forwarder, reactor.seconds, bundle)
    return WatchService(
        reactor,
        "decnet-forwarder",
        options,
        status.refresh,
        status.facts,
        forwarderMetrics,
        obstacles=status.obstacles,
        parts=forwarder.parts,
    )

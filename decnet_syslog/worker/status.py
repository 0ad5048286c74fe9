"""What there is to know of a forwarder, gathered when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from twisted.logger import Logger

from .. import __version__
from ..trust.bundles import Bundle
from ..trust.names import showText
from ..trust.refusals import KINDS
from ..watch.alarm import Alarm
from ..watch.fleet import EXPIRING_S, LAGGING_S
from ..watch.metrics import forwarderMetrics
from ..watch.service import StatusOptions, WatchService
from ..watch.shown import utcText
from .service import ForwarderService

__all__ = ["ForwarderStatus", "watchForwarder"]

# How long a thing must be good again to be over, in seconds.
EASE_S = 10.0


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
        @param bundle: ours, as it is in use.
        """
        self._forwarder = forwarder
        self._clock = clock
        self._wallClock = wallClock
        self._bundle = bundle
        self._started = wallClock()
        # Of the certificate that the master last had.
        self._masterEnds: float | None = None
        self._alarms = {
            "stuck": Alarm(EASE_S),
            "lagging": Alarm(EASE_S),
            "expiring": Alarm(0.0),
        }

    def look(self) -> None:
        """Compare what is the case with what was said, and say what is new."""
        now = self._clock()
        works = self._forwarder.works
        stuck = [
            f"{showText(trouble.name, 300)}: {showText(trouble.reason, 200)}"
            for trouble in works.pulse.troubles()
            if trouble.kind == "stuck"
        ]
        lagging = self._alarms["lagging"].raised
        age = works.pulse.age
        late = age >= (LAGGING_S / 2 if lagging else LAGGING_S)
        ends = min([certificate["expires"] for certificate in self._certificates()])
        wrong = {
            "stuck": stuck[0] if stuck else None,
            "lagging": f"the oldest undelivered line is {age:.0f} s old"
            if late
            else None,
            "expiring": f"a certificate ends on {utcText(ends)}: enrol again"
            if ends - self._wallClock() < EXPIRING_S
            else None,
        }
        for kind, text in wrong.items():
            alarm = self._alarms[kind]
            if alarm.see(text, now):
                if alarm.raised:
                    self._log.warn(
                        "{kind}: {reason}", event=kind, kind=kind, reason=text
                    )
                else:
                    self._log.info("no longer {kind}", event=kind, kind=kind, over=True)

    def _certificates(self) -> list[dict[str, Any]]:
        bundle = self._bundle()
        authorities = [ca.not_valid_after_utc for ca in bundle.authorities]
        found = [
            {"role": "ca", "name": "", "expires": min(authorities).timestamp()},
            {
                "role": "worker",
                "name": "",
                "expires": bundle.certificate.not_valid_after_utc.timestamp(),
            },
        ]
        line = self._forwarder.works.factory.line
        if line is not None and line.session is not None:
            theirs = cast(Any, line.transport).getPeerCertificate().to_cryptography()
            self._masterEnds = theirs.not_valid_after_utc.timestamp()
        if self._masterEnds is not None:
            found.append({"role": "master", "name": "", "expires": self._masterEnds})
        return found

    def facts(self) -> dict[str, Any]:
        """All there is to know."""
        works = self._forwarder.works
        pulse, counts = works.pulse, works.counts
        line = works.factory.line
        session = None if line is None else line.session
        # Without a file to open, the greeting is all that is heard.
        greeted = session is not None and session.isGreeted
        connected = line is not None and (line.taken or greeted)
        now = self._clock()
        problems = [
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
                    "text": works.factory.why,
                    "seconds": 0,
                }
            )
        report = pulse.report
        return {
            "role": "forwarder",
            "version": __version__,
            "time": utcText(self._wallClock()),
            "started": utcText(self._started),
            "ok": not problems,
            "problems": problems,
            "master": {
                "host": works.masters.current.host,
                "port": works.masters.current.port,
                "all": [str(address) for address in works.masters.addresses],
                "connected": connected,
                "acknowledges": line is not None and line.control,
                "ends": dict(works.factory.ends),
                # Those that never were, too: a counter that begins at 1 has not grown.
                "refusals": {kind: works.factory.refusals[kind] for kind in KINDS},
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
            "in_flight_octets": 0 if session is None else session.inFlight,
            "acknowledgements": counts.acknowledgements,
            "octets": counts.octets,
            "gaps": dict(counts.gaps),
            "gap_octets": dict(counts.gapOctets),
            "certificates": self._certificates(),
        }


def watchForwarder(
    reactor: Any,
    forwarder: ForwarderService,
    options: StatusOptions,
    bundle: Callable[[], Bundle],
) -> WatchService:
    """The service that watches a forwarder; to be started after it."""
    status = ForwarderStatus(forwarder, reactor.seconds, bundle)
    return WatchService(
        reactor,
        "decnet-forwarder",
        options,
        status.look,
        status.facts,
        forwarderMetrics,
    )

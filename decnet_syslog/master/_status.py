"""
The listener's status, gathered on request.

This module works only at commits and at periodic looks. A commit adds a few numbers for each
batch, never for each line.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger

from .. import __version__, hotpath
from ..journal import Batch
from ..monitoring import (
    DAY_S,
    LATELY_S,
    CertificateFacts,
    Durations,
    Enrolled,
    Fleet,
    ListenerFacts,
    Presence,
    ProblemFacts,
    StatusOptions,
    WatchService,
    buildFacts,
    listenerMetrics,
    makePages,
    outputFacts,
    problemRecord,
    utcText,
)
from ..reactors import IReactor
from ..trust import Bundle
from ._service import ListenerService
from ._workerfacts import workerFacts

__all__ = ["ListenerStatus", "watchListener"]

# From this share of its limit on, the journal is a problem.
FILLING = 0.75


class ListenerStatus:
    """
    The status of a listener.

    @ivar fleet: the workers.
    """

    _log = Logger()

    def __init__(
        self,
        listener: ListenerService,
        clock: Callable[[], float],
        enrolled: Callable[[], Mapping[str, Enrolled]],
        bundle: Callable[[], Bundle],
        wallClock: Callable[[], float] = time.time,
        hideLines: bool = False,
    ) -> None:
        """
        @param enrolled: reads the expected workers.
        @param bundle: the master's bundle that is in use.
        @param hideLines: whether the status shows no worker's lines.
        """
        self._listener = listener
        self._clock = clock
        self._wallClock = wallClock
        self._bundle = bundle
        self._hideLines = hideLines
        self._started = wallClock()
        self._startedAt = clock()
        self._durations = Durations()
        self._position = 0
        self._attached = False
        self.fleet = Fleet(clock, wallClock, enrolled, self._ends())

    def _ends(self) -> dict[str, float]:
        """The expiry times of our own certificates."""
        bundle = self._bundle()
        return {
            "CA": min(ca.not_valid_after_utc.timestamp() for ca in bundle.authorities),
            "master": bundle.certificate.not_valid_after_utc.timestamp(),
        }

    def _attach(self) -> None:
        """Subscribe to commits and reports once the listener has started."""
        components = self._listener.components
        components.factory.reported = self.fleet.reported
        components.commits.onBatches(self._committed)
        self._attached = True

    def _committed(self, batches: list[Batch]) -> None:
        # An error in counting must never stop a commit.
        try:
            self._durations.add(self._listener.components.commits.took)
            self._position = batches[-1].seq
            self.fleet.committed(batches)
        except Exception:
            self._log.failure("cannot count a commit")

    def refresh(self) -> None:
        """Update the fleet's state, and raise or end alarms."""
        if not self._attached:
            self._attach()
        now = self._clock()
        self.fleet.ends.update(self._ends())
        present: dict[str, Presence] = {}
        for connection in self._listener.components.factory.connections:
            name, certificate = connection.worker, connection.certificate
            assert name is not None and certificate is not None
            expires = certificate.not_valid_after_utc.timestamp()
            heard = (
                connection.heard if connection.reports and connection.reading else now
            )
            before = present.get(name)
            if before is None:
                present[name] = Presence(1, (connection.address,), heard, expires)
            else:
                present[name] = Presence(
                    before.connections + 1,
                    (*before.addresses, connection.address),
                    max(before.heard, heard),
                    min(before.expires or expires, expires),
                )
        self.fleet.updateAlarms(
            present, self._listener.components.factory.holding.held()
        )

    def obstacles(self) -> list[str]:
        """Why no lines can be accepted, or an output not be written, now."""
        if not self._listener.running:
            return ["not listening yet"]
        components = self._listener.components
        found = [
            f"cannot write {writer.output.name}: {writer.blocked}"
            for writer in components.writers
            if writer.blocked is not None
        ]
        if components.commits.obstacle is not None:
            found.append(f"{components.commits.obstacle}: nothing is accepted")
        return found

    def facts(self) -> ListenerFacts:
        """The whole status, as the JSON document has it."""
        components = self._listener.components
        now, wall = self._clock(), self._wallClock()
        workers = [
            workerFacts(
                self.fleet.workers[name], components.factory, now, wall, self._hideLines
            )
            for name in sorted(self.fleet.workers)
        ]
        outputs = [
            outputFacts(writer, writer.output.seq) for writer in components.writers
        ]
        problems: list[ProblemFacts] = [
            {"kind": kind, "what": w["name"], **alarm}
            for w in workers
            for kind, alarm in w["alarms"].items()
        ]
        problems += self._ownProblems(now)
        certificates: list[CertificateFacts] = [
            {"role": what.lower(), "name": "", "expires": ends}
            for what, ends in self.fleet.ends.items()
        ]
        certificates += [
            {"role": "worker", "name": w["name"], "expires": w["expires"]}
            for w in workers
            if w["expires"] is not None and not w["revoked"]
        ]
        return {
            "role": "listener",
            "version": __version__,
            "hot_path": hotpath.description,
            "host": socket.gethostname(),
            "time": utcText(wall),
            "build": buildFacts(),
            "started": utcText(self._started),
            "uptime": round(now - self._startedAt, 3),
            "ok": not problems,
            "problems": problems,
            "workers": workers,
            "states": dict(Counter(w["state"] for w in workers)),
            "connected_workers": sum(w["connections"] > 0 for w in workers),
            "connections": len(components.factory.connections),
            "handshakes": components.handshakes,
            "commits": self._durations.asRecord(),
            "acknowledgements": components.commits.acknowledgements,
            "lines": self.fleet.lines,
            "lines_per_second_lately": self.fleet.lately.asRecord(LATELY_S),
            "lines_per_second_day": self.fleet.day.asRecord(DAY_S),
            "journal": {
                "octets": components.journal.octets,
                "kept_octets": components.journal.keptOctets,
                "octets_max": components.journalOctetsMax,
                "full": components.commits.obstacle is not None,
                "waiting_octets": components.commits.pendingOctets,
                "position": max(
                    [
                        self._position,
                        *[writer.output.seq for writer in components.writers],
                    ]
                ),
            },
            "outputs": outputs,
            "certificates": certificates,
        }

    def _ownProblems(self, now: float) -> list[ProblemFacts]:
        """The problems of the listener itself: journal, outputs, own certificates."""
        components = self._listener.components
        wall = self._wallClock()
        found = [
            problemRecord(
                "expiring",
                what,
                alarm.text,
                now - (alarm.since or now),
                expired=self.fleet.ends[what] <= wall,
                ours=True,
            )
            for what, alarm in self.fleet.certificateAlarms.items()
            if alarm.raised
        ]
        found += [
            problemRecord("blocked", writer.output.name, writer.blocked)
            for writer in components.writers
            if writer.blocked is not None
        ]
        used = components.journal.octets / max(1, components.journalOctetsMax)
        if components.commits.obstacle is not None:
            text = f"{components.commits.obstacle}: nothing is accepted"
            found.append(problemRecord("full", "journal", text))
        elif used >= FILLING:
            text = f"{used:.0%} of --journal-max is in use"
            found.append(problemRecord("filling", "journal", text))
        return found


def watchListener(
    reactor: IReactor,
    listener: ListenerService,
    options: StatusOptions,
    enrolled: Callable[[], Mapping[str, Enrolled]],
    bundle: Callable[[], Bundle],
    context: IOpenSSLServerConnectionCreator,
) -> WatchService[ListenerFacts]:
    """
    Make the service that watches a listener. Start it after the listener.

    @param context: the TLS context for operators.
    """
    status = ListenerStatus(
        listener,
        reactor.seconds,
        enrolled,
        bundle,
        hideLines=options.hideLines,
    )
    return WatchService(
        reactor,
        "decnet-listener",
        options,
        status.refresh,
        status.facts,
        listenerMetrics,
        lambda facts, events: makePages(
            facts, status.fleet.workers.get, events.of, options.hideLines
        ),
        context,
        obstacles=status.obstacles,
        parts=listener.parts,
    )

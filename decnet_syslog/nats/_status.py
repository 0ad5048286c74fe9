"""The status of the outputs, collected on request."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import __version__, hotpath
from ..journal import JournalBlocked
from ..monitoring import (
    FoundFacts,
    OutputsFacts,
    StatusOptions,
    WatchService,
    buildFacts,
    outputFacts,
    outputsMetrics,
    utcText,
)
from ..reactors import IReactor
from ._service import OutputsService

__all__ = ["OutputsStatus", "watchOutputs"]

# After this time without an answer, in seconds, the status reports the journal as away.
SILENT_S = 15.0


class OutputsStatus:
    """The status of the outputs."""

    _log = Logger()

    def __init__(
        self,
        outputs: OutputsService,
        clock: Callable[[], float],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self._outputs = outputs
        self._clock = clock
        self._wallClock = wallClock
        self._started = wallClock()
        self._startedAt = clock()
        self._asking = False
        self._heard = clock()
        # Octets and last message of the stream.
        self._octets = self._position = 0

    def refresh(self) -> None:
        """Ask for the journal's size, unless the last request has no answer yet."""
        if self._asking:
            return
        self._asking = True
        asked = self._outputs.sizeOfJournal()
        asked.addCallbacks(self._answered, self._silent)

    def _answered(self, size: tuple[int, int] | None) -> None:
        self._asking = False
        if size is not None:
            self._octets, self._position = size
            self._heard = self._clock()

    def _silent(self, failure: Failure) -> None:
        self._asking = False
        if failure.check(JournalBlocked) is None:
            self._log.failure("cannot ask for the size of the journal", failure)

    def obstacles(self) -> list[str]:
        """Why the outputs cannot be written now."""
        if not self._outputs.running:
            return ["starting"]
        blocked = self._outputs.writers.blocked().items()
        return [f"cannot write {name}: {why}" for name, why in blocked]

    def facts(self) -> OutputsFacts:
        """Collect the facts for the status."""
        silence = self._clock() - self._heard
        writers = self._outputs.writers
        outputs = [
            outputFacts(writer, writers.position(writer.output))
            for writer in writers.all
        ]
        problems: list[FoundFacts] = [
            {"kind": "blocked", "what": o["name"], "text": o["blocked"], "seconds": 0}
            for o in outputs
            if o["blocked"] is not None
        ]
        if silence >= SILENT_S:
            problems.append(
                {
                    "kind": "away",
                    "what": "journal",
                    "text": f"no answer for {silence:.0f} s",
                    "seconds": silence,
                }
            )
        return {
            "role": "outputs",
            "version": __version__,
            "hot_path": hotpath.description,
            "host": socket.gethostname(),
            "build": buildFacts(),
            "time": utcText(self._wallClock()),
            "started": utcText(self._started),
            "uptime": round(self._clock() - self._startedAt, 3),
            "ok": not problems,
            "problems": problems,
            "writing": self._outputs.isWriting,
            "holder": self._outputs.holder,
            "journal": {
                "name": self._outputs.journalName,
                "octets": self._octets,
                "octets_max": self._outputs.journalOctetsMax,
                "position": self._position,
                "silence": silence,
            },
            "outputs": outputs,
        }


def watchOutputs(
    reactor: IReactor, outputs: OutputsService, options: StatusOptions
) -> WatchService[OutputsFacts]:
    """Make the service that watches the outputs. Start it after the outputs."""
    status = OutputsStatus(outputs, reactor.seconds)
    # A request to the journal uses the network: ask only if the answer can be seen.
    isSeen = options.port is not None
    return WatchService(
        reactor,
        "decnet-outputs",
        options,
        status.refresh if isSeen else lambda: None,
        status.facts,
        outputsMetrics,
        obstacles=status.obstacles,
        parts=outputs.parts,
    )

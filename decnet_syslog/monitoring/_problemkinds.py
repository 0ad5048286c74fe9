"""
The kinds of problem: how severe each is, and its remedy.

An error is wrong now; a warning will become an error. The log, the page, C{/status.json} and
C{decnet-syslog status} use this table, so each problem has one remedy everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ._factparts import ProblemFacts, WorkerFacts
from ._workerstate import ALARMS

__all__ = [
    "ERROR",
    "PROBLEMS",
    "STATES",
    "THROTTLE_REMEDIES",
    "WARNING",
    "ProblemKind",
    "bySeverity",
    "problemRecord",
    "severityOf",
    "severityOfState",
]

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """
    One kind of problem.

    @ivar severity: L{ERROR} or L{WARNING}.
    @ivar remedy: what the operator should do, without a period at the end.
    """

    severity: str
    remedy: str


# The worst first.
PROBLEMS: Mapping[str, ProblemKind] = {
    "full": ProblemKind(
        ERROR,
        "Workers keep their lines until the journal accepts them again. Free disk space, or repair"
        " the journal that the text names; the listener then continues by itself",
    ),
    "blocked": ProblemKind(
        ERROR,
        "Accepted lines stay in the journal until then. Remove the cause; the output then continues"
        " by itself",
    ),
    "silent": ProblemKind(
        ERROR,
        "Check that decnet-forwarder runs there and reaches this machine's port; if the worker is"
        " retired, revoke its certificate",
    ),
    "stuck": ProblemKind(
        ERROR, "Give decnet-forwarder's user the right to read the file"
    ),
    "diverged": ProblemKind(
        ERROR,
        "The worker's state or disk was restored or copied; compare with decnet-syslog verify",
    ),
    "gap": ProblemKind(ERROR, "See the gap records in the outputs"),
    "lagging": ProblemKind(ERROR, "Check its network link and this machine's disk"),
    "filling": ProblemKind(
        WARNING,
        "When it is full, the listener accepts nothing. Check the outputs, or raise --journal-max",
    ),
    "expiring": ProblemKind(
        WARNING, "Enroll the worker again with decnet-syslog enroll"
    ),
}

# The states of a worker in the order of the page: problems, the worst first; then workers that
# are there, then those that are not.
STATES = (
    *[kind for kind in PROBLEMS if kind in ALARMS],
    "throttled",
    "ok",
    "gone",
    "absent",
    "revoked",
)

# For each reason to hold a worker back, what the operator can do.
THROTTLE_REMEDIES: Mapping[str, str] = {
    "rate": "Raise --max-rate if this worker may send more",
    "memory": "Check the speed of the journal's disk",
    "journal": "Check the outputs, or raise --journal-max",
    "output": "Check the output's disk, and what else writes to it",
}

# Remedies for our own certificates.
_OURS = "Renew it (docs/trust.rst)"

_Record = TypeVar("_Record", bound=Mapping[str, object])


def severityOfState(worker: WorkerFacts) -> str | None:
    """
    The severity of a worker's state; C{None}: the state is no problem.

    @param worker: the facts about it, as in C{/status.json}.
    """
    state = worker["state"]
    if state == "throttled":
        # Its lines are late, and will be more so. It becomes an error with "lagging".
        return WARNING
    alarm = worker["alarms"].get(state)
    return None if alarm is None else str(alarm["severity"])


def severityOf(kind: str, expired: bool = False) -> str:
    """
    The severity of a problem.

    @param expired: whether the certificate in question has already expired.
    """
    return ERROR if expired else PROBLEMS[kind].severity


def problemRecord(
    kind: str,
    what: str,
    text: str,
    seconds: float = 0.0,
    expired: bool = False,
    ours: bool = False,
) -> ProblemFacts:
    """
    A problem for JSON.

    @param what: the worker, the output, or the part of the listener.
    @param seconds: how long ago the problem was reported; 0: unknown.
    @param expired: whether the certificate in question has already expired.
    @param ours: whether that certificate is the listener's own.
    """
    return {
        "kind": kind,
        "severity": severityOf(kind, expired),
        "what": what,
        "text": text,
        "remedy": _OURS if ours else PROBLEMS[kind].remedy,
        "seconds": seconds,
    }


def bySeverity(found: Iterable[_Record]) -> list[_Record]:
    """
    Problems, errors before warnings and then the worst kind first.

    A kind of a listener of another version comes last among those of its severity.
    """
    ranks = {kind: rank for rank, kind in enumerate(PROBLEMS)}
    return sorted(
        found,
        key=lambda one: (
            one["severity"] != ERROR,
            ranks.get(str(one["kind"]), len(ranks)),
        ),
    )

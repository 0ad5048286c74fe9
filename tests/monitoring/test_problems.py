"""Tests for the problems in the listener's status: severity, remedy, order."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.monitoring._factparts import ProblemFacts
from decnet_syslog.monitoring._problemkinds import (
    ERROR,
    PROBLEMS,
    STATES,
    WARNING,
    bySeverity,
)
from decnet_syslog.monitoring._workerstate import ALARMS

from ..watched import DAY, EXPIRING, LAGGING, NAMES, Watched, twelve


class KindTests(SynchronousTestCase):
    """The table of kinds."""

    def test_everyAlarmHasARemedy(self) -> None:
        """Each alarm of a worker is a kind of problem, in the same order, with a remedy."""
        self.assertEqual([kind for kind in PROBLEMS if kind in ALARMS], list(ALARMS))
        for kind, problem in PROBLEMS.items():
            self.assertIn(problem.severity, (ERROR, WARNING), kind)
            self.assertRegex(problem.remedy, r"^[A-Z].*[^.]$", kind)

    def test_absentWorkersComeLast(self) -> None:
        """Workers that are not there come after those that are."""
        self.assertEqual(STATES[-5:], ("throttled", "ok", "gone", "absent", "revoked"))
        self.assertEqual(STATES[0], "silent")

    def test_errorsComeFirst(self) -> None:
        """Errors come before warnings, and in each group the worst kind first."""
        found = [
            {"kind": "expiring", "severity": WARNING},
            {"kind": "filling", "severity": WARNING},
            {"kind": "expiring", "severity": ERROR},
            {"kind": "blocked", "severity": ERROR},
        ]
        kinds = [(one["kind"], one["severity"]) for one in bySeverity(found)]
        self.assertEqual(
            kinds,
            [
                ("blocked", ERROR),
                ("expiring", ERROR),
                ("filling", WARNING),
                ("expiring", WARNING),
            ],
        )


class StatusTests(SynchronousTestCase):
    """The problems of a listener."""

    def setUp(self) -> None:
        self.watched = Watched()

    def problems(self) -> dict[tuple[str, str], ProblemFacts]:
        """The present problems, by kind and subject."""
        found = self.watched.status.facts()["problems"]
        return {(one["kind"], one["what"]): one for one in found}

    def test_remedyAndSeverity(self) -> None:
        """Each problem has a severity and the remedy of its kind."""
        twelve(self.watched)
        self.watched.outputs[0].blocked = "No space left on device"
        found = self.problems()
        self.assertEqual(len(found), 5)
        for (kind, _), one in found.items():
            self.assertEqual(one["remedy"], PROBLEMS[kind].remedy)
            self.assertEqual(one["severity"], PROBLEMS[kind].severity)
        self.assertEqual(found["lagging", LAGGING]["severity"], ERROR)
        self.assertEqual(found["expiring", EXPIRING]["severity"], WARNING)

    def test_expiredCertificate(self) -> None:
        """A certificate that has expired is an error, one that will expire a warning."""
        self.watched.enroll("late", days=-1)
        self.watched.enroll("soon", days=1)
        self.watched.look()
        found = self.problems()
        self.assertEqual(found["expiring", "late"]["severity"], ERROR)
        self.assertEqual(found["expiring", "soon"]["severity"], WARNING)

    def test_ownCertificate(self) -> None:
        """The listener's own certificate has a remedy of its own."""
        self.watched.clock.advance(290 * DAY)
        self.watched.look()
        one = self.problems()["expiring", "master"]
        self.assertEqual(one["severity"], WARNING)
        self.assertIn("docs/trust.rst", one["remedy"])
        self.watched.clock.advance(20 * DAY)
        self.assertEqual(self.problems()["expiring", "master"]["severity"], ERROR)

    def test_journalFills(self) -> None:
        """A journal near its limit is a warning; one that accepts nothing is an error."""
        components = self.watched.components
        components.journal.octets = round(0.74 * components.journalOctetsMax)
        self.assertEqual(self.problems(), {})
        components.journal.octets = round(0.81 * components.journalOctetsMax)
        one = self.problems()["filling", "journal"]
        self.assertEqual(one["severity"], WARNING)
        self.assertEqual(one["text"], "81% of --journal-max is in use")
        self.watched.commits.full = True
        self.watched.commits.why = "no space on the journal's disk"
        (key,) = self.problems()
        self.assertEqual(key, ("full", "journal"))

    def test_hostAndUptime(self) -> None:
        """The status names the machine, and says how long the process has been running."""
        self.watched.clock.advance(75)
        facts = self.watched.status.facts()
        self.assertEqual((facts["host"], facts["uptime"]), (socket.gethostname(), 75))

    def test_fleetsCurve(self) -> None:
        """The status has the sum of all workers' lines, and its curve."""
        twelve(self.watched)
        facts = self.watched.status.facts()
        self.assertEqual(facts["lines"], sum(w["lines"] for w in facts["workers"]))
        curve = facts["lines_per_second_lately"]
        self.assertEqual((curve["step"], len(curve["values"])), (20.0, 90))
        workers = [self.watched.status.fleet.workers[name] for name in NAMES]
        newest = sum(w.lately.values[-1] for w in workers)
        self.assertAlmostEqual(curve["values"][-1], newest, 2)
        self.assertEqual(facts["lines_per_second_day"]["step"], 600.0)

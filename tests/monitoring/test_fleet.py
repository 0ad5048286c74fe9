"""
Tests for alarms about workers that are silent, stuck, lagging or about to expire, with
a fake clock and default settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from decnet_syslog.monitoring import _fleet as fleetModule
from decnet_syslog.monitoring._alarm import EASE_S, Alarm
from decnet_syslog.monitoring._enrolled import Enrolled, EnrolledList
from decnet_syslog.monitoring._fleet import EXPIRING_S, LAGGING_S, REFRESH_S, Fleet
from decnet_syslog.monitoring._workerstate import Presence
from decnet_syslog.wire import TROUBLE
from decnet_syslog.wire._report import ForwarderReport
from decnet_syslog.worker import _statusreporter as pulse

from ..watched import batch

# The documented maximum delay between a worker's failure and the alarm.
PROMISED_S = 30.0

WALL = 1_800_000_000.0


@implementer(ILogObserver)
class Told:
    """The events shown to an operator: kind, worker, and whether the alarm ended."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, bool]] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Record an event."""
        if "event" in event:
            self.events.append(
                (event["event"], event.get("worker", ""), event.get("over", False))
            )


class FleetTestCase(SynchronousTestCase):
    """A fleet that is checked at the service's intervals."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.enrolled: dict[str, Enrolled] = {}
        self.present: dict[str, Presence] = {}
        told = Told()
        self.events = told.events
        self.fleet = Fleet(
            self.clock.seconds,
            lambda: WALL + self.clock.seconds(),
            lambda: self.enrolled,
            {"CA": WALL + 1000 * 86400.0},
        )
        globalLogPublisher.addObserver(told)
        self.addCleanup(globalLogPublisher.removeObserver, told)
        self.look()

    def look(self) -> None:
        """Check the fleet every C{REFRESH_S}, as the service does."""
        self.fleet.updateAlarms(self.present)
        self.clock.callLater(REFRESH_S, self.look)

    def enroll(self, *names: str, expires: float = WALL + 400 * 86400.0) -> None:
        """Enroll workers."""
        for name in names:
            self.enrolled[name] = Enrolled(expires)

    def beat(self, name: str) -> None:
        """Octets from a worker have arrived."""
        self.present[name] = Presence(1, ("192.0.2.1:5",), self.clock.seconds())

    def until(self, seconds: float, *beating: str) -> None:
        """Advance the time while workers keep sending."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            for name in beating:
                if self.clock.seconds() % pulse.BEAT_S < 0.25:
                    self.beat(name)
            self.clock.advance(0.25)

    def state(self, name: str) -> str:
        """A worker's state, as one word."""
        return self.fleet.workers[name].state


class SilentTests(FleetTestCase):
    """Alarms about silence."""

    def test_alarmInTime(self) -> None:
        """
        Whenever a worker stops, connected or not, an alarm names it at most 30 seconds
        later; active workers cause none.
        """
        for cut in (False, True):
            for phase in range(13):
                self.setUp()
                self.enroll("decky-01", "decky-02")
                self.until(120 + phase, "decky-01", "decky-02")
                self.assertEqual(self.events, [])
                if cut:
                    del self.present["decky-01"]
                self.until(PROMISED_S, "decky-02")
                self.assertEqual(
                    self.events, [("silent", "decky-01", False)], f"{cut} {phase}"
                )
                self.assertEqual(self.state("decky-02"), "ok")

    def test_shortConnection(self) -> None:
        """
        A worker that connected, sent and died between two checks was noticed, and is
        missed in time.
        """
        self.enroll("decky-01")
        self.clock.advance(1)
        self.fleet.committed([batch(b"x\n")])
        self.until(PROMISED_S)
        self.assertEqual(self.events, [("silent", "decky-01", False)])

    def test_alarmEnds(self) -> None:
        """
        The alarm ends after the worker has been active for some time, and is raised
        once.
        """
        self.enroll("decky-01")
        self.until(60, "decky-01")
        self.until(60)
        self.assertEqual(self.state("decky-01"), "silent")
        self.until(EASE_S + 3 * REFRESH_S + pulse.BEAT_S, "decky-01")
        self.assertEqual(
            self.events, [("silent", "decky-01", False), ("silent", "decky-01", True)]
        )

    def test_graceAfterStart(self) -> None:
        """After the master's start a worker has time to connect; then it is missed."""
        self.enroll("decky-01")
        self.until(fleetModule.GRACE_S - 1)
        self.assertEqual((self.events, self.state("decky-01")), ([], "absent"))
        self.until(1 + REFRESH_S + 1)
        self.assertEqual(self.events, [("silent", "decky-01", False)])

    def test_newWorker(self) -> None:
        """
        A worker enrolled while the master runs is missed later, because its bundle must
        first be installed.
        """
        self.until(120)
        self.enroll("decky-01")
        self.until(fleetModule.NEW_S - REFRESH_S)
        self.assertEqual(self.events, [])
        self.until(2 * REFRESH_S + 1)
        self.assertEqual(self.events, [("silent", "decky-01", False)])

    def test_revokedWorker(self) -> None:
        """A revoked worker is not missed, and its earlier alarms end."""
        self.enroll("decky-01")
        self.beat("decky-01")
        self.fleet.reported(
            "decky-01",
            ForwarderReport(1, 5, 2 * LAGGING_S, (), (TROUBLE("stuck", "/x", "no"),)),
        )
        self.until(REFRESH_S + 1, "decky-01")
        self.assertEqual(self.state("decky-01"), "stuck")
        self.enrolled["decky-01"] = Enrolled(WALL, True)
        del self.present["decky-01"]
        self.until(120)
        self.assertEqual(self.state("decky-01"), "revoked")
        alarms = self.fleet.workers["decky-01"].alarms.values()
        self.assertFalse(any(alarm.raised for alarm in alarms))

    def test_unlistedWorker(self) -> None:
        """
        If there is a list, a worker that is not on it is shown but not missed; without
        a list, any worker that was connected is missed.
        """
        self.enroll("decky-01")
        self.until(60, "decky-01", "stranger")
        del self.present["stranger"]
        self.until(60, "decky-01")
        self.assertEqual((self.events, self.state("stranger")), ([], "gone"))
        self.enrolled.clear()
        self.until(REFRESH_S, "decky-01")
        self.assertEqual(self.events, [("silent", "stranger", False)])

    def test_numberOfWorkers(self) -> None:
        """Workers over the limit are served but not watched; this is reported once."""
        self.patch(fleetModule, "WORKERS_MAX", 3)
        for number in range(5):
            self.beat(f"w{number}")
        self.until(3 * REFRESH_S)
        self.assertEqual(len(self.fleet.workers), 3)
        self.assertEqual(self.events, [("limit", "", False)])


class OtherTests(FleetTestCase):
    """All other alarms."""

    def report(self, seconds: float = 0.0, *troubles: TROUBLE) -> None:
        """Receive a status report from decky-01."""
        self.beat("decky-01")
        self.fleet.reported("decky-01", ForwarderReport(1, 100, seconds, (), troubles))

    def test_stuckFile(self) -> None:
        """
        An unreadable file raises an alarm with its name, without terminal escapes; the
        alarm ends when the file is readable.
        """
        self.enroll("decky-01")
        self.report(0.0, TROUBLE("stuck", "/var/log/a\x1b[2J", "Permission denied"))
        self.until(REFRESH_S, "decky-01")
        self.assertEqual(self.events, [("stuck", "decky-01", False)])
        text = self.fleet.workers["decky-01"].alarms["stuck"].text
        self.assertIn("Permission denied", text)
        self.assertNotIn("\x1b", text)
        self.report()
        self.until(EASE_S + 2 * REFRESH_S, "decky-01")
        self.assertEqual(self.events[1:], [("stuck", "decky-01", True)])

    def test_divergedFile(self) -> None:
        """A diverged file in a forwarder's report raises an alarm."""
        self.enroll("decky-01")
        self.report(0.0, TROUBLE("diverged", "/var/log/a", "another content"))
        self.until(REFRESH_S, "decky-01")
        self.assertEqual(self.events, [("diverged", "decky-01", False)])

    def test_laggingWorker(self) -> None:
        """
        An old undelivered line raises an alarm, when the age of its report makes it old enough,
        too. It ends only once the age is below half of the limit.
        """
        self.enroll("decky-01")
        self.report(LAGGING_S - 3 * REFRESH_S)
        self.until(2 * REFRESH_S, "decky-01")
        self.assertEqual(self.events, [])
        self.until(2 * REFRESH_S, "decky-01")
        self.report(LAGGING_S - 1)
        self.until(EASE_S + 2 * REFRESH_S, "decky-01")
        self.assertEqual(self.events, [("lagging", "decky-01", False)])
        self.report(1)
        self.until(EASE_S + 2 * REFRESH_S, "decky-01")
        self.assertEqual(self.events[1:], [("lagging", "decky-01", True)])

    def test_gapAlarm(self) -> None:
        """A gap raises an alarm and is counted; the alarm ends after some time."""
        self.enroll("decky-01")
        self.fleet.committed([batch(b"", gap=7, reason="deleted")])
        self.until(REFRESH_S, "decky-01")
        self.assertEqual(self.events, [("gap", "decky-01", False)])
        found = self.fleet.workers["decky-01"]
        self.assertEqual((found.gaps, found.gapOctets), (1, 7))
        self.until(fleetModule.GAP_S + REFRESH_S, "decky-01")
        self.assertEqual(self.events[1:], [("gap", "decky-01", True)])

    def test_expiringCertificate(self) -> None:
        """
        The certificate in use counts, not the newest one; the master's own certificates
        count as well.
        """
        self.enroll("decky-01")
        self.until(REFRESH_S, "decky-01")
        self.assertEqual(self.events, [])
        ends = WALL + EXPIRING_S - 1
        self.present["decky-01"] = Presence(1, (), self.clock.seconds(), ends)
        self.until(REFRESH_S)
        self.assertEqual(self.events, [("expiring", "decky-01", False)])
        self.fleet.ends["CA"] = ends
        self.until(REFRESH_S)
        self.assertEqual(self.events[1:], [("expiring", "", False)])

    def test_lineRate(self) -> None:
        """The rate of lines approaches the true value, and decays afterwards."""
        self.enroll("decky-01")
        for _ in range(60):
            self.fleet.committed([batch(b"%s\n" % (b"x" * 99) * 30)])
            self.until(3, "decky-01")
        found = self.fleet.workers["decky-01"]
        self.assertLess(abs(found.lineRate - 10), 0.5)
        self.assertLess(abs(found.octetRate - 1000), 50)
        self.until(300, "decky-01")
        self.assertLess(found.lineRate, 0.01)


class AlarmTests(SynchronousTestCase):
    """Alarms that alternate are reported once."""

    def test_flappingAlarm(self) -> None:
        """An alarm that is raised and cleared repeatedly is reported once."""
        alarm = Alarm(10.0)
        said = [
            (now, alarm.raised)
            for now in range(40)
            if alarm.see("bad" if now < 20 and now % 3 == 0 else None, now)
        ]
        self.assertEqual(said, [(0, True), (29, False)])


class Admission:
    """An admission double with settable decisions."""

    def __init__(self) -> None:
        self.allowedNames: list[str] = []
        self.excluded: set[tuple[str, str, int]] = set()
        self.judged = 0

    @property
    def standing(self) -> object:
        """Changes whenever the decisions change."""
        return sorted(self.excluded), list(self.allowedNames)

    def excludes(self, name: str, print_: str, serial: int, key: str = "") -> bool:
        """The decision set for this certificate."""
        self.judged += 1
        return (name, print_, serial) in self.excluded


class EnrolledTests(SynchronousTestCase):
    """Which workers are expected."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.admission = Admission()
        self.list = EnrolledList(self.path, self.admission)

    def add(self, name: str, serial: str, day: str, role: str = "worker") -> None:
        """Add a line to the list of enrolled workers."""
        entry = {
            "name": name,
            "role": role,
            "serial": serial,
            "fingerprint": "p" + serial,
            "not_after": f"{day}T00:00:00Z",
        }
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")

    def test_withoutList(self) -> None:
        """Without a list, the names on the allow-list are expected."""
        self.assertEqual(self.list.read(), {})
        self.admission.allowedNames = ["decky-01"]
        self.assertEqual(self.list.read(), {"decky-01": Enrolled(None)})

    def test_latestCertificateCounts(self) -> None:
        """
        Of a name's accepted certificates the one that expires last counts; a name
        without an accepted certificate is not expected.
        """
        self.add("decky-01", "1f", "2030-01-02")
        self.add("decky-01", "20", "2030-01-01")
        self.add("master", "21", "2030-01-01", "master")
        self.add("../x", "22", "2030-01-01")
        with open(self.path, "a") as file:
            file.write('{"name": "torn')
        late, early = 1893542400.0, 1893456000.0
        self.assertEqual(self.list.read(), {"decky-01": Enrolled(late)})
        self.admission.excluded.add(("decky-01", "p1f", 0x1F))
        self.assertEqual(self.list.read(), {"decky-01": Enrolled(early)})
        self.admission.excluded.add(("decky-01", "p20", 0x20))
        (found,) = self.list.read().values()
        self.assertTrue(found.revoked)

    def test_unchangedListIsCached(self) -> None:
        """An unchanged list is not evaluated again."""
        self.add("decky-01", "1", "2030-01-02")
        self.list.read()
        self.list.read()
        self.assertEqual(self.admission.judged, 1)
        self.add("decky-02", "2", "2030-01-02")
        self.assertEqual(set(self.list.read()), {"decky-01", "decky-02"})

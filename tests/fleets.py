"""
Fleets of any size for the listener's page: a day of traffic, and some problems.

L{benchmarks.pictures} takes their pictures for the documentation.
"""

from __future__ import annotations

from math import pi, sin
from random import Random

from twisted.logger import globalLogPublisher

from decnet_syslog.receiving._holding import Held

from .watched import Watched

__all__ = ["fleet", "names"]

# A day in steps of ten minutes, and then an hour in steps that a worker's reports would have.
DAY_STEPS, DAY_STEP_S = 138, 600.0
HOUR_STEPS, HOUR_STEP_S = 180, 20.0

# How many workers have which problem, by the size of the fleet.
_TROUBLED = {3: (0, 1, 0, 1), 50: (2, 2, 1, 2), 500: (37, 6, 3, 11)}

_HELD = Held("rate", "--max-rate allows 65536 octets a second")

_SITES = ("ams", "fra", "iad", "nrt", "syd", "tokyo")
_LINE = (
    '<134>1 {at} {name} ssh 4711 login [decnet@55555 event_type="login_attempt"'
    ' attacker_ip="203.0.113.{octet}" username="{user}"] ssh: login as {user} failed\n'
)
_USERS = ("root", "admin", "oracle", "postgres", "test", "ubuntu", "pi")


def names(count: int) -> list[str]:
    """The names of a fleet's workers."""
    return [f"{_SITES[n % len(_SITES)]}-{n // len(_SITES) + 1}" for n in range(count)]


class _Traffic:
    """What the workers of a fleet send and report."""

    def __init__(self, watched: Watched, every: list[str], lagging: list[str]) -> None:
        self._watched = watched
        self._every = every
        self._lagging = lagging
        self._left = dict.fromkeys(every, 0.0)
        self._burst = dict.fromkeys(every, 0.0)
        self._random = Random(len(every))

    def pass_(self, steps: int, seconds: float) -> None:
        """Let time pass."""
        watched = self._watched
        for _ in range(steps):
            watched.clock.advance(seconds)
            watched.beat()
            for number, name in enumerate(self._every):
                if name in watched.lines:
                    self._worker(number, name, seconds)
            watched.look()

    def _worker(self, number: int, name: str, seconds: float) -> None:
        watched = self._watched
        hour = watched.clock.seconds() / 3600
        # More at night, some noise, and now and then an attacker tries many passwords.
        dice = self._random.random
        each = (0.5 + 0.35 * sin((hour + number % 5) * pi / 12)) * (0.4 + 1.2 * dice())
        if dice() < 0.03:
            self._burst[name] = 3 + 9 * dice()
        self._left[name] += seconds * (each + self._burst[name])
        self._burst[name] *= 0.6
        count = int(self._left[name])
        self._left[name] -= count
        if not count:
            return
        # Only one of the lines is made; the others count.
        fleet = watched.status.fleet
        fleet.lines += count - 1
        fleet.workers[name].lines += count - 1
        tick = round(watched.clock.seconds())
        line = _LINE.format(
            at=watched.at(),
            name=name,
            octet=(tick // 20 * 31 + number) % 250 + 1,
            user=_USERS[(tick // 20 + number) % len(_USERS)],
        )
        watched.send(name, line.encode())
        if name in self._lagging:
            number = self._lagging.index(name) + 1
            watched.report(name, 5_242_880 // number, 95.0 * number)
        else:
            watched.report(name, 0, 0)


def fleet(watched: Watched, count: int) -> None:
    """
    Make a fleet and let it run for a day.

    @param count: 3, 50 or 500.
    """
    every = names(count)
    silent, lagging, gaps, expiring = _TROUBLED[count]
    # One in seventeen: the troubled workers are not neighbours.
    mixed = [every[(n * 17 + 1) % count] for n in range(count)]

    def take(number: int) -> list[str]:
        found, mixed[:] = mixed[:number], mixed[number:]
        return found

    silentOnes, laggingOnes, gapOnes = take(silent), take(lagging), take(gaps)
    expiringOnes, absent, revoked = (
        take(expiring),
        take(count // 50),
        take(count // 50),
    )
    globalLogPublisher.addObserver(watched)
    try:
        for number, name in enumerate(every):
            if name in absent:
                continue
            days = 12 if name in expiringOnes else 300 + number % 90
            watched.enroll(name, days, name in revoked)
            if name not in revoked:
                watched.connect(name, number % 250 + 1)
        watched.look()
        traffic = _Traffic(watched, every, laggingOnes)
        traffic.pass_(DAY_STEPS, DAY_STEP_S)
        traffic.pass_(HOUR_STEPS, HOUR_STEP_S)
        for name in silentOnes:
            watched.disconnect(name)
        traffic.pass_(6, HOUR_STEP_S)
        for name in gapOnes:
            watched.skip(name, 73_112)
        for name in absent:
            watched.enroll(name)
        throttled = dict.fromkeys(take(count // 25), _HELD)
        watched.components.factory.holding.held = throttled.copy
        for output in watched.outputs:
            output.output.seq = 1
        traffic.pass_(1, 3.0)
    finally:
        globalLogPublisher.removeObserver(watched)

"""
How fast a worker may send: by not reading it, never by loss.

A token bucket for each name, not for each connection: a second connection, or the same
again, is no way around it. What a receive has beyond the bucket is taken and owed: nothing
is thrown away, and all connections of the name are not read until it is paid. TCP then
makes the worker wait, and its lines stay in its file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["BURST_OCTETS", "RATE_MIN", "Pacing"]

# What a worker that was quiet may send at once: an attack is a burst of lines, and these
# are the lines one wants soon.
BURST_OCTETS = 1024 * 1024

# One receive has 64 KiB at most. At a lower rate it would be owed for so long that a
# forwarder takes us for dead, and sends it again.
RATE_MIN = 16 * 1024


@dataclass
class _Bucket:
    """
    @ivar level: octets that may be sent at C{at}; negative: owed.
    @ivar timer: until nothing is owed.
    """

    level: float
    at: float
    timer: IDelayedCall | None = None


class Pacing:
    """
    The buckets of all workers.

    @ivar rate: octets a second; 0: no limit, nothing needs to be counted.
    """

    def __init__(
        self, clock: IReactorTime, rate: int, paid: Callable[[str], None]
    ) -> None:
        """
        @param rate: octets a second; 0: no limit.
        @param paid: told the worker that may be read again.
        """
        self._clock = clock
        self.rate = rate
        self._paid = paid
        self._buckets: dict[str, _Bucket] = {}

    def owes(self, worker: str) -> bool:
        """Whether a worker is not to be read now."""
        bucket = self._buckets.get(worker)
        return bucket is not None and bucket.timer is not None

    def spend(self, worker: str, octets: int) -> bool:
        """
        Count octets that have come.

        @return: whether the worker is not to be read until it is told paid.
        """
        if not self.rate:
            return False
        now = self._clock.seconds()
        bucket = self._buckets.get(worker)
        if bucket is None:
            bucket = self._buckets[worker] = _Bucket(BURST_OCTETS, now)
        self._fill(bucket, now)
        bucket.level -= octets
        if bucket.level < 0 and bucket.timer is None:
            self._wait(worker, bucket)
        return bucket.timer is not None

    def forget(self, worker: str) -> None:
        """A worker has no connection any more. What it owes is not forgotten."""
        bucket = self._buckets.get(worker)
        if bucket is not None and bucket.timer is None:
            self._fill(bucket, self._clock.seconds())
            if bucket.level >= BURST_OCTETS:
                del self._buckets[worker]

    def stop(self) -> None:
        """Wait no more."""
        for bucket in self._buckets.values():
            if bucket.timer is not None:
                bucket.timer.cancel()
        self._buckets = {}

    def _fill(self, bucket: _Bucket, now: float) -> None:
        earned = (now - bucket.at) * self.rate
        bucket.level = min(BURST_OCTETS, bucket.level + earned)
        bucket.at = now

    def _wait(self, worker: str, bucket: _Bucket) -> None:
        delay = -bucket.level / self.rate
        bucket.timer = self._clock.callLater(delay, self._look, worker, bucket)

    def _look(self, worker: str, bucket: _Bucket) -> None:
        bucket.timer = None
        self._fill(bucket, self._clock.seconds())
        # Receives that were under way when reading stopped are owed, too.
        if bucket.level < -1:
            self._wait(worker, bucket)
        else:
            self._paid(worker)

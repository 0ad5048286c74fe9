"""
The rate limit of each worker: the listener stops reading, and discards nothing.

There is a token bucket for each worker, not for each connection, so a second or a new
connection does not evade the limit. A receive that exceeds the bucket is accepted and owed:
the listener does not read the worker's connections until the debt is paid. TCP then makes the
worker wait, and its lines stay in its file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["BURST_OCTETS", "RateLimiter"]

# A quiet worker may send this much at once: an attack is a burst of lines, and those lines
# are wanted soon.
BURST_OCTETS = 1024 * 1024


@dataclass
class _Bucket:
    """
    @ivar level: octets that may be sent at C{at}; negative if the worker owes octets.
    @ivar timer: runs until the debt is paid.
    """

    level: float
    at: float
    timer: IDelayedCall | None = None


class RateLimiter:
    """
    The buckets of all workers.

    @ivar rate: octets per second; 0: no limit, and nothing is counted.
    """

    def __init__(
        self, clock: IReactorTime, rate: int, onRefilled: Callable[[str], None]
    ) -> None:
        """
        @param rate: octets per second; 0: no limit.
        @param onRefilled: called with a worker that may be read again.
        """
        self._clock = clock
        self.rate = rate
        self._onRefilled = onRefilled
        self._buckets: dict[str, _Bucket] = {}

    def isThrottled(self, worker: str) -> bool:
        """Whether the listener must not read a worker now."""
        bucket = self._buckets.get(worker)
        return bucket is not None and bucket.timer is not None

    def spend(self, worker: str, octets: int) -> bool:
        """
        Count received octets.

        @return: whether the listener must not read the worker until C{onRefilled} is called.
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

    def useRate(self, rate: int) -> None:
        """Use another rate from now on; earlier octets count at the old one."""
        if rate == self.rate:
            return
        now = self._clock.seconds()
        waiting = []
        for worker, bucket in self._buckets.items():
            self._fill(bucket, now)
            if bucket.timer is not None:
                bucket.timer.cancel()
                bucket.timer = None
                waiting.append((worker, bucket))
        self.rate = rate
        for worker, bucket in waiting:
            if rate and bucket.level < -1:
                self._wait(worker, bucket)
            else:
                self._onRefilled(worker)

    def forget(self, worker: str) -> None:
        """A worker has no connection any more. Its debt is kept."""
        bucket = self._buckets.get(worker)
        if bucket is not None and bucket.timer is None:
            self._fill(bucket, self._clock.seconds())
            if bucket.level >= BURST_OCTETS:
                del self._buckets[worker]

    def stop(self) -> None:
        """Cancel all timers."""
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
        bucket.timer = self._clock.callLater(delay, self._refill, worker, bucket)

    def _refill(self, worker: str, bucket: _Bucket) -> None:
        bucket.timer = None
        self._fill(bucket, self._clock.seconds())
        # Receives that were under way when reading stopped count, too.
        if bucket.level < -1:
            self._wait(worker, bucket)
        else:
            self._onRefilled(worker)

"""
What an output has still to write: batches in memory, and the amount of work.

An output that keeps up gets each batch from memory. One that falls behind reads them from the
journal, because the batches in memory are bounded. The work is bounded, too: a worker that
gives the output more work than it can do has to wait, so that others do not wait for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from ..journal import Batch

__all__ = ["Backlog"]

# Batches kept in memory for an output that is a little behind; the rest is read from disk.
QUEUE_COST_MAX = 16 * 1024 * 1024

# The batches for one call in the output's thread: as JSON they are four times as large.
APPLY_COST = 2 * 1024 * 1024

# The work that an output may be behind before flooding workers have to wait, in octets. Everybody's
# next line waits behind it: about a tenth of a second for records. With less, the output is idle
# until the next lines of a flood are committed (8 MiB: 8 % slower). Without a bound, a worker that
# sends lines of one octet (the records are a hundred times as long) gets the output minutes behind,
# for all workers.
BEHIND_MAX = 16 * 1024 * 1024

# Each worker may always have this much of that work waiting, so a worker that sends little
# never waits.
BEHIND_ALWAYS = 1024 * 1024


class Backlog:
    """
    The batches and the work that wait for one output.

    @ivar isPartial: whether the journal may have batches that are not in memory.
    """

    def __init__(self, lineWork: int) -> None:
        """
        @param lineWork: see L{decnet_syslog.outputs._rendering.Format}.
        """
        self.isPartial = True
        self._lineWork = lineWork
        self._queue: deque[Batch] = deque()
        self._cost = 0
        # The work that was committed since the start and is not written yet: the total, and
        # for each worker.
        self._left = 0
        self._leftOf: Counter[str] = Counter()
        # The first batch that was counted, and the last one that was deducted.
        self._counted = self._settled = 0

    def __bool__(self) -> bool:
        """Whether batches wait in memory."""
        return bool(self._queue)

    def add(self, batches: Sequence[Batch]) -> None:
        """Add committed batches, the next ones of the journal."""
        self._counted = self._counted or batches[0].seq
        self._count(batches, 1)
        cost = sum([batch.cost for batch in batches])
        if self.isPartial or self._cost + cost > QUEUE_COST_MAX:
            self.isPartial = True
        else:
            self._queue.extend(batches)
            self._cost += cost

    def take(self) -> list[Batch]:
        """Take the batches in memory that the output should write in one call."""
        batches = []
        cost = 0
        while self._queue and cost < APPLY_COST:
            batch = self._queue.popleft()
            cost += batch.cost
            batches.append(batch)
        self._cost -= cost
        return batches

    def putBack(self, batches: Sequence[Batch]) -> None:
        """Put back taken batches that the output could not write."""
        self._queue.extendleft(reversed(batches))
        self._cost += sum([batch.cost for batch in batches])

    def readFromJournal(self) -> None:
        """
        Note that batches were read from the journal, which may have more.

        The batches in memory are dropped: the journal has them, too. Those that come later can
        repeat batches which were read. The output skips written lines.
        """
        self.isPartial = True
        self._queue.clear()
        self._cost = 0

    def settle(self, batches: Sequence[Batch]) -> bool:
        """
        Deduct written batches. Some come twice, or were in the journal before the start.

        @return: whether there is less work than before.
        """
        first = [b for b in batches if b.seq > self._settled and b.seq >= self._counted]
        if not (self._counted and first):
            return False
        self._count(first, -1)
        self._settled = first[-1].seq
        return True

    def isCrowdedBy(self, worker: str) -> bool:
        """Whether the output is far behind, and much of the work is this worker's."""
        return self._left >= BEHIND_MAX and self._leftOf[worker] >= BEHIND_ALWAYS

    def _count(self, batches: Sequence[Batch], sign: int) -> None:
        left = self._leftOf
        for batch in batches:
            work = sign * (len(batch.octets) + self._lineWork * (batch.lines + 1))
            worker = batch.provenance.worker
            self._left += work
            left[worker] += work
            if not left[worker]:
                del left[worker]

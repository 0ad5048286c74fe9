"""
The octets of large commits, written once: a file of segments beside the journal.

SQLite writes the octets of a row twice, to its write-ahead log and then to the database. So a
commit of 64 KiB or more writes its octets here, syncs them, and only then commits rows that
name their places. The rows decide: octets that no row names do not exist.

Requirements:

* I{Octets before rows.} When a row is committed, its octets are on disk. So a row that any
  crash leaves has its octets, and a crash before the commit leaves no row;
* I{No octets under a row.} A segment is used again only when no row names it, and the deletion
  of the last such row is on disk. A deletion is not synced (L{decnet_syslog.journal._sqlite}): a
  power cut may bring its rows back, and a new output would read them. So a freed segment waits
  for the next synced commit, which syncs the deletion before it;
* I{Damage is found.} Each row has the CRC-32 of its octets. A segment that an older copy or a
  failing disk has replaced does not match, and a gap record takes the place of the lines. A file
  that is missing while rows need it, or that has another journal's identity, ends the start: the
  usual reason is a copy that was forgotten, or a journal that was moved without its file;
* I{Never needed.} If a segment cannot be written, for any reason, the octets are committed
  in rows, and SQLite's own error says whether the journal is full.

Chosen: one file, divided into segments of 8 MiB that are allocated in advance. Batches are deleted
in the order of their commits, so segments become free as a whole. The lowest free one comes next,
so the end of the file becomes free, and is returned to the disk. Rewriting an allocated segment
changes no metadata, so its sync is cheap. Octets continue in another segment when one is full: no
room is lost, whatever the sizes of batches are.

Set aside, with the octets written for each received (in commits of 256 KiB, and of 1 MiB; the
output writes one more) and the processor time for 228 MB. Segments: 1.07 and 1.02; 0.23 s and
0.10 s.

 - a WAL of 512 MiB, so that batches are deleted before the checkpoint: 1.74 and 1.19; 0.51 s and
   0.27 s; and while an output is blocked, all octets twice;
 - a WAL with pages of 4 KiB, checkpoints at 64 MiB: 1.90 and 1.87; 0.60 s and 0.57 s;
 - a rollback journal: 2.47 and 1.37; 0.43 s and 0.22 s; and three syncs for each line;
 - a write with C{RWF_DSYNC} instead of a write and C{fdatasync}: the same octets and time, and a
   sync for each piece of a commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import UserError
from ._places import SIZES, Place, SegmentSizes
from ._segmentfile import SegmentFile

__all__ = ["Segments"]

# Returned to the disk in one step.
STEP_SEGMENTS = 8

# Kept whatever was needed recently: one is filled while another waits for a sync.
SPARE_SEGMENTS = 2


class Segments:
    """
    The segments in use, and the next one.

    A transaction calls L{reserve}, L{place} for each batch, L{write}, and then L{committed} or
    L{undone}; nothing else in between.
    """

    def __init__(
        self,
        journal: Path,
        identity: str,
        places: Iterable[Place],
        mayGrow: Callable[[int], bool],
        sizes: SegmentSizes = SIZES,
    ) -> None:
        """
        Open the file, if there is one.

        @param identity: of the journal's database. The file has the same.
        @param places: of all batches in the journal, in order.
        @param mayGrow: whether the disk has this many octets for a new segment.
        @raise UserError: the file is missing, or cannot be used.
        @raise StorageFailed: it cannot be read.
        @raise OSError: it cannot be examined.
        """
        self.sizes = sizes
        self._octets = sizes.segment
        self._mayGrow = mayGrow
        # The number of batches in each segment that has any.
        self._batches: Counter[int] = Counter()
        last: Place | None = None
        for last in places:
            self._batches.update(self.sizes.segmentsOf(last))
        self._file = SegmentFile(journal, identity, sizes.segment, bool(self._batches))
        if self._batches and not self._file.exists:
            raise UserError(
                f"{self._file.path} is missing: it has lines of the journal {journal}; copy it"
                " from where the journal was. If it is lost, create an empty file with this"
                " name: gap records then take the place of its lines"
            )
        # Allocated segments; a part of one at the end is allocated again.
        self._count = self._file.count()
        self._free = {n for n in range(self._count) if not self._batches[n]}
        # Without a batch, but the deletion of the last one may not be on disk.
        self._unsynced: set[int] = set()
        # The segment that is being filled, if any, and its used octets. A start goes on where
        # the last batch ends: otherwise every start would leave a segment unused.
        self._current: int | None = None
        self._used = self._octets
        if last is not None:
            segment = self.sizes.segmentsOf(last)[-1]
            if segment < self._count:
                self._current = segment
                self._used = sizes.endOf(last) - segment * self._octets
        # Where the next octets of this transaction go; and the octets, by their places.
        self._cursor = self._current, self._used
        self._taken: list[int] = []
        self._pieces: list[tuple[int, list[memoryview]]] = []
        self._places: list[Place] = []
        # The most segments in use in this round of giving room back, and in the one before.
        self._peak = self._before = len(self._batches)

    def close(self) -> None:
        """Return the unused end of the file to the disk, and close it."""
        if self._file.isOpen:
            self.shrink(everything=True)
            self._file.close()

    @property
    def unusedOctets(self) -> int:
        """The room for more octets in allocated segments."""
        return len(self._free) * self._octets + self._octets - self._used

    def reserve(self, octets: int) -> bool:
        """
        Make sure that a transaction's octets fit, if necessary in new segments.

        @return: whether they do. There may be room for rows.
        @raise SegmentsFailed: the name of the file cannot be synced.
        """
        while self.unusedOctets < octets:
            if not (self._mayGrow(self._octets) and self._file.allocate(self._count)):
                return False
            # Of a file that was cut short, rows may name this segment.
            if not self._batches[self._count]:
                self._free.add(self._count)
            self._count += 1
        return True

    def place(self, octets: bytes) -> Place | None:
        """
        Give octets a place, after L{reserve}. L{write} writes them.

        @return: C{None}: they are too long for it.
        """
        size = len(octets)
        if size > self._octets:
            return None
        current, used = self._cursor
        if current is None or used == self._octets:
            current, used = self._take(), 0
        start = current * self._octets + used
        view = memoryview(octets)
        first = min(size, self._octets - used)
        self._add(start, view[:first])
        used += first
        rest = None
        if first < size:
            current, used = self._take(), size - first
            rest = current * self._octets
            self._add(rest, view[first:])
        self._cursor = current, used
        place = Place(start, size, rest)
        self._places.append(place)
        return place

    def _add(self, start: int, octets: memoryview) -> None:
        """Add octets to the last piece if they continue it, so that both are one write."""
        if self._pieces:
            begin, parts = self._pieces[-1]
            if begin + sum(map(len, parts)) == start:
                parts.append(octets)
                return
        self._pieces.append((start, [octets]))

    def _take(self) -> int:
        """The lowest free segment."""
        number = min(self._free)
        self._free.remove(number)
        self._taken.append(number)
        self._file.forget(number)
        return number

    def write(self) -> bool:
        """
        Bring this transaction's octets to disk.

        @return: whether they are there. If not, nothing was promised: undo the transaction.
        @raise SegmentsFailed: the sync has failed.
        """
        return not self._pieces or (
            self._file.write(self._pieces) and self._file.sync()
        )

    def committed(self, isSynced: bool) -> None:
        """
        The transaction is committed.

        @param isSynced: whether that has synced it, and with it every one before.
        """
        if isSynced:
            self.synced()
        for place in self._places:
            self._batches.update(self.sizes.segmentsOf(place))
        self._current, self._used = self._cursor
        self._forget()
        self._peak = max(self._peak, len(self._batches))

    def synced(self) -> None:
        """Every deletion so far is on disk."""
        self._free |= self._unsynced
        self._unsynced.clear()

    def undone(self) -> None:
        """The transaction is undone: its places are free."""
        self._free.update(self._taken)
        self._forget()

    def _forget(self) -> None:
        self._cursor = self._current, self._used
        self._taken, self._pieces, self._places = [], [], []

    def released(self, places: Iterable[Place]) -> None:
        """The deletion of batches is committed, and may not be synced."""
        for place in places:
            for number in self.sizes.segmentsOf(place):
                self._batches[number] -= 1
                if not self._batches[number]:
                    del self._batches[number]
                    self._unsynced.add(number)
        if self._current in self._unsynced:
            # Go on in a lower one: this one may be the last of a backlog.
            self._current, self._used = None, self._octets
            self._forget()

    def read(self, place: Place) -> bytes:
        """
        The octets of a place; fewer if the file is too short.

        @raise SegmentsFailed: the disk has failed.
        @raise ValueError: no program has written such a place.
        """
        if place.octets > self._octets:
            raise ValueError(f"a batch with the place {place}")
        first = self.sizes.firstOf(place)
        octets = self._file.read(place.start, first)
        if place.rest is not None:
            octets += self._file.read(place.rest, place.octets - first)
        return octets

    def _end(self) -> int:
        """The number of segments up to the last that is used."""
        used = -1 if self._current is None else self._current
        return max(used, *self._batches) + 1 if self._batches else used + 1

    @property
    def hasSpare(self) -> bool:
        """Whether much of the end of the file is unused: call L{shrink} from time to time."""
        return self._count > self._end() + len(self._batches) // 4 + SPARE_SEGMENTS

    def _keep(self) -> int:
        return max(self._peak, self._before) * 5 // 4 + SPARE_SEGMENTS

    def startRound(self) -> None:
        """From now on, only this round's and the last round's needs count."""
        self._before, self._peak = self._peak, len(self._batches)

    def shrink(self, everything: bool = False) -> bool:
        """
        Return unused segments at the end of the file to the disk, in one step. Call L{synced}
        first, if that is so: the others stay.

        @param everything: also those that were needed recently: room is short.
        @return: whether there is more to return.
        """
        end = max([self._end(), *[n + 1 for n in self._unsynced]])
        keep = end if everything else max(end, self._keep())
        if self._count <= keep:
            return False
        count = keep if everything else max(keep, self._count - STEP_SEGMENTS)
        if not self._file.cut(count):
            return False
        self._free = {n for n in self._free if n < count}
        self._count = count
        return self._count > keep

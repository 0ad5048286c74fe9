"""
Tests for L{decnet_syslog.journal._stored}: the counted octets agree with the size of the
files.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from decnet_syslog.journal import _filenames as filenames
from decnet_syslog.journal import _stored as stored
from decnet_syslog.journal._gaps import GAPS_KEPT
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._sqlite import PAGE_OCTETS, Journal
from decnet_syslog.journal._stored import (
    GAP_OCTETS,
    NAME_OCTETS,
    NAMES_OCTETS_MAX,
    STREAM_OCTETS,
    storedOctets,
)
from decnet_syslog.journal._values import Cursor, Deposit, OpenRequest, StreamLease
from decnet_syslog.limits import Limits

from ..doubles import PROVENANCE, STREAM, MasterTestCase, lines

# The fixed part of a journal: the first pages of its tables, and a partly filled page
# of each.
FIXED_OCTETS = 1024 * 1024

# The documented factor.
RATIO = 1.25


def named(number: int, octets: int = 4096) -> str:
    """A unique long name."""
    return f"{number:08d}".ljust(octets, "n")


class StoredTestCase(MasterTestCase):
    """A journal, and the size of its file."""

    def setUp(self) -> None:
        super().setUp()
        self.most = 0

    def counted(self) -> int:
        """
        The counted octets. Deletions leave free pages, so the maximum ever counted is
        used.
        """
        now = self.journal.octets + self.journal.keptOctets
        self.most = max(self.most, now)
        return now

    def file(self) -> int:
        """The size of the file after a checkpoint of the WAL."""
        self.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(self.journal.path).stat().st_size

    def check(self) -> None:
        """
        Check that the file agrees with the counts, and that a restart counts the same.
        """
        self.counted()
        self.assertLess(self.file(), RATIO * self.most + FIXED_OCTETS)
        before = (
            self.journal.octets,
            self.journal.octetsOf,
            self.journal.keptOctets,
        )
        self.restart()
        self.assertEqual(
            before,
            (self.journal.octets, self.journal.octetsOf, self.journal.keptOctets),
        )

    def open(self, number: int, name: str, worker: str = "w1") -> StreamLease:
        return self.journal.grant(worker, f"{number:032x}", 0, 0, name)

    def batch(
        self, grant: StreamLease | None, octets: bytes, name: str | None
    ) -> Deposit:
        who = replace(PROVENANCE, log=name)
        end = 0 if grant is None else grant.offset + len(octets)
        return Deposit(who, grant, 0 if grant is None else grant.offset, end, octets)


class SizeTests(StoredTestCase):
    """Batches of every size."""

    def test_pageSize(self) -> None:
        """A new journal has the page size that the counts assume."""
        octets = self.database.value("PRAGMA page_size")
        self.assertEqual(octets, PAGE_OCTETS)

    def test_sizeNeverDecreases(self) -> None:
        """More octets never count less."""
        for page in (4096, PAGE_OCTETS):
            sizes = [storedOctets(n, page) for n in range(1, 4 * page)]
            self.assertEqual(sizes, sorted(sizes))
            self.assertTrue(all(size >= n for n, size in enumerate(sizes, 1)))

    def sizes(self, sizes: Sequence[int]) -> None:
        octets = [b"x" * (size - 1) + b"\n" for size in sizes]
        for at in range(0, len(octets), 20):
            self.journal.commit([lines(None, 0, o) for o in octets[at : at + 20]])
        self.check()

    def test_smallBatches(self) -> None:
        """Batches of one octet are counted correctly."""
        self.sizes([1] * 1000)

    def test_halfPages(self) -> None:
        """
        Batches slightly larger than half a page, so that each takes a page, are counted
        correctly.
        """
        self.sizes([PAGE_OCTETS // 2 - 200] * 300)

    def test_alternatingSizes(self) -> None:
        """
        Alternating small and large batches, some of which no longer fit on a page, are
        counted correctly.
        """
        self.sizes([14_000, 2_500, 15_500, 600] * 150)

    def test_overflowPages(self) -> None:
        """
        Batches around the length at which a row needs overflow pages are counted
        correctly.
        """
        self.sizes([PAGE_OCTETS - 300, PAGE_OCTETS, 49_000, 66_000, 81_000] * 40)

    def test_randomSizes(self) -> None:
        """Batches of random sizes are counted correctly."""
        chance = random.Random(5)
        self.sizes([int(2 ** chance.uniform(0, 17)) for _ in range(1000)])

    def test_storedLengths(self) -> None:
        """
        For messages of one octet with line feeds, the stored length of each is counted.
        """
        octets = b"\n" * 20_000
        for _ in range(100):
            self.journal.commit(
                [Deposit(PROVENANCE, None, 0, 0, octets, (1,) * len(octets))]
            )
        self.assertGreater(self.journal.octets, 100 * 5 * len(octets))
        self.check()


class NameTests(StoredTestCase):
    """Names are stored once, and counted."""

    def names(self) -> int:
        return int(self.database.value("SELECT count(*) FROM name"))

    def test_nameIsStoredOnce(self) -> None:
        """A name is stored once, however many streams and batches use it."""
        name = named(1)
        for number in range(200):
            grant = self.open(number, name)
            self.journal.commit([self.batch(grant, b"x\n", name)])
        self.assertEqual(self.names(), 1)
        self.assertLess(self.file(), FIXED_OCTETS)
        self.assertEqual(
            self.journal.keptOctets, 200 * STREAM_OCTETS + NAME_OCTETS + 4096
        )
        batches = self.journal.read(0, 10**9)
        self.assertEqual({b.provenance.log for b in batches}, {name})
        self.check()

    def test_anyOctets(self) -> None:
        """
        Another worker's name, an empty one, and one of any octets are read back
        unchanged.
        """
        for number, name in enumerate(("", "x", "/var/\udcff", "x\n", "y")):
            for worker in ("w1", "w2"):
                grant = self.open(number, name, worker)
                who = replace(PROVENANCE, worker=worker, log=name)
                self.journal.commit([Deposit(who, grant, 0, 2, b"x\n")])
        self.assertEqual(self.names(), 10)
        found = [b.provenance.log for b in self.journal.read(0, 10**9)]
        self.restart()
        self.assertEqual([b.provenance.log for b in self.journal.read(0, 10**9)], found)
        self.assertEqual(found[::2], ["", "x", "/var/\udcff", "x\n", "y"])

    def test_asItWas(self) -> None:
        """A batch keeps the name that its file had at the time."""
        for name in ("old", "new"):
            grant = self.open(1, name)
            self.journal.commit([self.batch(grant, b"x\n", name)])
        found = [b.provenance.log for b in self.journal.read(0, 10**9)]
        self.assertEqual(found, ["old", "new"])
        self.assertEqual([k.name for k in self.journal.known("w1")], ["new"])

    def hostile(self, step: Callable[[int], object], count: int) -> None:
        for number in range(count):
            step(number)
            self.counted()
        self.assertLess(self.file(), RATIO * self.most + FIXED_OCTETS)

    def test_manyNamesOfOneStream(self) -> None:
        """If one stream gets a new name with each OPEN, old names are removed."""
        self.hostile(lambda number: self.open(1, named(number)), 1500)
        self.assertLess(self.journal.keptOctets, 2 * NAMES_OCTETS_MAX)
        self.check()

    def test_manyNamedStreams(self) -> None:
        """
        If every stream has its own name, the oldest are forgotten, and the worker's
        newest are kept.
        """
        self.hostile(lambda number: self.open(number, named(number)), 1500)
        self.assertLess(self.journal.keptOctets, 2 * NAMES_OCTETS_MAX)
        known = self.journal.known("w1")
        self.assertEqual(known[0].stream, f"{1499:032x}")
        self.assertGreater(len(known), 100)
        self.check()

    def test_manyNamedGaps(self) -> None:
        """The names of gaps are bounded as well."""

        def step(number: int) -> None:
            name = named(number)
            grant = self.open(1, name)
            who = replace(PROVENANCE, log=name)
            self.journal.commit(
                [Deposit(who, grant, number, number + 1, b"", reason="x")],
                [Cursor("raw", number, {})],
            )

        self.journal.useOutputs(["raw"])
        self.hostile(step, 1000)
        self.assertLess(self.counted(), 2 * NAMES_OCTETS_MAX + 1000 * GAP_OCTETS)
        self.check()

    def test_namesInBacklog(self) -> None:
        """
        Names in batches that no output has read count towards the worker's backlog.
        """

        def step(number: int) -> None:
            name = named(number)
            self.journal.commit([self.batch(self.open(number, name), b"x\n", name)])

        self.patch(stored, "NAMES_OCTETS_MAX", 10_000)
        self.patch(filenames, "NAMES_OCTETS_MAX", 10_000)
        self.journal.close()
        self.journal = Journal.open(
            self.directory / "listener.db", 4, connect=self.database
        )
        self.addCleanup(self.journal.close)
        self.hostile(step, 1000)
        # Gaps have their own budget; everything beyond it counts.
        room = 4 * STREAM_OCTETS + GAPS_KEPT * GAP_OCTETS + 10_000
        backlog = self.journal.octetsOf["w1"]
        self.assertEqual(backlog, self.journal.octets)
        self.assertGreater(backlog, 1000 * 4096 - room)
        self.journal.useOutputs(["raw"])
        self.journal.commit([], [Cursor("raw", 1000, {})])
        # Without anything chosen by the worker.
        self.assertEqual((self.journal.octets, self.journal.octetsOf), (0, {}))
        self.assertLess(self.journal.keptOctets, room)
        self.check()

    def test_rolledBackTransaction(self) -> None:
        """A transaction that is rolled back leaves no count and no name behind."""
        before = self.counted()
        requests = [OpenRequest("w1", f"{n:032x}", 0, 0, named(n)) for n in range(100)]
        with self.database.full():
            self.assertRaises(JournalBlocked, self.journal.grants, requests)
            self.assertEqual(self.counted(), before)
        grants = self.journal.grants(requests)
        self.journal.commit([self.batch(grants[5], b"x\n", named(5))])
        (batch,) = self.journal.read(0, 10**9)
        self.assertEqual(batch.provenance.log, named(5))
        self.check()


class KeptTests(StoredTestCase):
    """The fixed data of a fleet does not stop it."""

    def test_positionsOfFleet(self) -> None:
        """
        If positions fill half of the journal's limit, the other half remains for lines.
        """
        for number in range(300):
            self.open(number, "x")
        kept = self.journal.keptOctets
        self.openCommits(limits=Limits(journal=kept // 2))
        self.assertFalse(self.commits.backpressure.isBlocked)
        self.assertFalse(self.commits.backpressure.shouldPause("w1"))
        self.journal.commit([lines(None, 0, b"x" * (kept // 4))])
        self.assertTrue(self.commits.backpressure.isBlocked)

    def test_positionsCount(self) -> None:
        """Positions below that reduce the room for lines."""
        grant = self.journal.grant("w1", STREAM, 0, 0, "x")
        self.openCommits(limits=Limits(journal=4 * self.journal.keptOctets))
        some = self.batch(grant, b"x" * (2 * self.journal.keptOctets), "x")
        self.journal.commit([some])
        self.assertLess(self.journal.octets, self.commits.backpressure.limits.journal)
        self.assertTrue(self.commits.backpressure.shouldPause("w1"))

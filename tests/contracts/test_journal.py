"""
The contract of every journal: one set of cases for two providers.

The contract's wording is in L{decnet_syslog.journal._promise}.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from decnet_syslog.journal._promise import IJournal
from decnet_syslog.journal._sqlite import Journal
from decnet_syslog.journal._values import (
    Cursor,
    Deposit,
    FileLength,
    Mark,
    OpenRequest,
    StreamLease,
)
from decnet_syslog.wire._framing import MESSAGE_OCTETS_MAX

from ..doubles import PROVENANCE, STREAM, lines
from ..natsserver import ROOMY, NatsServer, NatsTestCase, openOutputs

MUCH = 10**9


def grant(
    journal: IJournal,
    worker: str = "w1",
    stream: str = STREAM,
    generation: int = 0,
    start: int = 0,
    name: str = "x",
) -> StreamLease:
    """One grant."""
    return journal.grants([OpenRequest(worker, stream, generation, start, name)])[0]


def octets(journal: IJournal, after: int = 0) -> list[bytes]:
    """The octets of the batches after a sequence."""
    found: list[bytes] = []
    while batches := journal.read(after, MUCH):
        found += [batch.octets for batch in batches]
        after = batches[-1].seq
    return found


class Cases:
    """A namespace that keeps trial from collecting the contract itself."""

    class Contract(NatsTestCase):
        """The cases. A provider defines how to open its journal."""

        journal: IJournal

        def open(self) -> IJournal:
            """Open the journal, each time in the state in which it was left."""
            raise NotImplementedError

        def restart(self) -> None:
            """Close the journal and reopen it."""
            self.journal.close()
            self.journal = self.open()

        def copy(self) -> Path:
            """Close the journal, copy its files, and reopen it."""
            raise NotImplementedError

        def putBack(self, copy: Path) -> None:
            """Close the journal, restore a copy, and reopen it."""
            raise NotImplementedError

        def take(self, octets: bytes = b"a\n", worker: str = "w1") -> Mark:
            """Commit a line to a stream. Returns the mark after it."""
            granted = grant(self.journal, worker)
            who = replace(PROVENANCE, worker=worker)
            deposit = replace(lines(granted, granted.offset, octets), provenance=who)
            (batch,) = self.journal.commit([deposit])
            assert batch is not None
            mark = self.journal.mark
            self.assertGreaterEqual(mark.number, batch.seq)
            self.assertRegex(mark.token, r"\A[0-9a-f]{32}\Z")
            self.assertTrue(self.journal.holds(mark))
            return mark

        def test_markMovesWithCommits(self) -> None:
            """
            The mark advances with every commit and only then; after a restart the
            journal holds the newest mark, and none that was never committed.
            """
            first = self.journal.mark
            self.assertRegex(first.token, r"\A[0-9a-f]{32}\Z")
            self.assertTrue(self.journal.holds(first))
            grant(self.journal)
            self.journal.commit([])
            self.assertEqual(self.journal.mark, first)
            marks = [first, self.take(), self.take()]
            self.restart()
            self.assertEqual(self.journal.mark.number, marks[-1].number)
            self.assertTrue(self.journal.holds(marks[-1]))
            marks.append(self.take())
            self.assertTrue(self.journal.holds(marks[-2]))
            numbers = [mark.number for mark in marks]
            self.assertEqual(numbers, sorted(set(numbers)))
            self.assertFalse(
                self.journal.holds(replace(marks[-1], number=numbers[-1] + 1))
            )
            self.assertFalse(self.journal.holds(replace(marks[-1], token="0" * 32)))
            self.assertFalse(self.journal.holds(Mark(2**63 - 1, marks[-1].token)))

        def test_markOfPosition(self) -> None:
            """A client that knows a position can obtain a mark that covers it."""
            held = self.take()
            self.restart()
            self.assertEqual(grant(self.journal).offset, 2)
            self.assertGreaterEqual(self.journal.mark.number, held.number)
            self.assertTrue(self.journal.holds(self.journal.mark))

        def test_restoredJournalHoldsNoLostMarks(self) -> None:
            """
            A restored journal does not hold marks of lost commits, however far it grows
            again; it holds those from before the copy.
            """
            self.take()
            kept = self.take()
            copy = self.copy()
            lost = [self.take(), self.take(), self.take()]
            self.putBack(copy)
            self.assertTrue(self.journal.holds(kept))
            self.assertEqual([self.journal.holds(mark) for mark in lost], [False] * 3)
            grown = [self.take(worker=f"w{2 + at}") for at in range(5)]
            self.assertGreater(grown[-1].number, lost[-1].number)
            for _ in range(2):
                self.assertTrue(self.journal.holds(kept))
                self.assertEqual(
                    [self.journal.holds(mark) for mark in lost], [False] * 3
                )
                self.assertTrue(self.journal.holds(grown[-1]))
                self.restart()

        def test_restoredTwice(self) -> None:
            """
            A journal restored twice from the same copy holds no lost mark from either
            time.
            """
            self.take()
            copy = self.copy()
            lost = [self.take()]
            self.putBack(copy)
            lost.append(self.take())
            self.putBack(copy)
            self.assertEqual([self.journal.holds(mark) for mark in lost], [False] * 2)
            self.take()
            self.assertEqual([self.journal.holds(mark) for mark in lost], [False] * 2)

        def test_identityIsKept(self) -> None:
            """A journal has the same identity after a restart."""
            before = self.journal.identity
            self.assertRegex(before, r"\A[0-9a-f]{32}\Z")
            self.restart()
            self.assertEqual(self.journal.identity, before)

        def test_newStream(self) -> None:
            """An unknown stream begins where its sender says, and stays there."""
            granted = grant(self.journal, start=17)
            self.assertEqual((granted.offset, granted.base, granted.crc), (17, 17, 0))
            self.restart()
            granted = grant(self.journal, start=3)
            self.assertEqual((granted.offset, granted.base, granted.crc), (17, 17, 0))

        def test_committedPositionIsGranted(self) -> None:
            """The next connection is granted the committed position."""
            granted = grant(self.journal)
            self.journal.commit(
                [lines(granted, 0, b"a\nb\n"), lines(granted, 4, b"c\n")]
            )
            self.restart()
            granted = grant(self.journal, start=99)
            self.assertEqual((granted.offset, granted.base), (6, 0))
            self.assertEqual(granted.crc, crc32(b"a\nb\nc\n"))

        def test_roundTrip(self) -> None:
            """A batch with any content is read back as it was committed."""
            name = os.fsdecode(b"/var/\xff\r\nX: y/%41 \xe2\x98\x83")
            who = replace(
                PROVENANCE, worker="w1.x@y", log=name, flagHostnameMismatch=True
            )
            granted = grant(self.journal, who.worker, name=name)
            deposits = [
                lines(None, 0, b"a\n\x00\xff\n"),
                Deposit(PROVENANCE, None, 0, 0, b"x\nyz", lengths=(3, 0, 1)),
                Deposit(who, granted, 0, 4, b"a\nb\n"),
                Deposit(who, granted, 4, 9, b"", reason="lag cap"),
                Deposit(who, granted, 9, 12, b"end"),
            ]
            committed = self.journal.commit(deposits)
            self.restart()
            self.assertEqual(
                self.journal.read(0, MUCH),
                sorted([b for b in committed if b], key=lambda b: b.seq),
            )
            self.assertEqual(len(self.journal.read(0, 1)), 1)
            (known,) = self.journal.known(who.worker)
            self.assertEqual((known.name, known.offset), (name, 12))

        def test_tooLong(self) -> None:
            """
            A plain peer's oversize message is read back with its length and first
            octets, and with the lines around it in order.
            """
            first = bytes(range(256))
            gap = Deposit(PROVENANCE, None, 0, 10**9, first, reason="oversize")
            self.journal.commit([lines(None, 0, b"a\n"), gap, lines(None, 0, b"b\n")])
            found = [
                (b.stream, b.reason, b.end, b.octets)
                for b in self.journal.read(0, 10**9)
            ]
            wanted = [
                (None, None, 0, b"a\n"),
                (None, "oversize", 10**9, first),
                (None, None, 0, b"b\n"),
            ]
            self.assertEqual(found, wanted)

        def test_repeatedDepositIsRefused(self) -> None:
            """
            A repeated deposit is not committed, nor are later deposits of the same
            connection.
            """
            granted = grant(self.journal)
            first, behind = lines(granted, 0, b"a\n"), lines(granted, 2, b"b\n")
            again = lines(granted, 0, b"a\n")
            batches = self.journal.commit([first, again, behind])
            self.assertEqual([b is None for b in batches], [False, True, True])
            granted = grant(self.journal)
            other = replace(PROVENANCE, address="192.0.2.9:9")
            batches = self.journal.commit(
                [
                    lines(granted, 0, b"a\n"),
                    replace(lines(granted, 2, b"b\n"), provenance=other),
                ]
            )
            self.assertEqual([b is None for b in batches], [True, False])
            self.assertEqual(octets(self.journal), [b"a\n", b"b\n"])

        def test_behindStale(self) -> None:
            """
            After a stale deposit, the same connection's deposit for its next file is
            stale as well; a peer without positions is unaffected.
            """
            old = grant(self.journal)
            grant(self.journal)
            next = grant(self.journal, generation=1)
            batches = self.journal.commit(
                [lines(old, 0, b"a\n"), lines(next, 0, b"b\n"), lines(None, 0, b"p\n")]
            )
            self.assertEqual([b is None for b in batches], [True, True, False])
            self.assertEqual(grant(self.journal, generation=1).offset, 0)

        def test_olderGrant(self) -> None:
            """
            A connection cannot commit once its stream was granted to a newer
            connection.
            """
            old, new = grant(self.journal), grant(self.journal)
            other = replace(PROVENANCE, address="192.0.2.9:9")
            stale = replace(lines(old, 0, b"a\n"), provenance=other)
            batches = self.journal.commit([stale, lines(new, 0, b"b\n")])
            self.assertEqual([b is None for b in batches], [True, False])

        def test_grantBeforeRestart(self) -> None:
            """
            A grant from before the listener's restart is either void or has the right
            position.
            """
            old = grant(self.journal)
            self.journal.commit([lines(old, 0, b"a\n")])
            self.restart()
            new = grant(self.journal)
            self.assertEqual(
                self.journal.commit([lines(new, 2, b"b\n")])[0] is None, False
            )
            self.assertEqual(self.journal.commit([lines(old, 2, b"b\n")]), [None])

        def test_gapMovesPosition(self) -> None:
            """A gap moves the position and restarts the checksum."""
            granted = grant(self.journal)
            gap = Deposit(PROVENANCE, granted, 2, 9, b"", reason="lag-cap")
            self.journal.commit(
                [lines(granted, 0, b"a\n"), gap, lines(granted, 9, b"b\n")]
            )
            (known,) = self.journal.known("w1")
            self.assertEqual(
                (known.offset, known.base, known.crc), (11, 9, crc32(b"b\n"))
            )

        def test_knownStreams(self) -> None:
            """A worker's own streams are listed, newest first."""
            for worker, generation in [("w1", 0), ("w1", 1), ("w2", 0), ("w", 0)]:
                granted = grant(self.journal, worker, generation=generation)
                who = replace(PROVENANCE, worker=worker, log="x")
                deposit = replace(lines(granted, 0, b"a\n"), provenance=who)
                self.assertNotEqual(self.journal.commit([deposit]), [None])
            known = [(k.stream, k.generation) for k in self.journal.known("w1")]
            self.assertEqual(known, [(STREAM, 1), (STREAM, 0)])
            self.assertEqual(self.journal.known("nobody"), [])

        def test_otherWorker(self) -> None:
            """The same stream id from another worker is another stream."""
            mine = grant(self.journal)
            self.journal.commit([lines(mine, 0, b"a\n")])
            self.assertEqual(grant(self.journal, "w2").offset, 0)

        def test_longDeposits(self) -> None:
            """A deposit of any length is committed completely and in order."""
            granted = grant(self.journal)
            line = b"x" * 999 + b"\n"
            first = lines(granted, 0, line * 4000)
            long = b"y" * MESSAGE_OCTETS_MAX + b"\n"
            second = lines(granted, first.end, long + b"z\n")
            messages = Deposit(PROVENANCE, None, 0, 0, b"\n" * 300000, None, None)
            strange = Deposit(
                PROVENANCE, None, 0, 0, b"u\nv" * 100000, lengths=(3,) * 100000
            )
            batches = self.journal.commit([first, second, messages, strange])
            self.assertNotIn(None, batches)
            read = self.journal.read(0, 100 * MUCH)
            ours = [b for b in read if b.stream is not None]
            self.assertEqual(
                b"".join(b.octets for b in ours), first.octets + second.octets
            )
            at = 0
            for batch in ours:
                self.assertEqual((batch.start, batch.end), (at, at + len(batch.octets)))
                at = batch.end
            theirs = [b for b in read if b.stream is None]
            self.assertEqual(sum(b.lines for b in theirs), 400000)
            self.assertEqual(
                b"".join(b.octets for b in theirs if b.lengths), strange.octets
            )
            granted = grant(self.journal)
            self.assertEqual(
                (granted.offset, granted.crc),
                (at, crc32(long + b"z\n", crc32(first.octets))),
            )

        def test_releasedByLastOutput(self) -> None:
            """A batch is kept until the last output has it; its position stays."""
            self.journal.useOutputs(["a", "b"])
            granted = grant(self.journal)
            self.journal.commit([lines(granted, 0, b"1\n")])
            self.journal.commit([lines(granted, 2, b"2\n")])
            first, second = self.journal.read(0, MUCH)
            self.journal.commit([], [Cursor("a", second.seq, {})])
            self.assertEqual(octets(self.journal), [b"1\n", b"2\n"])
            self.journal.commit([], [Cursor("b", first.seq, {})])
            self.assertEqual(octets(self.journal), [b"2\n"])
            self.journal.commit([], [Cursor("b", second.seq, {})])
            self.assertEqual(octets(self.journal), [])
            self.restart()
            self.assertEqual(grant(self.journal).offset, 4)

        def test_outputsAndCursors(self) -> None:
            """
            A new output begins with the oldest batch; a removed one holds nothing back;
            cursors and file lengths are kept.
            """
            self.journal.useOutputs(["a"])
            batches = self.journal.commit(
                [lines(None, 0, b"1\n"), lines(None, 0, b"2\n")]
            )
            one, two = [batch.seq for batch in batches if batch is not None]
            files = {"/x/m.log": FileLength(1, 2, 3, b"anchor")}
            self.journal.commit([], [Cursor("a", one, files)])
            self.restart()
            cursors = self.journal.useOutputs(["a", "b"])
            self.assertEqual(cursors["a"], Cursor("a", one, files))
            self.assertEqual(cursors["b"].seq, one)
            self.assertEqual(octets(self.journal, cursors["b"].seq), [b"2\n"])
            self.assertEqual(self.journal.useOutputs(["c"])["c"].seq, one)
            self.journal.commit([], [Cursor("c", two, {})])
            self.assertEqual(octets(self.journal), [])


class SQLiteTests(Cases.Contract):
    """The embedded journal in a file."""

    def setUp(self) -> None:
        self.path = self.directory() / "listener.db"
        self.journal = self.open()
        self.addCleanup(lambda: self.journal.close())

    def open(self) -> IJournal:
        return Journal.open(self.path)

    def copy(self) -> Path:
        self.journal.close()
        made = self.directory() / "copy"
        shutil.copytree(self.path.parent, made)
        self.journal = self.open()
        return made

    def putBack(self, copy: Path) -> None:
        self.journal.close()
        shutil.rmtree(self.path.parent)
        shutil.copytree(copy, self.path.parent)
        self.journal = self.open()


class JetStreamTests(Cases.Contract):
    """The journal in a real server, which is killed between closing and opening."""

    nats: NatsServer | None = None

    def setUp(self) -> None:
        self.path = self.directory() / "outputs.db"
        self.nats = self.server(ROOMY)
        self.journal = self.open()
        self.addCleanup(lambda: self.journal.close())

    def restart(self) -> None:
        self.journal.close()
        assert self.nats is not None
        self.nats.kill()
        self.nats.start()
        self.journal = self.open()

    def copy(self) -> Path:
        self.journal.close()
        assert self.nats is not None
        self.nats.kill()
        made = self.directory() / "copy"
        shutil.copytree(self.nats.directory / "store", made)
        self.nats.start()
        self.journal = self.open()
        return made

    def putBack(self, copy: Path) -> None:
        self.journal.close()
        assert self.nats is not None
        self.nats.kill()
        shutil.rmtree(self.nats.directory / "store")
        shutil.copytree(copy, self.nats.directory / "store")
        self.nats.start()
        self.journal = self.open()

    def open(self) -> IJournal:
        assert self.nats is not None
        return openOutputs(self.nats.url, self.path)

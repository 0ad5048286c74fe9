"""
Tests for L{decnet_syslog.nats._keeping}: cursors are saved while NATS does not answer, with threads
stepped by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import capturedLogs

from decnet_syslog.durable import StorageFailed
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import Cursor, FileLength
from decnet_syslog.nats._keeping import FULL_RETRY_S, SHARE_DELAY_S, CursorKeeper

from ..doubles import LaterThread, MasterTestCase


def cursor(seq: int, *files: str, output: str = "raw") -> Cursor:
    """A cursor of an output, with some files."""
    return Cursor(output, seq, {path: FileLength(0, 1, seq) for path in files})


class KeeperTests(MasterTestCase):
    """Cursors are saved on this host first, then shared with others."""

    def setUp(self) -> None:
        super().setUp()
        self.network, self.disk = LaterThread(), LaterThread()
        self.openCommits(self.network)
        self.isFull = False
        self.saved: list[dict[str, Cursor]] = []
        self.shares = 0
        self.keeper = CursorKeeper(
            self.commits,
            self.save,
            self.disk,
            self.share,
            self.clock,
            self.failures.append,
        )

    def save(self, cursors: Sequence[Cursor]) -> None:
        if self.isFull:
            raise JournalBlocked("no space")
        self.saved.append({one.output: one for one in cursors})

    def share(self) -> None:
        self.shares += 1

    def flush(self) -> list[object]:
        """Ask for a flush. The list is empty until it is done."""
        done: list[object] = []
        self.keeper.flush().addCallback(done.append)
        return done

    def test_savedWhileTheNetworkHangs(self) -> None:
        """Cursors and changes of files are saved although the network never answers."""
        self.keeper.perform(lambda: None)
        for seq in (1, 2, 3):
            self.keeper.saveCursor(cursor(seq))
            done = self.flush()
            self.assertEqual(done, [])
            self.disk.run()
            self.clock.advance(SHARE_DELAY_S)
            self.assertEqual(done, [True])
            self.assertEqual(self.saved[-1], {"raw": cursor(seq)})
        self.assertEqual(self.shares, 0)
        self.network.run()
        self.clock.advance(SHARE_DELAY_S)
        self.network.run()
        # Once for the first cursor, and once for all others.
        self.assertEqual(self.shares, 2)
        self.clock.advance(60)
        self.assertEqual(self.network.calls, [])

    def test_sharedAfterTheyAreSaved(self) -> None:
        """Other hosts learn of a cursor only after this host has saved it."""
        self.network.isHeld = False
        self.keeper.saveCursor(cursor(1))
        self.clock.advance(60)
        self.assertEqual(self.shares, 0)
        self.disk.run()
        self.clock.advance(SHARE_DELAY_S)
        self.assertEqual(self.shares, 1)

    def test_oneSaveAfterTheOther(self) -> None:
        """While cursors are saved, later ones gather; none is lost, and files are merged."""
        self.keeper.saveCursor(cursor(1, "a"))
        self.keeper.saveCursor(cursor(2, "b"))
        self.keeper.saveCursor(cursor(3, "c"))
        self.keeper.saveCursor(cursor(1, output="json"))
        self.disk.run(1)
        self.disk.run()
        first, second = self.saved
        self.assertEqual(first, {"raw": cursor(1, "a")})
        self.assertEqual(second["raw"].seq, 3)
        self.assertEqual(set(second["raw"].files), {"b", "c"})
        self.assertEqual(second["json"].seq, 1)

    def test_fullDisk(self) -> None:
        """
        On a full disk cursors are kept and tried again. An output that has to save a change of
        files waits. The log has one error, and tells when it is over.
        """
        self.isFull = True
        with capturedLogs() as logged:
            self.keeper.saveCursor(cursor(1, "a"))
            done = self.flush()
            for seq in (2, 3):
                self.disk.run()
                self.keeper.saveCursor(cursor(seq, "b"))
                self.clock.advance(FULL_RETRY_S)
            self.assertEqual((done, self.saved), ([], []))
            self.disk.run()
            self.isFull = False
            self.clock.advance(FULL_RETRY_S)
            self.disk.run()
        self.assertEqual(done, [True])
        (last,) = self.saved
        self.assertEqual((last["raw"].seq, set(last["raw"].files)), (3, {"a", "b"}))
        self.assertEqual(len(logged), 2)
        self.assertEqual(self.failures, [])

    def test_stopOnAFullDisk(self) -> None:
        """A stop does not wait for room on the disk, and shares nothing any more."""
        self.isFull = True
        self.keeper.saveCursor(cursor(1))
        done = self.flush()
        self.disk.run()
        self.assertEqual(done, [])
        self.keeper.stop()
        self.disk.run()
        self.assertEqual(done, [False])
        later = self.flush()
        self.disk.run()
        self.assertEqual(later, [False])
        self.isFull = False
        self.keeper.saveCursor(cursor(2))
        self.disk.run()
        self.assertEqual(self.saved, [{"raw": cursor(2)}])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failedDisk(self) -> None:
        """A database that cannot be trusted any more ends the process."""
        self.keeper = CursorKeeper(
            self.commits,
            self.fail_,
            self.disk,
            self.share,
            self.clock,
            self.failures.append,
        )
        self.keeper.saveCursor(cursor(1))
        done = self.flush()
        self.disk.run()
        (failure,) = self.failures
        self.assertIsNotNone(failure.check(StorageFailed))
        self.assertEqual(done, [])

    def fail_(self, _: Sequence[Cursor]) -> None:
        raise StorageFailed("a sync failed")

    def test_lostLease(self) -> None:
        """A lease that turns out to be lost when cursors are shared ends the process."""
        self.network.isHeld = False
        self.keeper = CursorKeeper(
            self.commits,
            self.save,
            self.disk,
            lambda: self.fail_([]),
            self.clock,
            self.failures.append,
        )
        self.keeper.saveCursor(cursor(1))
        self.disk.run()
        self.clock.advance(SHARE_DELAY_S)
        self.assertEqual(len(self.failures), 1)

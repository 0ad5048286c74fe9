"""
Tests for L{decnet_syslog.outputs._feeds}: a journal, an output, and a thread stepped by
hand.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from unittest import mock

from twisted.internet.defer import Deferred, succeed

from decnet_syslog.durable import StorageFailed
from decnet_syslog.errors import UserError
from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import Batch, Cursor
from decnet_syslog.outputs._backlog import APPLY_COST
from decnet_syslog.outputs._feeds import BLOCKED_RETRY_S, SYNC_DELAY_S

from ..doubles import LaterThread, MasterTestCase, lines


class FeedTests(MasterTestCase):
    """Output keeps the journal's order: later batches wait for earlier ones."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "master.log"
        self.output = self.openOutput(self.path)
        self.thread = LaterThread()
        self.feed = self.makeWriter(self.output, self.thread)
        with mock.patch.object(self.commits, "onBatches") as listen:
            self.feed.start()
        (self.notify,) = listen.call_args.args
        # The journal's content before: nothing.
        self.thread.run()

    def commit(self, *many: bytes) -> bytes:
        """Commit some batches, and notify the feed."""
        batches = self.journal.commit([lines(None, 0, octets) for octets in many])
        self.notify([batch for batch in batches if batch is not None])
        return b"".join(many)

    def big(self, count: int) -> list[bytes]:
        """A number of batches, each large enough for a call of its own."""
        return [b"%d" % n * APPLY_COST + b"\n" for n in range(count)]

    def written(self) -> bytes:
        return self.path.read_bytes()

    def cursor(self) -> int:
        """The number of the last batch in the saved cursor of the output."""
        return int(self.database.value("SELECT seq FROM cursor"))

    def full(self, times: int) -> AbstractContextManager[mock.MagicMock]:
        """The disk is full for a number of writes."""
        real = self.output.apply
        left = iter(range(times))

        def apply(batches: Sequence[Batch]) -> Cursor | None:
            if next(left, None) is not None:
                raise OSError(errno.ENOSPC, "full")
            return real(batches)

        return mock.patch.object(self.output, "apply", side_effect=apply)

    def test_unrecordedRotation(self) -> None:
        """
        While the journal cannot record that the file was rotated, the output writes nothing to
        the next file: killed, it would write the lines at the end of the old file again.
        """
        self.commit(b"one\n")
        self.thread.run()
        old = self.directory / "old.log"
        self.path.rename(old)
        flush = mock.Mock(side_effect=lambda: succeed(False))
        with mock.patch.object(self.commits, "flush", flush):
            self.commit(b"two\n")
            self.thread.run()
            self.assertEqual(self.written(), b"")
            assert self.feed.blocked is not None
            self.assertIn("rotated", self.feed.blocked)
            for _ in range(3):
                self.clock.advance(BLOCKED_RETRY_S)
                self.thread.run()
            self.assertGreater(flush.call_count, 2)
            self.assertEqual(self.written(), b"")
        self.clock.advance(BLOCKED_RETRY_S)
        self.thread.run()
        self.assertEqual((old.read_bytes(), self.written()), (b"one\n", b"two\n"))
        self.assertIsNone(self.feed.blocked)

    def test_fullDiskKeepsOrder(self) -> None:
        """Batches after a failed write wait until it succeeds."""
        wanted = self.commit(b"first\n")
        self.thread.run()
        with self.full(1):
            wanted += self.commit(*self.big(3))
            self.thread.run()
            self.assertEqual(self.written(), b"first\n")
            self.assertIn("full", str(self.feed.blocked))
            self.clock.advance(BLOCKED_RETRY_S)
            self.thread.run()
        self.assertEqual(self.written(), wanted)
        self.assertIsNone(self.feed.blocked)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_rotationKeepsOrder(self) -> None:
        """Batches after a rotation are written once, to the new file."""
        first = self.commit(b"first\n")
        self.thread.run()
        os.rename(self.path, self.directory / "master.log.1")
        wanted = self.commit(*self.big(3))
        self.thread.run()
        self.assertEqual((self.directory / "master.log.1").read_bytes(), first)
        self.assertEqual(self.written(), wanted)

    def broken(self, error: Exception) -> None:
        """An unrecoverable error stops the feed; no later batch is written."""
        self.commit(b"first\n")
        self.thread.run()
        with mock.patch.object(self.output, "apply", side_effect=error):
            self.commit(*self.big(3))
            self.thread.run(1)
        self.thread.run()
        self.commit(b"later\n")
        self.feed.stop()
        self.thread.run()
        (failure,) = self.failures
        self.assertIs(failure.value, error)
        self.assertEqual(self.written(), b"first\n")
        (cursor,) = self.journal.useOutputs([self.output.name]).values()
        self.assertLessEqual(cursor.seq, 1)

    def test_dataLossStopsFeed(self) -> None:
        """A disk error that reports lost data stops the feed."""
        self.broken(StorageFailed("cannot sync"))

    def test_invalidCallStopsFeed(self) -> None:
        """A system call error that only our own mistake can cause stops the feed."""
        self.broken(OSError(errno.EBADF, "bad"))

    def test_otherErrorsAreRetried(self) -> None:
        """Any other error of a write or an open is retried until it succeeds."""
        number = 0
        for error in (
            errno.EIO,
            errno.EROFS,
            errno.EDQUOT,
            errno.EACCES,
            errno.ENOTDIR,
            errno.ESTALE,
            errno.EMFILE,
        ):
            with self.subTest(error=errno.errorcode[error]):
                number += 1
                before = self.path.read_bytes()
                failing = OSError(error, os.strerror(error))
                with mock.patch.object(self.output, "apply", side_effect=failing):
                    wanted = self.commit(b"line %d\n" % number)
                    self.thread.run()
                    self.assertIn(os.strerror(error), str(self.feed.blocked))
                    for _ in range(3):
                        self.clock.advance(BLOCKED_RETRY_S)
                        self.thread.run()
                self.clock.advance(BLOCKED_RETRY_S)
                self.thread.run()
                self.assertEqual(self.written(), before + wanted)
                self.assertIsNone(self.feed.blocked)
        self.assertEqual(self.failures, [])
        self.flushLoggedErrors()

    def test_endedProcessStopsFeed(self) -> None:
        """If the output's process has ended, the feed stops."""
        self.broken(RuntimeError("its process has ended"))

    def test_openFailureIsRetried(self) -> None:
        """An output that cannot be opened for a reason with a remedy is retried."""
        with mock.patch.object(self.output, "apply", side_effect=UserError("no")):
            wanted = self.commit(b"first\n")
            self.thread.run()
        self.assertEqual(self.feed.blocked, "no")
        self.clock.advance(BLOCKED_RETRY_S)
        self.thread.run()
        self.assertEqual(self.written(), wanted)

    def trickle(self, behind: float) -> None:
        """
        Commit ten lines a second for two minutes, and check the saved cursor each time.

        @param behind: the maximum age of the newest line that the cursor does not
            include, in seconds.
        """
        step = 0.1
        late = 0.0
        for number in range(1, 1201):
            self.commit(b"line %d\n" % number)
            self.thread.run()
            self.clock.advance(step)
            self.thread.run()
            late = max(late, step * (number - self.cursor()))
        self.assertLessEqual(late, behind)

    def test_cursorLagWithSlowLines(self) -> None:
        """
        The cursor lags by at most a second, even when a line arrives every tenth of a
        second.
        """
        self.trickle(1.0)
        self.assertLess(self.journal.octets, 20 * 1024)

    def test_cursorLagWithOtherListeners(self) -> None:
        """
        When other listeners commit and the feed is only woken, the cursor lags as
        little.
        """
        self.notify = lambda _: self.feed.wake()
        self.trickle(1.0)

    def test_singleLineIsSynced(self) -> None:
        """
        A single line is synced just as soon, and an idle output has no timer
        afterwards.
        """
        self.commit(b"line\n")
        self.thread.run()
        for _ in range(8):
            self.clock.advance(0.1)
            self.thread.run()
        self.assertEqual(self.cursor(), 1)
        # Only the next check of the files remains.
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_syncedWhileTheJournalIsRead(self) -> None:
        """
        A journal that does not answer for long delays neither the sync of what is written nor the
        cursor, however many lines came before.
        """
        saved: list[Cursor] = []
        wanted = self.commit(b"0\n") + b"1\n"
        self.thread.run()
        first = self.journal.commit([lines(None, 0, b"1\n")])
        with (
            mock.patch.object(self.commits, "saveCursor", saved.append),
            mock.patch.object(self.commits, "perform") as perform,
        ):
            perform.side_effect = lambda *_: (
                succeed(first) if perform.call_count == 1 else Deferred()
            )
            self.feed.wake()
            self.thread.run()
            self.assertEqual((perform.call_count, saved), (2, []))
            self.clock.advance(SYNC_DELAY_S)
            self.thread.run()
            self.assertEqual([cursor.seq for cursor in saved], [2])
        self.assertEqual(self.written(), wanted)
        self.assertEqual(self.output.unsynced, 0)

    def test_noCursorAfterAFailure(self) -> None:
        """A sync that was due while a write failed saves no cursor."""
        self.commit(b"first\n")
        self.thread.run()
        with (
            mock.patch.object(self.commits, "saveCursor") as save,
            mock.patch.object(self.output, "apply", side_effect=StorageFailed("x")),
        ):
            self.commit(b"second\n")
            self.clock.advance(SYNC_DELAY_S)
            self.thread.run()
        save.assert_not_called()
        self.assertEqual(len(self.failures), 1)

    def test_wakeReadsOtherCommits(self) -> None:
        """
        A wake-up makes the feed read lines that other listeners committed, even while
        it is writing.
        """
        first = self.journal.commit([lines(None, 0, b"1\n")])
        self.feed.wake()
        self.journal.commit([lines(None, 0, b"2\n")])
        self.feed.wake()
        self.thread.run()
        self.assertEqual(self.written(), b"1\n2\n")
        self.assertEqual(len(first), 1)
        # Everything was read before the last wake-up: no needless read follows.
        with mock.patch.object(self.journal, "read", side_effect=AssertionError):
            self.thread.run()
        self.assertEqual(self.failures, [])

    def test_unreadableJournalIsRetried(self) -> None:
        """A journal that cannot be read is retried, and nothing is lost."""
        self.journal.commit([lines(None, 0, b"1\n")])
        blocked = mock.patch.object(self.journal, "read", side_effect=JournalBlocked())
        with blocked as read:
            for asked in (1, 2, 3):
                self.feed.wake() if asked == 1 else self.clock.advance(BLOCKED_RETRY_S)
                self.thread.run()
                self.assertEqual(read.call_count, asked)
        self.clock.advance(BLOCKED_RETRY_S)
        self.thread.run()
        self.assertEqual(self.written(), b"1\n")
        self.assertEqual(self.failures, [])

"""Tests for L{decnet_syslog.master.feeds}: a journal, an output, a thread that waits."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from unittest import mock

from decnet_syslog.durable import StorageFailed
from decnet_syslog.errors import UserError
from decnet_syslog.master.feeds import APPLY_COST, BLOCKED_RETRY_S, Feed
from decnet_syslog.master.outputs import FileOutput
from decnet_syslog.master.promise import JournalBlocked
from decnet_syslog.master.rendering import renderRaw
from decnet_syslog.master.values import Batch, Cursor

from .doubles import LaterThread, MasterTestCase, lines


class FeedTests(MasterTestCase):
    """What comes behind batches that are not written is not written before them."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "master.log"
        self.output = FileOutput(
            "raw", str(self.path), renderRaw, lambda *_, **__: None
        )
        self.output.start(self.journal.useOutputs([self.output.name])[self.output.name])
        self.addCleanup(self.output.close)
        self.thread = LaterThread()
        self.feed = Feed(
            self.output,
            self.journal,
            self.commits,
            self.thread,
            self.clock,
            self.failures.append,
        )
        self.feed.start()
        # What the journal had: nothing.
        self.thread.run()

    def commit(self, *many: bytes) -> bytes:
        """Commit some batches, and tell the feed."""
        batches = self.journal.commit([lines(None, 0, octets) for octets in many])
        self.feed._committed([batch for batch in batches if batch is not None])
        return b"".join(many)

    def big(self, count: int) -> list[bytes]:
        """Batches of which each is enough for a call."""
        return [b"%d" % n * APPLY_COST + b"\n" for n in range(count)]

    def written(self) -> bytes:
        return self.path.read_bytes()

    def full(self, times: int) -> mock._patch[mock.MagicMock]:
        """The disk is full so many times, and then not."""
        real = self.output.apply
        left = iter(range(times))

        def apply(batches: Sequence[Batch]) -> Cursor | None:
            if next(left, None) is not None:
                raise OSError(errno.ENOSPC, "full")
            return real(batches)

        return mock.patch.object(self.output, "apply", side_effect=apply)

    def test_blocked(self) -> None:
        """What comes behind a failure is not written before it."""
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

    def test_rotated(self) -> None:
        """What comes behind a rotated file is in the next, once."""
        first = self.commit(b"first\n")
        self.thread.run()
        os.rename(self.path, self.directory / "master.log.1")
        wanted = self.commit(*self.big(3))
        self.thread.run()
        self.assertEqual((self.directory / "master.log.1").read_bytes(), first)
        self.assertEqual(self.written(), wanted)

    def broken(self, error: Exception) -> None:
        """An error that is not for waiting is the end, and nothing comes behind it."""
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

    def test_diskBroken(self) -> None:
        """The disk says that it has lost something."""
        self.broken(StorageFailed("cannot sync"))

    def test_ourError(self) -> None:
        """A system call that only we can have made wrong is no reason to wait."""
        self.broken(OSError(errno.EBADF, "bad"))

    def test_waitedFor(self) -> None:
        """Whatever else a write or an open says, it is tried again until it works."""
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

    def test_processEnded(self) -> None:
        """The output's process is gone."""
        self.broken(RuntimeError("its process has ended"))

    def test_cannotBeOpened(self) -> None:
        """An error with a remedy is waited for."""
        with mock.patch.object(self.output, "apply", side_effect=UserError("no")):
            wanted = self.commit(b"first\n")
            self.thread.run()
        self.assertEqual(self.feed.blocked, "no")
        self.clock.advance(BLOCKED_RETRY_S)
        self.thread.run()
        self.assertEqual(self.written(), wanted)

    def trickle(self, behind: float) -> None:
        """
        Commit ten lines a second for two minutes, and look at the saved cursor each time.

        @param behind: how old the newest line may be that the cursor does not have, in
            seconds.
        """
        step = 0.1
        late = 0.0
        for number in range(1, 1201):
            self.commit(b"line %d\n" % number)
            self.thread.run()
            self.clock.advance(step)
            self.thread.run()
            late = max(
                late, step * (number - self.journal._cursorTable.seqs[self.output.name])
            )
        self.assertLessEqual(late, behind)

    def test_trickle(self) -> None:
        """A cursor is at most a second behind, also when a line comes every tenth of one."""
        self.trickle(1.0)
        self.assertLess(self.journal.octets, 20 * 1024)

    def test_trickleOfOthers(self) -> None:
        """The same when other listeners commit, and the feed is only woken."""
        with mock.patch.object(self.feed, "_committed", lambda _: self.feed.wake()):
            self.trickle(1.0)

    def test_idleSynced(self) -> None:
        """A single line is synced as soon, and an idle output has no timer afterwards."""
        self.commit(b"line\n")
        self.thread.run()
        for _ in range(8):
            self.clock.advance(0.1)
            self.thread.run()
        self.assertEqual(self.journal._cursorTable.seqs[self.output.name], 1)
        # Nothing but the next look at the files.
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_woken(self) -> None:
        """What others have committed is read when somebody says so, also while the feed
        is writing something else."""
        first = self.journal.commit([lines(None, 0, b"1\n")])
        self.feed.wake()
        self.journal.commit([lines(None, 0, b"2\n")])
        self.feed.wake()
        self.thread.run()
        self.assertEqual(self.written(), b"1\n2\n")
        self.assertEqual(len(first), 1)
        # Read to the end, and then told: it is not asked again without need.
        with mock.patch.object(self.journal, "read", side_effect=AssertionError):
            self.thread.run()
        self.assertEqual(self.failures, [])

    def test_journalBlocked(self) -> None:
        """A journal that cannot be read now is asked again, and nothing is lost by it."""
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

"""
Tests for L{decnet_syslog.journal._pendingcursors}.
"""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._pendingcursors import PendingCursors
from decnet_syslog.journal._values import Cursor, FileLength


def length(octets: int) -> FileLength:
    """The length of some file."""
    return FileLength(1, 2, octets, b"", 0, "boot")


class PendingCursorsTests(SynchronousTestCase):
    """Which cursors the journal gets, and in which order."""

    def test_filesAreKept(self) -> None:
        """A cursor that replaces another one keeps the files that only that one has."""
        pending = PendingCursors()
        pending.add(Cursor("raw", 1, {"/a": length(1), "/b": length(1)}))
        pending.add(Cursor("raw", 2, {"/b": length(2)}))
        (cursor,) = pending.take()
        self.assertEqual(cursor, Cursor("raw", 2, {"/a": length(1), "/b": length(2)}))
        self.assertFalse(pending)

    def test_everyOutcome(self) -> None:
        """
        Whichever of three overlapping commits fail, the journal never gets an older cursor after
        a newer one, and in the end it has the newest cursor and every file.
        """
        for fails in product((False, True), repeat=3):
            with self.subTest(fails=fails):
                pending = PendingCursors()
                taken = []
                for seq in (1, 2, 3):
                    files = {"/same": length(seq), f"/{seq}": length(seq)}
                    pending.add(Cursor("raw", seq, files))
                    taken.append(pending.take())
                stored: list[Cursor] = []
                for cursors, isFailure in zip(taken, fails, strict=True):
                    if isFailure:
                        pending.putBack(cursors)
                    else:
                        stored.extend(cursors)
                        pending.saved(cursors)
                last = pending.take()
                stored.extend(last)
                pending.saved(last)
                seqs = [cursor.seq for cursor in stored]
                self.assertEqual(seqs, sorted(seqs))
                self.assertEqual(seqs[-1], 3)
                files = {}
                for cursor in stored:
                    files.update(cursor.files)
                self.assertEqual(
                    files,
                    {
                        "/same": length(3),
                        "/1": length(1),
                        "/2": length(2),
                        "/3": length(3),
                    },
                )

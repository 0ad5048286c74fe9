"""
Tests for outputs whose octets after the counted end differ from those that this
listener would write.
"""

from __future__ import annotations

import gzip
from dataclasses import replace

from decnet_syslog.journal._values import Cursor

from .test_moved import MovedTestCase


class UnlikeTests(MovedTestCase):
    """
    A killed listener of an earlier version rendered its last lines differently, or
    somebody rewrote the file while no listener ran. Lines that may be repeated are
    reported.
    """

    def event(self, name: str, **facts: object) -> None:
        super().event(name, **facts)
        self.facts[name] = facts

    def kill(self, *, isCounted: bool, hasAnchor: bool) -> None:
        """Write three batches and perhaps count them, write three more, and die."""
        self.output.close()
        for path in self.directory.iterdir():
            path.unlink()
        self.cursor = Cursor("", 0, {})
        self.seq, self.written = 0, []
        self.start()
        self.send(*self.batches(3))
        if isCounted:
            self.save(self.output.sync())
        self.send(*self.batches(3))
        self.output.close()
        if not hasAnchor:
            # Journals of version 1 had no anchor.
            files = {
                path: replace(file, anchor=b"", boot="")
                for path, file in self.cursor.files.items()
            }
            self.cursor = Cursor("", self.cursor.seq, files)
        self.pending = [b for b in self.written if b.seq > self.cursor.seq]
        self.events.clear()
        self.facts.clear()

    def rerender(self) -> None:
        """
        Replace the octets after the cursor with another rendering of the same lines.
        """
        length = self.cursor.files[str(self.path)].length
        octets = self.path.read_bytes()[length:]
        with open(self.path, "r+b") as file:
            file.seek(length)
            file.write(octets.replace(b"of a batch", b"of the batch"))

    def rewrite(self) -> None:
        """Replace all octets in place, as C{cp} does."""
        with open(self.path, "r+b") as file:
            file.truncate()
            file.write(b"a backup of another day\n" * 20)

    def assertReported(self) -> None:
        """
        Check that every pending line is written, and that the log names the range that
        may be repeated.
        """
        first = self.pending[0].provenance.receivedAt
        wanted = [x for b in self.pending for x in b.octets.splitlines(True)]
        self.start()
        self.send(*self.batches())
        self.assertEqual(set(wanted) - set(self.read().splitlines(True)), set())
        reported = self.facts.get("output-unlike") or self.facts.get("output-lost")
        self.assertIsNotNone(reported, self.events)
        assert reported is not None
        self.assertEqual(reported["since"], first)
        self.assertGreater(str(reported["until"]), first)

    def test_otherRendering(self) -> None:
        """
        A differently rendered file is reported whether it stayed, was renamed, is in a
        neighbouring directory, or is compressed.
        """
        beside = self.directory.with_name(self.directory.name + ".old")
        for isCounted in (True, False):
            for hasAnchor in (True, False):
                for move in ("stays", "renamed", "beside", "compressed"):
                    with self.subTest(
                        move=move, isCounted=isCounted, hasAnchor=hasAnchor
                    ):
                        self.kill(isCounted=isCounted, hasAnchor=hasAnchor)
                        self.rerender()
                        if move == "renamed":
                            self.rename()
                        elif move == "beside":
                            self.moves += 1
                            self.directory.rename(beside.with_suffix(f".{self.moves}"))
                            self.directory.mkdir()
                        elif move == "compressed":
                            self.compress()
                        self.assertReported()

    def test_rewrittenInPlace(self) -> None:
        """
        A file that was rewritten in place is reported, even if nothing was counted yet.
        """
        for isCounted in (True, False):
            with self.subTest(isCounted=isCounted):
                self.kill(isCounted=isCounted, hasAnchor=True)
                self.rewrite()
                self.assertReported()

    def test_olderCopyWithoutAnchor(self) -> None:
        """Without an anchor, an older rotated file is not taken for the missing one."""
        for isCounted in (True, False):
            with self.subTest(isCounted=isCounted):
                self.kill(isCounted=isCounted, hasAnchor=False)
                self.toAnotherDisk()
                older = self.directory / "master.log.7"
                older.write_bytes(b"lines of last week\n" * 100)
                self.assertReported()
                self.assertNotIn("output-followed", self.events)

    def test_noFalseAlarm(self) -> None:
        """A file that ends where the listener was killed is not reported."""
        for hasAnchor in (True, False):
            for move in ("stays", "renamed", "compressed"):
                with self.subTest(move=move, hasAnchor=hasAnchor):
                    self.kill(isCounted=True, hasAnchor=hasAnchor)
                    if move == "renamed":
                        self.rename()
                    elif move == "compressed":
                        plain = self.path.read_bytes()
                        self.rename("master.log.1")
                        (self.directory / "master.log.1").unlink()
                        packed = self.directory / "master.log.1.gz"
                        packed.write_bytes(gzip.compress(plain))
                    self.start()
                    self.send(*self.batches())
                    self.assertNotIn("output-unlike", self.events)
                    self.assertNotIn("output-lost", self.events)
                    self.assertOnce()

    def test_afterTheStart(self) -> None:
        """Lines received after the start cannot be in the file: nothing is reported."""
        self.kill(isCounted=True, hasAnchor=True)
        self.start()
        self.send()
        self.save(self.output.sync())
        self.output.close()
        with open(self.path, "ab") as file:
            file.write(b"another program's line\n")
        self.start()
        who = replace(
            self.written[0].provenance, receivedAt="2999-01-01T00:00:00.000000Z"
        )
        late = [replace(b, provenance=who) for b in self.batches()]
        self.facts.clear()
        self.send(*late)
        self.assertNotIn("output-unlike", self.facts)
        self.assertIn("output-foreign-write", self.facts)

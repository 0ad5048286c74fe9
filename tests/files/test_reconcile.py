"""
Tests for L{decnet_syslog.files._reconcile}, which decides which file holds which
content, and histories.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import Life
from decnet_syslog.files._candidates import Candidate, SeenFile
from decnet_syslog.files._contents import TRANSITIONS, Content, Proof
from decnet_syslog.files._objects import FileId
from decnet_syslog.files._reconcile import reconcile
from decnet_syslog.files._rules import Rule, Verdict

from ..campaigns.contents import perform, randomHistory

OCTETS = (b"", b"a\n", b"a\nb\n", b"c\n")


def fileOf(inode: int, octets: bytes, live: bool = False) -> SeenFile:
    """A settled file with a content."""
    return SeenFile(
        FileId(1, inode, inode),
        len(octets),
        octets[:4096],
        lambda start, end, crc: (
            crc32(octets[start:end], crc) if end <= len(octets) else None
        ),
        isLive=live,
        pread=lambda count, at: octets[at : at + count],
    )


def contentOf(inode: int, octets: bytes, life: Life = Life.ROTATED) -> Content:
    """A content that was observed and checksummed in a file."""
    proof = Proof(0, len(octets), crc32(octets))
    return Content(
        "s" * 32,
        inode,
        "/log",
        FileId(1, inode, inode),
        seen=len(octets),
        proof=proof,
        delivered=proof,
        head=octets,
        life=life,
    )


class SmallWorldTests(SynchronousTestCase):
    """
    Every possible world of up to two contents and two files whose octets begin alike.
    """

    def worlds(self) -> list[tuple[list[Candidate], list[tuple[bytes, SeenFile]]]]:
        found = []
        for held in product(OCTETS, repeat=2):
            for there in product(OCTETS, repeat=2):
                for inodes in permutations((1, 2, 3, 4), 2):
                    candidates = [
                        Candidate(contentOf(n + 1, octets), searchIsOver=True)
                        for n, octets in enumerate(held)
                    ]
                    files = [
                        (octets, fileOf(inode, octets))
                        for inode, octets in zip(inodes, there, strict=True)
                    ]
                    found.append((candidates, files))
        return found

    def test_oneToOne(self) -> None:
        """Each file is one content or new, and each content is at most one file."""
        for candidates, files in self.worlds():
            verdicts = reconcile(candidates, [file for _, file in files])
            self.assertEqual(len(verdicts), len(files))
            # A duplicate only names the content that it may be a copy of.
            taken = [
                v.content.key
                for v in verdicts
                if v.content is not None and v.rule is not Rule.DUPLICATE
            ]
            self.assertEqual(len(taken), len(set(taken)))

    def test_proofBeforeSilence(self) -> None:
        """
        A file matches a content only if it begins with all octets seen of that content.
        """
        for candidates, files in self.worlds():
            verdicts = reconcile(candidates, [file for _, file in files])
            for (octets, _), verdict in zip(files, verdicts, strict=True):
                # A duplicate is shipped.
                isTaken = verdict.rule is not Rule.DUPLICATE
                if verdict.content is not None and isTaken:
                    seen = verdict.content.head
                    self.assertTrue(octets.startswith(seen), (octets, verdict))

    def test_nothingWithoutNeed(self) -> None:
        """
        A file with the size and octets of a content that lost its file does not count
        as new.
        """
        for candidates, files in self.worlds():
            verdicts = reconcile(candidates, [file for _, file in files])
            taken = [v.content for v in verdicts if v.content is not None]
            free = [c.content for c in candidates if c.content not in taken]
            for (octets, _), verdict in zip(files, verdicts, strict=True):
                if verdict.rule is Rule.NEW and octets:
                    self.assertNotIn(octets, [c.head for c in free])


class RuleTests(SynchronousTestCase):
    """Rules that the small worlds do not cover."""

    def one(self, candidate: Candidate, file: SeenFile) -> Verdict:
        (verdict,) = reconcile([candidate], [file])
        return verdict

    def test_longestMatchWins(self) -> None:
        """
        If several contents match, the longest is taken, in whatever order they come.
        """
        short, long = contentOf(1, b"a\n"), contentOf(2, b"a\nb\n")
        for pair in ((short, long), (long, short)):
            (verdict,) = reconcile(
                [Candidate(content) for content in pair], [fileOf(9, b"a\nb\nc\n")]
            )
            self.assertEqual(verdict, Verdict(Rule.GROWN, long))

    def test_differingTailIsNew(self) -> None:
        """
        A file with the right size and head but different octets after the head is new.
        """
        octets = b"banner\n" * 1000
        other = octets[:-2] + b"X\n"
        content = contentOf(1, octets)
        content.head = octets[:4096]
        for there, rule in (
            (octets, Rule.COPY),
            (octets + b"more\n", Rule.GROWN),
            (other, Rule.NEW),
            (other + b"more\n", Rule.NEW),
        ):
            verdict = self.one(Candidate(content, searchIsOver=True), fileOf(9, there))
            self.assertEqual(verdict.rule, rule, there[-9:])

    def test_ambiguousRotatedFile(self) -> None:
        """
        A rotated file may be a grown content or the copy of an existing file; the
        verdict marks this as uncertain.
        """
        gone, there = contentOf(1, b"a\n"), contentOf(2, b"a\nb\nc\n")
        for end in (b"b\n", b"other\n"):
            looks = b"a\nb\nc\n".startswith(b"a\n" + end)
            file = fileOf(9, b"a\n" + end)
            original = Candidate(
                there, isThere=True, looksLike=lambda f: f.head == b"a\nb\n"
            )
            (verdict,) = reconcile([Candidate(gone), original], [file])
            self.assertEqual(verdict, Verdict(Rule.GROWN, gone, not looks))

    def test_changedOctetsAreNew(self) -> None:
        """The same file with changed octets, or a shorter one, is another content."""
        content = contentOf(1, b"a\nb\n")
        for octets in (b"x\ny\n", b"a\n", b"x\ny\nz\n"):
            self.assertEqual(
                self.one(Candidate(content, searchIsOver=True), fileOf(1, octets)),
                Verdict(Rule.NEW),
            )

    def test_liveMayNotGrow(self) -> None:
        """
        The file at the log's path is a grown content only if the path was never seen
        empty.
        """
        content = contentOf(1, b"a\n")
        file = fileOf(9, b"a\nb\n", live=True)
        self.assertEqual(self.one(Candidate(content), file).rule, Rule.NEW)
        grown = self.one(Candidate(content, mayGrow=True), file)
        self.assertEqual(grown, Verdict(Rule.GROWN, content))

    def test_copyWhileThere(self) -> None:
        """Two existing files with the same octets are two contents."""
        content = contentOf(1, b"a\n")
        candidate = Candidate(content, isThere=True, looksLike=lambda file: True)
        verdict = self.one(candidate, fileOf(9, b"a\n"))
        self.assertEqual(verdict, Verdict(Rule.DUPLICATE, content))

    def test_shortCopyNeedsDeliveredOctets(self) -> None:
        """
        A short copy matches a content only if it provably has every delivered octet.
        """
        content = contentOf(1, b"a\nb\nc\n")
        content.delivered = Proof(0, 2, crc32(b"a\n"))
        over = Candidate(content, searchIsOver=True)
        self.assertEqual(self.one(over, fileOf(9, b"a\nb\n")).rule, Rule.PART)
        self.assertEqual(self.one(over, fileOf(9, b"a\n")).rule, Rule.PART)
        self.assertEqual(self.one(over, fileOf(9, b"x\nb\n")).rule, Rule.NEW)
        content.delivered = Proof(0, 0, 0)
        self.assertEqual(self.one(over, fileOf(9, b"a\nb\n")).rule, Rule.DUPLICATE)

    def test_shortCopyWaitsUntilFinished(self) -> None:
        """
        A short copy that may still grow is waited for, after the search, too; an archive that
        can be read has all its octets, however new it is.
        """
        content = contentOf(1, b"a\nb\nc\n")
        content.delivered = Proof(0, 2, crc32(b"a\n"))
        over = Candidate(content, searchIsOver=True)
        written = replace(fileOf(9, b"a\nb\n"), isSettled=False)
        self.assertEqual(self.one(over, written), Verdict(Rule.WAIT, content))
        archive = replace(written, isArchive=True)
        self.assertEqual(self.one(over, archive), Verdict(Rule.PART, content))
        other = replace(fileOf(9, b"x\nb\n"), isSettled=False)
        self.assertEqual(self.one(over, other).rule, Rule.NEW)

    def test_lifeTransitions(self) -> None:
        """
        Every state of a content's life except the last has a successor, and every state
        is reachable.
        """
        self.assertEqual({a for a, _ in TRANSITIONS} | {Life.PAST}, set(Life))
        reached = set(TRANSITIONS.values()) | {Life.LIVE, Life.PAST}
        self.assertEqual(reached, set(Life))


class HistoryTests(SynchronousTestCase):
    """
    Histories of one log with two journals and every operation that files can undergo.
    """

    def check(self, seed: int) -> None:
        outcome = perform(randomHistory(seed))
        self.assertEqual(
            outcome.lost, 0, f"python -m tests.campaigns.contents 1 {seed}: {outcome}"
        )
        self.assertFalse(outcome.isUnreported, outcome)

    def test_formerFailures(self) -> None:
        """Histories that once failed still pass."""
        for seed in (
            84,
            135,
            227,
            321,
            368,
            481,
            916,
            1312,
            1496,
            2567,
            3863,
            6128,
            7777,
            103884,
            306208,
            307607,
            308141,
            1000826,
            1000888,
            1000977,
            2005355,
        ):
            self.check(seed)

    def test_notCertain(self) -> None:
        """
        While a copy is made of a file that begins like a deleted content, the copy is
        taken for that content, grown; the repeated lines are reported.
        """
        outcome = perform(
            [
                ("banner",),
                ("ship", 3, True),
                ("truncate",),
                ("begin", b"service starting\n"),
                ("compress", 1, "gz", False),
                ("nuls",),
                ("copytruncate", True),
            ]
        )
        self.assertEqual(outcome.lost, 0, outcome)
        self.assertFalse(outcome.isUnreported, outcome)

    def test_nothingRepeated(self) -> None:
        """
        Nothing is repeated when the forwarder meets one rotated file by two names, when
        copytruncate loses a line that the forwarder has seen, and when such a copy is
        compressed before the search for it is over.
        """
        seen = [("line", 30), ("ship", 3, True), ("copytruncate", True, "seen")]
        for history in (
            [("halt", True), ("line", 30), ("rotate", "date"), ("link", 0)],
            [("line", 30), ("rotate", "number"), ("link", 0), ("ship", 3, True)],
            seen,
            [*seen, ("ship", 3, True), ("compress", 0, "gz", False)],
            [*seen, ("compress", 0, "xz", False), ("wait", 5.0), ("ship", 3, True)],
            [*seen, ("restart", True), ("compress", 0, "gz", False)],
        ):
            outcome = perform(history)
            self.assertEqual((outcome.lost, outcome.repeated), (0, 0), history)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.integers(1, 2**40))
    def test_anyHistory(self, seed: int) -> None:
        """Any history passes."""
        self.check(seed)

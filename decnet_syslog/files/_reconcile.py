"""
The one place that decides which file holds which content.

L{reconcile} is a function of the contents on record and of the files on disk. Each file is one
known content or a new one; each content is held by at most one file.
L{decnet_syslog.files._rules} has the rules and their evidence; this module tries them in the
order of the table there.

If several contents fit one file, the longest one gets it. If several files fit one content, a
file of the size that was seen goes before one that has grown, a rotated file before a live one,
and an older file before a newer one. Where a choice is left after that, the octets are the same
either way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._candidates import Candidate, SeenFile, original
from ._rules import (
    Rule,
    Verdict,
    explains,
    fits,
    isAwaited,
    isSame,
    isWithin,
    repeats,
    sharesFirstLine,
)

__all__ = ["reconcile"]


def reconcile(
    candidates: Sequence[Candidate], files: Sequence[SeenFile]
) -> list[Verdict]:
    """
    Determine the content of each file.

    @param candidates: contents that may be held by one of the files.
    @param files: the oldest first.
    @return: a verdict for each file, in order.
    """
    return _Reconciliation(candidates, files).verdicts()


class _Reconciliation:
    """One run; each verdict uses up its file and its content."""

    def __init__(
        self, candidates: Sequence[Candidate], files: Sequence[SeenFile]
    ) -> None:
        self._candidates = list(candidates)
        self._files = list(files)
        self._open = list(range(len(files)))
        self._verdicts: dict[int, Verdict] = {}
        # Contents whose own object is among the files: another file may be a copy of it.
        self._originals: list[Candidate] = []

    def verdicts(self) -> list[Verdict]:
        self._sameObjects()
        free = [c for c in self._candidates if not c.isThere]
        # The longest first: a content that begins another one must not take its file.
        free.sort(key=lambda c: -c.content.extent)
        for rule in (Rule.COPY, Rule.GROWN, Rule.UNPROVED, Rule.MADE, Rule.PART):
            for candidate in list(free):
                index = self._find(rule, candidate)
                if index is not None:
                    isCertain = self._isCertain(rule, candidate, self._files[index])
                    verdict = Verdict(rule, candidate.content, isCertain)
                    self._decide(index, verdict)
                    free.remove(candidate)
        for index in list(self._open):
            self._decide(index, self._alone(self._files[index]))
        return [self._verdicts[index] for index in range(len(self._files))]

    def _decide(self, index: int, verdict: Verdict) -> None:
        self._verdicts[index] = verdict
        self._open.remove(index)

    def _sameObjects(self) -> None:
        """Assign the objects on record whose proof holds; the other contents lost theirs."""
        for candidate in list(self._candidates):
            for index in self._open:
                file = self._files[index]
                isObject = file.file.isSame(candidate.content.file)
                if not isObject or not file.isComplete:
                    continue
                if isSame(file, candidate.content):
                    self._candidates.remove(candidate)
                    self._originals.append(original(candidate, file))
                    isCertain = self._isCertain(Rule.SAME, candidate, file)
                    verdict = Verdict(Rule.SAME, candidate.content, isCertain)
                    self._decide(index, verdict)
                break

    def _find(self, rule: Rule, candidate: Candidate) -> int | None:
        """Find the best file for a content by one rule."""
        order = sorted(self._open, key=lambda i: (self._files[i].isLive, i))
        for index in order:
            file = self._files[index]
            if file.isStrange:
                continue
            if file.isComplete and file.size and fits(rule, candidate, file):
                return index
        return None

    def _isCertain(self, rule: Rule, candidate: Candidate, file: SeenFile) -> bool:
        """Whether no other content explains the octets past the size that was seen."""
        if file.isLive or file.size <= candidate.content.extent:
            return rule is not Rule.UNPROVED
        # The file may be a copy of a second file that begins like the content. While such a copy
        # was being made, it may have been taken for the content, and be the object on record.
        others = [c for c in self._candidates if c is not candidate]
        return rule is not Rule.UNPROVED and not any(explains(c, file) for c in others)

    def _alone(self, file: SeenFile) -> Verdict:
        """Judge a file that holds no known content: a copy being made, or a new content."""
        if file.isStrange:
            return Verdict(Rule.STRANGE)
        if file.isLive:
            # A configured path is never a rotated copy; its file may look like a grown one.
            for candidate in self._candidates:
                # A truncation may leave the first lines in place.
                isCut = candidate.content.reason == "truncated"
                hadPath = candidate.mayGrow or candidate.own is not None or isCut
                isGone = hadPath and not candidate.isThere
                if isGone and sharesFirstLine(file, candidate.content):
                    return Verdict(Rule.DUPLICATE, candidate.content)
            return self._new(file)
        if not file.isComplete:
            return Verdict(Rule.WAIT)
        if not file.size:
            # Every content begins like an empty file: wait until the file stays empty.
            return Verdict(Rule.NEW if file.isSettled else Rule.WAIT)
        for candidate in [*self._candidates, *self._originals]:
            if file.isArchive and isWithin(candidate, file):
                return Verdict(Rule.WITHIN, candidate.content)
            if candidate.looksLike is not None and candidate.looksLike(file):
                rule = Rule.DUPLICATE if file.isSettled else Rule.WAIT
                return Verdict(rule, candidate.content)
        for candidate in self._candidates:
            if isAwaited(candidate, file):
                return Verdict(Rule.WAIT, candidate.content)
        return self._new(file)

    def _new(self, file: SeenFile) -> Verdict:
        """A new content; reported if it begins with octets of a known one."""
        for candidate in [*self._candidates, *self._originals]:
            if repeats(file, candidate.content):
                return Verdict(Rule.DUPLICATE)
        return Verdict(Rule.NEW)

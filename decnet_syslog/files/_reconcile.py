"""
Which file holds which content: the one place where that is decided.

L{reconcile} is a function of the contents on record and of the files seen. Each file is one
known content or new; each content is at most one file. L{decnet_syslog.files._rules} has the
rules and their evidence; this module tries them, in the order of the table there.

Several contents that fit one file: the longest is taken. Several files that fit one content:
one of the size that was seen before one that has grown, a rotated one before a live one, the
older before the newer. What is ambiguous after that has the same octets either way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._rules import (
    Candidate,
    Rule,
    SeenFile,
    Verdict,
    explains,
    fits,
    isAwaited,
    isSame,
    isWithin,
    sharesFirstLine,
)

__all__ = ["reconcile"]


def reconcile(
    candidates: Sequence[Candidate], files: Sequence[SeenFile]
) -> list[Verdict]:
    """
    Say of each file which content it holds.

    @param candidates: contents that may be held by one of the files.
    @param files: the older before the newer.
    @return: a verdict for each file, in order.
    """
    return _Reconciliation(candidates, files).verdicts()


class _Reconciliation:
    """One run; pairs are taken away as they are found."""

    def __init__(
        self, candidates: Sequence[Candidate], files: Sequence[SeenFile]
    ) -> None:
        self._candidates = list(candidates)
        self._files = list(files)
        self._open = list(range(len(files)))
        self._verdicts: dict[int, Verdict] = {}

    def verdicts(self) -> list[Verdict]:
        self._sameObjects()
        free = [c for c in self._candidates if not c.isThere]
        # The longest first: what is the beginning of another must not take its file.
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
        """The object on record, if its proof holds; else its content has lost it."""
        for candidate in list(self._candidates):
            for index in self._open:
                file = self._files[index]
                isObject = file.file.isSame(candidate.content.file)
                if not isObject or not file.isComplete:
                    continue
                if isSame(file, candidate.content):
                    self._candidates.remove(candidate)
                    isCertain = self._isCertain(Rule.SAME, candidate, file)
                    verdict = Verdict(Rule.SAME, candidate.content, isCertain)
                    self._decide(index, verdict)
                break

    def _find(self, rule: Rule, candidate: Candidate) -> int | None:
        """The best file for a content by one rule."""
        order = sorted(self._open, key=lambda i: (self._files[i].isLive, i))
        for index in order:
            file = self._files[index]
            if file.isStrange:
                continue
            if file.isComplete and file.size and fits(rule, candidate, file):
                return index
        return None

    def _isCertain(self, rule: Rule, candidate: Candidate, file: SeenFile) -> bool:
        """Whether only its content explains the octets that a file has more than was seen."""
        if file.isLive or file.size <= candidate.content.extent:
            return rule is not Rule.UNPROVED
        # It can be the copy of a file that begins like the content. While such a copy was
        # made it may have been taken for the content: then it is the object on record, too.
        others = [c for c in self._candidates if c is not candidate]
        return rule is not Rule.UNPROVED and not any(explains(c, file) for c in others)

    def _alone(self, file: SeenFile) -> Verdict:
        """A file that is the home of no content: a copy being made, or news."""
        if file.isStrange:
            return Verdict(Rule.STRANGE)
        if file.isLive:
            # A configured path is nobody's copy, and may look like one that grew.
            for candidate in self._candidates:
                hadPath = candidate.mayGrow or candidate.own is not None
                isGone = hadPath and not candidate.isThere
                if isGone and sharesFirstLine(file, candidate.content):
                    return Verdict(Rule.DUPLICATE, candidate.content)
            return Verdict(Rule.NEW)
        if not file.isComplete:
            return Verdict(Rule.WAIT)
        if not file.size:
            # An empty file is the beginning of all, until it has been left empty.
            return Verdict(Rule.NEW if file.isSettled else Rule.WAIT)
        for candidate in self._candidates:
            if file.isArchive and isWithin(candidate, file):
                return Verdict(Rule.WITHIN, candidate.content)
            if candidate.looksLike is not None and candidate.looksLike(file):
                rule = Rule.DUPLICATE if file.isSettled else Rule.WAIT
                return Verdict(rule, candidate.content)
        for candidate in self._candidates:
            if isAwaited(candidate, file):
                return Verdict(Rule.WAIT, candidate.content)
        return Verdict(Rule.NEW)

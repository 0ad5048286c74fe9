"""
The history of a stream, and whether it went back.

A stream goes back when its store is put back from a copy, or loses its end with the power of
most nodes. Its sequences are then given again, to other messages, and its clock-free numbers
cannot show it: once the new stream is as long as the old one was, sequence 1000 exists in both.

What must be true:

* a stream is divided into I{eras}. An era begins with a message of its own, in the stream, that
  has a random token and names the eras before it. An era's message is taken only behind the
  era's before (L{EXPECTED}), so the eras of a stream are one chain;
* whoever publishes begins an era first, unless it is sure that the stream is the one it knew:
  at its start, after each connection that broke and each question that was not answered. So
  the first message behind a place where the stream went back always begins an era;
* so two views of a stream agree up to the end of the last era that both have, and no further
  (L{History.common}). No clock is asked, and the octets of no message are compared.

A reader keeps the history as it knew it, in a file or in memory, and compares it with what
the stream says now. If all that the reader knew is still there, the stream did not go back. If not,
whoever notices begins an era that says so (C{forked}): everybody else learns it from that, and
a L{Mark} from before does not hold any more.

Set aside: the last message's sequence and its time of storing. The message may be gone, because
it is written; and times are those of the nodes' clocks. A checksum over all messages: listeners
that publish side by side do not know what comes before their own message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ..master.values import Mark

__all__ = ["ERA", "Era", "History", "erasSubject"]

# The header of the message that begins an era.
ERA = "Decnet-Era"

# So many eras are named by each: of older ones it is not known any more whether they are this
# stream's. An era takes some 50 octets.
ERAS_MAX = 512

_TOKEN = re.compile(r"[0-9a-f]{32}\Z")


def erasSubject(name: str) -> str:
    """Where eras are begun. A worker's subjects have more tokens."""
    return f"{name}.eras"


@dataclass(frozen=True, slots=True)
class Era:
    """
    A part of a stream.

    @ivar token: 32 hex digits.
    @ivar first: the sequence of the message that begins it.
    @ivar forked: whether it was begun because the stream had gone back before it.
    """

    token: str
    first: int
    forked: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class History:
    """
    What somebody knows of a stream.

    @ivar eras: the newest L{ERAS_MAX}, in order. The first of a stream is the stream itself: its
        token is the stream's identity, and it begins at 0.
    @ivar last: the last sequence that is known of it.
    """

    eras: tuple[Era, ...]
    last: int

    @classmethod
    def of(cls, identity: str, last: int = 0) -> History:
        """Of a stream in which nobody has begun an era."""
        return cls((Era(identity, 0),), last)

    def common(self, other: History) -> int:
        """
        Up to which sequence another view of the stream has the same messages.

        @return: 0: as far as is known here, none.
        """
        theirs = {era: at for at, era in enumerate(other.eras)}
        for at in range(len(self.eras) - 1, -1, -1):
            found = theirs.get(self.eras[at])
            if found is not None:
                return min(self._end(at), other._end(found))
        return 0

    def _end(self, at: int) -> int:
        """The last sequence of an era."""
        if at + 1 < len(self.eras):
            return self.eras[at + 1].first - 1
        return self.last

    def isIn(self, other: History) -> bool:
        """Whether another view of the stream has everything that is known here."""
        return self.common(other) == self.last

    def holds(self, mark: Mark) -> bool:
        """Whether what was committed up to a mark is in this history."""
        for at, era in enumerate(self.eras):
            if era.token == mark.token:
                forked = any(later.forked for later in self.eras[at + 1 :])
                return not forked and mark.number <= self._end(at)
        return False

    def erasBehind(self, seq: int) -> int:
        """How many eras begin behind a sequence."""
        return sum(era.first > seq for era in self.eras)

    def isForkedBehind(self, seq: int) -> bool:
        """Whether somebody has said already that the stream went back behind a sequence."""
        return any(era.forked and era.first > seq for era in self.eras)

    def mark(self) -> Mark:
        """How far this history is."""
        return Mark(self.last, self.eras[-1].token)

    def behind(self, era: Era) -> History:
        """The same, when another era has begun."""
        eras = (*self.eras, era)[-ERAS_MAX:]
        return History(eras, max(self.last, era.first))

    def upTo(self, last: int) -> History:
        """The same, when more messages are known; never fewer."""
        return self if last <= self.last else replace(self, last=last)

    def cut(self, last: int) -> History:
        """The same, as it was when a sequence was the last."""
        eras = tuple(era for era in self.eras if era.first <= last)
        return History(eras or self.eras[:1], last)

    def asText(self, most: int = ERAS_MAX) -> str:
        """
        For a file, a bucket or a message.

        @param most: the newest eras, not more.
        """
        eras = [[e.token, e.first, int(e.forked)] for e in self.eras[-most:]]
        return json.dumps({"eras": eras, "last": self.last})

    @classmethod
    def parse(cls, text: str | bytes) -> History:
        """
        What L{asText} has made.

        @raise ValueError: it is none of ours.
        """
        try:
            said: Mapping[str, Any] = json.loads(text)
            eras = tuple(_era(one) for one in said["eras"])
            last = said["last"]
        except (KeyError, TypeError, IndexError, RecursionError) as error:
            raise ValueError(f"no history of a stream: {error!r}") from None
        isOrdered = all(a.first < b.first for a, b in pairwise(eras))
        if not eras or not isOrdered or type(last) is not int or len(eras) > ERAS_MAX:
            raise ValueError("no history of a stream")
        return cls(eras, last)


def _era(one: Sequence[Any]) -> Era:
    token, first, forked = one
    if not isinstance(token, str) or _TOKEN.match(token) is None:
        raise ValueError("an era without a token")
    if type(first) is not int or first < 0:
        raise ValueError("an era without a beginning")
    return Era(token, first, bool(forked))

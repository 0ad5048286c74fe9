"""
The history of a stream, and whether it went back.

A stream goes back when an operator restores its store from a copy, or when most nodes lose power
and with it the end of the stream. The server then assigns the same sequences again, to other
messages. Sequences alone cannot show this: once the new stream is as long as the old one was,
both have a message 1000.

What must be true:

* a stream is divided into I{eras}. Each era begins with its own message in the stream. That
  message has a random token and lists the earlier eras. The server accepts it only after the
  previous era's message (L{EXPECTED}), so the eras of a stream form one chain;
* a publisher begins an era first, unless it is sure that the stream did not change under it:
  at its start, after each broken connection and after each unanswered request. So the first
  message after a rollback always begins an era;
* therefore two views of a stream agree exactly up to the end of the last era that both
  contain (L{StreamHistory.common}). No clock is read, and no message bodies are compared.

A reader keeps the history that it knew, in a file or in memory, and compares it with the
stream's present history. If the present history contains everything that the reader knew, the
stream did not go back. Otherwise the reader begins an era that is marked C{forked}. All other
readers see that era, and no L{Mark} from an earlier era holds any more.

Set aside: the last message's sequence and storage time. The message may have been removed after
it was written, and the time depends on the nodes' clocks. Also a checksum over all messages:
listeners publish concurrently, so none of them knows which message precedes its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..boundaries import Facts
from ..journal import Mark

__all__ = ["ERA", "Era", "StreamHistory", "erasSubject"]

# The header of the message that begins an era.
ERA = "Decnet-Era"

# Maximum number of eras in a history. Older ones are forgotten, and count as unknown. An era takes
# about 50 octets.
ERAS_MAX = 512

_TOKEN = re.compile(r"[0-9a-f]{32}\Z")


def erasSubject(name: str) -> str:
    """The subject of the messages that begin eras. A worker's subjects have more tokens."""
    return f"{name}.eras"


@dataclass(frozen=True, slots=True)
class Era:
    """
    A part of a stream.

    @ivar token: 32 hex digits.
    @ivar first: the sequence of the message that begins it.
    @ivar forked: whether it was begun because the stream had gone back.
    """

    token: str
    first: int
    forked: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class StreamHistory:
    """
    A view of a stream.

    @ivar eras: the newest L{ERAS_MAX} eras, in order. The first era of a stream begins at 0, and
        its token is the stream's identity.
    @ivar last: the highest sequence that this view includes.
    """

    eras: tuple[Era, ...]
    last: int

    @classmethod
    def of(cls, identity: str, last: int = 0) -> StreamHistory:
        """The history of a stream without era messages."""
        return cls((Era(identity, 0),), last)

    def common(self, other: StreamHistory) -> int:
        """
        Find the last sequence up to which two views have the same messages.

        @return: 0 if they have no known era in common.
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

    def isIn(self, other: StreamHistory) -> bool:
        """Whether another view includes this whole view."""
        return self.common(other) == self.last

    def holds(self, mark: Mark) -> bool:
        """Whether this history includes everything up to a mark."""
        for at, era in enumerate(self.eras):
            if era.token == mark.token:
                forked = any(later.forked for later in self.eras[at + 1 :])
                return not forked and mark.number <= self._end(at)
        return False

    def erasBehind(self, seq: int) -> int:
        """Count the eras that begin after a sequence."""
        return sum(era.first > seq for era in self.eras)

    def isForkedBehind(self, seq: int) -> bool:
        """Whether a rollback to this sequence or earlier has been announced already."""
        return any(era.forked and era.first > seq for era in self.eras)

    def mark(self) -> Mark:
        """The end of this history."""
        return Mark(self.last, self.eras[-1].token)

    def behind(self, era: Era) -> StreamHistory:
        """This history with one more era."""
        eras = (*self.eras, era)[-ERAS_MAX:]
        return StreamHistory(eras, max(self.last, era.first))

    def upTo(self, last: int) -> StreamHistory:
        """This history extended to a sequence; never shortened."""
        return self if last <= self.last else replace(self, last=last)

    def cut(self, last: int) -> StreamHistory:
        """This history as it was when a sequence was the last one."""
        eras = tuple(era for era in self.eras if era.first <= last)
        return StreamHistory(eras or self.eras[:1], last)

    def asText(self, most: int = ERAS_MAX) -> str:
        """
        Serialize for a file, a bucket or a message.

        @param most: maximum number of eras; the newest are kept.
        """
        eras = [[e.token, e.first, int(e.forked)] for e in self.eras[-most:]]
        return json.dumps({"eras": eras, "last": self.last})

    @classmethod
    def parse(cls, text: str | bytes) -> StreamHistory:
        """
        Parse the output of L{asText}.

        @raise ValueError: the text has another format.
        """
        try:
            said: Facts = json.loads(text)
            eras = tuple(_era(one) for one in said["eras"])
            last = said["last"]
        except (KeyError, TypeError, IndexError, RecursionError) as error:
            raise ValueError(f"no history of a stream: {error!r}") from None
        isOrdered = all(a.first < b.first for a, b in pairwise(eras))
        if not eras or not isOrdered or type(last) is not int or len(eras) > ERAS_MAX:
            raise ValueError("no history of a stream")
        return cls(eras, last)


def _era(one: Sequence[object]) -> Era:
    token, first, forked = one
    if not isinstance(token, str) or _TOKEN.match(token) is None:
        raise ValueError("an era without a token")
    if type(first) is not int or first < 0:
        raise ValueError("an era without a beginning")
    return Era(token, first, bool(forked))

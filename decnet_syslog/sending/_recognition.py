"""
Recognising the listener's journal before opening anything in it.

What must be true:

* the sender opens nothing until it knows whether it has met this journal, whether the journal
  still holds everything that it acknowledged (HISTORY) and, for a new journal, which contents it
  holds (LIST);
* a journal counts as met only after its contents were compared with ours: a forwarder that dies
  at an earlier point asks again.

The phases of a connection:

    GREETING    until HELLO
    COMPARING   SEEN was sent; until HISTORY
    LISTING     LIST was sent; every content is compared with the listed streams
    READY       contents are opened and sent, each with a state of its own (L{_streams})

The sender also asks a known journal for its list when the octets under a name differ.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from twisted.logger import Logger

from ..files import FollowedFiles
from ..wire import HELLO, HELLO2, KNOWN, LIST, SEEN, ControlLine
from ._comparison import Comparison
from ._connection import ListenerProtocolError
from ._identification import Slices
from ._slices import SlicedWork
from ._streams import State, StreamTable

__all__ = ["KNOWN_MAX", "JournalRecognition", "Phase"]

# Streams that a listener may list. Our listener keeps 4096 of a worker, and those that its outputs
# have not written yet; a list without a limit would fill the memory.
KNOWN_MAX = 65536


class Phase(enum.Enum):
    """The phase of a connection."""

    GREETING = "HELLO has not come"
    COMPARING = "SEEN was sent"
    LISTING = "contents are being compared with the journal's streams"
    READY = "contents are sent"
    OVER = "the connection is gone"


class JournalRecognition:
    """
    The journal behind a connection, as far as it is recognised.

    @ivar phase: the connection's phase.
    @ivar authority: the journal, and our name in it.
    @ivar isListing: whether LIST was sent and LISTED has not come.
    """

    _log = Logger()

    def __init__(
        self,
        files: FollowedFiles,
        streams: StreamTable,
        comparison: Comparison,
        work: SlicedWork,
        worker: str,
        resendToNewMaster: bool,
        send: Callable[[ControlLine], None],
        ask: Callable[[ControlLine], None],
        pumpSoon: Callable[[], None],
    ) -> None:
        """
        @param worker: our name at the master: the one in our certificate.
        @param resendToNewMaster: whether a master with another journal gets again everything
            that the previous one acknowledged, as far as it is still on disk.
        @param send: sends a line.
        @param ask: sends a line and starts the time for its answer.
        @param pumpSoon: called when new octets may be ready to send.
        """
        self._files = files
        self._streams = streams
        self._comparison = comparison
        self._work = work
        self._worker = worker
        self._resend = resendToNewMaster
        self._send = send
        self._ask = ask
        self._pumpSoon = pumpSoon
        self._mark: tuple[int, str] | None = None
        self._seen: tuple[int, str] | None = None
        self.phase = Phase.GREETING
        self.authority = ("", worker)
        self.isListing = False

    def connectionLost(self) -> None:
        """The connection is gone."""
        self.phase = Phase.OVER

    # HELLO and HISTORY

    def greeted(self, line: HELLO) -> None:
        """HELLO arrived."""
        if self.phase is not Phase.GREETING:
            raise ListenerProtocolError("a second HELLO")
        self._streams.streamsMax = line.streamsMax
        self._files.limitMessages(line.messageOctetsMax)
        self.authority = (line.journal, self._worker)
        if isinstance(line, HELLO2):
            self._mark = (line.number, line.token)
            self._seen = self._files.journal.markOf(line.journal)
        self.phase = Phase.COMPARING
        if self._seen is None:
            self._connect(False)
        else:
            self._send(SEEN(*self._seen))

    def historyTold(self, kept: bool) -> None:
        """HISTORY arrived."""
        if self.phase is not Phase.COMPARING:
            raise ListenerProtocolError("HISTORY without SEEN")
        assert self._mark is not None and self._seen is not None
        # A journal that is before this point cannot hold it, whatever it claims.
        isKept = kept and self._mark[0] >= self._seen[0]
        if not isKept:
            self._log.warn(
                "the master's journal went back to an older state: offering it everything that"
                " is still on disk; it takes only the lines that it lacks",
                event="went-back",
            )
        self._connect(isKept)

    def _connect(self, isHistoryKept: bool) -> None:
        """The journal is known: its positions count from now on."""
        isMet = self._files.journal.isMet(self.authority)
        self._files.journal.connect(
            self.authority,
            resend=self._resend,
            isHistoryKept=isHistoryKept,
            mark=self._mark,
        )
        self._comparison.connected()
        self.phase = Phase.READY
        if not isMet:
            self.phase = Phase.LISTING
            self._askForList()

    def marked(self, mark: tuple[int, str]) -> None:
        """MARK arrived."""
        if self._mark is None or mark[0] < self._mark[0]:
            raise ListenerProtocolError("MARK")
        self._mark = mark
        if self.phase is Phase.READY:
            self._files.journal.remember(mark)

    # LIST

    def known(self, line: KNOWN) -> None:
        """KNOWN arrived."""
        if not self.isListing:
            raise ListenerProtocolError("KNOWN without LIST")
        if len(self._comparison.listed) >= KNOWN_MAX:
            raise ListenerProtocolError(f"more than {KNOWN_MAX} KNOWN lines")
        # The path that it has there may be long, and is not needed.
        self._comparison.listed.append(replace(line, name=""))

    def listed(self) -> None:
        """LISTED arrived."""
        if not self.isListing:
            raise ListenerProtocolError("LISTED without LIST")
        self.isListing = False
        if self.phase is Phase.LISTING:
            self._streams.meet(self._files.opened, State.UNIDENTIFIED)
        self._work.begin(self._identify())

    def lookFor(self) -> None:
        """Search the journal's other names for contents whose octets differ under theirs."""
        if not self._comparison.isListed:
            self._askForList()
        elif not self.isListing:
            self._work.begin(self._identify())

    def _askForList(self) -> None:
        self._ask(LIST())
        self.isListing = True
        self._comparison.isListed = True

    def _identify(self) -> Slices[None]:
        """Match the contents that have no stream yet with the journal's streams."""
        yield from self._comparison.identifyAll()
        if self.phase is Phase.LISTING:
            yield from self._comparison.identifyPast()
            # Every content has its stream, so a later connection need not ask.
            self._files.journal.meet(self.authority, self._mark)
            self.phase = Phase.READY
        self._pumpSoon()

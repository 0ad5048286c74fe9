"""
Recognising the journal at the other end of a connection, before opening anything there.

What must be true:

* the sender opens nothing before it knows whether it has met the journal, whether the journal
  still holds everything that it acknowledged (HISTORY), and, for a new journal, which contents
  it holds (LIST);
* a journal counts as met only after its contents were compared with ours: a forwarder that dies
  earlier asks again.

A connection's way:

    GREETING    until HELLO
    COMPARING   SEEN was sent, until HISTORY
    LISTING     LIST was sent, and every content is compared with what was listed
    READY       contents are opened and sent; each on a way of its own (L{streams})

The sender also asks a known journal for its list when their octets differ under some name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from twisted.logger import Logger

from ..files import FollowedFiles
from ..wire.control import HELLO, HELLO2, KNOWN, LIST, SEEN, ControlLine
from .comparison import Comparison
from .connection import ListenerProtocolError
from .identification import Slices
from .slices import SlicedWork
from .streams import State, StreamTable

__all__ = ["KNOWN_MAX", "JournalRecognition", "Phase"]

# Streams that a listener may list. Ours has 4096 of a worker, and those that its
# outputs do not have yet; a list without an end would fill the memory.
KNOWN_MAX = 65536


class Phase(enum.Enum):
    """How far a connection is."""

    GREETING = "HELLO has not come"
    COMPARING = "SEEN was sent"
    LISTING = "contents are compared with what the journal holds"
    READY = "contents are sent"
    OVER = "the connection is gone"


class JournalRecognition:
    """
    The journal of one connection, as far as it is recognised.

    @ivar phase: how far the connection is.
    @ivar authority: the journal, and our name there.
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
        @param worker: our name there: the certificate's.
        @param resendToNewMaster: whether a master with another journal gets again what
            the one before has acknowledged, as far as it is on disk.
        @param send: sends a line.
        @param ask: sends a line, and times the answer.
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
        """HELLO has come."""
        if self.phase is not Phase.GREETING:
            raise ListenerProtocolError("a second HELLO")
        self._streams.streamsMax = line.streamsMax
        self._files.limitMessages(line.messageOctetsMax)
        self.authority = (line.journal, self._worker)
        if isinstance(line, HELLO2):
            self._mark = (line.number, line.token)
            self._seen = self._files.markOf(line.journal)
        self.phase = Phase.COMPARING
        if self._seen is None:
            self._connect(False)
        else:
            self._send(SEEN(*self._seen))

    def historyTold(self, kept: bool) -> None:
        """HISTORY has come."""
        if self.phase is not Phase.COMPARING:
            raise ListenerProtocolError("HISTORY without SEEN")
        assert self._mark is not None and self._seen is not None
        # A journal that is behind a point does not have it, whatever it says.
        isKept = kept and self._mark[0] >= self._seen[0]
        if not isKept:
            self._log.warn(
                "the master's journal was put back: everything that is on disk is offered to"
                " it again, and it takes what it lacks",
                event="went-back",
            )
        self._connect(isKept)

    def _connect(self, isHistoryKept: bool) -> None:
        """It is known what the journal is: its positions count from now on."""
        isMet = self._files.isMet(self.authority)
        self._files.connect(
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
        """MARK has come."""
        if self._mark is None or mark[0] < self._mark[0]:
            raise ListenerProtocolError("MARK")
        self._mark = mark
        if self.phase is Phase.READY:
            self._files.remember(mark)

    # LIST

    def known(self, line: KNOWN) -> None:
        """KNOWN has come."""
        if not self.isListing:
            raise ListenerProtocolError("KNOWN without LIST")
        if len(self._comparison.listed) >= KNOWN_MAX:
            raise ListenerProtocolError(f"more than {KNOWN_MAX} KNOWN")
        # What it is called there may be long, and tells nothing here.
        self._comparison.listed.append(replace(line, name=""))

    def listed(self) -> None:
        """LISTED has come."""
        if not self.isListing:
            raise ListenerProtocolError("LISTED without LIST")
        self.isListing = False
        if self.phase is Phase.LISTING:
            self._streams.meet(self._files.opened, State.UNIDENTIFIED)
        self._work.begin(self._identify())

    def lookFor(self) -> None:
        """Look for contents whose octets differ: the journal may hold them under other names."""
        if not self._comparison.isListed:
            self._askForList()
        elif not self.isListing:
            self._work.begin(self._identify())

    def _askForList(self) -> None:
        self._ask(LIST())
        self.isListing = True
        self._comparison.isListed = True

    def _identify(self) -> Slices[None]:
        """Find the contents that have no place yet among the streams the journal has."""
        yield from self._comparison.identifyAll()
        if self.phase is Phase.LISTING:
            yield from self._comparison.identifyPast()
            # Every content has its place: a later connection need not ask.
            self._files.meet(self.authority, self._mark)
            self.phase = Phase.READY
        self._pumpSoon()

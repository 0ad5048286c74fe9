"""
The journal: positions and lines, committed in one atomic step.

What other packages use, by the question that it answers:

* I{How do lines become durable?} L{GroupCommit} collects the deposits of all connections, and
  commits them in the journal's thread. After C{ACK_OCTETS_MAX} committed octets an ACK does not
  wait any longer.
* I{What is a journal?} L{IJournal}, and L{ISharedJournal} if several listeners use it.
  L{Journal} is the one in a file of the listener; L{journalProviders} and L{providerOf} find the
  others. Its errors are L{JournalBlocked} (try again later) and L{JournalFailed} (stop).
* I{What goes in and comes out?} Sessions make an L{OpenRequest}, hold a L{StreamLease}, and hand
  over a L{Deposit}; outputs get a L{Batch} (L{batchOf}) and save a L{Cursor} with the
  L{FileLength} of each file. L{StreamPosition} and L{cutName} are for the answer to LIST,
  L{Mark} for that to SEEN. C{LOST} is the reason of a gap whose octets the journal had.
  C{DEPOSIT_COST} and C{LINE_COST} count what a deposit takes besides its octets.
* I{How much room is there?} L{available} and L{journalFiles} for the disk; L{DiskShares},
  L{fitting} and C{MIB} for its division.
"""

# Imported for its side effect: it must load OpenSSL before cryptography is imported here.
from .. import trust as trust
from ._batches import LOST
from ._diskfiles import available, journalFiles
from ._groupcommit import ACK_OCTETS_MAX, GroupCommit
from ._pendingcursors import PendingCursors
from ._promise import IJournal, ISharedJournal, JournalBlocked
from ._providers import journalProviders, providerOf
from ._shares import MIB, DiskShares, fitting
from ._sqlite import Journal, JournalFailed
from ._values import (
    DEPOSIT_COST,
    LINE_COST,
    Batch,
    Cursor,
    Deposit,
    FileLength,
    Mark,
    OpenRequest,
    StreamLease,
    StreamPosition,
    batchOf,
    cutName,
)

__all__ = [
    "ACK_OCTETS_MAX",
    "DEPOSIT_COST",
    "LINE_COST",
    "LOST",
    "MIB",
    "Batch",
    "Cursor",
    "Deposit",
    "DiskShares",
    "FileLength",
    "GroupCommit",
    "IJournal",
    "ISharedJournal",
    "Journal",
    "JournalBlocked",
    "JournalFailed",
    "Mark",
    "OpenRequest",
    "PendingCursors",
    "StreamLease",
    "StreamPosition",
    "available",
    "batchOf",
    "cutName",
    "fitting",
    "journalFiles",
    "journalProviders",
    "providerOf",
]

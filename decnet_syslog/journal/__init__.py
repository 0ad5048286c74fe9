"""The journal: positions and lines, committed in one atomic step."""

# Imported for its side effect: it must load OpenSSL before cryptography is imported here.
from .. import trust as trust
from ._batches import LOST
from ._diskfiles import available, journalFiles
from ._groupcommit import ACK_OCTETS_MAX, GroupCommit
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

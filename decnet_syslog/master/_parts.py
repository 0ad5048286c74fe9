"""The parts of a listener that has started, and how one is asked or started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from ..errors import UserError
from ..journal import Cursor, GroupCommit, IJournal
from ..outputs import Feed, WrongKind
from ..receiving import ListenerFactory

__all__ = ["Works", "answers", "startOutput"]


def answers(commits: GroupCommit, feeds: Sequence[Feed]) -> Mapping[str, Deferred[Any]]:
    """
    Ask the journal and every output for a sign of progress.

    The journal answers with an empty commit. While its disk is full it answers, too, because
    waiting is not a fault; a blocked output does the same.
    """
    return {
        "the journal": commits.flush(),
        **{feed.output.name: feed.answer() for feed in feeds},
    }


def startOutput(feed: Feed, cursor: Cursor) -> None:
    """
    Start an output and its feed.

    @raise UserError: the output cannot be opened and was never written: a wrong option. If it
        was written before, the feed waits for it; perhaps its disk is not mounted.
    """
    try:
        feed.output.start(cursor)
    except WrongKind:
        raise
    except UserError as error:
        if not cursor.files:
            raise
        feed.block(str(error))
    feed.start()


class Works(NamedTuple):
    """
    The parts of a listener that has started.

    @ivar handshakes: the number of unauthenticated connections.
    """

    factory: ListenerFactory
    commits: GroupCommit
    journal: IJournal
    feeds: Sequence[Feed]
    handshakes: int
    journalOctetsMax: int

"""The parts of a listener that has started, and how one is asked or started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred

from ..errors import UserError
from ..journal import Cursor, GroupCommit, IJournal
from ..outputs import OutputWriter, WrongKind
from ..receiving import ListenerFactory

__all__ = ["ListenerComponents", "answers", "startOutput"]


def answers(
    commits: GroupCommit, writers: Sequence[OutputWriter]
) -> Mapping[str, Deferred[None] | Deferred[bool]]:
    """
    Ask the journal and every output for a sign of progress.

    The journal answers with an empty commit. While its disk is full it answers, too, because
    waiting is not a fault; a blocked output does the same.
    """
    return {
        "the journal": commits.flush(),
        **{writer.output.name: writer.answer() for writer in writers},
    }


def startOutput(writer: OutputWriter, cursor: Cursor) -> None:
    """
    Start an output and its writer.

    @raise UserError: the output cannot be opened and was never written: a wrong option. If it
        was written before, the writer waits for it; perhaps its disk is not mounted.
    """
    try:
        writer.output.start(cursor)
    except WrongKind:
        raise
    except UserError as error:
        if not cursor.files:
            raise
        writer.block(str(error))
    writer.start()


class ListenerComponents(NamedTuple):
    """
    The parts of a listener that has started.

    @ivar handshakes: the number of unauthenticated connections.
    """

    factory: ListenerFactory
    commits: GroupCommit
    journal: IJournal
    writers: Sequence[OutputWriter]
    handshakes: int
    journalOctetsMax: int

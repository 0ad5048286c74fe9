"""The writers of all outputs, in the process that has the lease."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.python.failure import Failure

from ..errors import UserError
from ..journal import Cursor
from ..outputs import IOutput, OutputWriter, Steps, Threads, WrongKind
from ..reactors import IReactor
from ._keeping import CursorKeeper

if TYPE_CHECKING:
    from ._outputsjournal import OutputsJournal
    from ._proving import WrittenView

__all__ = ["Writers"]


class Writers:
    """
    One writer for each output.

    @ivar all: empty before L{open}.
    """

    def __init__(
        self,
        outputs: Sequence[IOutput],
        journal: OutputsJournal,
        keeper: CursorKeeper,
        threads: Threads,
        reactor: IReactor,
        fail: Callable[[Failure], None],
    ) -> None:
        """
        @param threads: each output gets a thread.
        @param fail: ends the process.
        """
        self._outputs = outputs
        self._journal = journal
        self._keeper = keeper
        self._threads = threads
        self._reactor = reactor
        self._fail = fail
        self.all: list[OutputWriter] = []
        self._views: dict[str, WrittenView] = {}

    @inlineCallbacks
    def open(self, cursors: Mapping[str, Cursor]) -> Steps:
        """
        Open the files of all outputs at their cursors.

        @raise UserError: a file is of the wrong kind, or cannot be opened although its output was
            never written: the options are wrong. An output that was written waits for its file.
        """
        for output in self._outputs:
            thread = self._threads.start(output.name)
            view = self._views[output.name] = self._journal.written(output.name)
            writer = OutputWriter(
                output, view, self._keeper, thread, self._reactor, self._fail
            )
            try:
                yield thread(output.start, cursors[output.name])
            except UserError as error:
                if isinstance(error, WrongKind) or not cursors[output.name].files:
                    raise
                writer.block(str(error))
            self.all.append(writer)

    def start(self) -> None:
        """Begin to write."""
        for writer in self.all:
            writer.start()

    def wake(self) -> None:
        """Look for new batches."""
        for writer in self.all:
            writer.wake()

    def reopen(self) -> None:
        """Reopen all files."""
        for writer in self.all:
            writer.reopen()

    def answers(self) -> Mapping[str, Deferred[None]]:
        """Ask the thread of each output whether it makes progress."""
        return {writer.output.name: writer.answer() for writer in self.all}

    def position(self, output: IOutput) -> int:
        """The number of the newest message that an output has, for the status."""
        return self._views[output.name].position(output.seq)

    def blocked(self) -> Mapping[str, str]:
        """The outputs that cannot be written, and the reasons."""
        return {
            writer.output.name: writer.blocked
            for writer in self.all
            if writer.blocked is not None
        }

    def stop(self) -> Deferred[list[None]]:
        """Write everything in memory."""
        return gatherResults([writer.stop() for writer in self.all])

    @inlineCallbacks
    def saveCursors(self) -> Steps:
        """Save the cursors of all outputs, without writing more lines."""
        for writer in self.all:
            writer.halt()
        cursors = yield gatherResults(
            [writer.inThread(writer.output.sync) for writer in self.all]
        )
        for cursor in cursors:
            self._keeper.saveCursor(cursor)
        yield self._keeper.flush()

"""NATS as a provider of journals. L{decnet_syslog.journal._providers} registers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.python import usage

from ..boundaries import OptionRow
from ..journal import IJournal
from ._options import (
    COMPRESSION_PARAMETERS,
    NATS_FLAGS,
    NATS_PARAMETERS,
    checkNats,
    isNats,
    natsAccess,
    natsJournal,
)

__all__ = ["provider"]


class _Provider:
    """As L{decnet_syslog.journal._providers.JournalProvider}."""

    parameters: Sequence[OptionRow] = NATS_PARAMETERS + COMPRESSION_PARAMETERS
    flags: Sequence[OptionRow] = NATS_FLAGS

    def takes(self, journal: str) -> bool:
        """Whether a value of C{--journal} selects this provider."""
        return isNats(journal)

    def check(self, options: usage.Options) -> None:
        """Check the options without this machine's files."""
        checkNats(options)

    def checkFiles(self, options: usage.Options) -> None:
        """Check the files that the options name."""
        natsAccess(options)

    def opener(
        self,
        options: usage.Options,
        messageOctetsMax: int,
        streamsPerWorkerMax: int,
    ) -> Callable[[], IJournal]:
        """Return a function that opens the journal."""
        return natsJournal(options, messageOctetsMax, streamsPerWorkerMax)


provider = _Provider()

"""
The registry of journal providers: journals that are not a file of the listener.

Providers are found by name, like Twisted's plugins. The module that assembles a listener knows
the interface of a provider and imports none itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.python import usage
from twisted.python.reflect import namedAny

from ..boundaries import OptionRow
from ._promise import IJournal

__all__ = ["JournalProvider", "journalProviders", "providerOf"]

# Fully qualified names of the providers.
_NAMES = ("decnet_syslog.nats._provider.provider",)


class JournalProvider(Protocol):
    """
    Opens a journal for a listener.

    @ivar parameters: its own options, in the form of C{optParameters}.
    @ivar flags: the same, in the form of C{optFlags}.
    """

    parameters: Sequence[OptionRow]
    flags: Sequence[OptionRow]

    def takes(self, journal: str) -> bool:
        """Whether the value of C{--journal} is for this provider."""

    def check(self, options: usage.Options) -> None:
        """
        Check the options without this machine's files.

        @raise UserError: they could not be used on any machine.
        """

    def checkFiles(self, options: usage.Options) -> None:
        """
        Check the files that the options name.

        @raise UserError: one of them is missing or unusable.
        """

    def opener(
        self,
        options: usage.Options,
        messageOctetsMax: int,
        streamsPerWorkerMax: int,
    ) -> Callable[[], IJournal]:
        """
        Return a function that opens the journal; it may raise L{UserError}.

        @param messageOctetsMax: the longest line that will come.
        @param streamsPerWorkerMax: the number of files per worker whose positions are kept.
        """


def journalProviders() -> Sequence[JournalProvider]:
    """All providers."""
    return [namedAny(name) for name in _NAMES]


def providerOf(journal: str | None) -> JournalProvider | None:
    """The provider for a value of C{--journal}; C{None} for a file."""
    if journal is None:
        return None
    return next((p for p in journalProviders() if p.takes(journal)), None)

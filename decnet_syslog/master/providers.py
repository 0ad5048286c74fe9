"""
Who can keep a journal elsewhere than in a file of the listener's.

A registry of names, as Twisted's of plugins: what assembles a listener knows what a provider
is, and none of them by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.python import usage
from twisted.python.reflect import namedAny

from .promise import JournalPromise

__all__ = ["JournalProvider", "journalProviders", "providerOf"]

# Where each is to be found.
_NAMES = ("decnet_syslog.nats.provider.provider",)


class JournalProvider(Protocol):
    """
    What can open a journal for a listener.

    @ivar parameters: options of its own, as C{optParameters} has them.
    @ivar flags: as C{optFlags} has them.
    """

    parameters: Sequence[list[Any]]
    flags: Sequence[list[Any]]

    def takes(self, journal: str) -> bool:
        """Whether it is what C{--journal} names."""

    def opener(
        self,
        options: usage.Options,
        messageOctetsMax: int,
        streamsPerWorkerMax: int,
    ) -> Callable[[], JournalPromise]:
        """
        What opens the journal that the options name; it may raise L{UserError}.

        @param messageOctetsMax: the longest line that will come.
        @param streamsPerWorkerMax: files of one worker whose positions are kept.
        """


def journalProviders() -> Sequence[JournalProvider]:
    """Every provider that there is."""
    return [namedAny(name) for name in _NAMES]


def providerOf(journal: str | None) -> JournalProvider | None:
    """Who keeps what C{--journal} names; C{None}: it is a file."""
    if journal is None:
        return None
    return next((p for p in journalProviders() if p.takes(journal)), None)

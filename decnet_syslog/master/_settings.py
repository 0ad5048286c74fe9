"""The settings of a listener that do not change while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..limits import DEFAULTS, Limits
from ..receiving import Network

__all__ = ["ListenerSettings"]


@dataclass(frozen=True)
class ListenerSettings:
    """
    What an operator chooses.

    @ivar host: the address to listen on.
    @ivar journalName: the journal, in our own log.
    @ivar onHostnameMismatch: see L{ListenerFactory}.
    @ivar proxies: the networks of balancers. If there are any, other peers are refused.
    @ivar reusePort: whether other listeners of this user may have the same port.
    """

    host: str
    port: int
    journalName: str
    limits: Limits = DEFAULTS
    onHostnameMismatch: str = "tag"
    proxies: Sequence[Network] = ()
    reusePort: bool = False
